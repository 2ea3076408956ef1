//! The CPU's bits: windows of every kind, ties and NaN; and its words for taps that don't fit.

use super::*;
use crate::Float;
use crate::cpu::pool::Windows as Given;
use crate::cuda::testing::{Element, assert_same, download, gpu, upload, values};

fn sliding(
    input: [usize; 2],
    [kernel, stride, padding]: [[usize; 2]; 3],
    dilation: [usize; 2],
    ceil: bool,
) -> Pool2dShape {
    Pool2dShape { planes: 3, input, kernel, stride, padding, dilation, ceil }
}

fn all_windows() -> Vec<Given> {
    let mut all = Vec::new();
    for settings in [
        [[2, 2], [2, 2], [0, 0]],
        [[3, 3], [1, 1], [1, 1]],
        [[3, 2], [2, 3], [1, 0]],
        [[2, 70], [1, 3], [1, 35]],
        [[1, 5], [4, 2], [0, 2]],
        [[11, 9], [5, 7], [5, 4]],
        [[1, 1], [3, 1 << 40], [0, 0]],
    ] {
        for (dilation, ceil) in [([1, 1], false), ([1, 1], true), ([2, 1], true), ([3, 2], false)] {
            for input in [[23, 80], [4, 9], [12, 12]] {
                let s = sliding(input, settings, dilation, ceil);
                if s.check().is_ok() {
                    all.push(Given::Sliding(s));
                }
            }
        }
    }
    for output in [[1, 1], [5, 7], [23, 80], [30, 3], [0, 4]] {
        all.push(Given::Adaptive { planes: 2, input: [23, 80], output });
    }
    all
}

/// Planes, elements of an input plane, of an output plane.
fn sizes(windows: &Given) -> (usize, usize, usize) {
    let (planes, input) = match windows {
        Given::Sliding(s) => (s.planes, s.input),
        Given::Adaptive { planes, input, .. } => (*planes, *input),
    };
    let output = windows.output().unwrap();
    (planes, input[0] * input[1], output[0] * output[1])
}

/// An operand and its row-major layout.
struct There {
    buffer: DeviceBuffer,
    shape: [usize; 1],
    kind: Type,
}

impl There {
    fn new<T: Element>(gpu: &'static super::super::Gpu, x: &[T]) -> There {
        There { buffer: upload(gpu, x), shape: [x.len()], kind: T::KIND }
    }

    fn array(&self) -> Array<'_> {
        Array::new(&self.buffer, self.kind, 0, &self.shape, &[1]).unwrap()
    }
}

fn check_maximum<T: Element + Float>(shape: &Pool2dShape, few: &[T], grad: &[T]) {
    let Some(gpu) = gpu() else { return };
    let what = || format!("{} {shape:?}", T::KIND.name());
    let (n, places, size) = (few.len(), grad.len(), size_of::<T>());
    let (mut out, mut index) = (vec![T::ONE; places], vec![9; places]);
    pool::max_pool2d(shape, few, &mut out, &mut index).unwrap();
    let mut y = DeviceBuffer::new(gpu, places * size).unwrap();
    let mut taps = DeviceBuffer::new(gpu, places).unwrap();
    let (x, g) = (There::new(gpu, few), There::new(gpu, grad));
    max_pool2d(shape, x.array(), &mut y, &mut taps).unwrap();
    assert_same(&download(&y), &out, &what);
    assert_same(&download(&taps), &index, &what);
    // Known to be right; and of a copy not known.
    assert!(taps.facts.holds(Fact::Taps(*shape)));
    let taps = There { buffer: taps, shape: [places], kind: Type::U8 };
    max_pool2d_gather(shape, x.array(), taps.array(), &mut y).unwrap();
    assert_same(&download(&y), &out, &what);
    let taps = There::new(gpu, &index);
    let mut want = vec![T::ONE; n];
    pool::max_pool2d_grad(shape, grad, &index, &mut want).unwrap();
    let mut back = DeviceBuffer::new(gpu, n * size).unwrap();
    max_pool2d_grad(shape, g.array(), taps.array(), &mut back).unwrap();
    assert_same(&download(&back), &want, &what);
    max_pool2d_gather(shape, x.array(), taps.array(), &mut y).unwrap();
    assert_same(&download(&y), &out, &what);
}

