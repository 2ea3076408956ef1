//! The forward pass of cells with gates: a step is one pass over panels of packed weights, and what follows a panel's sums takes
//! them from L1.

use std::ops::Range;

use super::forward::{Forward, project};
use super::product::{Chunks, FEW, Inputs, Packed, Room, Sums};
use super::{Active, RecurrentCell, SequenceShape, bytes, gru, lstm, rows, transposed};
use crate::buffer::Buffer;
use crate::cpu::gemm::{Epilogue, gemm};
use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::Result;

/// Features up to which the input's product is part of every step; else one product of all steps goes ahead.
const NARROW: usize = 16;

/// Rows of a step from which on it is part of every step anyway: reading its weights again costs less than storing its sums.
const TALL: usize = 8;

/// Rows, over all steps, from which on packing pays.
const WORTH: usize = 8;

/// Fused multiply-adds that are worth handing out as a piece.
const PIECE: usize = 1 << 18;

/// What the pass over a unit's gate costs, in multiply-adds.
const PASS: usize = 32;

/// True if weights are packed.
pub(super) fn suits(shape: &SequenceShape) -> bool {
    shape.cell.gates() > 1 && shape.steps * shape.batch >= WORTH
}

/// The forward pass of checked operands.
pub(super) fn forward<T: Float>(shape: &SequenceShape, f: Forward<'_, T>) -> Result<()> {
    let SequenceShape { cell, steps, batch, input, hidden, output, projected, .. } = *shape;
    let (gates, width) = (shape.gates(), shape.saved());
    let recurrent = Packed::by_units(f.w_hh, cell.gates(), hidden, output)?;
    let inputs = if input <= NARROW || batch >= TALL {
        Some(Packed::by_units(f.w_ih, cell.gates(), hidden, input)?)
    } else {
        let (x, w) = (rows(f.x, 0, input), transposed(f.w_ih, input));
        gemm([steps * batch, input, gates], x, w, Epilogue::default(), f.saved, width)?;
        None
    };
    let biases = pack_biases(&recurrent, hidden, f.biases)?;
    // A product with 0 is 0, unless a weight is infinite or NaN.
    let rests = f.h0.is_empty() && are_finite(f.w_hh);
    let pass = Pass {
        shape,
        lengths: f.lengths,
        bias: biases.as_slice(),
        rests,
        recurrent: &recurrent,
        inputs: inputs.as_ref(),
        x: f.x,
        saved: Shared::new(f.saved),
        y: Shared::new(f.y),
        h: Shared::new(f.h),
        c: Shared::new(f.c),
    };
    if let Some(chunks) = Chunks::of_team(shape, size_of_val(f.w_hh) + size_of_val(f.w_ih)) {
        pass.by_rows(chunks);
        return Ok(());
    }
    let mut projection = Buffer::new(if projected { bytes::<T>(batch * output) } else { 0 })?;
    for t in shape.order() {
        pass.step(t);
        if !projected {
            pass.keep(t, 0..batch);
            continue;
        }
        // SAFETY: nobody else has these while this thread is between two steps.
        let (saved, y, h) = unsafe {
            let rows = t * batch;
            let saved = pass.saved.part(rows * width, batch * width);
            (saved, pass.y.part(rows * output, batch * output), pass.h.part(0, batch * output))
        };
        let active = Active { lengths: f.lengths, t };
        project(shape, active, f.w_hr, saved, projection.as_mut_slice(), y, h)?;
    }
    Ok(())
}

/// All steps' operands and results, of which a thread has some rows or panels of a step at a time.
struct Pass<'a, T> {
    shape: &'a SequenceShape,
    lengths: Option<&'a [i64]>,
    bias: &'a [T],
    /// The first states are 0, and so is their product.
    rests: bool,
    recurrent: &'a Packed<T>,
    inputs: Option<&'a Packed<T>>,
    x: &'a [T],
    saved: Shared<'a, T>,
    y: Shared<'a, T>,
    h: Shared<'a, T>,
    c: Shared<'a, T>,
}

/// True if all are; in a form that compilers vectorize.
fn are_finite<T: Float>(x: &[T]) -> bool {
    let mut lanes = [T::ZERO; 16];
    for chunk in x.chunks(16) {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            // 0, or NaN.
            *lane = *lane + x * T::ZERO;
        }
    }
    lanes.iter().all(|lane| !lane.is_nan())
}

