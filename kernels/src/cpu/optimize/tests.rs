//! Against the reference element by element, and against textbook formulas.

use super::adagrad::Adagrad;
use super::adam::{Adam, power};
use super::rms_prop::RmsProp;
use super::sgd::Sgd;
use super::*;
use crate::cpu::isa::{HasTokens, Isa, Tokens, dispatch_on};
use crate::cpu::reduce::tests::data;
use crate::reference::optimize as reference;

fn adam_step(step: u64, beta1: f64, weight_decay: f64, decoupled: bool) -> AdamStep {
    let (amsgrad, maximize) = (false, false);
    let (lr, beta2, eps) = (1e-3, 0.999, 1e-8);
    AdamStep { lr, beta1, beta2, eps, weight_decay, decoupled, step, amsgrad, maximize }
}

fn sgd_step(momentum: f64, first: bool) -> SgdStep {
    let (dampening, weight_decay) = (0.0, 0.0);
    let (nesterov, maximize) = (false, false);
    SgdStep { lr: 0.1, momentum, dampening, weight_decay, nesterov, first, maximize }
}

/// Weight and up to three states of one element type; unused states are empty.
type Values<T> = [Vec<T>; 4];

/// `whole` (by the dispatcher) and `on` (on each ISA) against `one`, element by element.
fn check<T: Float>(
    n: usize,
    used: [bool; 3],
    whole: impl Fn(&mut Values<T>, &[T]),
    on: impl Fn(Isa, &mut Values<T>, &[T]),
    one: impl Fn(&mut [T; 4], T),
) {
    let numbers = |seed| data(n, seed, false).into_iter().map(|x| T::from_f64(x));
    let start = |seed| numbers(seed).collect::<Vec<T>>();
    let positive = |seed| numbers(seed).map(|x| x * x).collect::<Vec<T>>();
    let state = |place: usize| if used[place] { positive(3 + place as u64) } else { Vec::new() };
    let before: Values<T> = [start(1), state(0), state(1), state(2)];
    let grad = start(2);
    let mut want = before.clone();
    for (i, &g) in grad.iter().enumerate() {
        let mut element = [0, 1, 2, 3].map(|v| before[v].get(i).copied().unwrap_or_default());
        one(&mut element, g);
        for (values, element) in want.iter_mut().zip(element) {
            if let Some(place) = values.get_mut(i) {
                *place = element;
            }
        }
    }
    // NaN in the same places, all else equal.
    let same = |got: &Values<T>, case: &str| {
        let pairs = got.iter().flatten().zip(want.iter().flatten());
        pairs.for_each(|(a, b)| assert!(a == b || (a.is_nan() && b.is_nan()), "{case} {n}"));
    };
    let mut got = before.clone();
    whole(&mut got, &grad);
    same(&got, "dispatched");
    for isa in Isa::ALL {
        let mut got = before.clone();
        on(isa, &mut got, &grad);
        same(&got, &format!("{isa:?}"));
    }
}

fn lengths() -> impl Iterator<Item = usize> {
    (0..=70).chain([257, 16_384, 40_001])
}

fn check_adam<T: Float>(n: usize, step: &AdamStep)
where
    Tokens: HasTokens<T>,
{
    let whole = |[w, m, v, u]: &mut Values<T>, g: &[T]| adam(step, w, g, m, v, u).unwrap();
    let on = |isa, [weight, first, second, largest]: &mut Values<T>, grad: &[T]| {
        let scalars = AdamScalars::new(step);
        dispatch_on(isa, Adam { scalars, weight, grad, first, second, largest })
    };
    let one = |[w, m, v, u]: &mut [T; 4], g| reference::adam(step, w, g, m, v, u);
    check(n, [true, true, step.amsgrad], whole, on, one);
}

