//! The tape: length, nesting, what it lets go of, and what it refuses.

use std::collections::BTreeMap;
use std::env;
use std::process::Command;
use std::rc::Rc;
use std::thread;

use ferrotape::autograd::{Function, checkpoint, custom};
use ferrotape::io::load_safetensors;
use ferrotape::prelude::*;
use ferrotape::{
    AdagradStep, AdamStep, CustomOp, ErrorKind, Meta, Op, RmsPropStep, SgdStep, apply,
};

/// Runs `body` where no other test allocates: the counters of memory belong to the process, so the test `name` starts this
/// program again for itself alone.
fn alone(name: &str, body: impl FnOnce()) {
    const MARK: &str = "FERROTAPE_TEST_ALONE";
    if env::var_os(MARK).is_some() {
        return body();
    }
    let mut again = Command::new(env::current_exe().unwrap());
    let done = again.args(["--exact", name]).env(MARK, "1").output().unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    let failed = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && told.contains("1 passed"), "{told}{failed}");
}

fn live() -> usize {
    Device::cpu().memory_stats().live
}

fn says(error: Error) -> String {
    assert!(matches!(error.kind(), ErrorKind::Gradient(_)), "{error:?}");
    error.to_string()
}

/// The gradient of `f` at `x`, itself differentiable by tapes around.
fn slope(x: &Tensor, f: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
    let (y, tape) = Tape::record(|tape| {
        tape.watch(x);
        f()
    })?;
    Ok(tape.gradient(&y, &[x])?.swap_remove(0))
}

fn vec(x: &Tensor) -> Vec<f64> {
    x.to_vec().unwrap()
}

fn on_a_small_stack<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(2 << 20).spawn_scoped(scope, body);
        thread.unwrap().join().unwrap()
    })
}

const LONG: usize = 1_000_000;

/// A chain `x + 1 - 1 + 1 ..` or `-(-(-x..`, alternating what is kept.
fn chain(x: &Tensor) -> Result<Tensor> {
    let one = x.ones_like()?;
    (0..LONG).try_fold(x.clone(), |y, i| if i % 2 == 0 { y.mul(&one) } else { y.neg() })
}

#[test]
fn a_long_tape_goes_backward_on_a_small_stack() {
    let gradient = on_a_small_stack(|| {
        let x = Tensor::from([3.0]);
        let (y, tape) = Tape::record(|tape| {
            tape.watch(&x);
            chain(&x)?.sum(..)
        })
        .unwrap();
        assert!(tape.len() >= LONG);
        vec(&tape.gradient(&y, &[&x]).unwrap()[0])
    });
    assert_eq!(gradient, [1.0]);
}

#[test]
fn a_long_tape_drops_on_a_small_stack() {
    alone("tape::a_long_tape_drops_on_a_small_stack", || {
        let before = live();
        on_a_small_stack(|| {
            let x = Tensor::from([3.0]);
            let (y, tape) = Tape::record(|tape| {
                tape.watch(&x);
                chain(&x)
            })
            .unwrap();
            assert!(tape.len() >= LONG && live() > before);
            drop(tape);
            assert_eq!(vec(&y), [3.0]);
        });
        assert_eq!(live(), before);
    });
}

fn data() -> BTreeMap<String, Tensor> {
    let path = "tests/data/second_order/second_order.safetensors";
    load_safetensors(crate::root().join(path)).unwrap()
}

const WEIGHTS: [&str; 4] = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"];

fn network(x: &Tensor, w: &[&Tensor]) -> Result<Tensor> {
    x.linear(w[0], Some(w[1]))?.tanh()?.linear(w[2], Some(w[3]))?.tanh()
}

fn near(what: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    for (x, y) in vec(found).into_iter().zip(vec(expected)) {
        assert!((x - y).abs() <= 1e-12 * (1.0 + y.abs()), "{what}: {x} for {y}");
    }
}

