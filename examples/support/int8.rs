//! From the network that learned digits to int8 ones, and what they reach.
#![allow(dead_code)] // an example takes what it needs

use std::error::Error;
use std::time::Instant;

use ferrotape::nn::data::{Dataset, Mnist};
use ferrotape::nn::quant::{Calibration, Qat, QatRange, QuantConfig, Quantized, calibrate};
use ferrotape::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};

use crate::digits::Cnn;

/// Batches that ranges are found on.
const CALIBRATION: usize = 10;

fn bar(len: u64, what: &str) -> Result<ProgressBar, Box<dyn Error>> {
    let style = ProgressStyle::with_template("{prefix} {bar:40} {pos}/{len} {msg}")?;
    Ok(ProgressBar::new(len).with_style(style).with_prefix(what.to_string()))
}

/// Calibrated on the first batches of the training set.
pub(crate) fn calibrated(
    net: &Cnn,
    train: &DataLoader<Mnist>,
    config: QuantConfig,
) -> Result<Calibration, Box<dyn Error>> {
    let batches = train.epoch(0)?.take(CALIBRATION).map(|batch| batch.map(|(x, _)| x));
    let bar = bar(CALIBRATION.min(train.len()) as u64, "calibration")?;
    let run = |net: &Cnn, x: Tensor| net.forward(&x, &mut Ctx::eval());
    let calibration = calibrate(net, config, batches, run, |done| bar.set_position(done))?;
    bar.finish_and_clear();
    Ok(calibration)
}

/// Quantized after training.
pub(crate) fn ptq(
    net: &Cnn,
    train: &DataLoader<Mnist>,
    config: QuantConfig,
) -> Result<Quantized<Cnn>, Box<dyn Error>> {
    Ok(calibrated(net, train, config)?.convert(net.clone())?)
}

/// Trained on with quantization, then converted.
pub(crate) fn qat(
    net: &Cnn,
    train: &DataLoader<Mnist>,
    epochs: u64,
    lr: f64,
    rng: &mut Generator,
) -> Result<Quantized<Cnn>, Box<dyn Error>> {
    let mut net = net.clone();
    let calibration = calibrated(&net, train, QuantConfig::default())?;
    let qat = Qat::new(&net, calibration, QatRange::Observed { rate: 0.01 })?;
    let mut optimizer = Adam::new(lr);
    for epoch in 0..epochs {
        let bar = bar(train.len() as u64, &format!("QAT epoch {}", epoch + 1))?;
        for batch in train.epoch(1000 + epoch)? {
            let (x, y) = batch?;
            let step = value_and_grad(&net, rng, |net, ctx| {
                qat.train(net, |net| net.forward(&x, ctx)).cross_entropy(&y)
            })?;
            optimizer.step(&mut net, &step)?;
            bar.set_message(format!("loss {:.4}", step.loss.to_f64()?));
            bar.inc(1);
        }
        bar.finish_and_clear();
    }
    let (example, _) = train.epoch(0)?.next().ok_or("no training images")??;
    Ok(qat.convert(net, |net| net.forward(&example, &mut Ctx::eval()))?)
}

/// Accuracy and mean loss over a data set.
pub(crate) fn test(
    forward: impl Fn(&Tensor) -> Result<Tensor>,
    loader: &DataLoader<Mnist>,
) -> Result<(f64, f64)> {
    let (mut loss, mut right) = (0.0, 0.0);
    for batch in loader.epoch(0)? {
        let (x, y) = batch?;
        let logits = forward(&x)?;
        loss += logits.cross_entropy_rows(&y).sum(..)?.to_f64()?;
        right += logits.argmax(1)?.eq(&y)?.to_dtype(DType::F32)?.sum(..)?.to_f64()?;
    }
    let n = loader.data().len().max(1) as f64;
    Ok((right / n, loss / n))
}

/// What a network does with a batch.
pub(crate) type Run<'a> = dyn Fn(&Tensor) -> Result<Tensor> + 'a;

/// Median seconds of each forward on the batch, in turns.
pub(crate) fn latencies(forwards: &[&Run<'_>], x: &Tensor) -> Result<Vec<f64>> {
    let rounds = 15;
    let mut seconds = vec![Vec::new(); forwards.len()];
    for round in 0..rounds + 2 {
        for (forward, seconds) in forwards.iter().zip(&mut seconds) {
            let start = Instant::now();
            forward(x)?;
            if round >= 2 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    Ok(seconds
        .into_iter()
        .map(|mut seconds| {
            seconds.sort_by(f64::total_cmp);
            seconds[rounds / 2]
        })
        .collect())
}
