//! Against the reference window by window.

use super::*;
use crate::cpu::isa::{Isa, dispatch_on};
use crate::cpu::reduce::tests::{data, same32, same64};
use crate::reference::pool as reference;

fn shape(
    planes: usize,
    input: [usize; 2],
    kernel: usize,
    stride: usize,
    pad: usize,
) -> Pool2dShape {
    let pair = |x| [x, x];
    let (kernel, stride, padding) = (pair(kernel), pair(stride), pair(pad));
    Pool2dShape { planes, input, kernel, stride, padding, dilation: [1, 1], ceil: false }
}

macro_rules! check {
    ($name:ident, $t:ty, $same:ident) => {
        fn $name(shape: Pool2dShape, special: bool) {
            let [h, w] = shape.output().unwrap();
            let (n, places) =
                (shape.planes * shape.input[0] * shape.input[1], shape.planes * h * w);
            // Few values, so that ties are common.
            let round = |x: &f64| (x * 3.0).round() as $t;
            let x: Vec<$t> = data(n, 21, special).iter().map(round).collect();
            let grad: Vec<$t> = data(places, 22, false).iter().map(|&g| g as $t).collect();
            let want: Vec<($t, u8)> = (0..places).map(|i| reference::max(&shape, &x, i)).collect();
            let want_index: Vec<u8> = want.iter().map(|w| w.1).collect();
            let want: Vec<$t> = want.iter().map(|w| w.0).collect();
            let mut want_grad = vec![0.0; n];
            for i in 0..places {
                want_grad[reference::place(&shape, i, want_index[i]).unwrap()] += grad[i];
            }
            let (mut out, mut index) = (vec![9.0; places], vec![9; places]);
            max_pool2d(&shape, &x, &mut out, &mut index).unwrap();
            assert!($same(&out, &want) && index == want_index, "{shape:?}");
            let mut back = vec![9.0; n];
            max_pool2d_grad(&shape, &grad, &index, &mut back).unwrap();
            assert!($same(&back, &want_grad), "{shape:?}");
            let mut gathered = vec![9.0; places];
            max_pool2d_gather(&shape, &x, &index, &mut gathered).unwrap();
            assert!($same(&gathered, &want), "{shape:?}");
            let sizes = Sizes::new(&shape, n, places).unwrap();
            for isa in Isa::ALL {
                let (mut out, mut index) = (vec![9.0; places], vec![9; places]);
                dispatch_on(isa, Forward { sizes, x: &x, out: &mut out, index: &mut index });
                assert!($same(&out, &want) && index == want_index, "{isa:?} {shape:?}");
                let mut back = vec![9.0; n];
                dispatch_on(isa, Backward { sizes, grad: &grad, index: &index, out: &mut back });
                assert!($same(&back, &want_grad), "{isa:?} {shape:?}");
            }
        }
    };
}
check!(check32, f32, same32);
check!(check64, f64, same64);

#[test]
fn windows_of_all_kinds() {
    for special in [false, true] {
        for side in 2..40 {
            for s in [shape(3, [side, side + 1], 2, 2, 0), shape(2, [5, side], 2, 2, 0)] {
                for s in [s, Pool2dShape { ceil: true, ..s }] {
                    check32(s, special);
                    check64(s, special);
                }
            }
        }
        for (kernel, stride, pad) in
            [(3, 2, 1), (3, 1, 1), (2, 1, 0), (1, 1, 0), (5, 3, 2), (3, 5, 0)]
        {
            check32(shape(2, [11, 9], kernel, stride, pad), special);
            check64(shape(3, [7, 13], kernel, stride, pad), special);
            for input in [[11, 9], [8, 10], [5, 17]] {
                let hanging = Pool2dShape { ceil: true, ..shape(2, input, kernel, stride, pad) };
                check32(hanging, special);
                check64(hanging, special);
            }
        }
        check32(shape(1, [16, 16], 16, 1, 8), special);
        check32(shape(70, [28, 28], 2, 2, 0), special);
        check32(shape(0, [4, 4], 2, 2, 0), special);
    }
}

/// Windows of every kind; some wider than the short cut, some dilated, which a mean can't be.
fn all_windows() -> Vec<Windows> {
    let mut all = Vec::new();
    for (kernel, stride, padding) in [
        ([3, 3], [1, 1], [1, 1]),
        ([3, 2], [2, 3], [1, 0]),
        ([2, 70], [1, 3], [1, 35]),
        ([1, 5], [4, 2], [0, 2]),
        ([11, 9], [5, 7], [5, 4]),
    ] {
        for (dilation, ceil) in [([1, 1], false), ([1, 1], true), ([2, 1], true), ([3, 2], false)] {
            let input = [23, 80];
            let s = Pool2dShape { planes: 3, input, kernel, stride, padding, dilation, ceil };
            if s.check().is_ok() {
                all.push(Windows::Sliding(s));
            }
        }
    }
    for output in [[1, 1], [5, 7], [23, 80], [30, 3], [0, 4]] {
        all.push(Windows::Adaptive { planes: 2, input: [23, 80], output });
    }
    all
}

