//! Scans, sorting and searching, singular values.

use ferrotape_kernels::cpu::scan::{self, ScanOp};
use ferrotape_kernels::cpu::{search, sort, svd};

use super::{Dense, Input, Output, float_type, integer_type, tensor, told, view};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::Op;

/// Runs `$body` with `$t` as the Rust type of a number (2-byte floats were widened).
macro_rules! number_type {
    ($op:expr, $dtype:expr, $t:ident => $body:expr) => {
        if $dtype.is_float() {
            float_type!($op, $dtype, $t => $body)
        } else {
            integer_type!($op, $dtype, $t => $body)
        }
    };
}

pub(super) fn execute(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    let x = tensor(op, inputs, 0)?;
    match (op, outputs) {
        (Op::Scan(kind, dim), [y]) if x.dtype() == DType::I64 => {
            told(op, scan::scan_integers(*kind, view(op, x)?, *dim, y.buffer.as_mut_slice()))
        }
        (Op::Scan(kind, dim), [y, z]) if x.dtype() == DType::I64 => {
            let (values, indices) = (y.buffer.as_mut_slice(), z.buffer.as_mut_slice());
            told(op, scan::extremes::<i64>(*kind, view(op, x)?, *dim, values, indices))
        }
        (Op::Scan(kind, dim), [y]) => float_type!(op, x.dtype(), T => {
            let (x, out) = (view::<T>(op, x)?, y.buffer.as_mut_slice());
            told(op, match kind {
                ScanOp::Linear => {
                    scan::linear(x, view::<T>(op, tensor(op, inputs, 1)?)?, *dim, out)
                }
                _ => scan::scan(*kind, x, *dim, out),
            })
        }),
        (Op::Scan(kind, dim), [y, z]) => float_type!(op, x.dtype(), T => {
            let (values, indices) = (y.buffer.as_mut_slice(), z.buffer.as_mut_slice());
            told(op, scan::extremes(*kind, view::<T>(op, x)?, *dim, values, indices))
        }),
        (Op::Sort { dim, descending }, [y, z]) => number_type!(op, x.dtype(), T => {
            let (values, indices) = (y.buffer.as_mut_slice(), z.buffer.as_mut_slice());
            told(op, sort::sort(view::<T>(op, x)?, *dim, *descending, values, indices))
        }),
        (Op::SearchSorted { right }, [y]) => number_type!(op, x.dtype(), T => {
            let values = tensor(op, inputs, 1)?;
            let n = x.shape().last().copied().unwrap_or(1);
            let per_row = match x.rank() {
                1 => values.len(),
                _ => values.shape().last().copied().unwrap_or(1),
            };
            let (rows, values) = (Dense::<T>::new(op, x)?, Dense::<T>::new(op, values)?);
            let out = y.buffer.as_mut_slice();
            told(op, search::search_sorted(rows.slice(), n, values.slice(), per_row, *right, out))
        }),
        (Op::Svd, [u, s, vh]) => float_type!(op, x.dtype(), T => {
            let [.., rows, columns] = *x.shape() else {
                return Err(Error::argument(op.name(), "no matrix"));
            };
            let x = Dense::<T>::new(op, x)?;
            let [u, s, vh] = [u, s, vh].map(|out| out.buffer.as_mut_slice());
            told(op, svd::svd([rows, columns], x.slice(), u, s, vh))
        }),
        _ => Err(Error::argument(op.name(), "neither scans nor sorts")),
    }
}
