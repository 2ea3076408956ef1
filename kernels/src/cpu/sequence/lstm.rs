//! The passes of an LSTM. A saved row is `i f g o c`, and `o * tanh(c)` before a projection.

use std::ops::Range;

use super::product::Sums;
use super::{Active, load, store, sum};
use crate::cpu::isa::Kernel;
use crate::cpu::math::{sigmoid, tanh};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::elementwise::BinaryFormula;
use crate::elementwise::binary::{SigmoidGrad, TanhGrad};

/// Gates, cell state and output of `count` rows.
pub(super) struct Forward<'a, T> {
    pub(super) hidden: usize,
    pub(super) projected: bool,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) active: Active<'a>,
    pub(super) recurrent: &'a [T],
    pub(super) saved: &'a mut [T],
    /// Empty if projected, as `h`.
    pub(super) y: &'a mut [T],
    pub(super) h: &'a mut [T],
    pub(super) c: &'a mut [T],
}

impl<T: Float> Kernel<T> for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Forward { hidden, projected, first, count, active, .. } = self;
        let width = if projected { 6 * hidden } else { 5 * hidden };
        for row in 0..count {
            let recurrent = &self.recurrent[row * 4 * hidden..][..4 * hidden];
            let saved = &mut self.saved[row * width..][..width];
            let c = &mut self.c[row * hidden..][..hidden];
            if !active.row(first + row) {
                saved.fill(T::ZERO);
                saved[4 * hidden..5 * hidden].copy_from_slice(c);
                if !projected {
                    self.y[row * hidden..][..hidden].fill(T::ZERO);
                }
                continue;
            }
            let (from, saved, c) = (recurrent.as_ptr(), saved.as_mut_ptr(), c.as_mut_ptr());
            let (mut y, mut h) = (std::ptr::null_mut(), std::ptr::null_mut());
            if !projected {
                y = self.y[row * hidden..][..hidden].as_mut_ptr();
                h = self.h[row * hidden..][..hidden].as_mut_ptr();
            }
            let mut k = 0;
            while k < hidden {
                let m = S::LANES.min(hidden - k);
                // SAFETY: `k + m <= hidden`; every row was cut to as many elements as are touched.
                unsafe {
                    let i = sum(s, saved.add(k), from.add(k), m);
                    let f = sum(s, saved.add(hidden + k), from.add(hidden + k), m);
                    let g = sum(s, saved.add(2 * hidden + k), from.add(2 * hidden + k), m);
                    let o = sum(s, saved.add(3 * hidden + k), from.add(3 * hidden + k), m);
                    let (new, out) =
                        cell(s, [i, f, g, o], load(s, c.add(k), m), saved.add(k), hidden, m);
                    store(s, c.add(k), new, m);
                    if projected {
                        store(s, saved.add(5 * hidden + k), out, m);
                    } else {
                        store(s, y.add(k), out, m);
                        store(s, h.add(k), out, m);
                    }
                }
                k += m;
            }
        }
    }
}

/// Cell state and output from the sums of the gates; what is saved goes to `saved`, gates `hidden` apart.
///
/// # Safety
/// - `saved` must be writable for `m` elements at each of the five places.
#[inline(always)]
unsafe fn cell<T: Float, S: Simd<T>>(
    s: S,
    [i, f, g, o]: [S::V; 4],
    old: S::V,
    saved: *mut T,
    hidden: usize,
    m: usize,
) -> (S::V, S::V) {
    let (i, f, g, o) = (sigmoid(s, i), sigmoid(s, f), tanh(s, g), sigmoid(s, o));
    let new = s.add(s.mul(f, old), s.mul(i, g));
    // SAFETY: by the caller's contract.
    unsafe {
        store(s, saved, i, m);
        store(s, saved.add(hidden), f, m);
        store(s, saved.add(2 * hidden), g, m);
        store(s, saved.add(3 * hidden), o, m);
        store(s, saved.add(4 * hidden), new, m);
    }
    (new, s.mul(o, tanh(s, new)))
}

/// As [`Forward`], of the units of a panel whose sums were just made.
pub(super) struct OfPanel<'a, T> {
    pub(super) hidden: usize,
    pub(super) projected: bool,
    pub(super) rows: Range<usize>,
    pub(super) units: Range<usize>,
    pub(super) active: Active<'a>,
    /// By rows, in them by gates.
    pub(super) sums: Sums<'a, T>,
    /// Of the whole step, as `y` (not used if projected) and `c`.
    pub(super) saved: *mut T,
    pub(super) y: *mut T,
    pub(super) c: *mut T,
}

impl<T: Float> Kernel<T> for OfPanel<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let whole = self.units.len() == S::LANES;
        for (i, row) in self.rows.clone().enumerate() {
            // SAFETY: whoever makes this has these rows, these units of them alone, and at most a vector of them.
            unsafe {
                match (self.active.row(row), whole) {
                    (true, true) => self.row::<S, true>(s, i, row),
                    (true, false) => self.row::<S, false>(s, i, row),
                    _ => self.idle(s, row),
                }
            }
        }
    }
}

