//! The integration tests, one binary: one module a topic.

mod tidy;
mod trajectories;
