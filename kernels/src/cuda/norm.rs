//! Layer normalisation and its adjoints: `norm.cu`. Operands are row-major, results from the start of their buffers on.

#[cfg(test)]
mod tests;

use super::array::{Array, Type};
use super::driver::Gpu;
use super::launch::{Argument, Family, Grid, Name, THREADS, argument};
use super::memory::DeviceBuffer;
use super::reduce;
use crate::cpu::reduce::ReduceOp;
use crate::error::{Error, Result, require};

/// Elements in a chunk of a row, rows in a chunk of columns.
const CHUNK: usize = 16_384;
const ROWS: usize = 256;
/// Blocks that fill any device.
const BLOCKS: usize = 1 << 14;

/// How a kernel that holds whole rows in shared memory is laid out.
#[derive(Clone, Copy)]
pub(super) struct Held {
    /// Threads that share a row: fewer than a warp only if the row is no longer.
    pub(super) width: usize,
    /// Bytes of shared memory a block.
    shared: u32,
}

impl Held {
    /// For rows of `n` elements of `kind`, so many arrays of them; `None` where they do not fit.
    pub(super) fn new(gpu: &Gpu, n: usize, kind: Type, arrays: usize) -> Option<Held> {
        const SCRATCH: usize = 128;
        // What every device of these capabilities has for a block.
        let most = if gpu.info().capability >= (8, 0) { 96 << 10 } else { 48 << 10 };
        if n > CHUNK {
            return None;
        }
        let row = n.next_multiple_of(4) * kind.size() * arrays;
        // A warp a row, unless that is long: then the block has more than one of its elements a thread.
        let width = match n * kind.size() {
            0..=4096 => n.clamp(1, 32).next_power_of_two(),
            _ => THREADS as usize,
        };
        let shared = SCRATCH + row * (THREADS as usize / width);
        (shared <= most).then_some(Held { width, shared: shared as u32 })
    }

    /// Blocks for so many rows.
    pub(super) fn grid(self, rows: usize) -> Grid {
        let teams = THREADS as usize / self.width;
        Grid { shared: self.shared, ..Grid::of(rows.div_ceil(teams).clamp(1, BLOCKS), THREADS) }
    }
}

/// A number as the kernels of a type take it.
#[derive(Clone, Copy)]
enum Number {
    Single(f32),
    Double(f64),
}

impl Number {
    fn new(x: f64, kind: Type) -> Number {
        if kind == Type::F32 { Number::Single(x as f32) } else { Number::Double(x) }
    }

    fn argument(&self) -> Argument<'_> {
        match self {
            Number::Single(x) => argument(x),
            Number::Double(x) => argument(x),
        }
    }
}

/// Rows of a size, of a type that there are kernels for.
#[derive(Clone, Copy)]
struct Rows {
    gpu: &'static Gpu,
    kind: Type,
    rows: usize,
    size: usize,
}

impl Rows {
    fn new(x: Array<'_>, rows: usize, size: usize) -> Result<Rows> {
        let kind = x.kind();
        require(matches!(kind, Type::F32 | Type::F64), "cuda layer_norm: f32 and f64 only")?;
        require(rows.checked_mul(size) == Some(x.len()), "cuda layer_norm: lengths")?;
        Ok(Rows { gpu: x.buffer().gpu(), kind, rows, size })
    }

    /// The address of an operand of `len` elements.
    fn operand(&self, x: Array<'_>, len: usize) -> Result<u64> {
        require(x.kind() == self.kind && x.len() == len, "cuda layer_norm: an operand")?;
        x.start()
    }

    /// The address of a parameter, 0 without.
    fn parameter(&self, x: Option<Array<'_>>) -> Result<u64> {
        x.map_or(Ok(0), |x| self.operand(x, self.size))
    }

    /// The address of a result of `len` elements.
    fn result(&self, out: &DeviceBuffer, len: usize) -> Result<u64> {
        require(len.checked_mul(self.kind.size()) == Some(out.len()), "cuda layer_norm: a result")?;
        Ok(out.address())
    }

    fn new_buffer(&self, len: usize) -> Result<DeviceBuffer> {
        let bytes = len.checked_mul(self.kind.size());
        DeviceBuffer::new(self.gpu, bytes.ok_or(Error::Contract("cuda layer_norm: sums"))?)
    }

