//! f32 matrix products: naive, our kernel on each ISA and on two threads, and the rivals; sizes of the issue and of networks. On a GPU,
//! where there is one: every precision, beside cuBLASLt.

mod matmul_gpu;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use ferrotape_benches::{Contender, Record, data, interleaved};
use ferrotape_kernels::cpu::gemm::{Epilogue, Matrix, gemm_under};
use ferrotape_kernels::cpu::isa::Isa;
use ferrotape_kernels::cpu::parallel::set_threads;
use ferrotape_kernels::cpu::peak::fma_peak;
use ferrotape_rivals::RIVALS;

/// m, k, n.
const SHAPES: [[usize; 3]; 13] = [
    [5, 5, 5],
    [10, 10, 10],
    [50, 50, 50],
    [100, 100, 100],
    [500, 500, 500],
    [512, 512, 512],
    [1000, 1000, 1000],
    [1, 1024, 1024],
    [64, 784, 128],
    [128, 3136, 128],
    [132, 33, 128],
    [1024, 1024, 1],
    [32, 4096, 4096],
];

/// Naive and scalar products larger than this would take the bench's time for nothing new.
const SLOW: usize = 1_100_000_000;

fn naive([m, k, n]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    for i in 0..m {
        for j in 0..n {
            c[i * n + j] = (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
        }
    }
}

/// What a wrong call fails with ends the bench.
#[allow(clippy::panic)]
fn ours(isa: Isa, threads: usize, [m, k, n]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    set_threads(threads);
    let matrix = |data, columns: usize| Matrix {
        data,
        offset: 0,
        row_stride: columns as isize,
        column_stride: 1,
    };
    let (a, b) = (matrix(a, k), matrix(b, n));
    if let Err(error) = gemm_under(isa, [m, k, n], a, b, Epilogue::default(), c, n) {
        panic!("{error}");
    }
}

/// One entry a backend; each has its own result.
fn contenders<'a>(shape: [usize; 3], a: &'a [f32], b: &'a [f32]) -> Vec<Contender<'a>> {
    let [m, k, n] = shape;
    let mut all = Vec::new();
    let result = || vec![0f32; m * n];
    if m * k * n < SLOW {
        let mut c = result();
        let run = move || {
            set_threads(1);
            naive(shape, a, b, &mut c);
        };
        all.push(Contender::new("naive", run));
    }
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let mut c = result();
        all.push(Contender::new(isa.name(), move || ours(isa, 1, shape, a, b, &mut c)));
    }
    let (best, mut c) = (strongest(), result());
    all.push(Contender::new("2 threads", move || ours(best, 2, shape, a, b, &mut c)));
    for (name, product) in RIVALS {
        let mut c = result();
        let run = move || {
            set_threads(1);
            product(shape, a, b, &mut c);
        };
        all.push(Contender::new(name, run));
    }
    all
}

fn strongest() -> Isa {
    Isa::ALL.into_iter().rfind(|isa| isa.available()).unwrap_or(Isa::Scalar)
}

/// The peak that a contender is held against: its own ISA's, of one thread; the strongest for rivals and teams.
fn peak_of(name: &str, peaks: &[(Isa, f64)]) -> f64 {
    let own = peaks.iter().find(|(isa, _)| name == isa.name() && *isa != Isa::Scalar);
    own.or(peaks.last()).map_or(f64::NAN, |(_, peak)| *peak)
}

fn bench(criterion: &mut Criterion) {
    for shape in SHAPES {
        let [m, k, n] = shape;
        let (a, b) = (data(m * k, 1), data(k * n, 2));
        let mut group = criterion.benchmark_group(format!("matmul/{m}x{k}x{n}"));
        let large = m * k * n > 10_000_000;
        group.sample_size(10).warm_up_time(Duration::from_millis(if large { 100 } else { 300 }));
        group.measurement_time(Duration::from_millis(if large { 600 } else { 1000 }));
        for contender in &mut contenders(shape, &a, &b) {
            let id = BenchmarkId::from_parameter(&contender.name);
            group.bench_function(id, |bencher| bencher.iter(&mut contender.run));
        }
        group.finish();
    }
}

/// All backends of a shape in turns, one table a shape.
fn tables(record: &mut Record) -> std::io::Result<()> {
    for shape in SHAPES {
        let isas = Isa::ALL.into_iter().filter(|isa| isa.available());
        let peaks: Vec<(Isa, f64)> =
            isas.map(|isa| (isa, fma_peak(isa, Duration::from_millis(10)))).collect();
        let [m, k, n] = shape;
        let (a, b) = (data(m * k, 1), data(k * n, 2));
        let mut contenders = contenders(shape, &a, &b);
        let times = interleaved(&mut contenders, Duration::from_millis(4), 15);
        let case = format!("{m}x{k}x{n}");
        let peak = |(isa, peak): &(Isa, f64)| format!("{} {peak:.0}", isa.name());
        let peaks_said = peaks.iter().map(peak).collect::<Vec<_>>().join(", ");
        println!("\n{case} (FMA peak, GFLOP/s: {peaks_said})");
        println!("{:<22}{:>10}{:>12}{:>10}", "", "GFLOP/s", "x naive", "of peak");
        let naive = contenders.iter().position(|c| c.name == "naive").map(|place| times[place]);
        for (contender, &time) in contenders.iter().zip(&times) {
            let gflops = 2.0 * (m * k * n) as f64 / time / 1e9;
            let (over_naive, peak) =
                (naive.unwrap_or(f64::NAN) / time, peak_of(&contender.name, &peaks));
            println!(
                "{:<22}{gflops:>10.2}{over_naive:>12.1}{:>9.0}%",
                contender.name,
                100.0 * gflops / peak
            );
            let threads = if contender.name == "2 threads" { 2 } else { 1 };
            record.row(["matmul", &case, &contender.name], threads, gflops, "GFLOP/s")?;
        }
        for (isa, peak) in peaks {
            record.row(["fma_peak", &case, isa.name()], 1, peak, "GFLOP/s")?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut criterion = Criterion::default().configure_from_args();
    bench(&mut criterion);
    let mut record = Record::open()?;
    tables(&mut record)?;
    matmul_gpu::tables(&mut record)?;
    criterion.final_summary();
    Ok(())
}
