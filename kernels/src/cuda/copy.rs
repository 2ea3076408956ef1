//! Copies between layouts, and fills: `copy.cu`.

use super::array::{Array, RANK, RowMajor, Strided};
use super::launch::{Family, Grid, Name, argument};
use super::memory::DeviceBuffer;
use crate::error::{Result, require};
use crate::strided;

/// A stack of matrices whose rows and columns change places, as the kernel takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Transpose {
    from: Strided,
    to: Strided,
    rows: i64,
    columns: i64,
    from_stride: i64,
    to_stride: i64,
    matrices: i64,
}

/// Side of the tiles that go through shared memory.
const TILE: usize = 32;

/// Copies the elements of `x` to `out`, row-major from its start.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if `out` is too short; the driver's refusal.
pub fn copy(x: Array<'_>, out: &mut DeviceBuffer) -> Result<()> {
    let strides = RowMajor::new(x.shape())?;
    copy_into(x, out, 0, strides.get())
}

/// Copies the elements of `x` to the places of `out` that offset and strides (in elements) give.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if one lies outside `out`; the driver's refusal.
pub fn copy_into(
    x: Array<'_>,
    out: &mut DeviceBuffer,
    offset: usize,
    strides: &[isize],
) -> Result<()> {
    let size = x.kind().size();
    let inside = strided::reach(out.len() / size, offset, x.shape(), strides);
    require(inside, "cuda copy: an element would be written outside its buffer")?;
    if x.is_empty() {
        return Ok(());
    }
    let (gpu, n) = (out.gpu(), x.len() as i64);
    if x.is_contiguous() && strided::is_contiguous(x.shape(), strides) {
        return out.copy_part(x.buffer(), x.offset() * size, offset * size, x.len() * size);
    }
    let (from, to) = (x.buffer().address(), out.address());
    if let Some(plan) = transpose(x, offset, strides)? {
        let tiles = (plan.rows as usize).div_ceil(TILE) * (plan.columns as usize).div_ceil(TILE);
        let blocks = tiles.saturating_mul(plan.matrices as usize).clamp(1, 1 << 16);
        let grid = Grid { threads: [TILE as u32, 8, 1], ..Grid::of(blocks, 1) };
        let name = Name::of(&["copy_transpose", x.kind().size_name()]);
        let arguments = [argument(&from), argument(&to), argument(&plan)];
        // SAFETY: the kernel's arguments; all elements lie inside their buffers.
        return unsafe { gpu.launch(Family::Copy, &name, grid, &arguments) };
    }
    let (x_layout, out_layout) = (x.layout()?, Strided::new(offset, x.shape(), strides)?);
    let name = Name::of(&["copy_strided", x.kind().size_name()]);
    let arguments =
        [argument(&from), argument(&x_layout), argument(&to), argument(&out_layout), argument(&n)];
    // SAFETY: as above.
    unsafe { gpu.launch(Family::Copy, &name, Grid::over(x.len()), &arguments) }
}

/// The copy as a stack of transposes, if one dim lies together in `x` and another in the output, both long enough for tiles.
fn transpose(x: Array<'_>, offset: usize, strides: &[isize]) -> Result<Option<Transpose>> {
    let dims = || (0..x.shape().len()).filter(|&d| x.shape()[d] > 1);
    let row = dims().find(|&d| x.strides()[d] == 1);
    let column = dims().find(|&d| strides[d] == 1);
    let (Some(row), Some(column)) = (row, column) else { return Ok(None) };
    let worth = |d: usize| x.shape()[d] >= TILE / 4;
    if row == column || !worth(row) || !worth(column) || dims().count() > RANK {
        return Ok(None);
    }
    let (mut shape, mut from, mut to) = ([0; RANK], [0; RANK], [0; RANK]);
    let mut rank = 0;
    for d in dims().filter(|&d| d != row && d != column) {
        (shape[rank], from[rank], to[rank]) = (x.shape()[d], x.strides()[d], strides[d]);
        rank += 1;
    }
    Ok(Some(Transpose {
        from: Strided::new(x.offset(), &shape[..rank], &from[..rank])?,
        to: Strided::new(offset, &shape[..rank], &to[..rank])?,
        rows: x.shape()[row] as i64,
        columns: x.shape()[column] as i64,
        from_stride: x.strides()[column] as i64,
        to_stride: strides[row] as i64,
        matrices: shape[..rank].iter().product::<usize>() as i64,
    }))
}

/// Sets `count` elements of `size` bytes, from the start of `out` on, to the low bytes of `value`.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if `out` is too short; the driver's refusal.
pub fn fill(out: &mut DeviceBuffer, size: usize, value: u64, count: usize) -> Result<()> {
    let room = size.checked_mul(count).is_some_and(|bytes| bytes <= out.len());
    require(room, "cuda fill: the buffer is shorter")?;
    let name = match size {
        1 => "copy_fill_1",
        2 => "copy_fill_2",
        4 => "copy_fill_4",
        8 => "copy_fill_8",
        _ => return Err(crate::Error::Contract("cuda fill: elements of 1, 2, 4 or 8 bytes")),
    };
    if count == 0 {
        return Ok(());
    }
    let (to, layout, n) = (out.address(), Strided::LINEAR, count as i64);
    let arguments = [argument(&to), argument(&layout), argument(&value), argument(&n)];
    // SAFETY: the kernel's arguments (it reads the value's low bytes); `count` elements fit.
    unsafe { out.gpu().launch(Family::Copy, &Name::of(&[name]), Grid::over(count), &arguments) }
}
