//! The settings that operations carry.

use ferrotape_kernels::cpu::gather::ScatterOp;
use ferrotape_kernels::cpu::optimize::{AdagradStep, AdamStep, RmsPropStep, SgdStep};

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
    /// The elements where the indices of two dims differ by an offset, as a new last dim; the two dims go.
    Diagonal(Diagonal),
    /// Windows of one dim, which may overlap: that dim counts them, and a new last dim lies along them.
    Unfold {
        /// Which dim.
        dim: usize,
        /// Length of a window.
        size: usize,
        /// From window to window, not 0.
        step: usize,
    },
}

/// Which diagonal: of dims `dims`, where the second index is the first plus `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Diagonal {
    /// How far above the main diagonal (negative: below).
    pub offset: i64,
    /// Rows and columns.
    pub dims: [usize; 2],
}

impl Diagonal {
    /// The first element's row and column, and the number of elements, in a matrix of this size.
    pub(crate) fn place(&self, [rows, columns]: [usize; 2]) -> ([usize; 2], usize) {
        let shift = usize::try_from(self.offset.unsigned_abs()).unwrap_or(usize::MAX);
        let [row, column] = if self.offset < 0 { [shift, 0] } else { [0, shift] };
        let length = rows.saturating_sub(row).min(columns.saturating_sub(column));
        ([row, column], length)
    }
}

impl ViewOp {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            ViewOp::Reshape(_) => "reshape",
            ViewOp::Permute(_) => "permute",
            ViewOp::Expand(_) => "expand",
            ViewOp::Slice { .. } => "slice",
            ViewOp::Diagonal(_) => "diagonal",
            ViewOp::Unfold { .. } => "unfold",
        }
    }
}

/// What a linear layer makes of its sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinearActivation {
    /// The sums themselves.
    #[default]
    None,
    /// `max(y, 0)`
    Relu,
    /// `1 / (1 + e^-y)`
    Sigmoid,
    /// `tanh(y)`
    Tanh,
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
    /// Zeros with `a` on a diagonal of two new dims: the adjoint of [`ViewOp::Diagonal`]
    Undiagonal {
        /// Which, of the result's dims.
        diagonal: Diagonal,
        /// Sizes of these dims.
        sizes: [usize; 2],
    },
    /// The sum of windows that may overlap, in ascending order of the windows: the adjoint of [`ViewOp::Unfold`]
    Fold {
        /// Which dim counts the windows.
        dim: usize,
        /// From window to window.
        step: usize,
        /// Size of that dim in the result.
        size: usize,
    },
    /// `y = a`, and then at every `y[.., b[.., i, ..], ..]` the element `c[.., i, ..]`, combined so
    Scatter {
        /// Which dim.
        dim: usize,
        /// What an element does to the one that is there.
        how: ScatterOp,
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
            IndexOp::Undiagonal { .. } => "diag_embed",
            IndexOp::Fold { .. } => "fold",
            IndexOp::Scatter { how: ScatterOp::Last, .. } => "scatter",
            IndexOp::Scatter { .. } => "scatter_reduce",
        }
    }

    /// The dim that indices are of.
    pub(crate) fn dim(&self) -> Option<usize> {
        match self {
            IndexOp::Gather(dim) | IndexOp::Select(dim) => Some(*dim),
            IndexOp::ScatterAdd { dim, .. } | IndexOp::Add { dim, .. } => Some(*dim),
            IndexOp::Scatter { dim, .. } => Some(*dim),
            _ => None,
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
    /// Adam or AdamW; state: first and second moment, the largest second moment if amsgrad.
    Adam(AdamStep),
    /// RMSprop; state: the average of squares, the gradient's average if centered, the velocity if there is momentum.
    RmsProp(RmsPropStep),
    /// Adagrad; state: the sum of squares.
    Adagrad(AdagradStep),
}

impl OptimizeOp {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            OptimizeOp::Sgd(_) => "sgd",
            OptimizeOp::Adam(_) => "adam",
            OptimizeOp::RmsProp(_) => "rms_prop",
            OptimizeOp::Adagrad(_) => "adagrad",
        }
    }

    /// How many state tensors it has.
    pub(crate) fn states(&self) -> usize {
        match self {
            OptimizeOp::Sgd(step) => usize::from(step.momentum != 0.0),
            OptimizeOp::Adam(step) => 2 + usize::from(step.amsgrad),
            OptimizeOp::RmsProp(step) => {
                1 + usize::from(step.centered) + usize::from(step.momentum != 0.0)
            }
            OptimizeOp::Adagrad(_) => 1,
        }
    }

    /// Number of the step, for those that count.
    pub(crate) fn step(&self) -> Option<u64> {
        match self {
            OptimizeOp::Adam(step) => Some(step.step),
            OptimizeOp::Adagrad(step) => Some(step.step),
            OptimizeOp::Sgd(_) | OptimizeOp::RmsProp(_) => None,
        }
    }
}
