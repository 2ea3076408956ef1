//! Bit for bit the CPU's steps, for all settings that change the formula.

use super::*;
use crate::cpu::optimize::{adagrad, adam, rms_prop, sgd};
use crate::cuda::testing::{Element, assert_same, download, gpu, upload, values};

const LENGTHS: [usize; 5] = [0, 1, 31, 257, 5000];

/// Runs some steps here and there; `here` changes weight and three states (some unused).
fn check<T: Element + Float>(
    steps: &[Step<'_>],
    used: [bool; 3],
    here: impl Fn(usize, &mut [T], &[T], [&mut [T]; 3]),
) {
    let Some(gpu) = gpu() else { return };
    for n in LENGTHS {
        let mut weight = values::<T>(n, 1);
        let mut states = [2, 3, 4].map(|seed| values::<T>(n, seed));
        for (state, used) in states.iter_mut().zip(used) {
            state.truncate(if used { n } else { 0 });
        }
        let mut there = upload(gpu, &weight);
        let mut states_there: Vec<DeviceBuffer> = states
            .iter()
            .zip(used)
            .filter(|(_, used)| *used)
            .map(|(s, _)| upload(gpu, s))
            .collect();
        for (i, &one) in steps.iter().enumerate() {
            // The gradient begins inside its buffer.
            let grad = values::<T>(n + 3, 10 + i as u64);
            let grad_there = upload(gpu, &grad);
            let shape = [n];
            let view = Array::new(&grad_there, T::KIND, 3, &shape, &[1]).unwrap();
            let mut places: Vec<&mut DeviceBuffer> = states_there.iter_mut().collect();
            step(one, &mut there, view, &mut places).unwrap();
            let [a, b, c] = &mut states;
            here(i, &mut weight, &grad[3..], [a, b, c]);
        }
        let what = || format!("{steps:?} {n}");
        assert_same(&download::<T>(&there), &weight, &what);
        let used_states = states.iter().zip(used).filter(|(_, used)| *used);
        for (got, (want, _)) in states_there.iter().zip(used_states) {
            assert_same(&download::<T>(got), want, &what);
        }
    }
}

/// Both types.
macro_rules! both {
    ($steps:expr, $used:expr, $here:expr) => {
        check::<f32>($steps, $used, $here);
        check::<f64>($steps, $used, $here);
    };
}

#[test]
fn sgd_is_the_cpus() {
    for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
        for (weight_decay, dampening, maximize) in [(0.0, 0.0, false), (0.01, 0.25, true)] {
            let first = |first| SgdStep {
                lr: 0.1,
                momentum,
                dampening: if nesterov { 0.0 } else { dampening },
                weight_decay,
                nesterov,
                first,
                maximize,
            };
            let all = [first(true), first(false)];
            let steps = all.each_ref().map(Step::Sgd);
            both!(&steps, [momentum != 0.0, false, false], |i, w, g, [v, ..]| {
                sgd(&all[i], w, g, v).unwrap()
            });
        }
    }
}

#[test]
fn adam_is_the_cpus() {
    for (beta1, weight_decay, decoupled) in [(0.9, 0.0, false), (0.3, 0.1, false), (0.9, 0.1, true)]
    {
        for more in [false, true] {
            let at = |step| AdamStep {
                lr: 1e-2,
                beta1,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay,
                decoupled,
                step,
                amsgrad: more,
                maximize: more,
            };
            let all = [at(1), at(2), at(1000)];
            let steps = all.each_ref().map(Step::Adam);
            both!(&steps, [true, true, more], |i, w, g, [a, b, c]| {
                adam(&all[i], w, g, a, b, c).unwrap()
            });
        }
    }
}

#[test]
fn rms_prop_is_the_cpus() {
    for (momentum, centered, alpha) in
        [(0.0, false, 0.99), (0.9, false, 0.5), (0.0, true, 0.9), (0.5, true, 0.3)]
    {
        let weight_decay = if centered { 0.01 } else { 0.0 };
        let maximize = centered;
        let one =
            RmsPropStep { lr: 0.01, alpha, eps: 1e-8, weight_decay, momentum, centered, maximize };
        let steps = [Step::RmsProp(&one), Step::RmsProp(&one)];
        both!(&steps, [true, centered, momentum != 0.0], |_, w, g, [s, a, v]| {
            rms_prop(&one, w, g, s, a, v).unwrap()
        });
    }
}

#[test]
fn adagrad_is_the_cpus() {
    for (weight_decay, maximize) in [(0.0, false), (0.01, true)] {
        let at = |step| AdagradStep {
            lr: 0.1,
            lr_decay: 0.05,
            eps: 1e-10,
            weight_decay,
            step,
            maximize,
        };
        let all = [at(1), at(7)];
        let steps = all.each_ref().map(Step::Adagrad);
        both!(&steps, [true, false, false], |i, w, g, [s, ..]| {
            adagrad(&all[i], w, g, s).unwrap()
        });
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(gpu) = gpu() else { return };
    let [mut weight, mut state, mut other] = [1.0f32; 3].map(|x| upload(gpu, &[x]));
    let (grad, long) = (upload(gpu, &[1.0f32]), upload(gpu, &[1.0f32; 2]));
    let at = AdagradStep {
        lr: 0.1,
        lr_decay: 0.0,
        eps: 1e-10,
        weight_decay: 0.0,
        step: 0,
        maximize: false,
    };
    let view = |buffer, len: &'static [usize]| Array::new(buffer, Type::F32, 0, len, &[1]).unwrap();
    assert!(step(Step::Adagrad(&at), &mut weight, view(&grad, &[1]), &mut [&mut state]).is_err());
    let at = AdagradStep { step: 1, ..at };
    let at = Step::Adagrad(&at);
    assert!(step(at, &mut weight, view(&grad, &[1]), &mut []).is_err());
    assert!(step(at, &mut weight, view(&grad, &[1]), &mut [&mut state, &mut other]).is_err());
    assert!(step(at, &mut weight, view(&long, &[2]), &mut [&mut state]).is_err());
    let half = Array::new(&grad, Type::F16, 0, &[1], &[1]).unwrap();
    assert!(step(at, &mut weight, half, &mut [&mut state]).is_err());
    assert!(step(at, &mut weight, view(&grad, &[1]), &mut [&mut state]).is_ok());
}
