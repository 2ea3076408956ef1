//! The exponential and the logarithm that softmax is built on.

pub(crate) use crate::cpu::math::exp;

use crate::cpu::random::transform;
use crate::element::Float;

/// `log(x)` of a sum of exponentials: at least 1, or NaN. In f64, so that f32 is rounded once.
#[inline(always)]
pub(crate) fn log<T: Float>(x: T) -> T {
    if x.is_finite() { T::from_f64(transform::log(x.to_f64())) } else { x }
}
