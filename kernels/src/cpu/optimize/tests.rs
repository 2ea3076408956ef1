//! Against the reference element by element, and against textbook formulas.

use super::*;
use crate::cpu::isa::{Isa, dispatch_on};
use crate::cpu::reduce::tests::data;
use crate::reference::optimize as reference;

fn adam_step(step: u64, beta1: f64, weight_decay: f64, decoupled: bool) -> AdamStep {
    AdamStep { lr: 1e-3, beta1, beta2: 0.999, eps: 1e-8, weight_decay, decoupled, step }
}

macro_rules! check {
    ($adam:ident, $sgd:ident, $t:ty) => {
        fn $adam(n: usize, step: &AdamStep) {
            let start = |seed| data(n, seed, false).iter().map(|&x| x as $t).collect::<Vec<$t>>();
            let (w0, g, m0) = (start(1), start(2), start(3));
            let v0: Vec<$t> = start(4).iter().map(|x| x * x).collect();
            let mut want = (w0.clone(), m0.clone(), v0.clone());
            for i in 0..n {
                reference::adam(step, &mut want.0[i], g[i], &mut want.1[i], &mut want.2[i]);
            }
            let mut got = (w0.clone(), m0.clone(), v0.clone());
            adam(step, &mut got.0, &g, &mut got.1, &mut got.2).unwrap();
            assert_eq!(got, want, "{n} {step:?}");
            for isa in Isa::ALL {
                let mut got = (w0.clone(), m0.clone(), v0.clone());
                let (weight, first, second) = (&mut got.0[..], &mut got.1[..], &mut got.2[..]);
                let scalars = AdamScalars::new(step);
                dispatch_on(isa, Adam { scalars, weight, grad: &g, first, second });
                assert_eq!(got, want, "{isa:?} {n} {step:?}");
            }
        }

        fn $sgd(n: usize, step: &SgdStep) {
            let start = |seed| data(n, seed, false).iter().map(|&x| x as $t).collect::<Vec<$t>>();
            let (w0, g) = (start(1), start(2));
            let v0 = if step.momentum != 0.0 { start(3) } else { Vec::new() };
            let mut want = (w0.clone(), v0.clone());
            for i in 0..n {
                let mut copy = v0.get(i).copied().unwrap_or_default();
                reference::sgd(step, &mut want.0[i], g[i], &mut copy);
                if let Some(place) = want.1.get_mut(i) {
                    *place = copy;
                }
            }
            let mut got = (w0.clone(), v0.clone());
            sgd(step, &mut got.0, &g, &mut got.1).unwrap();
            assert_eq!(got, want, "{n} {step:?}");
            for isa in Isa::ALL {
                let mut got = (w0.clone(), v0.clone());
                let (weight, velocity) = (&mut got.0[..], &mut got.1[..]);
                let momentum = step.momentum != 0.0;
                dispatch_on(isa, Sgd { step, momentum, weight, grad: &g, velocity });
                assert_eq!(got, want, "{isa:?} {n} {step:?}");
            }
        }
    };
}
check!(check_adam32, check_sgd32, f32);
check!(check_adam64, check_sgd64, f64);

#[test]
fn adam_equals_the_reference() {
    for n in (0..=70).chain([257, 16_384, 40_001]) {
        for (beta1, decay, decoupled) in [(0.9, 0.0, false), (0.3, 0.1, false), (0.9, 0.1, true)] {
            check_adam32(n, &adam_step(1 + n as u64, beta1, decay, decoupled));
            check_adam64(n, &adam_step(1 + n as u64, beta1, decay, decoupled));
        }
    }
}

#[test]
fn sgd_equals_the_reference() {
    for n in (0..=70).chain([257, 16_384, 40_001]) {
        for (momentum, nesterov, first) in
            [(0.0, false, true), (0.9, false, true), (0.9, false, false), (0.9, true, false)]
        {
            for weight_decay in [0.0, 0.01] {
                let (lr, dampening) = (0.1, if nesterov { 0.0 } else { 0.25 });
                let step = SgdStep { lr, momentum, dampening, weight_decay, nesterov, first };
                check_sgd32(n, &step);
                check_sgd64(n, &step);
            }
        }
    }
}

#[test]
fn adam_by_hand() {
    // From zero moments the first step is lr * sign(g), up to eps.
    let (mut w, mut m, mut v) = ([1.0f64], [0.0], [0.0]);
    adam(&adam_step(1, 0.9, 0.0, false), &mut w, &[0.5], &mut m, &mut v).unwrap();
    assert!((m[0] - 0.05).abs() < 1e-16 && (v[0] - 0.00025).abs() < 1e-18);
    assert!((w[0] - (1.0 - 1e-3 * 0.5 / (0.5 + 1e-8))).abs() < 1e-15);
    for t in 2..50 {
        adam(&adam_step(t, 0.9, 0.0, false), &mut w, &[0.5], &mut m, &mut v).unwrap();
    }
    assert!((w[0] - (1.0 - 49.0 * 1e-3)).abs() < 1e-8);
}

#[test]
fn powers() {
    for (base, exponent) in [(0.9, 0), (0.9, 1), (0.999, 1000), (0.999, 123_456), (0.0, 3)] {
        let want = f64::powf(base, exponent as f64);
        assert!((power(base, exponent) - want).abs() <= want * 1e-13);
    }
}

#[test]
fn wrong_lengths() {
    let step = adam_step(0, 0.9, 0.0, false);
    assert!(adam(&step, &mut [1.0f32], &[1.0], &mut [0.0], &mut [0.0]).is_err());
    let step = adam_step(1, 0.9, 0.0, false);
    assert!(adam(&step, &mut [1.0f32], &[1.0, 2.0], &mut [0.0], &mut [0.0]).is_err());
    assert!(adam(&step, &mut [1.0f32], &[1.0], &mut [], &mut [0.0]).is_err());
    let (lr, momentum) = (0.1, 0.9);
    let mut step =
        SgdStep { lr, momentum, dampening: 0.0, weight_decay: 0.0, nesterov: false, first: true };
    assert!(sgd(&step, &mut [1.0f32], &[1.0], &mut []).is_err());
    step.momentum = 0.0;
    assert!(sgd(&step, &mut [1.0f32], &[1.0], &mut [0.0]).is_err());
    assert!(sgd(&step, &mut [1.0f32], &[], &mut []).is_err());
}
