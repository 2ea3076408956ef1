//! The CPU's results: rows of all lengths, many equal elements, all types, layouts of all kinds.

use super::*;
use crate::cpu::{search, sort as cpu};
use crate::cuda::testing::{Bits, Element, assert_same, both, download, gpu, upload, values};
use crate::{bf16, f16};

/// Shape, strides and the dim.
const CASES: &[(&[usize], &[isize], usize)] = &[
    (&[0], &[1], 0),
    (&[1], &[1], 0),
    (&[2], &[-1], 0),
    (&[33], &[1], 0),
    (&[1000], &[2], 0),
    (&[2048], &[1], 0),
    (&[4500], &[-1], 0),
    (&[3, 0], &[1, 1], 1),
    (&[300, 3], &[3, 1], 1),
    (&[3, 300], &[300, 1], 0),
    (&[3, 300], &[1, 3], 1),
    (&[7, 5, 6], &[30, 6, 1], 1),
    (&[7, 5, 6], &[-30, 1, 5], 1),
    (&[2100, 2], &[2, 1], 0),
    (&[4, 5], &[0, 1], 0),
];

/// Values among which equals are common, or not.
fn data<T: Element>(what: usize) -> Vec<T> {
    let all: Vec<T> = values(10_000, 3 + what as u64);
    let few = |x: &T| if x.to_f64().abs() < 20.0 { T::from_f64(x.to_f64().round()) } else { *x };
    if what == 0 { all } else { all.iter().map(few).collect() }
}

fn check<T: Element>() {
    let Some(gpu) = gpu() else { return };
    for what in 0..2 {
        let data: Vec<T> = data(what);
        let there = upload(gpu, &data);
        for &(shape, strides, dim) in CASES {
            let offset = if strides.iter().any(|&stride| stride < 0) { 4800 } else { 7 };
            let (x, x_there) = both(&data, &there, (offset, shape, strides));
            for descending in [false, true] {
                // Long rows are much work where a GPU is emulated.
                if shape[dim] > SHORT && (what == 0) == descending {
                    continue;
                }
                let (mut want, mut places) = (vec![T::default(); x.len()], vec![0i64; x.len()]);
                cpu::sort(x, dim, descending, &mut want, &mut places).unwrap();
                let mut out = DeviceBuffer::new(gpu, x.len() * size_of::<T>()).unwrap();
                let mut indices = DeviceBuffer::new(gpu, x.len() * 8).unwrap();
                sort(x_there, dim, descending, &mut out, &mut indices).unwrap();
                let name = || {
                    format!("{} {shape:?} {strides:?} {dim} {descending} {what}", T::KIND.name())
                };
                assert_same(&download::<T>(&out), &want, &name);
                assert_same(&download::<i64>(&indices), &places, &name);
            }
        }
    }
}

#[test]
fn floats_are_sorted() {
    check::<f32>();
    check::<f64>();
}

#[test]
fn halves_are_sorted() {
    check::<f16>();
    check::<bf16>();
}

#[test]
fn integers_are_sorted() {
    check::<i8>();
    check::<u8>();
    check::<i32>();
    check::<i64>();
}

/// Few of each kind of row, for where every step is watched.
#[test]
fn a_row_of_each_kind() {
    let Some(gpu) = gpu() else { return };
    let data: Vec<i32> = values(2500, 8);
    let there = upload(gpu, &data);
    for n in [60, 2500] {
        let shape = [n];
        let (x, x_there) = both(&data, &there, (0, &shape, &[1]));
        let (mut want, mut places) = (vec![0; n], vec![0; n]);
        cpu::sort(x, 0, true, &mut want, &mut places).unwrap();
        let mut out = DeviceBuffer::new(gpu, 4 * n).unwrap();
        let mut indices = DeviceBuffer::new(gpu, 8 * n).unwrap();
        sort(x_there, 0, true, &mut out, &mut indices).unwrap();
        assert_same(&download::<i32>(&out), &want, &|| n.to_string());
        assert_same(&download::<i64>(&indices), &places, &|| n.to_string());
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(gpu) = gpu() else { return };
    let there = upload(gpu, &[1f32; 6]);
    let x = Array::new(&there, Type::F32, 0, &[6], &[1]).unwrap();
    let room = |bytes| DeviceBuffer::new(gpu, bytes).unwrap();
    assert!(sort(x, 1, false, &mut room(24), &mut room(48)).is_err());
    assert!(sort(x, 0, false, &mut room(20), &mut room(48)).is_err());
    assert!(sort(x, 0, false, &mut room(24), &mut room(40)).is_err());
    assert!(search_sorted(x, 6, x, 4, false, &mut room(48)).is_err());
    assert!(search_sorted(x, 5, x, 6, false, &mut room(48)).is_err());
    let turned = Array::new(&there, Type::F32, 0, &[2, 3], &[1, 2]).unwrap();
    assert!(search_sorted(turned, 3, x, 3, false, &mut room(48)).is_err());
}

fn look<T: Element>() {
    let Some(gpu) = gpu() else { return };
    let (mut rows, wanted): (Vec<T>, Vec<T>) = (values(4000, 5), values(3000, 6));
    let order = |a: &T, b: &T| {
        let nan = |x: &T| x.partial_cmp(x).is_none();
        a.partial_cmp(b).unwrap_or_else(|| nan(a).cmp(&nan(b)))
    };
    let mut bits = Bits(1);
    // Rows, their length, values a row. The last is not sorted at all.
    for (n, per_row, count) in [
        (40, 3000, 1),
        (1000, 700, 1),
        (0, 5, 1),
        (1, 3, 7),
        (90, 4, 40),
        (33, 1, 9),
        (100, 900, 2),
    ] {
        if n != 100 {
            rows.chunks_mut(n.max(1)).for_each(|row| row.sort_by(order));
        } else {
            rows.sort_by_cached_key(|_| bits.next());
        }
        let (sorted, values) = (&rows[..n * count], &wanted[..per_row * count]);
        let (sorted_there, values_there) = (upload(gpu, sorted), upload(gpu, values));
        let (many, few) = ([sorted.len()], [values.len()]);
        let (_, from) = both(sorted, &sorted_there, (0, &many, &[1]));
        let (_, what) = both(values, &values_there, (0, &few, &[1]));
        for right in [false, true] {
            let mut want = vec![0; values.len()];
            search::search_sorted(sorted, n, values, per_row, right, &mut want).unwrap();
            let mut out = DeviceBuffer::new(gpu, 8 * values.len()).unwrap();
            search_sorted(from, n, what, per_row, right, &mut out).unwrap();
            let name = || format!("{} {n} {per_row} {count} {right}", T::KIND.name());
            assert_same(&download::<i64>(&out), &want, &name);
        }
    }
}

#[test]
fn places_are_found_in_sorted_rows() {
    look::<f32>();
    look::<f64>();
    look::<f16>();
    look::<bf16>();
    look::<i8>();
    look::<u8>();
    look::<i32>();
    look::<i64>();
}
