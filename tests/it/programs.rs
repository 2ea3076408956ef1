//! Small programs as a user of PyTorch would port them, held to its losses (`tests/data/programs/make.py`).

use std::collections::BTreeMap;

use ferrotape::io::load_safetensors;
use ferrotape::nn::{
    AttentionMasks, CosineAnnealingLR, LinearLR, OneCycleLR, Param, Scheduler, SequentialLR,
    StepLR, TransformerActivation, TransformerEncoder, TransformerEncoderLayerConfig,
};
use ferrotape::prelude::*;

const STEPS: usize = 20;

/// What a program of this name was given, without the name in front.
struct Recorded(BTreeMap<String, Tensor>);

impl Recorded {
    fn new(name: &str) -> Self {
        let all = load_safetensors(crate::root().join("tests/data/programs/programs.safetensors"));
        let prefix = format!("{name}/");
        let named = all.unwrap().into_iter();
        Recorded(
            named.filter_map(|(k, v)| Some((k.strip_prefix(&prefix)?.to_string(), v))).collect(),
        )
    }

    /// An input: floats as f64.
    fn get(&self, name: &str) -> Tensor {
        let x = &self.0[name];
        if x.dtype() == DType::F32 { x.to_dtype(DType::F64).unwrap() } else { x.clone() }
    }

    fn under(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        let named = self.0.iter();
        named.filter_map(|(k, v)| Some((k.strip_prefix(prefix)?.to_string(), v.clone()))).collect()
    }

    /// The model at the recorded start, in f64.
    fn begin<M: Module>(&self, model: &mut M) {
        model.load_state_dict(&self.under("init/")).unwrap();
        model.to(DType::F64).unwrap();
    }

    /// Compares the losses of all steps, the model at the end and what it says.
    fn end<M: Module>(&self, model: &M, losses: &[f64], said: Result<Tensor>) {
        close("losses", losses, &self.get("loss").to_vec::<f64>().unwrap());
        let state = model.state_dict();
        let last = self.under("final/");
        assert_eq!(state.keys().collect::<Vec<_>>(), last.keys().collect::<Vec<_>>());
        let numbers = |x: &Tensor| x.to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap();
        for (name, expected) in &last {
            assert_eq!(state[name].shape(), expected.shape(), "{name}");
            close(name, &numbers(&state[name]), &numbers(expected));
        }
        close("said", &numbers(&said.unwrap()), &numbers(&self.get("eval")));
    }
}

/// Within 1e-8 of the largest of them.
fn close(name: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (found - expected).abs() / largest;
        assert!(off < 1e-8, "{name}[{at}]: {found} for {expected}, off by {off:e}");
    }
}

#[test]
fn rows_by_a_perceptron() -> Result<()> {
    let recorded = Recorded::new("mlp");
    let mut init = Generator::new(0);
    let mut model = Sequential::new()
        .then(Linear::new(10, 24, &mut init)?)
        .then(ReLU)
        .then(Dropout::new(0.25)?)
        .then(Linear::new(24, 16, &mut init)?)
        .then(Tanh)
        .then(Dropout::new(0.1)?)
        .then(Linear::new(16, 3, &mut init)?);
    recorded.begin(&mut model);
    let (x, y) = (recorded.get("x"), recorded.get("y"));

    let is_bias = |path: &str| path.ends_with("bias");
    let optimizer = Adam::new(0.01).weight_decay(0.1);
    let mut optimizer = optimizer.group_by("biases", is_bias, |g| g.weight_decay(0.0).lr(0.02));
    let mut scheduler = Scheduler::new(StepLR::new(5, 0.5), &mut optimizer)?;
    let (mut rng, mut losses) = (Generator::new(7), Vec::new());
    let criterion = CrossEntropyLoss::default().label_smoothing(0.1);
    for _ in 0..STEPS {
        let mut step = value_and_grad(&model, &mut rng, |model, ctx| {
            model.forward(&x, ctx).cross_entropy_with(&y, criterion)
        })?;
        step.clip_grad_norm(0.5)?;
        optimizer.step(&mut model, &step)?;
        scheduler.step(&mut optimizer)?;
        losses.push(step.loss.item()?);
    }
    recorded.end(&model, &losses, model.forward(&x, &mut Ctx::eval()));
    Ok(())
}

#[derive(Module)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    downsample: Sequential,
}

impl Block {
    fn new(a: usize, b: usize, rng: &mut Generator) -> Result<Self> {
        let three = |from| Conv2dConfig::new(from, b, [3, 3]).padding([1, 1]).bias(false);
        let one = Conv2dConfig::new(a, b, [1, 1]).stride([2, 2]).bias(false).build(rng)?;
        Ok(Block {
            conv1: three(a).stride([2, 2]).build(rng)?,
            bn1: BatchNorm2d::new(b)?,
            conv2: three(b).build(rng)?,
            bn2: BatchNorm2d::new(b)?,
            downsample: Sequential::new().then(one).then(BatchNorm2d::new(b)?),
        })
    }
}

