//! What stands between a program and a GPU: staging, faults, the cost of a launch, recordings, many threads. Without a device there is
//! nothing to show; with `FERROTAPE_TEST_DEVICE=cuda` there must be one. Where a fault must be injected, the stand-in driver is needed.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "cuda_runtime/faults.rs"]
mod faults;
#[path = "cuda_runtime/launches.rs"]
mod launches;
#[path = "cuda_runtime/recordings.rs"]
mod recordings;
#[path = "cuda_runtime/staging.rs"]
mod staging;
#[path = "cuda_runtime/threads.rs"]
mod threads;

use std::process::Command;

use ferrotape_kernels::cuda::map::{self, Source};
use ferrotape_kernels::cuda::{Array, DeviceBuffer, Gpu, Type, gpu};
use ferrotape_kernels::elementwise::{BinaryOp, UnaryOp};

/// The device; `None` where there is none.
fn device() -> Option<&'static Gpu> {
    match gpu(0) {
        Ok(gpu) => Some(gpu),
        Err(why) => {
            assert!(std::env::var_os("FERROTAPE_TEST_DEVICE").is_none(), "{why}");
            println!("no GPU: {why}");
            None
        }
    }
}

/// True on the driver that stands in for a real one.
fn stands_in(gpu: &Gpu) -> bool {
    gpu.info().name.contains("emulator")
}

/// True where every buffer is a block of the driver's, so that none is cached and each free cuts a recording.
fn exact() -> bool {
    std::env::var("FERROTAPE_CUDA_EXACT_BLOCKS").is_ok_and(|on| on == "1")
}

/// Runs the test `name` again in a process of its own with these settings; in that process, `body`. True there.
fn child(name: &str, settings: &[(&str, &str)], body: impl FnOnce(&'static Gpu)) -> bool {
    const ROLE: &str = "FERROTAPE_TEST_CHILD";
    if std::env::var_os(ROLE).is_some() {
        body(device().unwrap());
        return true;
    }
    if device().is_none_or(|gpu| !stands_in(gpu) && !settings.is_empty()) {
        return false;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    let output = command.env(ROLE, "1").envs(settings.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} under {settings:?}:\n{said}");
    assert!(said.contains("1 passed"), "no test is called {name}:\n{said}");
    false
}

/// Bytes that tell where they belong.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn filled(gpu: &'static Gpu, bytes: &[u8]) -> DeviceBuffer {
    let mut buffer = DeviceBuffer::new(gpu, bytes.len()).unwrap();
    buffer.upload(bytes).unwrap();
    buffer
}

fn bytes(buffer: &DeviceBuffer) -> Vec<u8> {
    let mut bytes = vec![0; buffer.len()];
    buffer.download(0, &mut bytes).unwrap();
    bytes
}

fn numbers(gpu: &'static Gpu, x: &[f32]) -> DeviceBuffer {
    filled(gpu, &x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
}

fn values(buffer: &DeviceBuffer) -> Vec<f32> {
    bytes(buffer).chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect()
}

/// `x += y`, elementwise.
fn add(x: &mut DeviceBuffer, y: &DeviceBuffer) -> ferrotape_kernels::Result<()> {
    let shape = [y.len() / 4];
    let y = Source::Array(Array::new(y, Type::F32, 0, &shape, &[1])?);
    map::binary(BinaryOp::Add, Type::F32, Source::Output, y, x)
}

/// `x = -x`, elementwise.
fn negate(x: &mut DeviceBuffer) -> ferrotape_kernels::Result<()> {
    map::unary(UnaryOp::Neg, Type::F32, Source::Output, x)
}
