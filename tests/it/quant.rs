//! Networks in int8: calibration, conversion, what runs in integers, and what is refused.

use std::cell::RefCell;
use std::rc::Rc;

use ferrotape::nn::quant::{
    Calibration, Qat, QatRange, QuantConfig, Quantized, RangeMethod, calibrate,
};
use ferrotape::nn::{BatchNorm2dConfig, load_state_dict, state_dict};
use ferrotape::prelude::*;
use ferrotape::{Meta, Observer, Op, observe};

#[derive(Debug, Module)]
pub(crate) struct Block {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
}

impl Forward for Block {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let y = self.bn1.forward(&self.conv1.forward(x, ctx)?, ctx).relu()?;
        let y = self.bn2.forward(&self.conv2.forward(&y, ctx)?, ctx)?;
        y.add(x).relu()
    }
}

/// Every way that codes go: a first convolution, a residual block, branches that are concatenated, a pool, a head.
#[derive(Debug, Module)]
pub(crate) struct Net {
    stem: Conv2d,
    bn: BatchNorm2d,
    block: Block,
    left: Conv2d,
    right: Conv2d,
    fc1: Linear,
    fc2: Linear,
}

fn conv(from: usize, to: usize, rng: &mut Generator) -> Result<Conv2d> {
    Conv2dConfig::new(from, to, [3, 3]).padding([1, 1]).bias(false).build(rng)
}

/// With statistics that are not those of its beginning.
fn norm(channels: usize, rng: &mut Generator) -> Result<BatchNorm2d> {
    let mut norm = BatchNorm2dConfig::new(channels).build()?;
    let mut state = state_dict(&norm);
    for (name, low, high) in [
        ("weight", 0.5, 1.5),
        ("bias", -0.3, 0.3),
        ("running_mean", -0.2, 0.2),
        ("running_var", 0.2, 1.0),
    ] {
        state.insert(name.to_string(), rng.uniform([channels], low, high, DType::F32)?);
    }
    load_state_dict(&mut norm, &state)?;
    Ok(norm)
}

impl Net {
    pub(crate) fn new(rng: &mut Generator) -> Result<Self> {
        let block = Block {
            conv1: conv(8, 8, rng)?,
            bn1: norm(8, rng)?,
            conv2: conv(8, 8, rng)?,
            bn2: norm(8, rng)?,
        };
        Ok(Net {
            stem: conv(3, 8, rng)?,
            bn: norm(8, rng)?,
            block,
            left: Conv2d::new(8, 6, [1, 1], rng)?,
            right: Conv2dConfig::new(8, 10, [3, 3]).padding([1, 1]).groups(2).build(rng)?,
            fc1: Linear::new(16 * 16, 24, rng)?,
            fc2: Linear::new(24, 5, rng)?,
        })
    }
}

impl Forward for Net {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let x = self.bn.forward(&self.stem.forward(x, ctx)?, ctx).relu()?;
        let x = self.block.forward(&x, ctx)?;
        let branches = [&self.left.forward(&x, ctx)?, &self.right.forward(&x, ctx)?];
        let x = Tensor::cat(&branches, 1).relu().max_pool2d(Pool2dOp::new([2, 2]))?;
        let x = self.fc1.forward(&x.flatten(1, -1)?, ctx).relu()?;
        self.fc2.forward(&x, ctx)
    }
}

pub(crate) fn batches(n: u64, rng: &mut Generator) -> Vec<Tensor> {
    (0..n).map(|_| rng.normal([6, 3, 8, 8], 0.0, 1.0, DType::F32).unwrap()).collect()
}

pub(crate) fn calibrated(
    net: &Net,
    config: QuantConfig,
    batches: &[Tensor],
) -> Result<Calibration> {
    let run = |net: &Net, x: &Tensor| net.forward(x, &mut Ctx::eval());
    calibrate(net, config, batches.iter().map(Ok), run, |_| ())
}

/// 10 log10 of signal over noise.
pub(crate) fn sqnr(expected: &Tensor, y: &Tensor) -> f64 {
    let signal = expected.square().sum(..).unwrap().to_f64().unwrap();
    let noise = expected.sub(y).square().sum(..).unwrap().to_f64().unwrap();
    10.0 * (signal / noise).log10()
}

