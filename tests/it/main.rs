//! The integration tests, one binary: one module a topic.

// clippy.toml lets tests unwrap; their helpers are part of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gradcheck;
mod tape;
mod tidy;
mod trajectories;
