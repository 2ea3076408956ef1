//! Elementwise operations, reductions, rows, a transpose, the cost of a tiny operation and of a fork and join.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use criterion::Criterion;
use ferrotape::{Result, Tensor, set_threads};
use ferrotape_benches::{Contender, Record, data, interleaved};
use ferrotape_kernels::cpu::parallel;

/// A case with the bytes that it must move at least.
struct Case<'a> {
    bytes: usize,
    contender: Contender<'a>,
}

/// What an operation fails with ends the bench.
#[allow(clippy::panic)]
fn done<T>(result: Result<T>) {
    if let Err(error) = result.map(black_box) {
        panic!("{error}");
    }
}

type Unary = fn(&Tensor) -> Result<Tensor>;

fn vector(n: usize, seed: u64) -> Result<Tensor> {
    Tensor::from_vec(data(n, seed), [n])
}

fn cases<'a>() -> Result<Vec<Case<'a>>> {
    let mut cases = Vec::new();
    let mut add = |bytes, name: String, run: Box<dyn FnMut()>| {
        cases.push(Case { bytes, contender: Contender { name, run } });
    };
    for (n, size) in [(1_000, "1e3"), (100_000, "1e5"), (10_000_000, "1e7")] {
        let (x, y) = (vector(n, 1)?, vector(n, 2)?);
        let (a, b) = (x.clone(), y.clone());
        add(12 * n, format!("add/{size}"), Box::new(move || done(a.add(&b))));
        let (a, b) = (x.clone(), y.clone());
        add(12 * n, format!("mul/{size}"), Box::new(move || done(a.mul(&b))));
        let unary: [(&str, Unary); 5] = [
            ("relu", |x| x.relu()),
            ("exp", |x| x.exp()),
            ("tanh", |x| x.tanh()),
            ("sigmoid", |x| x.sigmoid()),
            ("gelu", |x| x.gelu()),
        ];
        for (name, op) in unary {
            let x = x.clone();
            add(8 * n, format!("{name}/{size}"), Box::new(move || done(op(&x))));
        }
        add(4 * n, format!("sum/{size}"), Box::new(move || done(x.sum(..))));
    }
    let rows = vector(1 << 20, 3)?.reshape([1024, 1024])?;
    add(8 << 20, "softmax_rows/1024x1024".into(), Box::new(move || done(rows.softmax(-1))));
    let rows = vector(1 << 20, 3)?.reshape([1024, 1024])?;
    let (weight, bias) = (vector(1024, 9)?, vector(1024, 10)?);
    let normal = move || done(rows.layer_norm(1024, Some(&weight), Some(&bias), 1e-5));
    add(8 << 20, "layer_norm_rows/1024x1024".into(), Box::new(normal));
    let square = vector(1 << 22, 4)?.reshape([2048, 2048])?;
    let transposed = move || done(square.t().and_then(|t| t.contiguous()));
    add(8 << 22, "transpose_copy/2048x2048".into(), Box::new(transposed));
    let (a, b) = (vector(1, 5)?, vector(1, 6)?);
    add(0, "add_1".into(), Box::new(move || done(a.add(&b))));
    let (a, b) = (vector(16, 7)?.reshape([4, 4])?, vector(16, 8)?.reshape([4, 4])?);
    add(0, "matmul_4x4".into(), Box::new(move || done(a.matmul(&b))));
    // Claimed to be worth a team, and nothing to do: what remains is the fork and the join.
    let fork_join = || parallel::run(2, 1_000_000, &|piece| _ = black_box(piece));
    add(0, "fork_join".into(), Box::new(fork_join));
    if parallel::threads() > 1 {
        add(0, "hand_over".into(), Box::new(hand_over));
    }
    Ok(cases)
}

/// Two pieces that wait for each other: a fork and join in which a member of the team really took one. (An empty piece is mostly
/// done by the caller before anyone can claim it.)
fn hand_over() {
    let here = AtomicUsize::new(0);
    parallel::run(2, 1_000_000, &|_| {
        here.fetch_add(1, Ordering::AcqRel);
        while here.load(Ordering::Acquire) < 2 {
            std::hint::spin_loop();
        }
    });
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    let mut record = Record::open()?;
    for threads in [1, 2] {
        set_threads(threads);
        let (bytes, mut contenders): (Vec<_>, Vec<_>) =
            cases()?.into_iter().map(|case| (case.bytes, case.contender)).unzip();
        for contender in &mut contenders {
            let id = format!("elementwise/{}/{threads}", contender.name);
            criterion.bench_function(&id, |bencher| bencher.iter(&mut contender.run));
        }
        println!("\n{threads} thread(s)");
        // Each case alone: the large ones would empty the caches of the small.
        for (bytes, contender) in bytes.into_iter().zip(&mut contenders) {
            let name = contender.name.clone();
            let time =
                interleaved(std::slice::from_mut(contender), Duration::from_millis(4), 15)[0];
            let (value, unit) = match bytes {
                0 => (time * 1e9, "ns"),
                _ => (bytes as f64 / time / 1e9, "GB/s"),
            };
            println!("{name:<26}{value:>10.1} {unit}");
            record.row(["elementwise", &name, "ferrotape"], threads, value, unit)?;
        }
    }
    criterion.final_summary();
    Ok(())
}
