//! int8 networks: calibration, training with quantization, integer layers, files.
//!
//! After training: [`Calibration`] watches the network on examples and makes a [`Quantized`] one of it, which runs integer kernels.
//! [`QuantConfig`] says what becomes codes and how: a [`RangeObserver`] sees the values of a tensor and says a range by one of the
//! [`RangeMethod`]s; a [`Scheme`] makes an [`Encoding`](ferrotape_tensor::Encoding) of it. A code stands for `(code - zero_point) * scale`.
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
//! let q = Scheme::ACTIVATION.encoding(low, high)?;
//! assert!(q.scale > 0.02 && q.scale < 0.04);
//! # Ok(()) }
//! ```

mod calibrate;
mod config;
mod file;
mod held;
mod histogram;
mod layer;
mod model;
mod plan;
mod qat;
mod range;
mod recurrent;
mod report;
mod run;
mod scheme;
mod tensors;
mod trace;
mod weights;

pub use calibrate::{Calibration, calibrate};
pub use config::{QuantConfig, QuantMode};
pub use model::Quantized;
pub use qat::{Qat, QatRange};
pub use range::{RangeMethod, RangeObserver};
pub use report::{LayerReport, QuantReport};
pub use scheme::{Mapping, Scheme};
pub use tensors::Tensors;
