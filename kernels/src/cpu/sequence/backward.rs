//! The backward pass through time.

use std::ops::Range;

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
    /// `[batch, output]`, or empty: 0, and nobody asks for its gradient
    pub h0: &'a [T],
    /// `[batch, hidden]` for an LSTM, else empty; empty also if `h0` is
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
    /// `[batch, output]`: the gradient of the last state
    pub last: &'a [T],
    /// `[batch, hidden]` for an LSTM: of the last cell state, else empty
    pub last_cell: &'a [T],
    /// Result `[steps, batch, gates * hidden]`: the gradient of the gates' sums; 0 beyond a row's length
    pub gates: &'a mut [T],
    /// Result `[steps, batch, output]` if there are lengths: the state that each step started from, 0 beyond a row's length; else empty,
    /// for that is what y holds one step before, and h0
    pub before: &'a mut [T],
    /// Result `[batch, output]`: the gradient of h0; empty if that is
    pub dh: &'a mut [T],
    /// Result `[batch, hidden]`: of c0; empty if that is
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
    let SequenceShape { batch, hidden, output, .. } = *shape;
    if batch == 0 {
        return Ok(());
    }
    let gates = shape.gates();
    let Backward { h0, y, saved, lengths, .. } = b;
    if let Some(lengths) = lengths {
        for (t, to) in b.before.chunks_exact_mut(batch * output).enumerate() {
            starts(shape, t, [h0, y], lengths, to);
        }
    }
    // Room for what is no result.
    let lstm = shape.cell == RecurrentCell::Lstm;
    let [h_len, c_len] = [batch * output, if lstm { batch * hidden } else { 0 }];
    let scratch = |there: bool, len: usize| Buffer::new(bytes::<T>(if there { 0 } else { len }));
    let (mut own_dh, mut own_dc) =
        (scratch(!h0.is_empty(), h_len)?, scratch(!h0.is_empty(), c_len)?);
    let (dh, dc) = match h0 {
        [] => (own_dh.as_mut_slice(), own_dc.as_mut_slice()),
        _ => (b.dh, b.dc),
    };
    dh.copy_from_slice(b.last);
    dc.copy_from_slice(b.last_cell);
    let zeros = Buffer::zeroed(bytes::<T>(if h0.is_empty() { batch * hidden } else { 0 }))?;
    let nothing = zeros.as_slice::<T>();
    let mut projection = Buffer::new(if shape.projected { bytes::<T>(batch * hidden) } else { 0 })?;
    let projection = projection.as_mut_slice::<T>();
    let pack = || Packed::by_columns(b.w_hh, gates, output);
    let weights = packed::suits(shape).then(pack).transpose()?;
    let pass = Pass {
        shape,
        lengths,
        y,
        saved,
        before: b.before,
        h0: if h0.is_empty() { nothing } else { h0 },
        c0: if h0.is_empty() { nothing } else { b.c0 },
        wanted: !h0.is_empty(),
        gates: Shared::new(b.gates),
        hidden_gates: Shared::new(b.hidden_gates),
        dh: Shared::new(dh),
        dc: Shared::new(dc),
    };
    if let (Some(weights), Some(chunks)) = (&weights, Chunks::of_team(shape, size_of_val(b.w_hh))) {
        pass.by_rows(weights, b.grad, chunks);
        return Ok(());
    }
    for t in shape.order().rev() {
        let at = |size: usize| t * batch * size..(t + 1) * batch * size;
        let mut grad = b.grad.get(at(output)).unwrap_or_default();
        if shape.projected {
            let (states, active) = (&mut b.states[at(output)], Active { lengths, t });
            // SAFETY: nobody else has it while this thread is between two passes.
            add_state(active, output, grad, unsafe { pass.dh.part(0, batch * output) }, states);
            let (a, w) = (rows(states, 0, output), rows(b.w_hr, 0, hidden));
            gemm([batch, output, hidden], a, w, Epilogue::default(), projection, hidden)?;
            grad = projection;
        }
        shape.pieces(&|first, count| {
            let grad = grad.get(first * hidden..(first + count) * hidden).unwrap_or_default();
            pass.gates(t, first..first + count, grad);
        });
        if !pass.goes_on(t) {
            continue;
        }
        if let Some(weights) = &weights {
            pass.product(weights, t);
            continue;
        }
        // SAFETY: as above.
        let dh = unsafe { pass.dh.part(0, batch * output) };
        let (a, w) = (rows(pass.of_product(t, 0..batch), 0, gates), rows(b.w_hh, 0, output));
        let epilogue = Epilogue { accumulate: true, ..Epilogue::default() };
        gemm([batch, gates, output], a, w, epilogue, dh, output)?;
    }
    Ok(())
}

