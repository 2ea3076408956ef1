//! Modules, their names, and the optimizers' rules: tied, frozen, missing and stale parameters.

use ferrotape::nn::{
    Gradients, Param, load_state_dict, parameter_count, parameters, state_dict, to_dtype,
};
use ferrotape::prelude::*;

use crate::cnn::{bits, hash_model};

#[derive(Module, Clone)]
struct Tied {
    embedding: Param,
    output: Param,
    scale: Param,
}

fn tied() -> Tied {
    let shared = Param::new(Tensor::from([[0.5f32, -1.], [2., 0.25]]));
    let scale = Param::new(Tensor::from([1.5f32]));
    Tied { embedding: shared.clone(), output: shared, scale }
}

/// Uses the tied value in both places.
fn tied_loss(model: &Tied, x: &Tensor) -> Result<Tensor> {
    let hidden = x.matmul(&*model.embedding).mul(&*model.scale).tanh()?;
    hidden.matmul(&model.output.t()?).square().sum(..)
}

fn train_tied(model: &mut Tied, optimizer: &mut dyn Optimizer, steps: usize) {
    let x = Tensor::from([[1f32, 2.], [-1., 0.5], [0.25, -3.]]);
    for _ in 0..steps {
        let step = value_and_grad(&*model, &mut Generator::new(0), |m, _| tied_loss(m, &x));
        optimizer.apply(model, &step.unwrap().gradients).unwrap();
        assert_eq!(model.embedding.id(), model.output.id(), "untied");
        assert_eq!(model.embedding.address(), model.output.address(), "untied");
    }
}

#[test]
fn tied_weights_get_the_sum_once_and_stay_tied() {
    let x = Tensor::from([[1f32, 2.], [-1., 0.5], [0.25, -3.]]);
    let model = tied();
    // The same network with two values of the same numbers: its two gradients are the parts of the sum.
    let mut apart = model.clone();
    apart.output.set(model.output.copy().unwrap());
    let parts = value_and_grad(&apart, &mut Generator::new(0), |m, _| tied_loss(m, &x)).unwrap();
    let parts = parts.gradients;
    let sum = parts.get("embedding").unwrap().add(parts.get("output").unwrap()).unwrap();
    let step = value_and_grad(&model, &mut Generator::new(0), |m, _| tied_loss(m, &x)).unwrap();
    let (first, second) =
        (step.gradients.get("embedding").unwrap(), step.gradients.get("output").unwrap());
    assert_eq!(bits(first), bits(second));
    let differ = first.sub(&sum).abs().max(..).unwrap().to_f64().unwrap();
    assert!(differ <= 1e-5 * sum.abs().max(..).unwrap().to_f64().unwrap(), "{differ}");
    // The norm counts it once.
    let scale = step.gradients.get("scale").unwrap().square().sum(..).unwrap().to_f64().unwrap();
    let expected = (first.square().sum(..).unwrap().to_f64().unwrap() + scale).sqrt();
    assert!((step.gradients.norm().unwrap() - expected).abs() < 1e-5 * expected);

    let mut updated = model.clone();
    SGD::new(0.01).step(&mut updated, &step).unwrap();
    let once = model.embedding.sub(first.mul(0.01)).unwrap();
    let differ = updated.embedding.sub(&once).abs().max(..).unwrap().to_f64().unwrap();
    assert!(differ < 1e-6, "updated other than once: off by {differ}");
    assert_eq!(updated.embedding.id(), updated.output.id());

    let optimizers: [Box<dyn Optimizer>; 3] = [
        Box::new(SGD::new(0.01)),
        Box::new(SGD::new(0.01).momentum(0.9)),
        Box::new(Adam::new(0.01)),
    ];
    for mut optimizer in optimizers {
        let mut trained = model.clone();
        train_tied(&mut trained, &mut *optimizer, 5);
        assert_ne!(bits(&trained.embedding), bits(&model.embedding));
        assert_eq!(bits(&model.embedding), bits(&tied().embedding), "the clone before it");
    }
}