impl Forward for Block {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let y = self.bn1.forward(&self.conv1.forward(x, ctx)?, ctx).relu()?;
        let y = self.bn2.forward(&self.conv2.forward(&y, ctx)?, ctx)?;
        y.add(self.downsample.forward(x, ctx)?).relu()
    }
}

#[derive(Module)]
struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    maxpool: MaxPool2d,
    layer1: Block,
    avgpool: AdaptiveAvgPool2d,
    fc: Linear,
}

impl Forward for ResNet {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let x = self.bn1.forward(&self.conv1.forward(x, ctx)?, ctx).relu()?;
        let x = self.layer1.forward(&self.maxpool.forward(&x, ctx)?, ctx)?;
        self.fc.forward(&self.avgpool.forward(&x, ctx).flatten(1, -1)?, ctx)
    }
}

#[test]
fn images_by_a_residual_network() -> Result<()> {
    let recorded = Recorded::new("resnet");
    let rng = &mut Generator::new(0);
    let mut model = ResNet {
        conv1: Conv2dConfig::new(3, 6, [3, 3]).padding([1, 1]).bias(false).build(rng)?,
        bn1: BatchNorm2d::new(6)?,
        maxpool: MaxPool2d::new([3, 3]).stride([2, 2]).padding([1, 1]),
        layer1: Block::new(6, 8, rng)?,
        avgpool: AdaptiveAvgPool2d::new([1, 1]),
        fc: Linear::new(8, 5, rng)?,
    };
    recorded.begin(&mut model);
    let (x, y) = (recorded.get("x"), recorded.get("y"));

    let mut optimizer = SGD::new(0.1).momentum(0.9).nesterov(true).weight_decay(1e-3);
    let mut scheduler = Scheduler::new(OneCycleLR::new(0.1, STEPS as u64)?, &mut optimizer)?;
    let mut losses = Vec::new();
    for _ in 0..STEPS {
        let step = value_and_grad(&model, rng, |m, ctx| m.forward(&x, ctx).cross_entropy(&y))?;
        optimizer.step(&mut model, &step)?;
        scheduler.step(&mut optimizer)?;
        losses.push(step.loss.item()?);
    }
    recorded.end(&model, &losses, model.forward(&x, &mut Ctx::eval()));
    Ok(())
}

#[derive(Module)]
struct Text {
    embedding: Embedding,
    lstm: LSTM,
    fc: Linear,
}

impl Text {
    fn forward(&self, x: &Tensor, lengths: &[usize], ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let x = self.embedding.forward(x, ctx)?;
        let (_, (h, _)) = self.lstm.forward_packed(&x, lengths, None, ctx)?;
        self.fc.forward(&Tensor::cat(&[&h.i(-2)?, &h.i(-1)?], 1)?, ctx)
    }
}

#[test]
fn texts_by_an_lstm() -> Result<()> {
    let recorded = Recorded::new("text");
    let rng = &mut Generator::new(0);
    let lstm = LSTMConfig::new(6, 8).num_layers(2).bidirectional(true).batch_first(true);
    let mut model = Text {
        embedding: EmbeddingConfig::new(30, 6).padding_idx(0).build(rng)?,
        lstm: lstm.build(rng)?,
        fc: Linear::new(16, 4, rng)?,
    };
    recorded.begin(&mut model);
    let (x, y) = (recorded.get("x"), recorded.get("y"));
    let lengths: Vec<i64> = recorded.get("lengths").to_vec()?;
    let lengths: Vec<usize> = lengths.into_iter().map(|length| length as usize).collect();

    let mut optimizer = RMSprop::new(3e-3).momentum(0.5);
    let schedule = CosineAnnealingLR::new(STEPS as u64, 1e-4);
    let mut scheduler = Scheduler::new(schedule, &mut optimizer)?;
    let mut losses = Vec::new();
    for _ in 0..STEPS {
        let step = value_and_grad(&model, rng, |model, ctx| {
            model.forward(&x, &lengths, ctx).cross_entropy(&y)
        })?;
        optimizer.step(&mut model, &step)?;
        scheduler.step(&mut optimizer)?;
        losses.push(step.loss.item()?);
    }
    assert_eq!(model.embedding.weight.i(0)?.to_vec::<f64>()?, [0.0; 6]);
    recorded.end(&model, &losses, model.forward(&x, &lengths, &mut Ctx::eval()));
    Ok(())
}

#[derive(Module)]
struct Language {
    embedding: Embedding,
    position: Param,
    encoder: TransformerEncoder,
    head: Linear,
}

