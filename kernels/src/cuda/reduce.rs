//! Reductions in the order R3: `reduce.cu`. Groups of dims are found as the CPU finds them. The result is contiguous, from the start
//! of its buffer.

#[cfg(test)]
mod tests;

use super::array::{Array, RANK, RowMajor, Strided, Type};
use super::launch::{Family, Grid, Name, THREADS, argument};
use super::memory::DeviceBuffer;
use super::{copy, map};
use crate::cpu::reduce::dims::{Dim, Dims, count};
use crate::cpu::reduce::{ArgOp, ReduceOp};
use crate::error::{Error, Result, require};

/// Elements in a chunk of the innermost group, rows in one of any other, and neighbours that a pass of the pair tree takes.
const CHUNK: usize = 16_384;
const ROWS: usize = 256;
const TREE: usize = 16;
/// Elements of which one team finds the extreme.
const ARG_CHUNK: usize = 4096;
/// Blocks that fill any device.
const BLOCKS: usize = 1 << 14;

/// As `reduce_rows` and `reduce_across` take it.
#[repr(C)]
#[derive(Clone, Copy)]
struct RowPlan {
    outer: Strided,
    step: i64,
    n: i64,
    chunks: i64,
    tasks: i64,
    width: i32,
    code: i32,
}

/// As `reduce_columns` takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct ColumnPlan {
    outer: Strided,
    inner: Strided,
    step: i64,
    rows: i64,
    chunks: i64,
    columns: i64,
    tasks: i64,
    code: i32,
}

/// As `reduce_arg` takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct ArgPlan {
    outer: Strided,
    step: i64,
    n: i64,
    chunk: i64,
    chunks: i64,
    rows: i64,
    width: i32,
    smallest: i32,
}

/// The type that elements are folded in.
pub fn folded(kind: Type) -> Type {
    match kind {
        Type::F32 | Type::F16 | Type::BF16 => Type::F32,
        Type::F64 => Type::F64,
        Type::I8 | Type::U8 | Type::I32 | Type::I64 => Type::I64,
    }
}

/// True where the kernels take elements as they are; others are cast to what they are folded in.
fn has_kernel(op: ReduceOp, kind: Type) -> bool {
    kind == folded(kind) || (op == ReduceOp::Sum && kind.size() == 2)
}

/// All elements, row-major, cast to what they are folded in.
fn widened(x: Array<'_>) -> Result<DeviceBuffer> {
    let wide = folded(x.kind());
    let bytes = x.len().checked_mul(wide.size());
    let bytes = bytes.ok_or(Error::Contract("reduce: size of a copy"))?;
    let mut cast = DeviceBuffer::new(x.buffer().gpu(), bytes)?;
    map::cast(x, Some(wide), &mut cast)?;
    Ok(cast)
}

/// The kernels' name of an operation, and the number that chooses between the two extremes.
fn named(op: ReduceOp) -> (&'static str, i32) {
    match op {
        ReduceOp::Sum => ("sum", 0),
        ReduceOp::Prod => ("prod", 0),
        ReduceOp::Max => ("pick", 0),
        ReduceOp::Min => ("pick", 1),
    }
}

/// Some elements in device memory.
#[derive(Clone, Copy)]
struct Data {
    address: u64,
    kind: Type,
}

/// Threads that share a row: fewer than a warp only if the row is no longer.
fn team(n: usize) -> usize {
    n.clamp(1, 32).next_power_of_two()
}

/// Blocks for that many teams.
fn grid(tasks: usize, width: usize) -> Grid {
    let teams = (THREADS as usize / width).max(1);
    Grid::of(tasks.div_ceil(teams).clamp(1, BLOCKS), THREADS)
}

