//! Sorting along a dim, and searching in sorted rows: `sort.cu`, with the results of [`cpu::sort`](crate::cpu::sort) and
//! [`cpu::search`](crate::cpu::search).

#[cfg(test)]
mod tests;

use super::array::{Array, Strided, Type};
use super::driver::Gpu;
use super::launch::{Argument, Family, Grid, Name, THREADS, argument};
use super::memory::DeviceBuffer;
use crate::error::{Error, Result, require};
use crate::strided::checked_len;

/// The longest row that is sorted in shared memory, keys of a piece of longer ones, and values of a digit.
const SHORT: usize = 2048;
const PIECE: usize = 4096;
const DIGITS: usize = 256;
/// Blocks that fill any device.
const BLOCKS: usize = 1 << 14;

/// The lines of a view along one dim, numbered in row-major order of the other dims.
pub(super) struct Lines {
    /// Where each starts.
    pub(super) starts: Strided,
    /// How many.
    pub(super) count: usize,
    /// Elements of a line, and the step from one to the next.
    pub(super) n: usize,
    pub(super) step: i64,
    /// The same step in a row-major result.
    pub(super) inner: usize,
}

impl Lines {
    /// Those of a view that has elements.
    pub(super) fn new(x: Array<'_>, dim: usize) -> Result<Lines> {
        let (mut shape, mut strides) = ([1; 64], [0; 64]);
        let rank = x.shape().len();
        require(dim < rank, "no such dim")?;
        if rank > shape.len() {
            return Err(Error::Beyond("more than 64 dims"));
        }
        shape[..rank].copy_from_slice(x.shape());
        strides[..rank].copy_from_slice(x.strides());
        shape[dim] = 1;
        let n = x.shape()[dim];
        if u32::try_from(n).is_err() {
            return Err(Error::Beyond("a dim of more than 2^32 - 1"));
        }
        Ok(Lines {
            starts: Strided::new(x.offset(), &shape[..rank], &strides[..rank])?,
            count: x.len() / n.max(1),
            n,
            step: x.strides()[dim] as i64,
            inner: x.shape()[dim + 1..].iter().product(),
        })
    }
}

/// Keys: numbers without sign.
pub(super) enum Keys {
    /// Of 4 bytes.
    Short(DeviceBuffer),
    /// Of 8.
    Long(DeviceBuffer),
}

impl Keys {
    fn parts(self) -> (DeviceBuffer, &'static str) {
        match self {
            Keys::Short(keys) => (keys, "u32"),
            Keys::Long(keys) => (keys, "u64"),
        }
    }
}

/// As `sort_place` takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Pass {
    keys: u64,
    order: u64,
    keys_out: u64,
    order_out: u64,
    counts: u64,
    totals: u64,
    n: i64,
    pieces: i64,
    tasks: i64,
    shift: i32,
}

/// Sorts `rows` rows of `n` keys of which the lowest `digits` bytes count, stably. Gives the keys, and (of u32) where in its row each stood.
///
/// # Errors
/// [`Contract`](Error::Contract) for another number of keys; [`Beyond`](Error::Beyond); [`Cuda`](Error::Cuda).
pub(super) fn sort_keys(
    rows: usize,
    n: usize,
    keys: Keys,
    digits: usize,
) -> Result<(DeviceBuffer, DeviceBuffer)> {
    let (keys, name) = keys.parts();
    let (gpu, size) = (keys.gpu(), if name == "u32" { 4 } else { 8 });
    let total = rows.checked_mul(n);
    let fits = total.and_then(|total| total.checked_mul(size)) == Some(keys.len());
    require(fits && digits <= size, "cuda sort: number of keys")?;
    let Some(total) = total.filter(|_| u32::try_from(n).is_ok()) else {
        return Err(Error::Beyond("a dim of more than 2^32 - 1"));
    };
    let order = DeviceBuffer::new(gpu, total * size_of::<u32>())?;
    if total == 0 {
        return Ok((keys, order));
    }
    if n > SHORT {
        return by_digits([rows, n], (keys, order), name, digits);
    }
    let padded = n.next_power_of_two();
    let tile = padded.saturating_mul(rows.next_power_of_two()).min(SHORT);
    let blocks = rows.div_ceil(tile / padded).clamp(1, BLOCKS);
    let grid = Grid::of(blocks, (tile / 2).clamp(32, THREADS as usize) as u32);
    let (from, to, count) = (keys.address(), order.address(), rows as i64);
    let [n, padded, tile] = [n as i32, padded as i32, tile as i32];
    let arguments = [
        argument(&from),
        argument(&to),
        argument(&count),
        argument(&n),
        argument(&padded),
        argument(&tile),
    ];
    // SAFETY: the kernel's arguments; both buffers have `rows` rows of `n`.
    unsafe { launch(gpu, &["sort_short", name], grid, &arguments)? };
    Ok((keys, order))
}

