//! Recurrent layers.

use ferrotape_kernels::Float;
use ferrotape_kernels::cpu::sequence::{self, Backward, Forward, RecurrentCell, SequenceShape};

use super::{Dense, Input, Output, float_type, tensor};
use crate::error::{Error, Result};
use crate::op::{Op, SequenceOp};
use crate::tensor::Tensor;

pub(super) fn execute(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    float_type!(op, outputs[0].meta.dtype, T => match op {
        Op::Sequence(settings) => forward::<T>(op, settings, inputs, outputs),
        Op::SequenceBackward(settings) => backward::<T>(op, settings, inputs, outputs),
        _ => Err(Error::argument(op.name(), "is not recurrent")),
    })
}

/// The sizes, of `[steps, batch, input]` data and `[gates * hidden, output]` weights.
pub(super) fn shape_of(settings: &SequenceOp, data: &[usize], w_hh: &[usize]) -> SequenceShape {
    SequenceShape {
        cell: settings.cell,
        reverse: settings.reverse,
        steps: data[0],
        batch: data[1],
        input: data[2],
        hidden: w_hh[0] / settings.cell.gates(),
        output: w_hh[1],
        projected: settings.projection,
    }
}

/// What else the kernels ask was checked; the lengths of the rows are data.
pub(super) fn told(op: &Op, result: ferrotape_kernels::Result<()>) -> Result<()> {
    result.map_err(|error| match error {
        ferrotape_kernels::Error::Contract(message) => Error::argument(op.name(), message),
        other => Error::from_kernel(op.name(), other),
    })
}

fn forward<T: Float>(
    op: &Op,
    settings: &SequenceOp,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Result<()> {
    let at = settings.places();
    let dense = |place: usize| Dense::<T>::new(op, tensor(op, inputs, place)?);
    let maybe = |place: Option<usize>| place.map(dense).transpose();
    let shape =
        shape_of(settings, tensor(op, inputs, 0)?.shape(), tensor(op, inputs, at.w_hh)?.shape());
    let (x, h0, c0) = (dense(0)?, maybe(at.h0)?, maybe(at.c0)?);
    let (w_ih, w_hh, w_hr) = (dense(at.w_ih)?, dense(at.w_hh)?, maybe(at.w_hr)?);
    let biases = match at.biases {
        Some(first) => Some((dense(first)?, dense(first + 1)?)),
        None => None,
    };
    let lengths = match at.lengths {
        Some(place) => Some(Dense::<i64>::new(op, tensor(op, inputs, place)?)?),
        None => None,
    };
    let mut results = outputs.iter_mut().map(|output| output.buffer.as_mut_slice::<T>());
    let mut result = || results.next().unwrap_or_default();
    let (y, saved, h, c) = (result(), result(), result(), result());
    let operands = Forward {
        x: x.slice(),
        h0: h0.as_ref().map_or(&[], Dense::slice),
        c0: c0.as_ref().map_or(&[], Dense::slice),
        w_ih: w_ih.slice(),
        w_hh: w_hh.slice(),
        biases: biases.as_ref().map(|(a, b)| [a.slice(), b.slice()]),
        w_hr: w_hr.as_ref().map_or(&[], Dense::slice),
        lengths: lengths.as_ref().map(Dense::slice),
        y,
        saved,
        h,
        c,
    };
    told(op, sequence::forward(&shape, operands))
}

fn backward<T: Float>(
    op: &Op,
    settings: &SequenceOp,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Result<()> {
    let lstm = settings.cell == RecurrentCell::Lstm;
    let mut next = 0..inputs.len();
    let mut take = || tensor(op, inputs, next.next().unwrap_or(usize::MAX));
    let dense = |tensor| Dense::<T>::new(op, tensor);
    let h0 = if settings.state { Some(dense(take()?)?) } else { None };
    let c0 = if settings.state && lstm { Some(dense(take()?)?) } else { None };
    let w_hh = take()?;
    let w_hr = if settings.projection { Some(dense(take()?)?) } else { None };
    let y = take()?;
    let shape = shape_of(settings, y.shape(), w_hh.shape());
    let (w_hh, y, saved) = (dense(w_hh)?, dense(y)?, dense(take()?)?);
    let grad = take()?;
    let spared = settings.cell.gates() > 1 && !settings.projection && is_zero::<T>(grad);
    let grad = if spared { None } else { Some(dense(grad)?) };
    let last = dense(take()?)?;
    let last_cell = if lstm { Some(dense(take()?)?) } else { None };
    let lengths = if settings.lengths { Some(Dense::<i64>::new(op, take()?)?) } else { None };

    let mut results = outputs.iter_mut().map(|output| output.buffer.as_mut_slice::<T>());
    let mut result = |on: bool| if on { results.next().unwrap_or_default() } else { &mut [] };
    let (gates, before) = (result(true), result(settings.lengths));
    let (dh, dc) = (result(settings.state), result(settings.state && lstm));
    let hidden_gates = result(settings.cell == RecurrentCell::Gru);
    let states = result(settings.projection);
    let operands = Backward {
        h0: h0.as_ref().map_or(&[], Dense::slice),
        c0: c0.as_ref().map_or(&[], Dense::slice),
        w_hh: w_hh.slice(),
        w_hr: w_hr.as_ref().map_or(&[], Dense::slice),
        lengths: lengths.as_ref().map(Dense::slice),
        y: y.slice(),
        saved: saved.slice(),
        grad: grad.as_ref().map_or(&[], Dense::slice),
        last: last.slice(),
        last_cell: last_cell.as_ref().map_or(&[], Dense::slice),
        gates,
        before,
        dh,
        dc,
        hidden_gates,
        states,
    };
    told(op, sequence::backward(&shape, operands))
}

/// True of one +0 that is expanded to a shape: the gradient of a result that nobody uses.
fn is_zero<T: Float>(x: &Tensor) -> bool {
    let layout = x.layout();
    let zero = |x: &T| *x == T::ZERO && T::ONE / *x > T::ZERO;
    layout.strides().iter().all(|&stride| stride == 0)
        && x.0.storage.buffer().as_slice::<T>().get(layout.offset()).is_some_and(zero)
}
