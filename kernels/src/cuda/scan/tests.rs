//! The CPU's bits: lines that are long, short, many, few, beside each other or far apart.

use super::*;
use crate::Float;
use crate::cpu::scan as cpu;
use crate::cuda::testing::{Element, assert_same, both, download, gpu, upload, values};
use crate::strided::View;

/// Shape, strides and the dim.
const CASES: &[(&[usize], &[isize], usize)] = &[
    (&[0], &[1], 0),
    (&[1], &[1], 0),
    (&[3], &[-1], 0),
    (&[100], &[2], 0),
    (&[2048], &[1], 0),
    (&[5000], &[1], 0),
    (&[3, 0], &[1, 1], 1),
    (&[300, 3], &[3, 1], 1),
    (&[3, 300], &[300, 1], 0),
    (&[300, 3], &[3, 1], 0),
    (&[3, 300], &[1, 3], 1),
    (&[600, 9], &[9, 1], 1),
    (&[9, 600], &[600, 1], 0),
    (&[7, 5, 6], &[30, 6, 1], 1),
    (&[7, 5, 6], &[-30, 1, 5], 1),
    (&[70, 5], &[0, 1], 0),
];

/// As they are, or tame enough that long sums don't end as NaN.
fn data<T: Element>(seed: u64, tame: bool) -> Vec<T> {
    let all: Vec<T> = values(10_000, seed);
    let one = |x: &T| if x.to_f64().abs() < 3.0 { *x } else { T::from_f64(1.0) };
    if tame { all.iter().map(one).collect() } else { all }
}

fn offset_of(strides: &[isize]) -> usize {
    if strides.iter().any(|&stride| stride < 0) { 400 } else { 3 }
}

trait Chains: Element {
    fn chain(op: ScanOp, x: View<'_, Self>, dim: usize, out: &mut [Self]);
}
macro_rules! chains {
    ($($t:ident $scan:ident),*) => {$(
        impl Chains for $t {
            fn chain(op: ScanOp, x: View<'_, $t>, dim: usize, out: &mut [$t]) {
                cpu::$scan(op, x, dim, out).unwrap();
            }
        }
    )*};
}
chains!(f32 scan, f64 scan, i64 scan_integers);

fn check<T: Chains>() {
    let Some(gpu) = gpu() else { return };
    for tame in [false, true] {
        let data: Vec<T> = data(1, tame);
        let there = upload(gpu, &data);
        for &(shape, strides, dim) in CASES {
            let (x, x_there) = both(&data, &there, (offset_of(strides), shape, strides));
            let name = || format!("{} {shape:?} {strides:?} {dim} {tame}", T::KIND.name());
            let mut want = vec![T::default(); x.len()];
            let mut out = DeviceBuffer::new(gpu, x.len() * size_of::<T>()).unwrap();
            for op in [ScanOp::Sum, ScanOp::Prod] {
                T::chain(op, x, dim, &mut want);
                scan(op, x_there, dim, &mut out).unwrap();
                assert_same(&download(&out), &want, &name);
            }
            let mut places = vec![0; x.len()];
            let mut indices = DeviceBuffer::new(gpu, x.len() * 8).unwrap();
            for op in [ScanOp::Max, ScanOp::Min] {
                cpu::extremes(op, x, dim, &mut want, &mut places).unwrap();
                extremes(op, x_there, dim, &mut out, &mut indices).unwrap();
                assert_same(&download(&out), &want, &name);
                assert_same(&download(&indices), &places, &name);
            }
        }
    }
}

#[test]
fn sums_products_and_extremes() {
    check::<f32>();
    check::<f64>();
    check::<i64>();
}

#[test]
fn linear_scans() {
    fn check<T: Element + Float>() {
        let Some(gpu) = gpu() else { return };
        for tame in [false, true] {
            let (a, b): (Vec<T>, Vec<T>) = (data(1, tame), data(2, tame));
            let (a_there, b_there) = (upload(gpu, &a), upload(gpu, &b));
            for &(shape, strides, dim) in CASES {
                let name = || format!("{} {shape:?} {strides:?} {dim} {tame}", T::KIND.name());
                let other = crate::strided::row_major(shape);
                let (x, x_there) = both(&a, &a_there, (offset_of(strides), shape, strides));
                let (y, y_there) = both(&b, &b_there, (1, shape, &other));
                let mut want = vec![T::ZERO; x.len()];
                let mut out = DeviceBuffer::new(gpu, x.len() * size_of::<T>()).unwrap();
                cpu::linear(x, y, dim, &mut want).unwrap();
                linear(x_there, y_there, dim, &mut out).unwrap();
                assert_same(&download(&out), &want, &name);
                cpu::linear(y, x, dim, &mut want).unwrap();
                linear(y_there, x_there, dim, &mut out).unwrap();
                assert_same(&download(&out), &want, &name);
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(gpu) = gpu() else { return };
    let there = upload(gpu, &[1f32; 6]);
    let x = Array::new(&there, Type::F32, 0, &[6], &[1]).unwrap();
    let short = Array::new(&there, Type::F32, 0, &[5], &[1]).unwrap();
    let bytes = Array::new(&there, Type::U8, 0, &[6], &[1]).unwrap();
    let room = |bytes| DeviceBuffer::new(gpu, bytes).unwrap();
    assert!(scan(ScanOp::Max, x, 0, &mut room(24)).is_err());
    assert!(scan(ScanOp::Sum, x, 1, &mut room(24)).is_err());
    assert!(scan(ScanOp::Sum, x, 0, &mut room(20)).is_err());
    assert!(scan(ScanOp::Sum, bytes, 0, &mut room(6)).is_err());
    assert!(linear(x, short, 0, &mut room(24)).is_err());
    assert!(extremes(ScanOp::Sum, x, 0, &mut room(24), &mut room(48)).is_err());
    assert!(extremes(ScanOp::Max, x, 0, &mut room(24), &mut room(40)).is_err());
}