/// The states that step `t` started from.
fn starts<T: Float>(
    shape: &SequenceShape,
    t: usize,
    [h0, y]: [&[T]; 2],
    lengths: &[i64],
    to: &mut [T],
) {
    let (output, whole) = (shape.output, shape.batch * shape.output);
    let before = shape.before(t);
    for (row, to) in to.chunks_exact_mut(output).enumerate() {
        let place = row * output..(row + 1) * output;
        let takes_part = |t| Active { lengths: Some(lengths), t }.row(row);
        match before.filter(|&before| takes_part(before)) {
            Some(before) if takes_part(t) => to.copy_from_slice(&y[before * whole..][place]),
            None if takes_part(t) && !h0.is_empty() => to.copy_from_slice(&h0[place]),
            _ => to.fill(T::ZERO),
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
        let states = s.batch * s.output;
        let state = !self.h0.is_empty();
        require(self.h0.len() == only(state, states), "sequence: length of h0")?;
        require(self.dh.len() == self.h0.len(), "sequence: length of dh")?;
        require(self.c0.len() == only(state, cells), "sequence: length of c0")?;
        require(self.dc.len() == self.c0.len(), "sequence: length of dc")?;
        require(self.last.len() == states, "sequence: length of the last state's gradient")?;
        require(self.last_cell.len() == cells, "sequence: length of the last cell's gradient")?;
        require(gates.checked_mul(s.output) == Some(self.w_hh.len()), "sequence: length of w_hh")?;
        require(projection == Some(self.w_hr.len()), "sequence: length of w_hr")?;
        let none = self.grad.is_empty() && s.cell.gates() > 1 && !s.projected;
        require(self.y.len() == output, "sequence: length of y")?;
        require(none || self.grad.len() == output, "sequence: length of its gradient")?;
        require(self.saved.len() == rows * s.saved(), "sequence: length of what was saved")?;
        require(self.gates.len() == rows * gates, "sequence: length of the gates")?;
        let before = only(self.lengths.is_some(), output);
        require(self.before.len() == before, "sequence: length of the states before")?;
        let hidden_gates = only(s.cell == RecurrentCell::Gru, rows * gates);
        require(self.hidden_gates.len() == hidden_gates, "sequence: length of hidden gates")?;
        require(self.states.len() == only(s.projected, output), "sequence: length of states")
    }
}

/// All steps' operands and results, of which a thread has some rows of a step at a time.
struct Pass<'a, T> {
    shape: &'a SequenceShape,
    lengths: Option<&'a [i64]>,
    y: &'a [T],
    saved: &'a [T],
    /// The states before, if there are lengths.
    before: &'a [T],
    /// The first states, 0 if none were given.
    h0: &'a [T],
    c0: &'a [T],
    /// Their gradients are asked for.
    wanted: bool,
    gates: Shared<'a, T>,
    hidden_gates: Shared<'a, T>,
    dh: Shared<'a, T>,
    dc: Shared<'a, T>,
}

