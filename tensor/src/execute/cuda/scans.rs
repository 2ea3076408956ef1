//! Scans, sorting and searching.

use ferrotape_kernels::cpu::scan::ScanOp;
use ferrotape_kernels::cuda::{Type, scan, sort};

use super::dense::Dense;
use super::{array, kind, target};
use crate::error::{Error, Result};
use crate::execute::{Input, Output, tensor, told};
use crate::layout::Layout;
use crate::op::Op;
use crate::tensor::Tensor;

pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    let Some(Input::Tensor(x)) = inputs.first() else { return None };
    match (op, outputs) {
        // 2-byte floats are scanned as f32.
        (Op::Scan(..), _) if !matches!(kind(x.dtype()), Type::F32 | Type::F64 | Type::I64) => None,
        (Op::Scan(how, dim), [y]) => Some(chain(op, *how, *dim, inputs, y)),
        (Op::Scan(how, dim), [y, z]) => Some(extremes(op, *how, *dim, inputs, [y, z])),
        (Op::Sort { dim, descending }, [y, z]) => {
            Some(sorted(op, *dim, *descending, inputs, [y, z]))
        }
        (Op::SearchSorted { right }, [y]) => Some(search(op, *right, inputs, y)),
        _ => None,
    }
}

fn chain(
    op: &Op,
    how: ScanOp,
    dim: usize,
    inputs: &[Input<'_>],
    out: &mut Output<'_>,
) -> Result<()> {
    let x = array(op, tensor(op, inputs, 0)?)?;
    let out = target(op, out)?;
    told(
        op,
        match how {
            ScanOp::Linear => scan::linear(x, array(op, tensor(op, inputs, 1)?)?, dim, out),
            _ => scan::scan(how, x, dim, out),
        },
    )
}

fn extremes(
    op: &Op,
    how: ScanOp,
    dim: usize,
    inputs: &[Input<'_>],
    [values, indices]: [&mut Output<'_>; 2],
) -> Result<()> {
    let x = array(op, tensor(op, inputs, 0)?)?;
    told(op, scan::extremes(how, x, dim, target(op, values)?, target(op, indices)?))
}

fn sorted(
    op: &Op,
    dim: usize,
    descending: bool,
    inputs: &[Input<'_>],
    [values, indices]: [&mut Output<'_>; 2],
) -> Result<()> {
    let x = array(op, tensor(op, inputs, 0)?)?;
    told(op, sort::sort(x, dim, descending, target(op, values)?, target(op, indices)?))
}

fn search(op: &Op, right: bool, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let (rows, values): (&Tensor, &Tensor) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    if rows.dtype() != values.dtype() {
        return Err(Error::argument(op.name(), "rows and values differ in type"));
    }
    let n = rows.shape().last().copied().unwrap_or(1);
    let per_row = match rows.rank() {
        1 => values.len(),
        _ => values.shape().last().copied().unwrap_or(1),
    };
    let (x, wanted) = (Dense::new(op, rows)?, Dense::new(op, values)?);
    let whole = |tensor: &Tensor| Layout::contiguous(tensor.shape().iter().copied().collect());
    let (x_layout, layout) = (whole(rows), whole(values));
    let x = x.array(op, rows.shape(), x_layout.strides())?;
    let wanted = wanted.array(op, values.shape(), layout.strides())?;
    told(op, sort::search_sorted(x, n, wanted, per_row, right, target(op, out)?))
}
