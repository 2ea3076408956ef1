//! What stands between products: quantization and its inverse, layouts, sums, concatenation.

use super::super::super::array::{Array, Type};
use super::super::super::testing::{assert_same, bytes, download, gpu, upload};
use super::super::{
    Operand, add, concat, dequantize, fake_quantize, nchw_from_nhwc, nhwc_from_nchw, quantize,
};
use super::{Placed, Random, as_codes, signed, signed_mut};
use crate::cpu::int8::scheme::{self, Affine, Rule};
use crate::cpu::int8::{self as cpu, Zero};

fn number(random: &mut Random) -> f32 {
    match random.below(30) {
        0 => f32::NAN,
        1 => f32::INFINITY,
        2 => f32::NEG_INFINITY,
        3 => -0.0,
        4 => 3e38,
        5 => 1e-40,
        6 => (random.below(41) as f32 - 20.0) / 2.0,
        _ => random.float() * 200.0,
    }
}

#[test]
fn quantization_is_the_cpus() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random::new(77);
    for round in 0..120 {
        let large = if round % 20 == 0 { 3000 } else { 24 };
        let channels =
            if round % 3 == 0 { 16 * random.below(3) + 16 } else { random.below(20) + 1 };
        let shape = [random.below(5), channels, random.below(large)];
        let len = shape.iter().product();
        let count = |random: &mut Random| if random.yes() { shape[1] } else { 1 };
        let scales: Vec<f32> =
            (0..count(&mut random)).map(|_| random.float().abs() + 0.01).collect();
        let (kind, range) = random.kind();
        let bounds = match random.below(3) {
            0 => None,
            _ => {
                let middle = random.between([range[0] / 2 + range[1] / 2, range[1]]);
                Some([random.between([range[0], middle]), random.between([middle, range[1]])])
            }
        };
        let zeros: Vec<i32> =
            (0..count(&mut random)).map(|_| random.between(bounds.unwrap_or(range))).collect();
        let zero = if zeros.len() == 1 { Zero::All(zeros[0]) } else { Zero::Each(&zeros) };
        let rule = if random.yes() { Rule::Divide } else { Rule::Reciprocal };
        let affine = Affine { scale: &scales, zero, bounds, rule };
        let x: Vec<f32> = (0..len).map(|_| number(&mut random)).collect();
        let said = || format!("{shape:?} {kind:?} {affine:?}");
        let offset = [0, 0, 16, 4][random.below(4)];
        let numbers = Placed::new(gpu, Type::F32, offset, &bytes(&x));
        let shape_of = [len];
        let array = Array::new(&numbers.buffer, Type::F32, offset / 4, &shape_of, &[1]).unwrap();

        let (mut codes, mut places) = (vec![0u8; len], vec![0u8; len]);
        let (mut back, mut planes) = (vec![0f32; len], vec![0f32; len]);
        match kind {
            Type::I8 => {
                scheme::quantize(shape, &x, &affine, signed_mut(&mut codes)).unwrap();
                cpu::nhwc_from_nchw(shape, &x, &affine, signed_mut(&mut places)).unwrap();
                scheme::dequantize(shape, signed(&codes), &affine, &mut back).unwrap();
                cpu::nchw_from_nhwc(shape, signed(&places), &affine, &mut planes).unwrap();
            }
            _ => {
                scheme::quantize(shape, &x, &affine, &mut codes).unwrap();
                cpu::nhwc_from_nchw(shape, &x, &affine, &mut places).unwrap();
                scheme::dequantize(shape, &codes, &affine, &mut back).unwrap();
                cpu::nchw_from_nhwc(shape, &places, &affine, &mut planes).unwrap();
            }
        }
        let mut out = upload(gpu, &vec![7u8; len]);
        quantize(shape, array, &affine, kind, &mut out).unwrap();
        assert_same(&download::<u8>(&out), &codes, &said);
        nhwc_from_nchw(shape, array, &affine, kind, &mut out).unwrap();
        assert_same(&download::<u8>(&out), &places, &said);
        let mut out = upload(gpu, &vec![7f32; len]);
        let offset = random.offset();
        let placed = Placed::new(gpu, kind, offset, &codes);
        dequantize(shape, placed.array(), &affine, &mut out).unwrap();
        assert_same(&download::<f32>(&out), &back, &said);
        let placed = Placed::new(gpu, kind, offset, &places);
        nchw_from_nhwc(shape, placed.array(), &affine, &mut out).unwrap();
        assert_same(&download::<f32>(&out), &planes, &said);
        let affine = Affine { bounds: Some(bounds.unwrap_or(range)), ..affine };
        scheme::fake_quantize(shape, &x, &affine, &mut back).unwrap();
        fake_quantize(shape, array, &affine, &mut out).unwrap();
        assert_same(&download::<f32>(&out), &back, &said);
    }
}

