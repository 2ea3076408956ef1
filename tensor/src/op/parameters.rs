//! The settings that operations carry.

use ferrotape_kernels::cpu::optimize::{AdamStep, SgdStep};

use crate::shape::Dims;

/// Dims to reduce, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReduceDims {
    /// Which, in ascending order.
    pub dims: Dims,
    /// Keep them with size 1.
    pub keep: bool,
}

/// A view: the same elements under another layout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ViewOp {
    /// Another shape of the same length. The operand's layout must allow it without a copy.
    Reshape(Dims),
    /// Dims in another order: output dim `d` is input dim `order[d]`.
    Permute(Dims),
    /// Broadcast to a larger shape.
    Expand(Dims),
    /// `length` elements of one dim, from `start` on, `step` apart (negative: backwards).
    Slice {
        /// Which dim.
        dim: usize,
        /// The first element.
        start: usize,
        /// How many.
        length: usize,
        /// Distance, not 0.
        step: isize,
    },
}

impl ViewOp {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            ViewOp::Reshape(_) => "reshape",
            ViewOp::Permute(_) => "permute",
            ViewOp::Expand(_) => "expand",
            ViewOp::Slice { .. } => "slice",
        }
    }
}

/// Selection along one dim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IndexOp {
    /// `y[.., i, ..] = a[.., b[.., i, ..], ..]`
    Gather(usize),
    /// `y[.., b[.., i, ..], ..] += a[.., i, ..]`, `size` long: the adjoint of `Gather`
    ScatterAdd {
        /// Which dim.
        dim: usize,
        /// Shape of the result.
        shape: Dims,
    },
    /// `y[.., i, ..] = a[.., b[i], ..]`, b a vector
    Select(usize),
    /// `y[.., b[i], ..] += a[.., i, ..]`: the adjoint of `Select`
    Add {
        /// Which dim.
        dim: usize,
        /// Size of that dim in the result.
        size: usize,
    },
    /// Zeros of size `size` along `dim`, with `a` at the places of a slice: the adjoint of [`ViewOp::Slice`]
    Unslice {
        /// Which dim.
        dim: usize,
        /// Place of the first element.
        start: usize,
        /// Distance.
        step: isize,
        /// Size of that dim in the result.
        size: usize,
    },
}

impl IndexOp {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            IndexOp::Gather(_) => "gather",
            IndexOp::ScatterAdd { .. } => "scatter_add",
            IndexOp::Select(_) => "index_select",
            IndexOp::Add { .. } => "index_add",
            IndexOp::Unslice { .. } => "unslice",
        }
    }
}

/// A distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum RandomOp {
    /// Uniform in `[low, high)`.
    Uniform {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// Normal.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// `value` with probability `p`, else 0.
    Bernoulli {
        /// Probability.
        p: f64,
        /// What a success gives.
        value: f64,
    },
}

impl RandomOp {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            RandomOp::Uniform { .. } => "uniform",
            RandomOp::Normal { .. } => "normal",
            RandomOp::Bernoulli { .. } => "bernoulli",
        }
    }
}

/// A one-pass optimizer step.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum OptimizeOp {
    /// SGD; state: the velocity, if there is momentum.
    Sgd(SgdStep),
    /// Adam or AdamW; state: first and second moment.
    Adam(AdamStep),
}
