//! The passes of a plain RNN. Its output says all that the backward pass needs.

use super::{Active, load, store};
use crate::cpu::isa::Kernel;
use crate::cpu::math::tanh;
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::elementwise::binary::{ReluGrad, TanhGrad};
use crate::elementwise::unary::Relu;
use crate::elementwise::{BinaryFormula, UnaryFormula};

/// Output of `count` rows; y comes with the input's product.
pub(super) struct Forward<'a, T> {
    pub(super) hidden: usize,
    pub(super) relu: bool,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) active: Active<'a>,
    pub(super) recurrent: &'a [T],
    pub(super) y: &'a mut [T],
    pub(super) h: &'a mut [T],
}

impl<T: Float> Kernel<T> for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Forward { hidden, relu, first, count, active, .. } = self;
        for row in 0..count {
            let y = &mut self.y[row * hidden..][..hidden];
            if !active.row(first + row) {
                y.fill(T::ZERO);
                continue;
            }
            let from = self.recurrent[row * hidden..][..hidden].as_ptr();
            let h = self.h[row * hidden..][..hidden].as_mut_ptr();
            let y = y.as_mut_ptr();
            let mut k = 0;
            while k < hidden {
                let m = S::LANES.min(hidden - k);
                // SAFETY: `k + m <= hidden`, the length of each row.
                unsafe {
                    let sum = s.add(load(s, y.add(k), m), load(s, from.add(k), m));
                    let new = if relu { Relu::apply(s, sum) } else { tanh(s, sum) };
                    store(s, y.add(k), new, m);
                    store(s, h.add(k), new, m);
                }
                k += m;
            }
        }
    }
}

/// The gradient of the sum of `count` rows.
pub(super) struct Backward<'a, T> {
    pub(super) hidden: usize,
    pub(super) relu: bool,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) active: Active<'a>,
    pub(super) y: &'a [T],
    pub(super) grad: &'a [T],
    /// Set to 0 where it was used.
    pub(super) dh: &'a mut [T],
    pub(super) gates: &'a mut [T],
}

impl<T: Float> Kernel<T> for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Backward { hidden, relu, first, count, active, .. } = self;
        for row in 0..count {
            let gates = &mut self.gates[row * hidden..][..hidden];
            if !active.row(first + row) {
                gates.fill(T::ZERO);
                continue;
            }
            let y = self.y[row * hidden..][..hidden].as_ptr();
            let grad = self.grad[row * hidden..][..hidden].as_ptr();
            let dh = self.dh[row * hidden..][..hidden].as_mut_ptr();
            let gates = gates.as_mut_ptr();
            let mut k = 0;
            while k < hidden {
                let m = S::LANES.min(hidden - k);
                // SAFETY: `k + m <= hidden`, the length of each row.
                unsafe {
                    let out = s.add(load(s, grad.add(k), m), load(s, dh.add(k), m));
                    let y = load(s, y.add(k), m);
                    let d = match relu {
                        true => ReluGrad::apply(s, out, y),
                        false => TanhGrad::apply(s, out, y),
                    };
                    store(s, gates.add(k), d, m);
                    store(s, dh.add(k), s.splat(T::ZERO), m);
                }
                k += m;
            }
        }
    }
}
