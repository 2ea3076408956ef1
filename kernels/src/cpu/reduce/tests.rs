//! Every ISA through its own dispatch is bit-equal to the reference; strided views equal their contiguous copies.

use super::lanes::{self, Fold, Max, Min, Sum};
use super::*;
use crate::cpu::isa::{Isa, Kernel, dispatch_on};
use crate::cpu::simd::Simd;
use crate::reference::reduce::{double, single};

/// Deterministic data with exact repeats; `special` mixes in NaN, infinities and zeros of both signs.
pub(crate) fn data(n: usize, seed: u64, special: bool) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 33
    };
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0];
    (0..n)
        .map(|_| {
            let pick = next() as usize;
            let value = (next() as f64 / 2f64.powi(30) - 1.0) as f32 as f64;
            if special && pick % 7 < 5 && pick.is_multiple_of(3) { odd[pick % 7] } else { value }
        })
        .collect()
}

pub(crate) fn same32(got: &[f32], want: &[f32]) -> bool {
    let equal = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    got.len() == want.len() && got.iter().zip(want).all(equal)
}

pub(crate) fn same64(got: &[f64], want: &[f64]) -> bool {
    let equal = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    got.len() == want.len() && got.iter().zip(want).all(equal)
}

struct Row<'a, T, F>(&'a [T], F);

impl<T: Float, F: Fold<T>> Kernel<T> for Row<'_, T, F> {
    type Output = T;
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) -> T {
        // SAFETY: the whole slice.
        unsafe { lanes::row::<T, S, F>(simd, self.0.as_ptr(), self.0.len()) }
    }
}

fn check_row(n: usize, special: bool) {
    let x64 = data(n, n as u64 + 7, special);
    let x32: Vec<f32> = x64.iter().map(|&x| x as f32).collect();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let got = [
            dispatch_on(isa, Row(&x32, Sum)),
            dispatch_on(isa, Row(&x32, Max)),
            dispatch_on(isa, Row(&x32, Min)),
        ];
        let want = [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min].map(|op| single::row(op, &x32));
        assert!(same32(&got, &want), "{isa:?} f32 {n}: {got:?} {want:?}");
        let got = [
            dispatch_on(isa, Row(&x64, Sum)),
            dispatch_on(isa, Row(&x64, Max)),
            dispatch_on(isa, Row(&x64, Min)),
        ];
        let want = [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min].map(|op| double::row(op, &x64));
        assert!(same64(&got, &want), "{isa:?} f64 {n}: {got:?} {want:?}");
    }
}

#[test]
fn rows_on_every_isa() {
    for n in (1..=257).chain([1000, 16_384, 16_385, 40_000, 16_384 * 7 + 3]) {
        check_row(n, false);
        check_row(n, true);
    }
}

#[test]
fn zeros_keep_the_first_sign() {
    for n in [2, 63, 64, 65, 200] {
        let mut x = vec![0.0f32; n];
        x[0] = -0.0;
        let shape = [n];
        let view = View::new(&x, 0, &shape, &[1]).unwrap();
        let mut out = [1.0];
        reduce(ReduceOp::Max, view, &[true], &mut out).unwrap();
        assert_eq!(out[0].to_bits(), (-0.0f32).to_bits());
        reduce(ReduceOp::Min, view, &[true], &mut out).unwrap();
        assert_eq!(out[0].to_bits(), (-0.0f32).to_bits());
    }
}

/// All subsets of dims, contiguous and permuted, against the reference.
fn check_shape(shape: &[usize], special: bool) {
    let n: usize = shape.iter().product();
    let x64 = data(n, n as u64, special);
    let x: Vec<f32> = x64.iter().map(|&x| x as f32).collect();
    let mut strides = vec![1isize; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d] as isize;
    }
    let (reversed, reversed_strides) = reversed_layout(&x, shape);
    for set in 0..1usize << shape.len() {
        let reduced: Vec<bool> = (0..shape.len()).map(|d| set >> d & 1 == 1).collect();
        for op in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min] {
            if n == 0 && matches!(op, ReduceOp::Max | ReduceOp::Min) {
                continue;
            }
            let want = single::reduce(op, &x, shape, &reduced);
            let mut out = vec![9.0; want.len()];
            reduce(op, View::new(&x, 0, shape, &strides).unwrap(), &reduced, &mut out).unwrap();
            assert!(same32(&out, &want), "{op:?} {shape:?} {reduced:?}");
            let view = View::new(&reversed, n.saturating_sub(1), shape, &reversed_strides).unwrap();
            out.fill(9.0);
            reduce(op, view, &reduced, &mut out).unwrap();
            assert!(same32(&out, &want), "strided {op:?} {shape:?} {reduced:?}");
            let want = double::reduce(op, &x64, shape, &reduced);
            let mut out = vec![9.0; want.len()];
            reduce(op, View::new(&x64, 0, shape, &strides).unwrap(), &reduced, &mut out).unwrap();
            assert!(same64(&out, &want), "f64 {op:?} {shape:?} {reduced:?}");
        }
    }
}

