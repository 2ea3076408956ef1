//! The settings of quantization.

use ferrotape_kernels::cpu::int8::scheme::Rule;

use crate::dtype::DType;

/// How numbers become codes.
///
/// ```
/// # use ferrotape_tensor::{DType, QuantizeOp, QuantizeRule};
/// let weights = QuantizeOp::new(DType::I8).axis(0); // one scale an output
/// assert_eq!((weights.axis, weights.rule), (Some(0), QuantizeRule::Reciprocal));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuantizeOp {
    /// The dim that has a scale, or a zero point, for each of its places; without it there is one of all.
    pub axis: Option<usize>,
    /// [`DType::I8`] or [`DType::U8`].
    pub dtype: DType,
    /// What `x / scale` is.
    pub rule: Rule,
}

impl QuantizeOp {
    /// Codes of this type, one scale of all, PyTorch's rule.
    pub fn new(dtype: DType) -> Self {
        QuantizeOp { axis: None, dtype, rule: Rule::Reciprocal }
    }

    /// One scale and zero point for each place along a dim.
    pub fn axis(mut self, axis: usize) -> Self {
        self.axis = Some(axis);
        self
    }

    /// Sets what `x / scale` is.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rule = rule;
        self
    }
}

/// What numbers would be as codes within bounds.
///
/// ```
/// # use ferrotape_tensor::FakeQuantizeOp;
/// let four_bits = FakeQuantizeOp::new(-8, 7).axis(0);
/// assert_eq!((four_bits.low, four_bits.high), (-8, 7));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FakeQuantizeOp {
    /// The dim that has a scale, or a zero point, for each of its places; without it there is one of all.
    pub axis: Option<usize>,
    /// The lowest code: PyTorch's `quant_min`.
    pub low: i32,
    /// The highest code: PyTorch's `quant_max`.
    pub high: i32,
}

impl FakeQuantizeOp {
    /// Codes `low..=high`, one scale of all.
    pub fn new(low: i32, high: i32) -> Self {
        FakeQuantizeOp { axis: None, low, high }
    }

    /// One scale and zero point for each place along a dim.
    pub fn axis(mut self, axis: usize) -> Self {
        self.axis = Some(axis);
        self
    }
}