/// Names of all operations that happen.
struct Names(RefCell<Vec<&'static str>>);

impl Observer for Names {
    fn begin(&self, op: &Op, _: &[&Tensor]) -> Result<()> {
        self.0.borrow_mut().push(op.name());
        Ok(())
    }
    fn end(&self, _: &Op, _: &[Meta], _: Result<&[Tensor], &Error>) -> Result<()> {
        Ok(())
    }
}

fn ops_of<R>(body: impl FnOnce() -> R) -> (R, Vec<&'static str>) {
    let names = Rc::new(Names(RefCell::default()));
    let result = observe(names.clone(), body);
    (result, names.0.take())
}

#[test]
fn a_network_of_any_form_runs_in_integers() -> Result<()> {
    let mut rng = Generator::new(1);
    let net = Net::new(&mut rng)?;
    let seen = batches(4, &mut rng);
    let x = rng.normal([9, 3, 8, 8], 0.0, 1.0, DType::F32)?;
    let expected = net.forward(&x, &mut Ctx::eval())?;
    let calibration = calibrated(&net, QuantConfig::default(), &seen)?;
    let layers: Vec<&str> = calibration.layers().collect();
    assert_eq!(layers, ["stem", "block.conv1", "block.conv2", "left", "right", "fc1", "fc2"]);
    let int8 = calibration.convert(net)?;

    let (y, ops) = ops_of(|| int8.forward(&x));
    let y = y?;
    assert!(sqnr(&expected, &y) > 25.0, "{}", sqnr(&expected, &y));
    let count = |name: &str| ops.iter().filter(|op| **op == name).count();
    assert_eq!((count("int8_conv2d"), count("int8_linear")), (5, 2), "{ops:?}");
    assert_eq!((count("int8_encode"), count("int8_decode")), (1, 0), "{ops:?}");
    assert_eq!((count("int8_add"), count("int8_cat"), count("int8_max_pool2d")), (1, 1, 1));
    // Batch norms are part of their convolutions, and no layer runs in float.
    for name in ["conv2d", "linear", "matmul", "cat"] {
        assert_eq!(count(name), 0, "{name}: {ops:?}");
    }
    // A row's bits don't depend on its batch.
    let alone = int8.forward(&x.narrow(0, 4, 1)?)?;
    assert_eq!(alone.to_vec::<f32>()?, y.narrow(0, 4, 1)?.to_vec::<f32>()?);
    Ok(())
}

/// A convolution and its max pool, asked for as one.
#[derive(Debug, Module)]
struct Pooled {
    conv: Conv2d,
}

impl Forward for Pooled {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        let (conv, pool) = (Conv2dOp::default().padding([1, 1]), Pool2dOp::new([2, 2]));
        x.conv2d_max_pool2d(&self.conv.weight, None, conv, pool)
    }
}

#[test]
fn calibration_sees_the_convolution_inside_its_pool() -> Result<()> {
    let mut rng = Generator::new(12);
    let net = Pooled { conv: conv(3, 8, &mut rng)? };
    let seen = batches(4, &mut rng);
    let x = &seen[0];
    let expected = net.forward(x, &mut Ctx::eval())?;
    let run = |net: &Pooled, x: &Tensor| net.forward(x, &mut Ctx::eval());
    let calibration = calibrate(&net, QuantConfig::default(), seen.iter().map(Ok), run, |_| ())?;
    assert_eq!(calibration.layers().collect::<Vec<_>>(), ["conv"]);

    // Who listens hears two operations, with the bits of the one.
    let (y, ops) = ops_of(|| net.forward(x, &mut Ctx::eval()));
    assert_eq!(ops, ["conv2d", "max_pool2d"]);
    assert_eq!(y?.to_vec::<f32>()?, expected.to_vec::<f32>()?);

    let int8 = calibration.convert(net)?;
    let (y, ops) = ops_of(|| int8.forward(x));
    assert!(sqnr(&expected, &y?) > 25.0);
    assert!(ops.contains(&"int8_conv2d") && !ops.contains(&"conv2d"), "{ops:?}");
    Ok(())
}

