//! Every ISA is bit-equal to the reference.

use super::*;
use crate::cpu::isa::{Isa, dispatch_on};
use crate::cpu::reduce::tests::{data, same32, same64};
use crate::reference::norm::{double, single};

const EPS: f64 = 1e-5;

macro_rules! check {
    ($check:ident, $t:ident, $reference:ident, $same:ident) => {
        fn $check(rows: usize, size: usize, affine: [bool; 2], special: bool) {
            let numbers = |n, seed| data(n, seed, special).iter().map(|&x| x as $t).collect();
            let [x, g]: [Vec<$t>; 2] = [3, 5].map(|seed| numbers(rows * size, seed));
            let [w, b]: [Vec<$t>; 2] = [7, 9].map(|seed| numbers(size, seed));
            let weight = affine[0].then_some(&w[..]);
            let bias = affine[1].then_some(&b[..]);
            let what = format!("{rows} x {size} {affine:?} {special}");
            let (mut y, mut stats) = (vec![7.0; x.len()], vec![7.0; 2 * rows]);
            layer_norm(size, EPS, &x, [weight, bias], &mut y, &mut stats).unwrap();
            let mut dx = vec![7.0; x.len()];
            layer_norm_input(&g, &x, &stats, weight, &mut dx).unwrap();
            let mut dw = vec![7.0; size];
            layer_norm_weight(&g, &x, &stats, &mut dw).unwrap();
            let pairs: Vec<[$t; 2]> = stats.chunks(2).map(|s| [s[0], s[1]]).collect();
            for row in 0..rows {
                let here = row * size..(row + 1) * size;
                let (x, g) = (&x[here.clone()], &g[here.clone()]);
                assert!($same(&pairs[row], &$reference::stats(x, EPS)), "stats {what}");
                let want = $reference::layer_norm(x, EPS, weight, bias);
                assert!($same(&y[here.clone()], &want), "y {what}");
                let want = $reference::layer_norm_input(g, x, pairs[row], weight);
                assert!($same(&dx[here], &want), "dx {what}");
            }
            let column = |k| $reference::layer_norm_weight([&g, &x], &pairs, size, k);
            let want: Vec<$t> = (0..size).map(column).collect();
            assert!($same(&dw, &want), "dw {what}");
        }
    };
}
check!(check32, f32, single, same32);
check!(check64, f64, double, same64);

#[test]
fn any_rows() {
    for size in (0..=130).chain([1000, 16_384, 40_000]) {
        for (affine, special) in
            [([false, false], false), ([true, false], true), ([true, true], false)]
        {
            check32(3, size, affine, special);
            check64(3, size, affine, special);
        }
    }
    for rows in [0, 1, 255, 256, 257, 513, 1500, 3000] {
        check32(rows, 33, [true, true], false);
        check64(rows, 33, [true, true], false);
    }
    check32(600, 1100, [true, true], false);
}

#[test]
fn same_bits_on_every_isa() {
    let (size, rows) = (77, 3);
    let [x, g] = [9, 11].map(|seed| data(rows * size, seed, false));
    let w = data(size, 13, false);
    let run = |isa: Isa| {
        let (mut y, mut stats) = (vec![0.0; x.len()], vec![0.0; 2 * rows]);
        let mut dx = vec![0.0; x.len()];
        let (out, to) = (&mut y[..], &mut stats[..]);
        let weight = Some(&w[..]);
        let bias = weight;
        let (eps, x, g) = (EPS, &x[..], &g[..]);
        dispatch_on(isa, rows::LayerNorm { size, eps, x, weight, bias, out, stats: to });
        let (grad, stats, out) = (g, &stats[..], &mut dx[..]);
        dispatch_on(isa, rows::Input { size, grad, x, stats, weight, out });
        [y, stats.to_vec(), dx]
    };
    for isa in Isa::ALL {
        assert_eq!(run(isa), run(Isa::Scalar), "{isa:?}");
    }
}

#[test]
fn a_known_row() {
    let x = [1.0, 2.0, 3.0, 6.0f64];
    let (mut y, mut stats) = ([0.0; 4], [0.0; 2]);
    layer_norm(4, 0.5, &x, [None, None], &mut y, &mut stats).unwrap();
    assert_eq!(stats, [3.0, 0.5]);
    assert_eq!(y, [-1.0, -0.5, 0.0, 1.5]);
    let mut dx = [0.0; 4];
    layer_norm_input(&[1.0, 0.0, 0.0, 0.0], &x, &stats, None, &mut dx).unwrap();
    // (e - 1/4 - y * (-1/4)) / 2
    assert_eq!(dx, [0.25, -0.1875, -0.125, 0.0625]);
    let mut dw = [0.0; 4];
    layer_norm_weight(&[1.0, 2.0, 3.0, 4.0], &x, &stats, &mut dw).unwrap();
    assert_eq!(dw, [-1.0, -1.0, 0.0, 6.0]);
}

#[test]
fn lengths_are_checked() {
    let (x, mut y, mut stats) = ([0.0f32; 6], [0.0; 6], [0.0; 4]);
    assert!(layer_norm(2, EPS, &x, [None, None], &mut y, &mut stats).is_err());
    assert!(layer_norm(3, EPS, &x, [Some(&[1.0]), None], &mut y, &mut stats).is_err());
    assert!(layer_norm(3, EPS, &x, [None, Some(&[1.0; 3])], &mut y, &mut stats).is_err());
    assert!(layer_norm(3, EPS, &x, [None, None], &mut y[..5], &mut stats).is_err());
    assert!(layer_norm(3, EPS, &x, [None, None], &mut y, &mut stats[..3]).is_err());
    assert!(layer_norm_input(&x[..5], &x, &stats, None, &mut y).is_err());
    assert!(layer_norm_input(&x, &x, &stats, Some(&[1.0; 2]), &mut y).is_err());
    assert!(layer_norm_weight(&x, &x, &stats, &mut y[..2]).is_err());
}