/// Reduces `x` over the dims where `reduced` is true; `out`, of elements `kind`, has the kept dims in row-major order. Integers are
/// folded in i64 (sums and products wrap) and cut to `kind`.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ, on a maximum or minimum of nothing, and for more dims than kernels take;
/// [`Cuda`](Error::Cuda).
pub fn reduce(
    op: ReduceOp,
    x: Array<'_>,
    reduced: &[bool],
    kind: Type,
    out: &mut DeviceBuffer,
) -> Result<()> {
    require(reduced.len() == x.shape().len(), "reduce: one flag per dim")?;
    let kept = x.shape().iter().zip(reduced).filter(|(_, reduced)| !**reduced);
    let len = match kept.clone().any(|(&size, _)| size == 0) {
        true => Some(0),
        false => kept.map(|(&size, _)| size).try_fold(1usize, usize::checked_mul),
    };
    let len = len.filter(|len| len.checked_mul(kind.size()) == Some(out.len()));
    let len = len.ok_or(Error::Contract("reduce: length of the result"))?;
    if len == 0 {
        return Ok(());
    }
    if x.is_empty() {
        let value = match op {
            ReduceOp::Sum => 0,
            ReduceOp::Prod => one(kind),
            _ => return Err(Error::Contract("reduce: maximum or minimum of nothing")),
        };
        return copy::fill(out, kind.size(), value, len);
    }
    let wide = folded(x.kind());
    let cast;
    let strides = RowMajor::new(x.shape())?;
    let x = match has_kernel(op, x.kind()) {
        true => x,
        false => {
            cast = widened(x)?;
            Array::new(&cast, wide, 0, x.shape(), strides.get())?
        }
    };
    let mut dims = dims_of(x, reduced)?;
    let dense;
    let x = match dims.innermost_group() {
        // Kernels take a group's elements as one dim. (Intermediate results are contiguous: there it is one.)
        Some((_, group, _)) if group.len() > 1 => {
            let mut copied = DeviceBuffer::new(out.gpu(), x.len() * x.kind().size())?;
            copy::copy(x, &mut copied)?;
            dense = copied;
            Array::new(&dense, x.kind(), 0, x.shape(), strides.get())?
        }
        _ => x,
    };
    dims = dims_of(x, reduced)?;
    if dims.innermost_group().is_none() {
        // Nothing but size-1 dims was reduced.
        let flat = Array::new(x.buffer(), x.kind(), x.offset(), x.shape(), x.strides())?;
        return if x.kind() == kind {
            copy::copy(flat, out)
        } else {
            map::cast(flat, Some(kind), out)
        };
    }
    let start = x.buffer().address() + (x.offset() * x.kind().size()) as u64;
    let mut data = Data { address: start, kind: x.kind() };
    let mut held: Option<DeviceBuffer> = None;
    while let Some((outer, group, inner)) = dims.innermost_group() {
        let last = !outer.iter().any(|d| d.reduced);
        let sizes = [count(outer), count(inner)];
        if last && wide == kind {
            return one_group(op, data, [outer, group, inner], out);
        }
        let bytes = sizes[0].checked_mul(sizes[1]).and_then(|n| n.checked_mul(wide.size()));
        let bytes = bytes.ok_or(Error::Contract("reduce: size of an intermediate result"))?;
        let mut next = DeviceBuffer::new(out.gpu(), bytes)?;
        one_group(op, data, [outer, group, inner], &mut next)?;
        data = Data { address: next.address(), kind: wide };
        dims = contiguous(outer, sizes[1])?;
        held = Some(next);
    }
    match held {
        Some(held) => map::cast(Array::new(&held, wide, 0, &[len], &[1])?, Some(kind), out),
        None => Ok(()),
    }
}

/// The dims, those that lie together merged.
fn dims_of(x: Array<'_>, reduced: &[bool]) -> Result<Dims> {
    let mut dims = Dims::new();
    for ((&size, &stride), &reduced) in x.shape().iter().zip(x.strides()).zip(reduced) {
        dims.push(Dim { size, stride, reduced })?;
    }
    Ok(dims)
}

/// The bits of 1.
fn one(kind: Type) -> u64 {
    match kind {
        Type::F32 => u64::from(1f32.to_bits()),
        Type::F64 => 1f64.to_bits(),
        Type::F16 => 0x3c00,
        Type::BF16 => 0x3f80,
        Type::I8 | Type::U8 | Type::I32 | Type::I64 => 1,
    }
}

/// The dims of a contiguous `[outer.., inner]`.
fn contiguous(outer: &[Dim], inner: usize) -> Result<Dims> {
    let mut dims = Dims::new();
    let mut stride = (count(outer) * inner) as isize;
    for dim in outer {
        stride /= dim.size as isize;
        dims.push(Dim { stride, ..*dim })?;
    }
    dims.push(Dim { size: inner, stride: 1, reduced: false })?;
    Ok(dims)
}

/// Dims as kernels take them.
fn strided(dims: &[Dim]) -> Result<Strided> {
    let (mut shape, mut strides) = ([0; RANK], [0; RANK]);
    if dims.len() > RANK {
        return Err(Error::Beyond("more than 16 dims that don't lie together"));
    }
    for ((shape, stride), dim) in shape.iter_mut().zip(&mut strides).zip(dims) {
        (*shape, *stride) = (dim.size, dim.stride);
    }
    Strided::new(0, &shape[..dims.len()], &strides[..dims.len()])
}