macro_rules! check_windows {
    ($name:ident, $t:ty, $same:ident) => {
        fn $name(windows: &Windows, special: bool) {
            let ([h, w], [oh, ow]) = (windows.input(), windows.output().unwrap());
            let (n, places) = (windows.planes() * h * w, windows.planes() * oh * ow);
            let x: Vec<$t> = data(n, 23, special).iter().map(|&x| x as $t).collect();
            let few: Vec<$t> = x.iter().map(|x| (x * 3.0).round()).collect();
            let want: Vec<i64> = (0..places)
                .map(|i| (reference::winner(windows, &few, i) % (h * w)) as i64)
                .collect();
            let mut index = vec![9; places];
            max_pool2d_index(windows, &few, &mut index).unwrap();
            assert!(index == want, "{windows:?}");
            let dilated = matches!(windows, Windows::Sliding(s) if s.dilation != [1, 1]);
            for by in [Divisor::Elements, Divisor::Padded, Divisor::By(-3)] {
                let mut out = vec![9.0; places];
                let done = average_pool2d(windows, by, &x, &mut out);
                assert_eq!(done.is_err(), dilated);
                if dilated {
                    continue;
                }
                let want: Vec<$t> =
                    (0..places).map(|i| reference::average(windows, by, &x, i)).collect();
                assert!($same(&out, &want), "{windows:?} {by:?}");
                let grad: Vec<$t> = data(places, 24, special).iter().map(|&g| g as $t).collect();
                let mut want = vec![0.0; n];
                for i in 0..places {
                    let share = grad[i] / reference::divisor(windows, by, i) as $t;
                    reference::seen(windows, i).into_iter().for_each(|at| want[at] += share);
                }
                let mut back = vec![9.0; n];
                average_pool2d_grad(windows, by, &grad, &mut back).unwrap();
                assert!($same(&back, &want), "{windows:?} {by:?}");
            }
        }
    };
}
check_windows!(check_windows32, f32, same32);
check_windows!(check_windows64, f64, same64);

#[test]
fn means_and_places_of_all_windows() {
    let all = all_windows();
    assert!(all.len() > 15, "{}", all.len());
    for windows in &all {
        for special in [false, true] {
            check_windows32(windows, special);
            check_windows64(windows, special);
        }
    }
}

#[test]
fn windows_without_an_element_are_refused() {
    let windows = |input, kernel, dilation, padding| {
        let (stride, planes, ceil) = ([1, 1], 1, false);
        Pool2dShape { planes, input, kernel, stride, padding, dilation, ceil }.check()
    };
    assert!(windows([3, 3], [2, 2], [2, 2], [1, 1]).is_ok());
    // Taps two places before and two behind the only element.
    assert!(windows([1, 1], [2, 2], [4, 4], [2, 2]).is_err());
    assert!(windows([3, 3], [4, 1], [1, 1], [0, 0]).is_err());
    assert!(windows([0, 3], [1, 1], [1, 1], [0, 0]).is_err());
    assert!(windows([3, 3], [usize::MAX, 1], [2, 1], [0, 0]).is_err());
    let (mut out, adaptive) =
        ([0.0f32; 4], |input| Windows::Adaptive { planes: 1, input, output: [2, 2] });
    let mut run = |windows, by| average_pool2d(&windows, by, &[1.0; 9], &mut out);
    assert!(run(adaptive([3, 3]), Divisor::Elements).is_ok());
    assert!(run(adaptive([3, 3]), Divisor::By(0)).is_err());
    assert!(run(adaptive([0, 3]), Divisor::Elements).is_err());
    assert!(run(adaptive([usize::MAX, 3]), Divisor::Elements).is_err());
}

#[test]
fn nan_and_ties_go_to_the_lowest_index() {
    let s = shape(1, [2, 2], 2, 2, 0);
    for (x, winner) in [
        ([1.0, 1.0, 1.0, 1.0], 0),
        ([0.0, 2.0, 2.0, 1.0], 1),
        ([f32::NAN, 5.0, f32::NAN, 9.0], 0),
        ([7.0, 5.0, f32::NAN, f32::NAN], 2),
        ([f32::NEG_INFINITY; 4], 0),
        ([-0.0, 0.0, -1.0, 0.0], 0),
    ] {
        let (mut out, mut index) = ([0.0], [9]);
        max_pool2d(&s, &x, &mut out, &mut index).unwrap();
        assert_eq!(index[0], winner, "{x:?}");
        assert_eq!(out[0].to_bits(), x[winner as usize].to_bits());
    }
}

#[test]
fn refused() {
    let (mut out, mut index) = ([0.0f32; 4], [0u8; 4]);
    let good = shape(1, [4, 4], 2, 2, 0);
    let mut run = |s: &Pool2dShape| max_pool2d(s, &[0.0; 16], &mut out, &mut index);
    assert!(run(&good).is_ok());
    assert!(run(&Pool2dShape { planes: 2, ..good }).is_err());
    assert!(run(&Pool2dShape { stride: [0, 2], ..good }).is_err());
    assert!(run(&Pool2dShape { kernel: [0, 2], ..good }).is_err());
    assert!(run(&Pool2dShape { kernel: [5, 5], ..good }).is_err());
    assert!(run(&Pool2dShape { padding: [2, 0], ..good }).is_err());
    assert!(run(&Pool2dShape { dilation: [2, 2], ..good }).is_err());
    assert!(run(&Pool2dShape { ceil: true, stride: [0, 0], ..good }).is_err());
    assert!(run(&Pool2dShape { input: [usize::MAX, 4], ..good }).is_err());
    let mut back = [0.0; 16];
    assert!(max_pool2d_grad(&good, &[1.0; 4], &[0, 1, 2, 4], &mut back).is_err());
    let padded = shape(1, [3, 3], 2, 2, 1);
    assert!(max_pool2d_grad(&padded, &[1.0; 4], &[3, 2, 1, 0], &mut back[..9]).is_ok());
    assert!(max_pool2d_grad(&padded, &[1.0; 4], &[0, 2, 1, 0], &mut back[..9]).is_err());
}