/// Rows of any length: 8 bits a pass, from the lowest on.
fn by_digits(
    [rows, n]: [usize; 2],
    (mut keys, mut order): (DeviceBuffer, DeviceBuffer),
    name: &str,
    digits: usize,
) -> Result<(DeviceBuffer, DeviceBuffer)> {
    let gpu = keys.gpu();
    let pieces = n.div_ceil(PIECE);
    let lists = rows * DIGITS;
    let bytes = lists.checked_mul(pieces).and_then(|counts| counts.checked_mul(size_of::<u32>()));
    let bytes = bytes.ok_or(Error::Contract("cuda sort: number of counts"))?;
    let counts = DeviceBuffer::new(gpu, bytes)?;
    let totals = DeviceBuffer::new(gpu, lists * size_of::<u32>())?;
    let mut keys_out = DeviceBuffer::new(gpu, keys.len())?;
    let mut order_out = DeviceBuffer::new(gpu, order.len())?;
    let tasks = rows * pieces;
    for digit in 0..digits {
        let pass = Pass {
            keys: keys.address(),
            order: if digit == 0 { 0 } else { order.address() },
            keys_out: keys_out.address(),
            order_out: order_out.address(),
            counts: counts.address(),
            totals: totals.address(),
            n: n as i64,
            pieces: pieces as i64,
            tasks: tasks as i64,
            shift: 8 * digit as i32,
        };
        let of_tasks = Grid::of(tasks.clamp(1, BLOCKS), THREADS);
        let of_lists = Grid::of(lists.div_ceil(THREADS as usize / 32).clamp(1, BLOCKS), THREADS);
        let lists = lists as i64;
        let count = [
            argument(&pass.keys),
            argument(&pass.counts),
            argument(&pass.n),
            argument(&pass.pieces),
            argument(&pass.tasks),
            argument(&pass.shift),
        ];
        let offsets = [
            argument(&pass.counts),
            argument(&pass.totals),
            argument(&pass.pieces),
            argument(&lists),
        ];
        // SAFETY: the kernels' arguments; there is a count for every digit of every piece of the rows, a total for every digit of a
        // row, and as many keys and places on either side.
        unsafe {
            launch(gpu, &["sort_count", name], of_tasks, &count)?;
            launch(gpu, &["sort_offsets"], of_lists, &offsets)?;
            launch(gpu, &["sort_place", name], of_tasks, &[argument(&pass)])?;
        }
        std::mem::swap(&mut keys, &mut keys_out);
        std::mem::swap(&mut order, &mut order_out);
    }
    Ok((keys, order))
}

