//! A GPU: memory-bound operations against its own copy, and training steps. Without one it says so and is done.

use std::time::Duration;

use ferrotape::prelude::*;
use ferrotape_benches::{Clock, Contender, Record, Training, data, done, interleaved_by, once};

/// A contender that waits for the device after its runs, and how many bytes each of them must read and write at least.
struct Case<'a> {
    contender: Contender<'a>,
    bytes: usize,
}

/// Runs in a row before the device is waited for.
const IN_A_ROW: usize = 8;

fn memory_bound<'a>(device: Device) -> Result<Vec<Case<'a>>> {
    let rows = if once() { 16 } else { 1 << 16 };
    let (columns, side) = (1024, if once() { 64 } else { 8192 });
    let n = rows * columns;
    let x = Tensor::from_vec(data(n, 1), [rows, columns]).to_device(device)?;
    let y = Tensor::from_vec(data(n, 2), [rows, columns]).to_device(device)?;
    let row = Tensor::from_vec(data(columns, 3), [columns]).to_device(device)?;
    let square = Tensor::from_vec(data(side * side, 4), [side, side]).to_device(device)?;
    let turned = square.transpose(0, 1)?;
    let mut cases = Vec::new();
    let mut case = |name: &str, bytes: usize, run: Box<dyn Fn() -> Result<Tensor>>| {
        let contender = Contender::new(name, move || {
            for _ in 0..IN_A_ROW {
                done(run());
            }
            done(device.synchronize());
        });
        cases.push(Case { contender, bytes });
    };
    macro_rules! case {
        ($name:literal, $bytes:expr, |$($x:ident),*| $body:expr) => {{
            $(let $x = $x.clone();)*
            case($name, $bytes, Box::new(move || $body));
        }};
    }
    case!("copy", 8 * n, |x| x.copy());
    case!("add", 12 * n, |x, y| x.add(&y));
    case!("add_row", 8 * n, |x, row| x.add(&row));
    case!("relu", 8 * n, |x| x.relu());
    case!("exp", 8 * n, |x| x.exp());
    case!("tanh", 8 * n, |x| x.tanh());
    case!("gelu", 8 * n, |x| x.gelu());
    case!("to_bf16", 6 * n, |x| x.to_dtype(DType::BF16));
    case!("sum", 4 * n, |x| x.sum(..));
    case!("sum_rows", 4 * n, |x| x.sum(1));
    case!("sum_columns", 4 * n, |x| x.sum(0));
    case!("max_rows", 4 * n, |x| x.max(1));
    case!("softmax", 8 * n, |x| x.softmax(1));
    case!("layer_norm", 8 * n, |x| x.layer_norm([columns], None, None, 1e-5));
    case!("transpose", 8 * side * side, |turned| turned.copy());
    Ok(cases)
}

/// Network, what is timed of it, batch.
const STEPS: [(&str, &str, usize); 7] = [
    ("xor", "train", 4),
    ("mlp", "train", 64),
    ("mnist_cnn", "train", 64),
    ("mnist_cnn", "infer", 1),
    ("mnist_cnn", "infer", 64),
    ("lstm_flights", "train", 132),
    ("lstm_big", "train", 32),
];

fn steps<'a>(device: Device) -> Result<Vec<Contender<'a>>> {
    let tiny = Tensor::from_vec(vec![1f32], [1]).to_device(device)?;
    let case = |name: &str, mut step: Box<dyn FnMut() -> Result<()>>| {
        Contender::new(name, move || {
            for _ in 0..IN_A_ROW {
                done(step());
            }
            done(device.synchronize());
        })
    };
    let mut all = vec![case("launch", Box::new(move || tiny.add(&tiny).map(drop)))];
    for (name, what, batch) in STEPS {
        let net = Training::named(name, batch)?;
        let Some(mut net) = net.map(|net| net.to(device)).transpose()? else { continue };
        let step: Box<dyn FnMut() -> Result<()>> = match what {
            "train" => Box::new(move || net.step()),
            _ => Box::new(move || net.infer().map(drop)),
        };
        all.push(case(&format!("{name}/{what}_b{batch}"), step));
    }
    Ok(all)
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let device = match Device::cuda(0) {
        Ok(device) => device,
        Err(error) => {
            println!("cuda: not run: {error}");
            return Ok(());
        }
    };
    println!("{}", device.info()?.name);
    let mut record = Record::open()?;
    let (cases, bytes): (Vec<_>, Vec<_>) =
        memory_bound(device)?.into_iter().map(|case| (case.contender, case.bytes)).unzip();
    let mut contenders = cases;
    let times = interleaved_by(Clock::Wall, &mut contenders, Duration::from_millis(20), 15);
    let speed = |place: usize| (IN_A_ROW * bytes[place]) as f64 / times[place] * 1e-9;
    println!("{:<24}{:>12}{:>12}", "", "GB/s", "of copy");
    for (place, contender) in contenders.iter().enumerate() {
        println!("{:<24}{:>12.1}{:>12.2}", contender.name, speed(place), speed(place) / speed(0));
        record.row(["cuda", &contender.name, "ferrotape"], 1, speed(place), "GB/s")?;
    }
    drop(contenders);
    device.empty_cache();
    let mut contenders = steps(device)?;
    let before = ferrotape::host_fallbacks();
    let times = interleaved_by(Clock::Wall, &mut contenders, Duration::from_millis(20), 15);
    println!("{:<24}{:>12}", "", "us");
    for (contender, time) in contenders.iter().zip(times) {
        let us = time * 1e6 / IN_A_ROW as f64;
        println!("{:<24}{us:>12.2}", contender.name);
        record.row(["cuda", &contender.name, "ferrotape"], 1, us, "us")?;
    }
    println!("operations that the host computed: {}", ferrotape::host_fallbacks() - before);
    Ok(())
}
