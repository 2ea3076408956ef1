//! A network that knows handwritten digits becomes an int8 one: after training, in four ways, and by training on.

#[path = "support/digits.rs"]
mod digits;
#[path = "support/int8.rs"]
mod int8;
#[path = "support/plot.rs"]
mod plot;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use digits::{Cnn, load};
use ferrotape::io::load_safetensors;
use ferrotape::nn::quant::{QuantConfig, Quantized};
use ferrotape::nn::{load_state_dict, parameter_count};
use ferrotape::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};

/// Quantizes a CNN that reads digits, and says what each way costs and gains.
#[derive(Parser)]
struct Options {
    /// Folder with {train,t10k}-{images-idx3,labels-idx1}-ubyte, each raw or .gz (MNIST, Fashion-MNIST); default: embedded digits.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Weights that the mnist example saved; default: train here.
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Passes over the training set in float, without --weights.
    #[arg(long, default_value_t = 8)]
    epochs: u64,
    /// Passes over the training set with quantization.
    #[arg(long, default_value_t = 2)]
    qat_epochs: u64,
    /// Images a step.
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// Learning rate of Adam in float.
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Learning rate of Adam with quantization.
    #[arg(long, default_value_t = 1e-4)]
    qat_lr: f64,
    /// Seed of weights and order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads that kernels may use (0: all cores).
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Folder for networks and plots.
    #[arg(long, default_value = "runs/quantize")]
    out: PathBuf,
}

