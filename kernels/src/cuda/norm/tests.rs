//! The CPU's bits: rows of odd lengths, some too long for shared memory, many and few of them; each parameter there or not.

use super::*;
use crate::Float;
use crate::cpu::norm as cpu;
use crate::cuda::testing::{Element, assert_same, download, gpu, upload, values};

const EPS: f64 = 1e-5;

/// The device's `layer_norm`, its gradient in x and that in the weight.
fn computed<T: Element>(
    [x, g, w, b]: [&[T]; 4],
    [rows, size]: [usize; 2],
    affine: [bool; 2],
    offset: usize,
) -> [Vec<T>; 4] {
    let gpu = gpu().unwrap();
    let shifted = |x: &[T]| {
        let mut all = vec![T::of_bits(0); offset];
        all.extend(x);
        upload(gpu, &all)
    };
    let there = [x, g, w, b].map(shifted);
    let whole = [rows * size];
    let array = |at: usize, len| Array::new(&there[at], T::KIND, offset, len, &[1]).unwrap();
    let one = [size];
    let weight = affine[0].then(|| array(2, &one));
    let bias = affine[1].then(|| array(3, &one));
    let bytes = size_of::<T>();
    let mut y = DeviceBuffer::new(gpu, rows * size * bytes).unwrap();
    let mut stats = DeviceBuffer::new(gpu, 2 * rows * bytes).unwrap();
    layer_norm(size, EPS, array(0, &whole), [weight, bias], &mut y, &mut stats).unwrap();
    let (known, mut dx) = ([2 * rows], DeviceBuffer::new(gpu, rows * size * bytes).unwrap());
    let known = Array::new(&stats, T::KIND, 0, &known, &[1]).unwrap();
    layer_norm_input(array(1, &whole), array(0, &whole), known, weight, &mut dx).unwrap();
    let mut dw = DeviceBuffer::new(gpu, size * bytes).unwrap();
    layer_norm_weight(array(1, &whole), array(0, &whole), known, &mut dw).unwrap();
    [&y, &stats, &dx, &dw].map(download)
}

fn check<T: Element + Float>(rows: usize, size: usize, affine: [bool; 2], wild: bool) {
    let Some(_) = gpu() else { return };
    let numbers = |n: usize, seed| -> Vec<T> {
        let all: Vec<T> = values(n, seed);
        let tame = |x: &T| if wild || x.to_f64().abs() < 9.0 { *x } else { T::from_f64(0.3) };
        all.iter().map(tame).collect()
    };
    let [x, g] = [3, 5].map(|seed| numbers(rows * size, seed));
    let [w, b] = [7, 9].map(|seed| numbers(size, seed));
    let (weight, bias) = (affine[0].then_some(&w[..]), affine[1].then_some(&b[..]));
    let (mut y, mut stats) = (vec![T::ONE; x.len()], vec![T::ONE; 2 * rows]);
    cpu::layer_norm(size, EPS, &x, [weight, bias], &mut y, &mut stats).unwrap();
    let mut dx = vec![T::ONE; x.len()];
    cpu::layer_norm_input(&g, &x, &stats, weight, &mut dx).unwrap();
    let mut dw = vec![T::ONE; size];
    cpu::layer_norm_weight(&g, &x, &stats, &mut dw).unwrap();
    for offset in [0, 3] {
        let got = computed([&x, &g, &w, &b], [rows, size], affine, offset);
        for ((name, want), got) in ["stats", "y", "dx", "dw"]
            .into_iter()
            .zip([&stats, &y, &dx, &dw])
            .zip([&got[1], &got[0], &got[2], &got[3]])
        {
            let what = || format!("{name} {rows} x {size} {affine:?} {wild} from {offset}");
            assert_same(got, want, &what);
        }
    }
}

fn all<T: Element + Float>() {
    let sizes = [0, 1, 2, 3, 4, 7, 31, 32, 33, 63, 64, 65, 127, 130, 1000, 1024, 1025, 1028, 5000];
    for (i, size) in sizes.into_iter().enumerate() {
        let affine = [[false, false], [true, false], [true, true]][i % 3];
        check::<T>(3, size, affine, i % 4 == 1);
    }
    // The longest that are held, and longer ones of several chunks.
    for size in [8192, 12_288, 12_292, 16_384, 16_385, 40_000] {
        check::<T>(2, size, [true, true], false);
    }
    for rows in [0, 1, 37, 255, 256, 257, 513] {
        check::<T>(rows, 5, [true, true], rows == 37);
    }
}

#[test]
fn rows_of_f32() {
    all::<f32>();
}

#[test]
fn rows_of_f64() {
    all::<f64>();
}

#[test]
fn lengths_are_checked() {
    let Some(gpu) = gpu() else { return };
    let x = upload(gpu, &[1f32; 6]);
    let (mut y, mut stats) =
        (DeviceBuffer::new(gpu, 24).unwrap(), DeviceBuffer::new(gpu, 16).unwrap());
    let of = |n: &'static [usize]| Array::new(&x, Type::F32, 0, n, &[1]).unwrap();
    assert!(layer_norm(3, EPS, of(&[6]), [None, None], &mut y, &mut stats).is_ok());
    assert!(layer_norm(2, EPS, of(&[6]), [None, None], &mut y, &mut stats).is_err());
    assert!(layer_norm(3, EPS, of(&[6]), [Some(of(&[2])), None], &mut y, &mut stats).is_err());
    assert!(layer_norm(3, EPS, of(&[6]), [None, Some(of(&[3]))], &mut y, &mut stats).is_err());
    assert!(layer_norm_input(of(&[5]), of(&[6]), of(&[4]), None, &mut y).is_err());
    assert!(layer_norm_weight(of(&[6]), of(&[6]), of(&[4]), &mut y).is_err());
    let whole = Array::new(&x, Type::I32, 0, &[6], &[1]).unwrap();
    assert!(layer_norm(3, EPS, whole, [None, None], &mut y, &mut stats).is_err());
}
