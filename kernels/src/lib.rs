//! Kernels of ferrotape: slices, strides and pointers in, the caller's buffer out.
//!
//! This crate has never heard of a tensor. It holds all `unsafe` code of the project: vector intrinsics, foreign memory, the
//! thread team and the NVIDIA driver. Every kernel computes its sums in the order of `docs/adr/001-order-of-every-sum.md`, whatever the ISA
//! and the number of threads; [`mod@reference`] is the obviously right version that tests compare with.

pub mod buffer;
pub mod cpu;
pub mod cuda;
pub mod element;
pub mod elementwise;
mod error;
pub mod reference;
pub mod strided;

pub use element::{Float, Half, Integer, Number, Pod, bf16, f16};
pub use error::{Error, Result};
