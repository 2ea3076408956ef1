//! The passes of a GRU. A saved row is `r z n` and the hidden product of n.

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
                    let r = sigmoid(s, sum(s, saved.add(k), from.add(k), m));
                    let z = sigmoid(s, sum(s, saved.add(hidden + k), from.add(hidden + k), m));
                    let hidden_n = load(s, from.add(2 * hidden + k), m);
                    let input_n = load(s, saved.add(2 * hidden + k), m);
                    let n = tanh(s, s.add(input_n, s.mul(r, hidden_n)));
                    let old = load(s, h.add(k), m);
                    let new = s.add(n, s.mul(z, s.sub(old, n)));
                    store(s, saved.add(k), r, m);
                    store(s, saved.add(hidden + k), z, m);
                    store(s, saved.add(2 * hidden + k), n, m);
                    store(s, saved.add(3 * hidden + k), hidden_n, m);
                    store(s, y.add(k), new, m);
                    store(s, h.add(k), new, m);
                }
                k += m;
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
