//! Whole steps: the XOR epoch, an MLP, the MNIST CNN in training and in inference, in int8, too; the cases of the issue.

use std::rc::Rc;
use std::time::Duration;

use criterion::Criterion;
use ferrotape::nn::quant::QuantConfig;
use ferrotape::prelude::*;
use ferrotape::set_threads;
use ferrotape_benches::{
    Contender, Record, cnn, cross_entropy, done, interleaved, mlp, mse, profile, recurrent, xor,
};

fn contenders<'a>() -> Result<Vec<Contender<'a>>> {
    let (mut xor, mut mlp, mut train) = (xor()?, mlp()?, cnn()?);
    let (mut flights, mut big) = (recurrent([12, 132, 1], 32)?, recurrent([32, 32, 128], 256)?);
    let (mut flights_adam, mut big_adam) = (Adam::new(0.01), Adam::new(1e-3));
    let small = recurrent([12, 132, 1], 32)?;
    let window = small.x.narrow(1, 0, 1)?;
    let (mut sgd, mut mlp_sgd, mut adam) = (SGD::new(0.5), SGD::new(0.01), Adam::new(1e-3));
    let (one, many) = (cnn()?, cnn()?);
    let first = one.x.narrow(0, 0, 1)?;
    let (codes_first, codes_many) = (first.clone(), many.x.clone());
    let int8 = Rc::new(cnn()?.int8(QuantConfig::default())?);
    let int8_many = int8.clone();
    Ok(vec![
        Contender::new("xor_epoch", move || done(xor.step(&mut sgd, mse))),
        Contender::new("mlp/train_b64", move || done(mlp.step(&mut mlp_sgd, cross_entropy))),
        Contender::new("mnist_cnn/train_b64", move || done(train.step(&mut adam, cross_entropy))),
        Contender::new("mnist_cnn/infer_b1", move || done(one.infer(&first))),
        Contender::new("mnist_cnn/infer_b64", move || done(many.infer(&many.x))),
        Contender::new("mnist_cnn_int8/infer_b1", move || done(int8.forward(&codes_first))),
        Contender::new("mnist_cnn_int8/infer_b64", move || done(int8_many.forward(&codes_many))),
        Contender::new("lstm_flights/train_b132", move || {
            done(flights.step(&mut flights_adam, mse))
        }),
        Contender::new("lstm_flights/infer_b1", move || done(small.infer(&window))),
        Contender::new("lstm_big/train_b32", move || done(big.step(&mut big_adam, mse))),
    ])
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    let mut record = Record::open()?;
    for threads in [1, 2] {
        set_threads(threads);
        let mut contenders = contenders()?;
        if std::env::var_os("FERROTAPE_BENCH_PROFILE").is_some() {
            for contender in &mut contenders {
                interleaved(std::slice::from_mut(contender), Duration::from_millis(20), 3);
                println!("\n{}, {threads} thread(s)", contender.name);
                profile(50, &mut contender.run);
            }
            continue;
        }
        for contender in &mut contenders {
            let id = format!("training_step/{}/{threads}", contender.name);
            criterion.bench_function(&id, |b| b.iter(&mut contender.run));
        }
        let times = interleaved(&mut contenders, Duration::from_millis(20), 25);
        println!("\n{threads} thread(s)");
        for (contender, time) in contenders.iter().zip(times) {
            println!("{:<24}{:>12.2} us", contender.name, time * 1e6);
            record.row(
                ["training_step", &contender.name, "ferrotape"],
                threads,
                time * 1e6,
                "us",
            )?;
        }
    }
    criterion.final_summary();
    Ok(())
}
