//! Training in f64 against recorded runs: every loss on the way and the weights at the end.

use std::collections::BTreeMap;

use ferrotape::io::load_safetensors;
use ferrotape::nn::{Param, load_state_dict, parameters, state_dict, to_dtype};
use ferrotape::prelude::*;

type Named = BTreeMap<String, Tensor>;

const RELATIVE: f64 = 1e-8;
/// Weights near zero are differences of larger numbers.
const ABSOLUTE: f64 = 1e-12;

fn data(file: &str) -> Named {
    load_safetensors(crate::root().join("tests/data").join(file)).unwrap()
}

/// The tensors of `run` under `part/`.
fn part(run: &str, part: &str) -> Named {
    let prefix = format!("{run}/{part}/");
    let all = data("trajectories/trajectories.safetensors").into_iter();
    let named: Named =
        all.filter_map(|(name, x)| Some((name.strip_prefix(&prefix)?.to_string(), x))).collect();
    assert!(!named.is_empty(), "{prefix}");
    named
}

fn losses(run: &str) -> Vec<f64> {
    let all = data("trajectories/trajectories.safetensors");
    all[&format!("{run}/loss_f64")].to_vec().unwrap()
}

/// The largest deviation of `found` from `expected`, in units of the tolerance: below 1 is close.
fn deviation(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let units = |(x, y): (&f64, &f64)| (x - y).abs() / (ABSOLUTE + RELATIVE * y.abs());
    // A NaN must not hide behind max.
    let worse = |worst: f64, x: f64| if x > worst || x.is_nan() { x } else { worst };
    found.iter().zip(expected).map(units).fold(0.0, worse)
}

/// Trains from the recorded start, in f64, and compares.
fn reproduce<M: Module>(
    run: &str,
    model: &mut M,
    mut optimizer: impl Optimizer,
    loss: impl Fn(&M, usize, &mut Ctx<'_>) -> Result<Tensor>,
) {
    load_state_dict(model, &part(run, "init")).unwrap();
    to_dtype(model, DType::F64).unwrap();
    let mut rng = Generator::new(0);
    for (at, expected) in losses(run).into_iter().enumerate() {
        let step = value_and_grad(model, &mut rng, |model, ctx| loss(model, at, ctx)).unwrap();
        let found = step.loss.item::<f64>().unwrap();
        assert!(deviation(&[found], &[expected]) < 1.0, "{run}, step {at}: {found} for {expected}");
        optimizer.step(model, &step).unwrap();
    }
    let last = part(run, "final");
    let found: BTreeMap<String, &Param> = parameters(model).into_iter().collect();
    assert_eq!(found.keys().collect::<Vec<_>>(), last.keys().collect::<Vec<_>>());
    for (name, expected) in &last {
        let (found, expected): (Vec<f64>, Vec<f64>) =
            (found[name].to_vec().unwrap(), expected.to_vec().unwrap());
        let worst = deviation(&found, &expected);
        assert!(worst < 1.0, "{run}: {name}: {worst} times the tolerance\n{found:?}\n{expected:?}");
    }
}

#[derive(Module)]
struct Xor {
    l1: Linear,
    l2: Linear,
}

impl Forward for Xor {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        self.l2.forward(&self.l1.forward(x, ctx).tanh()?, ctx)
    }
}

fn xor(run: &str, optimizer: impl Optimizer) {
    assert_eq!(losses(run).len(), 150);
    let mut rng = Generator::new(0);
    let l1 = Linear::new(2, 8, &mut rng).unwrap();
    let mut model = Xor { l1, l2: Linear::new(8, 1, &mut rng).unwrap() };
    let x = Tensor::from([[0f64, 0.], [0., 1.], [1., 0.], [1., 1.]]);
    let y = Tensor::from([[0f64], [1.], [1.], [0.]]);
    reproduce(run, &mut model, optimizer, |model, _, ctx| {
        model.forward(&x, ctx).bce_with_logits(&y)
    });
}

#[test]
fn xor_by_sgd() {
    xor("xor_sgd", SGD::new(0.5));
}

#[test]
fn xor_by_momentum() {
    xor("xor_momentum", SGD::new(0.1).momentum(0.9));
}

