//! Every line equals the reference: stable, NaN last, whatever the layout and the number of threads.

use super::*;
use crate::cpu::parallel::set_threads;
use crate::cpu::reduce::tests::data;
use crate::reference::sort::argsort;

/// Numbers with many repeats, zeros of both signs, NaN and infinities.
fn numbers(n: usize) -> Vec<f64> {
    data(n, n as u64 + 3, true).into_iter().map(|x| (x * 8.0).round() / 8.0).collect()
}

fn check<T: Number>(x: &[T], shape: [usize; 3], strides: [isize; 3], dim: usize) {
    let view = View::new(x, 0, &shape, &strides).unwrap();
    let row_major = [shape[1] * shape[2], shape[2], 1];
    for descending in [false, true] {
        let (mut values, mut indices) = (vec![T::default(); x.len()], vec![-1; x.len()]);
        sort(view, dim, descending, &mut values, &mut indices).unwrap();
        for line in 0..x.len() / shape[dim] {
            let (mut rest, mut from, mut to) = (line, 0, 0);
            for d in (0..3).rev().filter(|&d| d != dim) {
                from += rest % shape[d] * strides[d] as usize;
                to += rest % shape[d] * row_major[d];
                rest /= shape[d];
            }
            let element = |k: usize| x[from + k * strides[dim] as usize];
            let read: Vec<f64> = (0..shape[dim]).map(|k| element(k).to_f64()).collect();
            for (k, want) in argsort(&read, descending).into_iter().enumerate() {
                let place = to + k * row_major[dim];
                assert_eq!(indices[place], want, "{shape:?} {strides:?} {dim} {descending}");
                let (got, want) = (values[place].to_f64(), read[want as usize]);
                assert_eq!(got.is_nan(), want.is_nan());
                assert!(want.is_nan() || got.to_bits() == want.to_bits());
            }
        }
    }
}

#[test]
fn lines_of_any_layout_and_type() {
    for threads in [1, 3] {
        set_threads(threads);
        for shape in [[1, 1, 1], [2, 3, 4], [3, 70, 2], [1, 2000, 1], [60, 5, 30]] {
            let wide = numbers(shape.iter().product());
            let narrow: Vec<f32> = wide.iter().map(|&x| x as f32).collect();
            let whole: Vec<i64> = wide.iter().map(|&x| (x * 8.0) as i64).collect();
            let bytes: Vec<u8> = wide.iter().map(|&x| (x * 80.0) as u8).collect();
            for strides in [[shape[1] * shape[2], shape[2], 1], [1, shape[0], shape[0] * shape[1]]]
            {
                let strides = strides.map(|stride| stride as isize);
                for dim in 0..3 {
                    check(&wide, shape, strides, dim);
                    check(&narrow, shape, strides, dim);
                    check(&whole, shape, strides, dim);
                    check(&bytes, shape, strides, dim);
                }
            }
        }
    }
}

#[test]
fn far_ends_of_the_types() {
    let whole = [i64::MAX, i64::MIN, 0, -1, i64::MAX];
    let view = View::new(&whole, 0, &[5], &[1]).unwrap();
    let (mut values, mut indices) = ([0; 5], [0; 5]);
    sort(view, 0, true, &mut values, &mut indices).unwrap();
    assert_eq!(indices, [0, 4, 2, 3, 1]);
    let floats = [f32::MAX, f32::NEG_INFINITY, f32::MIN_POSITIVE / 4.0, -0.0, 0.0, -f32::NAN];
    let view = View::new(&floats, 0, &[6], &[1]).unwrap();
    let (mut values, mut indices) = ([0.0; 6], [0; 6]);
    sort(view, 0, false, &mut values, &mut indices).unwrap();
    assert_eq!(indices, [1, 3, 4, 2, 0, 5]);
    sort(view, 0, true, &mut values, &mut indices).unwrap();
    assert_eq!(indices, [5, 0, 2, 3, 4, 1]);
    assert!(sort(view, 1, true, &mut values, &mut indices).is_err());
    assert!(sort(view, 0, true, &mut values, &mut indices[..5]).is_err());
}
