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
    [1, 4097, 1],
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
