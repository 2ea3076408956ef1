//! The scopes of `Precision` and `MatmulBackend`: what they change, and what they don't.

use ferrotape::prelude::*;
use ferrotape::{ErrorKind, MatmulBackend, Precision, host_fallbacks};

use super::{bits, gpu};

const ALL: [Precision; 3] = [Precision::Exact, Precision::Tf32, Precision::Bf16];

/// A product, the values of a layer, and what flows back through both; drawn anew, the same every time.
fn products(device: Device, dtype: DType) -> Result<Vec<Tensor>> {
    let mut rng = Generator::new(3);
    let mut draw = |shape: [usize; 2]| {
        rng.uniform(shape, -1.0, 1.0, DType::F64)?.to_dtype(dtype)?.to_device(device)
    };
    let (a, b, w) = (draw([96, 140])?, draw([140, 98])?, draw([130, 98])?);
    let bias = draw([1, 130])?.reshape(130)?;
    let mut all = Vec::new();
    let (loss, tape) = Tape::record(|tape| {
        for x in [&a, &b, &w] {
            tape.watch(x);
        }
        let c = a.matmul(&b)?;
        let y = c.linear(&w, Some(&bias))?;
        all.extend([c.copy()?, y.copy()?]);
        y.square()?.sum(..)
    })?;
    all.extend(tape.gradient(&loss, &[&a, &b, &w])?);
    Ok(all)
}

fn apart(x: &[Tensor], y: &[Tensor]) -> Vec<f64> {
    let numbers = |x: &Tensor| x.to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap();
    let largest = |x: &[f64]| x.iter().fold(0f64, |most, x| most.max(x.abs()));
    let one = |(x, y): (&Tensor, &Tensor)| {
        let (x, y) = (numbers(x), numbers(y));
        let differences: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x - y).collect();
        largest(&differences) / largest(&y)
    };
    x.iter().zip(y).map(one).collect()
}

#[test]
fn the_cpu_is_always_exact() {
    let exact = products(Device::Cpu, DType::F32).unwrap();
    for precision in ALL {
        for backend in [MatmulBackend::Own, MatmulBackend::CublasLt] {
            let scoped =
                backend.scope(|| precision.scope(|| products(Device::Cpu, DType::F32))).unwrap();
            assert!(scoped.iter().zip(&exact).all(|(x, y)| bits(x) == bits(y)));
        }
    }
}

#[test]
fn on_a_gpu_a_scope_changes_products_forward_and_backward() {
    let Some(gpu) = gpu() else { return };
    let cores = gpu.info().unwrap().capability >= Some((8, 0));
    let before = host_fallbacks();
    let exact = products(Device::Cpu, DType::F32).unwrap();
    for (precision, unit) in [(Precision::Tf32, 1.0 / 2048.0), (Precision::Bf16, 1.0 / 256.0)] {
        let scoped = precision.scope(|| products(gpu, DType::F32)).unwrap();
        for (i, far) in apart(&scoped, &exact).into_iter().enumerate() {
            assert!(far < 12.0 * unit, "{precision:?}: {i} is {far} apart");
            assert!(!cores || far > 1e-3 * unit, "{precision:?}: {i} was computed exactly");
        }
        // An old device computes exactly.
        let same = scoped.iter().zip(&exact).all(|(x, y)| bits(x) == bits(y));
        assert_eq!(same, !cores, "{precision:?}");
    }
    // After the scope as before it; f64 in any.
    let after = products(gpu, DType::F32).unwrap();
    assert!(after.iter().zip(&exact).all(|(x, y)| bits(x) == bits(y)));
    let wide = products(Device::Cpu, DType::F64).unwrap();
    let scoped = Precision::Bf16.scope(|| products(gpu, DType::F64)).unwrap();
    assert!(scoped.iter().zip(&wide).all(|(x, y)| bits(x) == bits(y)));
    assert_eq!(host_fallbacks(), before);
}

#[test]
fn on_a_gpu_halves_are_summed_in_f32() {
    let Some(gpu) = gpu() else { return };
    for (dtype, unit) in [(DType::F16, 1.0 / 2048.0), (DType::BF16, 1.0 / 256.0)] {
        let exact = products(Device::Cpu, dtype).unwrap();
        let unscoped = products(gpu, dtype).unwrap();
        assert!(unscoped.iter().zip(&exact).all(|(x, y)| bits(x) == bits(y)));
        for precision in [Precision::Tf32, Precision::Bf16] {
            let scoped = precision.scope(|| products(gpu, dtype)).unwrap();
            let far = apart(&scoped, &exact).into_iter().fold(0f64, f64::max);
            assert!(far < 12.0 * unit, "{dtype:?}: {far} apart");
        }
    }
}

#[test]
fn on_a_gpu_cublaslt_is_a_backend_or_an_error_in_words() {
    let Some(gpu) = gpu() else { return };
    let exact = products(Device::Cpu, DType::F32).unwrap();
    for (precision, unit) in ALL.into_iter().zip([1e-6, 1.0 / 1024.0, 1.0 / 256.0]) {
        match MatmulBackend::CublasLt.scope(|| precision.scope(|| products(gpu, DType::F32))) {
            Ok(scoped) => {
                let far = apart(&scoped, &exact).into_iter().fold(0f64, f64::max);
                assert!(far < 12.0 * unit, "{precision:?}: {far} apart");
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Cuda { .. }), "{error}");
                assert!(error.to_string().contains("looked for"), "{error}");
            }
        }
    }
}

#[test]
fn a_batch_is_multiplied_in_a_scope_too() {
    let Some(gpu) = gpu() else { return };
    let mut rng = Generator::new(5);
    let a = rng.uniform([2, 1, 60, 72], -1.0, 1.0, DType::F32).unwrap();
    let b = rng.uniform([3, 50, 72], -1.0, 1.0, DType::F32).unwrap();
    let product = |a: &Tensor, b: &Tensor| a.matmul(&b.transpose(-1, -2)?);
    let exact = product(&a, &b).unwrap();
    let (a, b) = (a.to_device(gpu).unwrap(), b.to_device(gpu).unwrap());
    let scoped = Precision::Tf32.scope(|| product(&a, &b)).unwrap();
    assert_eq!(scoped.shape(), [2, 3, 60, 50]);
    assert!(apart(&[scoped], &[exact])[0] < 1e-2);
}

/// As on a device of compute capability 7.5, which only the stand-in driver can be told to be.
#[test]
fn on_a_gpu_that_is_old_scopes_change_nothing() {
    if gpu().is_none() {
        return;
    }
    let tests = std::env::current_exe().unwrap();
    let child = std::process::Command::new(tests)
        .env("FERROTAPE_EMULATED_CAPABILITY", "75")
        .args([
            "--exact",
            "cuda::precision::on_a_gpu_a_scope_changes_products_forward_and_backward",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}
