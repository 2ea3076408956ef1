//! Dynamic quantization: rows and images with ranges of their own, and products and convolutions of them.

use super::super::rows::{quantize_images_under, quantize_rows_under};
use super::super::scheme::{Rule, quantize_rows};
use super::super::{
    Activations, Code, Codes, Conv2d, Conv2dShape, Order, Output, Packed, Zero, conv2d_under,
    gemm_under, quantize_images,
};
use super::{Random, available, on_teams};
use crate::cpu::isa::Isa;
use crate::error::Error;
use crate::reference::int8 as reference;

fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.available())
}

/// Rows of all kinds: wide, tiny, on one side of 0, constant, nothing but 0, near the ends of f32.
fn rows_of_all_kinds(random: &mut Random, rows: usize, k: usize) -> Vec<f32> {
    let mut x = Vec::with_capacity(rows * k);
    for _ in 0..rows {
        let size = [1.0, 100.0, 1e-9, 1e-40, 1.6e38, 0.0][random.below(6)];
        let (kind, constant) = (random.below(4), random.float());
        x.extend((0..k).map(|_| {
            let value = random.float();
            size * match kind {
                0 => value.abs(),
                1 => -value.abs(),
                2 => constant,
                _ => value,
            }
        }));
    }
    x
}

fn rows_are_the_formula<C: Code>(random: &mut Random, rows: usize, k: usize) {
    let x = rows_of_all_kinds(random, rows, k);
    let rule = if random.yes() { Rule::Divide } else { Rule::Reciprocal };
    for isa in isas() {
        let mut codes = vec![C::from_i32(3); rows * k];
        let (mut scale, mut zero) = (vec![-1.0; rows], vec![-1; rows]);
        quantize_rows_under(isa, [rows, k], &x, rule, &mut codes, &mut scale, &mut zero).unwrap();
        for i in 0..rows {
            let row = &x[i * k..][..k];
            let want = reference::quantize_row(row, C::RANGE, rule == Rule::Divide).unwrap();
            let got = codes[i * k..][..k].iter().map(|code| code.to_i32()).collect();
            assert_eq!((scale[i], zero[i], got), want, "{isa:?} {rule:?} {row:?}");
        }
    }
}

#[test]
fn rows_have_ranges_of_their_own() {
    on_teams(|| {
        let mut random = Random::new(20);
        for round in 0..200 {
            let rows = random.below(if round % 40 == 0 { 3000 } else { 9 });
            let k = random.below(if round % 20 == 1 { 70_000 / (rows + 1) } else { 200 });
            rows_are_the_formula::<u8>(&mut random, rows, k);
            rows_are_the_formula::<i8>(&mut random, rows, k);
        }
    });
}

#[test]
fn a_row_without_a_range_is_named() {
    for isa in isas() {
        for k in [1, 63, 64, 65, 1000] {
            for (value, other) in
                [(f32::NAN, 0.0), (-f32::NAN, 1.0), (f32::INFINITY, 0.0), (3e38, -3e38)]
            {
                let mut x = vec![1.0; 40 * k];
                let finite = value.is_finite();
                for row in [9, 23, 31] {
                    x[row * k + k / 2] = value;
                    if k > 1 {
                        x[row * k + k - 1] = other;
                    }
                }
                x[9 * k..10 * k].fill(-2.0);
                let (mut codes, mut scale, mut zero) = (vec![0u8; 40 * k], [0.0; 40], [0; 40]);
                let result = quantize_rows_under(
                    isa,
                    [40, k],
                    &x,
                    Rule::Divide,
                    &mut codes,
                    &mut scale,
                    &mut zero,
                );
                let bad = k > 1 || !finite;
                assert_eq!(result, if bad { Err(Error::NoRange { row: 23 }) } else { Ok(()) });
            }
        }
    }
    let call = |len, codes, scales, zeros| {
        let (mut codes, mut scale, mut zero) =
            (vec![0i8; codes], vec![0.0; scales], vec![0; zeros]);
        quantize_rows([2, 3], &vec![0.5; len], Rule::Divide, &mut codes, &mut scale, &mut zero)
    };
    assert_eq!(call(6, 6, 2, 2), Ok(()));
    for wrong in [call(5, 6, 2, 2), call(6, 5, 2, 2), call(6, 6, 1, 2), call(6, 6, 2, 3)] {
        assert!(wrong.is_err());
    }
    let images = |shape, len, out| {
        let (mut codes, mut scale, mut zero) = (vec![0i8; out], [0.0], [0]);
        let x = vec![0.5; len];
        quantize_images(shape, &x, Rule::Divide, &mut codes, &mut scale, &mut zero)
    };
    assert_eq!(images([1, 2, 3], 6, 6), Ok(()));
    for wrong in [images([1, 2, 3], 6, 5), images([1, 2, 3], 5, 6), images([2, 2, 3], 12, 12)] {
        assert!(wrong.is_err());
    }
    assert!(images([1, usize::MAX, 3], 6, 6).is_err());
}

