//! The passes of an LSTM. A saved row is `i f g o c`, and `o * tanh(c)` before a projection.

use std::ops::Range;

use super::{Active, Part, load, store};
use crate::cpu::isa::Kernel;
use crate::cpu::math::{sigmoid, tanh};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::elementwise::BinaryFormula;
use crate::elementwise::binary::{SigmoidGrad, TanhGrad};

/// Gates, cell state and output of some units of `count` rows. Pointers are to the first row.
pub(super) struct Forward<'a, T> {
    pub(super) hidden: usize,
    pub(super) projected: bool,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) units: Range<usize>,
    pub(super) active: Active<'a>,
    pub(super) recurrent: Part<'a, T>,
    /// The input's sums, if they are not in `saved`.
    pub(super) input: Option<Part<'a, T>>,
    pub(super) saved: *mut T,
    /// Not used if projected, as `h`.
    pub(super) y: *mut T,
    /// Null, or a state that is kept beside y.
    pub(super) h: *mut T,
    pub(super) c: *mut T,
}

impl<T: Float> Kernel<T> for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let hidden = self.hidden;
        let width = if self.projected { 6 * hidden } else { 5 * hidden };
        for row in 0..self.count {
            let active = self.active.row(self.first + row);
            let saved = self.saved.wrapping_add(row * width);
            let mut unit = self.units.start;
            while unit < self.units.end {
                let m = S::LANES.min(self.units.end - unit);
                // SAFETY: `unit + m <= hidden`; whoever makes this has all rows, and these units of them alone.
                unsafe {
                    if active {
                        self.active(s, [row, unit], m, saved.add(unit));
                    } else {
                        self.idle(s, [row, unit], m, saved.add(unit));
                    }
                }
                unit += m;
            }
        }
    }
}

impl<T: Float> Forward<'_, T> {
    /// The input's and the recurrent sum of `m` units' gate.
    ///
    /// # Safety
    /// - They must be there.
    #[inline(always)]
    unsafe fn gate<S: Simd<T>>(
        &self,
        s: S,
        gate: usize,
        [row, unit]: [usize; 2],
        m: usize,
        saved: *const T,
    ) -> S::V {
        let (hidden, start) = (self.hidden, self.units.start);
        // SAFETY: by the caller's contract.
        unsafe {
            let input = match &self.input {
                Some(input) => input.load(s, [row, gate, unit], [hidden, start], m),
                None => load(s, saved.add(gate * hidden), m),
            };
            s.add(input, self.recurrent.load(s, [row, gate, unit], [hidden, start], m))
        }
    }

    /// `m` units of a row.
    ///
    /// # Safety
    /// - The row must have `m` units from `unit` on, which are saved from `saved` on.
    #[inline(always)]
    unsafe fn active<S: Simd<T>>(&self, s: S, at: [usize; 2], m: usize, saved: *mut T) {
        let (hidden, place) = (self.hidden, at[0] * self.hidden + at[1]);
        // SAFETY: by the caller's contract.
        unsafe {
            let i = sigmoid(s, self.gate(s, 0, at, m, saved));
            let f = sigmoid(s, self.gate(s, 1, at, m, saved));
            let g = tanh(s, self.gate(s, 2, at, m, saved));
            let o = sigmoid(s, self.gate(s, 3, at, m, saved));
            let c = self.c.add(place);
            let new = s.add(s.mul(f, load(s, c, m)), s.mul(i, g));
            let out = s.mul(o, tanh(s, new));
            store(s, saved, i, m);
            store(s, saved.add(hidden), f, m);
            store(s, saved.add(2 * hidden), g, m);
            store(s, saved.add(3 * hidden), o, m);
            store(s, saved.add(4 * hidden), new, m);
            store(s, c, new, m);
            if self.projected {
                store(s, saved.add(5 * hidden), out, m);
                return;
            }
            store(s, self.y.add(place), out, m);
            if !self.h.is_null() {
                store(s, self.h.add(place), out, m);
            }
        }
    }

    /// `m` units of a row that takes no part: its cell state is saved.
    ///
    /// # Safety
    /// - As [`active`](Self::active).
    #[inline(always)]
    unsafe fn idle<S: Simd<T>>(&self, s: S, [row, unit]: [usize; 2], m: usize, saved: *mut T) {
        let (hidden, place, zero) = (self.hidden, row * self.hidden + unit, s.splat(T::ZERO));
        // SAFETY: by the caller's contract.
        unsafe {
            for gate in 0..4 {
                store(s, saved.add(gate * hidden), zero, m);
            }
            store(s, saved.add(4 * hidden), load(s, self.c.add(place), m), m);
            if self.projected {
                store(s, saved.add(5 * hidden), zero, m);
            } else {
                store(s, self.y.add(place), zero, m);
            }
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