impl<T: Float> Pass<'_, T> {
    /// Nanoseconds of a step's product on one core, about.
    fn work(&self) -> u64 {
        let SequenceShape { batch, output, .. } = *self.shape;
        (batch * self.shape.gates() * output) as u64 / 50
    }

    /// True if the states before step `t` have a gradient.
    fn goes_on(&self, t: usize) -> bool {
        self.wanted || self.shape.before(t).is_some()
    }

    /// All steps, those of a chunk of rows after one another, as forward.
    fn by_rows(&self, weights: &Packed<T>, grad: &[T], chunks: Chunks) {
        let SequenceShape { steps, batch, hidden, .. } = *self.shape;
        let work = self.work() + (batch * hidden) as u64 * 2;
        parallel::run(chunks.pieces, work.saturating_mul(steps as u64), &|piece| {
            for rows in chunks.of(piece) {
                for t in self.shape.order().rev() {
                    let at = (t * batch + rows.start) * hidden;
                    let grad = grad.get(at..at + rows.len() * hidden).unwrap_or_default();
                    self.gates(t, rows.clone(), grad);
                    let panels = if self.goes_on(t) { weights.panels } else { 0 };
                    for panel in 0..panels {
                        self.add(weights, t, panel, rows.clone());
                    }
                }
            }
        });
    }

    /// `dh += W_hh^T gates` of all rows.
    fn product(&self, weights: &Packed<T>, t: usize) {
        let chunks = Chunks::new(self.shape.batch, ROWS);
        parallel::run(weights.panels * chunks.pieces, self.work(), &|index| {
            let (panel, piece) = (index / chunks.pieces, index % chunks.pieces);
            chunks.of(piece).for_each(|rows| self.add(weights, t, panel, rows));
        });
    }

    /// The gradients that some rows' product takes in step `t`, which their pass has made.
    fn of_product(&self, t: usize, rows: Range<usize>) -> &[T] {
        let all = match self.shape.cell {
            RecurrentCell::Gru => &self.hidden_gates,
            _ => &self.gates,
        };
        let (size, first) = (self.shape.gates(), t * self.shape.batch + rows.start);
        let from = all.as_ptr().wrapping_add(first * size);
        // SAFETY: `Backward::check` has made sure of as many; nobody writes them any more.
        unsafe { std::slice::from_raw_parts(from, rows.len() * size) }
    }

    /// `dh += W_hh^T gates` of one chunk of rows and a panel of columns.
    fn add(&self, weights: &Packed<T>, t: usize, panel: usize, rows: Range<usize>) {
        let (width, stride) = (weights.width, self.shape.output);
        let (gates, mut sums) = (self.of_product(t, rows.clone()), const { Room::new() });
        let sums = weights.sums(panel, rows.len(), gates, weights.k, &mut sums);
        let column = panel * width;
        let to = self.dh.as_ptr().wrapping_add(rows.start * stride + column);
        let columns = width.min(stride - column);
        T::dispatch(Add { sums, width, rows: rows.len(), columns, to, stride });
    }

    /// The pass over the gates of some rows in step `t`; `grad` is the gradient of their outputs, or empty: 0.
    fn gates(&self, t: usize, rows: Range<usize>, grad: &[T]) {
        let SequenceShape { cell, batch, hidden, projected, .. } = *self.shape;
        let (size, width) = (self.shape.gates(), self.shape.saved());
        let (first, count) = (rows.start, rows.len());
        let active = Active { lengths: self.lengths, t };
        let place = t * batch + first;
        let states = if projected { 0 } else { hidden };
        // SAFETY: these rows are the caller's alone; an empty slice gives empty parts.
        let (gates, hidden_gates, dh, dc) = unsafe {
            (
                self.gates.part(place * size, count * size),
                self.hidden_gates.part(place * size, count * size),
                self.dh.part(first * states, count * states),
                self.dc.part(first * hidden, count * hidden),
            )
        };
        let saved = self.saved.get(place * width..(place + count) * width).unwrap_or_default();
        match cell {
            RecurrentCell::Lstm => {
                let (before, before_stride) = match self.shape.before(t) {
                    Some(before) => {
                        let place = (before * batch + first) * width + 4 * hidden;
                        (&self.saved[place..], width)
                    }
                    None => (&self.c0[first * hidden..], hidden),
                };
                T::dispatch(lstm::Backward {
                    hidden,
                    width,
                    first,
                    count,
                    active,
                    saved,
                    before,
                    before_stride,
                    grad,
                    dh,
                    dc,
                    gates,
                });
            }
            RecurrentCell::Gru => {
                let before = match (self.lengths, self.shape.before(t)) {
                    (Some(_), _) => &self.before[place * hidden..],
                    (None, Some(before)) => &self.y[(before * batch + first) * hidden..],
                    (None, None) => &self.h0[first * hidden..],
                };
                let before = &before[..count * hidden];
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
                let relu = cell == RecurrentCell::RnnRelu;
                let y = &self.y[place * hidden..][..count * hidden];
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
    }
}
