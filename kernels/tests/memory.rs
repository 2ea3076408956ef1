//! The CPU pool: statistics, the limit, reuse, threads. One binary of its own, one test at a time: the accounts are global.

use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use ferrotape_kernels::Error;
use ferrotape_kernels::buffer::{
    Buffer, MemoryStats, empty_cache, memory_stats, reset_peak, set_memory_limit, warm,
};

/// Holds the accounts; leaves nothing on this thread's list.
struct Alone(#[allow(dead_code)] MutexGuard<'static, ()>);

impl Drop for Alone {
    fn drop(&mut self) {
        set_memory_limit(None);
        empty_cache();
    }
}

/// Takes the accounts: nothing live, nothing cached, no limit.
fn alone() -> Alone {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = Alone(ALONE.lock().unwrap_or_else(PoisonError::into_inner));
    // The last test's threads may still be handing over their lists: a scope does not wait for that.
    let start = Instant::now();
    while memory_stats().cached > 0 && start.elapsed().as_secs() < 10 {
        empty_cache();
        thread::yield_now();
    }
    reset_peak();
    let stats = memory_stats();
    assert_eq!((stats.live, stats.peak, stats.cached), (0, 0, 0), "the test before left something");
    alone
}

fn requests_of(work: impl FnOnce()) -> u64 {
    let before = memory_stats().requests;
    work();
    memory_stats().requests - before
}

fn sizes() -> impl Iterator<Item = usize> {
    (0..=257).chain([
        1000,
        1024,
        1025,
        4096,
        65_536,
        65_537,
        1 << 20,
        2 << 20,
        (2 << 20) + 1,
        9 << 20,
    ])
}

#[test]
fn blocks_are_aligned_and_fresh_ones_zero() {
    let _alone = alone();
    for len in sizes() {
        empty_cache();
        let mut buffer = Buffer::new(len).unwrap();
        let align = if len >= 2 << 20 && cfg!(target_os = "linux") { 2 << 20 } else { 64 };
        assert_eq!(buffer.as_slice::<u8>().as_ptr().addr() % align, 0, "{len}");
        assert_eq!((buffer.len(), buffer.as_slice::<u8>().len()), (len, len));
        assert_eq!(buffer.as_slice::<f64>().len(), len / 8);
        assert_eq!(buffer.as_mut_slice::<f32>().len(), len / 4);
        assert!(buffer.as_slice::<u8>().iter().all(|&x| x == 0), "{len}");
        buffer.as_mut_slice::<u8>().fill(0xa5);
        drop(buffer);
        let zeroed = Buffer::zeroed(len).unwrap();
        assert!(zeroed.as_slice::<u8>().iter().all(|&x| x == 0), "recycled, {len}");
    }
}

#[test]
fn accounts_are_exact() {
    let _alone = alone();
    let before = memory_stats();
    let (a, b) = (Buffer::new(100).unwrap(), Buffer::new(3 << 20).unwrap());
    let both = 128 + (3 << 20);
    let requests = before.requests + 2;
    assert_eq!(
        memory_stats(),
        MemoryStats { live: both, peak: both, cached: 0, requests, pinned: 0 }
    );
    drop(b);
    let cached = 3 << 20;
    assert_eq!(memory_stats(), MemoryStats { live: 128, peak: both, cached, requests, pinned: 0 });
    drop(a);
    reset_peak();
    assert_eq!(memory_stats(), MemoryStats { live: 0, peak: 0, cached: both, requests, pinned: 0 });
    empty_cache();
    assert_eq!(memory_stats(), MemoryStats { live: 0, peak: 0, cached: 0, requests, pinned: 0 });
}

#[test]
fn empty_buffers_allocate_nothing() {
    let _alone = alone();
    let before = memory_stats();
    let mut buffer = Buffer::new(0).unwrap();
    assert!(buffer.is_empty() && !buffer.is_external());
    assert!(buffer.as_slice::<f64>().is_empty() && buffer.as_mut_slice::<f64>().is_empty());
    assert_eq!(memory_stats(), before);
}

#[test]
fn a_steady_loop_asks_the_system_for_nothing() {
    let _alone = alone();
    let step = || {
        let kept: Vec<Buffer> = sizes().map(|len| Buffer::new(len).unwrap()).collect();
        let more: Vec<Buffer> = sizes().map(|len| Buffer::new(len).unwrap()).collect();
        drop(kept);
        drop(more);
    };
    step();
    assert_eq!(requests_of(|| (0..50).for_each(|_| step())), 0);
    assert_eq!(memory_stats().live, 0);
}

#[test]
fn over_the_limit_is_an_error_that_changes_nothing() {
    let _alone = alone();
    set_memory_limit(Some(1 << 20));
    let held = Buffer::new(1 << 19).unwrap();
    let before = memory_stats();
    for len in [(1 << 19) + 1, 1 << 30, isize::MAX as usize, usize::MAX] {
        match Buffer::new(len) {
            Err(Error::OutOfMemory { requested, live, limit }) => {
                assert!(requested >= len && live == 1 << 19 && limit == 1 << 20);
            }
            other => panic!("{len}: {other:?}"),
        }
        assert_eq!(memory_stats(), before, "{len}");
    }
    let rest = Buffer::new(1 << 19).unwrap();
    assert!(Buffer::new(1).is_err());
    set_memory_limit(Some((1 << 20) + 64));
    let raised = Buffer::new(1).unwrap();
    drop((held, rest, raised));
    assert_eq!(memory_stats().live, 0);
    set_memory_limit(None);
}

#[test]
fn the_cache_gives_way_to_the_limit() {
    let _alone = alone();
    drop((Buffer::new(1 << 20).unwrap(), Buffer::new(1 << 20).unwrap()));
    set_memory_limit(Some(2 << 20));
    assert_eq!(memory_stats().cached, 2 << 20);
    let other_class = Buffer::new(1536 << 10).unwrap();
    assert_eq!(memory_stats().cached, 0, "two megabytes cached left no room");
    drop(other_class);
    set_memory_limit(Some(1 << 20));
    assert_eq!(memory_stats().cached, 0, "a lower limit applies to what is cached at once");
    set_memory_limit(None);
}

#[test]
fn what_the_system_refuses_is_an_error() {
    let _alone = alone();
    let before = memory_stats();
    for len in [1 << 46, isize::MAX as usize - (4 << 20)] {
        let error = Buffer::new(len).unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { live: 0, limit: usize::MAX, .. }), "{error}");
        assert!(warm(len, 1).is_err());
    }
    assert_eq!(memory_stats(), before);
}

