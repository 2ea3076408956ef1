//! The integration tests: one file per topic.
// Helpers of tests are test code too, which clippy can't see.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod checkpoint;
mod child;
mod cnn;
mod layers;
mod loader;
mod memory;
mod modules;
mod ownership;
mod same_bits;
mod tidy;
