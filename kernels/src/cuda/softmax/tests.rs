//! The CPU's bits: rows and columns of odd lengths, other layouts, every float.

use super::*;
use crate::cpu::softmax as cpu;
use crate::cuda::array::Type;
use crate::cuda::testing::{Element, assert_same, both, download, gpu, singles, upload, values};
use crate::reference::map::elements;
use crate::{Half, bf16, f16};

const CASES: &[[usize; 3]] = &[
    [1, 1, 1],
    [5, 1, 1],
    [3, 0, 1],
    [0, 3, 2],
    [7, 3, 1],
    [3, 63, 1],
    [2, 64, 1],
    [9, 65, 1],
    [2, 257, 1],
    [3, 1000, 1],
    [1, 1028, 1],
    [2, 4096, 1],
    [1, 4097, 1],
    [1, 12_288, 1],
    [1, 70_000, 1],
    [2, 20_000, 1],
    [2, 5, 3],
    [1, 1, 9],
    [3, 70, 33],
    [1, 257, 5],
    [2, 6000, 3],
];

trait Softmax: Element {
    fn all(rows: Rows, log: bool, x: &[Self]) -> Vec<Self>;
}

macro_rules! softmaxes {
    (floats: $($t:ident),*) => {$(
        impl Softmax for $t {
            fn all(rows: Rows, log: bool, x: &[$t]) -> Vec<$t> {
                let mut out = vec![0.0; x.len()];
                cpu::softmax(rows, log, x, &mut out).unwrap();
                out
            }
        }
    )*};
    (halves: $($t:ident),*) => {$(
        impl Softmax for $t {
            fn all(rows: Rows, log: bool, x: &[$t]) -> Vec<$t> {
                f32::all(rows, log, &singles(x)).into_iter().map($t::from_single).collect()
            }
        }
    )*};
}
softmaxes!(floats: f32, f64);
softmaxes!(halves: f16, bf16);

fn check<T: Softmax>() {
    let Some(gpu) = gpu() else { return };
    let wild: Vec<T> = values(70_000, 11);
    let tame = |x: &T| if x.to_f64().abs() < 30.0 { *x } else { T::from_f64(-0.0) };
    let tamed: Vec<T> = wild.iter().map(tame).collect();
    // Zeros and lower: a maximum whose sign shows, a sum that may be 1.
    let low = |x: &T| {
        T::from_f64(if x.to_f64() > 0.0 {
            0.0
        } else if x.to_f64() > -2.0 {
            -0.0
        } else {
            -1e4
        })
    };
    let lows: Vec<T> = wild.iter().map(low).collect();
    for data in [wild, tamed, lows] {
        let there = upload(gpu, &data);
        for &[outer, size, inner] in CASES {
            let rows = Rows { outer, size, inner };
            let shape = [outer, size, inner];
            let straight = [(size * inner) as isize, inner as isize, 1];
            let turned = [1, (outer * inner) as isize, outer as isize];
            for strides in [straight, turned] {
                let (view, array) = both(&data, &there, (0, &shape, &strides));
                for log in [false, true] {
                    let what = || format!("{} {rows:?} {strides:?} log {log}", T::KIND.name());
                    let mut out = DeviceBuffer::new(gpu, view.len() * size_of::<T>()).unwrap();
                    softmax(rows, log, array, &mut out).unwrap();
                    assert_same(&download(&out), &T::all(rows, log, &elements(view)), &what);
                }
            }
        }
    }
}

#[test]
fn softmaxes() {
    check::<f32>();
    check::<f64>();
    check::<f16>();
    check::<bf16>();
}

#[test]
fn wrong_operands() {
    let Some(gpu) = gpu() else { return };
    let there = upload(gpu, &[1i64; 6]);
    let (shape, strides) = ([6], [1]);
    let rows = Rows { outer: 2, size: 3, inner: 1 };
    let mut out = DeviceBuffer::new(gpu, 48).unwrap();
    let x = Array::new(&there, Type::I64, 0, &shape, &strides).unwrap();
    assert!(softmax(rows, false, x, &mut out).is_err());
    let x = Array::new(&there, Type::F64, 0, &shape, &strides).unwrap();
    assert!(softmax(Rows { outer: 1, ..rows }, false, x, &mut out).is_err());
}

