//! Naive reductions: every element by its full index, then R3 step by step.

use crate::cpu::reduce::{ArgOp, ReduceOp};

/// Elements in a chunk of the innermost group, and rows in a chunk of any other.
const CHUNK: usize = 16_384;
const ROWS: usize = 256;

/// The order-free pick of the better of two: NaN first, then the left of equals.
fn pick(op: ReduceOp, left: f64, right: f64) -> f64 {
    let better = if op == ReduceOp::Max { right > left } else { right < left };
    if !left.is_nan() && (right.is_nan() || better) { right } else { left }
}

macro_rules! reference {
    ($module:ident, $t:ty) => {
        /// The reference for one element type.
        pub mod $module {
            use super::*;

            /// The pair tree of `values`.
            pub fn pair_tree(op: ReduceOp, mut values: Vec<$t>) -> $t {
                while values.len() > 1 {
                    values =
                        values
                            .chunks(2)
                            .map(|pair| {
                                if pair.len() == 2 {
                                    combine(op, pair[0], pair[1])
                                } else {
                                    pair[0]
                                }
                            })
                            .collect();
                }
                values.first().copied().unwrap_or(start(op))
            }

            fn combine(op: ReduceOp, left: $t, right: $t) -> $t {
                match op {
                    ReduceOp::Sum => left + right,
                    ReduceOp::Prod => left * right,
                    _ => pick(op, left as f64, right as f64) as $t,
                }
            }

            /// The result of nothing.
            fn start(op: ReduceOp) -> $t {
                if op == ReduceOp::Prod { 1.0 } else { 0.0 }
            }

            /// A row of the innermost group.
            pub fn row(op: ReduceOp, x: &[$t]) -> $t {
                if matches!(op, ReduceOp::Max | ReduceOp::Min) {
                    return x[1..].iter().fold(x[0], |best, &x| combine(op, best, x));
                }
                let chunks = x.chunks(CHUNK).map(|chunk| {
                    let mut lanes = [start(op); 64];
                    for (i, &x) in chunk.iter().enumerate() {
                        lanes[i % 64] = combine(op, lanes[i % 64], x);
                    }
                    for width in [32, 16, 8, 4, 2, 1] {
                        for i in 0..width {
                            lanes[i] = combine(op, lanes[i], lanes[i + width]);
                        }
                    }
                    lanes[0]
                });
                pair_tree(op, chunks.collect())
            }

            /// One column of any other group.
            pub fn column(op: ReduceOp, x: &[$t]) -> $t {
                if matches!(op, ReduceOp::Max | ReduceOp::Min) {
                    return row(op, x);
                }
                let chunks = x
                    .chunks(ROWS)
                    .map(|chunk| chunk.iter().fold(start(op), |sum, &x| combine(op, sum, x)));
                pair_tree(op, chunks.collect())
            }

            /// Reduces contiguous `x` over the flagged dims.
            pub fn reduce(op: ReduceOp, x: &[$t], shape: &[usize], reduced: &[bool]) -> Vec<$t> {
                let mut x = x.to_vec();
                let dims = shape.iter().zip(reduced).filter(|(size, _)| **size != 1);
                let mut dims: Vec<(usize, bool)> =
                    dims.map(|(&size, &flag)| (size, flag)).collect();
                while let Some(last) = dims.iter().rposition(|d| d.1) {
                    let first = dims[..last].iter().rposition(|d| !d.1).map_or(0, |kept| kept + 1);
                    let size = |dims: &[(usize, bool)]| dims.iter().map(|d| d.0).product::<usize>();
                    let outer = size(&dims[..first]);
                    let n = size(&dims[first..=last]);
                    let inner = size(&dims[last + 1..]);
                    let innermost = last + 1 == dims.len();
                    let mut next = Vec::new();
                    for a in 0..outer {
                        for b in 0..inner {
                            let line: Vec<$t> =
                                (0..n).map(|r| x[(a * n + r) * inner + b]).collect();
                            next.push(if n == 0 {
                                start(op)
                            } else if innermost {
                                row(op, &line)
                            } else {
                                column(op, &line)
                            });
                        }
                    }
                    x = next;
                    dims.drain(first..=last);
                }
                x
            }

            /// The index of the extreme of a row.
            pub fn arg(op: ArgOp, x: &[$t]) -> i64 {
                let op = if op == ArgOp::Max { ReduceOp::Max } else { ReduceOp::Min };
                let extreme = row(op, x);
                let hit = |x: &$t| *x == extreme || (x.is_nan() && extreme.is_nan());
                x.iter().position(hit).map_or(-1, |i| i as i64)
            }
        }
    };
}
reference!(single, f32);
reference!(double, f64);
