//! Scans along one dim: `scan.cu`, with the bits of [`cpu::scan`](crate::cpu::scan).

#[cfg(test)]
mod tests;

use super::array::{Array, Strided, Type};
use super::launch::{Family, Grid, Name, THREADS, argument};
use super::memory::DeviceBuffer;
use super::sort::Lines;
use crate::cpu::scan::ScanOp;
use crate::error::{Error, Result, require};

/// Lines of a block at most, and elements that it has in shared memory.
const MOST: usize = 32;
const ROOM: usize = 2048;
/// Blocks that keep a device busy; lines that make neighbours worth reading together.
const BUSY: usize = 256;
const NEIGHBOURS: usize = 8;
/// Blocks that fill any device.
const BLOCKS: usize = 1 << 14;

/// As the kernels take it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Plan {
    x: Strided,
    y: Strided,
    x_step: i64,
    y_step: i64,
    n: i64,
    lines: i64,
    inner: i64,
    together: i32,
    columns: i32,
    across: i32,
    how: i32,
}

impl Plan {
    /// The lines of `x`, which has elements, and how many a block takes.
    fn new(x: Array<'_>, dim: usize, how: i32) -> Result<(Plan, Grid)> {
        let Lines { starts, count, n, step, inner } = Lines::new(x, dim)?;
        let across = inner > 1;
        let least = if across { NEIGHBOURS } else { 1 };
        let together = (count / BUSY).max(least).min(count).clamp(1, MOST).next_power_of_two();
        let columns = (ROOM / together).min(n.next_power_of_two().max(2));
        let plan = Plan {
            x: starts,
            y: starts,
            x_step: step,
            y_step: step,
            n: n as i64,
            lines: count as i64,
            inner: inner as i64,
            together: together as i32,
            columns: columns as i32,
            across: i32::from(across),
            how,
        };
        let threads = (together * columns).clamp(MOST, THREADS as usize) as u32;
        Ok((plan, Grid::of(count.div_ceil(together).clamp(1, BLOCKS), threads)))
    }
}

/// The check of a result's length.
fn same_length(x: Array<'_>, size: usize, out: &DeviceBuffer) -> Result<()> {
    require(x.len().checked_mul(size) == Some(out.len()), "scan: length of the result")
}

/// Running sums ([`ScanOp::Sum`]) or products ([`ScanOp::Prod`]) along `dim`, of f32, f64, or i64, which wraps; `out` has the shape of `x`,
/// contiguous from its start.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ, for no such dim, another operation or type; [`Beyond`](Error::Beyond);
/// [`Cuda`](Error::Cuda).
pub fn scan(op: ScanOp, x: Array<'_>, dim: usize, out: &mut DeviceBuffer) -> Result<()> {
    let how = match op {
        ScanOp::Sum => 0,
        ScanOp::Prod => 1,
        _ => return Err(Error::Contract("scan: neither sum nor product")),
    };
    require(matches!(x.kind(), Type::F32 | Type::F64 | Type::I64), "scan: of this type")?;
    same_length(x, x.kind().size(), out)?;
    require(dim < x.shape().len(), "no such dim")?;
    if x.is_empty() {
        return Ok(());
    }
    let (plan, grid) = Plan::new(x, dim, how)?;
    let (from, to) = (x.buffer().address(), out.address());
    let arguments = [argument(&from), argument(&to), argument(&plan)];
    let name = Name::of(&["scan_chain", x.kind().name()]);
    // SAFETY: the kernel's arguments; the lines are those of `x`, `out` has as many elements.
    unsafe { out.gpu().launch(Family::Scan, &name, grid, &arguments) }
}

/// [`ScanOp::Linear`] along `dim`, of f32 and f64; `out` has the shape of `a` and `b`, contiguous from its start.
///
/// # Errors
/// As [`scan`], and if shapes or types differ.
pub fn linear(a: Array<'_>, b: Array<'_>, dim: usize, out: &mut DeviceBuffer) -> Result<()> {
    require(a.shape() == b.shape() && a.kind() == b.kind(), "scan: shapes differ")?;
    require(matches!(a.kind(), Type::F32 | Type::F64), "scan: of this type")?;
    same_length(a, a.kind().size(), out)?;
    require(dim < a.shape().len(), "no such dim")?;
    if a.is_empty() {
        return Ok(());
    }
    let second = Lines::new(b, dim)?;
    let (plan, grid) = Plan::new(a, dim, 0)?;
    let plan = Plan { y: second.starts, y_step: second.step, ..plan };
    let (left, right, to) = (a.buffer().address(), b.buffer().address(), out.address());
    let arguments = [argument(&left), argument(&right), argument(&to), argument(&plan)];
    let name = Name::of(&["scan_linear", a.kind().name()]);
    // SAFETY: the kernel's arguments; the lines are those of `a` and `b`, `out` has as many elements.
    unsafe { out.gpu().launch(Family::Scan, &name, grid, &arguments) }
}

/// Running extremes along `dim`, of f32, f64 and i64, and their indices (i64); both have the shape of `x`, contiguous from their start.
///
/// # Errors
/// As [`scan`].
pub fn extremes(
    op: ScanOp,
    x: Array<'_>,
    dim: usize,
    out: &mut DeviceBuffer,
    indices: &mut DeviceBuffer,
) -> Result<()> {
    let how = match op {
        ScanOp::Max => 0,
        ScanOp::Min => 1,
        _ => return Err(Error::Contract("scan: no extreme")),
    };
    require(matches!(x.kind(), Type::F32 | Type::F64 | Type::I64), "scan: of this type")?;
    same_length(x, x.kind().size(), out)?;
    same_length(x, size_of::<i64>(), indices)?;
    require(dim < x.shape().len(), "no such dim")?;
    if x.is_empty() {
        return Ok(());
    }
    let (plan, grid) = Plan::new(x, dim, how)?;
    let (from, to, places) = (x.buffer().address(), out.address(), indices.address());
    let arguments = [argument(&from), argument(&to), argument(&places), argument(&plan)];
    let name = Name::of(&["scan_extremes", x.kind().name()]);
    // SAFETY: the kernel's arguments; the lines are those of `x`, both results have as many elements.
    unsafe { out.gpu().launch(Family::Scan, &name, grid, &arguments) }
}
