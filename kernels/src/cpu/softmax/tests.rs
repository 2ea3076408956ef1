//! Every ISA is bit-equal to the reference, which is close to f64 with the system's functions.

use super::exponential::{exp, log};
use super::*;
use crate::cpu::isa::{Isa, dispatch_on};
use crate::cpu::reduce::tests::{data, same32, same64};
use crate::cpu::simd::Scalar;
use crate::reference::softmax::{double, single};

fn check_rows(rows: Rows, special: bool) {
    let n = rows.outer * rows.size * rows.inner;
    let x64: Vec<f64> = data(n, 5, special).iter().map(|x| x * 8.0).collect();
    let x32: Vec<f32> = x64.iter().map(|&x| x as f32).collect();
    for logarithm in [false, true] {
        let mut out = vec![7.0; n];
        softmax(rows, logarithm, &x32, &mut out).unwrap();
        assert!(same32(&out, &single::softmax(rows, logarithm, &x32)), "f32 {rows:?} {logarithm}");
        let mut out = vec![7.0; n];
        softmax(rows, logarithm, &x64, &mut out).unwrap();
        assert!(same64(&out, &double::softmax(rows, logarithm, &x64)), "f64 {rows:?} {logarithm}");
    }
}

#[test]
fn any_rows() {
    for size in (0..=130).chain([1000, 16_384, 40_000]) {
        for special in [false, true] {
            check_rows(Rows { outer: 3, size, inner: 1 }, special);
        }
    }
    for (outer, size, inner) in
        [(2, 5, 3), (1, 600, 17), (3, 10, 64), (0, 3, 2), (2, 0, 3), (5, 1, 9)]
    {
        for special in [false, true] {
            check_rows(Rows { outer, size, inner }, special);
        }
    }
}

#[test]
fn same_bits_on_every_isa() {
    let x: Vec<f64> = data(3 * 77, 9, false);
    let single: Vec<f32> = x.iter().map(|&x| x as f32).collect();
    for log in [false, true] {
        let form = if log { Form::Log } else { Form::Softmax };
        let form32 = if log { Form::Log } else { Form::Softmax };
        for isa in Isa::ALL {
            let (mut got, mut want) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            dispatch_on(isa, rows::Rows { form, size: 77, x: &x, out: &mut got });
            dispatch_on(Isa::Scalar, rows::Rows { form, size: 77, x: &x, out: &mut want });
            assert_eq!(got, want, "f64 rows {isa:?}");
            let planes = |out| columns::Planes { log, size: 7, inner: 11, x: &x, out };
            dispatch_on(isa, planes(&mut got));
            dispatch_on(Isa::Scalar, planes(&mut want));
            assert_eq!(got, want, "f64 planes {isa:?}");
            let (mut got, mut want) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            dispatch_on(isa, rows::Rows { form: form32, size: 77, x: &single, out: &mut got });
            dispatch_on(
                Isa::Scalar,
                rows::Rows { form: form32, size: 77, x: &single, out: &mut want },
            );
            assert_eq!(got, want, "f32 rows {isa:?}");
        }
    }
}

#[test]
fn known_rows() {
    let mut out = [0.0f64; 3];
    let rows = Rows { outer: 1, size: 3, inner: 1 };
    softmax(rows, false, &[1.0, 2.0, 3.0], &mut out).unwrap();
    let s = (-2f64).exp() + (-1f64).exp() + 1.0;
    for (got, x) in out.iter().zip([-2.0, -1.0, 0.0f64]) {
        assert!((got - x.exp() / s).abs() < 1e-16);
    }
    softmax(rows, false, &[f64::NEG_INFINITY; 3], &mut out).unwrap();
    assert!(out.iter().all(|x| x.is_nan()));
    softmax(rows, false, &[f64::NEG_INFINITY, 0.0, 0.0], &mut out).unwrap();
    assert_eq!(out, [0.0, 0.5, 0.5]);
    softmax(rows, true, &[f64::NEG_INFINITY, 0.0, f64::NEG_INFINITY], &mut out).unwrap();
    assert_eq!(out, [f64::NEG_INFINITY, 0.0, f64::NEG_INFINITY]);
    assert!(softmax(Rows { outer: 2, ..rows }, false, &[0.0; 3], &mut out).is_err());
}

#[test]
fn exponentials_against_std() {
    for x in data(20_000, 11, false) {
        let x = x * 80.0;
        let (got, want) = (exp::<f64, _>(Scalar, x), x.exp());
        assert!((got - want).abs() <= want * 3e-16, "exp({x}) = {got}, {want}");
        let (got, want) = (exp::<f32, _>(Scalar, x as f32) as f64, (x as f32 as f64).exp());
        assert!((got - want).abs() <= want * 1.1e-7 + 1e-45, "exp({x}) = {got}, {want}");
        let y = 1.0 + x.abs() * 100.0;
        assert!((log(y) - y.ln()).abs() <= y.ln() * 3e-16);
    }
    assert_eq!(exp::<f64, _>(Scalar, f64::NEG_INFINITY), 0.0);
    assert_eq!(exp::<f32, _>(Scalar, f32::NEG_INFINITY), 0.0);
    assert_eq!(exp::<f64, _>(Scalar, 0.0), 1.0);
    assert_eq!(exp::<f32, _>(Scalar, -0.0), 1.0);
    assert!(exp::<f32, _>(Scalar, f32::NAN).is_nan() && exp::<f64, _>(Scalar, f64::NAN).is_nan());
}

