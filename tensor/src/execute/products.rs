//! Matrix products and updates.

use ferrotape_kernels::cpu::gemm::{self, Activation, Bias, Epilogue, Matrix};
use ferrotape_kernels::cpu::map::{self, Source};
use ferrotape_kernels::cpu::reduce::{self, ReduceOp};
use ferrotape_kernels::cpu::{copy, linear_weight as few_inputs, optimize};
use ferrotape_kernels::elementwise::UnaryOp;
use ferrotape_kernels::{Float, Integer, Pod};
use smallvec::SmallVec;

use super::{Dense, Input, Output, float_type, integer_type, sized_type, tensor, told, view};
use crate::error::{Error, Result};
use crate::op::{LinearActivation, Op, OptimizeOp};
use crate::tensor::Tensor;

pub(super) fn execute(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    if let (Op::Matmul, false) = (op, out.meta.dtype.is_float()) {
        return integer_type!(op, out.meta.dtype, T => matmul_integers::<T>(op, inputs, out));
    }
    float_type!(op, out.meta.dtype, T => match op {
        Op::Matmul => matmul::<T>(op, inputs, out),
        _ => linear::<T>(op, inputs, out),
    })
}

fn matrix<T: Pod>(tensor: &Tensor) -> Matrix<'_, T> {
    let layout = tensor.layout();
    let rank = layout.shape().len();
    Matrix {
        data: tensor.0.storage.buffer().as_slice(),
        offset: layout.offset(),
        row_stride: layout.strides()[rank - 2],
        column_stride: layout.strides()[rank - 1],
    }
}

fn matmul<T: Float>(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let (a, b) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let shape = &out.meta.shape;
    let rank = shape.len();
    let sizes = [shape[rank - 2], a.shape()[a.rank() - 1], shape[rank - 1]];
    let c = out.buffer.as_mut_slice::<T>();
    let batch = &shape[..rank - 2];
    if batch.iter().product::<usize>() == 1 {
        return told(op, gemm::gemm(sizes, matrix(a), matrix(b), Epilogue::default(), c, sizes[2]));
    }
    let (a_offsets, b_offsets) = (batch_offsets(a, batch), batch_offsets(b, batch));
    let epilogue = Epilogue::default();
    told(op, gemm::gemm_batched(sizes, matrix(a), &a_offsets, matrix(b), &b_offsets, epilogue, c))
}

fn matmul_integers<T: Integer>(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let (a, b) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let shape = &out.meta.shape;
    let rank = shape.len();
    let sizes = [shape[rank - 2], a.shape()[a.rank() - 1], shape[rank - 1]];
    let batch = &shape[..rank - 2];
    let (a_offsets, b_offsets) = (batch_offsets(a, batch), batch_offsets(b, batch));
    let offsets: Vec<[isize; 2]> =
        a_offsets.iter().zip(&b_offsets).map(|(&a, &b)| [a, b]).collect();
    let c = out.buffer.as_mut_slice::<T>();
    told(op, gemm::multiply_integers(sizes, matrix(a), matrix(b), &offsets, c))
}

/// Offset of every matrix of a batch, in row-major order of the broadcast batch dims.
pub(super) fn batch_offsets(tensor: &Tensor, batch: &[usize]) -> SmallVec<[isize; 32]> {
    let layout = tensor.layout();
    let own = tensor.rank() - 2;
    let lead = batch.len() - own;
    let mut offsets: SmallVec<[isize; 32]> = SmallVec::from_elem(0, 1);
    for (d, &size) in batch.iter().enumerate() {
        let stride = match d.checked_sub(lead) {
            Some(i) if layout.shape()[i] == size => layout.strides()[i],
            _ => 0,
        };
        offsets = offsets
            .iter()
            .flat_map(|&offset| (0..size as isize).map(move |i| offset + i * stride))
            .collect();
    }
    offsets
}