#[test]
fn the_limit_holds_strictly_with_many_threads() {
    let _alone = alone();
    let limit = 100 * 1024;
    set_memory_limit(Some(limit));
    let refused: usize = thread::scope(|scope| {
        let work = |_| {
            scope.spawn(|| {
                let mut kept = Vec::new();
                let mut refused = 0;
                for _ in 0..2000 {
                    match Buffer::new(1024) {
                        Ok(buffer) => kept.push(buffer),
                        Err(_) => (refused, _) = (refused + 1, kept.clear()),
                    }
                }
                refused
            })
        };
        let threads: Vec<_> = (0..4).map(work).collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    let stats = memory_stats();
    assert!(refused > 0 && stats.peak <= limit, "{refused} {stats:?}");
    assert_eq!(stats.live, 0);
    set_memory_limit(None);
}

#[test]
fn one_thread_allocates_another_frees() {
    let _alone = alone();
    for len in [600, 50_000, 300_000] {
        let (send, receive) = sync_channel::<Buffer>(8);
        // At most 8 in the channel and one in each thread's hands, and what the lists of both threads hold.
        warm(len, 10 + 64 + 64).unwrap();
        let requests = requests_of(|| {
            thread::scope(|scope| {
                scope.spawn(move || receive.into_iter().for_each(drop));
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        send.send(Buffer::new(len).unwrap()).unwrap();
                    }
                });
            });
        });
        assert_eq!(requests, 0, "{len}");
    }
    assert_eq!(memory_stats().live, 0);
}

