//! The integration tests, one binary: one module a topic.

mod display;
mod no_panic;
mod operators;
mod opinfo;
mod opinfo_ops;
mod safetensors;
mod tidy;
mod wrong_calls;
