//! One layer and direction of a recurrent network over a whole sequence: LSTM, GRU and RNN, forward and backward through time.
//!
//! The input product of all steps is one product, or part of the steps; a step is the recurrent product and one pass over the gates. Rows of
//! the batch never meet in a sum, so a row's bits depend neither on its batch nor on how a pass is split: where the weights fit beside all
//! else in L2, a thread takes some rows through all steps, and nobody waits for others between them.

mod backward;
mod forward;
mod gru;
mod lstm;
mod packed;
mod product;
mod rnn;
#[cfg(test)]
mod tests;

pub use backward::{Backward, backward};
pub(in crate::cpu) use forward::Step;
pub use forward::{Forward, forward};

use crate::cpu::gemm::Matrix;
use crate::cpu::parallel;
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Result, require};

/// What a step computes; `W` are products with biases, `*` is elementwise, `s` the logistic function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecurrentCell {
    /// `i, f, o = s(W x + W h)`, `g = tanh(W x + W h)`, `c = f * c + i * g`, `h = o * tanh(c)`, or `h = W_hr (o * tanh(c))`.
    Lstm,
    /// `r, z = s(W x + W h)`, `n = tanh(W x + r * (W h))`, `h = n + z * (h - n)`.
    Gru,
    /// `h = tanh(W x + W h)`
    RnnTanh,
    /// `h = max(W x + W h, 0)`
    RnnRelu,
}

impl RecurrentCell {
    /// Gates, in PyTorch's order: i f g o, or r z n.
    pub fn gates(self) -> usize {
        match self {
            RecurrentCell::Lstm => 4,
            RecurrentCell::Gru => 3,
            RecurrentCell::RnnTanh | RecurrentCell::RnnRelu => 1,
        }
    }

    /// Vectors of the hidden size that a step saves for the backward pass: LSTM: i f g o c and, with a projection, `o * tanh(c)`;
    /// GRU: r z n and the hidden product of n.
    pub fn saved(self, projected: bool) -> usize {
        match self {
            RecurrentCell::Lstm => 5 + usize::from(projected),
            RecurrentCell::Gru => 4,
            RecurrentCell::RnnTanh | RecurrentCell::RnnRelu => 0,
        }
    }
}

/// The sizes of a sequence and of its layer. Data is contiguous, weights are `[gates * hidden, ..]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SequenceShape {
    /// What a step computes.
    pub cell: RecurrentCell,
    /// From the last step to the first; with lengths from each row's last.
    pub reverse: bool,
    /// Steps, at least 1.
    pub steps: usize,
    /// Rows of the batch.
    pub batch: usize,
    /// Features of the input.
    pub input: usize,
    /// Units of a gate.
    pub hidden: usize,
    /// Features of the output: `hidden`, or the projection's (LSTM).
    pub output: usize,
    /// A projection `[output, hidden]` makes the output.
    pub projected: bool,
}

/// Gate elements that make a piece worth handing out.
const PIECE: usize = 8192;

impl SequenceShape {
    pub(crate) fn gates(&self) -> usize {
        self.cell.gates() * self.hidden
    }

    pub(crate) fn saved(&self) -> usize {
        self.cell.saved(self.projected) * self.hidden
    }

    /// Checks the sizes; every product of three of them then is a `usize`.
    pub(crate) fn check(&self, lengths: Option<&[i64]>) -> Result<()> {
        let lstm = self.cell == RecurrentCell::Lstm;
        require(self.steps > 0 && self.hidden > 0 && self.output > 0, "sequence: a size is 0")?;
        require(lstm || !self.projected, "sequence: only an LSTM has a projection")?;
        require(self.projected || self.hidden == self.output, "sequence: sizes of the output")?;
        let widest = self.hidden.checked_mul(6).map(|wide| wide.max(self.output).max(self.input));
        let rows = self.steps.checked_mul(self.batch.max(1));
        let all = widest.zip(rows).and_then(|(wide, rows)| wide.checked_mul(rows));
        require(all.is_some_and(|all| all <= isize::MAX as usize / 8), "sequence: too large")?;
        let Some(lengths) = lengths else { return Ok(()) };
        require(lengths.len() == self.batch, "sequence: one length a row")?;
        let steps = self.steps as i64;
        let inside = lengths.iter().all(|length| (1..=steps).contains(length));
        require(inside, "a length is outside 1..=steps")
    }

