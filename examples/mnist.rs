//! A convolutional network learns handwritten digits: train, test, save, plot, quantize.

#[path = "support/digits.rs"]
mod digits;
#[path = "support/int8.rs"]
mod int8;
#[path = "support/plot.rs"]
mod plot;
#[path = "support/resume.rs"]
mod resume;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use digits::{Cnn, load};
use ferrotape::io::save_safetensors;
use ferrotape::nn::data::{Dataset, Mnist};
use ferrotape::nn::quant::QuantConfig;
use ferrotape::nn::{parameter_count, state_dict};
use ferrotape::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};

/// Trains a CNN on MNIST: 10,000 embedded digits, or the four idx files of a folder.
#[derive(Parser)]
struct Options {
    /// Folder with {train,t10k}-{images-idx3,labels-idx1}-ubyte, each raw or .gz (MNIST, Fashion-MNIST); default: embedded digits.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Passes over the training set.
    #[arg(long, default_value_t = 8)]
    epochs: u64,
    /// Images a step.
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// Learning rate of Adam.
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Seed of weights and order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads that kernels may use (0: all cores).
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Where to compute: cpu, cuda, cuda:N or best.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Start the work of a step together, as a CUDA graph.
    #[arg(long)]
    graph: bool,
    /// Make an int8 network of it, too.
    #[arg(long, value_enum)]
    quantize: Option<Quantization>,
    /// Folder for the weights and plots.
    #[arg(long, default_value = "runs/mnist")]
    out: PathBuf,
    #[command(flatten)]
    resume: resume::Resume,
}

/// How an int8 network is made.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Quantization {
    /// After training: ranges of activations from ten batches.
    Ptq,
    /// By one more epoch, with quantization.
    Qat,
}

/// Mean loss, accuracy and counts `[label][said]` over a data set.
fn test(
    net: &Cnn,
    loader: &DataLoader<Mnist>,
    device: Device,
) -> Result<(f64, f64, Vec<Vec<usize>>)> {
    let (mut loss, mut counts) = (0.0, vec![vec![0; 10]; 10]);
    for batch in loader.epoch(0)? {
        let (x, y) = batch?;
        let (x, y) = (x.to_device(device)?, y.to_device(device)?);
        let logits = net.forward(&x, &mut Ctx::eval())?;
        loss += logits.cross_entropy_rows(&y).sum(..)?.to_f64()?;
        for (label, said) in y.to_vec::<i64>()?.iter().zip(logits.argmax(1)?.to_vec::<i64>()?) {
            counts[*label as usize][said as usize] += 1;
        }
    }
    let n = loader.data().len().max(1) as f64;
    let right: usize = (0..10).map(|class| counts[class][class]).sum();
    Ok((loss / n, right as f64 / n, counts))
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    if options.threads > 0 {
        ferrotape::set_threads(options.threads);
    }
    let device: Device = options.device.parse()?;
    std::fs::create_dir_all(&options.out).map_err(|e| format!("{}: {e}", options.out.display()))?;
    let (train, held_out) = load(options.data.as_deref())?;
    let train = DataLoader::new(train, options.batch_size)?.shuffle(options.seed);
    let held_out = DataLoader::new(held_out, 256)?;
    let mut rng = Generator::new(options.seed);
    let mut net = Cnn::new(&mut rng)?;
    net.to(device)?;
    let mut optimizer = Adam::new(options.lr);
    let mut saved = options.resume.start(&mut net, &mut optimizer, &mut rng)?;
    println!(
        "{} training images, {} test images, {} parameters, {} on {} threads",
        train.data().len(),
        held_out.data().len(),
        parameter_count(&net),
        ferrotape::isa(),
        ferrotape::threads(),
    );

    let style = ProgressStyle::with_template("epoch {prefix} {bar:40} {pos}/{len} {msg} {eta}")?;
    let mut curves = [("training".to_string(), Vec::new()), ("test".to_string(), Vec::new())];
    let (mut loss, mut accuracy, mut counts) = test(&net, &held_out, device)?;
    curves[1].1.push((saved.position.epoch() as f64, loss));
    let mut graph = if options.graph { device } else { Device::Cpu }.graph();
    let mut seconds = 0.0;
    for epoch in saved.position.epoch()..options.epochs {
        let bar = ProgressBar::new(train.len() as u64)
            .with_style(style.clone())
            .with_prefix((epoch + 1).to_string());
        let start = Instant::now();
        let mut batches = train.resume(&saved.position)?;
        while let Some(batch) = batches.next() {
            let (x, y) = batch?;
            let (x, y) = (x.to_device(device)?, y.to_device(device)?);
            let step = graph.run(|| {
                let loss = |net: &Cnn, ctx: &mut Ctx<'_>| net.forward(&x, ctx).cross_entropy(&y);
                let step = value_and_grad(&net, &mut rng, loss)?;
                optimizer.step(&mut net, &step)?;
                Ok(step)
            })?;
            let position = batches.position();
            saved.step(&net, &optimizer, &rng, position)?;
            let now = step.loss.to_f64()?;
            bar.set_position(position.batch());
            bar.set_message(format!("loss {now:.4}"));
            if position.batch() % 10 == 1 {
                let done = (position.batch() - 1) as f64 / train.len() as f64;
                curves[0].1.push((epoch as f64 + done, now));
            }
        }
        saved.position = saved.position.next_epoch();
        seconds += start.elapsed().as_secs_f64();
        bar.finish_and_clear();
        (loss, accuracy, counts) = test(&net, &held_out, device)?;
        curves[1].1.push((epoch as f64 + 1.0, loss));
        println!("epoch {}: test accuracy {accuracy:.4}, test loss {loss:.4}", epoch + 1);
    }

    let named = state_dict(&net);
    save_safetensors(
        options.out.join("mnist.safetensors"),
        named.iter().map(|(name, t)| (name.clone(), t)),
    )?;
    plot::learning_curve(
        &options.out.join("learning_curve.png"),
        &curves,
        "MNIST",
        "epoch",
        "loss",
    )?;
    let names: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    plot::confusion_matrix(
        &options.out.join("confusion_matrix.png"),
        &counts,
        &names,
        "MNIST test set",
    )?;
    let mut int8_accuracy = String::new();
    if let Some(how) = options.quantize {
        net.to(Device::Cpu)?;
        let int8 = match how {
            Quantization::Ptq => int8::ptq(&net, &train, QuantConfig::default())?,
            Quantization::Qat => int8::qat(&net, &train, 1, options.lr / 10.0, &mut rng)?,
        };
        let (accuracy, loss) = int8::test(|x| int8.forward(x), &held_out)?;
        let (bytes, float) = (int8.parameter_bytes(), 4 * parameter_count(&net));
        int8.save(options.out.join("mnist-int8.safetensors"))?;
        println!(
            "int8: test accuracy {accuracy:.4}, test loss {loss:.4}, {bytes} bytes of {float}"
        );
        int8_accuracy = format!(" int8_accuracy={accuracy:.4}");
    }
    println!("weights and plots in {}", options.out.display());
    let epoch_s = seconds / options.epochs.max(1) as f64;
    println!("test_accuracy={accuracy:.4} test_loss={loss:.4} epoch_s={epoch_s:.2}{int8_accuracy}");
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