/// Reduces one group into a contiguous `[outer, inner]` of what elements are folded in.
fn one_group(
    op: ReduceOp,
    x: Data,
    [outer, group, inner]: [&[Dim]; 3],
    out: &mut DeviceBuffer,
) -> Result<()> {
    let (lines, n, columns) = (count(outer), count(group), count(inner));
    let chunks = n.div_ceil(if inner.is_empty() { CHUNK } else { ROWS });
    let wide = folded(x.kind);
    let overflow = Error::Contract("reduce: too many chunks");
    let tasks = lines.checked_mul(columns).and_then(|n| n.checked_mul(chunks));
    let bytes = tasks.and_then(|tasks| tasks.checked_mul(wide.size()));
    let (tasks, bytes) = tasks.zip(bytes).ok_or(overflow)?;
    if chunks > 1 {
        let mut partial = DeviceBuffer::new(out.gpu(), bytes)?;
        run_all(op, x, [outer, group, inner], [chunks, tasks], &mut partial)?;
        return tree(op, wide, partial, [lines, chunks, columns], out);
    }
    require(out.len() >= bytes, "reduce: length of a result")?;
    run_all(op, x, [outer, group, inner], [chunks, tasks], out)
}

/// True where `reduce_lines` takes the rows: they lie without gaps and begin at multiples of 16 bytes.
fn lines(op: ReduceOp, x: Data, outer: &[Dim], step: i64, n: usize) -> bool {
    let whole = |elements: usize| elements.wrapping_mul(x.kind.size()).is_multiple_of(16);
    let has_kernel = op != ReduceOp::Prod && !x.kind.is_integer();
    has_kernel
        && step == 1
        && n >= 64
        && x.address.is_multiple_of(16)
        && outer.iter().all(|dim| whole(dim.stride.unsigned_abs()))
}

/// All chunks: `out` is `[outer, chunks, columns]`.
fn run_all(
    op: ReduceOp,
    x: Data,
    [outer, group, inner]: [&[Dim]; 3],
    [chunks, tasks]: [usize; 2],
    out: &mut DeviceBuffer,
) -> Result<()> {
    let (n, to) = (count(group), out.address());
    let (name, code) = named(op);
    let from = argument(&x.address);
    let step = match group {
        [dim] => dim.stride as i64,
        _ => return Err(Error::Contract("cuda reduce: a group of several dims")),
    };
    if !inner.is_empty() {
        let plan = ColumnPlan {
            outer: strided(outer)?,
            inner: strided(inner)?,
            step,
            rows: n as i64,
            chunks: chunks as i64,
            columns: count(inner) as i64,
            tasks: tasks as i64,
            code,
        };
        let name = Name::of(&["reduce_columns", name, x.kind.name()]);
        let arguments = [from, argument(&to), argument(&plan)];
        let grid = Grid::of(tasks.div_ceil(THREADS as usize).clamp(1, BLOCKS), THREADS);
        // SAFETY: the kernel's arguments; the dims describe elements of `x`, and `out` has `tasks` elements.
        return unsafe { out.gpu().launch(Family::Reduce, &name, grid, &arguments) };
    }
    let width = team(n);
    let plan = RowPlan {
        outer: strided(outer)?,
        step,
        n: n as i64,
        chunks: chunks as i64,
        tasks: tasks as i64,
        width: width as i32,
        code,
    };
    let arguments = [from, argument(&to), argument(&plan)];
    // Where neighbours in memory are rows, a warp takes 32 rows.
    let nearer = match (outer.last(), group.last()) {
        (Some(row), Some(element)) => {
            row.size >= 8 && n >= 8 && row.stride.unsigned_abs() < element.stride.unsigned_abs()
        }
        _ => false,
    };
    if nearer {
        let tiles = (tasks / chunks).div_ceil(32) * chunks;
        let grid = Grid { threads: [32, 8, 1], ..Grid::of(tiles.clamp(1, BLOCKS), 1) };
        let name = Name::of(&["reduce_across", name, x.kind.name()]);
        // SAFETY: as above.
        return unsafe { out.gpu().launch(Family::Reduce, &name, grid, &arguments) };
    }
    if lines(op, x, outer, step, n) {
        let width = 64 * x.kind.size() / 16;
        let name = Name::of(&["reduce_lines", name, x.kind.name()]);
        // SAFETY: as above; every chunk begins at a multiple of 16 bytes.
        return unsafe { out.gpu().launch(Family::Reduce, &name, grid(tasks, width), &arguments) };
    }
    let name = Name::of(&["reduce_rows", name, x.kind.name()]);
    // SAFETY: as above.
    unsafe { out.gpu().launch(Family::Reduce, &name, grid(tasks, width), &arguments) }
}

