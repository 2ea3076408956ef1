//! Known answers of Random123, the definitions of ADR 001 word by word, and moments.

use super::*;
use crate::cpu::isa::{Isa, dispatch_on};
use crate::reference::random as reference;

const AT: Philox =
    Philox { seed: 0x0123_4567_89ab_cdef, stream: 77 << 33 | 5, block: u32::MAX as u64 - 3 };

#[test]
fn known_answers() {
    let check = |counter, key, want: [u32; 4]| assert_eq!(philox4x32_10(counter, key), want);
    check([0; 4], [0; 2], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    check([u32::MAX; 4], [u32::MAX; 2], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    check(
        [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
        [0xa4093822, 0x299f31d0],
        [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    );
}

#[test]
fn uniforms_are_the_words_of_the_stream() {
    for n in (0..=257).chain([70_000]) {
        let mut single = vec![2.0f32; n];
        let mut double = vec![2.0f64; n];
        uniform(AT, &mut single).unwrap();
        uniform(AT, &mut double).unwrap();
        for i in 0..n {
            assert_eq!(single[i], reference::uniform_f32(AT, i as u64));
            assert_eq!(double[i], reference::uniform_f64(AT, i as u64));
        }
    }
}

#[test]
fn normals_are_box_muller_pairs() {
    for n in (0..=257).chain([70_001]) {
        let mut single = vec![2.0f32; n];
        let mut double = vec![2.0f64; n];
        normal(AT, &mut single).unwrap();
        normal(AT, &mut double).unwrap();
        for i in 0..n {
            let want = reference::normal(AT, i as u64);
            assert!((double[i] - want).abs() <= 2e-15 * (1.0 + want.abs()), "{i}: {}", double[i]);
            assert_eq!(single[i], double[i] as f32);
        }
    }
}

#[test]
fn same_bits_on_every_isa() {
    for (normal, n) in [(true, 1001), (false, 1001)] {
        let mut want = (vec![0f32; n], vec![0f64; n]);
        dispatch_on(Isa::Scalar, Draw { at: AT, normal, out: &mut want.0[..] });
        dispatch_on(Isa::Scalar, Draw { at: AT, normal, out: &mut want.1[..] });
        for isa in Isa::ALL {
            let mut got = (vec![0f32; n], vec![0f64; n]);
            dispatch_on(isa, Draw { at: AT, normal, out: &mut got.0[..] });
            dispatch_on(isa, Draw { at: AT, normal, out: &mut got.1[..] });
            assert_eq!(got, want, "{isa:?}");
        }
    }
}

#[test]
fn log_and_sincos_against_std() {
    let mut x = vec![0.0f64; 100_000];
    uniform(AT, &mut x).unwrap();
    x.extend([0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0 - 2f64.powi(-53)]);
    x.extend((1..=52).map(|k| 2f64.powi(-k)));
    for u in x {
        let want = (1.0 - u).ln();
        assert!((transform::log(1.0 - u) - want).abs() <= want.abs() * 2.3e-16, "log(1 - {u})");
        let (sin, cos) = transform::sincos_turns(u);
        let (s, c) = (2.0 * std::f64::consts::PI * u).sin_cos();
        assert!((sin - s).abs() < 1e-15 && (cos - c).abs() < 1e-15, "{u}: {sin} {s} {cos} {c}");
        assert!((sin * sin + cos * cos - 1.0).abs() < 4e-16);
    }
    assert_eq!(transform::log(1.0), 0.0);
    for (u, sin, cos) in [(0.0, 0.0, 1.0), (0.25, 1.0, 0.0), (0.5, 0.0, -1.0), (0.75, -1.0, 0.0)] {
        assert_eq!(transform::sincos_turns(u), (sin, cos));
    }
}

#[test]
fn moments() {
    let mut x = vec![0.0f32; 200_000];
    let moments = |x: &[f32]| {
        let n = x.len() as f64;
        let mean = x.iter().map(|&x| x as f64).sum::<f64>() / n;
        (mean, x.iter().map(|&x| (x as f64 - mean).powi(2)).sum::<f64>() / n)
    };
    uniform(AT, &mut x).unwrap();
    let (mean, variance) = moments(&x);
    assert!((mean - 0.5).abs() < 3e-3 && (variance - 1.0 / 12.0).abs() < 1e-3);
    assert!(x.iter().all(|&x| (0.0..1.0).contains(&x)));
    normal(AT, &mut x).unwrap();
    let (mean, variance) = moments(&x);
    assert!(mean.abs() < 1e-2 && (variance - 1.0).abs() < 1.5e-2);
}

#[test]
fn permutations() {
    for n in (0..100).chain([5000]) {
        let order = permutation(AT, n);
        let mut want: Vec<usize> = (0..n).collect();
        for (i, k) in (1..n).rev().enumerate() {
            let i = i as u64;
            let wide =
                (reference::word(AT, 2 * i + 1) as u64) << 32 | reference::word(AT, 2 * i) as u64;
            want.swap(k, ((wide as u128 * (k as u128 + 1)) >> 64) as usize);
        }
        assert_eq!(order, want);
        let mut sorted = order;
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..n));
    }
}

#[test]
fn block_counts() {
    assert_eq!(
        [blocks::<f32>(false, 5), blocks::<f64>(false, 5), blocks::<f32>(true, 5)],
        [2, 3, 3]
    );
}
