//! An LSTM learns the monthly airline passengers of 1949 to 1960 and forecasts the next year.

#[path = "support/plot.rs"]
mod plot;
#[path = "support/resume.rs"]
mod resume;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ferrotape::nn::{load_state_dict, state_dict};
use ferrotape::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};

const DATA: &str = include_str!("data/flights.csv");
const COLUMNS: [&str; 3] = ["year", "month", "passengers"];
/// Months that the network sees, and months of the forecast.
const WINDOW: usize = 12;

/// Trains an LSTM to say the month after any 12 months, forecasts the next 12, and plots both.
///
/// The last line it prints is `loss=L epoch_ms=T`: the mean squared error of the trained network over all windows, in standard
/// deviations squared, and the milliseconds of one training step.
#[derive(Parser)]
struct Options {
    /// CSV file with the columns year, month, passengers and one line a month; default: the embedded 1949 to 1960.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Passes over all windows, one training step each.
    #[arg(long, default_value_t = 200)]
    epochs: u64,
    /// Learning rate of Adam.
    #[arg(long, default_value_t = 0.01)]
    lr: f64,
    /// Seed of the initial weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads that kernels may use (0: all cores).
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Where to compute: cpu, cuda, cuda:N or best.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Folder for the plot.
    #[arg(long, default_value = "runs/flights")]
    out: PathBuf,
    #[command(flatten)]
    resume: resume::Resume,
}

#[derive(Module)]
struct Net {
    lstm: LSTM,
    fc: Linear,
}

impl Net {
    /// LSTM weights from N(0, 1) and biases of 0: 200 steps then fit 30 times closer than from PyTorch's narrow default.
    fn new(rng: &mut Generator) -> Result<Net> {
        let mut net = Net { lstm: LSTM::new(1, 32, rng)?, fc: Linear::new(32, 1, rng)? };
        let mut state = state_dict(&net.lstm);
        for (name, value) in &mut state {
            let std = if name.starts_with("weight") { 1.0 } else { 0.0 };
            *value = rng.normal(value.shape(), 0.0, std, value.dtype())?;
        }
        load_state_dict(&mut net.lstm, &state)?;
        Ok(net)
    }
}

impl Forward for Net {
    /// The month after `x`: `[steps, batch, 1]` to `[batch, 1]`.
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let (_, (h_n, _)) = self.lstm.forward(x, ctx)?;
        self.fc.forward(&h_n.squeeze(0)?, ctx)
    }
}

/// Year, month and thousands of passengers.
type Row = (i32, String, f32);

/// The rows of the file, or the embedded ones.
fn read(path: Option<&Path>) -> Result<Vec<Row>, Box<dyn Error>> {
    let text = match path {
        None => DATA.to_string(),
        Some(path) => std::fs::read_to_string(path)?,
    };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers()?;
    if header != COLUMNS[..] {
        let found: Vec<&str> = header.iter().collect();
        return Err(format!("the first line is {found:?}, {COLUMNS:?} expected").into());
    }
    let rows = reader.deserialize().collect::<csv::Result<Vec<Row>>>()?;
    if let Some(at) = rows.iter().position(|row| !row.2.is_finite()) {
        return Err(format!("row {}: passengers {} are no number", at + 1, rows[at].2).into());
    }
    if rows.len() <= WINDOW {
        return Err(format!("{} months: at least {} expected", rows.len(), WINDOW + 1).into());
    }
    Ok(rows)
}

/// One column a start in `0..count`: the `WINDOW` months from there on, `[WINDOW, count, 1]`.
fn windows(series: &Tensor, count: usize) -> Result<Tensor> {
    let months = (0..WINDOW).map(|month| series.narrow(0, month, count));
    let months = months.collect::<Result<Vec<_>>>()?;
    Tensor::stack(&months.iter().collect::<Vec<_>>(), 0).unsqueeze(2)
}

