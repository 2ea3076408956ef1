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
    Pool2dShape { planes, input, kernel: pair(kernel), stride: pair(stride), padding: pair(pad) }
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
                check32(s, special);
                check64(s, special);
            }
        }
        for (kernel, stride, pad) in
            [(3, 2, 1), (3, 1, 1), (2, 1, 0), (1, 1, 0), (5, 3, 2), (3, 5, 0)]
        {
            check32(shape(2, [11, 9], kernel, stride, pad), special);
            check64(shape(3, [7, 13], kernel, stride, pad), special);
        }
        check32(shape(1, [16, 16], 16, 1, 8), special);
        check32(shape(70, [28, 28], 2, 2, 0), special);
        check32(shape(0, [4, 4], 2, 2, 0), special);
    }
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
    assert!(run(&Pool2dShape { input: [usize::MAX, 4], ..good }).is_err());
    let mut back = [0.0; 16];
    assert!(max_pool2d_grad(&good, &[1.0; 4], &[0, 1, 2, 4], &mut back).is_err());
    let padded = shape(1, [3, 3], 2, 2, 1);
    assert!(max_pool2d_grad(&padded, &[1.0; 4], &[3, 2, 1, 0], &mut back[..9]).is_ok());
    assert!(max_pool2d_grad(&padded, &[1.0; 4], &[0, 2, 1, 0], &mut back[..9]).is_err());
}
