//! The passes of a GRU. A saved row is `r z n` and the hidden product of n.

use std::ops::Range;

use super::{Active, Part, load, store};
use crate::cpu::isa::Kernel;
use crate::cpu::math::{sigmoid, tanh};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::elementwise::BinaryFormula;
use crate::elementwise::binary::{SigmoidGrad, TanhGrad};

/// Gates and output of some units of `count` rows. Pointers are to the first row.
pub(super) struct Forward<'a, T> {
    pub(super) hidden: usize,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) units: Range<usize>,
    pub(super) active: Active<'a>,
    pub(super) recurrent: Part<'a, T>,
    /// The input's sums, if they are not in `saved`.
    pub(super) input: Option<Part<'a, T>>,
    pub(super) saved: *mut T,
    pub(super) y: *mut T,
    /// The state before.
    pub(super) old: *const T,
    /// Null, or a state that is kept beside y.
    pub(super) h: *mut T,
}

impl<T: Float> Kernel<T> for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let hidden = self.hidden;
        for row in 0..self.count {
            let active = self.active.row(self.first + row);
            let mut unit = self.units.start;
            while unit < self.units.end {
                let m = S::LANES.min(self.units.end - unit);
                // SAFETY: `unit + m <= hidden`; whoever makes this has all rows, and these units of them alone.
                unsafe {
                    let saved = self.saved.add(row * 4 * hidden + unit);
                    if active {
                        self.active(s, [row, unit], m, saved);
                    } else {
                        let zero = s.splat(T::ZERO);
                        for place in 0..4 {
                            store(s, saved.add(place * hidden), zero, m);
                        }
                        store(s, self.y.add(row * hidden + unit), zero, m);
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
    ) -> [S::V; 2] {
        let (hidden, start) = (self.hidden, self.units.start);
        // SAFETY: by the caller's contract.
        unsafe {
            let input = match &self.input {
                Some(input) => input.load(s, [row, gate, unit], [hidden, start], m),
                None => load(s, saved.add(gate * hidden), m),
            };
            [input, self.recurrent.load(s, [row, gate, unit], [hidden, start], m)]
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
            let [input_r, hidden_r] = self.gate(s, 0, at, m, saved);
            let [input_z, hidden_z] = self.gate(s, 1, at, m, saved);
            let [input_n, hidden_n] = self.gate(s, 2, at, m, saved);
            let r = sigmoid(s, s.add(input_r, hidden_r));
            let z = sigmoid(s, s.add(input_z, hidden_z));
            let n = tanh(s, s.add(input_n, s.mul(r, hidden_n)));
            let old = load(s, self.old.add(place), m);
            let new = s.add(n, s.mul(z, s.sub(old, n)));
            store(s, saved, r, m);
            store(s, saved.add(hidden), z, m);
            store(s, saved.add(2 * hidden), n, m);
            store(s, saved.add(3 * hidden), hidden_n, m);
            store(s, self.y.add(place), new, m);
            if !self.h.is_null() {
                store(s, self.h.add(place), new, m);
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
