//! Executes an operation into memory it is given. The one place that matches operation, device and element type.

mod cuda;
mod halves;
mod images;
mod int8;
mod losses;
mod maps;
mod norms;
mod products;
mod quantize;
mod rows;
mod scans;
mod sequence;

use ferrotape_kernels::buffer::Buffer;
use ferrotape_kernels::cuda::DeviceBuffer;
use ferrotape_kernels::strided::View;
use ferrotape_kernels::{Pod, cpu::copy};

use crate::error::{Error, Result};
use crate::layout::BroadcastStrides;
use crate::op::{Int8Op, Meta, Op};
use crate::tensor::Tensor;

/// An operand of an execution.
pub(crate) enum Input<'a> {
    /// A tensor.
    Tensor(&'a Tensor),
    /// The output's own old contents (its buffer was taken over).
    Output,
}

/// A destination: a buffer of exactly the meta's size, contiguous.
pub(crate) struct Output<'a> {
    /// Empty where the memory is a GPU's.
    pub(crate) buffer: &'a mut Buffer,
    pub(crate) cuda: Option<&'a mut DeviceBuffer>,
    pub(crate) meta: &'a Meta,
}

/// Runs `$body` with `$t` as the Rust type of a float `$dtype`.
macro_rules! float_type {
    ($op:expr, $dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            crate::dtype::DType::F32 => {
                type $t = f32;
                $body
            }
            crate::dtype::DType::F64 => {
                type $t = f64;
                $body
            }
            other => Err(crate::error::Error::unsupported($op.name(), other)),
        }
    };
}

/// Runs `$body` with `$t` as the stored Rust type of an integer `$dtype`.
macro_rules! integer_type {
    ($op:expr, $dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            crate::dtype::DType::I64 => {
                type $t = i64;
                $body
            }
            crate::dtype::DType::I32 => {
                type $t = i32;
                $body
            }
            crate::dtype::DType::I8 => {
                type $t = i8;
                $body
            }
            crate::dtype::DType::U8 | crate::dtype::DType::Bool => {
                type $t = u8;
                $body
            }
            other => Err(crate::error::Error::unsupported($op.name(), other)),
        }
    };
}

/// Runs `$body` with `$t` as the stored Rust type of any `$dtype`. For what only moves elements take [`sized_type`], which is less code.
macro_rules! any_type {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            crate::dtype::DType::F32 => {
                type $t = f32;
                $body
            }
            crate::dtype::DType::F64 => {
                type $t = f64;
                $body
            }
            crate::dtype::DType::F16 => {
                type $t = crate::dtype::f16;
                $body
            }
            crate::dtype::DType::BF16 => {
                type $t = crate::dtype::bf16;
                $body
            }
            crate::dtype::DType::I64 => {
                type $t = i64;
                $body
            }
            crate::dtype::DType::I32 => {
                type $t = i32;
                $body
            }
            crate::dtype::DType::I8 => {
                type $t = i8;
                $body
            }
            crate::dtype::DType::U8 | crate::dtype::DType::Bool => {
                type $t = u8;
                $body
            }
        }
    };
}

/// Runs `$body` with `$t` as the unsigned integer of the size of `$dtype`: for what only moves elements.
macro_rules! sized_type {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype.size() {
            1 => {
                type $t = u8;
                $body
            }
            2 => {
                type $t = u16;
                $body
            }
            4 => {
                type $t = u32;
                $body
            }
            _ => {
                type $t = u64;
                $body
            }
        }
    };
}
pub(crate) use cuda::{brought, host_fallbacks};
pub(crate) use {any_type, float_type, integer_type, sized_type};

/// Runs the kernel of `op`.
pub(crate) fn execute(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    let mut plain = !matches!(op, Op::Transfer(_));
    for output in outputs.iter() {
        let wide = !output.meta.dtype.is_half();
        plain &= wide && output.cuda.is_none() && !output.meta.shape.contains(&0);
    }
    for input in inputs {
        plain &= !matches!(input, Input::Tensor(tensor) if tensor.dtype().is_half());
    }
    if plain {
        return dispatch(op, inputs, outputs);
    }
    // Beside a size 0 others may be larger than any loop could count. Indices are checked all the same.
    let checks_values = matches!(op, Op::Index(_) | Op::CrossEntropy | Op::CrossEntropyInput);
    if !checks_values && outputs.iter().all(|output| output.meta.shape.contains(&0)) {
        return Ok(());
    }
    if let Op::Transfer(_) = op {
        return cuda::transfer(op, tensor(op, inputs, 0)?, outputs);
    }
    if outputs.iter().any(|output| output.cuda.is_some()) {
        return cuda::execute(op, inputs, outputs);
    }
    if halves::computes(op, inputs, outputs) {
        return halves::execute(op, inputs, outputs);
    }
    dispatch(op, inputs, outputs)
}

