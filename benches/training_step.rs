//! Whole steps: the XOR epoch, an MLP, the MNIST CNN in training and in inference; the cases of the issue.

use std::time::Duration;

use criterion::Criterion;
use ferrotape::prelude::*;
use ferrotape::set_threads;
use ferrotape_benches::{Contender, Record, data, interleaved, profile};

/// A network of layers with its data and optimizer.
struct Training {
    net: Sequential,
    rng: Generator,
    x: Tensor,
    y: Tensor,
}

impl Training {
    fn new(
        net: impl FnOnce(&mut Generator) -> Result<Sequential>,
        x: &[usize],
        y: Tensor,
    ) -> Result<Self> {
        let mut rng = Generator::new(0);
        let net = net(&mut rng)?;
        let x = Tensor::from_vec(data(x.iter().product(), 1), x)?;
        Ok(Training { net, rng, x, y })
    }

    /// Forward, backward, update.
    fn step(
        &mut self,
        optimizer: &mut impl Optimizer,
        loss: fn(Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<()> {
        let (x, y) = (&self.x, &self.y);
        let step =
            value_and_grad(&self.net, &mut self.rng, |net, ctx| loss(net.forward(x, ctx)?, y))?;
        optimizer.step(&mut self.net, &step)
    }

    fn infer(&self, x: &Tensor) -> Result<Tensor> {
        self.net.forward(x, &mut Ctx::eval())
    }
}

fn labels(n: usize) -> Result<Tensor> {
    Tensor::from_vec((0..n as i64).map(|i| i * 7 % 10).collect(), [n])
}

fn cross_entropy(logits: Tensor, labels: &Tensor) -> Result<Tensor> {
    logits.cross_entropy(labels)
}

fn mse(y: Tensor, target: &Tensor) -> Result<Tensor> {
    y.mse_loss(target)
}

fn xor() -> Result<Training> {
    let net = |rng: &mut Generator| {
        let hidden = Sequential::new().then(Linear::new(2, 2, rng)?).then(Sigmoid);
        Ok(hidden.then(Linear::new(2, 1, rng)?).then(Sigmoid))
    };
    let mut xor = Training::new(net, &[4, 2], Tensor::from([[0f32], [1.], [1.], [0.]]))?;
    xor.x = Tensor::from([[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]]);
    Ok(xor)
}

fn mlp() -> Result<Training> {
    let net = |rng: &mut Generator| {
        let hidden = Sequential::new().then(Linear::new(784, 128, rng)?).then(ReLU);
        Ok(hidden.then(Linear::new(128, 10, rng)?))
    };
    Training::new(net, &[64, 784], labels(64)?)
}

fn cnn() -> Result<Training> {
    let net = |rng: &mut Generator| {
        let conv = |i, o| Conv2dConfig::new(i, o, [3, 3]).padding([1, 1]);
        let features = Sequential::new()
            .then(conv(1, 32).build(rng)?)
            .then(ReLU)
            .then(MaxPool2d::new([2, 2]))
            .then(conv(32, 64).build(rng)?)
            .then(ReLU)
            .then(MaxPool2d::new([2, 2]));
        let head = features.then(Flatten).then(Linear::new(3136, 128, rng)?).then(ReLU);
        Ok(head.then(Linear::new(128, 10, rng)?))
    };
    Training::new(net, &[64, 1, 28, 28], labels(64)?)
}

/// An LSTM's last state, and a linear layer on it; x: `[steps, batch, features]`.
#[derive(Module)]
struct Last {
    lstm: LSTM,
    fc: Linear,
}

impl Forward for Last {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let (_, (h_n, _)) = self.lstm.forward(x, ctx)?;
        self.fc.forward(&h_n.squeeze(0)?, ctx)
    }
}

fn recurrent(x: [usize; 3], hidden: usize) -> Result<Training> {
    let net = |rng: &mut Generator| {
        let (lstm, fc) = (LSTM::new(x[2], hidden, rng)?, Linear::new(hidden, 1, rng)?);
        Ok(Sequential::new().then(Last { lstm, fc }))
    };
    Training::new(net, &x, Tensor::from_vec(data(x[1], 2), [x[1], 1])?)
}

/// What a step fails with ends the bench.
#[allow(clippy::panic)]
fn done<T>(result: Result<T>) {
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn contenders<'a>() -> Result<Vec<Contender<'a>>> {
    let (mut xor, mut mlp, mut train) = (xor()?, mlp()?, cnn()?);
    let (mut flights, mut big) = (recurrent([12, 132, 1], 32)?, recurrent([32, 32, 128], 256)?);
    let (mut flights_adam, mut big_adam) = (Adam::new(0.01), Adam::new(1e-3));
    let small = recurrent([12, 132, 1], 32)?;
    let window = small.x.narrow(1, 0, 1)?;
    let (mut sgd, mut mlp_sgd, mut adam) = (SGD::new(0.5), SGD::new(0.01), Adam::new(1e-3));
    let (one, many) = (cnn()?, cnn()?);
    let first = one.x.narrow(0, 0, 1)?;
    Ok(vec![
        Contender::new("xor_epoch", move || done(xor.step(&mut sgd, mse))),
        Contender::new("mlp/train_b64", move || done(mlp.step(&mut mlp_sgd, cross_entropy))),
        Contender::new("mnist_cnn/train_b64", move || done(train.step(&mut adam, cross_entropy))),
        Contender::new("mnist_cnn/infer_b1", move || done(one.infer(&first))),
        Contender::new("mnist_cnn/infer_b64", move || done(many.infer(&many.x))),
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
