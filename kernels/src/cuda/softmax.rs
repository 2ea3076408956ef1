//! Softmax and its logarithm: `softmax.cu`.

#[cfg(test)]
mod tests;

use super::array::Array;
use super::launch::{Family, Grid, Name, THREADS, argument};
use super::memory::DeviceBuffer;
use super::{copy, reduce};
use crate::cpu::reduce::ReduceOp;
use crate::cpu::softmax::Rows;
use crate::error::{Error, Result, require};

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

/// `out = softmax(x)` over the middle dim of `x` seen as `rows`, or `log_softmax(x)` if `log`; `out` is contiguous, from its start on.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ or `x` is not of floats; [`Cuda`](Error::Cuda).
pub fn softmax(rows: Rows, log: bool, x: Array<'_>, out: &mut DeviceBuffer) -> Result<()> {
    let Rows { outer, size, inner } = rows;
    let kind = x.kind();
    let len = size.checked_mul(inner).and_then(|plane| plane.checked_mul(outer));
    let bytes = len.and_then(|len| len.checked_mul(kind.size()));
    require(len == Some(x.len()) && bytes == Some(out.len()), "softmax: lengths")?;
    require(!kind.is_integer(), "softmax: of floats only")?;
    let (Some(len), false) = (len, x.is_empty()) else { return Ok(()) };
    let (gpu, gathered) = (out.gpu(), gathered(x)?);
    let from = match &gathered {
        Some(gathered) => gathered.address(),
        None => x.buffer().address() + (x.offset() * kind.size()) as u64,
    };
    let (to, logarithm) = (out.address(), i32::from(log));
    if inner == 1 && size <= CHUNK {
        let width = size.clamp(1, 32).next_power_of_two();
        let (n, count, threads) = (size as i64, outer as i64, width as i32);
        let arguments = [
            argument(&from),
            argument(&to),
            argument(&n),
            argument(&count),
            argument(&threads),
            argument(&logarithm),
        ];
        let name = Name::of(&["softmax_rows", kind.name()]);
        let teams = THREADS as usize / width;
        let grid = Grid::of(outer.div_ceil(teams).clamp(1, 1 << 14), THREADS);
        // SAFETY: the kernel's arguments; both buffers have `outer` rows of `size` elements.
        return unsafe { gpu.launch(Family::Softmax, &name, grid, &arguments) };
    }
    let wide = reduce::folded(kind);
    let places = outer * inner * wide.size();
    let (mut maxima, mut sums) = (DeviceBuffer::new(gpu, places)?, DeviceBuffer::new(gpu, places)?);
    let (shape, strides) = ([outer, size, inner], [(size * inner) as isize, inner as isize, 1]);
    let view = match &gathered {
        Some(gathered) => Array::new(gathered, kind, 0, &shape, &strides)?,
        None => Array::new(x.buffer(), kind, x.offset(), &shape, &strides)?,
    };
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
    let (total, size, inner, n) = (sums.address(), size as i64, inner as i64, len as i64);
    let arguments = [
        argument(&from),
        argument(&most),
        argument(&total),
        argument(&to),
        argument(&size),
        argument(&inner),
        argument(&n),
        argument(&logarithm),
    ];
    let name = Name::of(&["softmax_finish", kind.name()]);
    // SAFETY: the kernel's arguments; lengths as above.
    unsafe { gpu.launch(Family::Softmax, &name, Grid::over(len), &arguments) }
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
