//! The forward pass of cells with gates: a step is one pass over panels of packed weights, and what follows a panel's sums takes
//! them from L1.

use std::ops::Range;

use super::forward::{Forward, keep_states, project};
use super::product::{Chunks, Packed, Sums};
use super::{Active, Part, RecurrentCell, SequenceShape, bytes, gru, lstm, rows, transposed};
use crate::buffer::Buffer;
use crate::cpu::gemm::{Bias, Epilogue, gemm};
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
        let bias = f.biases.map_or(Bias::None, |[bias, _]| Bias::Column(bias));
        let (x, w) = (rows(f.x, 0, input), transposed(f.w_ih, input));
        let epilogue = Epilogue { bias, ..Epilogue::default() };
        gemm([steps * batch, input, gates], x, w, epilogue, f.saved, width)?;
        None
    };
    let mut projection = Buffer::new(if projected { bytes::<T>(batch * output) } else { 0 })?;
    // States are read where y keeps them, unless rows end early.
    let kept = projected || f.lengths.is_some();
    for t in shape.order() {
        let active = Active { lengths: f.lengths, t };
        let (done, y, later) = around(f.y, t * batch * output, batch * output);
        let old = match shape.before(t) {
            _ if kept => &*f.h,
            None => f.h0,
            Some(before) if before < t => &done[before * batch * output..],
            Some(_) => &*later,
        };
        let saved = &mut f.saved[t * batch * width..][..batch * width];
        let x = &f.x[t * batch * input..][..batch * input];
        let y_to = if projected { &mut [] } else { &mut *y };
        let step = Step {
            shape,
            active,
            biases: f.biases,
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
    biases: Option<[&'a [T]; 2]>,
    recurrent: &'a Packed<T>,
    inputs: Option<&'a Packed<T>>,
    x: &'a [T],
    /// The states before.
    old: &'a [T],
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

    /// At most [`ROWS`] rows of a panel's units.
    fn rows(&self, panel: usize, rows: Range<usize>, [saved, y, c]: [&Shared<'_, T>; 3]) {
        let SequenceShape { hidden, input, output, projected, .. } = *self.shape;
        let width = self.shape.saved();
        let Packed { units, width: columns, .. } = *self.recurrent;
        let (first, count) = (rows.start, rows.len());
        let units_here = panel * units..hidden.min((panel + 1) * units);
        let [mut recurrent, mut inputs] = [const { Sums::new() }; 2];
        let bias = |which: usize| self.biases.map(|biases| biases[which]);
        let strides = [columns, units];
        let sums =
            self.recurrent.sums(panel, count, &self.old[first * output..], output, &mut recurrent);
        let recurrent = Part { sums, strides, bias: bias(1) };
        let input = self.inputs.map(|weights| {
            let sums = weights.sums(panel, count, &self.x[first * input..], input, &mut inputs);
            Part { sums, strides, bias: bias(0) }
        });
        let saved = saved.as_ptr().wrapping_add(first * width);
        let [y, c] = [y, c].map(|of| of.as_ptr().wrapping_add(first * hidden));
        let (units, active, h) = (units_here, self.active, std::ptr::null_mut());
        if self.shape.cell == RecurrentCell::Lstm {
            T::dispatch(lstm::Forward {
                hidden,
                projected,
                first,
                count,
                units,
                active,
                recurrent,
                input,
                saved,
                y,
                h,
                c,
            });
        } else {
            let old = self.old[first * hidden..].as_ptr();
            T::dispatch(gru::Forward {
                hidden,
                first,
                count,
                units,
                active,
                recurrent,
                input,
                saved,
                y,
                old,
                h,
            });
        }
    }
}
