//! Scans, sorting and searching, singular values: shape and type of the results.

use ferrotape_kernels::cpu::scan::ScanOp;

use smallvec::smallvec;

use super::{Metas, like, require_float};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Meta, Op};
use crate::shape;

pub(super) fn output(op: &Op, inputs: &[Meta]) -> Result<Meta> {
    let (name, input) = (op.name(), &inputs[0]);
    match op {
        Op::Scan(scan, dim) => {
            if input.dtype != DType::I64 || *scan == ScanOp::Linear {
                require_float(name, input.dtype)?;
            }
            shape::check_dim(name, *dim, input.shape.len())?;
            if *scan == ScanOp::Linear && inputs[1].shape != input.shape {
                let message = format!("{:?} and {:?} differ", input.shape, inputs[1].shape);
                return Err(Error::shape(name, message));
            }
            Ok(input.clone())
        }
        Op::Sort { dim, .. } => {
            shape::check_dim(name, *dim, input.shape.len())?;
            Ok(input.clone())
        }
        Op::SearchSorted { .. } => {
            let (sorted, values) = (&input.shape, &inputs[1].shape);
            let rows = |shape: &shape::Dims| shape.len().saturating_sub(1);
            let fits = sorted.len() == 1
                || (sorted.len() > 1
                    && sorted.len() == values.len()
                    && sorted[..rows(sorted)] == values[..rows(values)]);
            if !fits {
                let message =
                    format!("sorted {sorted:?}, values {values:?}: one row, or as many of both");
                return Err(Error::shape(name, message));
            }
            Ok(Meta { dtype: DType::I64, ..like(input, values.clone()) })
        }
        _ => Err(Error::argument(name, "neither scans nor sorts")),
    }
}

pub(super) fn svd(op: &'static str, input: &Meta) -> Result<Metas> {
    require_float(op, input.dtype)?;
    let [batch @ .., m, n] = &input.shape[..] else {
        return Err(Error::shape(op, format!("{:?}: matrices expected", input.shape)));
    };
    let k = *m.min(n);
    let shaped = |sizes: &[usize]| like(input, batch.iter().chain(sizes).copied().collect());
    Ok(smallvec![shaped(&[*m, k]), shaped(&[k]), shaped(&[k, *n])])
}
