//! NaN and infinities: the watch names the operation, the step and the parameter; a refused step changes nothing.

use std::fmt::Debug;

use ferrotape::nn::{
    Gradients, NanWatch, NonFinite, RMSprop, Scheduler, StepLR, parameters, state_dict,
};
use ferrotape::prelude::*;

use crate::cnn::{bits, hash_model};

/// Two layers with batch norm between.
#[derive(Module, Clone)]
struct Net {
    first: Linear,
    norm: BatchNorm1d,
    last: Linear,
}

impl Net {
    fn new() -> Net {
        let mut rng = Generator::new(0);
        Net {
            first: Linear::new(3, 4, &mut rng).unwrap(),
            norm: BatchNorm1d::new(4).unwrap(),
            last: Linear::new(4, 2, &mut rng).unwrap(),
        }
    }
}

impl Forward for Net {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let x = self.first.forward(x, ctx)?;
        let x = self.norm.forward(&x, ctx).tanh()?;
        self.last.forward(&x, ctx)
    }
}

fn input() -> Tensor {
    Generator::new(5).normal([6, 3], 0., 1., DType::F32).unwrap()
}

fn found<T: Debug>(result: Result<T>) -> NonFinite {
    let error = result.unwrap_err();
    NonFinite::of(&error).unwrap_or_else(|| panic!("{error}")).clone()
}

/// A step of the watch: the loss is `loss` of the net's output.
fn watched(
    watch: &mut NanWatch,
    net: &Net,
    x: &Tensor,
    loss: impl Fn(Tensor) -> Result<Tensor>,
) -> Result<Step> {
    let mut rng = Generator::new(1);
    watch.step(net, || value_and_grad(net, &mut rng, |net, ctx| loss(net.forward(x, ctx)?)))
}

#[test]
fn the_watch_names_operation_step_and_parameter() {
    let net = Net::new();
    let mut watch = NanWatch::new();
    let x = input();
    watched(&mut watch, &net, &x, |y| y.square().mean(..)).unwrap();

    // An operation of the forward pass makes it.
    let bad = found(watched(&mut watch, &net, &x, |y| y.sub(10.0).sqrt().mean(..)));
    assert_eq!((bad.step, bad.op), (Some(1), Some("sqrt")), "{bad}");
    assert_eq!(bad.parameter.as_deref(), Some("first.weight"));
    let said = "step 1: sqrt makes NaN (first of the non-finite: [0, 0]) of finite operands; \
                the first parameter concerned is first.weight";
    assert_eq!(bad.to_string(), said);

    // One of the backward pass: the loss is finite, the slope of the root at 0 is not.
    let bad = found(watched(&mut watch, &net, &x, |y| y.mul(0.0).sqrt().sum(..)));
    assert_eq!((bad.step, bad.parameter.as_deref()), (Some(2), Some("first.weight")), "{bad}");
    assert!(bad.message.contains("of finite operands"), "{bad}");

    // Of a value beside the gradients' path: no parameter is concerned.
    let bad = found(watched(&mut watch, &net, &x, |y| y.sub(10.0).log().sum(..)));
    assert_eq!((bad.step, bad.op, bad.parameter), (Some(3), Some("log"), None));
    assert!(bad.message.ends_with("; no gradient has any"), "{}", bad.message);

    // An infinity, unless only NaN counts.
    let overflow = |y: Tensor| y.abs().add(100.0).exp().mean(..);
    let bad = found(watched(&mut watch, &net, &x, overflow));
    assert_eq!((bad.step, bad.op), (Some(4), Some("exp")), "{bad}");
    assert!(bad.message.contains("makes an infinity"), "{bad}");
    let mut lenient = NanWatch::new().infinities(false).from_step(40);
    let infinite = |y: Tensor| y.square().mean(..).add(f64::INFINITY);
    watched(&mut lenient, &net, &x, infinite).unwrap();
    let bad = found(watched(&mut lenient, &net, &x, |y| y.sub(10.0).sqrt().mean(..)));
    assert_eq!((bad.step, bad.op), (Some(41), Some("sqrt")), "{bad}");

    // A mask's infinity is no fault; nor is what it is passed on to.
    let mask = Tensor::from([[0f32, f32::NEG_INFINITY]]);
    watched(&mut watch, &net, &x, |y| y.add(&mask).softmax(1).square().sum(..)).unwrap();
    // What is made of infinities is.
    let bad = found(watched(&mut watch, &net, &x, |y| y.add(&mask).sub(&mask).square().sum(..)));
    assert_eq!((bad.step, bad.op), (Some(6), Some("sub")), "{bad}");
    assert!(bad.message.contains("NaN (first of the non-finite: [0, 1]) of infinite"), "{bad}");

    // Data that brings it along.
    let mut dirty = x.to_vec::<f32>().unwrap();
    dirty[4] = f32::NAN;
    let dirty = Tensor::from_vec(dirty, [6, 3]).unwrap();
    let bad = found(watched(&mut watch, &net, &dirty, |y| y.square().mean(..)));
    assert_eq!((bad.step, bad.op), (Some(7), Some("linear")), "{bad}");
    let said = "step 7: linear is given operand 0 with NaN (first of the non-finite: [1, 1])";
    assert!(bad.message.starts_with(said), "{bad}");

    // A weight that has it.
    let mut broken = net.clone();
    let mut state = state_dict(&broken.last);
    state.insert("weight".into(), Tensor::full([2, 4], f64::NAN, DType::F32).unwrap());
    ferrotape::nn::load_state_dict(&mut broken.last, &state).unwrap();
    let bad = found(watched(&mut watch, &broken, &x, |y| y.square().mean(..)));
    assert_eq!((bad.step, bad.parameter.as_deref()), (Some(8), Some("last.weight")), "{bad}");
    assert!(bad.message.contains("operand 1, parameter last.weight, with NaN"), "{bad}");
}