    /// # Safety
    /// - As [`Gpu::launch`].
    unsafe fn launch(&self, name: &str, grid: Grid, arguments: &[Argument<'_>]) -> Result<()> {
        let name = Name::of(&[name, self.kind.name()]);
        // SAFETY: the caller's guarantee.
        unsafe { self.gpu.launch(Family::Norm, &name, grid, arguments) }
    }

    /// The sums of the rows' terms, one a row; see `norm_chunks`.
    fn sums(&self, [x, grad, weight, stats]: [u64; 4], kind: i32) -> Result<DeviceBuffer> {
        let chunks = self.size.div_ceil(CHUNK);
        let tasks = self.rows.checked_mul(chunks);
        let tasks = tasks.ok_or(Error::Contract("cuda layer_norm: too many chunks"))?;
        let partial = self.new_buffer(tasks)?;
        let plan =
            ChunkPlan { n: self.size as i64, chunks: chunks as i64, tasks: tasks as i64, kind };
        let to = partial.address();
        let arguments = [
            argument(&x),
            argument(&grad),
            argument(&weight),
            argument(&stats),
            argument(&to),
            argument(&plan),
        ];
        let grid = Grid::of(tasks.div_ceil(THREADS as usize / 32).clamp(1, BLOCKS), THREADS);
        // SAFETY: the kernel's arguments; the rows have their chunks, the sums are one a chunk.
        unsafe { self.launch("norm_chunks", grid, &arguments)? };
        if chunks == 1 {
            return Ok(partial);
        }
        let mut sums = self.new_buffer(self.rows)?;
        reduce::tree(ReduceOp::Sum, self.kind, partial, [self.rows, chunks, 1], &mut sums)?;
        Ok(sums)
    }
}

/// As `norm_chunks` takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct ChunkPlan {
    n: i64,
    chunks: i64,
    tasks: i64,
    kind: i32,
}