#[test]
fn xor_by_adam() {
    xor("xor_adam", Adam::new(0.05));
}

#[test]
fn xor_by_adamw() {
    xor("xor_adamw", AdamW::new(0.05).weight_decay(0.01));
}

#[derive(Module)]
struct Cnn {
    c1: Conv2d,
    c2: Conv2d,
    fc: Linear,
}

impl Forward for Cnn {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let half = Pool2dOp::new([2, 2]);
        let x = self.c1.forward(x, ctx).relu().max_pool2d(half)?;
        let x = self.c2.forward(&x, ctx).relu().max_pool2d(half)?;
        self.fc.forward(&x.flatten(1, -1)?, ctx)
    }
}

#[derive(Module)]
struct Flights {
    lstm: LSTM,
    fc: Linear,
}

/// The recorded weights are `[h, x]` by unit, one matrix and one bias a gate.
fn flights_weights(part: &Named) -> Named {
    let gates = |name: &str| ["i", "f", "g", "o"].map(|gate| &part[&format!("{name}{gate}")]);
    let (weights, biases) = (gates("W"), gates("b"));
    let weight = Tensor::cat(&weights, 1).unwrap().t().unwrap();
    let bias = Tensor::cat(&biases, 0).unwrap();
    let named = [
        ("lstm.weight_ih_l0", weight.narrow(1, 32, 1).unwrap()),
        ("lstm.weight_hh_l0", weight.narrow(1, 0, 32).unwrap()),
        ("lstm.bias_ih_l0", bias),
        ("fc.weight", part["fc.weight"].clone()),
        ("fc.bias", part["fc.bias"].clone()),
    ];
    named.into_iter().map(|(name, x)| (name.to_string(), x)).collect()
}

/// The recorded run has one bias where the layer has two: the second stays 0.
fn flights_model() -> Flights {
    let mut rng = Generator::new(0);
    let lstm = LSTM::new(1, 32, &mut rng).unwrap();
    let mut model = Flights { lstm, fc: Linear::new(32, 1, &mut rng).unwrap() };
    to_dtype(&mut model, DType::F64).unwrap();
    let mut start = state_dict(&model);
    start.insert("lstm.bias_hh_l0".to_string(), Tensor::zeros([128], DType::F64).unwrap());
    for (name, value) in flights_weights(&part("flights_lstm", "init")) {
        start.insert(name, value.to_dtype(DType::F64).unwrap());
    }
    load_state_dict(&mut model, &start).unwrap();
    assert_eq!(model.freeze("lstm.bias_hh_l0").unwrap(), 1);
    model
}

/// 132 windows of 12 months, and the month after each, of the series less its mean, over its standard deviation.
fn flights_windows() -> (Tensor, Tensor) {
    let csv = include_str!("../../examples/data/flights.csv");
    let number = |line: &str| line.rsplit(',').next().unwrap().trim().parse().unwrap();
    let numbers: Vec<f64> = csv.lines().skip(1).map(number).collect();
    let series = Tensor::from_vec(numbers, [144]).unwrap();
    let (mean, std) = (series.mean(..).unwrap(), series.var(.., 1.).sqrt().unwrap());
    let series = series.sub(mean).div(std).unwrap();
    let windows: Vec<Tensor> = (0..132).map(|at| series.narrow(0, at, 12).unwrap()).collect();
    let x = Tensor::stack(&windows.iter().collect::<Vec<_>>(), 1).unsqueeze(2).unwrap();
    (x, series.narrow(0, 12, 132).unsqueeze(1).unwrap())
}

/// The losses of 200 steps of Adam.
fn flights_losses(rate: f64) -> Vec<f64> {
    let (x, y) = flights_windows();
    assert_eq!(x.shape(), [12, 132, 1]);
    let mut model = flights_model();
    let (mut rng, mut optimizer) = (Generator::new(0), Adam::new(rate));
    let step = |_| {
        let step = value_and_grad(&model, &mut rng, |model, ctx| {
            let (_, (h_n, _)) = model.lstm.forward(&x, ctx)?;
            model.fc.forward(&h_n.squeeze(0)?, ctx).mse_loss(&y)
        })
        .unwrap();
        optimizer.step(&mut model, &step).unwrap();
        step.loss.item::<f64>().unwrap()
    };
    (0..200).map(step).collect()
}