    /// The steps in the order of the computation.
    pub(crate) fn order(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let (steps, reverse) = (self.steps, self.reverse);
        (0..steps).map(move |step| if reverse { steps - 1 - step } else { step })
    }

    /// The step whose state step `t` starts from.
    pub(crate) fn before(&self, t: usize) -> Option<usize> {
        if self.reverse { Some(t + 1).filter(|&t| t < self.steps) } else { t.checked_sub(1) }
    }

    /// Runs `body(first, rows)` on pieces of the batch.
    fn pieces(&self, body: &(impl Fn(usize, usize) + Sync)) {
        let per_piece = (PIECE / self.gates()).max(1);
        let work = (self.batch * self.gates()) as u64;
        parallel::run(self.batch.div_ceil(per_piece), work, &|piece| {
            let first = piece * per_piece;
            body(first, per_piece.min(self.batch - first));
        });
    }
}

/// A row takes part in step `t` if its length says so; others keep their state.
#[derive(Debug, Clone, Copy)]
pub(in crate::cpu) struct Active<'a> {
    pub(in crate::cpu) lengths: Option<&'a [i64]>,
    pub(in crate::cpu) t: usize,
}

impl Active<'_> {
    #[inline(always)]
    pub(in crate::cpu) fn row(&self, row: usize) -> bool {
        self.lengths.is_none_or(|lengths| (self.t as i64) < lengths[row])
    }
}

/// `m` elements from `from` on.
///
/// # Safety
/// - `from .. from + m` must be readable and `m <= S::LANES`.
#[inline(always)]
unsafe fn load<T: Float, S: Simd<T>>(s: S, from: *const T, m: usize) -> S::V {
    // SAFETY: the caller's guarantee.
    unsafe { if m == S::LANES { s.load(from) } else { s.load_first(from, m) } }
}

/// `m` elements to `to` on.
///
/// # Safety
/// - `to .. to + m` must be writable and `m <= S::LANES`.
#[inline(always)]
unsafe fn store<T: Float, S: Simd<T>>(s: S, to: *mut T, x: S::V, m: usize) {
    // SAFETY: the caller's guarantee.
    unsafe { if m == S::LANES { s.store(to, x) } else { s.store_first(to, x, m) } }
}

/// `m` elements of a gradient from `k` on, or 0 where none is given.
///
/// # Safety
/// - `from + k .. from + k + m` must be readable, if there is one, and `m <= S::LANES`.
#[inline(always)]
unsafe fn given<T: Float, S: Simd<T>>(s: S, from: Option<*const T>, k: usize, m: usize) -> S::V {
    match from {
        // SAFETY: the caller's guarantee.
        Some(from) => unsafe { load(s, from.add(k), m) },
        None => s.splat(T::ZERO),
    }
}

/// `m` elements of each, added.
///
/// # Safety
/// - `a .. a + m` and `b .. b + m` must be readable and `m <= S::LANES`.
#[inline(always)]
unsafe fn sum<T: Float, S: Simd<T>>(s: S, a: *const T, b: *const T, m: usize) -> S::V {
    // SAFETY: the caller's guarantee.
    unsafe { s.add(load(s, a, m), load(s, b, m)) }
}

/// Rows of a matrix, `stride` apart.
fn rows<T>(data: &[T], offset: usize, stride: usize) -> Matrix<'_, T> {
    Matrix { data, offset, row_stride: stride as isize, column_stride: 1 }
}

/// The transposed of contiguous rows.
fn transposed<T>(data: &[T], stride: usize) -> Matrix<'_, T> {
    Matrix { data, offset: 0, row_stride: 1, column_stride: stride as isize }
}

/// Bytes of `n` elements.
fn bytes<T>(n: usize) -> usize {
    n.saturating_mul(size_of::<T>())
}
