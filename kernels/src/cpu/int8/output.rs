//! What a product is asked for.

/// Where sums go and as what. `scale` and `multiplier` have one element, or one a column; results are row-major.
///
/// With `sum` the exact integer `sum of (a - a_zero) * (w - w_zero) + bias`, `float` its nearest f32 (ties to even), all of it
/// f32 operations, one after the other:
///
/// - `F32`: `float * (row_scale * scale) + bias` (dynamic quantization: `row_scale = a_scale`, `scale = w_scale`; without row
///   scales `float * scale + bias`), with `relu` then `max(_, 0)`;
/// - `U8`, `I8`: `round_half_even(clamp(float * multiplier, lo - zero, hi - zero)) + zero` for the type's codes `lo..=hi` (static
///   quantization: `multiplier = a_scale * w_scale / out_scale`), with `relu` for `lo = zero`.
#[derive(Debug)]
pub enum Output<'a> {
    /// The sums. An error if they may not fit (R7).
    I32(&'a mut [i32]),
    /// The sums, always exact.
    I64(&'a mut [i64]),
    /// Dequantized.
    F32 {
        /// The result.
        out: &'a mut [f32],
        /// Its factors.
        scale: &'a [f32],
        /// One factor a row; of a convolution one an image. `None`: 1.
        row_scale: Option<&'a [f32]>,
        /// Added to each row, one element a column.
        bias: Option<&'a [f32]>,
        /// Negative numbers become 0.
        relu: bool,
    },
    /// Requantized.
    U8 {
        /// The result.
        out: &'a mut [u8],
        /// Its factors, finite.
        multiplier: &'a [f32],
        /// Its zero point.
        zero: i32,
        /// Codes below the zero point become the zero point.
        relu: bool,
    },
    /// Requantized.
    I8 {
        /// The result.
        out: &'a mut [i8],
        /// Its factors, finite.
        multiplier: &'a [f32],
        /// Its zero point.
        zero: i32,
        /// Codes below the zero point become the zero point.
        relu: bool,
    },
}

impl Output<'_> {
    /// How many elements it has.
    pub(super) fn len(&self) -> usize {
        match self {
            Output::I32(out) => out.len(),
            Output::I64(out) => out.len(),
            Output::F32 { out, .. } => out.len(),
            Output::U8 { out, .. } => out.len(),
            Output::I8 { out, .. } => out.len(),
        }
    }
}
