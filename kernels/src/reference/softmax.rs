//! Naive softmax and cross entropy: the formulas of ADR 001, sums by the reference reductions.

use crate::cpu::reduce::ReduceOp;
use crate::cpu::simd::Scalar;
use crate::cpu::softmax::Rows;
use crate::cpu::softmax::exponential::{exp, log};
use crate::reference::reduce;

macro_rules! reference {
    ($module:ident, $t:ty) => {
        /// The reference for one element type.
        pub mod $module {
            use super::*;

            /// `(m, e, s)` of one row; `innermost` chooses the order of the sum.
            fn parts(x: &[$t], innermost: bool) -> ($t, Vec<$t>, $t) {
                let m = reduce::$module::row(ReduceOp::Max, x);
                let e: Vec<$t> = x.iter().map(|&x| exp::<$t, _>(Scalar, x - m)).collect();
                let s = if innermost {
                    reduce::$module::row(ReduceOp::Sum, &e)
                } else {
                    reduce::$module::column(ReduceOp::Sum, &e)
                };
                (m, e, s)
            }

            /// [`softmax`](crate::cpu::softmax::softmax).
            pub fn softmax(rows: Rows, logarithm: bool, x: &[$t]) -> Vec<$t> {
                let mut out = x.to_vec();
                for outer in 0..rows.outer {
                    for inner in 0..rows.inner {
                        let at = |k: usize| (outer * rows.size + k) * rows.inner + inner;
                        let line: Vec<$t> = (0..rows.size).map(|k| x[at(k)]).collect();
                        if line.is_empty() {
                            continue;
                        }
                        let (m, e, s) = parts(&line, rows.inner == 1);
                        for k in 0..rows.size {
                            out[at(k)] = if logarithm { (line[k] - m) - log(s) } else { e[k] / s };
                        }
                    }
                }
                out
            }

            /// [`cross_entropy`](crate::cpu::softmax::cross_entropy) of one row.
            pub fn cross_entropy(x: &[$t], target: usize) -> $t {
                let (m, _, s) = parts(x, true);
                log(s) - (x[target] - m)
            }

            /// [`cross_entropy_grad`](crate::cpu::softmax::cross_entropy_grad) of one row.
            pub fn cross_entropy_grad(x: &[$t], target: usize, weight: $t) -> Vec<$t> {
                let (_, e, s) = parts(x, true);
                let hit = |k: usize| if k == target { 1.0 } else { 0.0 };
                e.iter().enumerate().map(|(k, &e)| (e / s - hit(k)) * weight).collect()
            }
        }
    };
}
reference!(single, f32);
reference!(double, f64);
