//! [`scheme`](super::super::scheme) against PyTorch's codes and the naive formulas.

use super::super::scheme::{
    Affine, Rule, dequantize, dequantize_under, fake_quantize, fake_quantize_under, quantize,
    quantize_under,
};
use super::super::{Code, Zero};
use super::{Random, on_teams};
use crate::cpu::isa::Isa;
use crate::reference::int8 as reference;

fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.available())
}

fn words(hex: &str, digits: usize) -> Vec<u32> {
    let words = hex.as_bytes().chunks(digits).map(|word| std::str::from_utf8(word).unwrap());
    words.map(|word| u32::from_str_radix(word, 16).unwrap()).collect()
}

fn floats(hex: &str) -> Vec<f32> {
    words(hex, 8).into_iter().map(f32::from_bits).collect()
}

/// Codes as bytes, and numbers, on an ISA.
fn codes_and_numbers<C: Code>(
    isa: Isa,
    shape: [usize; 3],
    x: &[f32],
    affine: &Affine<'_>,
) -> (Vec<u8>, Vec<u32>) {
    let mut codes = vec![C::from_i32(3); x.len()];
    quantize_under(isa, shape, x, affine, &mut codes).unwrap();
    let mut back = vec![0.0; x.len()];
    dequantize_under(isa, shape, &codes, affine, &mut back).unwrap();
    (C::codes(&codes).bytes().to_vec(), back.iter().map(|x| x.to_bits()).collect())
}

#[test]
fn pytorchs_codes_bit_for_bit() {
    let cases = include_str!("../../../../tests/data/int8.txt");
    let mut counted = [0; 3];
    for (number, line) in cases.lines().enumerate() {
        let fields: Vec<&str> = line.split(' ').collect();
        let shape = [2, 3, 4].map(|i| fields[i].parse().unwrap());
        let (scales, x) = (floats(fields[5]), floats(fields[7]));
        let zeros: Vec<i32> = words(fields[6], 8).into_iter().map(|x| x as i32).collect();
        let mut affine = Affine::per_channel(&scales, &zeros);
        let u8s = fields[1] == "u8";
        for isa in isas() {
            let (codes, numbers) = match u8s {
                true => codes_and_numbers::<u8>(isa, shape, &x, &affine),
                false => codes_and_numbers::<i8>(isa, shape, &x, &affine),
            };
            let said = format!("line {number} {} {} {isa:?} {scales:?}", fields[0], fields[1]);
            match fields[0] {
                "quantize" => {
                    let want: Vec<u8> = words(fields[8], 2).iter().map(|x| *x as u8).collect();
                    assert_eq!(codes, want, "{said}");
                    counted[0] += 1;
                }
                "dequantize" => {
                    assert_eq!(numbers, words(fields[8], 8), "{said}");
                    counted[1] += 1;
                }
                _ => {
                    affine.bounds = Some(if u8s { u8::RANGE } else { i8::RANGE });
                    let mut out = vec![0.0; x.len()];
                    fake_quantize_under(isa, shape, &x, &affine, &mut out).unwrap();
                    let bits: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
                    assert_eq!(bits, words(fields[8], 8), "{said}");
                    counted[2] += 1;
                }
            }
        }
    }
    let isas = isas().count();
    assert_eq!(counted, [60 * isas, 54 * isas, 54 * isas]);
}

