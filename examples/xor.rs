//! XOR with a 2-8-1 network: the smallest problem that needs a hidden layer.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ferrotape::prelude::*;

/// Learns the exclusive or of two bits.
#[derive(Parser)]
struct Options {
    /// Passes over the four rows.
    #[arg(long, default_value_t = 500)]
    epochs: usize,
    /// Learning rate of Adam.
    #[arg(long, default_value_t = 0.05)]
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
}

#[derive(Module)]
struct Net {
    hidden: Linear,
    out: Linear,
}

impl Forward for Net {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        self.out.forward(&self.hidden.forward(x, ctx).tanh()?, ctx)
    }
}

fn run(options: &Options) -> Result<()> {
    if options.threads > 0 {
        ferrotape::set_threads(options.threads);
    }
    let device: Device = options.device.parse()?;
    let mut rng = Generator::new(options.seed);
    let mut net = Net { hidden: Linear::new(2, 8, &mut rng)?, out: Linear::new(8, 1, &mut rng)? };
    net.to(device)?;
    let x = Tensor::from([[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]]).to_device(device)?;
    let y = Tensor::from([[0f32], [1.], [1.], [0.]]).to_device(device)?;

    let mut optimizer = Adam::new(options.lr);
    let start = Instant::now();
    for _ in 0..options.epochs {
        let step =
            value_and_grad(&net, &mut rng, |net, ctx| net.forward(&x, ctx).bce_with_logits(&y))?;
        optimizer.step(&mut net, &step)?;
    }
    let time = start.elapsed().as_secs_f64();

    let logits = net.forward(&x, &mut Ctx::eval())?;
    let loss = logits.bce_with_logits(&y)?.item::<f32>()?;
    let probabilities = logits.sigmoid()?.to_vec::<f32>()?;
    let bits = x.to_vec::<f32>()?;
    println!("a b | a xor b   p");
    for (row, p) in bits.chunks(2).zip(&probabilities) {
        println!("{} {} |    {}    {p:.4}", row[0], row[1], u8::from(*p > 0.5));
    }
    let right = logits.gt(0.0).eq(y.gt(0.5)).to_dtype(DType::F32).mean(..)?;
    println!("loss={loss:.6} accuracy={} time_s={time:.4}", right.item::<f32>()?);
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
