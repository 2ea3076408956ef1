//! What a fork and join costs: `cargo test --release --test team_timing -- --ignored --nocapture`.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use ferrotape_kernels::cpu::parallel::{run, set_threads};

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Median and 99th percentile in nanoseconds of `work` after `pause`.
fn measure(rounds: usize, pause: Duration, work: impl Fn()) -> (u128, u128) {
    let mut times: Vec<u128> = (0..rounds)
        .map(|_| {
            if pause >= Duration::from_millis(1) {
                std::thread::sleep(pause);
            } else {
                spin(pause);
            }
            let start = Instant::now();
            work();
            start.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    (times[rounds / 2], times[rounds * 99 / 100])
}

#[test]
#[ignore = "a measurement"]
fn a_fork_and_join() {
    let pauses = [(0, 100_000), (300, 2000), (10_000, 200)];
    let busy = |_| spin(Duration::from_micros(20));
    for threads in [1, 2] {
        set_threads(threads);
        println!("{threads} threads, ns, median (p99):");
        for (us, rounds) in pauses {
            let pause = Duration::from_micros(us);
            let empty = measure(rounds, pause, || run(2, 10_000, black_box(&|_| {})));
            let woken = measure(rounds.min(2000), pause, || run(2, 200_000, black_box(&|_| {})));
            let small = measure(rounds.min(2000), pause, || run(2, 40_000, black_box(&busy)));
            println!(
                "  after {us} us: empty {empty:?}, empty worth waking {woken:?}, 2 x 20 us {small:?}"
            );
            assert!(empty.0 < 1_000_000);
        }
    }
}

/// Two pieces that each wait for the other to begin: what it takes until a member has come and gone.
#[test]
#[ignore = "a measurement"]
fn a_rendezvous() {
    set_threads(2);
    let meet = || {
        let begun = AtomicUsize::new(0);
        run(2, 200_000, &|_| {
            begun.fetch_add(1, SeqCst);
            while begun.load(SeqCst) < 2 {
                std::hint::spin_loop();
            }
        });
    };
    for (us, rounds) in [(0, 100_000), (5, 20_000), (300, 2000), (10_000, 200)] {
        let (median, p99) = measure(rounds, Duration::from_micros(us), meet);
        println!("rendezvous after {us} us: {median} ns ({p99})");
        assert!(median < 50_000_000);
    }
}

#[test]
#[ignore = "a measurement"]
fn staying_on_the_caller() {
    for (threads, work_ns) in [(1, 1_000_000), (2, 1000)] {
        set_threads(threads);
        let rounds = 10_000_000_u32;
        let start = Instant::now();
        for _ in 0..rounds {
            run(black_box(2), black_box(work_ns), black_box(&|_| {}));
        }
        let ns = start.elapsed().as_nanos() as f64 / f64::from(rounds);
        println!("{threads} threads, work {work_ns} ns: {ns:.2} ns");
        assert!(ns < 1000.0);
    }
}
