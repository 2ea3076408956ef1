//! The fork-join team under stress: each piece once, results visible, nested and concurrent callers, panics. One test at a
//! time: the number of threads is global.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ferrotape_kernels::cpu::parallel::{MAX_THREADS, Shared, run, set_threads, threads};

/// Enough to go parallel and to wake the parked.
const LARGE: u64 = 10_000_000;

fn with_threads(n: usize) -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    set_threads(n);
    guard
}

/// Runs a job whose pieces write where plain reads look afterwards; true if each ran exactly once.
fn each_once(pieces: usize, work_ns: u64) -> bool {
    let mut counts = vec![0_usize; pieces];
    let shared = Shared::new(&mut counts);
    run(pieces, work_ns, &|piece| {
        // SAFETY: each piece takes the one element of its own.
        for count in unsafe { shared.part(piece, 1) } {
            *count += piece + 1;
        }
    });
    counts.iter().enumerate().all(|(piece, &count)| count == piece + 1)
}

/// 100,000 runs: with the work of each from nothing to what wakes, and a pause now and then so that members park.
fn stress(n: usize) {
    let _alone = with_threads(n);
    assert_eq!(threads(), n);
    for i in 0..100_000_usize {
        let work_ns = [0, 3_000, 20_000, LARGE][(i / 10) % 4];
        assert!(each_once(i % 11, work_ns), "run {i} on {n} threads");
        if i.is_multiple_of(10_000) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn stress_1() {
    stress(1);
}

#[test]
fn stress_2() {
    stress(2);
}

#[test]
fn stress_3() {
    stress(3);
}

#[test]
fn stress_7() {
    stress(7);
}

#[test]
fn the_number_of_threads_may_change_between_runs() {
    let _alone = with_threads(2);
    for i in 0..2000 {
        set_threads([1, 7, 2, 3][i % 4]);
        assert!(each_once(5, LARGE), "run {i}");
    }
    for (wish, got) in [(0, 1), (1, 1), (64, 64), (1000, MAX_THREADS)] {
        set_threads(wish);
        assert_eq!(threads(), got);
    }
}

#[test]
fn a_member_comes_to_help() {
    let _alone = with_threads(2);
    // Two pieces that wait for each other need two threads. The wake is not awaited by `run`, so the caller waits in its piece.
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(1));
        let barrier = Barrier::new(2);
        run(2, LARGE, &|_| {
            barrier.wait();
        });
        assert!(each_once(2, LARGE));
    }
}

#[test]
fn many_small_jobs_in_a_row_wake_a_parked_member() {
    let _alone = with_threads(2);
    thread::sleep(Duration::from_millis(2));
    let me = thread::current().id();
    let helped = AtomicUsize::new(0);
    for _ in 0..2000 {
        run(2, 30_000, &|_| {
            helped.fetch_add(usize::from(thread::current().id() != me), Relaxed);
            let start = std::time::Instant::now();
            while start.elapsed() < Duration::from_micros(15) {}
        });
    }
    assert!(helped.load(Relaxed) > 0);
}

#[test]
fn a_single_piece_and_small_work_stay_on_the_caller() {
    let _alone = with_threads(7);
    let me = thread::current().id();
    for (pieces, work_ns) in [(1, LARGE), (50, 2_999), (50, 0)] {
        run(pieces, work_ns, &|_| assert_eq!(thread::current().id(), me));
    }
}

#[test]
fn nested_calls_run_on_the_thread_of_their_piece() {
    for n in [1, 2, 3, 7] {
        let _alone = with_threads(n);
        for _ in 0..500 {
            let total = AtomicUsize::new(0);
            run(4, LARGE, &|_| {
                let me = thread::current().id();
                run(5, LARGE, &|inner| {
                    assert_eq!(thread::current().id(), me);
                    total.fetch_add(inner, Relaxed);
                });
            });
            assert_eq!(total.load(Relaxed), 4 * 10);
        }
    }
}

#[test]
fn concurrent_callers_all_finish() {
    for n in [2, 3, 7] {
        let _alone = with_threads(n);
        thread::scope(|scope| {
            for caller in 0..4 {
                scope.spawn(move || {
                    for i in 0..5000 {
                        assert!(each_once((caller + i) % 9, LARGE), "caller {caller}, run {i}");
                    }
                });
            }
        });
    }
}

#[test]
fn a_panic_comes_out_and_the_team_stays_usable() {
    for n in [1, 2, 3, 7] {
        let _alone = with_threads(n);
        for i in 0..300 {
            let culprit = i % 6;
            let body = |piece| {
                if piece == culprit {
                    std::panic::resume_unwind(Box::new(piece));
                }
            };
            let outcome = catch_unwind(AssertUnwindSafe(|| run(6, LARGE, &body)));
            assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&culprit));
            assert!(each_once(6, LARGE));
        }
    }
}

/// A member that was kept off its waker's core while it was woken (under a hypervisor, with two cores) may run everywhere afterwards.
#[cfg(target_os = "linux")]
#[test]
fn a_woken_member_may_use_every_core() {
    let allowed = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|line| line.starts_with("Cpus_allowed:")).map(str::to_owned)
    };
    let _alone = with_threads(2);
    let ours = allowed();
    assert!(ours.is_some());
    for _ in 0..100 {
        // Longer than a member spins: it has parked, if the system let it.
        thread::sleep(Duration::from_millis(1));
        let barrier = Barrier::new(2);
        run(2, LARGE, &|_| {
            barrier.wait();
            assert_eq!(allowed(), ours);
        });
    }
}
