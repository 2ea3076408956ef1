//! Layers, models and optimizers in 16 bits: near what they are in f32, and brought to them and back with their state.

use ferrotape::nn::*;
use ferrotape::prelude::*;

const HALVES: [(DType, f64); 2] = [(DType::F16, 0.01), (DType::BF16, 0.08)];

fn wide(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().contiguous().unwrap().to_vec().unwrap()
}

/// Off by at most so much of the largest.
fn near(name: &str, found: &Tensor, expected: &Tensor, bound: f64) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    let expected = wide(expected);
    let largest = expected.iter().fold(0.1, |most: f64, x| most.max(x.abs()));
    for (found, expected) in wide(found).iter().zip(&expected) {
        let off = (found - expected).abs() / largest;
        assert!(off <= bound, "{name}: {found} for {expected}");
    }
}

/// Of an input.
type Sizes = Vec<usize>;

/// A layer and the kind of input that it takes.
type Case = (&'static str, Box<dyn Forward>, Sizes);

fn layers() -> Result<Vec<Case>> {
    let rng = &mut Generator::new(1);
    let encoder = TransformerEncoderLayerConfig::new(8, 2).dim_feedforward(16).dropout(0.0);
    Ok(vec![
        ("linear", Box::new(Linear::new(8, 5, rng)?), vec![4, 8]),
        ("conv1d", Box::new(Conv1d::new(3, 4, [3], rng)?), vec![2, 3, 8]),
        ("conv2d", Box::new(Conv2d::new(3, 4, [3, 3], rng)?), vec![2, 3, 6, 6]),
        ("conv3d", Box::new(Conv3d::new(2, 3, [2, 2, 2], rng)?), vec![2, 2, 3, 4, 3]),
        ("transposed", Box::new(ConvTranspose2d::new(3, 4, [3, 3], rng)?), vec![2, 3, 4, 4]),
        ("batch", Box::new(BatchNorm2d::new(3)?), vec![4, 3, 5, 5]),
        ("layer", Box::new(LayerNorm::new(8)?), vec![4, 8]),
        ("rms", Box::new(RMSNorm::new(8)?), vec![4, 8]),
        ("group", Box::new(GroupNorm::new(2, 4)?), vec![3, 4, 6]),
        (
            "instance",
            Box::new(InstanceNorm2dConfig::new(3).affine(true).build()?),
            vec![2, 3, 4, 4],
        ),
        ("max", Box::new(MaxPool2d::new([2, 2])), vec![2, 3, 4, 4]),
        ("average", Box::new(AvgPool2d::new([2, 2])), vec![2, 3, 4, 4]),
        ("adaptive", Box::new(AdaptiveAvgPool2d::new([2, 1])), vec![2, 3, 5, 4]),
        ("prelu", Box::new(PReLU::new(3, 0.25)?), vec![2, 3, 4]),
        ("gelu", Box::new(GELU::default()), vec![20]),
        ("softmax", Box::new(Softmax { dim: -1 }), vec![4, 8]),
        ("encoder", Box::new(encoder.build(rng)?), vec![5, 2, 8]),
        ("unfold", Box::new(Unfold::new([2, 2])), vec![2, 3, 4, 4]),
        ("fold", Box::new(Fold::new([3, 3], [2, 2])), vec![2, 8, 4]),
        ("pad", Box::new(ReflectionPad2d::new([1, 1, 2, 0])), vec![2, 3, 4, 4]),
        ("shuffle", Box::new(PixelShuffle::new(2)), vec![2, 4, 3, 3]),
    ])
}

/// Output and gradients, of the parameters and of x, of a layer in a type.
fn outcome(layer: Box<dyn Forward>, x: &Tensor) -> (Tensor, Vec<(String, Tensor)>) {
    let mut model = (layer, Param::new(x.clone()));
    model.to(x.dtype()).unwrap();
    let mut out = None;
    let step = value_and_grad(&model, &mut Generator::new(0), |(layer, x), ctx| {
        let y = layer.forward(x, ctx)?;
        out = Some(y.detach()?);
        y.square().mean(..)
    })
    .unwrap();
    let gradients = step.gradients.iter().map(|(path, g)| (path.to_string(), g.clone())).collect();
    (out.unwrap(), gradients)
}

#[test]
fn every_layer_in_16_bits_is_near_what_it_is_in_32() {
    for (dtype, bound) in HALVES {
        for ((name, layer, shape), (_, same, _)) in
            layers().unwrap().into_iter().zip(layers().unwrap())
        {
            let x = Generator::new(2).normal(&shape[..], 0.0, 1.0, dtype).unwrap();
            let (expected, gradients) = outcome(layer, &x.to_dtype(DType::F32).unwrap());
            let (found, halves) = outcome(same, &x);
            assert_eq!(found.dtype(), dtype, "{name}");
            near(name, &found, &expected, bound);
            assert_eq!(halves.len(), gradients.len(), "{name}");
            for ((path, found), (_, expected)) in halves.iter().zip(&gradients) {
                assert_eq!(found.dtype(), dtype, "{name}: {path}");
                near(&format!("{name}: {path}, {dtype}"), found, expected, 2.0 * bound);
            }
        }
        let rng = &mut Generator::new(4);
        let words = EmbeddingConfig::new(9, 4).padding_idx(0).dtype(dtype).build(rng).unwrap();
        let lstm = LSTMConfig::new(4, 6).bidirectional(true).dtype(dtype).build(rng).unwrap();
        let mut model = (words, lstm);
        let x = Tensor::from([[1i64, 2], [3, 0], [8, 4]]);
        let mut run = |model: &(Embedding, LSTM)| {
            let mut out = None;
            let step = value_and_grad(model, rng, |(words, lstm), ctx| {
                let (y, _) = lstm.forward_packed(&words.forward(&x, ctx)?, &[3, 1], None, ctx)?;
                out = Some(y.detach()?);
                y.square().mean(..)
            });
            (out.unwrap(), step.unwrap().gradients)
        };
        let (found, halves) = run(&model);
        model.to(DType::F32).unwrap();
        let (expected, gradients) = run(&model);
        near("lstm", &found, &expected, bound);
        for ((path, found), (_, expected)) in halves.iter().zip(gradients.iter()) {
            assert_eq!(found.dtype(), dtype);
            near(path, found, expected, 2.0 * bound);
        }
    }
}

fn optimizers() -> Vec<(&'static str, Box<dyn Optimizer>)> {
    vec![
        ("sgd", Box::new(SGD::new(0.1).momentum(0.9).nesterov(true))),
        ("adam", Box::new(Adam::new(0.01).amsgrad(true))),
        ("adamw", Box::new(AdamW::new(0.01))),
        ("rmsprop", Box::new(RMSprop::new(0.01).centered(true).momentum(0.5))),
        ("adagrad", Box::new(Adagrad::new(0.05))),
        ("adadelta", Box::new(Adadelta::new(1.0))),
        ("adamax", Box::new(Adamax::new(0.01))),
        ("nadam", Box::new(NAdam::new(0.01))),
        ("radam", Box::new(RAdam::new(0.01))),
    ]
}

/// Trains in f32, goes on in 16 bits, and in f32 again: the state goes with it, the loss falls, and types that don't fit are told.
#[test]
fn a_model_and_its_optimizer_change_their_type_on_the_way() {
    let data = &mut Generator::new(9);
    let x = data.normal([32, 6], 0.0, 1.0, DType::F32).unwrap();
    let y = x.sum_keep(1).tanh().unwrap();
    for (dtype, _) in HALVES {
        for (name, mut optimizer) in optimizers() {
            let rng = &mut Generator::new(3);
            let mut model = Sequential::new()
                .then(Linear::new(6, 16, rng).unwrap())
                .then(LayerNorm::new(16).unwrap())
                .then(Tanh)
                .then(Linear::new(16, 1, rng).unwrap());
            let mut losses = Vec::new();
            for phase in [DType::F32, dtype, DType::F32] {
                model.to(phase).unwrap();
                let (x, y) = (x.to_dtype(phase).unwrap(), y.to_dtype(phase).unwrap());
                let step = |model: &Sequential, rng: &mut Generator| {
                    value_and_grad(model, rng, |m, ctx| m.forward(&x, ctx).mse_loss(&y)).unwrap()
                };
                if !losses.is_empty() {
                    let unfit = step(&model, rng);
                    let error = optimizer.apply(&mut model, &unfit.gradients).unwrap_err();
                    assert!(error.to_string().contains("to_dtype"), "{name}: {error}");
                }
                optimizer.to_dtype(phase).unwrap();
                for _ in 0..12 {
                    let step = step(&model, rng);
                    assert_eq!(step.loss.dtype(), phase);
                    losses.push(step.loss.to_f64().unwrap());
                    optimizer.apply(&mut model, &step.gradients).unwrap();
                }
                for (path, tensor) in optimizer.state_dict().unwrap() {
                    if path.starts_with("state.") && tensor.rank() > 0 {
                        assert_eq!(tensor.dtype(), phase, "{name}: {path}");
                    }
                }
                let kept = model.state_dict();
                assert!(kept.values().all(|tensor| tensor.dtype() == phase));
            }
            assert!(losses.iter().all(|loss| loss.is_finite()), "{name}: {losses:?}");
            let (first, last) = (losses[0], losses[losses.len() - 1]);
            assert!(last < 0.98 * first, "{name} in {dtype}: {first} to {last}");
        }
    }
}