fn check_loss(rows: usize, classes: usize) {
    let x64 = data(rows * classes, classes as u64, false);
    let x32: Vec<f32> = x64.iter().map(|&x| x as f32).collect();
    let targets: Vec<i64> = (0..rows).map(|i| (i * 7 % classes) as i64).collect();
    let weights: Vec<f32> = (0..rows).map(|i| 0.5 + i as f32).collect();
    let mut loss = vec![0.0; rows];
    cross_entropy(classes, &x32, &targets, &mut loss).unwrap();
    let mut grad = vec![0.0; rows * classes];
    cross_entropy_grad(classes, &x32, &targets, &weights, &mut grad).unwrap();
    let mut grad64 = vec![0.0; rows * classes];
    cross_entropy_grad(classes, &x64, &targets, &[0.25], &mut grad64).unwrap();
    let mut loss64 = vec![0.0; rows];
    cross_entropy(classes, &x64, &targets, &mut loss64).unwrap();
    for i in 0..rows {
        let line = i * classes..(i + 1) * classes;
        let t = targets[i] as usize;
        assert_eq!(loss[i], single::cross_entropy(&x32[line.clone()], t));
        assert_eq!(loss64[i], double::cross_entropy(&x64[line.clone()], t));
        let want = single::cross_entropy_grad(&x32[line.clone()], t, weights[i]);
        assert!(same32(&grad[line.clone()], &want));
        let want = double::cross_entropy_grad(&x64[line.clone()], t, 0.25);
        assert!(same64(&grad64[line.clone()], &want));
        let sum: f64 = x64[line.clone()].iter().map(|x| x.exp()).sum();
        assert!((loss64[i] - (sum.ln() - x64[line][t])).abs() < 1e-12);
    }
}

#[test]
fn losses() {
    for (rows, classes) in [(0, 3), (1, 1), (64, 10), (5, 17), (3, 64), (2, 20_000), (5000, 10)] {
        check_loss(rows, classes);
    }
}

#[test]
fn wrong_targets_write_nothing() {
    for target in [-1, 3, i64::MAX, i64::MIN] {
        let mut out = [9.0f32; 6];
        let error = Error::IndexOutOfRange { index: target, position: 1, size: 3 };
        let got = cross_entropy(3, &[0.0f32; 6], &[0, target], &mut out[..2]);
        assert_eq!(got, Err(error.clone()));
        let got = cross_entropy_grad(3, &[0.0f32; 6], &[0, target], &[1.0], &mut out);
        assert_eq!((got, out), (Err(error), [9.0; 6]));
    }
    assert!(cross_entropy(3, &[0.0f32; 5], &[0, 1], &mut [0.0; 2]).is_err());
    assert!(cross_entropy_grad(3, &[0.0f32; 6], &[0, 1], &[1.0; 3], &mut [0.0; 6]).is_err());
}

/// Rows that fit a vector, against one lane at a time: every form, targets everywhere, numbers that are none.
#[test]
fn short_rows_on_every_isa() {
    fn check<T: Float>(x: &[T], same: fn(&[T], &[T]) -> bool)
    where
        crate::cpu::isa::Tokens: crate::cpu::isa::HasTokens<T>,
    {
        for size in 1..=17 {
            let rows = x.len() / size;
            let x = &x[..rows * size];
            let targets: Vec<i64> = (0..rows).map(|i| (i % size) as i64).collect();
            let targets = &targets[..];
            let weights: Vec<T> = (0..rows).map(|i| T::from_f64(0.5 - i as f64)).collect();
            let forms = [
                Form::Softmax,
                Form::Log,
                Form::Loss { targets },
                Form::Gradient { targets, weight: &weights },
                Form::Gradient { targets, weight: &weights[..1] },
            ];
            for form in forms {
                let len = if matches!(form, Form::Loss { .. }) { rows } else { x.len() };
                let made = |isa| {
                    let mut out = vec![T::NAN; len + 1];
                    dispatch_on(isa, rows::Rows { form, size, x, out: &mut out[..len] });
                    out
                };
                let want = made(Isa::Scalar);
                for isa in Isa::ALL {
                    assert!(same(&made(isa), &want), "{isa:?} {size} {form:?}");
                }
            }
        }
    }
    for special in [false, true] {
        let mut x: Vec<f64> = data(700, 3, special).iter().map(|x| x * 8.0).collect();
        x[20..60].fill(0.0);
        x[25..40].fill(-0.0);
        x[300..340].fill(f64::NEG_INFINITY);
        let single: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        check(&x, same64);
        check(&single, same32);
    }
}
