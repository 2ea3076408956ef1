//! The CPU's products, whatever the layout.

use super::*;
use crate::Integer;
use crate::cpu::gemm::{Matrix, multiply_integers};
use crate::cuda::testing::{Element, assert_same, download, gpu, upload, values};

const SIZES: [[usize; 3]; 8] = [
    [1, 1, 1],
    [3, 0, 2],
    [0, 3, 2],
    [31, 33, 32],
    [32, 64, 32],
    [65, 7, 33],
    [1, 100, 70],
    [40, 129, 3],
];

fn check<T: Element + Integer>() {
    let Some(gpu) = gpu() else { return };
    for [m, k, n] in SIZES {
        for turned in [false, true] {
            // Three products; the second factor is the same for all, from an odd place on.
            let a = values::<T>(3 * m * k, 1);
            let b = values::<T>(k * n + 3, 2);
            let (a_there, b_there) = (upload(gpu, &a), upload(gpu, &b));
            let (mi, ki, ni) = (m as isize, k as isize, n as isize);
            let a_strides = if turned { [1, mi] } else { [ki, 1] };
            let b_strides = if turned { [1, ki] } else { [ni, 1] };
            let matrix = |data, offset, [row_stride, column_stride]: [isize; 2]| Matrix {
                data,
                offset,
                row_stride,
                column_stride,
            };
            let offsets = [0, 1, 2].map(|z| [z * mi * ki, 0]);
            let mut want = vec![T::ZERO; 3 * m * n];
            let (left, right) = (matrix(&a, 0, a_strides), matrix(&b, 3, b_strides));
            multiply_integers([m, k, n], left, right, &offsets, &mut want).unwrap();
            let mut out = DeviceBuffer::new(gpu, want.len() * size_of::<T>()).unwrap();
            let (a_shape, b_shape) = ([3, m, k], [3, k, n]);
            let a_all = [mi * ki, a_strides[0], a_strides[1]];
            let b_all = [0, b_strides[0], b_strides[1]];
            let left = Array::new(&a_there, T::KIND, 0, &a_shape, &a_all).unwrap();
            let right = Array::new(&b_there, T::KIND, 3, &b_shape, &b_all).unwrap();
            matmul(left, right, &mut out).unwrap();
            let what = || format!("{:?} {:?} {turned}", T::KIND, [m, k, n]);
            assert_same(&download::<T>(&out), &want, &what);
        }
    }
}

#[test]
fn products_are_the_cpus() {
    check::<i8>();
    check::<u8>();
    check::<i32>();
    check::<i64>();
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(gpu) = gpu() else { return };
    let a = upload(gpu, &[1i32, 2, 3, 4]);
    let mut out = DeviceBuffer::new(gpu, 16).unwrap();
    let of = |kind, shape: &'static [usize; 2]| Array::new(&a, kind, 0, shape, &[1, 1]).unwrap();
    let i32 = super::super::Type::I32;
    let f32 = super::super::Type::F32;
    assert!(matmul(of(i32, &[2, 2]), of(i32, &[2, 2]), &mut out).is_ok());
    assert!(matmul(of(i32, &[2, 2]), of(i32, &[1, 2]), &mut out).is_err());
    assert!(matmul(of(i32, &[1, 2]), of(i32, &[2, 2]), &mut out).is_err());
    assert!(matmul(of(f32, &[2, 2]), of(f32, &[2, 2]), &mut out).is_err());
}