#[test]
fn second_derivatives_of_a_tanh_network_are_pytorchs() {
    let data = data();
    let names = WEIGHTS.into_iter().chain(["x"]);
    let names: Vec<&str> = names.collect();
    let at: Vec<&Tensor> = names.iter().map(|name| &data[&format!("value/{name}")]).collect();
    let watch = |tape: &Tape| at.iter().for_each(|tensor| tape.watch(tensor));
    let ((loss, gradients, along), outer) = Tape::record(|outer| {
        watch(outer);
        let (loss, inner) = Tape::record(|inner| {
            watch(inner);
            network(at[4], &at[..4])?.mse_loss(&data["y"])
        })?;
        let gradients = inner.gradient(&loss, &at)?;
        let parts = names.iter().zip(&gradients);
        let parts = parts.map(|(name, g)| g.mul(&data[&format!("direction/{name}")])?.sum(..));
        let along = parts.reduce(|sum, part| sum?.add(part)).unwrap()?;
        Ok((loss, gradients, along))
    })
    .unwrap();
    near("loss", &loss, &data["loss"]);
    let products = outer.gradient(&along, &at).unwrap();
    for (place, name) in names.iter().enumerate() {
        near(name, &gradients[place], &data[&format!("gradient/{name}")]);
        near(name, &products[place], &data[&format!("product/{name}")]);
    }
}

/// The inner tape on the input, the outer on the weights.
#[test]
fn a_gradient_penalty_is_pytorchs() {
    let data = data();
    let weights = WEIGHTS.map(|name| &data[&format!("value/{name}")]);
    let x = &data["value/x"];
    let (penalty, tape) = Tape::record(|tape| {
        weights.iter().for_each(|weight| tape.watch(weight));
        let slope = slope(x, || network(x, &weights)?.sum(..))?;
        slope.square()?.sum(1)?.sqrt()?.sub(1.0)?.square()?.mean(..)
    })
    .unwrap();
    near("penalty", &penalty, &data["penalty"]);
    let gradients = tape.gradient(&penalty, &weights).unwrap();
    for (name, gradient) in WEIGHTS.iter().zip(&gradients) {
        near(name, gradient, &data[&format!("penalty/{name}")]);
    }
}

#[test]
fn third_derivative() {
    // f = x^4 e^x: f''' = (x^4 + 12 x^3 + 36 x^2 + 24 x) e^x
    for at in [0.5f64, -1.25, 2.0, 0.0] {
        let x = Tensor::from(at);
        let f = || x.pow(4.0)?.mul(x.exp());
        let third = slope(&x, || slope(&x, || slope(&x, f))).unwrap().item::<f64>().unwrap();
        let closed = (at.powi(4) + 12.0 * at.powi(3) + 36.0 * at * at + 24.0 * at) * at.exp();
        assert!((third - closed).abs() <= 1e-12 * (1.0 + closed.abs()), "{at}: {third} {closed}");
    }
}

#[test]
fn an_outer_tape_sees_the_value_that_an_inner_one_differentiated() {
    let x = Tensor::from([2.0, 3.0]);
    let y = Tensor::from([5.0, 7.0]);
    let ((value, along), tape) = Tape::record(|tape| {
        tape.watch(&y);
        let mut value = None;
        // Inner: d/dx sum(x^2 y) = 2 x y, where y is a constant to the inner tape and watched by the outer.
        let along = slope(&x, || {
            let loss = x.square()?.mul(&y)?.sum(..)?;
            value = Some(loss.clone());
            Ok(loss)
        })?;
        Ok((value.unwrap(), along))
    })
    .unwrap();
    assert_eq!(vec(&along), [20.0, 42.0]);
    assert!(tape.contains(&value));
    let seed = Tensor::from([1.0, 10.0]);
    let mixed = tape.vector_jacobian_product(&[(&along, seed), (&value, Tensor::from(1.0))], &[&y]);
    // d along / d y = 2 x, d value / d y = x^2
    assert_eq!(vec(mixed.unwrap()[0].as_ref().unwrap()), [4.0 + 4.0, 60.0 + 9.0]);
}

#[test]
fn tapes_side_by_side_do_not_mix() {
    let x = Tensor::from([2.0]);
    let (pair, outer) = Tape::record(|outer| {
        outer.watch(&x);
        let (cube, inner) = Tape::record(|inner| {
            inner.watch(&x);
            x.square()?.mul(&x)
        })?;
        drop(inner);
        // The inner tape is gone, the outer still records.
        cube.mul(10.0)
    })
    .unwrap();
    let seed = pair.ones_like().unwrap();
    let found = outer.vector_jacobian_product(&[(&pair, seed)], &[&x]).unwrap();
    assert_eq!(vec(found[0].as_ref().unwrap()), [120.0]);
    assert!(!pair.tag().is_live());
}

