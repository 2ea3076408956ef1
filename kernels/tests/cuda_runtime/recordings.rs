//! Work that is recorded and started together.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ferrotape_kernels::cuda::Graph;

use super::*;

#[test]
fn each_run_has_its_own_arguments() {
    let Some(gpu) = device() else { return };
    let mut graph = Graph::new(gpu);
    let mut x = numbers(gpu, &[0.0; 8]);
    for i in 1..=10u8 {
        let recording = graph.begin().unwrap();
        // A buffer, a number and an address of this run alone.
        let y = numbers(gpu, &[f32::from(i); 8]);
        add(&mut x, &y).unwrap();
        negate(&mut x).unwrap();
        drop(y);
        negate(&mut x).unwrap();
        recording.end().unwrap();
    }
    assert_eq!(values(&x), [55.0; 8]);
    if exact() {
        return;
    }
    // The first one met kernels that were not loaded yet, and was cut there.
    assert!((10..=14).contains(&graph.launched()), "{graph:?}: {}", graph.launched());
    assert!(graph.instantiated() <= 5, "{}", graph.instantiated());
}

#[test]
fn nothing_starts_before_the_end_or_a_read() {
    let settings = [("FERROTAPE_EMULATED_TRACE", "0")];
    child("recordings::nothing_starts_before_the_end_or_a_read", &settings, |gpu| {
        let (mut x, y) = (numbers(gpu, &[1.0; 8]), numbers(gpu, &[2.0; 8]));
        add(&mut x, &y).unwrap();
        let mut graph = Graph::new(gpu);
        let recording = graph.begin().unwrap();
        add(&mut x, &y).unwrap();
        assert_eq!(values(&x), [5.0; 8]);
        add(&mut x, &y).unwrap();
        add(&mut x, &y).unwrap();
        gpu.synchronize().unwrap();
        add(&mut x, &y).unwrap();
        gpu.empty_cache().unwrap();
        gpu.synchronize().unwrap();
        let big = DeviceBuffer::new(gpu, 10 << 20).unwrap();
        drop(big);
        gpu.empty_cache().unwrap();
        recording.end().unwrap();
        assert_eq!(values(&x), [11.0; 8]);
        // Three pieces had work: one add, two, one. Of the first and the last one graph was made.
        assert_eq!((graph.launched(), graph.instantiated()), (3, 2));
    });
}

#[test]
fn another_shape_is_another_graph() {
    let Some(gpu) = device() else { return };
    let mut graph = Graph::new(gpu);
    let mut x = numbers(gpu, &[0.0; 8]);
    let y = numbers(gpu, &[1.0; 8]);
    add(&mut x, &y).unwrap();
    for length in [3, 3, 5, 3, 5, 40] {
        let recording = graph.begin().unwrap();
        for _ in 0..length {
            add(&mut x, &y).unwrap();
        }
        recording.end().unwrap();
    }
    assert_eq!(values(&x), [60.0; 8]);
    assert_eq!((graph.launched(), graph.instantiated()), (6, 3));
    // As many nodes of another kind at the same places.
    let recording = graph.begin().unwrap();
    for _ in 0..3 {
        x.zero().unwrap();
    }
    recording.end().unwrap();
    assert_eq!(values(&x), [0.0; 8]);
    assert_eq!((graph.launched(), graph.instantiated()), (7, 4));
    // More than are kept.
    for length in 1..=40u8 {
        let recording = graph.begin().unwrap();
        for _ in 0..length {
            add(&mut x, &y).unwrap();
        }
        recording.end().unwrap();
    }
    assert_eq!(values(&x), [820.0; 8]);
}

#[test]
fn one_in_another_belongs_to_it() {
    let Some(gpu) = device() else { return };
    let (mut outer, mut inner) = (Graph::new(gpu), Graph::new(gpu));
    let (mut x, y) = (numbers(gpu, &[0.0; 8]), numbers(gpu, &[1.0; 8]));
    add(&mut x, &y).unwrap();
    let whole = outer.begin().unwrap();
    add(&mut x, &y).unwrap();
    let part = inner.begin().unwrap();
    add(&mut x, &y).unwrap();
    part.end().unwrap();
    add(&mut x, &y).unwrap();
    whole.end().unwrap();
    assert_eq!((outer.launched(), inner.launched()), (1, 0));
    assert_eq!(values(&x), [4.0; 8]);
}

#[test]
fn a_panic_ends_it_cleanly() {
    let Some(gpu) = device() else { return };
    let mut graph = Graph::new(gpu);
    let (mut x, y) = (numbers(gpu, &[0.0; 8]), numbers(gpu, &[1.0; 8]));
    add(&mut x, &y).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _recording = graph.begin().unwrap();
        add(&mut x, &y).unwrap();
        panic!("in the middle");
    }));
    assert!(panicked.is_err());
    // What was given to the device is done, as it would be without a recording.
    assert_eq!(values(&x), [2.0; 8]);
    let recording = graph.begin().unwrap();
    add(&mut x, &y).unwrap();
    recording.end().unwrap();
    assert_eq!(values(&x), [3.0; 8]);
    assert_eq!((graph.launched(), graph.instantiated()), (2, 1));
}

/// Uploads that fill the ring more than once, all in one recording.
fn many_uploads(gpu: &'static Gpu) {
    let mut graph = Graph::new(gpu);
    for round in 0..2 {
        let recording = graph.begin().unwrap();
        let all: Vec<DeviceBuffer> =
            (0..25).map(|i| filled(gpu, &pattern(1_000_000, round * 100 + i))).collect();
        recording.end().unwrap();
        // And some that are not recorded, in the segments of those that were.
        let more: Vec<DeviceBuffer> =
            (25..40).map(|i| filled(gpu, &pattern(1_000_000, round * 100 + i))).collect();
        for (i, buffer) in all.iter().chain(&more).enumerate() {
            assert!(bytes(buffer) == pattern(1_000_000, round * 100 + i as u64), "{i}");
        }
    }
    assert!(graph.launched() >= 4, "the ring is shorter: {}", graph.launched());
}

#[test]
fn uploads_are_kept_until_it_ran() {
    if let Some(gpu) = device() {
        many_uploads(gpu);
    }
}

#[test]
fn uploads_on_a_lazy_device() {
    let settings = [("FERROTAPE_EMULATED_LAZY", "1")];
    child("recordings::uploads_on_a_lazy_device", &settings, many_uploads);
}

#[test]
fn other_threads_read_meanwhile() {
    let Some(gpu) = device() else { return };
    let mut graph = Graph::new(gpu);
    let (mut x, y) = (numbers(gpu, &[0.0; 8]), numbers(gpu, &[1.0; 8]));
    let recording = graph.begin().unwrap();
    add(&mut x, &y).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(values(&x), [1.0; 8]));
        scope.spawn(|| assert_eq!(values(&numbers(gpu, &[7.0; 3])), [7.0; 3]));
    });
    add(&mut x, &y).unwrap();
    recording.end().unwrap();
    assert_eq!(values(&x), [2.0; 8]);
}
