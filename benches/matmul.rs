//! Products of square matrices on a GPU: ours in every precision, cuBLASLt in the same, side by side. (The CPU's: peers/sgemm.)

use std::time::Duration;

use ferrotape::prelude::*;
use ferrotape::{MatmulBackend, Precision};
use ferrotape_benches::{Clock, Contender, Record, data, done, interleaved_by, once};

const SIZES: [usize; 5] = [512, 1024, 2048, 4096, 8192];

/// Products in a row before the device is waited for.
const IN_A_ROW: usize = 8;

/// Name, precision, type of the matrices.
const WAYS: [(&str, Precision, DType); 6] = [
    ("f32 exact", Precision::Exact, DType::F32),
    ("f32 tf32", Precision::Tf32, DType::F32),
    ("f32 bf16", Precision::Bf16, DType::F32),
    ("bf16 exact", Precision::Exact, DType::BF16),
    ("bf16", Precision::Bf16, DType::BF16),
    ("f16", Precision::Bf16, DType::F16),
];

fn product(backend: MatmulBackend, precision: Precision, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    backend.scope(|| precision.scope(|| a.matmul(b)))
}

/// A table a size: TFLOP/s of ours and of cuBLASLt, and their ratio.
fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut record = Record::open()?;
    let device = match Device::cuda(0) {
        Ok(device) => device,
        Err(error) => {
            println!("\nGPU: not run: {error}");
            return Ok(());
        }
    };
    println!("\n{}", device.info()?.name);
    let one = Tensor::from_vec(vec![1f32; 4], [2, 2]).to_device(device)?;
    let library = match product(MatmulBackend::CublasLt, Precision::Exact, &one, &one) {
        Ok(_) => true,
        Err(error) => {
            println!("cuBLASLt: not run: {error}");
            false
        }
    };
    for n in if once() { &[48] } else { &SIZES[..] } {
        size(device, library, *n, &mut record)?;
        device.empty_cache();
    }
    Ok(())
}

fn size(
    device: Device,
    library: bool,
    n: usize,
    record: &mut Record,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let matrix = |seed| Tensor::from_vec(data(n * n, seed), [n, n]).to_device(device);
    let (a, b) = (matrix(1)?, matrix(2)?);
    let mut contenders = Vec::new();
    for (name, precision, dtype) in WAYS {
        let (a, b) = (a.to_dtype(dtype)?, b.to_dtype(dtype)?);
        let mut backends = vec![(MatmulBackend::Own, "ours")];
        if library {
            backends.push((MatmulBackend::CublasLt, "cuBLASLt"));
        }
        for (backend, whose) in backends {
            let (a, b) = (a.clone(), b.clone());
            contenders.push(Contender::new(format!("{whose} {name}"), move || {
                for _ in 0..IN_A_ROW {
                    done(product(backend, precision, &a, &b));
                }
                done(device.synchronize());
            }));
        }
    }
    let times = interleaved_by(Clock::Wall, &mut contenders, Duration::from_millis(20), 15);
    let speed = |time: f64| (2 * n * n * n * IN_A_ROW) as f64 / time * 1e-12;
    let found = |name: String| {
        contenders.iter().position(|c| c.name == name).map(|place| speed(times[place]))
    };
    let case = format!("{n}x{n}x{n}");
    println!("\n{case:<14}{:>14}{:>14}{:>10}", "TFLOP/s", "cuBLASLt", "ratio");
    for (name, ..) in WAYS {
        let (ours, theirs) = (found(format!("ours {name}")), found(format!("cuBLASLt {name}")));
        let ours = ours.unwrap_or(f64::NAN);
        match theirs {
            Some(theirs) => println!("{name:<14}{ours:>14.2}{theirs:>14.2}{:>10.2}", ours / theirs),
            None => println!("{name:<14}{ours:>14.2}{:>14}{:>10}", "-", "-"),
        }
    }
    for (contender, &time) in contenders.iter().zip(&times) {
        let name = format!("cuda {}", contender.name);
        record.row(["matmul", &case, &name], 1, speed(time), "TFLOP/s")?;
    }
    Ok(())
}
