//! From a range of values to scale and zero point.

use ferrotape_tensor::{DType, Encoding, Error, Result};

/// How a range is mapped to codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mapping {
    /// The range, widened to hold 0, over all 256 codes: `scale = (max - min) / 255`, `zero_point = round(lowest - min / scale)`, held to the
    /// codes. PyTorch's `per_tensor_affine` and `per_channel_affine`.
    Affine,
    /// 0 is the middle code (0 of i8, 128 of u8): `scale = max|x| / 127.5`. PyTorch's `per_tensor_symmetric`; the largest value itself is
    /// cut by half a step.
    Symmetric,
    /// `scale = max|x| / 127`: nothing is cut, the code -128 is not used by values in the range.
    SymmetricNarrow,
}

/// How values become codes of 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scheme {
    /// From range to scale and zero point.
    pub mapping: Mapping,
    /// [`DType::I8`] or [`DType::U8`].
    pub dtype: DType,
}

/// The smallest scale: PyTorch's, f32's epsilon. A range of nothing but 0 gets it.
const SMALLEST: f32 = f32::EPSILON;

impl Scheme {
    /// Activations as most int8 kernels want them: affine, u8.
    pub const ACTIVATION: Scheme = Scheme { mapping: Mapping::Affine, dtype: DType::U8 };
    /// Weights likewise: symmetric, i8.
    pub const WEIGHT: Scheme = Scheme { mapping: Mapping::SymmetricNarrow, dtype: DType::I8 };

    /// The lowest and the highest code.
    ///
    /// # Errors
    /// Codes of another type than i8 and u8.
    pub fn codes(&self) -> Result<(i32, i32)> {
        match self.dtype {
            DType::I8 => Ok((-128, 127)),
            DType::U8 => Ok((0, 255)),
            other => Err(Error::other(format!("quantize: codes of {other}: i8 or u8 expected"))),
        }
    }

    /// Scale and zero point for values in `min..=max`, computed in f32 as PyTorch's observers do. A range on one side of 0 is widened to
    /// hold it, so that 0 is exact; a constant is a range from 0 to it; nothing but 0 gets the smallest scale, f32's epsilon.
    ///
    /// # Errors
    /// A bound that is NaN or infinite, `min > max`, a range beyond f32, codes of another type than i8 and u8.
    ///
    /// ```
    /// use ferrotape_nn::quant::Scheme;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let q = Scheme::ACTIVATION.encoding(-1.0, 3.0)?;
    /// assert_eq!((q.scale, q.zero_point), (4.0 / 255.0, 64));
    /// assert_eq!(Scheme::WEIGHT.encoding(-0.5, 2.54)?.scale, 0.02);
    /// # Ok(()) }
    /// ```
    pub fn encoding(&self, min: f64, max: f64) -> Result<Encoding> {
        self.encoding_within(self.codes()?, min, max)
    }

    /// [`encoding`](Self::encoding) with other codes than all of the type.
    pub(super) fn encoding_within(
        &self,
        (lowest, highest): (i32, i32),
        min: f64,
        max: f64,
    ) -> Result<Encoding> {
        let (low, high) = (min.min(0.0) as f32, max.max(0.0) as f32);
        let fits = min.is_finite() && max.is_finite() && min <= max;
        if !(fits && low.is_finite() && high.is_finite() && (high - low).is_finite()) {
            return Err(Error::other(format!("quantize: no codes for values from {min} to {max}")));
        }
        let largest = high.max(-low);
        let (steps, middle) = ((highest - lowest) as f32, (lowest + highest + 1) / 2);
        let (scale, zero_point) = match self.mapping {
            Mapping::Affine => {
                let scale = ((high - low) / steps).max(SMALLEST);
                let zero = lowest as f32 - (low / scale).round_ties_even();
                (scale, zero.clamp(lowest as f32, highest as f32) as i32)
            }
            Mapping::Symmetric => (largest / (steps / 2.0), middle),
            Mapping::SymmetricNarrow => (largest / ((steps - 1.0) / 2.0), middle),
        };
        Encoding::new(scale.max(SMALLEST), zero_point, self.dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scheme: Scheme, min: f64, max: f64) -> (f32, i32) {
        let encoding = scheme.encoding(min, max).unwrap();
        (encoding.scale, encoding.zero_point)
    }

    #[test]
    fn degenerate_ranges_are_defined() {
        let affine = Scheme::ACTIVATION;
        assert_eq!(of(affine, 0.0, 0.0), (SMALLEST, 0));
        let i8 = Scheme { dtype: DType::I8, ..affine };
        assert_eq!(i8.encoding(0.0, 0.0).unwrap().zero_point, -128);
        assert_eq!(of(i8, -2.0, -2.0), (2.0 / 255.0, 127));
        assert_eq!(of(i8, 5.1, 5.1), (0.02, -128));
        let symmetric = Scheme { mapping: Mapping::Symmetric, ..affine };
        assert_eq!(of(symmetric, -2.55, 1.0), (0.02, 128));
        for (min, max) in
            [(f64::NAN, 1.0), (0.0, f64::INFINITY), (2.0, 1.0), (-3e38, 3e38), (0., 1e39)]
        {
            let error = affine.encoding(min, max).unwrap_err().to_string();
            assert!(error.contains("no codes for values from"), "{error}");
        }
        let error = Scheme { dtype: DType::F32, ..affine }.encoding(0.0, 1.0).unwrap_err();
        assert!(error.to_string().contains("codes of f32"), "{error}");
    }
}