#[test]
fn detach_cuts() {
    let x = Tensor::from([2.0, 3.0]);
    let half = slope(&x, || x.detach()?.mul(&x)?.sum(..)).unwrap();
    assert_eq!(vec(&half), [2.0, 3.0]);
    let (cut, tape) = Tape::record(|tape| {
        tape.watch(&x);
        let cut = x.square()?.detach()?;
        assert!(!tape.contains(&cut) && !cut.tag().is_live());
        assert_eq!(tape.len(), 1);
        cut.sum(..)
    })
    .unwrap();
    assert_eq!(tape.len(), 1);
    assert!(tape.gradient_or_none(&cut, &[&x]).unwrap()[0].is_none());
    // Cut for every tape around.
    let second = slope(&x, || slope(&x, || x.detach()?.mul(x.square())?.sum(..))?.sum(..));
    assert_eq!(vec(&second.unwrap()), [4.0, 6.0]);
}

#[test]
fn no_tape_suspends() {
    let x = Tensor::from([2.0, 3.0]);
    let (y, tape) = Tape::record(|tape| {
        tape.watch(&x);
        let constant = no_tape(|| x.square())?;
        assert!(tape.is_empty() && !tape.contains(&constant));
        // A tape that opens inside records, the one outside does not hear of it.
        let inner = no_tape(|| slope(&x, || x.square()?.sum(..)))?;
        assert_eq!(vec(&inner), [4.0, 6.0]);
        assert!(tape.is_empty());
        x.mul(&constant)?.mul(inner)?.sum(..)
    })
    .unwrap();
    assert_eq!(tape.len(), 3);
    assert_eq!(vec(&tape.gradient(&y, &[&x]).unwrap()[0]), [16.0, 54.0]);
}

/// A custom operation that only goes forward.
#[derive(Debug)]
struct OneWay;

impl CustomOp for OneWay {
    fn name(&self) -> &'static str {
        "one_way"
    }
    fn output_metas(&self, inputs: &[Meta]) -> Result<Vec<Meta>> {
        Ok(inputs.to_vec())
    }
    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].square()?])
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

#[test]
fn a_custom_operation_without_a_backward_is_an_error() {
    let x = Tensor::from([2.0]);
    let one_way = |x: &Tensor| apply(&Op::Custom(Rc::new(OneWay)), &mut [x.into()]);
    assert_eq!(vec(&one_way(&x).unwrap()[0]), [4.0]);
    let error = slope(&x, || one_way(&x)?[0].sum(..)).unwrap_err();
    assert!(says(error).starts_with("one_way"));
}

/// A function whose backward returns `.0` gradients.
struct Count(usize);

impl Function for Count {
    fn name(&self) -> &'static str {
        "miscounted"
    }
    fn output_metas(&self, inputs: &[Meta]) -> Result<Vec<Meta>> {
        Ok(vec![inputs[0].clone()])
    }
    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].copy()?])
    }
    fn backward(
        &self,
        _: &[&Tensor],
        _: &[&Tensor],
        gradients: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![gradients[0].clone(); self.0])
    }
}

#[test]
fn a_custom_backward_must_answer_for_every_input() {
    let x = Tensor::from([2.0]);
    for count in [0, 2] {
        let error = slope(&x, || custom(Count(count), &[&x])?.sum(..)).unwrap_err();
        assert!(says(error).starts_with("miscounted"));
    }
    assert_eq!(vec(&slope(&x, || custom(Count(1), &[&x])?.sum(..)).unwrap()), [1.0]);
}

