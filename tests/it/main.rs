//! The integration tests: one binary, one file a topic.
// clippy.toml allows these in tests, but not in the functions that tests call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod checkpoint;
mod child;
mod cnn;
mod display;
mod gradcheck;
mod layers;
mod loader;
mod memory;
mod modules;
mod no_panic;
mod norms;
mod operators;
mod opinfo;
mod ownership;
mod safetensors;
mod same_bits;
mod tape;
mod tidy;
mod trajectories;
mod wrong_calls;