impl<T: Float> OfPanel<'_, T> {
    /// # Safety
    /// - The row must be there, with as many units, a whole vector of them if it says so.
    #[inline(always)]
    unsafe fn row<S: Simd<T>, const WHOLE: bool>(&self, s: S, i: usize, row: usize) {
        let OfPanel { hidden, .. } = *self;
        let m = if WHOLE { S::LANES } else { self.units.len() };
        let width = if self.projected { 6 * hidden } else { 5 * hidden };
        let place = row * hidden + self.units.start;
        // SAFETY: by the caller's contract.
        unsafe {
            let saved = self.saved.add(row * width + self.units.start);
            // A panel has one vector of units.
            let sums = [
                self.sums.both(s, i, 0),
                self.sums.both(s, i, S::LANES),
                self.sums.both(s, i, 2 * S::LANES),
                self.sums.both(s, i, 3 * S::LANES),
            ];
            let old = self.c.add(place);
            let (new, out) = cell(s, sums, load(s, old, m), saved, hidden, m);
            store(s, old, new, m);
            let to = if self.projected { saved.add(5 * hidden) } else { self.y.add(place) };
            store(s, to, out, m);
        }
    }

    /// A row that takes no part: its cell state is saved.
    ///
    /// # Safety
    /// - The row must be there, with as many units.
    #[inline(always)]
    unsafe fn idle<S: Simd<T>>(&self, s: S, row: usize) {
        let OfPanel { hidden, .. } = *self;
        let width = if self.projected { 6 * hidden } else { 5 * hidden };
        let (m, zero, place) =
            (self.units.len(), s.splat(T::ZERO), row * hidden + self.units.start);
        // SAFETY: by the caller's contract.
        unsafe {
            let saved = self.saved.add(row * width + self.units.start);
            for gate in 0..4 {
                store(s, saved.add(gate * hidden), zero, m);
            }
            store(s, saved.add(4 * hidden), load(s, self.c.add(place), m), m);
            let to = if self.projected { saved.add(5 * hidden) } else { self.y.add(place) };
            store(s, to, zero, m);
        }
    }
}

/// The gradients of the gates' sums and of the cell state of `count` rows.
pub(super) struct Backward<'a, T> {
    pub(super) hidden: usize,
    pub(super) width: usize,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) active: Active<'a>,
    pub(super) saved: &'a [T],
    /// The cell state before: `count` rows, `before_stride` apart.
    pub(super) before: &'a [T],
    pub(super) before_stride: usize,
    /// Of `o * tanh(c)`: the sum of both.
    pub(super) grad: &'a [T],
    /// Set to 0 where it was used; empty if projected.
    pub(super) dh: &'a mut [T],
    pub(super) dc: &'a mut [T],
    pub(super) gates: &'a mut [T],
}

impl<T: Float> Kernel<T> for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Backward { hidden, width, first, count, active, .. } = self;
        let state = !self.dh.is_empty();
        for row in 0..count {
            let gates = &mut self.gates[row * 4 * hidden..][..4 * hidden];
            if !active.row(first + row) {
                gates.fill(T::ZERO);
                continue;
            }
            let saved = self.saved[row * width..][..width].as_ptr();
            let before = self.before[row * self.before_stride..][..hidden].as_ptr();
            let grad = self.grad[row * hidden..][..hidden].as_ptr();
            let dc = self.dc[row * hidden..][..hidden].as_mut_ptr();
            let dh = match state {
                true => self.dh[row * hidden..][..hidden].as_mut_ptr(),
                false => std::ptr::null_mut(),
            };
            let gates = gates.as_mut_ptr();
            let mut k = 0;
            while k < hidden {
                let m = S::LANES.min(hidden - k);
                // SAFETY: `k + m <= hidden`; every row was cut to as many elements as are touched.
                unsafe {
                    let i = load(s, saved.add(k), m);
                    let f = load(s, saved.add(hidden + k), m);
                    let g = load(s, saved.add(2 * hidden + k), m);
                    let o = load(s, saved.add(3 * hidden + k), m);
                    let c = load(s, saved.add(4 * hidden + k), m);
                    let mut out = load(s, grad.add(k), m);
                    if state {
                        out = s.add(out, load(s, dh.add(k), m));
                        store(s, dh.add(k), s.splat(T::ZERO), m);
                    }
                    let t = tanh(s, c);
                    let cell = load(s, dc.add(k), m);
                    let cell = s.add(cell, TanhGrad::apply(s, s.mul(out, o), t));
                    let old = load(s, before.add(k), m);
                    let di = SigmoidGrad::apply(s, s.mul(cell, g), i);
                    let df = SigmoidGrad::apply(s, s.mul(cell, old), f);
                    let dg = TanhGrad::apply(s, s.mul(cell, i), g);
                    let d_o = SigmoidGrad::apply(s, s.mul(out, t), o);
                    store(s, gates.add(k), di, m);
                    store(s, gates.add(hidden + k), df, m);
                    store(s, gates.add(2 * hidden + k), dg, m);
                    store(s, gates.add(3 * hidden + k), d_o, m);
                    store(s, dc.add(k), s.mul(cell, f), m);
                }
                k += m;
            }
        }
    }
}
