//! Recurrent layers.

use ferrotape_kernels::cpu::sequence::RecurrentCell;
use ferrotape_kernels::cuda::sequence::{self, Backward, Forward};
use ferrotape_kernels::cuda::{Array, DeviceBuffer};

use super::dense::Dense;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::execute::sequence::{shape_of, told};
use crate::execute::{Input, Output, tensor};
use crate::op::{Op, SequenceOp};
use crate::tensor::Tensor;

pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    match (op, outputs.first()?.meta.dtype) {
        (Op::Sequence(settings), DType::F32 | DType::F64) => {
            Some(forward(op, settings, inputs, outputs))
        }
        (Op::SequenceBackward(settings), DType::F32 | DType::F64) => {
            Some(backward(op, settings, inputs, outputs))
        }
        _ => None,
    }
}

/// An operand's elements one after the other.
struct Operand<'a> {
    dense: Dense<'a>,
    len: [usize; 1],
}

impl<'a> Operand<'a> {
    fn new(op: &Op, tensor: &'a Tensor) -> Result<Self> {
        Ok(Operand { dense: Dense::new(op, tensor)?, len: [tensor.len()] })
    }

    fn array(&self, op: &Op) -> Result<Array<'_>> {
        self.dense.array(op, &self.len, &[1])
    }
}

/// The GPU's memory of the results, in their order.
fn results<'a>(outputs: &'a mut [Output<'_>]) -> impl Iterator<Item = &'a mut DeviceBuffer> {
    outputs.iter_mut().filter_map(|output| output.cuda.as_deref_mut())
}

fn absent(op: &Op) -> Error {
    Error::argument(op.name(), "a result is missing")
}

fn forward(
    op: &Op,
    settings: &SequenceOp,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Result<()> {
    let at = settings.places();
    let shape =
        shape_of(settings, tensor(op, inputs, 0)?.shape(), tensor(op, inputs, at.w_hh)?.shape());
    let operands: Vec<Operand<'_>> = (0..at.count)
        .map(|place| Operand::new(op, tensor(op, inputs, place)?))
        .collect::<Result<_>>()?;
    let given = |place: usize| match operands.get(place) {
        Some(operand) => operand.array(op),
        None => Err(Error::argument(op.name(), "an operand is missing")),
    };
    let maybe = |place: Option<usize>| place.map(given).transpose();
    let biases = match at.biases {
        Some(first) => Some([given(first)?, given(first + 1)?]),
        None => None,
    };
    let mut results = results(outputs);
    let mut result = || results.next().ok_or_else(|| absent(op));
    let operands = Forward {
        x: given(0)?,
        h0: maybe(at.h0)?,
        c0: maybe(at.c0)?,
        w_ih: given(at.w_ih)?,
        w_hh: given(at.w_hh)?,
        biases,
        w_hr: maybe(at.w_hr)?,
        lengths: maybe(at.lengths)?,
        y: result()?,
        saved: result()?,
        h: result()?,
        c: if shape.cell == RecurrentCell::Lstm { Some(result()?) } else { None },
    };
    told(op, sequence::forward(&shape, operands))
}

fn backward(
    op: &Op,
    settings: &SequenceOp,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Result<()> {
    let lstm = settings.cell == RecurrentCell::Lstm;
    let operands: Vec<(Operand<'_>, &[usize])> = (0..inputs.len())
        .map(|place| {
            let tensor = tensor(op, inputs, place)?;
            Ok((Operand::new(op, tensor)?, tensor.shape()))
        })
        .collect::<Result<_>>()?;
    let mut next = operands.iter();
    let mut take = || match next.next() {
        Some((operand, shape)) => Ok((operand.array(op)?, *shape)),
        None => Err(Error::argument(op.name(), "an operand is missing")),
    };
    let h0 = if settings.state { Some(take()?.0) } else { None };
    let c0 = if settings.state && lstm { Some(take()?.0) } else { None };
    let (w_hh, weight) = take()?;
    let w_hr = if settings.projection { Some(take()?.0) } else { None };
    let (y, data) = take()?;
    let (saved, grad, last) = (take()?.0, take()?.0, take()?.0);
    let last_cell = if lstm { Some(take()?.0) } else { None };
    let lengths = if settings.lengths { Some(take()?.0) } else { None };

    let mut results = results(outputs);
    let mut result =
        |on: bool| if on { results.next().map(Some).ok_or_else(|| absent(op)) } else { Ok(None) };
    let gates = result(true)?.ok_or_else(|| absent(op))?;
    let operands = Backward {
        h0,
        c0,
        w_hh,
        w_hr,
        lengths,
        y,
        saved,
        grad,
        last,
        last_cell,
        gates,
        before: result(settings.lengths)?,
        dh: result(settings.state)?,
        dc: result(settings.state && lstm)?,
        hidden_gates: result(settings.cell == RecurrentCell::Gru)?,
        states: result(settings.projection)?,
    };
    told(op, sequence::backward(&shape_of(settings, data, weight), operands))
}
