//! Every ISA, bit by bit, against the naive convolution.

use super::forward::conv2d_on;
use super::input_grad::conv2d_input_grad_on;
use super::weight_grad::conv2d_weight_grad_on;
use super::*;
use crate::cpu::gemm::Dispatch;
use crate::cpu::gemm::tests::{available, numbers, same};
use crate::cpu::isa::{HasTokens, Tokens};
use crate::reference::conv as reference;

/// A 3x3 convolution that keeps the image's size.
fn plain(batch: usize, [inputs, outputs]: [usize; 2], input: [usize; 2]) -> Conv2dShape {
    Conv2dShape {
        batch,
        in_channels: inputs,
        out_channels: outputs,
        input,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        dilation: [1, 1],
        groups: 1,
    }
}

fn check_values<T: Float>(shape: &Conv2dShape, x: &[T], weight: &[T], grad: &[T])
where
    Tokens: HasTokens<T>,
{
    let bias = numbers::<T>(shape.out_channels, 4);
    let (mut want, mut got) = (vec![T::ONE; grad.len()], vec![T::ONE; grad.len()]);
    let (mut want_dx, mut got_dx) = (vec![T::ONE; x.len()], vec![T::ONE; x.len()]);
    let (mut want_dw, mut got_dw) = (vec![T::ONE; weight.len()], vec![T::ONE; weight.len()]);
    reference::conv2d(shape, x, weight, Some(&bias), Activation::Relu, &mut want);
    reference::conv2d_input_grad(shape, grad, weight, &mut want_dx);
    reference::conv2d_weight_grad(shape, x, grad, &mut want_dw);
    for d in available().flat_map(|isa| [Dispatch::forced(isa, false), Dispatch::forced(isa, true)])
    {
        conv2d_on(d, shape, x, weight, Some(&bias), Activation::Relu, &mut got).unwrap();
        assert!(same(&got, &want), "{d:?} {shape:?}");
        conv2d_input_grad_on(d, shape, grad, weight, &mut got_dx).unwrap();
        assert!(same(&got_dx, &want_dx), "input gradient {d:?} {shape:?}");
        conv2d_weight_grad_on(d, shape, x, grad, &mut got_dw).unwrap();
        assert!(same(&got_dw, &want_dw), "weight gradient {d:?} {shape:?}");
    }
}

/// Numbers for x, the weight and the gradient.
fn operands<T: Float>(shape: &Conv2dShape) -> [Vec<T>; 3] {
    let [oh, ow] = shape.output().unwrap();
    let ([h, w], [kh, kw]) = (shape.input, shape.kernel);
    [
        numbers(shape.batch * shape.in_channels * h * w, 1),
        numbers(shape.out_channels * shape.in_channels / shape.groups * kh * kw, 2),
        numbers(shape.batch * shape.out_channels * oh * ow, 3),
    ]
}

fn check(shape: Conv2dShape) {
    let [x, weight, grad] = operands::<f32>(&shape);
    check_values(&shape, &x, &weight, &grad);
    let [x, weight, grad] = operands::<f64>(&shape);
    check_values(&shape, &x, &weight, &grad);
}

#[test]
fn channels_and_images() {
    for (batch, channels) in [(1, [1, 1]), (2, [3, 5]), (3, [1, 32]), (0, [2, 2]), (2, [40, 7])] {
        check(plain(batch, channels, [5, 6]));
    }
    check(plain(2, [3, 40], [14, 14]));
    check(plain(1, [2, 3], [1, 1]));
}

/// Few channels or taps go another way than many, and lines longer than a vector are read in several.
#[test]
fn both_ways_with_lines_of_any_length() {
    for width in [1, 7, 15, 16, 17, 33] {
        check(plain(2, [40, 2], [3, width]));
        check(plain(2, [2, 21], [3, width]));
        check(Conv2dShape { groups: 5, ..plain(2, [5, 5], [4, width]) });
        check(plain(2, [33, 37], [6, width]));
    }
}

/// Nine taps: odd numbers of vectors, channels that are no multiple of a group, more than go by at once, planes that share a set of L1.
#[test]
fn windows_held_in_registers() {
    check(plain(2, [1, 6], [3, 33]));
    check(plain(2, [6, 1], [3, 33]));
    check(plain(1, [7, 1], [3, 16]));
    check(plain(1, [1, 4], [3, 16]));
    check(plain(2, [1, 43], [4, 40]));
    check(plain(2, [1, 21], [16, 64]));
    check(Conv2dShape { kernel: [1, 1], padding: [0, 0], ..plain(2, [9, 11], [5, 18]) });
    check_spoilt::<f32>(plain(2, [1, 5], [3, 17]));
    check_spoilt::<f64>(plain(2, [1, 5], [3, 17]));
    // A phase of the input gradient that has nine taps in several blocks.
    let (kernel, stride, padding) = ([6, 6], [6, 6], [0, 0]);
    check(Conv2dShape { kernel, stride, padding, ..plain(1, [4, 9], [6, 96]) });
    let (kernel, stride) = ([16, 16], [16, 16]);
    check(Conv2dShape { kernel, stride, padding, ..plain(1, [4, 9], [16, 272]) });
}

