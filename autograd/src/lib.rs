//! Automatic differentiation for ferrotape: a tape with an owner.
//!
//! The tape is an [observer](ferrotape_tensor::Observer) of tensor operations. It is born in [`Tape::record`], filled while
//! its closure runs, and eaten by [`Tape::gradient`], which frees every tensor it kept as it passes it. Derivative
//! [rules] are formulas over tensor operations, so an outer tape records the inner one's backward pass: any order.
//!
//! ```
//! use ferrotape_autograd::Tape;
//! use ferrotape_tensor::Tensor;
//! # fn main() -> ferrotape_tensor::Result<()> {
//! let x = Tensor::from([1f64, 2., 3.]);
//! let (y, tape) = Tape::record(|tape| {
//!     tape.watch(&x);
//!     x.square()?.sum(..)
//! })?;
//! assert_eq!(tape.gradient(&y, &[&x])?[0].to_vec::<f64>()?, [2., 4., 6.]);
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod backward;
mod check;
mod checkpoint;
mod custom;
pub mod rules;
mod tape;

pub use check::{GradCheck, gradcheck, gradgradcheck};
pub use checkpoint::checkpoint;
pub use custom::{Function, custom};
pub use ferrotape_tensor::no_tape;
pub use tape::Tape;
