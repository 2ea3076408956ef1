//! Against the reference, contiguous and strided.

use super::*;
use crate::cpu::reduce::tests::data;
use crate::error::Error;
use crate::reference::gather as reference;

/// Row-major strides, and the data and strides of the same elements stored backwards, first dim innermost.
struct Layouts<T> {
    shape: Vec<usize>,
    data: Vec<T>,
    strides: Vec<isize>,
    odd: Vec<T>,
    odd_strides: Vec<isize>,
}

impl<T: Pod> Layouts<T> {
    fn new(data: Vec<T>, shape: &[usize]) -> Self {
        let mut strides = vec![1isize; shape.len()];
        for d in (1..shape.len()).rev() {
            strides[d - 1] = strides[d] * shape[d] as isize;
        }
        let mut odd_strides = Vec::new();
        let mut step = -1isize;
        for &size in shape {
            odd_strides.push(step);
            step *= size as isize;
        }
        let mut odd = data.clone();
        for (i, &x) in data.iter().enumerate() {
            let (mut rest, mut at) = (i, data.len() as isize - 1);
            for d in (0..shape.len()).rev() {
                at += (rest % shape[d]) as isize * odd_strides[d];
                rest /= shape[d];
            }
            odd[at as usize] = x;
        }
        Layouts { shape: shape.to_vec(), data, strides, odd, odd_strides }
    }

    fn views(&self) -> [View<'_, T>; 2] {
        let last = self.odd.len().saturating_sub(1);
        [
            View::new(&self.data, 0, &self.shape, &self.strides).unwrap(),
            View::new(&self.odd, last, &self.shape, &self.odd_strides).unwrap(),
        ]
    }
}

fn indices(n: usize, size: usize) -> Vec<i64> {
    (0..n).map(|i| (i * 7 + i / 3) as i64 % size as i64).collect()
}

fn values(n: usize) -> Vec<f32> {
    data(n, 31, false).into_iter().map(|x| x as f32).collect()
}

fn check_elements(shape: &[usize], index_shape: &[usize], dim: usize) {
    let n = index_shape.iter().product();
    let index = Layouts::new(indices(n, shape[dim]), index_shape);
    let x = Layouts::new(values(shape.iter().product()), shape);
    let want = reference::gather(&x.data, shape, dim, &index.data, index_shape);
    let source = Layouts::new(values(n), index_shape);
    let mut sums = x.data.clone();
    reference::scatter_add(&source.data, dim, &index.data, index_shape, shape, &mut sums);
    for i in 0..2 {
        let mut out = vec![9.0; n];
        gather(x.views()[i], dim, index.views()[1 - i], &mut out).unwrap();
        assert_eq!(out, want, "gather {shape:?} {index_shape:?} {dim}");
        let mut out = x.data.clone();
        scatter_add(source.views()[i], dim, index.views()[i], shape, &mut out).unwrap();
        assert_eq!(out, sums, "scatter_add {shape:?} {index_shape:?} {dim}");
    }
}

#[test]
fn elements_by_index() {
    check_elements(&[5], &[9], 0);
    check_elements(&[4, 6], &[3, 10], 1);
    check_elements(&[4, 6], &[30, 6], 0);
    check_elements(&[3, 1, 5], &[3, 1, 2], 2);
    check_elements(&[3, 4, 5], &[2, 7, 5], 1);
    check_elements(&[3, 4], &[0, 4], 1);
}

fn check_slices(shape: &[usize], n: usize, dim: usize) {
    let vector = Layouts::new(indices(n, shape[dim]), &[n]);
    let x = Layouts::new(values(shape.iter().product()), shape);
    let (all, selected) = reference::spread(&vector.data, shape, dim);
    let want = reference::gather(&x.data, shape, dim, &all, &selected);
    let source = Layouts::new(values(all.len()), &selected);
    let mut sums = x.data.clone();
    reference::scatter_add(&source.data, dim, &all, &selected, shape, &mut sums);
    for i in 0..2 {
        let mut out = vec![9.0; want.len()];
        index_select(x.views()[i], dim, vector.views()[1 - i], &mut out).unwrap();
        assert_eq!(out, want, "index_select {shape:?} {dim}");
        let mut out = x.data.clone();
        index_add(source.views()[i], dim, vector.views()[i], shape, &mut out).unwrap();
        assert_eq!(out, sums, "index_add {shape:?} {dim}");
    }
}

#[test]
fn slices_by_index() {
    check_slices(&[7], 5, 0);
    check_slices(&[50, 784], 64, 0);
    check_slices(&[10, 300], 1000, 0);
    check_slices(&[3, 4, 5], 9, 1);
    check_slices(&[3, 4, 5], 2, 2);
    check_slices(&[4, 1, 3, 2], 0, 0);
    check_slices(&[4, 0, 3], 5, 0);
}

