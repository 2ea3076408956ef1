//! Softmax, its logarithm and cross entropy: `softmax.cu`.

mod loss;
#[cfg(test)]
mod tests;

use super::array::Array;
use super::launch::{Family, Grid, Name, THREADS, argument};
use super::memory::DeviceBuffer;
use super::norm::Held;
use super::{copy, reduce};
use crate::cpu::reduce::ReduceOp;
use crate::cpu::softmax::Rows;
use crate::error::{Error, Result, require};

pub use loss::{cross_entropy, cross_entropy_grad};

/// Elements in a chunk of a row, rows in a chunk of columns.
const CHUNK: usize = 16_384;
const ROWS: usize = 256;

/// As `softmax_sums` takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct SumPlan {
    size: i64,
    inner: i64,
    chunks: i64,
    tasks: i64,
}

/// What becomes of rows: see `softmax.cu`. Addresses, 0 for what there is none of; `step`: from one row's weight to the next.
#[derive(Clone, Copy)]
struct Form {
    code: i32,
    targets: u64,
    weight: u64,
    step: i64,
}

impl Form {
    /// One element a row.
    const LOSS: i32 = 2;
    const GRADIENT: i32 = 3;
}

/// `out = softmax(x)` over the middle dim of `x` seen as `rows`, or `log_softmax(x)` if `log`; `out` is contiguous, from its start on.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ or `x` is not of floats; [`Cuda`](Error::Cuda).
pub fn softmax(rows: Rows, log: bool, x: Array<'_>, out: &mut DeviceBuffer) -> Result<()> {
    let Rows { outer, size, inner } = rows;
    let len = size.checked_mul(inner).and_then(|plane| plane.checked_mul(outer));
    let bytes = len.and_then(|len| len.checked_mul(x.kind().size()));
    require(len == Some(x.len()) && bytes == Some(out.len()), "softmax: lengths")?;
    require(!x.kind().is_integer(), "softmax: of floats only")?;
    let form = Form { code: i32::from(log), targets: 0, weight: 0, step: 0 };
    if x.is_empty() { Ok(()) } else { run(rows, form, x, out) }
}

/// All forms; `x` and what is written have the lengths of `rows`, which are not 0.
fn run(rows: Rows, form: Form, x: Array<'_>, out: &mut DeviceBuffer) -> Result<()> {
    let Rows { outer, size, inner } = rows;
    let (kind, wide) = (x.kind(), reduce::folded(x.kind()));
    let (gpu, gathered) = (out.gpu(), gathered(x)?);
    let shape = [outer, size, inner];
    let strides = [(size * inner) as isize, inner as isize, 1];
    let view = match &gathered {
        Some(gathered) => Array::new(gathered, kind, 0, &shape, &strides)?,
        None => Array::new(x.buffer(), kind, x.offset(), &shape, &strides)?,
    };
    let (from, to) = (view.start()?, out.address());
    let Form { code, targets, weight, step } = form;
    let held = Held::new(gpu, size, wide, 1).filter(|_| inner == 1);
    if let Some(held) = held {
        let (n, count, threads) = (size as i32, outer as i64, held.width as i32);
        let arguments = [
            argument(&from),
            argument(&targets),
            argument(&weight),
            argument(&to),
            argument(&n),
            argument(&count),
            argument(&threads),
            argument(&code),
            argument(&step),
        ];
        let name = Name::of(&["softmax_rows", kind.name()]);
        // SAFETY: the kernel's arguments; `x` has `outer` rows of `size` elements, targets, weights and result go with them.
        return unsafe { gpu.launch(Family::Softmax, &name, held.grid(outer), &arguments) };
    }
    let places = outer * inner * wide.size();
    let (mut maxima, mut sums) = (DeviceBuffer::new(gpu, places)?, DeviceBuffer::new(gpu, places)?);
    reduce::reduce(ReduceOp::Max, view, &[false, true, false], wide, &mut maxima)?;
    let chunks = size.div_ceil(if inner == 1 { CHUNK } else { ROWS });
    let tasks = outer * chunks * inner;
    let mut partial = match chunks {
        1 => None,
        _ => Some(DeviceBuffer::new(gpu, tasks * wide.size())?),
    };
    let (most, partial_address) =
        (maxima.address(), partial.as_ref().map_or(sums.address(), DeviceBuffer::address));
    let plan = SumPlan {
        size: size as i64,
        inner: inner as i64,
        chunks: chunks as i64,
        tasks: tasks as i64,
    };
    let arguments = [argument(&from), argument(&most), argument(&partial_address), argument(&plan)];
    let name = Name::of(&["softmax_sums", kind.name()]);
    let teams = THREADS as usize / if inner == 1 { 32 } else { 1 };
    let grid = Grid::of(tasks.div_ceil(teams).clamp(1, 1 << 14), THREADS);
    // SAFETY: the kernel's arguments; `x` has all elements, the maxima are one a place, the sums one a task.
    unsafe { gpu.launch(Family::Softmax, &name, grid, &arguments)? };
    if let Some(partial) = partial.take() {
        reduce::tree(ReduceOp::Sum, wide, partial, [outer, chunks, inner], &mut sums)?;
    }
    let n = if code == Form::LOSS { outer } else { view.len() };
    let (total, size, inner, len) = (sums.address(), size as i64, inner as i64, n as i64);
    let arguments = [
        argument(&from),
        argument(&most),
        argument(&total),
        argument(&targets),
        argument(&weight),
        argument(&to),
        argument(&size),
        argument(&inner),
        argument(&len),
        argument(&code),
        argument(&step),
    ];
    let name = Name::of(&["softmax_finish", kind.name()]);
    // SAFETY: the kernel's arguments; lengths as above.
    unsafe { gpu.launch(Family::Softmax, &name, Grid::over(n), &arguments) }
}

/// A contiguous copy of what is not contiguous.
fn gathered(x: Array<'_>) -> Result<Option<DeviceBuffer>> {
    if x.is_contiguous() {
        return Ok(None);
    }
    let bytes = x.len().checked_mul(x.kind().size());
    let bytes = bytes.ok_or(Error::Contract("softmax: size of a copy"))?;
    let mut gathered = DeviceBuffer::new(x.buffer().gpu(), bytes)?;
    copy::copy(x, &mut gathered)?;
    Ok(Some(gathered))
}