fn check<T: Element + Float>() {
    let Some(gpu) = gpu() else { return };
    let all: Vec<T> = values(6000, 3);
    // Few values, so that ties are common.
    let rounded = |x: &T| if x.is_nan() { *x } else { T::from_f64(x.to_f64().round()) };
    let few: Vec<T> = all.iter().map(rounded).collect();
    for windows in &all_windows() {
        let what = || format!("{} {windows:?}", T::KIND.name());
        let (planes, input, output) = sizes(windows);
        let (n, places) = (planes * input, planes * output);
        let (x, few, grad) = (&all[..n], &few[..n], &all[6000 - places..]);
        let (here, there) = (There::new(gpu, x), There::new(gpu, few));
        let mut want = vec![9; places];
        pool::max_pool2d_index(windows, few, &mut want).unwrap();
        let mut index = DeviceBuffer::new(gpu, places * 8).unwrap();
        max_pool2d_index(windows, there.array(), &mut index).unwrap();
        assert_same(&download(&index), &want, &what);
        let (size, g) = (size_of::<T>(), There::new(gpu, grad));
        for by in [Divisor::Elements, Divisor::Padded, Divisor::By(-3), Divisor::By(0)] {
            let (mut want, mut back) = (vec![T::ONE; places], vec![T::ONE; n]);
            let mut y = DeviceBuffer::new(gpu, places * size).unwrap();
            let mut dx = DeviceBuffer::new(gpu, n * size).unwrap();
            let done = pool::average_pool2d(windows, by, x, &mut want);
            assert_eq!(average_pool2d(windows, by, here.array(), &mut y), done, "{}", what());
            let back_done = pool::average_pool2d_grad(windows, by, grad, &mut back);
            let got = average_pool2d_grad(windows, by, g.array(), &mut dx);
            assert_eq!(got, back_done, "{}", what());
            if done.is_ok() {
                assert_same(&download(&y), &want, &what);
                assert_same(&download(&dx), &back, &what);
            }
        }
        match windows {
            Given::Sliding(s) if s.dilation == [1, 1] => check_maximum(s, few, grad),
            _ => (),
        }
    }
}

#[test]
fn every_window_in_f32() {
    check::<f32>();
}

#[test]
fn every_window_in_f64() {
    check::<f64>();
}

#[test]
fn taps_that_do_not_fit() {
    let Some(gpu) = gpu() else { return };
    let good =
        Pool2dShape { planes: 1, ..sliding([4, 4], [[2, 2], [2, 2], [0, 0]], [1, 1], false) };
    let padded = Pool2dShape { padding: [1, 1], input: [3, 3], ..good };
    let mut back = [0.0; 16];
    for (shape, index) in
        [(&good, [0u8, 1, 2, 4]), (&padded, [3, 2, 1, 0]), (&padded, [0, 2, 1, 0])]
    {
        let n = shape.input[0] * shape.input[1];
        let want = pool::max_pool2d_grad(shape, &[1.0; 4], &index, &mut back[..n]);
        let (grad, taps) = (There::new(gpu, &[1f64; 4]), There::new(gpu, &index));
        let mut out = DeviceBuffer::new(gpu, n * 8).unwrap();
        assert_eq!(max_pool2d_grad(shape, grad.array(), taps.array(), &mut out), want);
        let x = There::new(gpu, &vec![1f64; n]);
        let mut y = DeviceBuffer::new(gpu, 32).unwrap();
        assert_eq!(max_pool2d_gather(shape, x.array(), taps.array(), &mut y), want);
    }
    // What was right once is looked at again after a change.
    let one = Pool2dShape { input: [2, 2], ..good };
    let (x, mut taps) = (There::new(gpu, &[1f64; 4]), DeviceBuffer::new(gpu, 1).unwrap());
    let mut y = DeviceBuffer::new(gpu, 8).unwrap();
    max_pool2d(&one, x.array(), &mut y, &mut taps).unwrap();
    taps.upload(&[7]).unwrap();
    let taps = There { buffer: taps, shape: [1], kind: Type::U8 };
    assert!(max_pool2d_gather(&one, x.array(), taps.array(), &mut y).is_err());
    let x = There::new(gpu, &[1f32; 16]);
    let (mut y, mut taps) =
        (DeviceBuffer::new(gpu, 16).unwrap(), DeviceBuffer::new(gpu, 4).unwrap());
    assert!(max_pool2d(&good, x.array(), &mut y, &mut taps).is_ok());
    let wide = Pool2dShape { planes: 2, ..good };
    assert!(max_pool2d(&wide, x.array(), &mut y, &mut taps).is_err());
    let turned = Array::new(&x.buffer, Type::F32, 0, &[4, 4], &[1, 4]).unwrap();
    assert!(max_pool2d(&good, turned, &mut y, &mut taps).is_err());
    let whole = Array::new(&x.buffer, Type::I32, 0, &[4, 4], &[4, 1]).unwrap();
    assert!(max_pool2d(&good, whole, &mut y, &mut taps).is_err());
    let mut short = DeviceBuffer::new(gpu, 3).unwrap();
    assert!(max_pool2d(&good, x.array(), &mut y, &mut short).is_err());
}