#[test]
fn adam_equals_the_reference() {
    for n in lengths() {
        for (beta1, decay, decoupled) in [(0.9, 0.0, false), (0.3, 0.1, false), (0.9, 0.1, true)] {
            for more in [false, true] {
                let step = adam_step(1 + n as u64, beta1, decay, decoupled);
                let step = AdamStep { amsgrad: more, maximize: more, ..step };
                check_adam::<f32>(n, &step);
                check_adam::<f64>(n, &step);
            }
        }
    }
}

fn check_sgd<T: Float>(n: usize, step: &SgdStep)
where
    Tokens: HasTokens<T>,
{
    let momentum = step.momentum != 0.0;
    let whole = |[w, v, _, _]: &mut Values<T>, g: &[T]| sgd(step, w, g, v).unwrap();
    let on = |isa, [weight, velocity, _, _]: &mut Values<T>, grad: &[T]| {
        dispatch_on(isa, Sgd { step, momentum, weight, grad, velocity })
    };
    let one = |[w, v, _, _]: &mut [T; 4], g| reference::sgd(step, w, g, v);
    check(n, [momentum, false, false], whole, on, one);
}

#[test]
fn sgd_equals_the_reference() {
    for n in lengths() {
        for (momentum, nesterov, first) in
            [(0.0, false, true), (0.9, false, true), (0.9, false, false), (0.9, true, false)]
        {
            for weight_decay in [0.0, 0.01] {
                let dampening = if nesterov { 0.0 } else { 0.25 };
                let maximize = weight_decay != 0.0;
                let step = sgd_step(momentum, first);
                let step = SgdStep { dampening, weight_decay, nesterov, maximize, ..step };
                check_sgd::<f32>(n, &step);
                check_sgd::<f64>(n, &step);
            }
        }
    }
}

fn check_rms_prop<T: Float>(n: usize, step: &RmsPropStep)
where
    Tokens: HasTokens<T>,
{
    let whole = |[w, s, a, v]: &mut Values<T>, g: &[T]| rms_prop(step, w, g, s, a, v).unwrap();
    let on = |isa, [weight, square, mean, velocity]: &mut Values<T>, grad: &[T]| {
        dispatch_on(isa, RmsProp { step, weight, grad, square, mean, velocity })
    };
    let one = |[w, s, a, v]: &mut [T; 4], g| reference::rms_prop(step, w, g, s, a, v);
    check(n, [true, step.centered, step.momentum != 0.0], whole, on, one);
}

#[test]
fn rms_prop_equals_the_reference() {
    for n in lengths() {
        for (momentum, centered, alpha) in
            [(0.0, false, 0.99), (0.9, false, 0.5), (0.0, true, 0.9), (0.5, true, 0.3)]
        {
            let maximize = centered;
            for weight_decay in [0.0, 0.01] {
                let (lr, eps) = (0.01, 1e-8);
                let step =
                    RmsPropStep { lr, alpha, eps, weight_decay, momentum, centered, maximize };
                check_rms_prop::<f32>(n, &step);
                check_rms_prop::<f64>(n, &step);
            }
        }
    }
}

fn check_adagrad<T: Float>(n: usize, step: &AdagradStep)
where
    Tokens: HasTokens<T>,
{
    let whole = |[w, s, _, _]: &mut Values<T>, g: &[T]| adagrad(step, w, g, s).unwrap();
    let on = |isa, [weight, sum, _, _]: &mut Values<T>, grad: &[T]| {
        dispatch_on(isa, Adagrad { step, weight, grad, sum })
    };
    let one = |[w, s, _, _]: &mut [T; 4], g| reference::adagrad(step, w, g, s);
    check(n, [true, false, false], whole, on, one);
}

#[test]
fn adagrad_equals_the_reference() {
    for n in lengths() {
        for (weight_decay, maximize) in [(0.0, false), (0.01, true)] {
            let (lr, lr_decay, eps, step) = (0.1, 0.05, 1e-10, 1 + n as u64);
            let step = AdagradStep { lr, lr_decay, eps, weight_decay, step, maximize };
            check_adagrad::<f32>(n, &step);
            check_adagrad::<f64>(n, &step);
        }
    }
}

