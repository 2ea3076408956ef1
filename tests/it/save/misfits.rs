//! M34: a whole checkpoint that is not this program's. Each misfit is named, and nothing has changed.

use std::collections::BTreeMap;

use ferrotape::nn::save::Checkpoint;
use ferrotape::nn::{NAdam, Scheduler, StepLR, parameters, state_dict};
use ferrotape::prelude::*;

use super::{Folder, damage, wrong};
use crate::cnn::{bits, hash_model};

type Named = BTreeMap<String, Tensor>;

fn net() -> Linear {
    Linear::new(4, 3, &mut Generator::new(1)).unwrap()
}

/// After one step.
fn stepped<O: Optimizer>(mut optimizer: O) -> (Linear, O) {
    let (mut net, mut rng) = (net(), Generator::new(2));
    let x = rng.normal([5, 4], 0., 1., DType::F32).unwrap();
    let step = value_and_grad(&net, &mut rng, |net, ctx| net.forward(&x, ctx).square().mean(..));
    optimizer.step(&mut net, &step.unwrap()).unwrap();
    (net, optimizer)
}

/// `state` with one entry changed; `None` removes it.
fn with(state: &Named, name: &str, value: Option<Tensor>) -> Named {
    let mut state = state.clone();
    match value {
        Some(value) => state.insert(name.to_string(), value),
        None => state.remove(name),
    };
    state
}

fn zeros<const N: usize>(shape: [usize; N], dtype: DType) -> Option<Tensor> {
    Some(Tensor::zeros(shape, dtype).unwrap())
}

/// Through a file, as a run finds it.
fn of_file(folder: &Folder, part: &str, state: Named) -> Checkpoint {
    let path = folder.0.join("a.safetensors");
    let mut checkpoint = Checkpoint::new();
    checkpoint.put_tensors(part, state).unwrap();
    checkpoint.write(&path).unwrap();
    Checkpoint::read(&path).unwrap()
}

#[test]
fn of_a_model() {
    let folder = Folder::new("misfit-model");
    let (saved, mut other) = (state_dict(&net()), stepped(SGD::new(0.1)).0);
    let before = hash_model(&other);
    for (name, value, said) in [
        ("weight", None, "missing: weight"),
        ("head.weight", zeros([3], DType::F32), "unexpected: head.weight"),
        ("weight", zeros([3, 5], DType::F32), "weight"),
        ("weight", zeros([4, 3], DType::F32), "weight"),
        ("bias", zeros([3], DType::F64), "bias"),
        ("bias", zeros([3], DType::I64), "bias"),
    ] {
        let checkpoint = of_file(&folder, "net", with(&saved, name, value));
        let message = wrong(checkpoint.load_model("net", &mut other));
        let named = message.contains("a.safetensors: checkpoint: net: ") && message.contains(said);
        assert!(named, "{name}: {message}");
        assert_eq!(hash_model(&other), before, "{name}");
    }
}

#[test]
fn of_an_optimizer() {
    let folder = Folder::new("misfit-optimizer");
    let (net, adam) = stepped(Adam::new(0.1));
    let saved = adam.state_dict().unwrap();
    let one = |value| Some(Tensor::from(value));
    for (name, value, said) in [
        ("state.weight.exp_avg", None, "state.weight.exp_avg: missing"),
        ("state.weight.step", None, "state.weight.step: missing"),
        ("lr", None, "lr: missing"),
        ("state.weight.velocity", zeros([3, 4], DType::F32), "velocity: unexpected"),
        ("rate", one(1i64), "rate: unexpected"),
        ("lr.head", one(1), "lr.head: "),
        (
            "state.weight.exp_avg",
            zeros([4, 3], DType::F32),
            "exp_avg: [4, 3] f32, the parameter is [3, 4] f32",
        ),
        (
            "state.bias.exp_avg_sq",
            zeros([3], DType::F64),
            "exp_avg_sq: [3] f64, the parameter is [3] f32",
        ),
        ("state.bias.step", one(-1), "state.bias.step: -1 is no number of steps"),
        ("state.bias.step", one(i64::MIN), "is no number of steps"),
        ("state.bias.step", one(i64::MAX), "is no number of steps"),
        ("state.bias.step", zeros([2], DType::I64), "state.bias.step: one number expected"),
        ("state.head.exp_avg", zeros([3], DType::F32), "the model has no parameter head"),
    ] {
        let checkpoint = of_file(&folder, "adam", with(&saved, name, value));
        let mut fresh = Adam::new(0.3);
        let message = wrong(checkpoint.load_optimizer("adam", &mut fresh, &net));
        let named = message.contains("a.safetensors: checkpoint: adam: ") && message.contains(said);
        assert!(named, "{name}: {message}");
        assert_eq!(fresh.state_dict().unwrap().len(), 1, "{name}");
        assert_eq!(fresh.lr(), 0.3);
    }
}