#[test]
fn every_setting_is_near_the_float_network() -> Result<()> {
    let mut rng = Generator::new(2);
    let net = Net::new(&mut rng)?;
    let seen = batches(3, &mut rng);
    let x = rng.normal([5, 3, 8, 8], 0.0, 1.0, DType::F32)?;
    let expected = net.forward(&x, &mut Ctx::eval())?;
    let state = state_dict(&net);
    let settings = [
        ("affine", QuantConfig::default(), 25.0),
        ("symmetric", QuantConfig::symmetric(), 22.0),
        ("all seen", QuantConfig::default().range(RangeMethod::MinMax), 22.0),
        ("one scale a weight", QuantConfig::default().per_channel(false), 20.0),
        ("two in float", QuantConfig::default().keep_float("block").keep_float("fc2"), 25.0),
        ("weights alone", QuantConfig::weights_only(8), 35.0),
        ("weights of 4 bits", QuantConfig::weights_only(4), 10.0),
    ];
    let mut found = Vec::new();
    for (name, config, at_least) in settings {
        let mut net = Net::new(&mut rng)?;
        load_state_dict(&mut net, &state)?;
        let int8 = calibrated(&net, config, &seen)?.convert(net)?;
        let sqnr = sqnr(&expected, &int8.forward(&x)?);
        found.push((name, sqnr));
        assert!(sqnr > at_least, "{found:?}");
    }
    Ok(())
}

#[test]
fn weights_are_codes_alone() -> Result<()> {
    let mut rng = Generator::new(3);
    let net = Linear::new(1024, 1024, &mut rng)?;
    let float = 4 * (1024 * 1024 + 1024);
    let x = rng.normal([4, 1024], 0.0, 1.0, DType::F32)?;
    let mut calibration = Calibration::new(QuantConfig::default())?;
    calibration.observe(&net, |net| net.forward(&x, &mut Ctx::eval()))?;
    let int8: Quantized<Linear> = calibration.convert(net)?;
    let ratio = float as f64 / int8.parameter_bytes() as f64;
    assert!(ratio > 3.9, "{ratio}");
    assert!(int8.model().weight.to_vec::<f32>()?.iter().all(|x| x.is_nan()));
    Ok(())
}

/// What the network is asked to do otherwise than in calibration.
fn other_ways(net: &Net, x: &Tensor, way: usize) -> Result<Tensor> {
    let ctx = &mut Ctx::eval();
    let stem = net.stem.forward(x, ctx)?;
    match way {
        0 => stem.exp(),
        1 => Ok(stem),
        2 => net.stem.weight.square(),
        3 => net.block.forward(&net.stem.forward(&stem.narrow(1, 0, 3)?, ctx)?, ctx),
        _ => stem.sub(Tensor::ones([1, 8, 1, 1], DType::F32)).exp(),
    }
}

#[test]
fn another_way_than_in_calibration_is_refused_or_right() -> Result<()> {
    let mut rng = Generator::new(4);
    let net = Net::new(&mut rng)?;
    let seen = batches(1, &mut rng);
    let int8 = calibrated(&net, QuantConfig::default(), &seen)?.convert(net)?;
    let words = [
        "in calibration sub followed stem; now stem is followed by exp",
        "in calibration sub followed stem; now stem leaves the network",
        "square reads stem.weight in a way that calibration did not see",
        "conv2d reads stem.weight in a way that calibration did not see",
        "in calibration mul followed stem; now stem is followed by exp",
    ];
    for (way, words) in words.iter().enumerate() {
        let error = int8.run(|net| other_ways(net, &seen[0], way)).unwrap_err().to_string();
        assert!(error.contains(words), "{way}: {error}");
    }
    // Values that stop short of the end of the calibrated way are numbers for whoever reads them.
    let read = int8.run(|net| {
        let ctx = &mut Ctx::eval();
        let x = net.bn.forward(&net.stem.forward(&seen[0], ctx)?, ctx).relu()?;
        let numbers = x.to_vec::<f32>()?;
        assert!(numbers.iter().all(|x| x.is_finite()) && numbers.iter().any(|x| *x > 0.0));
        Ok((x.exp()?, x))
    })?;
    assert_eq!(read.0.to_vec::<f32>()?, read.1.exp()?.to_vec::<f32>()?);
    Ok(())
}