fn trained(
    options: &Options,
    train: &DataLoader<ferrotape::nn::data::Mnist>,
    rng: &mut Generator,
) -> Result<Cnn, Box<dyn Error>> {
    let mut net = Cnn::new(rng)?;
    if let Some(path) = &options.weights {
        load_state_dict(&mut net, &load_safetensors(path)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok(net);
    }
    let style = ProgressStyle::with_template("epoch {prefix} {bar:40} {pos}/{len} {msg} {eta}")?;
    let mut optimizer = Adam::new(options.lr);
    for epoch in 0..options.epochs {
        let bar = ProgressBar::new(train.len() as u64)
            .with_style(style.clone())
            .with_prefix((epoch + 1).to_string());
        for batch in train.epoch(epoch)? {
            let (x, y) = batch?;
            let loss = |net: &Cnn, ctx: &mut Ctx<'_>| net.forward(&x, ctx).cross_entropy(&y);
            let step = value_and_grad(&net, rng, loss)?;
            optimizer.step(&mut net, &step)?;
            bar.set_message(format!("loss {:.4}", step.loss.to_f64()?));
            bar.inc(1);
        }
        bar.finish_and_clear();
    }
    Ok(net)
}

/// How often each weight of a layer occurs, before and after.
fn histogram(
    name: &str,
    float: &Tensor,
    int8: &Tensor,
    path: &std::path::Path,
) -> Result<(), Box<dyn Error>> {
    let (before, after) = (float.to_vec::<f32>()?, int8.to_vec::<f32>()?);
    let most = before.iter().fold(0f32, |most, x| most.max(x.abs()));
    let count = |values: &[f32]| {
        let bins = 200;
        let mut counts = vec![0usize; bins];
        for x in values {
            let at = (x / most + 1.0) / 2.0 * (bins - 1) as f32;
            counts[(at.round().max(0.0) as usize).min(bins - 1)] += 1;
        }
        let centre = |i: usize| f64::from(most) * (2.0 * i as f64 / (bins - 1) as f64 - 1.0);
        counts.iter().enumerate().map(|(i, n)| (centre(i), *n as f64)).collect()
    };
    let curves = [("f32".to_string(), count(&before)), ("int8".to_string(), count(&after))];
    plot::learning_curve(path, &curves, &format!("weights of {name}"), "weight", "count")
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    if options.threads > 0 {
        ferrotape::set_threads(options.threads);
    }
    std::fs::create_dir_all(&options.out).map_err(|e| format!("{}: {e}", options.out.display()))?;
    let (train, held_out) = load(options.data.as_deref())?;
    let train = DataLoader::new(train, options.batch_size)?.shuffle(options.seed);
    let held_out = DataLoader::new(held_out, 256)?;
    let mut rng = Generator::new(options.seed);
    let net = trained(options, &train, &mut rng)?;
    let float_bytes = 4 * parameter_count(&net);

    let ways: [(&str, Quantized<Cnn>); 5] = [
        ("PTQ asymmetric", int8::ptq(&net, &train, QuantConfig::default())?),
        ("PTQ symmetric", int8::ptq(&net, &train, QuantConfig::symmetric())?),
        ("PTQ dynamic", int8::ptq(&net, &train, QuantConfig::dynamic())?),
        ("QAT", int8::qat(&net, &train, options.qat_epochs, options.qat_lr, &mut rng)?),
        ("weights of 4 bits", int8::ptq(&net, &train, QuantConfig::weights_only(4))?),
    ];
    let one = train.epoch(0)?.next().ok_or("no training images")??.0.narrow(0, 0, 1)?;
    let many = Tensor::cat(&vec![&one; 64], 0)?;
    let float = |x: &Tensor| net.forward(x, &mut Ctx::eval());
    let others: Vec<_> = ways.iter().map(|(_, net)| |x: &Tensor| net.forward(x)).collect();
    let mut forwards: Vec<&int8::Run<'_>> = vec![&float];
    forwards.extend(others.iter().map(|forward| forward as &int8::Run<'_>));
    let (alone, batch) = (int8::latencies(&forwards, &one)?, int8::latencies(&forwards, &many)?);

    println!(
        "{:18} {:>8} {:>8} {:>9} {:>10} {:>11}",
        "", "accuracy", "loss", "bytes", "batch 1 us", "batch 64 us"
    );
    let mut accuracies = Vec::new();
    for (i, forward) in forwards.iter().enumerate() {
        let (name, bytes) = match i.checked_sub(1).and_then(|i| ways.get(i)) {
            Some((name, net)) => (*name, net.parameter_bytes()),
            None => ("f32", float_bytes),
        };
        let (accuracy, loss) = int8::test(forward, &held_out)?;
        accuracies.push(accuracy);
        let [one, many] = [alone[i], batch[i]].map(|seconds| 1e6 * seconds);
        println!("{name:18} {accuracy:8.4} {loss:8.4} {bytes:9} {one:10.0} {many:11.0}");
    }
    println!("A weight of 4 bits takes a byte here: that row is about accuracy.\n");

    let (_, ptq) = &ways[0];
    let (x, _) = held_out.epoch(0)?.next().ok_or("no test images")??;
    let report = ptq.report(&net, |net| net.forward(&x, &mut Ctx::eval()))?;
    println!("PTQ asymmetric, layer by layer (dB: signal to quantization noise)\n{report}");
    if let Some(worst) = report.worst() {
        println!(
            "{} costs most: with it alone in int8 the output has {:.1} dB",
            worst.name, worst.alone
        );
    }
    let float_weights = net.state_dict();
    for layer in ptq.layers() {
        if let Some(weight) = float_weights.get(&format!("{layer}.weight")) {
            let path = options.out.join(format!("weights_{layer}.png"));
            histogram(layer, weight, &ptq.weight(layer)?.dequantize()?, &path)?;
        }
    }
    for ((_, net), name) in ways.iter().zip(["ptq", "symmetric", "dynamic", "qat"]) {
        let path = options.out.join(format!("{name}.safetensors"));
        net.save(&path)?;
        let again = Quantized::load(&path, Cnn::new(&mut rng)?)?;
        let same = again.forward(&x)?.to_vec::<f32>()? == net.forward(&x)?.to_vec::<f32>()?;
        assert!(same, "{}: the loaded network is another", path.display());
    }
    println!("networks and plots in {}", options.out.display());
    println!(
        "fp32_accuracy={:.4} ptq_accuracy={:.4} qat_accuracy={:.4} speedup_b64={:.2} size_ratio={:.2}",
        accuracies[0],
        accuracies[1],
        accuracies[4],
        batch[0] / batch[1],
        float_bytes as f64 / ptq.parameter_bytes() as f64
    );
    Ok(())
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