/// Without a file too: every parameter that the model lacks is named.
#[test]
fn of_an_optimizer_for_another_model() {
    #[derive(Module, Clone)]
    struct Two {
        first: Linear,
        weight: Linear,
    }
    let (net, adam) = stepped(Adam::new(0.1));
    let other = Two { first: net.clone(), weight: net.clone() };
    let mut fresh = Adam::new(0.3);
    let state = adam.state_dict().unwrap();
    let message = wrong(fresh.load_state_dict(&state, &parameters(&other)));
    for name in ["bias", "weight"] {
        let said = format!("state.{name}: the model has no parameter {name}");
        assert!(message.contains(&said), "{message}");
    }
    assert_eq!(fresh.state_dict().unwrap().len(), 1);
    fresh.load_state_dict(&state, &parameters(&net)).unwrap();
    assert_eq!(fresh.state_dict().unwrap().len(), state.len());
}

/// One that has a number of its own for each parameter.
#[test]
fn numbers_beside_the_state_fit() {
    let folder = Folder::new("misfit-nadam");
    let (net, nadam) = stepped(NAdam::new(0.1));
    let saved = nadam.state_dict().unwrap();
    let mut fresh = NAdam::new(0.3);
    let checkpoint = of_file(&folder, "nadam", saved.clone());
    checkpoint.load_optimizer("nadam", &mut fresh, &net).unwrap();
    let loaded = fresh.state_dict().unwrap();
    assert!(loaded.keys().eq(saved.keys()) && saved.contains_key("state.bias.mu_product"));
    assert!(loaded.iter().all(|(name, state)| bits(state) == bits(&saved[name])));
}

#[test]
fn of_a_schedule_a_generator_and_a_loader() {
    let folder = Folder::new("misfit-rest");
    let mut optimizer = Adam::new(0.1);
    let mut scheduler = Scheduler::new(StepLR::new(2, 0.5), &mut optimizer).unwrap();
    let saved = scheduler.state_dict();
    for step in [-1i64, i64::MIN] {
        let state = with(&saved, "schedule.step", Some(Tensor::from(step)));
        let checkpoint = of_file(&folder, "schedule", state);
        let loaded = checkpoint.load_scheduler("schedule", &mut scheduler, &mut optimizer);
        let message = wrong(loaded);
        let named = message.contains("schedule.step") && message.contains(&step.to_string());
        assert!(named, "{message}");
    }
    for length in [0, 1, 2, 4, 1000] {
        let state = with(&Named::new(), "state", zeros([length], DType::I64));
        let message = wrong(of_file(&folder, "rng", state).generator("rng").map(drop));
        assert!(
            message.contains(&format!("rng: state: {length} numbers, 3 expected")),
            "{message}"
        );
    }
    for length in [0, 2, 1000] {
        let state = with(&Named::new(), "position", zeros([length], DType::I64));
        let message = wrong(of_file(&folder, "loader", state).position("loader").map(drop));
        assert!(message.contains(&format!("position: {length} numbers")), "{message}");
    }
}

#[test]
fn of_a_newer_version() {
    let folder = Folder::new("misfit-version");
    let path = folder.0.join("a.safetensors");
    for version in [2, 0, -1, i64::MAX, i64::MIN] {
        of_file(&folder, "net", state_dict(&net()));
        damage::say_version(&path, version);
        let message = wrong(Checkpoint::read(&path));
        let said = format!("checkpoint/version: {version}; this library reads version 1");
        assert!(message.contains(&said), "{message}");
    }
}
