//! The settings that operations carry.

use ferrotape_kernels::cpu::conv::Conv2dShape;
use ferrotape_kernels::cpu::optimize::{AdagradStep, AdamStep, RmsPropStep, SgdStep};
use ferrotape_kernels::cpu::pool::Pool2dShape;

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

/// The settings of a 2-D convolution; `[a, b]` is height, width.
///
/// ```
/// # use ferrotape_tensor::Conv2dOp;
/// let same = Conv2dOp::default().padding([1, 1]);
/// assert_eq!(same.stride, [1, 1]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2dOp {
    /// Step of the window.
    pub stride: [usize; 2],
    /// Zeros on each side.
    pub padding: [usize; 2],
    /// Distance between taps.
    pub dilation: [usize; 2],
    /// Groups of channels that don't see each other.
    pub groups: usize,
}

impl Default for Conv2dOp {
    fn default() -> Self {
        Conv2dOp { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

impl Conv2dOp {
    /// Sets the step of the window.
    pub fn stride(mut self, stride: [usize; 2]) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the zeros on each side.
    pub fn padding(mut self, padding: [usize; 2]) -> Self {
        self.padding = padding;
        self
    }

    /// Sets the distance between taps.
    pub fn dilation(mut self, dilation: [usize; 2]) -> Self {
        self.dilation = dilation;
        self
    }

    /// Sets the number of groups.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// With the sizes of an input `[n, c, h, w]` and a weight `[o, c / groups, kh, kw]`.
    pub(crate) fn shape(&self, input: &[usize], weight: &[usize]) -> Conv2dShape {
        Conv2dShape {
            batch: input[0],
            in_channels: input[1],
            out_channels: weight[0],
            input: [input[2], input[3]],
            kernel: [weight[2], weight[3]],
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
            groups: self.groups,
        }
    }
}

/// The settings of a 2-D pooling; `[a, b]` is height, width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool2dOp {
    /// Size of the window.
    pub kernel: [usize; 2],
    /// Step of the window.
    pub stride: [usize; 2],
    /// Padding on each side, at most half the window; never wins.
    pub padding: [usize; 2],
}

impl Pool2dOp {
    /// A window of this size that moves by its own size, without padding.
    pub fn new(kernel: [usize; 2]) -> Self {
        Pool2dOp { kernel, stride: kernel, padding: [0, 0] }
    }

    /// Sets the step of the window.
    pub fn stride(mut self, stride: [usize; 2]) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the padding on each side.
    pub fn padding(mut self, padding: [usize; 2]) -> Self {
        self.padding = padding;
        self
    }

    /// With the sizes of an input `[n, c, h, w]`.
    pub(crate) fn shape(&self, planes: usize, input: [usize; 2]) -> Pool2dShape {
        Pool2dShape {
            planes,
            input,
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
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