#[test]
fn what_can_not_be_quantized_is_said() -> Result<()> {
    let mut rng = Generator::new(5);
    let net = Net::new(&mut rng)?;
    let error = Calibration::new(QuantConfig::default())?.convert(net).unwrap_err().to_string();
    assert!(error.contains("no run was observed"), "{error}");
    let net = Net::new(&mut rng)?;
    let config = QuantConfig::default().keep_float("fc3");
    let error = calibrated(&net, config, &batches(1, &mut rng))?.convert(net).unwrap_err();
    assert!(error.to_string().contains("no layer is called \"fc3\"; there are: stem, "), "{error}");
    let net = Net::new(&mut rng)?;
    let bad = Tensor::full([1, 3, 8, 8], f64::NAN, DType::F32)?;
    let error = calibrated(&net, QuantConfig::default(), &[bad]).unwrap_err().to_string();
    assert!(error.contains("input of \"stem\"") && error.contains("NaN"), "{error}");
    let seen = batches(1, &mut rng);
    let calibration = calibrated(&net, QuantConfig::default(), &seen)?;
    let error = calibration.convert(Net::new(&mut rng)?).unwrap_err().to_string();
    assert!(error.contains("is not as in the last run that was observed"), "{error}");
    let mut double = Linear::new(3, 2, &mut rng)?;
    double.to(DType::F64)?;
    let mut calibration = Calibration::new(QuantConfig::default())?;
    calibration.observe(&double, |net| {
        net.forward(&Tensor::zeros([1, 3], DType::F64)?, &mut Ctx::eval())
    })?;
    let error = calibration.convert(double).unwrap_err().to_string();
    assert!(error.contains("with an f32 parameter"), "{error}");
    let error = Calibration::new(QuantConfig::weights_only(1)).unwrap_err().to_string();
    assert!(error.contains("1 bits"), "{error}");
    let mut calibration = Calibration::new(QuantConfig::default())?;
    calibration.observe(&net, |_| Tensor::from([1f32]).exp())?;
    let error = calibration.convert(net).unwrap_err().to_string();
    assert!(error.contains("no product or convolution"), "{error}");
    Ok(())
}

#[test]
fn dynamic_networks_need_no_ranges() -> Result<()> {
    let mut rng = Generator::new(6);
    let net = Net::new(&mut rng)?;
    let x = rng.normal([5, 3, 8, 8], 0.0, 1.0, DType::F32)?;
    let expected = net.forward(&x, &mut Ctx::eval())?;
    let int8 = calibrated(&net, QuantConfig::dynamic(), &batches(1, &mut rng))?.convert(net)?;
    let (y, ops) = ops_of(|| int8.forward(&x));
    let y = y?;
    assert!(sqnr(&expected, &y) > 25.0, "{}", sqnr(&expected, &y));
    let count = |name: &str| ops.iter().filter(|op| **op == name).count();
    assert_eq!((count("int8_dynamic_conv2d"), count("int8_dynamic_linear")), (5, 2), "{ops:?}");
    // Its own range a row: another row in the batch changes nothing.
    let alone = int8.forward(&x.narrow(0, 2, 1)?)?;
    assert_eq!(alone.to_vec::<f32>()?, y.narrow(0, 2, 1)?.to_vec::<f32>()?);
    Ok(())
}