#[test]
fn requests_stay_constant_when_every_epoch_has_a_loader_of_its_own() {
    let _alone = alone();
    let epoch = || {
        let (send, receive) = sync_channel::<Vec<Buffer>>(2);
        thread::scope(|scope| {
            let loader = scope.spawn(move || {
                for _ in 0..500 {
                    let batch = [700, 10_000, 200_000].map(|len| Buffer::new(len).unwrap());
                    send.send(batch.into()).unwrap();
                }
            });
            receive.into_iter().for_each(drop);
            // Joined by hand: a scope does not wait until the loader's list is handed over.
            loader.join().unwrap();
        });
    };
    for len in [700, 10_000, 200_000] {
        warm(len, 5 + 64 + 64).unwrap();
    }
    assert_eq!(requests_of(|| (0..10).for_each(|_| epoch())), 0);
    let stats = memory_stats();
    assert!(stats.live == 0 && stats.cached < 200 * (768 + 10_240 + 212_992), "{stats:?}");
}

#[test]
fn blocks_of_a_thread_that_ended_are_reused() {
    let _alone = alone();
    let work = || drop((0..40).map(|_| Buffer::new(4096).unwrap()).collect::<Vec<_>>());
    thread::spawn(work).join().unwrap();
    let requests = requests_of(|| thread::spawn(work).join().unwrap());
    assert_eq!(requests, 0);
}

#[test]
fn emptying_reaches_other_threads_at_their_next_use() {
    let _alone = alone();
    let (go, wait) = channel::<()>();
    let (done, ready) = channel::<()>();
    let other = thread::spawn(move || {
        drop(Buffer::new(512).unwrap());
        done.send(()).unwrap();
        wait.recv().unwrap();
        drop(Buffer::new(64).unwrap());
        done.send(()).unwrap();
        wait.recv().unwrap();
    });
    ready.recv().unwrap();
    empty_cache();
    assert_eq!(memory_stats().cached, 512, "kept by the other thread");
    go.send(()).unwrap();
    ready.recv().unwrap();
    assert_eq!(memory_stats().cached, 64);
    go.send(()).unwrap();
    other.join().unwrap();
}

