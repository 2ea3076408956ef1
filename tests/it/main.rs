//! The integration tests: one binary, one file a topic.
// clippy.toml allows these in tests, but not in the functions that tests call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod as_pytorch;
mod checkpoint;
mod child;
mod cnn;
mod cuda;
mod display;
mod dtypes;
mod fused;
mod gradcheck;
mod halves;
mod indexing;
mod layers;
mod listeners;
mod loader;
mod memory;
mod models;
mod modules;
mod no_panic;
mod nonfinite;
mod norms;
mod onnx;
mod operators;
mod opinfo;
mod optim;
mod ownership;
mod parts;
mod programs;
mod quant;
mod quantize;
mod readers;
mod recurrent;
mod safetensors;
mod same_bits;
mod save;
mod schedules;
mod strides;
mod tape;
mod tidy;
mod trajectories;
mod windows;
mod wrong_calls;

/// The package's folder: where these tests were packed for another machine, not where they were built.
fn root() -> std::path::PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into()).into()
}