/// One kernel call (2-byte floats were widened).
fn dispatch(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    if outputs.is_empty() {
        return Err(Error::argument(op.name(), "has nowhere to write"));
    }
    match op {
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::Logical(_)
        | Op::Select
        | Op::Cast(_) => maps::execute(op, inputs, &mut outputs[0]),
        Op::Copy | Op::Concat(_) | Op::Index(_) | Op::Random(..) => {
            rows::execute(op, inputs, &mut outputs[0])
        }
        Op::Reduce(..) | Op::ArgReduce(..) | Op::Softmax { .. } => {
            rows::execute(op, inputs, &mut outputs[0])
        }
        Op::Scan(..) | Op::Sort { .. } | Op::SearchSorted { .. } | Op::Svd => {
            scans::execute(op, inputs, outputs)
        }
        Op::CrossEntropy | Op::CrossEntropyInput => rows::execute(op, inputs, &mut outputs[0]),
        Op::LayerNorm { .. } | Op::LayerNormInput { .. } | Op::LayerNormWeight { .. } => {
            norms::execute(op, inputs, outputs)
        }
        Op::Matmul | Op::Linear(_) => products::execute(op, inputs, &mut outputs[0]),
        Op::LinearWeight => products::linear_weight(op, inputs, outputs),
        Op::MseLoss | Op::MseLossInput => losses::execute(op, inputs, &mut outputs[0]),
        Op::Assign | Op::Optimize(_) => products::update(op, inputs, outputs),
        Op::Conv2d(..) | Op::Conv2dInput(..) | Op::Conv2dWeight(..) => {
            images::execute(op, inputs, outputs)
        }
        Op::MaxPool2d(_) | Op::MaxPool2dScatter(..) | Op::MaxPool2dGather(_) => {
            images::execute(op, inputs, outputs)
        }
        Op::MaxPool2dIndex(_) | Op::AvgPool2d(..) | Op::AvgPool2dInput(..) => {
            images::execute(op, inputs, outputs)
        }
        Op::Conv2dMaxPool2d(..) | Op::Conv2dMaxPool2dInput(..) | Op::Conv2dMaxPool2dWeight(..) => {
            images::execute(op, inputs, outputs)
        }
        Op::Quantize(_)
        | Op::Dequantize { .. }
        | Op::FakeQuantize(_)
        | Op::MatmulInteger
        | Op::ConvInteger(_) => quantize::execute(op, inputs, &mut outputs[0]),
        Op::Sequence(_) | Op::SequenceBackward(_) => sequence::execute(op, inputs, outputs),
        Op::Int8(Int8Op::Recurrent(layer)) => int8::recurrent(op, layer, inputs, outputs),
        Op::Int8(call) => int8::execute(op, call, inputs, &mut outputs[0]),
        Op::Transfer(_) | Op::View(_) | Op::StopGradient | Op::Custom(_) => {
            Err(Error::argument(op.name(), "is not executed into memory"))
        }
    }
}

/// The kernels' result in this crate's words.
#[inline]
pub(crate) fn told(op: &Op, result: ferrotape_kernels::Result<()>) -> Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(words(op, error)),
    }
}

#[cold]
fn words(op: &Op, error: ferrotape_kernels::Error) -> Error {
    let dim = if let Op::Index(index) = op { index.dim() } else { None };
    let error = Error::from_kernel(op.name(), error);
    if let Some(dim) = dim { error.of_dim(dim) } else { error }
}

/// Operand `place` as a tensor.
pub(crate) fn tensor<'a>(op: &Op, inputs: &'a [Input<'_>], place: usize) -> Result<&'a Tensor> {
    match inputs.get(place) {
        Some(Input::Tensor(tensor)) => Ok(tensor),
        _ => Err(Error::argument(op.name(), "an operand is missing")),
    }
}

/// A tensor's elements as the kernels see them.
pub(crate) fn view<'a, T: Pod>(op: &Op, tensor: &'a Tensor) -> Result<View<'a, T>> {
    let layout = tensor.layout();
    let data = tensor.0.storage.buffer().as_slice::<T>();
    View::new(data, layout.offset(), layout.shape(), layout.strides())
        .map_err(|error| Error::from_kernel(op.name(), error))
}

/// The strides of a tensor broadcast to `shape`, to be kept while a [`broadcast_view`] lives.
pub(crate) fn broadcast_strides<'a>(tensor: &'a Tensor, shape: &[usize]) -> BroadcastStrides<'a> {
    tensor.layout().strides_in(shape)
}

/// A tensor's elements broadcast to `shape`.
pub(crate) fn broadcast_view<'a, T: Pod>(
    op: &Op,
    tensor: &'a Tensor,
    shape: &'a [usize],
    strides: &'a [isize],
) -> Result<View<'a, T>> {
    let data = tensor.0.storage.buffer().as_slice::<T>();
    View::new(data, tensor.layout().offset(), shape, strides)
        .map_err(|error| Error::from_kernel(op.name(), error))
}

/// A tensor's elements row-major: borrowed where they lie so, else copied.
pub(crate) enum Dense<'a, T> {
    Borrowed(&'a [T]),
    Copied(Buffer),
}

impl<'a, T: Pod> Dense<'a, T> {
    pub(crate) fn new(op: &Op, tensor: &'a Tensor) -> Result<Self> {
        if let Some(slice) = tensor.elements() {
            return Ok(Dense::Borrowed(slice));
        }
        let view = view::<T>(op, tensor)?;
        let bytes = tensor.len() * size_of::<T>();
        let mut buffer =
            Buffer::new(bytes).map_err(|error| Error::from_kernel(op.name(), error))?;
        told(op, copy::copy(view, buffer.as_mut_slice::<T>()))?;
        Ok(Dense::Copied(buffer))
    }

    pub(crate) fn slice(&self) -> &[T] {
        match self {
            Dense::Borrowed(slice) => slice,
            Dense::Copied(buffer) => buffer.as_slice(),
        }
    }
}
