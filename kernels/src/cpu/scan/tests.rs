//! Every line equals the reference, whatever the layout and the number of threads.

use super::*;
use crate::cpu::parallel::set_threads;
use crate::cpu::reduce::tests::{data, same32, same64};
use crate::reference::scan as reference;

/// Scans `x` of `shape` along each dim, row-major and with dims exchanged, and compares line by line.
fn check(shape: [usize; 3], special: bool) {
    let n: usize = shape.iter().product();
    let (x, b) = (data(n, n as u64, special), data(n, n as u64 + 1, special));
    for strides in [
        [shape[1] * shape[2], shape[2], 1],
        [1, shape[0], shape[0] * shape[1]],
        [shape[1] * shape[2], 1, shape[1]],
    ] {
        let strides = strides.map(|stride| stride as isize);
        for dim in 0..3 {
            check_dim(&x, &b, shape, strides, dim);
        }
    }
}

fn check_dim(x: &[f64], b: &[f64], shape: [usize; 3], strides: [isize; 3], dim: usize) {
    let n = x.len();
    let view = View::new(x, 0, &shape, &strides).unwrap();
    let other = View::new(b, 0, &shape, &strides).unwrap();
    let narrow: Vec<f32> = x.iter().map(|&x| x as f32).collect();
    let narrow = View::new(&narrow, 0, &shape, &strides).unwrap();
    let (mut sum, mut product, mut chain) = (vec![9.0; n], vec![9.0; n], vec![9.0; n]);
    let (mut sum32, mut best, mut index) = (vec![9f32; n], vec![9.0; n], vec![9; n]);
    let (mut low, mut low_index) = (vec![9.0; n], vec![9; n]);
    scan(ScanOp::Sum, view, dim, &mut sum).unwrap();
    scan(ScanOp::Sum, narrow, dim, &mut sum32).unwrap();
    scan(ScanOp::Prod, view, dim, &mut product).unwrap();
    linear(view, other, dim, &mut chain).unwrap();
    extremes(ScanOp::Max, view, dim, &mut best, &mut index).unwrap();
    extremes(ScanOp::Min, view, dim, &mut low, &mut low_index).unwrap();
    let row_major = [shape[1] * shape[2], shape[2], 1];
    for line in 0..n / shape[dim].max(1) {
        let mut rest = line;
        let mut start = [0, 0];
        for d in (0..3).rev().filter(|&d| d != dim) {
            start[0] += rest % shape[d] * strides[d] as usize;
            start[1] += rest % shape[d] * row_major[d];
            rest /= shape[d];
        }
        let read = |from: &[f64]| -> Vec<f64> {
            (0..shape[dim]).map(|k| from[start[0] + k * strides[dim] as usize]).collect()
        };
        let places = || (0..shape[dim]).map(|k| start[1] + k * row_major[dim]);
        let wrote = |out: &[f64]| -> Vec<f64> { places().map(|place| out[place]).collect() };
        let (x, b) = (read(x), read(b));
        let what = format!("{shape:?} {strides:?} dim {dim} line {line}");
        assert!(same64(&wrote(&sum), &reference::scan(ScanOp::Sum, &x)), "{what}");
        assert!(same64(&wrote(&product), &reference::scan(ScanOp::Prod, &x)), "{what}");
        assert!(same64(&wrote(&chain), &reference::linear(&x, &b)), "{what}");
        // Rounded once an element: the chain itself is f64.
        let want: Vec<f32> =
            reference::scan(ScanOp::Sum, &x).into_iter().map(|s| s as f32).collect();
        let got: Vec<f32> = places().map(|place| sum32[place]).collect();
        assert!(same32(&got, &want), "{what}");
        for (op, values, indices) in [(ScanOp::Max, &best, &index), (ScanOp::Min, &low, &low_index)]
        {
            let (want, at) = reference::extremes(op, &x);
            assert!(same64(&wrote(values), &want), "{what} {op:?}");
            assert!(places().map(|place| indices[place]).eq(at), "{what} {op:?}");
        }
    }
}

#[test]
fn lines_of_any_layout() {
    for threads in [1, 3] {
        set_threads(threads);
        for shape in [[1, 1, 1], [2, 3, 4], [1, 65, 1], [5, 17, 33], [40, 3, 21]] {
            check(shape, false);
            check(shape, true);
        }
    }
}

#[test]
fn many_lines_and_long_ones() {
    for threads in [1, 4] {
        set_threads(threads);
        check([300, 9, 20], true);
        check([2, 150, 2], false);
    }
}

#[test]
fn wrong_lengths_are_refused() {
    let x = [1.0; 6];
    let view = View::new(&x, 0, &[2, 3], &[3, 1]).unwrap();
    assert!(scan(ScanOp::Sum, view, 0, &mut [0.0; 5]).is_err());
    assert!(scan(ScanOp::Sum, view, 2, &mut [0.0; 6]).is_err());
    assert!(scan(ScanOp::Max, view, 1, &mut [0.0; 6]).is_err());
    assert!(extremes(ScanOp::Max, view, 1, &mut [0.0; 6], &mut [0; 5]).is_err());
    let other = View::new(&x, 0, &[3, 2], &[2, 1]).unwrap();
    assert!(linear(view, other, 0, &mut [0.0; 6]).is_err());
    let none = View::new(&x, 0, &[0, 3], &[3, 1]).unwrap();
    scan(ScanOp::Sum, none, 0, &mut []).unwrap();
}

#[test]
fn integers_wrap() {
    let x = [3, i64::MAX, -5, 7, 2, 2];
    let view = View::new(&x, 0, &[2, 3], &[1, 2]).unwrap();
    let (mut sum, mut product) = ([0; 6], [0; 6]);
    scan_integers(ScanOp::Sum, view, 1, &mut sum).unwrap();
    scan_integers(ScanOp::Prod, view, 1, &mut product).unwrap();
    assert_eq!(sum, [3, -2, 0, i64::MAX, i64::MIN + 6, i64::MIN + 8]);
    assert_eq!(product, [3, -15, -30, i64::MAX, i64::MAX - 6, i64::MAX.wrapping_mul(14)]);
    let (mut best, mut index) = ([0; 6], [0; 6]);
    extremes(ScanOp::Max, view, 1, &mut best, &mut index).unwrap();
    assert_eq!((best, index), ([3, 3, 3, i64::MAX, i64::MAX, i64::MAX], [0; 6]));
    let view = View::new(&x, 0, &[6], &[1]).unwrap();
    extremes(ScanOp::Min, view, 0, &mut best, &mut index).unwrap();
    assert_eq!((best, index), ([3, 3, -5, -5, -5, -5], [0, 0, 2, 2, 2, 2]));
    assert!(scan_integers(ScanOp::Max, view, 0, &mut [0; 6]).is_err());
}
