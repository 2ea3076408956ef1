//! Operations as values: one closed enum, grouped, and what each gives for what it takes.

mod int8;
mod metas;
mod parameters;
mod quantize;
mod sequence;
mod windows;

use std::any::Any;
use std::rc::Rc;

use ferrotape_kernels::cpu::gemm::Activation;
use ferrotape_kernels::cpu::pool::Divisor;
use ferrotape_kernels::cpu::random::Philox;
use ferrotape_kernels::cpu::reduce::{ArgOp, ReduceOp};
use ferrotape_kernels::cpu::scan::ScanOp;
use ferrotape_kernels::elementwise::{BinaryOp, CompareOp, LogicalOp, UnaryOp};

pub use int8::{
    Encoding, Int8Call, Int8Dynamic, Int8Op, Int8Recurrent, Int8RecurrentWeights, Int8Weights,
};
pub(crate) use int8::{PackedThere, PackedWeights, PlacedWeights};
pub use metas::output_metas;
pub(crate) use metas::{Metas, has_integer_form, usual};
pub use parameters::{
    Diagonal, IndexOp, LinearActivation, OptimizeOp, RandomOp, ReduceDims, ViewOp,
};
pub use quantize::{FakeQuantizeOp, QuantizeOp};
pub use sequence::{SequenceOp, SequencePlaces};
pub use windows::{
    AvgPool1dOp, AvgPool2dOp, AvgPoolOp, Conv1dOp, Conv2dOp, Conv3dOp, ConvOp, ConvTranspose1dOp,
    ConvTranspose2dOp, ConvTransposeOp, Pool1dOp, Pool2dOp, PoolOp, WindowsOp,
};

use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::shape::Dims;
use crate::tensor::Tensor;

/// Shape, type and device of a tensor.
#[derive(Debug, PartialEq, Eq)]
pub struct Meta {
    /// Sizes, outermost first.
    pub shape: Dims,
    /// Type of the elements.
    pub dtype: DType,
    /// Where it lives.
    pub device: Device,
}

// SmallVec's own clone goes element by element; this one is a copy of memory, and every operation makes several.
impl Clone for Meta {
    fn clone(&self) -> Self {
        Meta { shape: Dims::from_slice(&self.shape), ..*self }
    }
}

