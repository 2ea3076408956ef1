//! Towards int8: which range of values codes of 8 bits must cover, and the scale and zero point that follow.
//!
//! [`RangeObserver`] sees the values of one tensor over many batches and says a range, by one of the [`RangeMethod`]s; a [`Scheme`] makes
//! [`QParams`] of it. A code stands for `(code - zero_point) * scale`.
//!
//! ```
//! use ferrotape_nn::quant::{RangeMethod, RangeObserver, Scheme};
//! use ferrotape_tensor::{DType, Generator};
//! # fn main() -> ferrotape_tensor::Result<()> {
//! let mut seen = RangeObserver::new(RangeMethod::Mse)?;
//! let mut rng = Generator::new(0);
//! for _ in 0..10 {
//!     seen.observe(&rng.normal([1000], 0.0, 1.0, DType::F32)?)?;
//! }
//! let (low, high) = seen.range(&Scheme::ACTIVATION)?;
//! let (min, max) = seen.extremes().unwrap();
//! assert!(low >= min && high <= max && high - low < max - min); // what is rare is cut, and the rest gets finer steps
//! let q = Scheme::ACTIVATION.params(low, high)?;
//! assert!(q.scale > 0.02 && q.scale < 0.04);
//! # Ok(()) }
//! ```

mod histogram;
mod range;
mod scheme;

pub use range::{RangeMethod, RangeObserver};
pub use scheme::{Mapping, QParams, Scheme};