#[test]
fn a_file_gives_the_same_bits() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("ferrotape-quant-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut rng = Generator::new(7);
    let x = rng.normal([5, 3, 8, 8], 0.0, 1.0, DType::F32)?;
    let seen = batches(2, &mut rng);
    for (i, config) in [
        QuantConfig::default(),
        QuantConfig::symmetric().keep_float("block.conv1"),
        QuantConfig::dynamic(),
        QuantConfig::weights_only(4),
    ]
    .into_iter()
    .enumerate()
    {
        let net = Net::new(&mut rng)?;
        let int8 = calibrated(&net, config, &seen)?.convert(net)?;
        let path = folder.join(format!("{i}.safetensors"));
        int8.save(&path)?;
        let again = Quantized::load(&path, Net::new(&mut rng)?)?;
        assert_eq!(again.layers().collect::<Vec<_>>(), int8.layers().collect::<Vec<_>>());
        let bits = |net: &Quantized<Net>| net.forward(&x)?.to_vec::<f32>();
        assert_eq!(bits(&again)?, bits(&int8)?, "{i}");
        assert_eq!(again.parameter_bytes(), int8.parameter_bytes());
        // A second file is the first.
        let copy = folder.join("copy.safetensors");
        again.save(&copy)?;
        assert!(std::fs::read(&copy).unwrap() == std::fs::read(&path).unwrap(), "{i}");
        let other = Quantized::load(&path, Linear::new(2, 2, &mut rng)?).unwrap_err().to_string();
        assert!(other.contains("no weight stem.weight"), "{other}");
    }
    let plain = folder.join("plain.safetensors");
    ferrotape::io::save_safetensors(&plain, [("weight".to_string(), &x)])?;
    let error = Quantized::load(&plain, Net::new(&mut rng)?).unwrap_err().to_string();
    assert!(error.contains("this is no int8 network") && error.contains("plain"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
    Ok(())
}

#[test]
fn the_report_names_the_layer_that_costs_most() -> Result<()> {
    let mut rng = Generator::new(8);
    let mut net = Net::new(&mut rng)?;
    // One weight of fc1 far out, with one scale for all: its other weights become coarse.
    let mut weight = net.fc1.weight.to_vec::<f32>()?;
    weight[0] = 40.0;
    net.fc1.weight.set(Tensor::from_vec(weight, [24, 256])?);
    let seen = batches(2, &mut rng);
    let state = state_dict(&net);
    let mut float = Net::new(&mut rng)?;
    load_state_dict(&mut float, &state)?;
    let config = QuantConfig::default().per_channel(false);
    let int8 = calibrated(&net, config, &seen)?.convert(net)?;
    let report = int8.report(&float, |net| net.forward(&seen[0], &mut Ctx::eval()))?;
    assert_eq!(report.worst().unwrap().name, "fc1", "{report}");
    assert_eq!(report.layers.len(), 7);
    assert!(report.layers.iter().all(|layer| layer.sqnr.is_finite() && layer.max_error > 0.0));
    let time: f64 = report.layers.iter().map(|layer| layer.time).sum();
    assert!((time - 1.0).abs() < 1e-9);
    assert!(report.to_string().contains("fc1") && report.to_string().contains("24x256"));
    Ok(())
}

/// Training with quantization, then the int8 network: its output to one step of a code.
fn trained(how: QatRange) -> Result<()> {
    let mut rng = Generator::new(9);
    let mut net = Net::new(&mut rng)?;
    let x = rng.normal([16, 3, 8, 8], 0.0, 1.0, DType::F32)?;
    let y = Tensor::from_vec((0..16).map(|i| i % 5).collect::<Vec<i64>>(), [16])?;
    let calibration = calibrated(&net, QuantConfig::default(), std::slice::from_ref(&x))?;
    let qat = Qat::new(&net, calibration, how)?;
    let mut pair = (net, qat);
    let mut optimizer = Adam::new(1e-2);
    let mut losses = Vec::new();
    for _ in 0..60 {
        let step = value_and_grad(&pair, &mut rng, |(net, qat), ctx| {
            qat.train(net, |net| net.forward(&x, ctx)).cross_entropy(&y)
        })?;
        optimizer.step(&mut pair, &step)?;
        losses.push(step.loss.to_f64()?);
    }
    assert!(losses[59] < 0.5 * losses[0], "{losses:?}");
    let qat;
    (net, qat) = pair;
    let run = |net: &Net| net.forward(&x, &mut Ctx::eval());
    let expected = qat.run(&net, run)?;
    let int8 = qat.convert(net, run)?;
    let (found, ops) = ops_of(|| int8.forward(&x));
    let found = found?;
    assert!(ops.contains(&"int8_add") && !ops.contains(&"conv2d"), "{ops:?}");
    let error = found.sub(&expected)?.abs().max(..)?.to_f64()?;
    let size = expected.abs().max(..)?.to_f64()?;
    // One code that falls otherwise, by the rounding of sums that lie on an edge.
    assert!(error < size / 100.0, "{how:?}: {error} of {size}");
    Ok(())
}

#[test]
fn what_was_trained_is_what_runs() -> Result<()> {
    trained(QatRange::Fixed)?;
    trained(QatRange::Observed { rate: 0.05 })?;
    trained(QatRange::Learned)
}

#[derive(Debug, Module)]
struct Series {
    lstm: LSTM,
    gru: GRU,
    head: Linear,
}

impl Forward for Series {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        // A batch of one is given the states that others begin with: 0.
        let zeros = |layers: usize, size: usize| Tensor::zeros([layers, 1, size], x);
        let (h, c, of_gru) = (zeros(4, 32)?, zeros(4, 32)?, zeros(1, 24)?);
        let given = x.shape()[1] == 1;
        let (y, _) = self.lstm.forward_from(x, given.then_some((&h, &c)), ctx)?;
        let (y, _) = self.gru.forward_from(&y, given.then_some(&of_gru), ctx)?;
        self.head.forward(&y.narrow(0, 11, 1)?.squeeze(0)?, ctx)
    }
}

#[test]
fn recurrent_layers_run_in_integers() -> Result<()> {
    let mut rng = Generator::new(10);
    let make = |rng: &mut Generator| {
        Ok::<Series, Error>(Series {
            lstm: LSTMConfig::new(8, 32).num_layers(2).bidirectional(true).build(rng)?,
            gru: GRU::new(64, 24, rng)?,
            head: Linear::new(24, 3, rng)?,
        })
    };
    let net = make(&mut rng)?;
    let x = rng.normal([12, 7, 8], 0.0, 1.0, DType::F32)?;
    let expected = net.forward(&x, &mut Ctx::eval())?;
    let mut calibration = Calibration::new(QuantConfig::dynamic())?;
    calibration.observe(&net, |net| net.forward(&x, &mut Ctx::eval()))?;
    let layers: Vec<String> = calibration.layers().map(str::to_string).collect();
    let names = ["head", "lstm.l0", "lstm.l0_reverse", "lstm.l1", "lstm.l1_reverse", "gru.l0"];
    assert_eq!(layers, names);
    let float = 4 * ferrotape::nn::parameter_count(&net);
    let int8 = calibration.convert(net)?;
    let (y, ops) = ops_of(|| int8.forward(&x));
    let y = y?;
    assert!(sqnr(&expected, &y) > 25.0, "{}", sqnr(&expected, &y));
    assert_eq!(ops.iter().filter(|op| **op == "int8_sequence").count(), 5, "{ops:?}");
    assert!(!ops.contains(&"sequence") && float as f64 > 2.5 * int8.parameter_bytes() as f64);
    let alone = int8.forward(&x.narrow(1, 3, 1)?)?;
    assert_eq!(alone.to_vec::<f32>()?, y.narrow(0, 3, 1)?.to_vec::<f32>()?);

    let name = format!("ferrotape-series-{}.safetensors", std::process::id());
    let path = std::env::temp_dir().join(name);
    int8.save(&path)?;
    let again = Quantized::load(&path, make(&mut rng)?)?;
    assert_eq!(again.forward(&x)?.to_vec::<f32>()?, y.to_vec::<f32>()?);
    std::fs::remove_file(&path).unwrap();
    Ok(())
}

/// Files in which a byte is another, or that end early: an error or a network, never a panic.
#[test]
fn broken_files_are_errors() -> Result<()> {
    let mut rng = Generator::new(11);
    let x = rng.normal([2, 3, 8, 8], 0.0, 1.0, DType::F32)?;
    let net = Net::new(&mut rng)?;
    let seen = std::slice::from_ref(&x);
    let int8 = calibrated(&net, QuantConfig::default(), seen)?.convert(net)?;
    let path = std::env::temp_dir().join(format!("ferrotape-broken-{}", std::process::id()));
    int8.save(&path)?;
    let whole = std::fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut state = 12345u64;
    let mut draw = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    let (mut refused, mut words) = (0, std::collections::BTreeSet::new());
    for case in 0..600 {
        let mut bytes = whole.clone();
        match case % 3 {
            0 => bytes.truncate(draw(whole.len())),
            1 => bytes[draw(header)] ^= 1 << draw(8),
            _ => {
                let digits: Vec<usize> =
                    (8..header).filter(|&at| whole[at].is_ascii_digit()).collect();
                bytes[digits[draw(digits.len())]] = b'0' + draw(10) as u8;
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        match Quantized::load(&path, Net::new(&mut Generator::new(0))?) {
            Ok(net) => drop(net.forward(&x)),
            Err(error) => {
                refused += 1;
                words.insert(error.to_string().chars().skip(40).take(20).collect::<String>());
            }
        }
    }
    assert!(refused > 300 && words.len() > 30, "{refused} {words:?}");
    std::fs::remove_file(&path).unwrap();
    Ok(())
}
