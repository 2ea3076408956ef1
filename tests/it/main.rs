//! The integration tests, one binary: one module a topic.
// Helpers of tests are test code too, which clippy can't see.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod checkpoint;
mod child;
mod cnn;
mod gradcheck;
mod layers;
mod loader;
mod memory;
mod modules;
mod ownership;
mod same_bits;
mod tape;
mod tidy;
mod trajectories;
