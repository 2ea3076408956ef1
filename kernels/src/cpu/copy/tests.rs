//! Copies of every kind of layout against element-by-element loops.

use super::*;
use crate::reference::map::elements;

/// Shape and strides of views that fit 0..200,000 from offset 100,000.
const LAYOUTS: &[(&[usize], &[isize])] = &[
    (&[], &[]),
    (&[0, 4], &[4, 1]),
    (&[100_000], &[1]),
    (&[100, 200], &[1, 100]),
    (&[33, 47], &[1, 33]),
    (&[3, 4], &[1, 3]),
    (&[4, 5], &[1, 4]),
    (&[17, 300], &[1, 17]),
    (&[300, 300], &[1, 300]),
    (&[300, 200], &[250, 1]),
    (&[300, 5], &[50, 1]),
    (&[50, 20], &[-20, -1]),
    (&[50, 20], &[-1, 50]),
    (&[40, 50], &[0, 1]),
    (&[40, 50], &[1, 0]),
    (&[4, 30, 16], &[480, 1, 30]),
    (&[16, 30, 20], &[1, 16, 480]),
    (&[7, 16, 30, 20], &[9600, 1, 16, 480]),
    (&[5, 6, 7], &[2, 100, 1000]),
    (&[2, 2, 2, 2, 2, 2, 3, 2], &[1, 2, 4, 8, 16, 32, 64, 192]),
];

fn check<T: Pod>(data: &[T], shape: &[usize], strides: &[isize]) {
    let x = View::new(data, 100_000, shape, strides).unwrap();
    let want = elements(x);
    let mut out = vec![T::default(); want.len()];
    copy(x, &mut out).unwrap();
    assert!(out == want, "copy {shape:?} {strides:?}");
    // And back: into the same layout, from a contiguous source, in row-major order.
    let all: Vec<i64> = (0..data.len() as i64).collect();
    let places = elements(View::new(&all, 100_000, shape, strides).unwrap());
    let mut target = vec![T::default(); data.len()];
    let mut expected = target.clone();
    for (&place, &value) in places.iter().zip(&want) {
        expected[place as usize] = value;
    }
    let contiguous = row_major(shape);
    let source = View::new(&want, 0, shape, &contiguous).unwrap();
    copy_into(source, ViewMut::new(&mut target, 100_000, shape, strides).unwrap()).unwrap();
    assert!(target == expected, "copy_into {shape:?} {strides:?}");
}

#[test]
fn every_layout_of_every_size() {
    let words: Vec<i32> = (0..200_000).collect();
    let longs: Vec<i64> = (0..200_000).collect();
    let bytes: Vec<u8> = (0..200_000).map(|i| (i % 251) as u8).collect();
    for &(shape, strides) in LAYOUTS {
        check(&words, shape, strides);
        check(&longs, shape, strides);
        check(&bytes, shape, strides);
    }
}

/// Squares by way of a buffer, and beyond 8 MiB past the caches; targets on and off cache lines.
#[test]
fn large_matrices_are_turned() {
    fn check<T: Pod>(rows: usize, columns: usize, of: impl Fn(usize) -> T) {
        let data: Vec<T> = (0..rows * columns).map(of).collect();
        let (shape, strides) = ([columns, rows], [1, columns as isize]);
        let x = View::new(&data, 0, &shape, &strides).unwrap();
        let mut out = vec![T::default(); rows * columns + 64];
        for start in 0..17 {
            let out = &mut out[start..start + rows * columns];
            copy(x, out).unwrap();
            for c in (0..columns).step_by(61).chain([columns - 1]) {
                let want = (0..rows).map(|r| data[r * columns + c]);
                assert!(out[c * rows..][..rows].iter().copied().eq(want), "{rows} {columns} {c}");
            }
        }
    }
    check(512, 576, |i| i as i32);
    check(2048, 1088, |i| i as f32);
    check(1024, 1088, |i| i as i64);
    check(1100, 2013, |i| i as f32);
    check(577, 519, |i| i as i64);
}

#[test]
fn overlapping_places_keep_the_last() {
    let x = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let mut out = [0.0f32; 4];
    let view = View::new(&x, 0, &[2, 3], &[3, 1]).unwrap();
    copy_into(view, ViewMut::new(&mut out, 0, &[2, 3], &[1, 1]).unwrap()).unwrap();
    assert_eq!(out, [1.0, 4.0, 5.0, 6.0]);
}

#[test]
fn lengths_and_shapes_that_differ_are_refused() {
    let x = [1.0f32; 6];
    let view = View::new(&x, 0, &[6], &[1]).unwrap();
    assert!(copy(view, &mut [0.0; 5]).is_err());
    let mut out = [0.0f32; 6];
    assert!(copy_into(view, ViewMut::new(&mut out, 0, &[2, 3], &[3, 1]).unwrap()).is_err());
}
