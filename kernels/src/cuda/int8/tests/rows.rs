//! Dynamic quantization.

use super::super::super::array::{Array, Type};
use super::super::super::testing::{assert_same, download, gpu, upload};
use super::super::{
    Conv2d, Dynamic, Packed, conv2d_dynamic, gemm_dynamic, quantize_images, quantize_rows,
};
use super::{Placed, Random, as_codes, signed, signed_mut};
use crate::cpu::int8::scheme::Rule;
use crate::cpu::int8::{self as cpu, Activations, Conv2dShape, Order, Output, Zero};
use crate::error::Error;

/// Rows of different sizes, some of nothing but 0, or of one sign.
fn numbers(random: &mut Random, [rows, k]: [usize; 2]) -> Vec<f32> {
    let mut x = Vec::new();
    for _ in 0..rows {
        let (size, shift) =
            ([1e-30, 0.1, 3.0, 1e30, 0.0][random.below(5)], [0.0, 1.0, -1.0, 0.3][random.below(4)]);
        x.extend((0..k).map(|_| (random.float() + shift) * size));
    }
    x
}

#[test]
fn rows_and_products_of_them_are_the_cpus() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random::new(50);
    for round in 0..60 {
        let k = if round % 6 == 0 { random.below(900) } else { random.below(40) };
        let (m, n) = (random.below(12), random.below(20) + 1);
        let x = numbers(&mut random, [m, k]);
        let rule = if random.yes() { Rule::Divide } else { Rule::Reciprocal };
        let (kind, _) = random.kind();
        let (mut codes, mut scale, mut zero) = (vec![0u8; m * k], vec![0.0; m], vec![0; m]);
        match kind {
            Type::I8 => {
                let codes = signed_mut(&mut codes);
                cpu::quantize_rows([m, k], &x, rule, codes, &mut scale, &mut zero).unwrap();
            }
            _ => cpu::quantize_rows([m, k], &x, rule, &mut codes, &mut scale, &mut zero).unwrap(),
        }
        let (buffer, len) = (upload(gpu, &x), [x.len()]);
        let array = Array::new(&buffer, Type::F32, 0, &len, &[1]).unwrap();
        let rows = quantize_rows([m, k], array, rule, kind).unwrap();
        assert_eq!(rows.told(), Ok(()));
        let said = || format!("{m} {k} {n} {kind:?} {rule:?}");
        assert_same(&download::<u8>(rows.codes()), &codes, &said);
        assert_same(&download::<f32>(rows.scale()), &scale, &said);
        assert_same(&download::<i32>(rows.zero()), &zero, &said);

        let weight = random.codes(n * k);
        let packed = cpu::Packed::new(Order::OutIn, k, n, signed(&weight)).unwrap();
        let placed = Placed::new(gpu, Type::I8, 0, &weight);
        let device = Packed::new(Order::OutIn, k, n, placed.array()).unwrap();
        let factors: Vec<f32> = (0..n).map(|_| random.float()).collect();
        let bias: Vec<f32> = (0..n).map(|_| random.float()).collect();
        let (bias, relu) = (random.yes().then_some(&bias[..]), random.yes());
        let zeros = random.zeros(n, [-128, 127]);
        let weight_zero = random.yes().then(|| super::as_zero(&zeros));
        let mut want = vec![7f32; m * n];
        let a = Activations { codes: as_codes(kind, &codes), stride: k, zero: Zero::Each(&zero) };
        let output =
            Output::F32 { out: &mut want, scale: &factors, row_scale: Some(&scale), bias, relu };
        cpu::gemm(m, &a, &packed, weight_zero, None, output, n).unwrap();
        let mut out = upload(gpu, &vec![7f32; m * n]);
        let dynamic = Dynamic { scale: &factors, bias, relu };
        gemm_dynamic(&rows, &device, weight_zero, &dynamic, &mut out).unwrap();
        assert_same(&download::<f32>(&out), &want, &said);
    }
}

#[test]
fn images_and_convolutions_of_them_are_the_cpus() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random::new(51);
    for (c, o, groups, padding) in [(3, 5, 1, 1), (16, 4, 2, 0), (6, 6, 6, 2), (1, 9, 1, 1)] {
        let shape = Conv2dShape {
            in_channels: c,
            out_channels: o,
            kernel: [3, 3],
            stride: [1, 2],
            padding: [padding; 2],
            dilation: [1, 1],
            groups,
        };
        for batch in [0, 1, 4] {
            let ([h, w], places) = ([5, 7], 35);
            let x = numbers(&mut random, [batch, c * places]);
            let (buffer, len) = (upload(gpu, &x), [x.len()]);
            let array = Array::new(&buffer, Type::F32, 0, &len, &[1]).unwrap();
            let (mut codes, mut scale, mut zero) =
                (vec![0u8; x.len()], vec![0.0; batch], vec![0; batch]);
            let all = [batch, c, places];
            let (out, rule) = (&mut codes, Rule::Reciprocal);
            cpu::quantize_images(all, &x, rule, out, &mut scale, &mut zero).unwrap();
            let images = quantize_images(all, array, rule, Type::U8).unwrap();
            let said = || format!("{shape:?} {batch}");
            assert_same(&download::<u8>(images.codes()), &codes, &said);
            assert_same(&download::<f32>(images.scale()), &scale, &said);
            assert_same(&download::<i32>(images.zero()), &zero, &said);

            let weight = random.codes(o * c / groups * 9);
            let conv = cpu::Conv2d::new(&shape, signed(&weight)).unwrap();
            let placed = Placed::new(gpu, Type::I8, 0, &weight);
            let device = Conv2d::new(&shape, placed.array()).unwrap();
            let factors: Vec<f32> = (0..o).map(|_| random.float()).collect();
            let [oh, ow] = shape.output([h, w]).unwrap();
            let mut want = vec![7f32; batch * oh * ow * o];
            let output = Output::F32 {
                out: &mut want,
                scale: &factors,
                row_scale: Some(&scale),
                bias: None,
                relu: true,
            };
            let (codes, zero) = (as_codes(Type::U8, &codes), Zero::Each(&zero));
            cpu::conv2d(&conv, batch, [h, w], codes, zero, None, None, output).unwrap();
            let mut out = upload(gpu, &vec![7f32; want.len()]);
            let dynamic = Dynamic { scale: &factors, bias: None, relu: true };
            conv2d_dynamic(&device, [h, w], &images, None, &dynamic, &mut out).unwrap();
            assert_eq!(images.told(), Ok(()));
            assert_same(&download::<f32>(&out), &want, &said);
        }
    }
}

#[test]
fn rows_without_a_range_are_named() {
    let Some(gpu) = gpu() else { return };
    for (bad, row) in [(f32::NAN, 3), (f32::INFINITY, 0), (f32::NEG_INFINITY, 2), (-3e38, 1)] {
        let mut x = vec![1.0f32; 5 * 300];
        x[row * 300 + 290] = bad;
        x[row * 300 + 4] = 3e38;
        x[4 * 300] = f32::NAN;
        let (buffer, len) = (upload(gpu, &x), [x.len()]);
        let array = Array::new(&buffer, Type::F32, 0, &len, &[1]).unwrap();
        let rows = quantize_rows([5, 300], array, Rule::Divide, Type::U8).unwrap();
        assert_eq!(rows.told(), Err(Error::NoRange { row }));
        assert!(quantize_rows([5, 299], array, Rule::Divide, Type::U8).is_err());
        assert!(quantize_rows([5, 300], array, Rule::Divide, Type::F32).is_err());
    }
}
