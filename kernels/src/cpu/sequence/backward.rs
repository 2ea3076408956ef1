//! The backward pass through time.

use super::product::{Add, Chunks, Packed, ROWS, Room};
use super::{Active, RecurrentCell, SequenceShape, bytes, gru, lstm, packed, rnn, rows};
use crate::buffer::Buffer;
use crate::cpu::gemm::{Epilogue, gemm};
use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::{Result, require};

/// Operands and results of [`backward`], all contiguous; the same as [`Forward`](super::Forward)'s where they have its names.
#[derive(Debug)]
pub struct Backward<'a, T> {
    /// `[batch, output]`
    pub h0: &'a [T],
    /// `[batch, hidden]` for an LSTM, else empty
    pub c0: &'a [T],
    /// `[gates * hidden, output]`
    pub w_hh: &'a [T],
    /// `[output, hidden]` if projected, else empty
    pub w_hr: &'a [T],
    /// Steps of each row
    pub lengths: Option<&'a [i64]>,
    /// The forward pass's result
    pub y: &'a [T],
    /// What it saved
    pub saved: &'a [T],
    /// The gradient of y, or empty, as 0, for cells with gates and without a projection; what lies beyond a row's length is not read
    pub grad: &'a [T],
    /// Result `[steps, batch, gates * hidden]`: the gradient of the gates' sums; 0 beyond a row's length
    pub gates: &'a mut [T],
    /// Result `[steps, batch, output]`: the state that each step started from; 0 beyond a row's length
    pub before: &'a mut [T],
    /// `[batch, output]`: in: the gradient of the last state, out: of h0
    pub dh: &'a mut [T],
    /// `[batch, hidden]` for an LSTM: in: the gradient of the last cell state, out: of c0; else empty
    pub dc: &'a mut [T],
    /// Result as `gates` for a GRU: of the recurrent product's, else empty
    pub hidden_gates: &'a mut [T],
    /// Result `[steps, batch, output]` if projected: the gradient of each step's state; else empty
    pub states: &'a mut [T],
}

/// From the last step to the first: the state's gradient is `direct + W_hh^T gates` (R2's order), `direct` being what passes a
/// GRU's gate z by, else 0, and then the next step's `grad_y + dh`. The gradients of weights, biases and x are products and sums of
/// the results over all steps.
///
/// # Errors
/// As [`forward`](super::forward).
pub fn backward<T: Float>(shape: &SequenceShape, b: Backward<'_, T>) -> Result<()> {
    shape.check(b.lengths)?;
    b.check(shape)?;
    let SequenceShape { steps, batch, hidden, output, .. } = *shape;
    if batch == 0 {
        return Ok(());
    }
    let (gates, width) = (shape.gates(), shape.saved());
    let Backward { h0, y, saved, lengths, .. } = b;
    for t in 0..steps {
        starts(shape, t, [h0, y], lengths, &mut b.before[t * batch * output..][..batch * output]);
    }
    let mut projection = Buffer::new(if shape.projected { bytes::<T>(batch * hidden) } else { 0 })?;
    let projection = projection.as_mut_slice::<T>();
    let pack = || Packed::by_columns(b.w_hh, gates, output);
    let weights = packed::suits(shape).then(pack).transpose()?;
    for t in shape.order().rev() {
        let active = Active { lengths, t };
        let at = |size: usize| t * batch * size..(t + 1) * batch * size;
        let mut grad = b.grad.get(at(output)).unwrap_or_default();
        if shape.projected {
            let states = &mut b.states[at(output)];
            add_state(active, output, grad, b.dh, states);
            let (a, w) = (rows(states, 0, output), rows(b.w_hr, 0, hidden));
            gemm([batch, output, hidden], a, w, Epilogue::default(), projection, hidden)?;
            grad = projection;
        }
        let (cells, cells_stride) = match (shape.cell, shape.before(t)) {
            (RecurrentCell::Lstm, Some(before)) => {
                (&saved[before * batch * width + 4 * hidden..], width)
            }
            _ => (b.c0, hidden),
        };
        let hidden_gates = match shape.cell {
            RecurrentCell::Gru => &mut b.hidden_gates[at(gates)],
            _ => &mut [],
        };
        let step = Step {
            shape,
            active,
            y: &y[at(output)],
            saved: &saved[at(width)],
            grad,
            states: &b.before[at(output)],
            cells,
            cells_stride,
            gates: &mut b.gates[at(gates)],
            hidden_gates,
            dh: if shape.projected { &mut [] } else { &mut *b.dh },
            dc: b.dc,
        };
        step.run();
        let all = if shape.cell == RecurrentCell::Gru { &*b.hidden_gates } else { &*b.gates };
        if let Some(weights) = &weights {
            add_product(weights, batch, &all[at(gates)], b.dh);
            continue;
        }
        let (a, w) = (rows(&all[at(gates)], 0, gates), rows(b.w_hh, 0, output));
        let epilogue = Epilogue { accumulate: true, ..Epilogue::default() };
        gemm([batch, gates, output], a, w, epilogue, b.dh, output)?;
    }
    Ok(())
}