impl Language {
    fn new(norm_first: bool, rng: &mut Generator) -> Result<Self> {
        let activation = match norm_first {
            true => TransformerActivation::GELU,
            false => TransformerActivation::ReLU,
        };
        let layer = TransformerEncoderLayerConfig::new(12, 3).dim_feedforward(20).dropout(0.0);
        let layer = layer.activation(activation).norm_first(norm_first).batch_first(true);
        let mut encoder = TransformerEncoder::new(layer, 2, rng)?;
        if norm_first {
            encoder = encoder.norm(LayerNorm::new(12)?);
        }
        let embedding = Embedding::new(20, 12, rng)?;
        let head = Linear { weight: embedding.weight.clone(), bias: None };
        let position = Param::new(rng.normal([8, 12], 0.0, 0.1, DType::F32)?);
        Ok(Language { embedding, position, encoder, head })
    }

    fn forward(&self, x: &Tensor, padding: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let masks = AttentionMasks::default().is_causal(true).key_padding_mask(padding);
        let x = self.embedding.forward(x, ctx).add(&*self.position)?;
        self.head.forward(&self.encoder.forward_masked(&x, masks, ctx)?, ctx)
    }
}

#[test]
fn a_language_by_transformers() -> Result<()> {
    for (name, norm_first) in [("pre_norm", true), ("post_norm", false)] {
        let recorded = Recorded::new(name);
        let rng = &mut Generator::new(0);
        let mut model = Language::new(norm_first, rng)?;
        recorded.begin(&mut model);
        let tokens = recorded.get("tokens");
        let (x, y) = (tokens.narrow(1, 0, 8)?, tokens.narrow(1, 1, 8).flatten(0, 1)?);
        let padding = x.eq(0.0)?;

        let mut optimizer = AdamW::new(5e-3).weight_decay(0.1);
        let cosine = CosineAnnealingLR::new(STEPS as u64 - 4, 1e-4);
        let warm_up = SequentialLR::new(LinearLR::new(0.1, 1.0, 4)).then(4, cosine);
        let mut scheduler = Scheduler::new(warm_up, &mut optimizer)?;
        let criterion = CrossEntropyLoss::default().ignore_index(0);
        let mut losses = Vec::new();
        for _ in 0..STEPS {
            let mut step = value_and_grad(&model, rng, |model, ctx| {
                let said = model.forward(&x, &padding, ctx)?;
                said.flatten(0, 1).cross_entropy_with(&y, criterion)
            })?;
            step.clip_grad_norm(1.0)?;
            optimizer.step(&mut model, &step)?;
            scheduler.step(&mut optimizer)?;
            losses.push(step.loss.item()?);
        }
        recorded.end(&model, &losses, model.forward(&x, &padding, &mut Ctx::eval()));
    }
    Ok(())
}

#[derive(Module)]
struct Gan {
    g: Sequential,
    d: Sequential,
}

#[test]
fn two_networks_against_each_other() -> Result<()> {
    let recorded = Recorded::new("gan");
    let rng = &mut Generator::new(0);
    let leaky = LeakyReLU { negative_slope: 0.2 };
    let mut gan = Gan {
        g: Sequential::new()
            .then(Linear::new(3, 10, rng)?)
            .then(BatchNorm1d::new(10)?)
            .then(ReLU)
            .then(Linear::new(10, 2, rng)?),
        d: Sequential::new()
            .then(Linear::new(2, 10, rng)?)
            .then(leaky)
            .then(Linear::new(10, 10, rng)?)
            .then(leaky)
            .then(Linear::new(10, 1, rng)?),
    };
    recorded.begin(&mut gan);
    let (real, noise) = (recorded.get("real"), recorded.get("noise"));
    let one = Tensor::ones([8, 1], DType::F64)?;
    let zero = one.zeros_like()?;

    let mut of_d = Adam::new(5e-3).betas(0.5, 0.999);
    let mut of_g = of_d.clone();
    let mut losses = Vec::new();
    for t in 0..STEPS as i64 {
        gan.freeze("g")?;
        gan.unfreeze("d")?;
        gan.freeze("d.0")?;
        let step = value_and_grad(&gan, rng, |gan, ctx| {
            let fake = gan.g.forward(&noise.i((t, 0))?, ctx)?;
            let bad = gan.d.forward(&real.i(t)?, ctx).bce_with_logits(&one)?;
            bad.add(gan.d.forward(&fake, ctx).bce_with_logits(&zero)?)
        })?;
        of_d.step(&mut gan, &step)?;
        losses.push(step.loss.item()?);

        gan.unfreeze("g")?;
        gan.freeze("d")?;
        let step = value_and_grad(&gan, rng, |gan, ctx| {
            let fake = gan.g.forward(&noise.i((t, 1))?, ctx)?;
            gan.d.forward(&fake, ctx).bce_with_logits(&one)
        })?;
        of_g.step(&mut gan, &step)?;
        losses.push(step.loss.item()?);
    }
    let ctx = &mut Ctx::eval();
    let said = gan.d.forward(&gan.g.forward(&noise.i((0, 0))?, ctx)?, ctx);
    recorded.end(&gan, &losses, said);
    assert!(of_d.state_dict()?.keys().all(|name| !name.contains(".g.") && !name.contains("d.0.")));
    Ok(())
}
