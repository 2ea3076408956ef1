//! What a buffer costs: `cargo test --release --test memory_timing -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use ferrotape_kernels::buffer::Buffer;

/// Nanoseconds for one buffer made and dropped, the median of a few rounds.
fn pair_ns(len: usize, rounds: u32) -> f64 {
    let run = || {
        let start = Instant::now();
        for _ in 0..rounds {
            drop(black_box(Buffer::new(black_box(len)).ok()));
        }
        start.elapsed().as_nanos() as f64 / f64::from(rounds)
    };
    let mut all: Vec<f64> = (0..9).map(|_| run()).collect();
    all.sort_by(f64::total_cmp);
    all[4]
}

#[test]
#[ignore = "a measurement"]
fn a_pair_of_new_and_drop() {
    for len in [4, 64, 512, 4096, 65_536, 65_537, 4 << 20] {
        let ns = pair_ns(len, 100_000);
        println!("{len:>8} bytes: {ns:6.1} ns");
        assert!(ns < 1000.0);
    }
    let both = std::thread::scope(|scope| {
        [0, 1].map(|_| scope.spawn(|| pair_ns(512, 100_000))).map(|t| t.join().unwrap())
    });
    println!("     512 bytes on two threads: {both:?} ns");
}
