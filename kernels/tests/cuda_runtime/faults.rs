//! What goes wrong on the device comes to light at the next read, and from then on at every call.

use ferrotape_kernels::{Error, Result};

use super::*;

/// Every call that asks the device for anything.
fn calls(gpu: &'static Gpu, x: &mut DeviceBuffer, y: &DeviceBuffer) -> Vec<Result<()>> {
    let len = y.len();
    let mut here = vec![0; len];
    vec![
        x.download(0, &mut here),
        x.upload(&here),
        x.zero(),
        x.copy_part(y, 0, 0, len),
        add(x, y),
        gpu.synchronize(),
        gpu.memory_info().map(drop),
        gpu.empty_cache(),
        DeviceBuffer::new(gpu, 77 << 20).map(drop),
        ferrotape_kernels::cuda::Graph::new(gpu).begin().map(drop),
        // One whose function was not looked up before.
        negate(x),
    ]
}

fn stays(name: &str, fault: &str, code: u32, words: &str) {
    for lazy in ["0", "1"] {
        let settings = [("FERROTAPE_EMULATED_FAULT", fault), ("FERROTAPE_EMULATED_LAZY", lazy)];
        let told = child(name, &settings, |gpu| {
            let (mut x, y) = (numbers(gpu, &[1.0; 64]), numbers(gpu, &[2.0; 64]));
            let cached = numbers(gpu, &[3.0; 64]);
            let mut first = None;
            for _ in 0..4 {
                add(&mut x, &y).unwrap();
                let mut here = [0; 256];
                if let Err(error) = x.download(0, &mut here) {
                    first = Some(error);
                    break;
                }
            }
            // The read after it tells of it.
            let first = first.unwrap();
            let call = "cuStreamSynchronize";
            assert!(
                matches!(&first, Error::Cuda { call: c, code: n, .. } if *c == call && *n == code)
            );
            assert!(first.to_string().contains(words), "{first}");
            drop(cached);
            for (i, told) in calls(gpu, &mut x, &y).into_iter().enumerate() {
                assert_eq!(told, Err(first.clone()), "call {i}");
            }
            // Nothing of what is dropped now, here or on another thread, panics.
            std::thread::spawn(move || drop(x)).join().unwrap();
        });
        if told {
            return;
        }
    }
}

#[test]
fn a_launch_that_fails() {
    stays("faults::a_launch_that_fails", "launch:3", 719, "CUDA_ERROR_LAUNCH_FAILED");
}

#[test]
fn a_copy_that_fails() {
    stays("faults::a_copy_that_fails", "copy:4", 700, "CUDA_ERROR_ILLEGAL_ADDRESS");
}

#[test]
fn in_a_recording() {
    let settings = [("FERROTAPE_EMULATED_FAULT", "launch:2")];
    child("faults::in_a_recording", &settings, |gpu| {
        let (mut x, y) = (numbers(gpu, &[1.0; 64]), numbers(gpu, &[2.0; 64]));
        let mut graph = ferrotape_kernels::cuda::Graph::new(gpu);
        let recording = graph.begin().unwrap();
        for _ in 0..3 {
            add(&mut x, &y).unwrap();
        }
        recording.end().unwrap();
        let error = gpu.synchronize().unwrap_err();
        assert!(matches!(error, Error::Cuda { code: 719, .. }), "{error}");
        assert_eq!(graph.begin().map(drop), Err(error));
    });
}

/// A refusal is no fault: what was cached is given back, the driver asked again.
#[test]
fn memory_that_is_refused_once() {
    let settings = [("FERROTAPE_EMULATED_FAULT", "alloc:2")];
    child("faults::memory_that_is_refused_once", &settings, |gpu| {
        drop(numbers(gpu, &[1.0; 64]));
        assert!(gpu.memory_stats().cached > 0 || exact());
        let x = numbers(gpu, &[1.0; 6400]);
        assert_eq!(gpu.memory_stats().cached, 0);
        assert_eq!(values(&x), [1.0; 6400]);
    });
}

#[test]
fn more_memory_than_there_is() {
    let settings = [("FERROTAPE_EMULATED_MEMORY", "1000000")];
    child("faults::more_memory_than_there_is", &settings, |gpu| {
        let x = numbers(gpu, &[1.0; 64]);
        for _ in 0..3 {
            let error = DeviceBuffer::new(gpu, 2_000_000).unwrap_err();
            assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
        }
        assert_eq!(values(&x), [1.0; 64]);
    });
}
