//! Recurrent layers.

use ferrotape_kernels::cpu::sequence::RecurrentCell;

use super::{Metas, like, require_dtype, require_float, require_rank};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Meta, SequenceOp};
use crate::shape::Dims;

/// Sizes read off the operands.
struct Sizes {
    steps: usize,
    batch: usize,
    hidden: usize,
    output: usize,
}

/// The sizes: `gates * hidden` and the output's from `w_hh`, the others from a `[steps, batch, ..]` tensor.
fn sizes(op: &'static str, settings: &SequenceOp, data: &Meta, w_hh: &Meta) -> Result<Sizes> {
    require_float(op, data.dtype)?;
    require_rank(op, "the sequence", data, 3)?;
    require_rank(op, "w_hh", w_hh, 2)?;
    if settings.projection && settings.cell != RecurrentCell::Lstm {
        return Err(Error::argument(op, "only an LSTM has a projection"));
    }
    let gates = settings.cell.gates();
    let (rows, output) = (w_hh.shape[0], w_hh.shape[1]);
    let (steps, batch, hidden) = (data.shape[0], data.shape[1], rows / gates);
    let whole = rows.is_multiple_of(gates) && (settings.projection || hidden == output);
    if steps == 0 || hidden == 0 || output == 0 || !whole {
        let message = format!(
            "{:?} and w_hh {:?}: at least one step, and w_hh [{gates} * hidden, output] expected",
            data.shape, w_hh.shape
        );
        return Err(Error::shape(op, message));
    }
    Ok(Sizes { steps, batch, hidden, output })
}

fn product(op: &'static str, a: usize, b: usize) -> Result<usize> {
    a.checked_mul(b).ok_or_else(|| Error::shape(op, format!("{a} x {b} is too large")))
}

fn expect(op: &'static str, what: &str, meta: &Meta, shape: &[usize]) -> Result<()> {
    if meta.shape[..] == *shape {
        return Ok(());
    }
    Err(Error::shape(op, format!("{what} of shape {:?}: {shape:?} expected", meta.shape)))
}

fn check_lengths(op: &'static str, lengths: &Meta, batch: usize) -> Result<()> {
    require_dtype(op, lengths.dtype, DType::I64)?;
    expect(op, "lengths", lengths, &[batch])
}

/// y, saved, h_n, c_n (LSTM).
pub(super) fn forward(op: &'static str, settings: &SequenceOp, inputs: &[Meta]) -> Result<Metas> {
    let at = settings.places();
    let (x, w_hh) = (&inputs[0], &inputs[at.w_hh]);
    let Sizes { steps, batch, hidden, output } = sizes(op, settings, x, w_hh)?;
    let gates = w_hh.shape[0];
    if let Some(h0) = at.h0 {
        expect(op, "h0", &inputs[h0], &[batch, output])?;
    }
    expect(op, "w_ih", &inputs[at.w_ih], &[gates, x.shape[2]])?;
    if let Some(c0) = at.c0 {
        expect(op, "c0", &inputs[c0], &[batch, hidden])?;
    }
    if let Some(first) = at.biases {
        expect(op, "b_ih", &inputs[first], &[gates])?;
        expect(op, "b_hh", &inputs[first + 1], &[gates])?;
    }
    if let Some(w_hr) = at.w_hr {
        expect(op, "w_hr", &inputs[w_hr], &[output, hidden])?;
    }
    if let Some(lengths) = at.lengths {
        check_lengths(op, &inputs[lengths], batch)?;
    }
    let saved = product(op, settings.cell.saved(settings.projection), hidden)?;
    let meta = |shape: &[usize]| like(x, Dims::from_slice(shape));
    let mut metas = Metas::with_capacity(4);
    metas.extend([&[steps, batch, output][..], &[steps, batch, saved], &[batch, output]].map(meta));
    if settings.cell == RecurrentCell::Lstm {
        metas.push(meta(&[batch, hidden]));
    }
    Ok(metas)
}

/// The gates' gradient, states before (lengths), the gradients of h0 and of c0 (LSTM; both of a state), of the hidden gates (GRU), of the states
/// (projection).
pub(super) fn backward(op: &'static str, settings: &SequenceOp, inputs: &[Meta]) -> Result<Metas> {
    let lstm = settings.cell == RecurrentCell::Lstm;
    let mut next = inputs.iter();
    let mut take = || next.next().ok_or_else(|| Error::argument(op, "an operand is missing"));
    let h0 = if settings.state { Some(take()?) } else { None };
    let c0 = if settings.state && lstm { Some(take()?) } else { None };
    let w_hh = take()?;
    let w_hr = if settings.projection { Some(take()?) } else { None };
    let (y, saved, grad, dh) = (take()?, take()?, take()?, take()?);
    let dc = if lstm { Some(take()?) } else { None };
    let Sizes { steps, batch, hidden, output } = sizes(op, settings, y, w_hh)?;
    let width = product(op, settings.cell.saved(settings.projection), hidden)?;
    expect(op, "y", y, &[steps, batch, output])?;
    expect(op, "what was saved", saved, &[steps, batch, width])?;
    expect(op, "the gradient of y", grad, &y.shape)?;
    if let Some(h0) = h0 {
        expect(op, "h0", h0, &[batch, output])?;
    }
    expect(op, "the gradient of h_n", dh, &[batch, output])?;
    for c in [c0, dc].into_iter().flatten() {
        expect(op, "a cell state", c, &[batch, hidden])?;
    }
    if let Some(w_hr) = w_hr {
        expect(op, "w_hr", w_hr, &[output, hidden])?;
    }
    if settings.lengths {
        check_lengths(op, take()?, batch)?;
    }
    let meta = |shape: &[usize]| like(y, Dims::from_slice(shape));
    let gates = [steps, batch, w_hh.shape[0]];
    let mut metas = Metas::with_capacity(4);
    metas.push(meta(&gates));
    if settings.lengths {
        metas.push(y.clone());
    }
    metas.extend(h0.cloned());
    metas.extend(c0.cloned());
    if settings.cell == RecurrentCell::Gru {
        metas.push(meta(&gates));
    }
    if settings.projection {
        metas.push(y.clone());
    }
    Ok(metas)
}
