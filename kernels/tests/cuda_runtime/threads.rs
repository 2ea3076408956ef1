//! Many threads use one device: buffers are made, filled, computed with, read and dropped anywhere.

use std::sync::mpsc::sync_channel;

use super::*;

fn all_at_once(gpu: &'static Gpu) {
    const ROUNDS: usize = 60;
    let (to, from) = sync_channel::<DeviceBuffer>(8);
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let to = to.clone();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let n = 1 + (thread * 7 + round * 13) % 900;
                    let expected: Vec<f32> = (0..n).map(|i| (i + thread) as f32).collect();
                    let mut x = numbers(gpu, &expected);
                    let y = numbers(gpu, &vec![round as f32; n]);
                    add(&mut x, &y).unwrap();
                    to.send(y).unwrap();
                    negate(&mut x).unwrap();
                    let wanted: Vec<f32> = expected.iter().map(|x| -(x + round as f32)).collect();
                    assert!(values(&x) == wanted, "thread {thread}, round {round}");
                    to.send(x).unwrap();
                }
            });
        }
        // One that records what all of them do.
        scope.spawn(move || {
            let mut graph = ferrotape_kernels::cuda::Graph::new(gpu);
            let mut x = numbers(gpu, &[0.0; 100]);
            let y = numbers(gpu, &[1.0; 100]);
            for round in 0..ROUNDS {
                let recording = graph.begin().unwrap();
                add(&mut x, &y).unwrap();
                recording.end().unwrap();
                if round % 7 == 0 {
                    assert_eq!(values(&x), [(round + 1) as f32; 100]);
                }
            }
        });
        // One that gives back what is free.
        scope.spawn(move || {
            for _ in 0..ROUNDS / 4 {
                gpu.empty_cache().unwrap();
                std::thread::yield_now();
            }
        });
        // And one where they end.
        drop(to);
        let dropped = from.iter().count();
        assert_eq!(dropped, 4 * ROUNDS * 2);
    });
    gpu.synchronize().unwrap();
    assert_eq!(gpu.memory_stats().live, 0);
}

#[test]
fn buffers_move_between_threads() {
    child("threads::buffers_move_between_threads", &[], all_at_once);
}

#[test]
fn on_a_lazy_device() {
    let settings = [("FERROTAPE_EMULATED_LAZY", "1")];
    child("threads::on_a_lazy_device", &settings, all_at_once);
}
