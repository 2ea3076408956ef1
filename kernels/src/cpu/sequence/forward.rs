//! The forward pass.

use super::{
    Active, RecurrentCell, SequenceShape, bytes, gru, lstm, packed, rnn, rows, transposed,
};
use crate::buffer::Buffer;
use crate::cpu::gemm::{Bias, Epilogue, gemm};
use crate::cpu::parallel::Shared;
use crate::element::Float;
use crate::error::{Result, require};

/// Operands and results of [`forward`], all contiguous.
#[derive(Debug)]
pub struct Forward<'a, T> {
    /// `[steps, batch, input]`
    pub x: &'a [T],
    /// `[batch, output]`, or empty: 0
    pub h0: &'a [T],
    /// `[batch, hidden]` for an LSTM, else empty; empty also if `h0` is
    pub c0: &'a [T],
    /// `[gates * hidden, input]`
    pub w_ih: &'a [T],
    /// `[gates * hidden, output]`
    pub w_hh: &'a [T],
    /// `[gates * hidden]` each: of the input and of the recurrent product
    pub biases: Option<[&'a [T]; 2]>,
    /// `[output, hidden]` if projected, else empty
    pub w_hr: &'a [T],
    /// Steps of each row, `1..=steps`
    pub lengths: Option<&'a [i64]>,
    /// Result `[steps, batch, output]`; 0 beyond a row's length
    pub y: &'a mut [T],
    /// Result `[steps, batch, saved * hidden]`: what [`backward`](super::backward) reads
    pub saved: &'a mut [T],
    /// Result `[batch, output]`: the last state
    pub h: &'a mut [T],
    /// Result `[batch, hidden]` for an LSTM, else empty
    pub c: &'a mut [T],
}

/// Gates are `(W_ih x + b_ih) + (W_hh h + b_hh)`, both products in the order R2, each bias in its product's epilogue; the rest
/// is elementwise, every operation rounded once: the bits of the same steps made of single operations.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) for lengths of slices, sizes of 0, and row lengths outside `1..=steps`; no memory for
/// the recurrent product.
pub fn forward<T: Float>(shape: &SequenceShape, f: Forward<'_, T>) -> Result<()> {
    shape.check(f.lengths)?;
    f.check(shape)?;
    let SequenceShape { steps, batch, input, output, .. } = *shape;
    let (gates, width) = (shape.gates(), shape.saved());
    if batch == 0 {
        return Ok(());
    }
    if f.h0.is_empty() {
        f.h.fill(T::ZERO);
        f.c.fill(T::ZERO);
    } else {
        f.h.copy_from_slice(f.h0);
        f.c.copy_from_slice(f.c0);
    }
    if packed::suits(shape) {
        return packed::forward(shape, f);
    }
    let bias = |place: usize| Epilogue {
        bias: f.biases.map_or(Bias::None, |biases| Bias::Column(biases[place])),
        ..Epilogue::default()
    };
    // The gates are made where they are saved; a plain RNN's where its output will be.
    let (to, stride) = if width > 0 { (&mut *f.saved, width) } else { (&mut *f.y, gates) };
    let (x, w) = (rows(f.x, 0, input), transposed(f.w_ih, input));
    gemm([steps * batch, input, gates], x, w, bias(0), to, stride)?;

    let mut recurrent = Buffer::new(bytes::<T>(batch * gates))?;
    let recurrent = recurrent.as_mut_slice::<T>();
    let mut projection = Buffer::new(if shape.projected { bytes::<T>(batch * output) } else { 0 })?;
    for t in shape.order() {
        let (h, w) = (rows(f.h, 0, output), transposed(f.w_hh, output));
        gemm([batch, output, gates], h, w, bias(1), recurrent, gates)?;
        let y = &mut f.y[t * batch * output..][..batch * output];
        let saved = &mut f.saved[t * batch * width..][..batch * width];
        let active = Active { lengths: f.lengths, t };
        let step = Step { shape, active, recurrent, saved, y, h: f.h, c: f.c };
        step.run();
        if shape.projected {
            let saved = &f.saved[t * batch * width..][..batch * width];
            let y = &mut f.y[t * batch * output..][..batch * output];
            project(shape, active, f.w_hr, saved, projection.as_mut_slice(), y, f.h)?;
        }
    }
    Ok(())
}