/// The same elements with the first dim innermost and everything backwards.
fn reversed_layout(x: &[f32], shape: &[usize]) -> (Vec<f32>, Vec<isize>) {
    let mut strides = Vec::new();
    let mut step = 1isize;
    for &size in shape {
        strides.push(-step);
        step *= size as isize;
    }
    let mut out = x.to_vec();
    for (i, &x) in x.iter().enumerate() {
        let (mut rest, mut at) = (i, x_last(out.len()));
        for d in (0..shape.len()).rev() {
            at += (rest % shape[d]) as isize * strides[d];
            rest /= shape[d];
        }
        out[at as usize] = x;
    }
    (out, strides)
}

fn x_last(n: usize) -> isize {
    n as isize - 1
}

#[test]
fn any_dims_of_any_layout() {
    for shape in [
        &[][..],
        &[1],
        &[5],
        &[0],
        &[3, 0, 2],
        &[64, 128],
        &[600, 10],
        &[3, 1, 7],
        &[2, 3, 4, 5],
        &[5, 300, 3],
        &[4, 70, 33],
        &[2, 1030, 17],
        &[3, 17_000],
        &[16_500, 3],
        &[9, 2, 1, 11, 3],
        &[3, 1500],
        &[6, 70_000],
    ] {
        check_shape(shape, false);
        check_shape(shape, true);
    }
}

#[test]
fn broadcast_dims() {
    let x = [1.5f32, -2.0, 0.25];
    let view = View::new(&x, 0, &[1000, 3, 40], &[0, 1, 0]).unwrap();
    let copy: Vec<f32> = (0..120_000).map(|i| x[i / 40 % 3]).collect();
    for reduced in
        [[true, false, true], [false, true, true], [true, true, true], [true, true, false]]
    {
        let want = single::reduce(ReduceOp::Sum, &copy, &[1000, 3, 40], &reduced);
        let mut out = vec![0.0; want.len()];
        reduce(ReduceOp::Sum, view, &reduced, &mut out).unwrap();
        assert!(same32(&out, &want), "{reduced:?}");
    }
}

#[test]
fn nothing_and_wrong_lengths() {
    let view = View::<f32>::new(&[], 0, &[0, 3], &[3, 1]).unwrap();
    let mut out = [7.0; 3];
    reduce(ReduceOp::Sum, view, &[true, false], &mut out).unwrap();
    assert_eq!(out, [0.0; 3]);
    assert!(reduce(ReduceOp::Max, view, &[true, false], &mut out).is_err());
    assert!(reduce(ReduceOp::Max, view, &[false, true], &mut []).is_ok());
    assert!(reduce(ReduceOp::Sum, view, &[true], &mut out).is_err());
    assert!(reduce(ReduceOp::Sum, view, &[true, true], &mut out).is_err());
    let mut index = [0i64; 3];
    assert!(arg_reduce(ArgOp::Max, view, 0, &mut index).is_err());
    assert!(arg_reduce(ArgOp::Max, view, 1, &mut []).is_ok());
    assert!(arg_reduce(ArgOp::Max, view, 2, &mut []).is_err());
}

fn check_arg(shape: [usize; 3], special: bool) {
    let n = shape.iter().product();
    let mut x = data(n, 3, special);
    for i in (0..n).step_by(5) {
        x[i] = x[i / 2];
    }
    let x32: Vec<f32> = x.iter().map(|&x| x as f32).collect();
    let strides = [(shape[1] * shape[2]) as isize, shape[2] as isize, 1];
    for dim in 0..3 {
        let inner: usize = shape[dim + 1..].iter().product();
        let len = n / shape[dim];
        for op in [ArgOp::Max, ArgOp::Min] {
            let line = |i: usize, k: usize| (i / inner * shape[dim] + k) * inner + i % inner;
            let want: Vec<i64> = (0..len)
                .map(|i| {
                    let row: Vec<f64> = (0..shape[dim]).map(|k| x[line(i, k)]).collect();
                    double::arg(op, &row)
                })
                .collect();
            let mut out = vec![-1; len];
            arg_reduce(op, View::new(&x, 0, &shape, &strides).unwrap(), dim, &mut out).unwrap();
            assert_eq!(out, want, "f64 {op:?} {shape:?} {dim}");
            arg_reduce(op, View::new(&x32, 0, &shape, &strides).unwrap(), dim, &mut out).unwrap();
            assert_eq!(out, want, "f32 {op:?} {shape:?} {dim}");
        }
    }
}

#[test]
fn arg_extremes() {
    for shape in [[1, 1, 1], [2, 3, 4], [7, 10, 1], [3, 130, 5], [100, 2, 9], [1, 4, 40_000]] {
        check_arg(shape, false);
        check_arg(shape, true);
    }
}