#[test]
fn buffers_may_outlive_their_threads_lists() {
    let _alone = alone();
    thread_local! {
        static LATE: std::cell::RefCell<Vec<Buffer>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    thread::spawn(|| {
        // Registered before the pool's own list, so dropped after it.
        LATE.with(|late| late.borrow_mut().clear());
        LATE.with(|late| late.borrow_mut().push(Buffer::new(256).unwrap()));
    })
    .join()
    .unwrap();
    assert_eq!((memory_stats().live, memory_stats().cached), (0, 256));
}

#[test]
fn threads_share_the_pool_without_mixing_blocks() {
    let _alone = alone();
    let (send, receive) = channel::<(Buffer, u8)>();
    let receive = Mutex::new(receive);
    thread::scope(|scope| {
        for id in 0..4_u8 {
            let send = send.clone();
            let receive = &receive;
            scope.spawn(move || {
                for i in 0..5000_usize {
                    let mut buffer = Buffer::new((i * 7919) % 3000 + 1).unwrap();
                    buffer.as_mut_slice::<u8>().fill(id);
                    if i % 3 == 0 {
                        send.send((buffer, id)).unwrap();
                        let got = receive.lock().unwrap().try_recv();
                        if let Ok((other, by)) = got {
                            assert!(other.as_slice::<u8>().iter().all(|&x| x == by));
                        }
                    } else {
                        assert!(buffer.as_slice::<u8>().iter().all(|&x| x == id));
                    }
                }
            });
        }
    });
    drop(receive);
    assert_eq!(memory_stats().live, 0);
}

#[test]
fn warm_counts_what_is_there() {
    let _alone = alone();
    assert_eq!(requests_of(|| warm(1 << 20, 3).unwrap()), 3);
    assert_eq!(requests_of(|| warm(1 << 20, 3).unwrap()), 0);
    assert_eq!(requests_of(|| warm(0, 3).unwrap()), 0);
    assert_eq!(memory_stats().cached, 3 << 20);
    set_memory_limit(Some(4 << 20));
    assert!(warm(1 << 20, 5).is_err());
    assert_eq!(memory_stats().cached, 4 << 20);
    set_memory_limit(None);
}

#[test]
fn external_memory_is_read_in_place_and_not_counted() {
    let _alone = alone();
    let before = memory_stats();
    let owner = Arc::new(Vec::from_iter(0..=255_u8));
    let mut buffer = Buffer::from_external(owner.clone()).unwrap();
    assert_eq!(buffer.as_slice::<u8>().as_ptr(), owner.as_ptr());
    assert_eq!(buffer.as_slice::<u8>(), owner.as_slice());
    assert!(buffer.is_external() && buffer.as_mut_slice::<u8>().is_empty());
    assert_eq!(memory_stats(), before);
    assert_eq!(Arc::strong_count(&owner), 2);
    drop(buffer);
    assert_eq!(Arc::strong_count(&owner), 1);
}

#[test]
fn misaligned_external_memory_gives_no_elements() {
    /// `words` as bytes from `start` on.
    struct From {
        bytes: Vec<u8>,
        start: usize,
    }
    impl AsRef<[u8]> for From {
        fn as_ref(&self) -> &[u8] {
            &self.bytes[self.start..]
        }
    }
    for (shift, f32s, f64s) in [(0, true, true), (4, true, false), (1, false, false)] {
        let bytes = vec![0_u8; 64];
        let start = bytes.as_ptr().align_offset(8) + shift;
        let buffer = Buffer::from_external(Arc::new(From { bytes, start })).unwrap();
        assert_eq!((buffer.is_aligned_for::<f32>(), buffer.is_aligned_for::<f64>()), (f32s, f64s));
        assert_eq!(buffer.as_slice::<f32>().is_empty(), !f32s);
        assert_eq!(buffer.as_slice::<f64>().is_empty(), !f64s);
        assert!(!buffer.as_slice::<u8>().is_empty());
    }
}

#[test]
fn a_copy_is_equal_and_its_own() {
    let _alone = alone();
    let source = [1.0_f32, -0.0, f32::INFINITY];
    let copy = Buffer::copy_of(&source).unwrap();
    assert_eq!(copy.as_slice::<f32>(), source);
    assert!(!copy.is_external());
}

#[test]
fn shared_values_may_outlive_their_threads_lists() {
    use ferrotape_kernels::buffer::Shared;
    /// Makes one when it is dropped, too.
    struct Late(Option<Shared<Vec<u8>>>);
    impl Drop for Late {
        fn drop(&mut self) {
            drop(self.0.take());
            assert_eq!(*Shared::new(vec![7; 100]).clone(), [7; 100]);
        }
    }
    thread_local! { static LATE: std::cell::RefCell<Late> = const { std::cell::RefCell::new(Late(None)) }; }
    thread::spawn(|| {
        // Registered before the list is seen to, so dropped after it; the second thread's values have no list at all.
        LATE.with(|late| late.borrow_mut().0 = None);
        drop(Shared::new(vec![1]));
        LATE.with(|late| late.borrow_mut().0 = Some(Shared::new(vec![2])));
    })
    .join()
    .unwrap();
    thread::spawn(|| LATE.with(|late| late.borrow_mut().0 = None)).join().unwrap();
}