/// Puts one of the family's kernels on the stream.
///
/// # Safety
/// As [`Gpu::launch`].
unsafe fn launch(gpu: &Gpu, name: &[&str], grid: Grid, arguments: &[Argument<'_>]) -> Result<()> {
    // SAFETY: the caller's duty.
    unsafe { gpu.launch(Family::Sort, &Name::of(name), grid, arguments) }
}

/// Sorts `x` along `dim`: `values` gets the elements, `indices` (i64) where along `dim` they stood; both are contiguous from their
/// start. Equals keep their order, descending too; NaN is the largest.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ or no such dim; [`Beyond`](Error::Beyond); [`Cuda`](Error::Cuda).
pub fn sort(
    x: Array<'_>,
    dim: usize,
    descending: bool,
    values: &mut DeviceBuffer,
    indices: &mut DeviceBuffer,
) -> Result<()> {
    let (total, kind, gpu) = (x.len(), x.kind(), values.gpu());
    let length = |out: &DeviceBuffer, size: usize| total.checked_mul(size) == Some(out.len());
    let fits = length(values, kind.size()) && length(indices, size_of::<i64>());
    require(fits, "sort: length of the results")?;
    require(dim < x.shape().len(), "no such dim")?;
    if total == 0 {
        return Ok(());
    }
    let lines = Lines::new(x, dim)?;
    let (n, step, inner, count) = (lines.n as i64, lines.step, lines.inner as i64, total as i64);
    let from = x.buffer().address();
    let long = kind.size() == 8;
    let keys = DeviceBuffer::new(gpu, total * if long { 8 } else { 4 })?;
    let (to, bits) = (keys.address(), 8 * kind.size() as u32);
    let flip = if descending { u64::MAX >> (64 - bits) } else { 0 };
    let arguments = [
        argument(&from),
        argument(&lines.starts),
        argument(&step),
        argument(&n),
        argument(&to),
        argument(&count),
        argument(&flip),
    ];
    // SAFETY: the kernel's arguments; the lines are those of `x`, and there is a key for each element.
    unsafe { launch(gpu, &["sort_keys", kind.name()], Grid::over(total), &arguments)? };
    let keys = if long { Keys::Long(keys) } else { Keys::Short(keys) };
    let (_, order) = sort_keys(lines.count, lines.n, keys, kind.size())?;
    let (order, values, indices) = (order.address(), values.address(), indices.address());
    let arguments = [
        argument(&from),
        argument(&lines.starts),
        argument(&step),
        argument(&order),
        argument(&values),
        argument(&indices),
        argument(&n),
        argument(&inner),
        argument(&count),
    ];
    // SAFETY: the kernel's arguments; the order is of places in the lines, the results have as many elements as `x`.
    unsafe { launch(gpu, &["sort_apply", kind.size_name()], Grid::over(total), &arguments) }
}

/// For each of `values`, `per_row` of them for each row of `n` in `sorted` (all of them, if there is but one row): how many elements
/// of the row are smaller (`right`: smaller or equal), as i64. NaN comes after all. All are contiguous, `out` from its start.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths, types or layouts don't fit; [`Cuda`](Error::Cuda).
pub fn search_sorted(
    sorted: Array<'_>,
    n: usize,
    values: Array<'_>,
    per_row: usize,
    right: bool,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let dense = |x: &Array<'_>| x.is_empty() || x.is_contiguous();
    require(dense(&sorted) && dense(&values), "search: not contiguous")?;
    require(sorted.kind() == values.kind(), "search: types")?;
    let (total, len) = (values.len(), sorted.len());
    let rows = total / per_row.max(1);
    let fits = total.checked_mul(size_of::<i64>()) == Some(out.len())
        && rows.checked_mul(per_row) == Some(total);
    require(fits && (len == n || checked_len(&[n, rows]) == Some(len)), "search")?;
    if total == 0 {
        return Ok(());
    }
    let address = |x: Array<'_>| x.buffer().address() + (x.offset() * x.kind().size()) as u64;
    let (from, known, to) = (address(sorted), address(values), out.address());
    let (one, right) = (i32::from(len == n), i32::from(right));
    let [n, per_row, count] = [n as i64, per_row as i64, total as i64];
    let arguments = [
        argument(&from),
        argument(&known),
        argument(&to),
        argument(&n),
        argument(&per_row),
        argument(&count),
        argument(&one),
        argument(&right),
    ];
    let (name, grid) = (["sort_search", Type::name(sorted.kind())], Grid::over(total));
    // SAFETY: the kernel's arguments; there is a row of `n` for every `per_row` values, or one for all.
    unsafe { launch(out.gpu(), &name, grid, &arguments) }
}