/// The output of a step from what it saved, to y and to the states.
pub(super) fn project<T: Float>(
    shape: &SequenceShape,
    active: Active<'_>,
    w_hr: &[T],
    saved: &[T],
    projection: &mut [T],
    y: &mut [T],
    h: &mut [T],
) -> Result<()> {
    let SequenceShape { batch, hidden, output, .. } = *shape;
    let (m, w) = (rows(saved, 5 * hidden, shape.saved()), transposed(w_hr, hidden));
    gemm([batch, hidden, output], m, w, Epilogue::default(), projection, output)?;
    let rows = projection.chunks_exact(output).zip(y.chunks_exact_mut(output));
    for (row, (from, y)) in rows.enumerate() {
        match active.row(row) {
            true => y.copy_from_slice(from),
            false => y.fill(T::ZERO),
        }
    }
    keep_states(active, output, y, h);
    Ok(())
}

/// The states of rows that take part.
fn keep_states<T: Float>(active: Active<'_>, output: usize, y: &[T], h: &mut [T]) {
    let rows = y.chunks_exact(output).zip(h.chunks_exact_mut(output)).enumerate();
    for (_, (y, h)) in rows.filter(|(row, _)| active.row(*row)) {
        h.copy_from_slice(y);
    }
}

impl<T> Forward<'_, T> {
    fn check(&self, s: &SequenceShape) -> Result<()> {
        let (gates, rows) = (s.gates(), s.steps * s.batch);
        let cells = if s.cell == RecurrentCell::Lstm { s.batch * s.hidden } else { 0 };
        let projection = if s.projected { s.output.checked_mul(s.hidden) } else { Some(0) };
        require(self.x.len() == rows * s.input, "sequence: length of x")?;
        let states = s.batch * s.output;
        require(self.h0.is_empty() || self.h0.len() == states, "sequence: length of h0")?;
        let given = if self.h0.is_empty() { 0 } else { cells };
        require(self.c0.len() == given, "sequence: length of c0")?;
        require(gates.checked_mul(s.input) == Some(self.w_ih.len()), "sequence: length of w_ih")?;
        require(gates.checked_mul(s.output) == Some(self.w_hh.len()), "sequence: length of w_hh")?;
        let fits = self.biases.is_none_or(|biases| biases.iter().all(|b| b.len() == gates));
        require(fits, "sequence: length of a bias")?;
        require(projection == Some(self.w_hr.len()), "sequence: length of w_hr")?;
        require(self.y.len() == rows * s.output, "sequence: length of y")?;
        require(self.saved.len() == rows * s.saved(), "sequence: length of what is saved")?;
        require(self.h.len() == states, "sequence: length of h")?;
        require(self.c.len() == cells, "sequence: length of c")
    }
}

/// The pass over the gates of one step.
pub(in crate::cpu) struct Step<'a, T> {
    pub(in crate::cpu) shape: &'a SequenceShape,
    pub(in crate::cpu) active: Active<'a>,
    pub(in crate::cpu) recurrent: &'a [T],
    pub(in crate::cpu) saved: &'a mut [T],
    pub(in crate::cpu) y: &'a mut [T],
    pub(in crate::cpu) h: &'a mut [T],
    pub(in crate::cpu) c: &'a mut [T],
}

impl<T: Float> Step<'_, T> {
    pub(in crate::cpu) fn run(self) {
        let Step { shape, active, recurrent, .. } = self;
        let SequenceShape { hidden, projected, .. } = *shape;
        let (gates, width) = (shape.gates(), shape.saved());
        let [saved, y, h, c] = [
            Shared::new(self.saved),
            Shared::new(self.y),
            Shared::new(self.h),
            Shared::new(self.c),
        ];
        shape.pieces(&|first, count| {
            let own = if projected { 0 } else { hidden };
            // SAFETY: pieces are disjoint rows.
            let (saved, y, h, c) = unsafe {
                (
                    saved.part(first * width, count * width),
                    y.part(first * own, count * own),
                    h.part(first * own, count * own),
                    c.part(first * hidden, count * hidden),
                )
            };
            let recurrent = &recurrent[first * gates..][..count * gates];
            match shape.cell {
                RecurrentCell::Lstm => T::dispatch(lstm::Forward {
                    hidden,
                    projected,
                    first,
                    count,
                    active,
                    recurrent,
                    saved,
                    y,
                    h,
                    c,
                }),
                RecurrentCell::Gru => T::dispatch(gru::Forward {
                    hidden,
                    first,
                    count,
                    active,
                    recurrent,
                    saved,
                    y,
                    h,
                }),
                RecurrentCell::RnnTanh | RecurrentCell::RnnRelu => {
                    let relu = shape.cell == RecurrentCell::RnnRelu;
                    T::dispatch(rnn::Forward {
                        hidden,
                        relu,
                        first,
                        count,
                        active,
                        recurrent,
                        y,
                        h,
                    });
                }
            }
        });
    }
}