#[test]
fn the_watch_changes_no_bit() {
    let run = |watch: bool| {
        let (mut net, mut rng, mut watcher) = (Net::new(), Generator::new(1), NanWatch::new());
        let mut optimizer = Adam::new(0.01);
        let mut losses = Vec::new();
        for _ in 0..5 {
            let step = |rng: &mut Generator| {
                value_and_grad(&net, rng, |net, ctx| net.forward(&input(), ctx).square().mean(..))
            };
            let step = match watch {
                true => watcher.step(&net, || step(&mut rng)).unwrap(),
                false => step(&mut rng).unwrap(),
            };
            losses.extend(bits(&step.loss));
            optimizer.step(&mut net, &step).unwrap();
        }
        (losses, hash_model(&net))
    };
    assert_eq!(run(true), run(false));
}

/// Gradients of the net with one that is not finite.
fn gradients(net: &Net, bad: f64) -> Gradients {
    let step = value_and_grad(net, &mut Generator::new(1), |net, ctx| {
        let y = net.forward(&input(), ctx)?;
        // Only the last layer's bias is hurt.
        let clean = y.square().mean(..)?;
        net.last.bias.as_ref().map_or(Ok(clean.clone()), |bias| clean.add(bias.mul(bad).sum(..)))
    });
    step.unwrap().gradients
}

fn step(optimizer: &mut impl Optimizer, net: &mut Net, bad: f64) -> Result<()> {
    let gradients = gradients(net, bad);
    optimizer.apply(net, &gradients)
}