impl<T: Float> Pass<'_, T> {
    /// Nanoseconds of a step on one core, about.
    fn work(&self) -> u64 {
        let SequenceShape { batch, hidden, input, output, .. } = *self.shape;
        let products = (batch * self.shape.gates()) as u64 * (output + input) as u64 / 50;
        products + (batch * hidden) as u64 * 2
    }

    /// All steps, those of a chunk of rows after one another: rows don't meet, so nobody waits for others between steps.
    fn by_rows(&self, chunks: Chunks) {
        let work = self.work().saturating_mul(self.shape.steps as u64);
        parallel::run(chunks.pieces, work, &|piece| {
            for rows in chunks.of(piece) {
                for t in self.shape.order() {
                    (0..self.recurrent.panels).for_each(|panel| self.rows(t, panel, rows.clone()));
                    self.keep(t, rows.clone());
                }
            }
        });
    }

    /// One step of all rows, but for a projection.
    fn step(&self, t: usize) {
        let panels = self.recurrent.panels;
        let row = self.recurrent.width * (self.recurrent.k + PASS);
        let chunks = Chunks::new(self.shape.batch, PIECE / row);
        parallel::run(panels * chunks.pieces, self.work(), &|index| {
            let (panel, piece) = (index / chunks.pieces, index % chunks.pieces);
            chunks.of(piece).for_each(|rows| self.rows(t, panel, rows));
        });
    }

    /// The states before step `t`, of all rows: where y keeps them, unless rows end early.
    fn old(&self, t: usize) -> *const T {
        let SequenceShape { batch, output, projected, .. } = *self.shape;
        match self.shape.before(t) {
            Some(before) if !projected && self.lengths.is_none() => {
                self.y.as_ptr().wrapping_add(before * batch * output)
            }
            _ => self.h.as_ptr(),
        }
    }

    /// Keeps some rows' states where they are read next: those of rows that end early, and the last.
    fn keep(&self, t: usize, rows: Range<usize>) {
        let SequenceShape { batch, output, .. } = *self.shape;
        if self.lengths.is_none() && self.shape.order().next_back() != Some(t) {
            return;
        }
        let active = Active { lengths: self.lengths, t };
        for row in rows.filter(|&row| active.row(row)) {
            // SAFETY: a row whose step is done, and which nobody else takes now.
            unsafe {
                let y = self.y.part((t * batch + row) * output, output);
                self.h.part(row * output, output).copy_from_slice(y);
            }
        }
    }

    /// One chunk of rows of a panel's units in step `t`.
    fn rows(&self, t: usize, panel: usize, rows: Range<usize>) {
        let SequenceShape { cell, batch, hidden, input, output, projected, .. } = *self.shape;
        let Packed { units: step, width, .. } = *self.recurrent;
        let units = panel * step..hidden.min((panel + 1) * step);
        let [mut recurrent, mut inputs] = [const { Room::new() }; 2];
        let (first, count) = (rows.start, rows.len());
        let stride = self.shape.saved();
        let saved = self.saved.as_ptr().wrapping_add(t * batch * stride);
        let old = self.old(t);
        let recurrent = match self.rests && self.shape.before(t).is_none() {
            true => recurrent.zeros(count * width),
            false => {
                // SAFETY: these rows' states were made in the step before, and are not written in this one.
                let old = unsafe {
                    std::slice::from_raw_parts(old.wrapping_add(first * output), count * output)
                };
                self.recurrent.sums(panel, count, old, output, &mut recurrent)
            }
        };
        let input = match self.inputs {
            Some(weights) => {
                let x = &self.x[(t * batch + first) * input..][..count * input];
                match input <= FEW {
                    true => Inputs::Rows { x, k: input, panel: weights.panel(panel) },
                    false => Inputs::Sums(weights.sums(panel, count, x, input, &mut inputs)),
                }
            }
            None => {
                let from = saved.wrapping_add(first * stride + units.start);
                let sizes = [count, cell.gates(), units.len()];
                // SAFETY: these rows and units, which nobody else writes.
                Inputs::Sums(unsafe { inputs.copy(sizes, from, [stride, hidden, step]) })
            }
        };
        let bias = &self.bias[panel * 2 * width..][..2 * width];
        let sums = Sums { input, recurrent, bias, width };
        let active = Active { lengths: self.lengths, t };
        let y_width = if projected { 0 } else { output };
        let y = self.y.as_ptr().wrapping_add(t * batch * y_width);
        if cell == RecurrentCell::Lstm {
            let c = self.c.as_ptr();
            T::dispatch(lstm::OfPanel {
                hidden,
                projected,
                rows,
                units,
                active,
                sums,
                saved,
                y,
                c,
            });
        } else {
            let gate = step;
            T::dispatch(gru::OfPanel { hidden, rows, gate, units, active, sums, saved, y, old });
        }
    }
}

/// The biases as panels lie: for each, the input's and the state's. Where there are none, -0, which changes no sum.
fn pack_biases<T: Float>(
    packed: &Packed<T>,
    hidden: usize,
    biases: Option<[&[T]; 2]>,
) -> Result<Buffer> {
    let Packed { panels, units, width, .. } = *packed;
    let mut buffer = Buffer::new(bytes::<T>(panels * 2 * width))?;
    for (i, to) in buffer.as_mut_slice::<T>().iter_mut().enumerate() {
        let (panel, which, column) = (i / (2 * width), i / width % 2, i % width);
        let (gate, unit) = (column / units, panel * units + column % units);
        let bias = biases.map(|biases| biases[which][gate * hidden + unit.min(hidden - 1)]);
        *to = bias.unwrap_or(-T::ZERO);
    }
    Ok(buffer)
}