/// `to += a w` for `batch` rows.
fn add_product<T: Float>(w: &Packed<T>, batch: usize, a: &[T], to: &mut [T]) {
    let columns = to.len() / batch;
    let chunks = Chunks::new(batch, ROWS);
    let to = Shared::new(to);
    parallel::run(w.panels * chunks.pieces, (batch * w.k * columns) as u64 / 50, &|index| {
        let (panel, piece) = (index / chunks.pieces, index % chunks.pieces);
        for rows in chunks.of(piece) {
            let mut sums = const { Room::new() };
            let sums = w.sums(panel, rows.len(), &a[rows.start * w.k..], w.k, &mut sums);
            let column = panel * w.width;
            let (width, stride) = (w.width, columns);
            let to = to.as_ptr().wrapping_add(rows.start * columns + column);
            let columns = width.min(columns - column);
            T::dispatch(Add { sums, width, rows: rows.len(), columns, to, stride });
        }
    });
}

/// The states that step `t` started from.
fn starts<T: Float>(
    shape: &SequenceShape,
    t: usize,
    [h0, y]: [&[T]; 2],
    lengths: Option<&[i64]>,
    to: &mut [T],
) {
    let (output, whole) = (shape.output, shape.batch * shape.output);
    let before = shape.before(t);
    if lengths.is_none() {
        to.copy_from_slice(before.map_or(h0, |before| &y[before * whole..][..whole]));
        return;
    }
    for (row, to) in to.chunks_exact_mut(output).enumerate() {
        let place = row * output..(row + 1) * output;
        let takes_part = |t| Active { lengths, t }.row(row);
        match before.filter(|&before| takes_part(before)) {
            _ if !takes_part(t) => to.fill(T::ZERO),
            Some(before) => to.copy_from_slice(&y[before * whole..][place]),
            None => to.copy_from_slice(&h0[place]),
        }
    }
}

/// `states = grad + dh`, and 0 is left in `dh`; rows that take no part give 0 and keep theirs.
fn add_state<T: Float>(
    active: Active<'_>,
    output: usize,
    grad: &[T],
    dh: &mut [T],
    states: &mut [T],
) {
    let rows = grad.chunks_exact(output).zip(dh.chunks_exact_mut(output));
    for (row, ((grad, dh), state)) in rows.zip(states.chunks_exact_mut(output)).enumerate() {
        if !active.row(row) {
            state.fill(T::ZERO);
            continue;
        }
        for ((grad, dh), state) in grad.iter().zip(dh).zip(state) {
            *state = *grad + *dh;
            *dh = T::ZERO;
        }
    }
}

