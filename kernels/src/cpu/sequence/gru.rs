//! The passes of a GRU. A saved row is `r z n` and the hidden product of n.

use std::ops::Range;

use super::product::Sums;
use super::{Active, load, store, sum};
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
                    let of_n = [
                        load(s, saved.add(2 * hidden + k), m),
                        load(s, from.add(2 * hidden + k), m),
                    ];
                    let old = load(s, h.add(k), m);
                    let new = cell(s, [r, z], of_n, old, saved.add(k), hidden, m);
                    store(s, y.add(k), new, m);
                    store(s, h.add(k), new, m);
                }
                k += m;
            }
        }
    }
}

/// The new state from the sums of the gates, the input's and the recurrent one of n; what is saved goes to `saved`, gates
/// `hidden` apart.
///
/// # Safety
/// - `saved` must be writable for `m` elements at each of the four places.
#[inline(always)]
unsafe fn cell<T: Float, S: Simd<T>>(
    s: S,
    [r, z]: [S::V; 2],
    [input_n, hidden_n]: [S::V; 2],
    old: S::V,
    saved: *mut T,
    hidden: usize,
    m: usize,
) -> S::V {
    let (r, z) = (sigmoid(s, r), sigmoid(s, z));
    let n = tanh(s, s.add(input_n, s.mul(r, hidden_n)));
    // SAFETY: by the caller's contract.
    unsafe {
        store(s, saved, r, m);
        store(s, saved.add(hidden), z, m);
        store(s, saved.add(2 * hidden), n, m);
        store(s, saved.add(3 * hidden), hidden_n, m);
    }
    s.add(n, s.mul(z, s.sub(old, n)))
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
        for (i, row) in self.rows.clone().enumerate() {
            let active = self.active.row(row);
            let mut unit = self.units.start;
            while unit < self.units.end {
                let m = S::LANES.min(self.units.end - unit);
                // SAFETY: `unit + m <= hidden`; whoever makes this has these rows, and these units of them alone.
                unsafe { self.unit(s, i, [row, unit], m, active) };
                unit += m;
            }
        }
    }
}

impl<T: Float> OfPanel<'_, T> {
    /// # Safety
    /// - The row must be there, with `m` units from `unit` on.
    #[inline(always)]
    unsafe fn unit<S: Simd<T>>(
        &self,
        s: S,
        i: usize,
        [row, unit]: [usize; 2],
        m: usize,
        active: bool,
    ) {
        let (hidden, gate, at) = (self.hidden, self.gate, unit - self.units.start);
        let place = row * hidden + unit;
        // SAFETY: by the caller's contract.
        unsafe {
            let (saved, y) = (self.saved.add(row * 4 * hidden + unit), self.y.add(place));
            if !active {
                for gate in 0..4 {
                    store(s, saved.add(gate * hidden), s.splat(T::ZERO), m);
                }
                return store(s, y, s.splat(T::ZERO), m);
            }
            let gates = [self.sums.both(s, i, at), self.sums.both(s, i, gate + at)];
            let of_n = self.sums.each(s, i, 2 * gate + at);
            let old = load(s, self.old.add(place), m);
            store(s, y, cell(s, gates, of_n, old, saved, hidden, m), m);
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
            let grad = self.grad[row * hidden..][..hidden].as_ptr();
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
                    let out = s.add(load(s, grad.add(k), m), load(s, dh.add(k), m));
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
