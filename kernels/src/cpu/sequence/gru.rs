//! The passes of a GRU. A saved row is `r z n` and the hidden product of n.

use std::ops::Range;

use super::product::Sums;
use super::{Active, given, load, store, sum};
use crate::cpu::isa::Kernel;
use crate::cpu::math::{sigmoid, tanh};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::elementwise::BinaryFormula;
use crate::elementwise::binary::{SigmoidGrad, TanhGrad};

/// Gates and output of `count` rows.
pub(super) struct Forward<'a, T> {
    pub(super) hidden: usize,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) active: Active<'a>,
    pub(super) recurrent: &'a [T],
    pub(super) saved: &'a mut [T],
    pub(super) y: &'a mut [T],
    pub(super) h: &'a mut [T],
}

impl<T: Float> Kernel<T> for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Forward { hidden, first, count, active, .. } = self;
        for row in 0..count {
            let saved = &mut self.saved[row * 4 * hidden..][..4 * hidden];
            let y = &mut self.y[row * hidden..][..hidden];
            if !active.row(first + row) {
                saved.fill(T::ZERO);
                y.fill(T::ZERO);
                continue;
            }
            let from = self.recurrent[row * 3 * hidden..][..3 * hidden].as_ptr();
            let h = self.h[row * hidden..][..hidden].as_mut_ptr();
            let (saved, y) = (saved.as_mut_ptr(), y.as_mut_ptr());
            let mut k = 0;
            while k < hidden {
                let m = S::LANES.min(hidden - k);
                // SAFETY: `k + m <= hidden`; every row was cut to as many elements as are touched.
                unsafe {
                    let r = sum(s, saved.add(k), from.add(k), m);
                    let z = sum(s, saved.add(hidden + k), from.add(hidden + k), m);
                    let hidden_n = load(s, from.add(2 * hidden + k), m);
                    let input_n = load(s, saved.add(2 * hidden + k), m);
                    gates(s, [r, z, hidden_n], saved.add(k), hidden, m);
                    let old = load(s, h.add(k), m);
                    let new = state(s, input_n, old, saved.add(k), hidden, m);
                    store(s, y.add(k), new, m);
                    store(s, h.add(k), new, m);
                }
                k += m;
            }
        }
    }
}

/// The gates r and z from their sums, and the recurrent sum of n, to `saved`, `hidden` apart.
///
/// # Safety
/// - `saved` must be writable for `m` elements at each of the four places.
#[inline(always)]
unsafe fn gates<T: Float, S: Simd<T>>(
    s: S,
    [r, z, hidden_n]: [S::V; 3],
    saved: *mut T,
    hidden: usize,
    m: usize,
) {
    // SAFETY: by the caller's contract.
    unsafe {
        store(s, saved, sigmoid(s, r), m);
        store(s, saved.add(hidden), sigmoid(s, z), m);
        store(s, saved.add(3 * hidden), hidden_n, m);
    }
}

/// The new state from what [`gates`] saved and the input's sum of n, which is saved.
///
/// # Safety
/// - As `gates`, which must have run.
#[inline(always)]
unsafe fn state<T: Float, S: Simd<T>>(
    s: S,
    input_n: S::V,
    old: S::V,
    saved: *mut T,
    hidden: usize,
    m: usize,
) -> S::V {
    // SAFETY: by the caller's contract.
    unsafe {
        let r = load(s, saved, m);
        let hidden_n = load(s, saved.add(3 * hidden), m);
        let n = tanh(s, s.add(input_n, s.mul(r, hidden_n)));
        store(s, saved.add(2 * hidden), n, m);
        s.add(n, s.mul(load(s, saved.add(hidden), m), s.sub(old, n)))
    }
}

/// As [`Forward`], of the units of a panel whose sums were just made.
pub(super) struct OfPanel<'a, T> {
    pub(super) hidden: usize,
    pub(super) rows: Range<usize>,
    /// Units of a whole panel.
    pub(super) gate: usize,
    pub(super) units: Range<usize>,
    pub(super) active: Active<'a>,
    /// By rows, in them by gates.
    pub(super) sums: Sums<'a, T>,
    /// Of the whole step, as `y` and `old`.
    pub(super) saved: *mut T,
    pub(super) y: *mut T,
    /// The state before.
    pub(super) old: *const T,
}

impl<T: Float> Kernel<T> for OfPanel<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let rows = || self.rows.clone().enumerate();
        // SAFETY: whoever makes this has these rows, and these units of them alone.
        unsafe {
            for (i, row) in rows() {
                if self.active.row(row) {
                    self.gates(s, i, row);
                } else {
                    self.idle(s, row);
                }
            }
            // The state waits for the gates, so it gets a loop of its own, whose rows overlap.
            for (i, row) in rows().filter(|(_, row)| self.active.row(*row)) {
                self.state(s, i, row);
            }
        }
    }
}