/// `x w^T + b` as one product over all rows.
fn linear<T: Float>(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let Op::Linear(activation) = op else {
        return Err(Error::argument(op.name(), "is not linear"));
    };
    let (x, w) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let [outputs, features] = [w.shape()[0], w.shape()[1]];
    let dense;
    let a = if x.rank() == 2 {
        matrix(x)
    } else {
        dense = Dense::<T>::new(op, x)?;
        Matrix { data: dense.slice(), offset: 0, row_stride: features as isize, column_stride: 1 }
    };
    let b = matrix::<T>(w);
    let b = Matrix { row_stride: b.column_stride, column_stride: b.row_stride, ..b };
    let bias = match inputs.len() {
        3 => Some(Dense::<T>::new(op, tensor(op, inputs, 2)?)?),
        _ => None,
    };
    let epilogue = Epilogue {
        accumulate: false,
        bias: bias.as_ref().map_or(Bias::None, |bias| Bias::Column(bias.slice())),
        activation: match activation {
            LinearActivation::Relu => Activation::Relu,
            _ => Activation::None,
        },
    };
    let rows = out.meta.shape[..out.meta.shape.len() - 1].iter().product();
    let c = out.buffer.as_mut_slice();
    told(op, gemm::gemm([rows, features, outputs], a, b, epilogue, c, outputs))?;
    let then = match activation {
        LinearActivation::None | LinearActivation::Relu => return Ok(()),
        LinearActivation::Sigmoid => UnaryOp::Sigmoid,
        LinearActivation::Tanh => UnaryOp::Tanh,
    };
    told(op, map::unary(then, Source::Output, c))
}

/// The product over all rows, and their sum.
pub(super) fn linear_weight(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Result<()> {
    let (g, x) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let [weight, bias] = outputs else {
        return Err(Error::argument(op.name(), "gives a weight and a bias"));
    };
    let sizes = [g.shape()[1], g.shape()[0], x.shape()[1]];
    float_type!(op, g.dtype(), T => {
        let a = matrix::<T>(g);
        let a = Matrix { row_stride: a.column_stride, column_stride: a.row_stride, ..a };
        let c = weight.buffer.as_mut_slice();
        let few = [sizes[1], sizes[0], sizes[2]];
        if few_inputs::suits(few) && g.is_contiguous() && x.is_contiguous() {
            let (g, x) = (Dense::<T>::new(op, g)?, Dense::<T>::new(op, x)?);
            let bias = bias.buffer.as_mut_slice();
            return told(op, few_inputs::linear_weight(few, g.slice(), x.slice(), c, bias));
        }
        told(op, gemm::gemm(sizes, a, matrix(x), Epilogue::default(), c, sizes[2]))?;
        let rows = view::<T>(op, g)?;
        told(op, reduce::reduce(ReduceOp::Sum, rows, &[true, false], bias.buffer.as_mut_slice()))
    })
}

/// Updates: `outputs` are the changed operands, `inputs[0]` what they follow.
pub(super) fn update(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    let source = tensor(op, inputs, 0)?;
    match op {
        Op::Assign => sized_type!(outputs[0].meta.dtype, T => {
            told(op, copy::copy(view::<T>(op, source)?, outputs[0].buffer.as_mut_slice()))
        }),
        Op::Optimize(step) => float_type!(op, outputs[0].meta.dtype, T => {
            let source = Dense::<T>::new(op, source)?;
            optimizer_step::<T>(op, step, source.slice(), outputs)
        }),
        _ => Err(Error::argument(op.name(), "is not an update")),
    }
}

fn optimizer_step<T: Float>(
    op: &Op,
    step: &OptimizeOp,
    follow: &[T],
    outputs: &mut [Output<'_>],
) -> Result<()> {
    let Some((weight, state)) = outputs.split_first_mut() else {
        return Err(Error::argument(op.name(), "changes nothing"));
    };
    let weight = weight.buffer.as_mut_slice::<T>();
    let mut state = state.iter_mut().map(|output| output.buffer.as_mut_slice::<T>());
    // The states that are there, in their order; an absent one is an empty slice.
    let mut next = |used: bool| {
        if used { state.next().unwrap_or_default() } else { Default::default() }
    };
    let result = match step {
        OptimizeOp::Sgd(step) => optimize::sgd(step, weight, follow, next(step.momentum != 0.0)),
        OptimizeOp::Adam(step) => {
            let (first, second, largest) = (next(true), next(true), next(step.amsgrad));
            optimize::adam(step, weight, follow, first, second, largest)
        }
        OptimizeOp::RmsProp(step) => {
            let (square, mean) = (next(true), next(step.centered));
            optimize::rms_prop(step, weight, follow, square, mean, next(step.momentum != 0.0))
        }
        OptimizeOp::Adagrad(step) => optimize::adagrad(step, weight, follow, next(true)),
    };
    told(op, result)
}
