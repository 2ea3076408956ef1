//! The forward pass of cells with gates: a step is one pass over panels of packed weights, and what follows a panel's sums takes
//! them from L1.

use std::ops::Range;

use super::forward::{Forward, keep_states, project};
use super::product::{Chunks, Packed, Room, Sums};
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
    let mut projection = Buffer::new(if projected { bytes::<T>(batch * output) } else { 0 })?;
    // States are read where y keeps them, unless rows end early.
    let kept = projected || f.lengths.is_some();
    // A product with 0 is 0, unless a weight is infinite or NaN.
    let rests = f.h0.is_empty() && are_finite(f.w_hh);
    for t in shape.order() {
        let active = Active { lengths: f.lengths, t };
        let (done, y, later) = around(f.y, t * batch * output, batch * output);
        let old = match shape.before(t) {
            _ if kept => &*f.h,
            None => &*f.h,
            Some(before) if before < t => &done[before * batch * output..],
            Some(_) => later,
        };
        let saved = &mut f.saved[t * batch * width..][..batch * width];
        let x = &f.x[t * batch * input..][..batch * input];
        let y_to = if projected { &mut [] } else { &mut *y };
        let step = Step {
            shape,
            active,
            bias: biases.as_slice(),
            rests: rests && shape.before(t).is_none(),
            recurrent: &recurrent,
            inputs: inputs.as_ref(),
            x,
            old,
        };
        step.run(saved, y_to, f.c);
        if projected {
            project(shape, active, f.w_hr, saved, projection.as_mut_slice(), y, f.h)?;
        } else if kept {
            keep_states(active, output, y, f.h);
        }
    }
    if !kept {
        let last = shape.order().next_back().unwrap_or(0);
        f.h.copy_from_slice(&f.y[last * batch * output..][..batch * output]);
    }
    Ok(())
}

/// What lies before, at and after a place.
fn around<T>(data: &mut [T], start: usize, len: usize) -> (&[T], &mut [T], &[T]) {
    let (before, rest) = data.split_at_mut(start);
    let (here, after) = rest.split_at_mut(len);
    (before, here, after)
}

/// One step, but for a projection.
struct Step<'a, T> {
    shape: &'a SequenceShape,
    active: Active<'a>,
    bias: &'a [T],
    recurrent: &'a Packed<T>,
    inputs: Option<&'a Packed<T>>,
    x: &'a [T],
    /// The states before.
    old: &'a [T],
    /// They are 0, and so is their product.
    rests: bool,
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

impl<T: Float> Step<'_, T> {
    fn run(self, saved: &mut [T], y: &mut [T], c: &mut [T]) {
        let SequenceShape { batch, hidden, input, output, .. } = *self.shape;
        let [saved, y, c] = [Shared::new(saved), Shared::new(y), Shared::new(c)];
        let panels = self.recurrent.panels;
        let row = self.recurrent.width * (self.recurrent.k + PASS);
        let chunks = Chunks::new(batch, PIECE / row);
        let products = (batch * self.shape.gates()) as u64 * (output + input) as u64 / 50;
        let work = products + (batch * hidden) as u64 * 2;
        parallel::run(panels * chunks.pieces, work, &|index| {
            let (panel, piece) = (index / chunks.pieces, index % chunks.pieces);
            chunks.of(piece).for_each(|rows| self.rows(panel, rows, [&saved, &y, &c]));
        });
    }

    /// One chunk of rows of a panel's units.
    fn rows(&self, panel: usize, rows: Range<usize>, [saved, y, c]: [&Shared<'_, T>; 3]) {
        let SequenceShape { cell, hidden, input, output, projected, .. } = *self.shape;
        let Packed { units: step, width, .. } = *self.recurrent;
        let units = panel * step..hidden.min((panel + 1) * step);
        let [mut recurrent, mut inputs] = [const { Room::new() }; 2];
        let (first, count) = (rows.start, rows.len());
        let old = &self.old[first * output..];
        let recurrent = match self.rests {
            true => recurrent.zeros(count * width),
            false => self.recurrent.sums(panel, count, old, output, &mut recurrent),
        };
        let input = match self.inputs {
            Some(weights) => {
                weights.sums(panel, count, &self.x[first * input..], input, &mut inputs)
            }
            None => {
                let stride = self.shape.saved();
                let from = saved.as_ptr().wrapping_add(first * stride + units.start);
                let sizes = [count, cell.gates(), units.len()];
                // SAFETY: these rows and units, which nobody else writes.
                unsafe { inputs.copy(sizes, from, [stride, hidden, step]) }
            }
        };
        let bias = &self.bias[panel * 2 * width..][..2 * width];
        let sums = Sums { input, recurrent, bias, width };
        let (active, saved, y) = (self.active, saved.as_ptr(), y.as_ptr());
        if cell == RecurrentCell::Lstm {
            let c = c.as_ptr();
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
            let (gate, old) = (step, self.old.as_ptr());
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
