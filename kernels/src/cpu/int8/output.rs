//! What a product is asked for, and the checks of it.

use super::{Code, Zero};
use crate::error::{Result, require};

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

/// What an [`Output`] is, but for its place.
#[derive(Debug, Clone, Copy)]
pub enum Ending<'a> {
    /// [`Output::I32`].
    I32,
    /// [`Output::I64`].
    I64,
    /// [`Output::F32`].
    F32 {
        /// Its factors.
        scale: &'a [f32],
        /// One factor a row; of a convolution one an image. `None`: 1.
        row_scale: Option<&'a [f32]>,
        /// Added to each row, one element a column.
        bias: Option<&'a [f32]>,
        /// Negative numbers become 0.
        relu: bool,
    },
    /// [`Output::U8`], [`Output::I8`].
    Codes {
        /// i8, else u8.
        signed: bool,
        /// Its factors, finite.
        multiplier: &'a [f32],
        /// Its zero point.
        zero: i32,
        /// Codes below the zero point become the zero point.
        relu: bool,
    },
}

/// A product as it is checked before anything is computed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes<'a> {
    /// Of the result.
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Rows that share what is given for a row.
    pub(crate) group: usize,
    /// Elements from row to row, and in all.
    pub(crate) stride: usize,
    pub(crate) len: usize,
    /// How many products a sum has.
    pub(crate) k: usize,
    /// The activations' zero points and codes.
    pub(crate) zero: Zero<'a>,
    pub(crate) range: [i32; 2],
    /// The weights'.
    pub(crate) weight_zero: Option<Zero<'a>>,
    pub(crate) weight_range: [i32; 2],
    pub(crate) bias: Option<&'a [i32]>,
}

impl Sizes<'_> {
    /// Checks lengths and values; true if sums may leave i32.
    pub(crate) fn check(&self, ending: &Ending<'_>) -> Result<bool> {
        let &Sizes { rows, columns, stride, k, bias, .. } = self;
        require(rows <= 1 || stride >= columns, "int8: rows of the result overlap")?;
        let needed = match rows.min(columns) {
            0 => Some(0),
            _ => (rows - 1).checked_mul(stride).and_then(|start| start.checked_add(columns)),
        };
        require(needed.is_some_and(|len| len <= self.len), "int8: the result is too short")?;
        let fits = |len: usize| len == 1 || len == columns;
        require(bias.is_none_or(|bias| bias.len() == columns), "int8: wrong length of the bias")?;
        let groups = rows / self.group;
        let reach = self.zero.reach(groups, self.range)?;
        // Without a zero point it is 0, for i8 and for u8.
        let zero = self.weight_zero.unwrap_or(Zero::All(0));
        let weight_reach = zero.reach(columns, self.weight_range)?;
        let bias_reach = bias.unwrap_or(&[]).iter().map(|b| i64::from(*b).abs()).max().unwrap_or(0);
        // Reaches are at most 255, k at most 2^23.
        let wide = reach * weight_reach * k as i64 + bias_reach > i64::from(i32::MAX);
        match *ending {
            Ending::I32 => {
                require(!wide, "int8: k is beyond the exact range of i32 sums; ask for i64")?;
            }
            Ending::I64 => (),
            Ending::F32 { scale, row_scale, bias, .. } => {
                require(fits(scale.len()), "int8: wrong number of scales")?;
                let right = row_scale.is_none_or(|scales| scales.len() == groups);
                require(right, "int8: wrong number of scales of rows")?;
                let right = bias.is_none_or(|bias| bias.len() == columns);
                require(right, "int8: wrong length of the bias")?;
            }
            Ending::Codes { signed, multiplier, zero, relu } => {
                Requantize::new(signed, zero, relu)?;
                let right = fits(multiplier.len()) && multiplier.iter().all(|x| x.is_finite());
                require(right, "int8: multipliers must be finite, one or one a column")?;
            }
        }
        Ok(wide)
    }
}

/// `1.5 * 2^23`: a number of at most 2^22 added to it is rounded to an integer, half to even, in the low bits.
pub(super) const ROUNDER: f32 = 12_582_912.0;

/// Bounds relative to the zero point, and the zero point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requantize {
    pub(crate) low: f32,
    pub(crate) high: f32,
    pub(crate) zero: i32,
}

impl Requantize {
    /// To codes of i8 or u8.
    pub(crate) fn new(signed: bool, zero: i32, relu: bool) -> Result<Self> {
        let [low, high] = if signed { i8::RANGE } else { u8::RANGE };
        require((low..=high).contains(&zero), "int8: a zero point is no code")?;
        let low = if relu { 0 } else { low - zero };
        Ok(Requantize { low: low as f32, high: (high - zero) as f32, zero })
    }

    /// `round_half_even(clamp(x, low, high)) + zero`; NaN gives the lowest code.
    #[inline(always)]
    pub(super) fn code(self, x: f32) -> i32 {
        let x = if x > self.low { x } else { self.low };
        let x = if x < self.high { x } else { self.high };
        (x + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits()) as i32 + self.zero
    }
}