/// Both rules, any bounds, NaN and infinities, every way channels lie, on every ISA and team.
#[test]
fn the_formulas_hold_everywhere() {
    on_teams(|| {
        let mut random = Random::new(77);
        for round in 0..60 {
            let large = if round % 20 == 0 { 3000 } else { 9 };
            let shape = [random.below(5), random.below(5) + 1, random.below(large)];
            let len = shape.iter().product();
            let one = random.yes();
            let count = if one { 1 } else { shape[1] };
            let scales: Vec<f32> = (0..count).map(|_| random.float().abs() + 0.01).collect();
            let bounds = [random.between([-128, 0]), random.between([0, 127])];
            let zeros: Vec<i32> = (0..count).map(|_| random.between(bounds)).collect();
            let zero = if one { Zero::All(zeros[0]) } else { Zero::Each(&zeros) };
            let rule = if random.yes() { Rule::Divide } else { Rule::Reciprocal };
            let affine = Affine { scale: &scales, zero, bounds: Some(bounds), rule };
            let mut number = || match random.below(30) {
                0 => f32::NAN,
                1 => f32::INFINITY,
                2 => f32::NEG_INFINITY,
                3 => -0.0,
                4 => 3e38,
                _ => random.float() * 200.0,
            };
            let x: Vec<f32> = (0..len).map(|_| number()).collect();
            let channel = |i: usize| if one { 0 } else { i / shape[2] % shape[1] };
            let want: Vec<i8> = x
                .iter()
                .enumerate()
                .map(|(i, x)| {
                    let scale = scales[channel(i)];
                    let divided = if rule == Rule::Divide { x / scale } else { x * (1.0 / scale) };
                    reference::code(divided, zeros[channel(i)], bounds) as i8
                })
                .collect();
            let back = |(i, code): (usize, &i8)| {
                (i32::from(*code) - zeros[channel(i)]) as f32 * scales[channel(i)]
            };
            let numbers: Vec<f32> = want.iter().enumerate().map(back).collect();
            for isa in isas() {
                let mut codes = vec![0i8; len];
                quantize_under(isa, shape, &x, &affine, &mut codes).unwrap();
                assert_eq!(codes, want, "{isa:?} {affine:?}");
                let mut out = vec![f32::NAN; len];
                dequantize_under(isa, shape, &codes, &affine, &mut out).unwrap();
                assert_eq!(out, numbers);
                fake_quantize_under(isa, shape, &x, &affine, &mut out).unwrap();
                assert_eq!(out, numbers);
            }
        }
    });
}

#[test]
fn pytorch_and_onnx_differ_where_the_reciprocal_rounds_up_to_a_tie() {
    let (x, scale) = ([0.273_939_94_f32], [0.002_148_548_6_f32]);
    let code = |rule| {
        let affine = Affine { scale: &scale, zero: Zero::All(0), bounds: None, rule };
        let mut code = [0u8];
        quantize([1, 1, 1], &x, &affine, &mut code).unwrap();
        code[0]
    };
    assert_eq!([code(Rule::Reciprocal), code(Rule::Divide)], [128, 127]);
}

#[test]
fn wrong_calls_are_errors() {
    let call = |scale: &[f32], zero, bounds, len| {
        let affine = Affine { scale, zero, bounds, rule: Rule::Reciprocal };
        quantize([2, 3, 1], &[0.0; 6], &affine, &mut vec![0i8; len])
    };
    let zero = Zero::All(0);
    assert_eq!(call(&[1.0], zero, None, 6), Ok(()));
    for wrong in [
        call(&[1.0], zero, None, 5),
        call(&[], zero, None, 6),
        call(&[1.0; 2], zero, None, 6),
        call(&[1.0, 0.0, 1.0], zero, None, 6),
        call(&[-1.0], zero, None, 6),
        call(&[f32::NAN], zero, None, 6),
        call(&[f32::INFINITY], zero, None, 6),
        call(&[1e-39], zero, None, 6),
        call(&[1.0], Zero::All(128), None, 6),
        call(&[1.0], Zero::Each(&[0; 2]), None, 6),
        call(&[1.0], zero, Some([1, 5]), 6),
        call(&[1.0], zero, Some([5, -5]), 6),
        call(&[1.0], zero, Some([-129, 127]), 6),
    ] {
        assert!(wrong.is_err());
    }
    let affine = Affine::per_tensor(&1.0, 0);
    assert!(quantize([usize::MAX, 3, 1], &[0.0; 6], &affine, &mut [0i8; 6]).is_err());
    assert!(dequantize([1, 1, 2], &[0u8; 3], &affine, &mut [0.0; 3]).is_err());
    assert!(fake_quantize([1, 1, 2], &[0.0; 2], &affine, &mut [0.0; 3]).is_err());
}