#[test]
fn tied_weights_stay_tied_through_a_state_dict() {
    let mut model = tied();
    train_tied(&mut model, &mut Adam::new(0.1), 3);
    assert_eq!(parameter_count(&model), 5);
    let state = state_dict(&model);
    assert_eq!(state.keys().collect::<Vec<_>>(), ["embedding", "output", "scale"]);
    let mut fresh = tied();
    load_state_dict(&mut fresh, &state).unwrap();
    assert_eq!(fresh.embedding.id(), fresh.output.id());
    assert_eq!(hash_model(&fresh), hash_model(&model));

    // Through a file, where the two names have values of their own.
    let path = std::env::temp_dir().join(format!("ferrotape-tied-{}", std::process::id()));
    let named = state.iter().map(|(name, tensor)| (name.clone(), tensor));
    ferrotape::io::save_safetensors(&path, named).unwrap();
    let read = ferrotape::io::load_safetensors(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_ne!(read["embedding"].id(), read["output"].id());
    let mut fresh = tied();
    load_state_dict(&mut fresh, &read).unwrap();
    assert_eq!(hash_model(&fresh), hash_model(&model));
    train_tied(&mut fresh, &mut SGD::new(0.01), 2);

    to_dtype(&mut fresh, DType::F64).unwrap();
    assert_eq!((fresh.embedding.id(), fresh.embedding.dtype()), (fresh.output.id(), DType::F64));
}

#[test]
fn a_state_dict_that_does_not_fit_changes_nothing() {
    let mut model = tied();
    let before = hash_model(&model);
    let mut state = state_dict(&model);
    state.remove("scale");
    state.insert("extra".into(), Tensor::from([1f32]));
    state.insert("output".into(), Tensor::from([1f32]));
    state.insert("embedding".into(), Tensor::zeros([2, 2], DType::F32).unwrap());
    let message = load_state_dict(&mut model, &state).unwrap_err().to_string();
    for part in ["missing: scale", "unexpected: extra", "mismatched: output"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(hash_model(&model), before);
}

type Pair = (Linear, Linear);

fn pair() -> Pair {
    let mut rng = Generator::new(9);
    (Linear::new(3, 2, &mut rng).unwrap(), Linear::new(3, 2, &mut rng).unwrap())
}

/// The gradients of a loss that the second layer takes no part in.
fn half(model: &Pair) -> Gradients {
    let x = Tensor::from([[1f32, 2., 3.]]);
    let loss = |m: &Pair, ctx: &mut Ctx<'_>| m.0.forward(&x, ctx).square().sum(..);
    value_and_grad(model, &mut Generator::new(0), loss).unwrap().gradients
}

#[test]
fn a_parameter_that_no_gradient_reached_is_named() {
    let mut model = pair();
    let before = hash_model(&model);
    let gradients = half(&model);
    let names: Vec<&str> = gradients.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["0.weight", "0.bias"]);
    let optimizers: [Box<dyn Optimizer>; 2] = [Box::new(SGD::new(0.1)), Box::new(Adam::new(0.1))];
    for mut optimizer in optimizers {
        let error = optimizer.apply(&mut model, &gradients).unwrap_err();
        assert!(error.to_string().contains("no gradient reached parameter 1.weight"), "{error}");
        assert_eq!(hash_model(&model), before);
    }
    let second = bits(&model.1.weight);
    let first = bits(&model.0.weight);
    SGD::new(0.1).apply(&mut model, &gradients.allow_missing()).unwrap();
    assert_eq!(bits(&model.1.weight), second);
    assert_ne!(bits(&model.0.weight), first);

    let none = value_and_grad(&model, &mut Generator::new(0), |_, _| Ok(Tensor::from(1f32)));
    assert!(none.unwrap_err().to_string().contains("depends on no trainable parameter"));
}

#[test]
fn frozen_parameters_are_neither_watched_nor_changed() {
    let mut model = pair();
    assert_eq!(model.freeze("1.").unwrap(), 2);
    let frozen = (bits(&model.1.weight), model.1.weight.id());
    let gradients = half(&model);
    Adam::new(0.1).apply(&mut model, &gradients).unwrap();
    assert_eq!((bits(&model.1.weight), model.1.weight.id()), frozen);

    // Frozen within the loss: a gradient passes through it and none reaches it.
    let x = Tensor::from([[1f32, 2., 3.]]);
    let square = |m: &Pair, ctx: &mut Ctx<'_>| {
        m.1.forward(&x, ctx).matmul(m.0.weight.tensor()).square().sum(..)
    };
    let step = value_and_grad(&model, &mut Generator::new(0), square).unwrap();
    assert!(step.gradients.get("0.weight").is_some() && step.gradients.get("1.weight").is_none());
    // The bias of the first layer is out of reach now, and said so.
    let error = SGD::new(0.1).step(&mut model, &step).unwrap_err();
    assert!(error.to_string().contains("0.bias"), "{error}");
    model.0.bias.as_mut().unwrap().trainable = false;
    let step = value_and_grad(&model, &mut Generator::new(0), square).unwrap();
    SGD::new(0.1).step(&mut model, &step).unwrap();

    assert_eq!(model.unfreeze("").unwrap(), 4);
    let gradients = half(&model);
    assert!(SGD::new(0.1).apply(&mut model, &gradients).is_err(), "thawed");
    model.freeze("").unwrap();
    let step = value_and_grad(&model, &mut Generator::new(0), square).unwrap();
    assert_eq!(step.gradients.iter().count(), 0, "all frozen");
}