/// An operation: everything about it but its operands. Operands are named `a, b, c`, results `y, z`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Op {
    /// `y = f(a)`
    Unary(UnaryOp),
    /// `y = f(a, b)`, broadcast
    Binary(BinaryOp),
    /// `y: bool = a ? b`, broadcast
    Compare(CompareOp),
    /// `y: bool` of two booleans, broadcast
    Logical(LogicalOp),
    /// `y = a ? b : c`, broadcast; a: bool
    Select,
    /// `y` = the sum, product, maximum or minimum over dims
    Reduce(ReduceOp, ReduceDims),
    /// `y: i64` = index of an extreme along one dim
    ArgReduce(ArgOp, ReduceDims),
    /// `y` = running sums and the like along a dim; of extremes also `z: i64` = where they stand
    Scan(ScanOp, usize),
    /// `y` = a sorted along a dim, `z: i64` = where along it the elements stood
    Sort {
        /// Which dim.
        dim: usize,
        /// The largest first.
        descending: bool,
    },
    /// `y: i64` = how many elements of a row of a, sorted, are smaller than each element of that row of b
    SearchSorted {
        /// Or equal.
        right: bool,
    },
    /// `a = y diag(z) w` for each matrix `[.., m, n]` of a: singular vectors and values
    Svd,
    /// `y = a b` for `[.., m, k] x [.., k, n]`, batch dims broadcast
    Matmul,
    /// `y = activation(a b^T + c)` for `[.., in] x [out, in] + [out]`; c may be absent
    Linear(LinearActivation),
    /// The gradients of `Linear` in its weight and its bias: a: like y, `[rows, out]`, b: the input, `[rows, in]`; `y = a^T b`, `z` = the sum
    /// of the rows of a
    LinearWeight,
    /// The same elements seen otherwise; shares the storage
    View(ViewOp),
    /// The same elements, row-major without gaps
    Copy,
    /// All operands one after the other along a dim
    Concat(usize),
    /// Selection by position or by an index tensor
    Index(IndexOp),
    /// `y = activation(conv2d(a, b) + c)`, a: NCHW, b: OIHW, c: `[O]`, may be absent
    Conv2d(Conv2dOp, Activation),
    /// The adjoint of `Conv2d` in its input: a: like its output, b: OIHW
    Conv2dInput(Conv2dOp, [usize; 2]),
    /// The adjoint of `Conv2d` in its weight: a: NCHW, b: like its output
    Conv2dWeight(Conv2dOp, [usize; 2]),
    /// `y`, `z` = `MaxPool2d` of `Conv2d` of a: NCHW, b: OIHW, c: `[O]`, may be absent
    Conv2dMaxPool2d(Conv2dOp, Pool2dOp),
    /// The adjoint of `Conv2dMaxPool2d` in its input, of height and width: a: like y, b: OIHW, c: the taps
    Conv2dMaxPool2dInput(Conv2dOp, Pool2dOp, [usize; 2]),
    /// The gradients of `Conv2dMaxPool2d` in its weight, of height and width, and its bias: a: NCHW, b: like y, c: the taps
    Conv2dMaxPool2dWeight(Conv2dOp, Pool2dOp, [usize; 2]),
    /// `y` = maximum of each window of a: NCHW, `z: u8` = which tap won; at most 256 taps, not dilated
    MaxPool2d(Pool2dOp),
    /// The adjoint of `MaxPool2d`: a: like y, b: the taps
    MaxPool2dScatter(Pool2dOp, [usize; 2]),
    /// The adjoint of that: a: NCHW, b: the taps
    MaxPool2dGather(Pool2dOp),
    /// `y: i64` = row * width + column of the maximum of each window of a: NCHW
    MaxPool2dIndex(WindowsOp),
    /// `y` = the sum of each window of a: NCHW, divided
    AvgPool2d(WindowsOp, Divisor),
    /// The adjoint of `AvgPool2d`: a: like y
    AvgPool2dInput(WindowsOp, Divisor, [usize; 2]),
    /// `y` = codes of a; b: scale, c: zero point (integers), each of all or `[channels]`
    Quantize(QuantizeOp),
    /// `y = (a - c) b`, a: codes; b: scale, whose type y has, c: zero point, each of all or `[channels]`
    Dequantize {
        /// The dim of the channels.
        axis: Option<usize>,
    },
    /// `y` = what a's codes stand for; b: scale, c: zero point, each of all or `[channels]`
    FakeQuantize(FakeQuantizeOp),
    /// `y: i32 = (a - c) (b - d)` for codes `[.., m, k] x [.., k, n]`, batch dims broadcast; zero points c: `[.., m, 1]`, d: `[.., 1, n]`,
    /// broadcast, may be absent, the last first
    MatmulInteger,
    /// `y: i32` = the convolution of `a - c` and `b - d`, codes a: NCHW, b: OIHW; zero points c: a scalar, d: a scalar or `[O]`, may be absent,
    /// the last first; padding is c
    ConvInteger(Conv2dOp),
    /// Softmax along a dim, or its logarithm
    Softmax {
        /// Which dim.
        dim: usize,
        /// The logarithm of it.
        log: bool,
    },
    /// `y` = the rows of a along the last dim, normalised, times b, plus c (each may be absent, the last first); `z: [.., 2]` = mean and
    /// `1 / sqrt(var + eps)` of each row
    LayerNorm {
        /// Added to the variance.
        eps: f64,
    },
    /// The gradient of `LayerNorm` in its input: a: like y, b: the input, c: its z, d: its weight, may be absent
    LayerNormInput {
        /// That of the `LayerNorm`.
        eps: f64,
    },
    /// The gradient of `LayerNorm` in its weight: a: like y, b: the input, c: its z
    LayerNormWeight {
        /// That of the `LayerNorm`.
        eps: f64,
    },
    /// `y` = the mean of `(a - b)^2`, a scalar; one shape, no broadcasting
    MseLoss,
    /// The gradient of `MseLoss` in a: `y = 2 (a - b) c / n` for n elements; c: a scalar
    MseLossInput,
    /// `y[i] = -log softmax(a)[i, b[i]]`, a: `[rows, classes]`, b: i64
    CrossEntropy,
    /// `y = (softmax(a) - one_hot(b)) * c`, c: `[rows]` or a scalar
    CrossEntropyInput,
    /// A recurrent layer over a whole sequence, one direction: LSTM, GRU, RNN
    Sequence(SequenceOp),
    /// The backward pass of `Sequence` through time, up to the products over all steps
    SequenceBackward(SequenceOp),
    /// On codes of 8 bits, with packed weights
    Int8(Int8Op),
    /// Random numbers, from nothing
    Random(RandomOp, Philox, Meta),
    /// The elements as another type
    Cast(DType),
    /// To another device.
    Transfer(crate::device::Device),
    /// `a := b`; a is changed
    Assign,
    /// An optimizer step in one pass: a: parameter (changed), b: what to follow, c, d: state (changed)
    Optimize(OptimizeOp),
    /// The same value, watched by no one
    StopGradient,
    /// Someone else's operation
    Custom(Rc<dyn CustomOp>),
}