#[test]
fn amsgrad_keeps_nan_and_the_largest() {
    let step = AdamStep { amsgrad: true, beta2: 0.5, ..adam_step(3, 0.9, 0.0, false) };
    let (mut w, mut m, mut v) = ([1.0f64; 3], [0.0; 3], [f64::NAN, 4.0, 1.0]);
    let mut u = [9.0, f64::NAN, 9.0];
    adam(&step, &mut w, &[1.0; 3], &mut m, &mut v, &mut u).unwrap();
    assert!(u[0].is_nan() && u[1].is_nan() && u[2] == 9.0, "{u:?}");
    assert!(w[0].is_nan() && w[1].is_nan() && w[2].is_finite());
}

#[test]
fn adam_by_hand() {
    // From zero moments the first step is lr * sign(g), up to eps.
    let (mut w, mut m, mut v) = ([1.0f64], [0.0], [0.0]);
    adam(&adam_step(1, 0.9, 0.0, false), &mut w, &[0.5], &mut m, &mut v, &mut []).unwrap();
    assert!((m[0] - 0.05).abs() < 1e-16 && (v[0] - 0.00025).abs() < 1e-18);
    assert!((w[0] - (1.0 - 1e-3 * 0.5 / (0.5 + 1e-8))).abs() < 1e-15);
    for t in 2..50 {
        adam(&adam_step(t, 0.9, 0.0, false), &mut w, &[0.5], &mut m, &mut v, &mut []).unwrap();
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
    let one = || [1.0f32];
    let run = |step: &AdamStep, grad: &[f32], first: &mut [f32], largest: &mut [f32]| {
        adam(step, &mut one(), grad, first, &mut one(), largest)
    };
    let step = adam_step(1, 0.9, 0.0, false);
    assert!(run(&step, &one(), &mut one(), &mut []).is_ok());
    assert!(run(&adam_step(0, 0.9, 0.0, false), &one(), &mut one(), &mut []).is_err());
    assert!(run(&step, &[1.0, 2.0], &mut one(), &mut []).is_err());
    assert!(run(&step, &one(), &mut [], &mut []).is_err());
    assert!(run(&step, &one(), &mut one(), &mut one()).is_err());
    let step = AdamStep { amsgrad: true, ..step };
    assert!(run(&step, &one(), &mut one(), &mut []).is_err());

    let with = sgd_step(0.9, true);
    assert!(sgd(&with, &mut one(), &one(), &mut []).is_err());
    let without = sgd_step(0.0, true);
    assert!(sgd(&without, &mut one(), &one(), &mut one()).is_err());
    assert!(sgd(&without, &mut one(), &[], &mut []).is_err());

    let (lr, eps, weight_decay, maximize) = (0.1, 1e-8, 0.0, false);
    let (alpha, momentum, centered) = (0.9, 0.9, true);
    let step = RmsPropStep { lr, alpha, eps, weight_decay, momentum, centered, maximize };
    let run = |grad: &[f32], square: &mut [f32], mean: &mut [f32], velocity: &mut [f32]| {
        rms_prop(&step, &mut one(), grad, square, mean, velocity).is_ok()
    };
    assert!(run(&one(), &mut one(), &mut one(), &mut one()));
    assert!(!run(&[], &mut one(), &mut one(), &mut one()));
    assert!(!run(&one(), &mut [], &mut one(), &mut one()));
    assert!(!run(&one(), &mut one(), &mut [], &mut one()));
    assert!(!run(&one(), &mut one(), &mut one(), &mut []));

    let mut step = AdagradStep { lr, lr_decay: 0.0, eps, weight_decay, step: 1, maximize };
    assert!(adagrad(&step, &mut one(), &[], &mut one()).is_err());
    assert!(adagrad(&step, &mut one(), &one(), &mut []).is_err());
    step.step = 0;
    assert!(adagrad(&step, &mut one(), &one(), &mut one()).is_err());
}