fn refuses(mut optimizer: impl Optimizer + Clone, unchecked: impl Optimizer) {
    for bad in [f64::NAN, f64::INFINITY] {
        let mut net = Net::new();
        for _ in 0..2 {
            step(&mut optimizer, &mut net, 1.0).unwrap();
        }
        let state = |optimizer: &dyn Optimizer| -> Vec<_> {
            let state = optimizer.state_dict().unwrap();
            state.into_iter().map(|(name, x)| (name, bits(&x))).collect()
        };
        let (before, weights) = (state(&optimizer), hash_model(&net));
        let ids: Vec<_> = parameters(&net).iter().map(|(_, param)| param.id()).collect();
        let mut copy = (optimizer.clone(), net.clone());
        let wrong = gradients(&net, bad);
        let refused = found(optimizer.apply(&mut net, &wrong));
        assert_eq!(refused.parameter.as_deref(), Some("last.bias"));
        assert!(refused.message.starts_with("the gradient of last.bias has"), "{refused}");
        assert_eq!(found(wrong.check_finite()), refused);
        // Weights, running statistics, state: as if the step had not been.
        assert_eq!((state(&optimizer), hash_model(&net)), (before, weights));
        assert!(parameters(&net).iter().map(|(_, param)| param.id()).eq(ids));
        // And the next good step is the one it would have been.
        step(&mut optimizer, &mut net, 1.0).unwrap();
        step(&mut copy.0, &mut copy.1, 1.0).unwrap();
        assert_eq!(hash_model(&net), hash_model(&copy.1));
    }
    // Not asked, not checked.
    let (mut net, mut unchecked) = (Net::new(), unchecked);
    step(&mut unchecked, &mut net, f64::NAN).unwrap();
}

#[test]
fn an_optimizer_refuses_what_is_not_finite_when_asked() {
    refuses(SGD::new(0.1).momentum(0.9).check_finite(true), SGD::new(0.1));
    refuses(Adam::new(0.1).check_finite(true), Adam::new(0.1));
    refuses(AdamW::new(0.1).group("last.", |g| g.lr(0.2)).check_finite(true), AdamW::new(0.1));
    refuses(RMSprop::new(0.1).check_finite(true), RMSprop::new(0.1));
    refuses(Adagrad::new(0.1).check_finite(true), Adagrad::new(0.1));
}

#[test]
fn an_update_of_a_buffer_is_checked_too() {
    let mut net = Net::new();
    // The mean of the batch overflows; with weights of 0 behind it, every gradient is finite.
    let mut optimizer = SGD::new(0.1).check_finite(true);
    let x = Tensor::from([[3e38f32, 0., 0.], [3e38, 0., 0.]]);
    let step = value_and_grad(&net, &mut Generator::new(1), |net, ctx| {
        let mean = net.norm.running_mean.as_ref().unwrap();
        ctx.update_with(mean, |mean| mean.add(x.sum(..)))?;
        net.last.forward(&Tensor::ones([1, 4], DType::F32)?, ctx).sum(..)
    });
    let gradients = step.unwrap().gradients.allow_missing();
    gradients.check_finite().unwrap();
    let before = hash_model(&net);
    let refused = found(optimizer.apply(&mut net, &gradients));
    assert_eq!(refused.parameter.as_deref(), Some("norm.running_mean"), "{refused}");
    assert_eq!(hash_model(&net), before);
}

#[test]
fn a_skipped_step_leaves_the_run_on_its_way() {
    let mut net = Net::new();
    let mut optimizer = Adam::new(0.02).check_finite(true);
    let mut scheduler = Scheduler::new(StepLR::new(3, 0.5), &mut optimizer).unwrap();
    let mut skipped = Vec::new();
    for number in 0..9 {
        let bad = if number % 4 == 3 { f64::NAN } else { 0.0 };
        match step(&mut optimizer, &mut net, bad) {
            Err(error) if NonFinite::of(&error).is_some() => skipped.push(number),
            other => other.unwrap(),
        }
        scheduler.step(&mut optimizer).unwrap();
    }
    assert_eq!(skipped, [3, 7]);
    let state = optimizer.state_dict().unwrap();
    assert_eq!(state["state.first.weight.step"].item::<i64>().unwrap(), 7);
    for (path, param) in parameters(&net) {
        assert!(param.isfinite().all(..).unwrap().item::<bool>().unwrap(), "{path}");
    }
}