/// Months after the series, each from the 12 before it.
fn forecast(net: &Net, series: &Tensor) -> Result<Tensor> {
    let mut series = series.clone();
    for _ in 0..WINDOW {
        let last = series.narrow(0, series.len() - WINDOW, WINDOW).reshape([WINDOW, 1, 1])?;
        let next = net.forward(&last, &mut Ctx::eval()).reshape([1])?;
        series = Tensor::cat(&[&series, &next], 0)?;
    }
    series.narrow(0, series.len() - WINDOW, WINDOW)
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    if options.lr.is_nan() || options.lr <= 0.0 {
        return Err(format!("--lr {}: a number above 0 expected", options.lr).into());
    }
    if options.threads > 0 {
        ferrotape::set_threads(options.threads);
    }
    let device: Device = options.device.parse()?;
    std::fs::create_dir_all(&options.out).map_err(|e| format!("{}: {e}", options.out.display()))?;
    let path = options.data.as_deref();
    let rows = read(path).map_err(|error| match path {
        Some(path) => format!("{}: {error}", path.display()).into(),
        None => error,
    })?;
    let passengers = Tensor::from_vec(rows.iter().map(|row| row.2).collect(), [rows.len()])?;
    let passengers = passengers.to_device(device)?;
    let (mean, std) = (passengers.mean(..)?, passengers.var(.., 1.).sqrt()?);
    if !std.to_f64()?.is_normal() {
        return Err(format!("passengers with a standard deviation of {}", std.to_f64()?).into());
    }
    let series = passengers.sub(&mean).div(&std)?;
    let count = rows.len() - WINDOW;
    let (x, y) = (windows(&series, count)?, series.narrow(0, WINDOW, count).unsqueeze(1)?);

    let mut rng = Generator::new(options.seed);
    let mut net = Net::new(&mut rng)?;
    net.to(device)?;
    let mut optimizer = Adam::new(options.lr);
    let mut saved = options.resume.start(&mut net, &mut optimizer, &mut rng)?;
    let trained = saved.steps;
    let style = ProgressStyle::with_template("epoch {bar:40} {pos}/{len} {msg} {eta}")?;
    let bar = ProgressBar::new(options.epochs).with_style(style);
    let start = Instant::now();
    for _ in trained..options.epochs {
        let step = value_and_grad(&net, &mut rng, |net, ctx| net.forward(&x, ctx).mse_loss(&y))?;
        optimizer.step(&mut net, &step)?;
        let loss = step.loss.to_f64()?;
        if !loss.is_finite() {
            return Err(format!("the loss is {loss}: try a smaller --lr").into());
        }
        saved.step(&net, &optimizer, &rng, saved.position)?;
        bar.set_message(format!("loss {loss:.5}"));
        bar.set_position(saved.steps);
    }
    let epoch_ms =
        start.elapsed().as_secs_f64() * 1e3 / options.epochs.saturating_sub(trained).max(1) as f64;
    bar.finish_and_clear();

    let said = net.forward(&x, &mut Ctx::eval())?;
    let loss = said.mse_loss(&y)?.to_f64()?;
    let in_thousands = |x: &Tensor| -> Result<Vec<f32>> { x.mul(&std).add(&mean)?.to_vec() };
    let (said, next) = (in_thousands(&said)?, in_thousands(&forecast(&net, &series)?)?);
    println!("forecast in thousands of passengers:");
    for ((year, month, _), passengers) in rows[rows.len() - WINDOW..].iter().zip(&next) {
        println!("{} {month:<10}{passengers:>5.0}", year.saturating_add(1));
    }
    let curve = |label: &str, start: usize, values: Vec<f32>| {
        let when = |month| f64::from(rows[0].0) + (start + month) as f64 / 12.0;
        let points = values.into_iter().enumerate().map(|(i, y)| (when(i), f64::from(y)));
        (label.to_string(), points.collect())
    };
    let curves = [
        curve("actual", 0, passengers.to_vec()?),
        curve("predicted", WINDOW, said),
        curve("forecast", rows.len(), next),
    ];
    let path = options.out.join("forecast.png");
    plot::learning_curve(&path, &curves, "Airline passengers", "year", "thousands a month")?;
    println!("plot in {}", path.display());
    println!("loss={loss:.6} epoch_ms={epoch_ms:.3}");
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
