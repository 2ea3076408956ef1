//! The passes of an LSTM. A saved row is `i f g o c`, and `o * tanh(c)` before a projection.

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
                    let i = sigmoid(s, sum(s, saved.add(k), from.add(k), m));
                    let f = sigmoid(s, sum(s, saved.add(hidden + k), from.add(hidden + k), m));
                    let g = tanh(s, sum(s, saved.add(2 * hidden + k), from.add(2 * hidden + k), m));
                    let o =
                        sigmoid(s, sum(s, saved.add(3 * hidden + k), from.add(3 * hidden + k), m));
                    let old = load(s, c.add(k), m);
                    let new = s.add(s.mul(f, old), s.mul(i, g));
                    let out = s.mul(o, tanh(s, new));
                    store(s, saved.add(k), i, m);
                    store(s, saved.add(hidden + k), f, m);
                    store(s, saved.add(2 * hidden + k), g, m);
                    store(s, saved.add(3 * hidden + k), o, m);
                    store(s, saved.add(4 * hidden + k), new, m);
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