/// A linear layer with dynamic quantization: near the exact product, and a row's bits are those of the row alone.
#[test]
fn dynamic_products_do_not_depend_on_the_batch() {
    let mut random = Random::new(21);
    for [m, k, n] in [[7, 300, 70], [33, 64, 16], [1, 5, 3], [50, 784, 128]] {
        let x: Vec<f32> = (0..m * k).map(|i| random.float() * (1 + i / k) as f32).collect();
        let weight: Vec<i8> = random.codes(k * n);
        let packed = Packed::new(Order::OutIn, k, n, &weight).unwrap();
        let scale: Vec<f32> = (0..n).map(|_| random.float().abs() * 0.01 + 1e-3).collect();
        let bias: Vec<f32> = (0..n).map(|_| random.float()).collect();
        let run = |isa, x: &[f32]| {
            let m = x.len() / k;
            let (mut codes, mut scales, mut zeros) = (vec![0u8; m * k], vec![0.0; m], vec![0; m]);
            let rule = Rule::Reciprocal;
            quantize_rows([m, k], x, rule, &mut codes, &mut scales, &mut zeros).unwrap();
            let codes = Codes::U8(&codes);
            let a = Activations { codes, stride: k, zero: Zero::Each(&zeros) };
            let mut out = vec![0.0; m * n];
            let output = Output::F32 {
                out: &mut out,
                scale: &scale,
                row_scale: Some(&scales),
                bias: Some(&bias),
                relu: false,
            };
            gemm_under(isa, m, &a, &packed, None, None, output, n).unwrap();
            (out, scales)
        };
        let isas = available();
        let (want, steps) = run(isas[0], &x);
        for i in 0..m {
            for j in 0..n {
                let terms = |l: usize| f64::from(weight[j * k + l]) * f64::from(scale[j]);
                let exact: f64 = (0..k).map(|l| f64::from(x[i * k + l]) * terms(l)).sum();
                let weights: f64 = (0..k).map(|l| terms(l).abs()).sum();
                // Half a step of each activation; a rounding of the result.
                let most = weights * f64::from(steps[i]) * 0.5001 + exact.abs() * 1e-6 + 1e-6;
                let error = f64::from(want[i * n + j]) - exact - f64::from(bias[j]);
                assert!(error.abs() <= most, "{error} {most}");
            }
        }
        on_teams(|| {
            for &isa in &isas {
                assert_eq!(run(isa, &x).0, want, "{isa:?}");
                for i in (0..m).step_by(3) {
                    let row = &x[i * k..][..k];
                    assert_eq!(run(isa, row).0, &want[i * n..][..n], "{isa:?} row {i}");
                }
            }
        });
    }
}

#[test]
fn dynamic_convolutions_do_not_depend_on_the_batch() {
    let mut random = Random::new(22);
    for (c, out, groups, kernel, padding) in
        [(3, 20, 1, 3, 1), (1, 33, 1, 3, 1), (24, 24, 24, 3, 1), (8, 6, 2, 1, 0), (4, 5, 1, 2, 0)]
    {
        let shape = Conv2dShape {
            in_channels: c,
            out_channels: out,
            kernel: [kernel; 2],
            stride: [1, 1],
            padding: [padding; 2],
            dilation: [1, 1],
            groups,
        };
        let ([h, w], batch) = ([9, 7], 11);
        let [oh, ow] = shape.output([h, w]).unwrap();
        let weight: Vec<i8> = random.codes(out * c / groups * kernel * kernel);
        let conv = Conv2d::new(&shape, &weight).unwrap();
        let size = c * h * w;
        let x: Vec<f32> =
            (0..batch * size).map(|i| random.float() + (i / size) as f32 * 0.2).collect();
        let scale: Vec<f32> = (0..out).map(|_| random.float().abs() * 0.01).collect();
        let run = |isa, x: &[f32]| {
            let n = x.len() / size;
            let (mut codes, mut scales, mut zeros) = (vec![0u8; x.len()], vec![0.0; n], vec![0; n]);
            let shape = [n, c, h * w];
            for isa in isas() {
                let (codes, scales, zeros) = (&mut codes, &mut scales, &mut zeros);
                quantize_images_under(isa, shape, x, Rule::Divide, codes, scales, zeros).unwrap();
            }
            for (i, image) in x.chunks(size).enumerate() {
                let want = reference::quantize_row(image, u8::RANGE, true).unwrap();
                let place = |l: usize| (i * h * w + l % (h * w)) * c + l / (h * w);
                let codes = (0..size).map(|l| i32::from(codes[place(l)])).collect();
                assert_eq!((scales[i], zeros[i], codes), want);
            }
            let (zero, mut result) = (Zero::Each(&zeros), vec![0.0; n * oh * ow * out]);
            let output = Output::F32 {
                out: &mut result,
                scale: &scale,
                row_scale: Some(&scales),
                bias: None,
                relu: true,
            };
            let codes = Codes::U8(&codes);
            conv2d_under(isa, &conv, n, [h, w], codes, zero, None, None, output).unwrap();
            result
        };
        let isas = available();
        let want = run(isas[0], &x);
        assert!(want.iter().any(|x| *x > 0.0));
        on_teams(|| {
            for &isa in &isas {
                assert_eq!(run(isa, &x), want, "{isa:?}");
                for i in [0, 4, 10] {
                    let image = run(isa, &x[i * size..][..size]);
                    assert_eq!(image, &want[i * oh * ow * out..][..oh * ow * out], "{isa:?}");
                }
            }
        });
    }
}