impl<T> Backward<'_, T> {
    fn check(&self, s: &SequenceShape) -> Result<()> {
        let (gates, rows) = (s.gates(), s.steps * s.batch);
        let only = |on: bool, len: usize| if on { len } else { 0 };
        let cells = only(s.cell == RecurrentCell::Lstm, s.batch * s.hidden);
        let projection = if s.projected { s.output.checked_mul(s.hidden) } else { Some(0) };
        let output = rows * s.output;
        require(self.h0.len() == s.batch * s.output, "sequence: length of h0")?;
        require(self.dh.len() == self.h0.len(), "sequence: length of dh")?;
        require(self.c0.len() == cells && self.dc.len() == cells, "sequence: lengths of cells")?;
        require(gates.checked_mul(s.output) == Some(self.w_hh.len()), "sequence: length of w_hh")?;
        require(projection == Some(self.w_hr.len()), "sequence: length of w_hr")?;
        let none = self.grad.is_empty() && s.cell.gates() > 1 && !s.projected;
        require(self.y.len() == output, "sequence: length of y")?;
        require(none || self.grad.len() == output, "sequence: length of its gradient")?;
        require(self.saved.len() == rows * s.saved(), "sequence: length of what was saved")?;
        require(self.gates.len() == rows * gates, "sequence: length of the gates")?;
        require(self.before.len() == output, "sequence: length of the states before")?;
        let hidden_gates = only(s.cell == RecurrentCell::Gru, rows * gates);
        require(self.hidden_gates.len() == hidden_gates, "sequence: length of hidden gates")?;
        require(self.states.len() == only(s.projected, output), "sequence: length of states")
    }
}

/// The pass over the gates of one step.
struct Step<'a, T> {
    shape: &'a SequenceShape,
    active: Active<'a>,
    y: &'a [T],
    saved: &'a [T],
    grad: &'a [T],
    /// The states before.
    states: &'a [T],
    /// The cell states before, `cells_stride` apart.
    cells: &'a [T],
    cells_stride: usize,
    gates: &'a mut [T],
    hidden_gates: &'a mut [T],
    dh: &'a mut [T],
    dc: &'a mut [T],
}

impl<T: Float> Step<'_, T> {
    fn run(self) {
        let Step { shape, active, y, saved, grad, states, cells, cells_stride, .. } = self;
        let hidden = shape.hidden;
        let (size, width) = (shape.gates(), shape.saved());
        let [gates, hidden_gates, dh, dc] =
            [self.gates, self.hidden_gates, self.dh, self.dc].map(|slice| Shared::new(slice));
        shape.pieces(&|first, count| {
            // SAFETY: pieces are disjoint rows; an empty slice gives empty parts.
            let (gates, hidden_gates, dh, dc) = unsafe {
                (
                    gates.part(first * size, count * size),
                    hidden_gates.part(first * size, count * size),
                    dh.part(first * hidden, count * hidden),
                    dc.part(first * hidden, count * hidden),
                )
            };
            let grad = grad.get(first * hidden..(first + count) * hidden).unwrap_or_default();
            let saved = &saved[first * width..][..count * width];
            match shape.cell {
                RecurrentCell::Lstm => T::dispatch(lstm::Backward {
                    hidden,
                    width,
                    first,
                    count,
                    active,
                    saved,
                    before: &cells[first * cells_stride..],
                    before_stride: cells_stride,
                    grad,
                    dh,
                    dc,
                    gates,
                }),
                RecurrentCell::Gru => {
                    let before = &states[first * hidden..][..count * hidden];
                    T::dispatch(gru::Backward {
                        hidden,
                        first,
                        count,
                        active,
                        saved,
                        before,
                        grad,
                        dh,
                        gates,
                        hidden_gates,
                    });
                }
                RecurrentCell::RnnTanh | RecurrentCell::RnnRelu => {
                    let relu = shape.cell == RecurrentCell::RnnRelu;
                    let y = &y[first * hidden..][..count * hidden];
                    T::dispatch(rnn::Backward {
                        hidden,
                        relu,
                        first,
                        count,
                        active,
                        y,
                        grad,
                        dh,
                        gates,
                    });
                }
            }
        });
    }
}
