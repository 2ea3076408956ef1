//! Conversions of 2-byte floats against the `half` crate's, every bit pattern of the short types, and around every tie.

use super::*;

/// Every f16 or bf16 there is.
fn all<T>(from_bits: impl Fn(u16) -> T) -> Vec<T> {
    (0..=u16::MAX).map(from_bits).collect()
}

/// f32 numbers: near every value of the short type, and anywhere.
fn singles(short: &[f32]) -> Vec<f32> {
    let mut found = Vec::new();
    for pair in short.windows(2) {
        let middle = (f64::from(pair[0]) + f64::from(pair[1])) as f32 / 2.0;
        for x in [pair[0], middle] {
            let bits = x.to_bits();
            found.extend([bits, bits.wrapping_add(1), bits.wrapping_sub(1)].map(f32::from_bits));
        }
    }
    found.extend((0..200_000u32).map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761))));
    found
}

fn check<T: Convert>(all: &[T], bits: fn(T) -> u16, wide: fn(T) -> f32, short: fn(f32) -> T) {
    let mut widened = vec![0f32; all.len()];
    widen(all, &mut widened).unwrap();
    for (&x, &y) in all.iter().zip(&widened) {
        assert!(y.to_bits() == wide(x).to_bits() || y.is_nan() && wide(x).is_nan(), "{x:?} {y}");
        // The loops, the vectors and the single conversion agree to the bit, NaN included.
        assert_eq!(y.to_bits(), x.to_single().to_bits(), "{x:?}");
    }
    let singles = singles(&widened);
    let mut narrowed = vec![T::default(); singles.len()];
    narrow(&singles, &mut narrowed).unwrap();
    for (&x, &y) in singles.iter().zip(&narrowed) {
        let expected = short(x);
        let nan = |x: T| x.to_single().is_nan();
        assert!(bits(y) == bits(expected) || nan(y) && nan(expected), "{x:e} {:x}", x.to_bits());
        assert_eq!(nan(y), x.is_nan(), "{x:e}");
        assert_eq!(bits(y), bits(T::from_single(x)), "{x:e} {:x}", x.to_bits());
    }
}

#[test]
fn f16_as_the_half_crate() {
    check(&all(f16::from_bits), f16::to_bits, f16::to_f32_const, f16::from_f32_const);
}

#[test]
fn bf16_as_the_half_crate() {
    check(&all(bf16::from_bits), bf16::to_bits, bf16::to_f32_const, bf16::from_f32_const);
}

#[test]
fn lengths_must_agree() {
    assert!(widen(&[f16::ONE; 3], &mut [0.0; 2]).is_err());
    assert!(narrow(&[1.0; 3], &mut [bf16::ONE; 4]).is_err());
}
