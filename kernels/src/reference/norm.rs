//! Naive layer normalisation: the formulas, sums by the reference reductions.

use crate::cpu::reduce::ReduceOp;
use crate::reference::reduce;

macro_rules! reference {
    ($module:ident, $t:ty) => {
        /// The reference for one element type.
        pub mod $module {
            use super::*;

            fn mean(x: &[$t]) -> $t {
                reduce::$module::row(ReduceOp::Sum, x) / x.len() as $t
            }

            /// `[mean, rstd]` of a row.
            pub fn stats(x: &[$t], eps: f64) -> [$t; 2] {
                let m = mean(x);
                let squares: Vec<$t> = x.iter().map(|&x| (x - m) * (x - m)).collect();
                [m, 1.0 / (mean(&squares) + eps as $t).sqrt()]
            }

            /// `x^` of a row.
            fn normal(x: &[$t], [m, rstd]: [$t; 2]) -> Vec<$t> {
                x.iter().map(|&x| (x - m) * rstd).collect()
            }

            /// [`layer_norm`](crate::cpu::norm::layer_norm) of a row.
            pub fn layer_norm(x: &[$t], eps: f64, w: Option<&[$t]>, b: Option<&[$t]>) -> Vec<$t> {
                let mut y = normal(x, stats(x, eps));
                for (k, y) in y.iter_mut().enumerate() {
                    *y = w.map_or(*y, |w| *y * w[k]);
                    *y = b.map_or(*y, |b| *y + b[k]);
                }
                y
            }

            /// [`layer_norm_input`](crate::cpu::norm::layer_norm_input) of a row.
            pub fn layer_norm_input(
                g: &[$t],
                x: &[$t],
                stats: [$t; 2],
                w: Option<&[$t]>,
            ) -> Vec<$t> {
                let weighted = |(k, &g): (usize, &$t)| w.map_or(g, |w| g * w[k]);
                let v: Vec<$t> = g.iter().enumerate().map(weighted).collect();
                let normal = normal(x, stats);
                let products: Vec<$t> = v.iter().zip(&normal).map(|(v, n)| v * n).collect();
                let means = [mean(&v), mean(&products)];
                let project = |(v, n): (&$t, &$t)| ((v - means[0]) - n * means[1]) * stats[1];
                v.iter().zip(&normal).map(project).collect()
            }

            /// [`layer_norm_weight`](crate::cpu::norm::layer_norm_weight) of one column. g, x: `[rows, size]`.
            pub fn layer_norm_weight(
                [g, x]: [&[$t]; 2],
                stats: &[[$t; 2]],
                size: usize,
                column: usize,
            ) -> $t {
                let term = |row: usize| {
                    let at = row * size + column;
                    g[at] * ((x[at] - stats[row][0]) * stats[row][1])
                };
                let terms: Vec<$t> = (0..stats.len()).map(term).collect();
                if terms.is_empty() { 0.0 } else { reduce::$module::column(ReduceOp::Sum, &terms) }
            }
        }
    };
}
reference!(single, f32);
reference!(double, f64);