#[test]
fn stale_gradients_are_refused_by_name() {
    let mut model = pair();
    model.freeze("1.").unwrap();
    let (gradients, mut optimizer) = (half(&model), SGD::new(0.1).momentum(0.5));
    optimizer.apply(&mut model, &gradients).unwrap();
    let after = hash_model(&model);
    let error = optimizer.apply(&mut model, &gradients).unwrap_err();
    assert!(error.to_string().contains("parameter 0.weight has changed"), "{error}");
    assert_eq!(hash_model(&model), after);

    // A parameter replaced by hand, and another model.
    let gradients = half(&model);
    let bias = Tensor::zeros([2], DType::F32).unwrap();
    model.0.bias.as_mut().unwrap().set(bias);
    let error = optimizer.apply(&mut model, &gradients).unwrap_err();
    assert!(error.to_string().contains("parameter 0.bias has changed"), "{error}");
    let mut other = Sequential::new().then(Linear::new(3, 2, &mut Generator::new(0)).unwrap());
    assert!(optimizer.apply(&mut other, &half(&pair()).allow_missing()).is_err());
    model.unfreeze("").unwrap();
    let error = optimizer.apply(&mut model, &gradients).unwrap_err();
    assert!(error.to_string().contains("0.bias has changed"), "{error}");
}

#[test]
fn an_update_leaves_clones_and_views_untouched() {
    let optimizers: [Box<dyn Optimizer>; 3] =
        [Box::new(SGD::new(0.1)), Box::new(SGD::new(0.1).momentum(0.9)), Box::new(AdamW::new(0.1))];
    for mut optimizer in optimizers {
        let mut model = pair();
        model.freeze("1.").unwrap();
        for round in 0..3 {
            let (clone, view) = (model.clone(), model.0.weight.t().unwrap());
            let (before, weight, id) = (hash_model(&clone), bits(&view), model.0.weight.id());
            let gradients = half(&model);
            optimizer.apply(&mut model, &gradients).unwrap();
            assert_eq!((hash_model(&clone), bits(&view)), (before, weight), "round {round}");
            assert_ne!(hash_model(&model), before);
            assert_ne!(model.0.weight.id(), id);
        }
        // No one else holds the weights now: they are changed in place.
        let address = model.0.weight.address();
        let gradients = half(&model);
        optimizer.apply(&mut model, &gradients).unwrap();
        assert_eq!(model.0.weight.address(), address);
    }
}

#[derive(Module)]
struct Block {
    norm: Option<BatchNorm2d>,
    convs: Vec<Conv2d>,
    shortcut: (Linear, Param),
}

#[derive(Module)]
struct Network {
    stem: Sequential,
    blocks: Vec<Block>,
    absent: Option<Linear>,
    #[module(rename = "fc")]
    head: Box<dyn Forward>,
    #[module(skip)]
    name: String,
    flags: Flags,
}

#[derive(Module)]
struct Flags;

#[derive(Module)]
enum Either {
    Wide(Linear),
    Deep { first: Linear, second: Linear },
}

#[test]
fn derived_modules_have_the_names_of_pytorch() {
    let mut rng = Generator::new(0);
    let mut linear = || Linear::new(2, 2, &mut rng).unwrap();
    let mut conv_rng = Generator::new(1);
    let mut conv = |bias| {
        let config = Conv2dConfig::new(2, 2, [1, 1]).bias(bias);
        config.build(&mut conv_rng).unwrap()
    };
    let block = |norm, convs, shortcut| Block { norm, convs, shortcut };
    let param = || Param::new(Tensor::from([1f32]));
    let network = Network {
        stem: Sequential::new().then(linear()).then(ReLU).then(linear()),
        blocks: vec![
            block(None, vec![conv(true)], (linear(), param())),
            block(
                Some(BatchNorm2d::new(2).unwrap()),
                vec![conv(false), conv(true)],
                (linear(), param()),
            ),
        ],
        absent: None,
        head: Box::new(linear()),
        name: "net".into(),
        flags: Flags,
    };
    assert_eq!(network.name, "net");
    let Flags = network.flags;
    let names: Vec<String> = parameters(&network).into_iter().map(|(name, _)| name).collect();
    let expected = "stem.0.weight stem.0.bias stem.2.weight stem.2.bias \
        blocks.0.convs.0.weight blocks.0.convs.0.bias \
        blocks.0.shortcut.0.weight blocks.0.shortcut.0.bias blocks.0.shortcut.1 \
        blocks.1.norm.weight blocks.1.norm.bias \
        blocks.1.convs.0.weight blocks.1.convs.1.weight blocks.1.convs.1.bias \
        blocks.1.shortcut.0.weight blocks.1.shortcut.0.bias blocks.1.shortcut.1 \
        fc.weight fc.bias";
    assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
    let buffers: Vec<String> =
        ferrotape::nn::buffers(&network).into_iter().map(|(name, _)| name).collect();
    let expected = ["running_mean", "running_var", "num_batches_tracked"];
    assert_eq!(buffers, expected.map(|name| format!("blocks.1.norm.{name}")));
    assert_eq!(state_dict(&network).len(), names.len() + buffers.len());

    let names_of = |module: &dyn Module| {
        parameters(module).into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names_of(&Either::Wide(linear())), "0.weight 0.bias");
    let deep = Either::Deep { first: linear(), second: linear() };
    assert_eq!(names_of(&deep), "first.weight first.bias second.weight second.bias");
}