/// With and without bias and relu the results' very bits: products that underflow to zeros of both signs among them.
#[test]
fn what_follows_a_held_window() {
    let shape = plain(1, [1, 5], [3, 33]);
    let [mut x, mut weight, _] = operands::<f32>(&shape);
    x.iter_mut().step_by(2).for_each(|x| *x *= 1e-30);
    weight.iter_mut().for_each(|weight| *weight *= 1e-30);
    let bias = [0.0, -0.0, 1e-38, -2.0, f32::NAN];
    let bits =
        |x: &[f32]| x.iter().map(|x| if x.is_nan() { 0 } else { x.to_bits() }).collect::<Vec<_>>();
    for bias in [None, Some(&bias[..])] {
        for activation in [Activation::None, Activation::Relu] {
            let (mut want, mut got) = (vec![1.0; 5 * 99], vec![1.0; 5 * 99]);
            reference::conv2d(&shape, &x, &weight, bias, activation, &mut want);
            for isa in available() {
                let d = Dispatch::forced(isa, false);
                conv2d_on(d, &shape, &x, &weight, bias, activation, &mut got).unwrap();
                assert_eq!(bits(&got), bits(&want), "{d:?} {bias:?} {activation:?}");
            }
        }
    }
}

/// Strides leave out taps of blocks, and all taps of some.
#[test]
fn strides_with_several_blocks_of_taps() {
    for stride in [[2, 2], [1, 3], [4, 1], [5, 5]] {
        check(Conv2dShape { stride, ..plain(2, [35, 34], [9, 10]) });
        check(Conv2dShape { stride, kernel: [1, 1], ..plain(2, [260, 3], [9, 10]) });
    }
    check(Conv2dShape {
        stride: [2, 2],
        kernel: [20, 20],
        padding: [9, 9],
        ..plain(1, [1, 2], [9, 8])
    });
}

#[test]
fn no_channels() {
    check(plain(2, [0, 3], [4, 4]));
    check(plain(2, [3, 0], [4, 4]));
}

#[test]
fn kernels_strides_padding_dilation() {
    let base = plain(2, [3, 4], [9, 8]);
    for kernel in [[1, 1], [2, 3], [5, 1]] {
        for stride in [[1, 1], [2, 1], [3, 2]] {
            for padding in [[0, 0], [1, 0], [2, 4]] {
                for dilation in [[1, 1], [2, 1], [1, 3]] {
                    let shape = Conv2dShape { kernel, stride, padding, dilation, ..base };
                    if shape.output().is_some() {
                        check(shape);
                    }
                }
            }
        }
    }
}

#[test]
fn groups() {
    check(Conv2dShape { groups: 2, ..plain(2, [4, 6], [6, 5]) });
    check(Conv2dShape { groups: 4, ..plain(2, [4, 4], [6, 5]) });
    check(Conv2dShape { groups: 4, stride: [2, 2], ..plain(2, [4, 8], [6, 5]) });
}

#[test]
fn one_by_one_is_a_product() {
    let kernel = [1, 1];
    check(Conv2dShape { kernel, padding: [0, 0], ..plain(3, [10, 20], [7, 7]) });
    check(Conv2dShape { kernel, padding: [0, 0], stride: [2, 2], ..plain(3, [10, 20], [7, 7]) });
}

#[test]
fn several_windows_of_images() {
    check(plain(5, [1, 2], [60, 61]));
    let shape = plain(3, [160, 2], [80, 64]);
    let [x, weight, grad] = operands::<f32>(&shape);
    check_values(&shape, &x, &weight, &grad);
}

/// As many as threads share out whole, padded and not, of several groups, with a stride, and with weights that are not finite.
#[test]
fn windows_for_every_thread() {
    let many = 16 * crate::cpu::parallel::threads() + 1;
    check(plain(many, [1, 5], [28, 29]));
    check(Conv2dShape { groups: 2, padding: [0, 0], ..plain(many, [4, 6], [20, 21]) });
    check(Conv2dShape { groups: 2, stride: [2, 2], ..plain(many, [4, 6], [28, 29]) });
    let shape = Conv2dShape { groups: 2, ..plain(many, [2, 4], [28, 29]) };
    let [x, mut weight, grad] = operands::<f32>(&shape);
    spoil(&mut weight, 7);
    check_values(&shape, &x, &weight, &grad);
}

#[test]
fn padding_times_infinity_is_nothing() {
    for stride in [[1, 1], [2, 2]] {
        let shape = Conv2dShape { stride, ..plain(2, [2, 3], [4, 4]) };
        for bad in [f32::INFINITY, f32::NAN] {
            for place in 0..3 {
                let mut operands = operands::<f32>(&shape);
                operands[place][7] = bad;
                let [x, weight, grad] = operands;
                check_values(&shape, &x, &weight, &grad);
            }
        }
    }
    // The corner tap of the only output place but the middle lies in the padding.
    let shape = plain(1, [1, 1], [1, 1]);
    let weight = [f32::INFINITY, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, f32::NAN];
    let mut out = [0.0];
    conv2d(&shape, &[3.0], &weight, None, Activation::None, &mut out).unwrap();
    assert_eq!(out, [6.0]);
}