/// The run in 80-bit floats; see `flights.py`.
fn exact(run: &str) -> Vec<f64> {
    data("trajectories/flights.safetensors")[run].to_vec().unwrap()
}

/// Relative distances, the largest so far.
fn distances(found: &[f64], exact: &[f64]) -> Vec<f64> {
    assert_eq!((found.len(), exact.len()), (200, 200));
    let mut worst = 0f64;
    let apart = found.iter().zip(exact).map(|(found, exact)| {
        let apart = (found - exact).abs() / exact;
        worst = if apart > worst || apart.is_nan() { apart } else { worst };
        worst
    });
    apart.collect()
}

/// This run is chaotic (ADR 005): roundings grow to 1e-8 in some 20 steps, in the recorded run sooner, so that the exact losses are
/// not within 1e-8 of it either. The measure are those of 80 bits: 1e-8 while the recorded run keeps half of that, then what
/// that run is off by; where it can't go on growing, neither says more than its size.
#[test]
fn flights_by_an_lstm() {
    let (recorded, exact, found) = (losses("flights_lstm"), exact("exact"), flights_losses(0.01));
    let (theirs, ours) = (distances(&recorded, &exact), distances(&found, &exact));
    for (at, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        println!("step {at}: recorded {theirs:.1e}, ours {ours:.1e}");
        let allowed = if *theirs < RELATIVE / 2.0 { RELATIVE } else { 8.0 * theirs };
        assert!(*ours <= allowed, "step {at}: {ours}, the recorded run {theirs}");
    }
    let close = |run: &[f64]| run.iter().take_while(|&&apart| apart <= RELATIVE).count();
    assert!(close(&ours) >= close(&theirs), "{} {}", close(&ours), close(&theirs));
    assert!(found[199] < 1e-2, "{}", found[199]);
}

/// The same with a tenth of the learning rate is not chaotic: all 200 losses are right.
#[test]
fn flights_by_an_lstm_slowly() {
    let ours = distances(&flights_losses(0.001), &exact("slow"));
    println!("off by {:.1e} at most", ours[199]);
    assert!(ours[199] < 1e-12, "{ours:?}");
}

#[test]
fn digits_by_a_cnn() {
    const BATCH: usize = 64;
    let digits = data("digits.safetensors");
    let images = digits["images"].to_dtype(DType::F64).unwrap().div(16.0).unwrap();
    let images = images.unsqueeze(1).unwrap();
    let labels = digits["labels"].to_dtype(DType::I64).unwrap();
    assert_eq!((images.shape(), labels.shape()), (&[1797, 1, 8, 8][..], &[1797][..]));
    assert_eq!(losses("digits_cnn").len(), 220);

    let mut rng = Generator::new(0);
    let padded = |inputs, outputs| Conv2dConfig::new(inputs, outputs, [3, 3]).padding([1, 1]);
    let c1 = padded(1, 8).build(&mut rng).unwrap();
    let c2 = padded(8, 16).build(&mut rng).unwrap();
    let mut model = Cnn { c1, c2, fc: Linear::new(64, 10, &mut rng).unwrap() };
    reproduce("digits_cnn", &mut model, Adam::new(3e-3), |model, step, ctx| {
        let start = step % 22 * BATCH;
        let x = images.narrow(0, start, BATCH)?;
        model.forward(&x, ctx).cross_entropy(&labels.narrow(0, start, BATCH)?)
    });

    let held = |x: &Tensor| x.narrow(0, 1500, 297).unwrap();
    let said = model.forward(&held(&images), &mut Ctx::eval()).argmax(-1).unwrap();
    let said: Vec<i64> = said.to_vec().unwrap();
    let truth: Vec<i64> = held(&labels).to_vec().unwrap();
    let right = said.iter().zip(truth).filter(|&(&said, truth)| said == truth).count();
    assert_eq!(right as f64 / 297.0, 0.8653198653198653);
}