fn check_loss<T: Element + crate::Float>() {
    let Some(gpu) = gpu() else { return };
    let wild: Vec<T> = values(90_000, 13);
    let tame = |x: &T| if x.to_f64().abs() < 30.0 { *x } else { T::from_f64(-0.5) };
    let tamed: Vec<T> = wild.iter().map(tame).collect();
    for data in [wild, tamed] {
        let there = upload(gpu, &data);
        for [rows, classes] in [
            [0, 3],
            [1, 1],
            [5, 2],
            [7, 10],
            [3, 33],
            [4, 1000],
            [3, 2001],
            [2, 20_000],
            [1, 40_000],
        ] {
            let targets: Vec<i64> = (0..rows).map(|i| (i * 7919 % classes) as i64).collect();
            let what = || format!("{} {rows} x {classes}", T::KIND.name());
            let (shape, strides, lines) = ([rows, classes], [classes as isize, 1], [rows]);
            let (view, logits) = both(&data, &there, (1, &shape, &strides));
            let x = elements(view);
            let wanted = upload(gpu, &targets);
            let wanted = Array::new(&wanted, Type::I64, 0, &lines, &[1]).unwrap();
            let (mut want, size) = (vec![T::ONE; rows], size_of::<T>());
            cpu::cross_entropy(classes, &x, &targets, &mut want).unwrap();
            let mut loss = DeviceBuffer::new(gpu, rows * size).unwrap();
            cross_entropy(classes, logits, wanted, &mut loss).unwrap();
            assert_same(&download(&loss), &want, &what);
            for count in [1, rows] {
                let weight = &data[100..100 + count];
                let mut want = vec![T::ONE; x.len()];
                cpu::cross_entropy_grad(classes, &x, &targets, weight, &mut want).unwrap();
                let (count, mut out) = ([count], DeviceBuffer::new(gpu, x.len() * size).unwrap());
                let weight = Array::new(&there, T::KIND, 100, &count, &[1]).unwrap();
                cross_entropy_grad(classes, logits, wanted, weight, &mut out).unwrap();
                assert_same(&download(&out), &want, &what);
            }
        }
    }
}

#[test]
fn cross_entropies() {
    check_loss::<f32>();
    check_loss::<f64>();
}

#[test]
fn targets_that_are_no_class() {
    let Some(gpu) = gpu() else { return };
    let x = upload(gpu, &[1f32; 12]);
    for (classes, targets) in
        [(3, [0i64, 1, 3, -1]), (3, [-1, 0, 0, 0]), (3, [2, 2, 2, i64::MIN]), (0, [0; 4])]
    {
        let (shape, strides, lines) = ([4, classes], [classes as isize, 1], [4]);
        let logits = Array::new(&x, Type::F32, 0, &shape, &strides).unwrap();
        let there = upload(gpu, &targets);
        let there = Array::new(&there, Type::I64, 0, &lines, &[1]).unwrap();
        let here = vec![1f32; 4 * classes];
        let want = cpu::cross_entropy(classes, &here, &targets, &mut [0.0; 4]);
        assert!(matches!(want, Err(crate::Error::IndexOutOfRange { .. })));
        let mut loss = DeviceBuffer::new(gpu, 16).unwrap();
        assert_eq!(cross_entropy(classes, logits, there, &mut loss), want);
        let mut out = DeviceBuffer::new(gpu, 16 * classes).unwrap();
        let weight = Array::new(&x, Type::F32, 0, &[1], &[1]).unwrap();
        assert_eq!(cross_entropy_grad(classes, logits, there, weight, &mut out), want);
        assert!(cross_entropy_grad(classes, logits, there, there, &mut out).is_err());
    }
}