/// Few, many or all numbers of one operand are not finite.
fn spoil<T: Float>(values: &mut [T], every: usize) {
    let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for (i, value) in values.iter_mut().skip(every / 2).step_by(every).enumerate() {
        *value = T::from_f64(bad[i % 3]);
    }
}

fn check_spoilt<T: Float>(shape: Conv2dShape)
where
    Tokens: HasTokens<T>,
{
    for every in [1, 7, 50] {
        for place in 0..3 {
            let mut operands = operands::<T>(&shape);
            spoil(&mut operands[place], every);
            let [x, weight, grad] = operands;
            check_values(&shape, &x, &weight, &grad);
        }
    }
    let mut operands = operands::<T>(&shape);
    operands.iter_mut().for_each(|operand| spoil(operand, 11));
    let [x, weight, grad] = operands;
    check_values(&shape, &x, &weight, &grad);
}

#[test]
fn what_is_not_finite_spreads_only_along_taps() {
    let base = plain(2, [3, 4], [9, 8]);
    for kernel in [[1, 1], [2, 3], [5, 1]] {
        for stride in [[1, 1], [2, 1], [3, 2], [20, 30]] {
            for padding in [[0, 0], [1, 0], [2, 4], [0, 9]] {
                for dilation in [[1, 1], [2, 1], [1, 3]] {
                    let shape = Conv2dShape { kernel, stride, padding, dilation, ..base };
                    if shape.output().is_some() {
                        check_spoilt::<f32>(shape);
                    }
                }
            }
        }
    }
    check_spoilt::<f64>(base);
    check_spoilt::<f64>(Conv2dShape { stride: [2, 2], dilation: [1, 2], ..base });
    check_spoilt::<f32>(plain(3, [1, 32], [14, 14]));
    check_spoilt::<f32>(plain(2, [40, 7], [1, 2]));
    check_spoilt::<f32>(plain(0, [2, 2], [4, 4]));
}

#[test]
fn what_is_not_finite_stays_in_its_group() {
    for groups in [2, 4] {
        let shape = Conv2dShape { groups, ..plain(2, [4, 8], [6, 5]) };
        check_spoilt::<f32>(shape);
        check_spoilt::<f64>(Conv2dShape { stride: [2, 3], padding: [2, 1], ..shape });
    }
}

#[test]
fn what_is_not_finite_in_several_windows_of_images() {
    let shape = plain(5, [2, 3], [60, 61]);
    let mut operands = operands::<f32>(&shape);
    operands[1][0] = f32::NAN;
    operands[1][23] = f32::INFINITY;
    let last = operands[2].len() - 1;
    operands[2][0] = f32::NEG_INFINITY;
    operands[2][last] = f32::NAN;
    let [x, weight, grad] = operands;
    check_values(&shape, &x, &weight, &grad);
    // Several parts of the weight gradient.
    let shape = plain(3, [160, 2], [80, 64]);
    let [x, weight, mut grad] = self::operands::<f32>(&shape);
    grad[0] = f32::NAN;
    let mut want = vec![1.0; weight.len()];
    let mut got = want.clone();
    reference::conv2d_weight_grad(&shape, &x, &grad, &mut want);
    conv2d_weight_grad(&shape, &x, &grad, &mut got).unwrap();
    assert!(same(&got, &want));
    assert!(got[0].is_finite() && got[4].is_nan(), "only taps that see the corner are NaN");
}

#[test]
fn a_broken_contract_is_an_error() {
    let good = plain(1, [2, 2], [4, 4]);
    let call = |shape: Conv2dShape, x: usize, out: usize| {
        let (x, mut out) = (vec![0f32; x], vec![0f32; out]);
        conv2d(&shape, &x, &[0.0; 36], None, Activation::None, &mut out)
    };
    assert!(call(good, 32, 32).is_ok());
    assert!(call(good, 31, 32).is_err());
    assert!(call(good, 32, 33).is_err());
    assert!(call(Conv2dShape { groups: 0, ..good }, 32, 32).is_err());
    assert!(call(Conv2dShape { groups: 3, ..good }, 32, 32).is_err());
    assert!(call(Conv2dShape { stride: [0, 1], ..good }, 32, 32).is_err());
    assert!(call(Conv2dShape { dilation: [1, 0], ..good }, 32, 32).is_err());
    assert!(call(Conv2dShape { padding: [usize::MAX, 0], ..good }, 32, 32).is_err());
    assert!(call(Conv2dShape { dilation: [usize::MAX, 1], ..good }, 32, 32).is_err());
    assert!(call(Conv2dShape { kernel: [7, 7], ..good }, 32, 32).is_err());
}
