//! The integration tests: one binary, one file a topic.

mod display;
mod gradcheck;
mod no_panic;
mod operators;
mod opinfo;
mod safetensors;
mod tape;
mod tidy;
mod trajectories;
mod wrong_calls;
