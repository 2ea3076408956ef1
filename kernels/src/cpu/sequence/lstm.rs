//! The passes of an LSTM. A saved row is `i f g o c`, and `o * tanh(c)` before a projection.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::product::{ROWS, Sums};
use super::{Active, given, load, store, sum};
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
                    let old = load(s, c.add(k), m);
                    let [o, new] = gates(s, [i, f, g, o], old, saved.add(k), hidden, m);
                    let out = s.mul(o, tanh(s, new));
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

/// The gates and the cell state from the gates' sums, to `saved`, `hidden` apart. Returns what the output is made of: the gate o and
/// the state.
///
/// # Safety
/// - `saved` must be writable for `m` elements at each of the five places.
#[inline(always)]
unsafe fn gates<T: Float, S: Simd<T>>(
    s: S,
    [i, f, g, o]: [S::V; 4],
    old: S::V,
    saved: *mut T,
    hidden: usize,
    m: usize,
) -> [S::V; 2] {
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
    [o, new]
}

/// For each row of a panel what its output is made of: reading it back from where it is saved would wait for that memory.
#[repr(align(64))]
struct Kept<T>([MaybeUninit<T>; ROWS * 32]);

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
        let rows = || self.rows.clone().enumerate();
        let mut kept = Kept::<T>([MaybeUninit::uninit(); ROWS * 32]);
        let kept: *mut T = kept.0.as_mut_ptr().cast();
        // SAFETY: whoever makes this has these rows, these units of them alone, and at most a vector of them.
        unsafe {
            for (i, row) in rows() {
                match (self.active.row(row), whole) {
                    (true, true) => self.gates::<S, true>(s, [i, row], kept.add(i * 32)),
                    (true, false) => self.gates::<S, false>(s, [i, row], kept.add(i * 32)),
                    _ => self.idle(s, row),
                }
            }
            // The output waits for the cell state, so it gets a loop of its own, whose rows overlap.
            for (i, row) in rows().filter(|(_, row)| self.active.row(*row)) {
                let (o, c) = (s.load(kept.add(i * 32)), s.load(kept.add(i * 32 + S::LANES)));
                store(s, self.places(row).1, s.mul(o, tanh(s, c)), self.units.len());
            }
        }
    }
}

impl<T: Float> OfPanel<'_, T> {
    /// Where a row's units are saved, and their output; their place in a state.
    #[inline(always)]
    fn places(&self, row: usize) -> (*mut T, *mut T, usize) {
        let OfPanel { hidden, projected, .. } = *self;
        let width = if projected { 6 * hidden } else { 5 * hidden };
        let place = row * hidden + self.units.start;
        let saved = self.saved.wrapping_add(row * width + self.units.start);
        let to =
            if projected { saved.wrapping_add(5 * hidden) } else { self.y.wrapping_add(place) };
        (saved, to, place)
    }

    /// # Safety
    /// - The row must be there, with as many units, a whole vector of them if it says so; `kept` must be writable for two vectors.
    #[inline(always)]
    unsafe fn gates<S: Simd<T>, const WHOLE: bool>(
        &self,
        s: S,
        [i, row]: [usize; 2],
        kept: *mut T,
    ) {
        let m = if WHOLE { S::LANES } else { self.units.len() };
        let (saved, _, place) = self.places(row);
        // SAFETY: by the caller's contract; a panel has one vector of units.
        unsafe {
            let sums = [
                self.sums.both(s, i, 0),
                self.sums.both(s, i, S::LANES),
                self.sums.both(s, i, 2 * S::LANES),
                self.sums.both(s, i, 3 * S::LANES),
            ];
            let c = self.c.add(place);
            let [o, new] = gates(s, sums, load(s, c, m), saved, self.hidden, m);
            store(s, c, new, m);
            s.store(kept, o);
            s.store(kept.add(S::LANES), new);
        }
    }

    /// A row that takes no part: its cell state is saved.
    ///
    /// # Safety
    /// - The row must be there, with as many units.
    #[inline(always)]
    unsafe fn idle<S: Simd<T>>(&self, s: S, row: usize) {
        let (m, zero) = (self.units.len(), s.splat(T::ZERO));
        let (saved, to, place) = self.places(row);
        // SAFETY: by the caller's contract.
        unsafe {
            for gate in 0..4 {
                store(s, saved.add(gate * self.hidden), zero, m);
            }
            store(s, saved.add(4 * self.hidden), load(s, self.c.add(place), m), m);
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
    /// Of `o * tanh(c)`: the sum of both. Empty: 0.
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
            let grad = self.grad.get(row * hidden..(row + 1) * hidden).map(<[T]>::as_ptr);
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
                    let mut out = given(s, grad, k, m);
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