/// `out = (x - mean) * rstd`, then `* weight`, then `+ bias` where they are given, row by row; see
/// [`layer_norm`](crate::cpu::norm::layer_norm). x, out: `[rows, size]`; stats: `[rows, 2]`.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ; [`Cuda`](Error::Cuda).
pub fn layer_norm(
    size: usize,
    eps: f64,
    x: Array<'_>,
    [weight, bias]: [Option<Array<'_>>; 2],
    out: &mut DeviceBuffer,
    stats: &mut DeviceBuffer,
) -> Result<()> {
    let rows = stats.len() / x.kind().size() / 2;
    let all = Rows::new(x, rows, size)?;
    require(weight.is_some() || bias.is_none(), "layer_norm: a bias needs a weight")?;
    let (from, to) = (all.operand(x, x.len())?, all.result(out, x.len())?);
    let [weight, bias] = [all.parameter(weight)?, all.parameter(bias)?];
    let to_stats = all.result(stats, 2 * rows)?;
    if rows == 0 {
        return Ok(());
    }
    let (count, eps) = (Number::new(size as f64, all.kind), Number::new(eps, all.kind));
    let (lines, len) = (rows as i64, x.len() as i64);
    if let Some(held) = Held::new(all.gpu, size, all.kind, 1) {
        let (n, width) = (size as i32, held.width as i32);
        let arguments = [
            argument(&from),
            argument(&weight),
            argument(&bias),
            argument(&to),
            argument(&to_stats),
            argument(&n),
            argument(&lines),
            argument(&width),
            eps.argument(),
        ];
        // SAFETY: the kernel's arguments; all have the lengths that were asked for.
        return unsafe { all.launch("norm_rows", held.grid(rows), &arguments) };
    }
    let mut sums = all.new_buffer(rows)?;
    let (shape, strides) = ([rows, size], [size as isize, 1]);
    let view = Array::new(x.buffer(), all.kind, x.offset(), &shape, &strides)?;
    reduce::reduce(ReduceOp::Sum, view, &[false, true], all.kind, &mut sums)?;
    for which in [0i32, 1] {
        if which == 1 {
            sums = all.sums([from, 0, 0, to_stats], 0)?;
        }
        let sums = sums.address();
        let arguments = [
            argument(&sums),
            argument(&to_stats),
            argument(&lines),
            count.argument(),
            eps.argument(),
            argument(&which),
        ];
        // SAFETY: as above; a sum a row.
        unsafe { all.launch("norm_stats", Grid::over(rows), &arguments)? };
    }
    let n = size as i64;
    let arguments = [
        argument(&from),
        argument(&weight),
        argument(&bias),
        argument(&to_stats),
        argument(&to),
        argument(&n),
        argument(&len),
    ];
    // SAFETY: as above.
    unsafe { all.launch("norm_finish", Grid::over(x.len()), &arguments) }
}

/// The gradient in x; see [`layer_norm_input`](crate::cpu::norm::layer_norm_input). grad, x, out: `[rows, size]`, stats: as
/// [`layer_norm`] left them.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ; [`Cuda`](Error::Cuda).
pub fn layer_norm_input(
    grad: Array<'_>,
    x: Array<'_>,
    stats: Array<'_>,
    weight: Option<Array<'_>>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let rows = stats.len() / 2;
    let size = x.len().checked_div(rows).unwrap_or(0);
    let all = Rows::new(x, rows, size)?;
    let (g, from) = (all.operand(grad, x.len())?, all.operand(x, x.len())?);
    let (known, to) = (all.operand(stats, 2 * rows)?, all.result(out, x.len())?);
    if x.is_empty() {
        return Ok(());
    }
    let weight = all.parameter(weight)?;
    let (lines, len) = (rows as i64, x.len() as i64);
    if let Some(held) = Held::new(all.gpu, size, all.kind, 2) {
        let (n, width) = (size as i32, held.width as i32);
        let arguments = [
            argument(&g),
            argument(&from),
            argument(&known),
            argument(&weight),
            argument(&to),
            argument(&n),
            argument(&lines),
            argument(&width),
        ];
        // SAFETY: the kernel's arguments; all have the lengths that were asked for.
        return unsafe { all.launch("norm_input_rows", held.grid(rows), &arguments) };
    }
    let first = all.sums([from, g, weight, known], 1)?;
    let second = all.sums([from, g, weight, known], 2)?;
    let (first, second, n) = (first.address(), second.address(), size as i64);
    let arguments = [
        argument(&g),
        argument(&from),
        argument(&known),
        argument(&weight),
        argument(&first),
        argument(&second),
        argument(&to),
        argument(&n),
        argument(&len),
    ];
    // SAFETY: as above; a sum a row. (A block that was given back is not written before this kernel has read it.)
    unsafe { all.launch("norm_project", Grid::over(x.len()), &arguments) }
}

/// The gradient in the weight; see [`layer_norm_weight`](crate::cpu::norm::layer_norm_weight). grad, x: `[rows, size]`, out: `[size]`.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ; [`Cuda`](Error::Cuda).
pub fn layer_norm_weight(
    grad: Array<'_>,
    x: Array<'_>,
    stats: Array<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let rows = stats.len() / 2;
    let size = out.len() / x.kind().size();
    let all = Rows::new(x, rows, size)?;
    let (g, from) = (all.operand(grad, x.len())?, all.operand(x, x.len())?);
    let (known, to) = (all.operand(stats, 2 * rows)?, all.result(out, size)?);
    if size == 0 {
        return Ok(());
    }
    let chunks = rows.div_ceil(ROWS);
    if chunks == 0 {
        return out.zero();
    }
    let partial = if chunks > 1 { Some(all.new_buffer(size * chunks)?) } else { None };
    let to = partial.as_ref().map_or(to, DeviceBuffer::address);
    let (lines, columns, pieces) = (rows as i64, size as i64, chunks as i64);
    let arguments = [
        argument(&g),
        argument(&from),
        argument(&known),
        argument(&to),
        argument(&lines),
        argument(&columns),
        argument(&pieces),
    ];
    let grid = Grid::of((size * chunks).div_ceil(THREADS as usize).clamp(1, BLOCKS), THREADS);
    // SAFETY: the kernel's arguments; a sum a chunk and column.
    unsafe { all.launch("norm_weight", grid, &arguments)? };
    match partial {
        Some(partial) => reduce::tree(ReduceOp::Sum, all.kind, partial, [1, chunks, size], out),
        None => Ok(()),
    }
}