#[test]
fn updates_of_tracked_values_are_errors() {
    let x = Tensor::from([2.0]);
    let g = Tensor::from([1.0]);
    let (lr, weight_decay, momentum, dampening) = (0.1, 0.0, 0.0, 0.0);
    let (nesterov, maximize) = (false, false);
    let sgd = SgdStep { lr, momentum, dampening, weight_decay, nesterov, first: true, maximize };
    let (beta1, beta2, eps, alpha) = (0.9, 0.999, 1e-8, 0.9);
    let (decoupled, step, amsgrad) = (false, 1, false);
    let adam = AdamStep { lr, beta1, beta2, eps, weight_decay, decoupled, step, amsgrad, maximize };
    let rms = RmsPropStep { lr, alpha, eps, weight_decay, momentum, centered: false, maximize };
    let adagrad = AdagradStep { lr, lr_decay: 0.0, eps, weight_decay, step, maximize };
    let refused = |name: &str, update: &dyn Fn(&mut Tensor) -> Result<()>| {
        let outcome = Tape::record(|tape| {
            tape.watch(&x);
            let mut y = x.mul(2.0)?;
            let error = says(update(&mut y).unwrap_err());
            assert!(error.starts_with(name), "{error}");
            // Refused, and nothing has changed: the tape is as good as before.
            assert_eq!(vec(&y), [4.0]);
            y.square()?.sum(..)
        });
        let (y, tape) = outcome.unwrap();
        assert_eq!(vec(&tape.gradient(&y, &[&x]).unwrap()[0]), [16.0]);
    };
    refused("assign", &|y| y.assign(&g));
    refused("sgd", &|y| y.sgd_step(&g, sgd, None));
    refused("adam", &|y| {
        let (mut first, mut second) = (g.zeros_like()?, g.zeros_like()?);
        y.adam_step(&g, adam, &mut first, &mut second, None)
    });
    refused("rms_prop", &|y| y.rms_prop_step(&g, rms, &mut g.zeros_like()?, None, None));
    refused("adagrad", &|y| y.adagrad_step(&g, adagrad, &mut g.zeros_like()?));
    // A tracked gradient too: the step would hide what it depends on.
    let error = slope(&x, || {
        let mut weight = g.copy()?;
        weight.sgd_step(&x, sgd, None)?;
        weight.sum(..)
    });
    assert!(says(error.unwrap_err()).starts_with("sgd"));
}

#[test]
fn what_has_no_gradient_is_an_error() {
    let (x, other) = (Tensor::from([2.0, 3.0]), Tensor::from([1.0]));
    let record = || {
        Tape::record(|tape| {
            tape.watch(&x);
            tape.watch(&other);
            x.square()
        })
        .unwrap()
    };
    let (y, tape) = record();
    let error = says(tape.gradient(&y, &[&x]).unwrap_err());
    assert!(error.contains("scalar") && error.contains("[2]"), "{error}");

    let summed = || {
        Tape::record(|tape| {
            tape.watch(&x);
            tape.watch(&other);
            x.square()?.sum(..)
        })
        .unwrap()
    };
    let (y, tape) = summed();
    let error = says(tape.gradient(&y, &[&x, &other]).unwrap_err());
    assert!(error.contains("does not depend on tensor 1"), "{error}");
    let (y, tape) = summed();
    let found = tape.gradient_or_none(&y, &[&x, &other]).unwrap();
    assert_eq!(vec(found[0].as_ref().unwrap()), [4.0, 6.0]);
    assert!(found[1].is_none());
    // Never watched at all.
    let (y, tape) = summed();
    assert!(tape.gradient(&y, &[&Tensor::from([1.0])]).is_err());
    // A value on the way, and the value itself, have gradients too.
    let mut middle = None;
    let (y, tape) = Tape::record(|tape| {
        tape.watch(&x);
        let square = x.square()?;
        middle = Some(square.clone());
        square.mul(3.0)?.sum(..)
    })
    .unwrap();
    let found = tape.gradient(&y, &[middle.as_ref().unwrap(), &y, &x]).unwrap();
    assert_eq!([vec(&found[0]), vec(&found[2])], [[3.0, 3.0], [12.0, 18.0]]);
    assert_eq!(vec(&found[1]), [1.0]);
    // Seeds must have their value's shape; integers have no gradient.
    let (y, tape) = record();
    assert!(tape.vector_jacobian_product(&[(&y, Tensor::from([1.0]))], &[&x]).is_err());
    let (_, tape) = record();
    let error = says(tape.gradient(&Tensor::from(1i64), &[&x]).unwrap_err());
    assert!(error.contains("float"), "{error}");
}

#[test]
fn a_failed_operation_leaves_the_tape_usable() {
    let x = Tensor::from([2.0, 3.0]);
    let gradient = slope(&x, || {
        assert!(x.matmul(Tensor::from([1.0])).is_err());
        assert!(x.add(Tensor::from([1.0, 2.0, 3.0])).is_err());
        let bad = x.gather(0, &Tensor::from([7i64]));
        assert!(matches!(bad.unwrap_err().kind(), ErrorKind::Index { .. }));
        x.square()?.sum(..)
    });
    assert_eq!(vec(&gradient.unwrap()), [4.0, 6.0]);
}

