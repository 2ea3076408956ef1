//! The integration tests, one binary: one module a topic.

mod gradcheck;
mod tape;
mod tidy;
mod trajectories;