#[test]
fn wrong_quantizations_are_errors() {
    let Some(gpu) = gpu() else { return };
    let x = upload(gpu, &[0f32; 6]);
    let shape = [6];
    let array = Array::new(&x, Type::F32, 0, &shape, &[1]).unwrap();
    let call = |scale: &[f32], zero, bounds, len| {
        let affine = Affine { scale, zero, bounds, rule: Rule::Reciprocal };
        let mut out = upload(gpu, &vec![0u8; len]);
        quantize([2, 3, 1], array, &affine, Type::I8, &mut out)
    };
    let zero = Zero::All(0);
    assert_eq!(call(&[1.0], zero, None, 6), Ok(()));
    for wrong in [
        call(&[1.0], zero, None, 5),
        call(&[1.0; 2], zero, None, 6),
        call(&[1e-39], zero, None, 6),
        call(&[1.0], Zero::All(128), None, 6),
        call(&[1.0], Zero::Each(&[0; 2]), None, 6),
        call(&[1.0], zero, Some([-129, 127]), 6),
    ] {
        assert!(wrong.is_err());
    }
    let affine = Affine::per_tensor(&1.0, 0);
    let mut out = upload(gpu, &[0u8; 6]);
    assert!(quantize([2, 3, 1], array, &affine, Type::F32, &mut out).is_err());
    assert!(dequantize([2, 3, 1], array, &affine, &mut out).is_err());
    assert!(nhwc_from_nchw([2, 2, 2], array, &affine, Type::I8, &mut out).is_err());
}

#[test]
fn sums_and_concatenations_are_the_cpus() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random::new(6);
    for round in 0..80 {
        let places = random.below(if round % 10 == 0 { 3000 } else { 40 });
        let widths = [random.below(20) + 1, random.below(33) + 1, random.below(5) + 1];
        let kinds: Vec<(Type, [i32; 2])> = (0..3).map(|_| random.kind()).collect();
        let (kind, range) = random.kind();
        let mut scales: Vec<f32> = (0..3).map(|_| random.float().abs() + 0.01).collect();
        let mut zeros: Vec<i32> = kinds.iter().map(|(_, range)| random.between(*range)).collect();
        let (out_scale, out_zero) = (random.float().abs() + 0.01, random.between(range));
        if kinds[1].0 == kind {
            // Copied as it is.
            (scales[1], zeros[1]) = (out_scale, out_zero);
        }
        let mut affine = Affine::per_tensor(&out_scale, out_zero);
        if random.yes() {
            affine.rule = Rule::Divide;
            affine.bounds = Some([out_zero.min(range[0] + 3), out_zero.max(range[1] - 9)]);
        }
        let codes: Vec<Vec<u8>> = widths.iter().map(|w| random.codes(places * w)).collect();
        let placed: Vec<Placed> =
            (0..3).map(|i| Placed::new(gpu, kinds[i].0, random.offset(), &codes[i])).collect();
        let on_cpu = |i: usize, codes| cpu::Operand {
            codes: as_codes(kinds[i].0, codes),
            scale: scales[i],
            zero: zeros[i],
        };
        let said = || format!("{places} {widths:?} {kinds:?} {kind:?} {affine:?}");

        let inputs: Vec<(cpu::Operand<'_>, usize)> =
            (0..3).map(|i| (on_cpu(i, &codes[i]), widths[i])).collect();
        let mut want = vec![0u8; places * widths.iter().sum::<usize>()];
        match kind {
            Type::I8 => cpu::concat(places, &inputs, &affine, signed_mut(&mut want)).unwrap(),
            _ => cpu::concat(places, &inputs, &affine, &mut want).unwrap(),
        }
        let inputs: Vec<(Operand<'_>, usize)> = (0..3)
            .map(|i| {
                let codes = placed[i].array();
                (Operand { codes, scale: scales[i], zero: zeros[i] }, widths[i])
            })
            .collect();
        let mut out = upload(gpu, &vec![7u8; want.len()]);
        concat(places, &inputs, &affine, kind, &mut out).unwrap();
        assert_same(&download::<u8>(&out), &want, &said);
        if places > 0 {
            assert!(concat(places + 1, &inputs, &affine, kind, &mut out).is_err());
        }

        let other = random.codes(codes[0].len());
        let second = Placed::new(gpu, kinds[2].0, random.offset(), &other);
        let relu = random.yes();
        let (a, b) = (on_cpu(0, &codes[0]), on_cpu(2, &other));
        let mut want = vec![0u8; other.len()];
        match kind {
            Type::I8 => cpu::add(&a, &b, &affine, relu, signed_mut(&mut want)).unwrap(),
            _ => cpu::add(&a, &b, &affine, relu, &mut want).unwrap(),
        }
        let a = Operand { codes: placed[0].array(), scale: scales[0], zero: zeros[0] };
        let b = Operand { codes: second.array(), scale: scales[2], zero: zeros[2] };
        let mut out = upload(gpu, &vec![7u8; want.len()]);
        add(&a, &b, &affine, relu, kind, &mut out).unwrap();
        assert_same(&download::<u8>(&out), &want, &said);
        assert!(add(&Operand { scale: 0.0, ..a }, &b, &affine, relu, kind, &mut out).is_err());
    }
}