#[test]
fn a_tape_ends_with_its_closure() {
    let x = Tensor::from([2.0]);
    let (y, tape) = Tape::record(|tape| {
        tape.watch(&x);
        x.square()
    })
    .unwrap();
    // The tape lives and does not listen: what would be lost is refused.
    let error = y.mul(2.0).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TrackedElsewhere { .. }), "{error}");
    assert_eq!(vec(&no_tape(|| y.mul(2.0)).unwrap()), [8.0]);
    drop(tape);
    assert_eq!(vec(&y.mul(2.0).unwrap()), [8.0]);
    // A closure that fails takes its tape along.
    let failed = Tape::record(|tape| {
        tape.watch(&x);
        x.matmul(Tensor::from([1.0, 2.0]))
    });
    assert!(failed.is_err());
    assert!(!x.tag().is_live());
}

#[test]
fn after_the_gradient_nothing_is_kept() {
    alone("tape::after_the_gradient_nothing_is_kept", keeps_nothing);
}

fn keeps_nothing() {
    let x = Tensor::ones([64, 64], DType::F64).unwrap();
    let w = Tensor::full([64, 64], 0.01, DType::F64).unwrap();
    let before = live();
    let step = |segments: usize| {
        let recorded = Tape::record(|tape| {
            tape.watch(&w);
            let layer = |y: Tensor| y.matmul(&w)?.tanh();
            let through = (0..32).try_fold(x.clone(), |y, i| match segments {
                0 => layer(y),
                _ if i % segments == 0 => {
                    let w = w.clone();
                    let body = move |y: &[Tensor]| {
                        (0..segments).try_fold(y[0].clone(), |y, _| y.matmul(&w)?.tanh())
                    };
                    checkpoint(&[&y], body)
                }
                _ => Ok(y),
            })?;
            through.sum(..)
        });
        let (y, tape) = recorded.unwrap();
        let held = live() - before;
        let gradient = tape.gradient(&y, &[&w]).unwrap();
        (held, gradient)
    };
    let (held, plain) = step(0);
    // 32 layers keep their outputs; each is 32 KiB.
    assert!(held >= 32 << 15, "{held}");
    let (less, recomputed) = step(8);
    assert!(less < held / 4, "checkpoints hold {less}, no checkpoints {held}");
    near("recomputed", &recomputed[0], &plain[0]);
    let gradients = live() - before;
    assert!(gradients < 4 << 15, "{gradients}");
    drop((plain, recomputed));
    assert_eq!(live(), before);

    let second = slope(&w, || slope(&w, || x.matmul(&w)?.tanh()?.sum(..))?.sum(..));
    drop(second);
    assert_eq!(live(), before);
    // Failures let go too.
    let failed = slope(&w, || x.matmul(&w)?.tanh());
    assert!(failed.is_err());
    assert_eq!(live(), before);
}

#[test]
fn tapes_of_other_lengths_use_the_same_memory() {
    alone("tape::tapes_of_other_lengths_use_the_same_memory", || {
        let x = Tensor::from([1.0, 2.0, 3.0]);
        let before = live();
        for many in [40, 2, 7, 40, 1, 3] {
            let (y, tape) = Tape::record(|tape| {
                tape.watch(&x);
                let parts: Result<Vec<Tensor>> = (1..=many).map(|i| x.mul(i as f64)).collect();
                let parts = parts?;
                let whole = Tensor::cat(&parts.iter().collect::<Vec<_>>(), 0)?;
                // A failure in the middle takes its place along.
                assert!(whole.matmul(Tensor::from([[1.0]])).is_err());
                if many == 7 { x.square().sum(..) } else { whole.square().sum(..) }
            })
            .unwrap();
            if many == 2 {
                continue;
            }
            let found = tape.gradient(&y, &[&x]).unwrap().swap_remove(0);
            let squares = if many == 7 { 1 } else { (1..=many).map(|i| i * i).sum() };
            assert_eq!(vec(&found), [2.0, 4.0, 6.0].map(|x| x * f64::from(squares)), "{many}");
        }
        assert_eq!(live(), before);
    });
}
