//! f32 matrix products, slices in and out: `sgemm/NN/MxKxN` is ours; `@mkl`, `@openblas`, `@gemm` and `@matrixmultiply` behind it
//! ask a rival in the same process.

use std::rc::Rc;

use ferrotape_kernels::cpu::gemm::{Epilogue, Matrix, gemm};
use ferrotape_kernels::cpu::isa::isa;
use ferrotape_kernels::cpu::parallel::set_threads;
use ferrotape_kernels::cpu::peak::fma_burst;
use ferrotape_peer_protocol::{Run, serve, threads};
use ferrotape_rivals::{Blas, Product, matrixmultiply};

/// A case's product, and who is to compute it.
fn parse(case: &str) -> Option<(Product, &str)> {
    let (case, contender) = case.split_once('@').unwrap_or((case, "ours"));
    let (layout, size) = case.strip_prefix("sgemm/")?.split_once('/')?;
    let size: Vec<usize> = size.split('x').map(|size| size.parse().ok()).collect::<Option<_>>()?;
    let transposed = match layout {
        "NN" => [false, false],
        "NT" => [false, true],
        "TN" => [true, false],
        _ => return None,
    };
    Some((Product { size: size.try_into().ok()?, transposed }, contender))
}

/// What a wrong call fails with ends the bench.
#[allow(clippy::panic)]
fn ours(product: Product, a: &[f32], b: &[f32], c: &mut [f32]) {
    let [[ar, ac], [br, bc]] = product.strides();
    let a = Matrix { data: a, offset: 0, row_stride: ar, column_stride: ac };
    let b = Matrix { data: b, offset: 0, row_stride: br, column_stride: bc };
    if let Err(error) = gemm(product.size, a, b, Epilogue::default(), c, product.size[2]) {
        panic!("{error}");
    }
}

/// `n` numbers in -1..1.
fn data(n: usize) -> Vec<f32> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_769) >> 8) as f32 / 8_388_608. - 1.).collect()
}

fn facts() -> String {
    format!("ferrotape {}", isa().name())
}

fn main() -> std::io::Result<()> {
    let threads = threads();
    set_threads(threads);
    let (mkl, openblas) = (Blas::mkl(threads).map(Rc::new), Blas::openblas(threads).map(Rc::new));
    let build = |case: &str| {
        let (product, contender) = parse(case)?;
        let [m, k, n] = product.size;
        let (a, b, mut c) = (data(m * k), data(k * n), vec![0f32; m * n]);
        Some(match contender {
            "ours" => Box::new(move || ours(product, &a, &b, &mut c)) as Run,
            "matrixmultiply" => Box::new(move || matrixmultiply(product, &a, &b, &mut c)),
            "gemm" => Box::new(move || ferrotape_rivals::gemm(threads, product, &a, &b, &mut c)),
            "mkl" => {
                let mkl = mkl.clone()?;
                Box::new(move || mkl.sgemm(product, &a, &b, &mut c))
            }
            "openblas" => {
                let openblas = openblas.clone()?;
                Box::new(move || openblas.sgemm(product, &a, &b, &mut c))
            }
            "fma_peak" => Box::new(move || fma_burst(isa(), 2. * (m * k * n) as f64)),
            _ => return None,
        })
    };
    serve(facts, build, |_| String::new(), None)
}