/// An operation from outside this crate.
pub trait CustomOp: std::fmt::Debug + Any {
    /// Its name in messages.
    fn name(&self) -> &'static str;
    /// Shape, type and device of the outputs; the check of the inputs.
    ///
    /// # Errors
    /// Inputs that don't fit.
    fn output_metas(&self, inputs: &[Meta]) -> Result<Vec<Meta>>;
    /// Computes the outputs. Runs where no tape records.
    ///
    /// # Errors
    /// Whatever goes wrong.
    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>>;
    /// For those who know more about it.
    fn as_any(&self) -> &dyn Any;
}

impl Op {
    /// The name in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Unary(op) => op.name(),
            Op::Binary(op) => op.name(),
            Op::Compare(op) => op.name(),
            Op::Logical(op) => op.name(),
            Op::Select => "where",
            Op::Reduce(ReduceOp::Sum, _) => "sum",
            Op::Reduce(ReduceOp::Prod, _) => "prod",
            Op::Reduce(ReduceOp::Max, _) => "max",
            Op::Reduce(_, _) => "min",
            Op::ArgReduce(ArgOp::Max, _) => "argmax",
            Op::ArgReduce(ArgOp::Min, _) => "argmin",
            Op::Scan(ScanOp::Sum, _) => "cumsum",
            Op::Scan(ScanOp::Prod, _) => "cumprod",
            Op::Scan(ScanOp::Max, _) => "cummax",
            Op::Scan(ScanOp::Min, _) => "cummin",
            Op::Scan(_, _) => "linear_scan",
            Op::Sort { .. } => "sort",
            Op::SearchSorted { .. } => "searchsorted",
            Op::Svd => "svd",
            Op::Matmul => "matmul",
            Op::Linear(_) => "linear",
            Op::LinearWeight => "linear_weight",
            Op::View(view) => view.name(),
            Op::Copy => "contiguous",
            Op::Concat(_) => "cat",
            Op::Index(index) => index.name(),
            Op::Conv2d(..) => "conv2d",
            Op::Conv2dInput(..) => "conv2d_input",
            Op::Conv2dWeight(..) => "conv2d_weight",
            Op::Conv2dMaxPool2d(..) => "conv2d_max_pool2d",
            Op::Conv2dMaxPool2dInput(..) => "conv2d_max_pool2d_input",
            Op::Conv2dMaxPool2dWeight(..) => "conv2d_max_pool2d_weight",
            Op::MaxPool2d(_) => "max_pool2d",
            Op::MaxPool2dScatter(..) => "max_pool2d_scatter",
            Op::MaxPool2dGather(_) => "max_pool2d_gather",
            Op::MaxPool2dIndex(_) => "max_pool2d_index",
            Op::AvgPool2d(..) => "avg_pool2d",
            Op::AvgPool2dInput(..) => "avg_pool2d_input",
            Op::Quantize(_) => "quantize",
            Op::Dequantize { .. } => "dequantize",
            Op::FakeQuantize(_) => "fake_quantize",
            Op::MatmulInteger => "matmul_integer",
            Op::ConvInteger(_) => "conv_integer",
            Op::Softmax { log: false, .. } => "softmax",
            Op::Softmax { log: true, .. } => "log_softmax",
            Op::LayerNorm { .. } => "layer_norm",
            Op::LayerNormInput { .. } => "layer_norm_input",
            Op::LayerNormWeight { .. } => "layer_norm_weight",
            Op::MseLoss => "mse_loss",
            Op::MseLossInput => "mse_loss_input",
            Op::CrossEntropy => "cross_entropy",
            Op::CrossEntropyInput => "cross_entropy_input",
            Op::Sequence(_) => "sequence",
            Op::SequenceBackward(_) => "sequence_backward",
            Op::Int8(int8) => int8.name(),
            Op::Random(random, ..) => random.name(),
            Op::Cast(_) => "cast",
            Op::Transfer(_) => "to_device",
            Op::Assign => "assign",
            Op::Optimize(step) => step.name(),
            Op::StopGradient => "detach",
            Op::Custom(custom) => custom.name(),
        }
    }

    /// The operands that the output may take over the memory of, first choice first.
    pub(crate) fn reusable_operands(&self) -> &'static [usize] {
        match self {
            Op::Unary(_) => &[0],
            Op::Binary(_) => &[0, 1],
            _ => &[],
        }
    }
}