impl<T: Float> OfPanel<'_, T> {
    /// # Safety
    /// - The row must be there, with these units.
    #[inline(always)]
    unsafe fn gates<S: Simd<T>>(&self, s: S, i: usize, row: usize) {
        let (hidden, gate, count) = (self.hidden, self.gate, self.units.len());
        let mut at = 0;
        while at < count {
            let m = S::LANES.min(count - at);
            // SAFETY: by the caller's contract: `m` units from `at` on.
            unsafe {
                let saved = self.saved.add(row * 4 * hidden + self.units.start + at);
                let (r, z) = (self.sums.both(s, i, at), self.sums.both(s, i, gate + at));
                let [_, hidden_n] = self.sums.each(s, i, 2 * gate + at);
                gates(s, [r, z, hidden_n], saved, hidden, m);
            }
            at += m;
        }
    }

    /// # Safety
    /// - As [`gates`](Self::gates), which must have run.
    #[inline(always)]
    unsafe fn state<S: Simd<T>>(&self, s: S, i: usize, row: usize) {
        let (hidden, gate, count) = (self.hidden, self.gate, self.units.len());
        let mut at = 0;
        while at < count {
            let m = S::LANES.min(count - at);
            let place = row * hidden + self.units.start + at;
            // SAFETY: by the caller's contract: `m` units from `at` on.
            unsafe {
                let saved = self.saved.add(row * 4 * hidden + self.units.start + at);
                let [input_n, _] = self.sums.each(s, i, 2 * gate + at);
                let old = load(s, self.old.add(place), m);
                store(s, self.y.add(place), state(s, input_n, old, saved, hidden, m), m);
            }
            at += m;
        }
    }

    /// A row that takes no part.
    ///
    /// # Safety
    /// - The row must be there, with these units.
    #[inline(always)]
    unsafe fn idle<S: Simd<T>>(&self, s: S, row: usize) {
        let (hidden, count, zero) = (self.hidden, self.units.len(), s.splat(T::ZERO));
        for at in (0..count).step_by(S::LANES) {
            let (m, unit) = (S::LANES.min(count - at), self.units.start + at);
            // SAFETY: by the caller's contract: `m` units from `at` on.
            unsafe {
                for gate in 0..4 {
                    store(s, self.saved.add((row * 4 + gate) * hidden + unit), zero, m);
                }
                store(s, self.y.add(row * hidden + unit), zero, m);
            }
        }
    }
}

/// The gradients of both products' gates of `count` rows, and what of `dh` passes the gate z by.
pub(super) struct Backward<'a, T> {
    pub(super) hidden: usize,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) active: Active<'a>,
    pub(super) saved: &'a [T],
    /// The state before.
    pub(super) before: &'a [T],
    /// Empty: 0.
    pub(super) grad: &'a [T],
    pub(super) dh: &'a mut [T],
    pub(super) gates: &'a mut [T],
    pub(super) hidden_gates: &'a mut [T],
}

impl<T: Float> Kernel<T> for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Backward { hidden, first, count, active, .. } = self;
        for row in 0..count {
            let gates = &mut self.gates[row * 3 * hidden..][..3 * hidden];
            let hidden_gates = &mut self.hidden_gates[row * 3 * hidden..][..3 * hidden];
            if !active.row(first + row) {
                gates.fill(T::ZERO);
                hidden_gates.fill(T::ZERO);
                continue;
            }
            let saved = self.saved[row * 4 * hidden..][..4 * hidden].as_ptr();
            let before = self.before[row * hidden..][..hidden].as_ptr();
            let grad = self.grad.get(row * hidden..(row + 1) * hidden).map(<[T]>::as_ptr);
            let dh = self.dh[row * hidden..][..hidden].as_mut_ptr();
            let (gates, hidden_gates) = (gates.as_mut_ptr(), hidden_gates.as_mut_ptr());
            let mut k = 0;
            while k < hidden {
                let m = S::LANES.min(hidden - k);
                // SAFETY: `k + m <= hidden`; every row was cut to as many elements as are touched.
                unsafe {
                    let r = load(s, saved.add(k), m);
                    let z = load(s, saved.add(hidden + k), m);
                    let n = load(s, saved.add(2 * hidden + k), m);
                    let hidden_n = load(s, saved.add(3 * hidden + k), m);
                    let out = s.add(given(s, grad, k, m), load(s, dh.add(k), m));
                    let old = load(s, before.add(k), m);
                    let direct = s.mul(out, z);
                    let dn = TanhGrad::apply(s, s.sub(out, direct), n);
                    let dz = SigmoidGrad::apply(s, s.mul(out, s.sub(old, n)), z);
                    let dr = SigmoidGrad::apply(s, s.mul(dn, hidden_n), r);
                    for to in [gates, hidden_gates] {
                        store(s, to.add(k), dr, m);
                        store(s, to.add(hidden + k), dz, m);
                    }
                    store(s, gates.add(2 * hidden + k), dn, m);
                    store(s, hidden_gates.add(2 * hidden + k), s.mul(dn, r), m);
                    store(s, dh.add(k), direct, m);
                }
                k += m;
            }
        }
    }
}