#[test]
fn wrong_indices_write_nothing() {
    let x = [1.0f32; 6];
    let view = View::new(&x, 0, &[2, 3], &[3, 1]).unwrap();
    for bad in [-1, 3, i64::MIN, i64::MAX] {
        let index = [0, bad];
        let error = Err(Error::IndexOutOfRange { index: bad, position: 1, size: 3 });
        let vector = View::new(&index, 0, &[2], &[1]).unwrap();
        let plane = View::new(&index, 0, &[1, 2], &[2, 1]).unwrap();
        let source = View::new(&x, 0, &[1, 2], &[3, 1]).unwrap();
        let columns = View::new(&x, 0, &[2, 2], &[3, 1]).unwrap();
        let mut out = [7.0; 6];
        assert_eq!(index_select(view, 1, vector, &mut out[..4]), error);
        assert_eq!(gather(view, 1, plane, &mut out[..2]), error);
        assert_eq!(index_add(columns, 1, vector, &[2, 3], &mut out), error);
        assert_eq!(scatter_add(source, 1, plane, &[2, 3], &mut out), error);
        assert_eq!(out, [7.0; 6]);
    }
}

#[test]
fn wrong_shapes() {
    let (x, index) = ([1.0f32; 6], [0i64; 6]);
    let view = View::new(&x, 0, &[2, 3], &[3, 1]).unwrap();
    let tall = View::new(&index, 0, &[3, 1], &[1, 1]).unwrap();
    let vector = View::new(&index, 0, &[2], &[1]).unwrap();
    let mut out = [0.0; 6];
    assert!(gather(view, 1, tall, &mut out[..3]).is_err());
    assert!(gather(view, 2, tall, &mut out[..3]).is_err());
    assert!(gather(view, 0, vector, &mut out[..2]).is_err());
    assert!(index_select(view, 2, vector, &mut out).is_err());
    assert!(index_select(view, 0, tall, &mut out).is_err());
    assert!(index_select(view, 0, vector, &mut out[..5]).is_err());
    assert!(index_add(view, 1, vector, &[2, 3], &mut out).is_err());
    assert!(scatter_add(view, 0, tall, &[2, 3], &mut out).is_err());
}

fn check_scatter(shape: &[usize], index_shape: &[usize], dim: usize) {
    let n = index_shape.iter().product();
    let index = Layouts::new(indices(n, shape[dim]), index_shape);
    let source = Layouts::new(values(n), index_shape);
    for how in [ScatterOp::Last, ScatterOp::Prod, ScatterOp::Max, ScatterOp::Min] {
        let start = values(shape.iter().product());
        let mut expected = start.clone();
        let (numbers, from) = (&index.data, &source.data);
        reference::scatter(how, from, dim, numbers, index_shape, shape, &mut expected);
        for source in source.views() {
            for index in index.views() {
                let mut out = start.clone();
                scatter_reduce(how, source, dim, index, shape, &mut out).unwrap();
                assert_eq!(out, expected, "{how:?} {shape:?} {index_shape:?} {dim}");
                if how == ScatterOp::Last {
                    let mut out = start.clone();
                    scatter(source, dim, index, shape, &mut out).unwrap();
                    assert_eq!(out, expected);
                }
            }
        }
    }
}

#[test]
fn scattered_elements() {
    check_scatter(&[7], &[19], 0);
    check_scatter(&[4, 5], &[9, 3], 0);
    check_scatter(&[4, 5], &[3, 11], 1);
    check_scatter(&[3, 2, 5], &[2, 6, 5], 1);
    check_scatter(&[3, 2], &[0, 2], 0);
    let (index, strides) = ([3i64], [1]);
    let index = View::new(&index, 0, &[1], &strides).unwrap();
    let one = View::new(&[1f32], 0, &[1], &strides).unwrap();
    let mut out = [5f32; 3];
    let refused = scatter(one, 0, index, &[3], &mut out);
    assert!(matches!(refused, Err(Error::IndexOutOfRange { index: 3, size: 3, .. })));
    assert_eq!(out, [5.; 3]);
}

#[test]
fn overlapping_places() {
    let (windows, taps, step) = (5usize, 4usize, 2usize);
    let x = Layouts::new(values(windows * taps), &[windows, taps]);
    let strides = [step as isize, 1];
    let mut expected = vec![0f32; 13];
    reference::accumulate(&x.data, &[windows, taps], &strides, &mut expected);
    for view in x.views() {
        let mut out = vec![0f32; 13];
        accumulate(view, &strides, &mut out).unwrap();
        assert_eq!(out, expected);
        assert!(accumulate(view, &strides, &mut out[..11]).is_err());
    }
}

#[test]
fn integers_that_meet() {
    let (source, index) = ([3i64, i64::MAX, -2, 5], [1i64, 0, 1, 0]);
    let [source, index] = [&source, &index].map(|data| View::new(data, 0, &[4], &[1]).unwrap());
    let run = |how| {
        let mut out = [2i64, 4, 6];
        scatter_integers(how, source, 0, index, &[3], &mut out).map(|()| out)
    };
    assert_eq!(run(None).unwrap(), [i64::MIN + 6, 5, 6]);
    assert_eq!(run(Some(ScatterOp::Last)).unwrap(), [5, -2, 6]);
    assert_eq!(run(Some(ScatterOp::Prod)).unwrap(), [i64::MAX.wrapping_mul(10), -24, 6]);
    assert_eq!(run(Some(ScatterOp::Max)).unwrap(), [i64::MAX, 4, 6]);
    assert_eq!(run(Some(ScatterOp::Min)).unwrap(), [2, -2, 6]);
    let beyond = View::new(&[3i64], 0, &[1], &[1]).unwrap();
    assert!(scatter_integers(None, beyond, 0, beyond, &[3], &mut [0; 3]).is_err());
}