/// The pair tree over the middle of `[lines, count, columns]`, four levels a pass.
pub(super) fn tree(
    op: ReduceOp,
    kind: Type,
    mut x: DeviceBuffer,
    [lines, mut count, columns]: [usize; 3],
    out: &mut DeviceBuffer,
) -> Result<()> {
    let (name, code) = named(op);
    let name = Name::of(&["reduce_tree", name, kind.name()]);
    let gpu = out.gpu();
    require(out.len() >= lines * columns * kind.size(), "reduce: length of a result")?;
    loop {
        let groups = count.div_ceil(TREE);
        let tasks = lines * groups * columns;
        let mut next = None;
        let to = match groups {
            0 | 1 => out.address(),
            _ => next.insert(DeviceBuffer::new(gpu, tasks * kind.size())?).address(),
        };
        let from = x.address();
        let [lines, counted, columns] = [lines as i64, count as i64, columns as i64];
        let arguments = [
            argument(&from),
            argument(&to),
            argument(&lines),
            argument(&counted),
            argument(&columns),
            argument(&code),
        ];
        let grid = Grid::of(tasks.div_ceil(THREADS as usize).clamp(1, BLOCKS), THREADS);
        // SAFETY: the kernel's arguments; `x` has `lines * count * columns` elements, what is written to has `tasks`.
        unsafe { gpu.launch(Family::Reduce, &name, grid, &arguments)? };
        match next {
            Some(next) => (x, count) = (next, groups),
            None => return Ok(()),
        }
    }
}

/// Index along `dim` of the extreme, as i64; `out` has the other dims in row-major order. NaN wins, the lowest index among equals.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ, or if `dim` has size 0 and `out` is not empty; [`Cuda`](Error::Cuda).
pub fn arg_reduce(op: ArgOp, x: Array<'_>, dim: usize, out: &mut DeviceBuffer) -> Result<()> {
    require(dim < x.shape().len(), "arg_reduce: no such dim")?;
    let mut kept = Dims::new();
    let mut rows: usize = 1;
    for (d, (&size, &stride)) in x.shape().iter().zip(x.strides()).enumerate() {
        if d != dim {
            kept.push(Dim { size, stride, reduced: false })?;
            rows = rows.saturating_mul(size);
        }
    }
    if x.shape().iter().enumerate().any(|(d, &size)| d != dim && size == 0) {
        rows = 0;
    }
    let long = Type::I64.size();
    require(rows.checked_mul(long) == Some(out.len()), "arg_reduce: length of the result")?;
    if rows == 0 {
        return Ok(());
    }
    require(!x.is_empty(), "arg_reduce: extreme of nothing")?;
    let wide = folded(x.kind());
    if x.kind() != wide {
        let (cast, strides) = (widened(x)?, RowMajor::new(x.shape())?);
        return arg_reduce(op, Array::new(&cast, wide, 0, x.shape(), strides.get())?, dim, out);
    }
    let (mut n, step, gpu) = (x.shape()[dim], x.strides()[dim], out.gpu());
    let from = x.buffer().address() + (x.offset() * x.kind().size()) as u64;
    let name = Name::of(&["reduce_arg", x.kind().name()]);
    let outer = strided(kept.as_slice())?;
    // A thread a row, where neighbours in memory are rows.
    let nearer = kept
        .as_slice()
        .last()
        .is_some_and(|row| row.size >= 8 && row.stride.unsigned_abs() < step.unsigned_abs());
    let mut candidates: Option<DeviceBuffer> = None;
    loop {
        let chunk = if nearer { ROWS } else { ARG_CHUNK };
        let chunks = n.div_ceil(chunk);
        let width = if nearer { 1 } else { team(n) };
        let tasks =
            rows.checked_mul(chunks).ok_or(Error::Contract("arg_reduce: too many chunks"))?;
        let mut next = None;
        let to = match chunks {
            1 => out.address(),
            _ => {
                let bytes = tasks.checked_mul(long);
                let bytes = bytes.ok_or(Error::Contract("arg_reduce: too many chunks"))?;
                next.insert(DeviceBuffer::new(gpu, bytes)?).address()
            }
        };
        let plan = ArgPlan {
            outer,
            step: step as i64,
            n: n as i64,
            chunk: chunk as i64,
            chunks: chunks as i64,
            rows: rows as i64,
            width: width as i32,
            smallest: i32::from(op == ArgOp::Min),
        };
        let known = candidates.as_ref().map_or(0, DeviceBuffer::address);
        let arguments = [argument(&from), argument(&known), argument(&to), argument(&plan)];
        // SAFETY: the kernel's arguments; rows and elements are the view's, what is written to has `tasks` elements.
        unsafe { gpu.launch(Family::Reduce, &name, grid(tasks, width), &arguments)? };
        match next {
            Some(next) => (candidates, n) = (Some(next), chunks),
            None => return Ok(()),
        }
    }
}
