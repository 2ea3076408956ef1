//! Elements that go to places which indices name, and what they do to those that are there.

use super::{Fault, Nest, run, vector};
use crate::cpu::gather::ScatterOp;
use crate::cuda::array::{Array, RowMajor, Strided, Type};
use crate::cuda::launch::argument;
use crate::cuda::memory::DeviceBuffer;
use crate::cuda::{copy, sort};
use crate::error::{Error, Result, require};
use crate::strided::checked_len;

/// Lines that give a device enough to do, and lengths that are soon walked: a thread a line.
const LINES: usize = 8192;
const SOON: usize = 64;

/// As `index_lines` takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Lines {
    x: Strided,
    index: Strided,
    out: Strided,
    x_step: i64,
    index_step: i64,
    out_step: i64,
    n: i64,
    lines: i64,
    size: i64,
    inner: i64,
    how: i32,
}

/// As `index_meet` takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Meeting {
    rest: Strided,
    step: i64,
    n: i64,
    width: i64,
    size: i64,
    total: i64,
    how: i32,
}

/// `out[.., index[.., i, ..], ..] += source[.., i, ..]` along `dim` in ascending logical index of `source` (`how`: none), or combined as it says.
/// `out` is contiguous from its start with shape `out_shape`; `source` has the shape of `index`. Of f32, f64 and i64, which wraps;
/// [`Last`](ScatterOp::Last) of any type.
///
/// # Errors
/// As [`cpu::gather::scatter`](crate::cpu::gather::scatter), but what `out` then has is not known; [`Beyond`](Error::Beyond);
/// [`Cuda`](Error::Cuda).
pub fn scatter(
    how: Option<ScatterOp>,
    source: Array<'_>,
    dim: usize,
    index: Array<'_>,
    out_shape: &[usize],
    out: &mut DeviceBuffer,
) -> Result<()> {
    let shape = index.shape();
    require(dim < shape.len() && out_shape.len() == shape.len(), "scatter: number of dims")?;
    require(source.shape() == shape, "scatter: index and source differ in shape")?;
    require(index.kind() == Type::I64, "cuda index: indices are i64")?;
    let fits = shape.iter().zip(out_shape).enumerate().all(|(d, (i, o))| d == dim || i <= o);
    require(fits, "scatter: the index is larger than the output")?;
    let len = checked_len(out_shape);
    let bytes = len.and_then(|len| len.checked_mul(source.kind().size()));
    require(bytes == Some(out.len()), "scatter: length")?;
    let (Some(len), n) = (len, index.len()) else { return Ok(()) };
    if n == 0 {
        return Ok(());
    }
    let strides = RowMajor::new(out_shape)?;
    let places =
        Places { index, dim, rest: Nest::new(shape, strides.get())?, size: out_shape[dim] };
    let Some(how) = code(how) else { return last(source, places, len, out) };
    combines(source.kind())?;
    let lines = n / shape[dim];
    let sortable = u32::try_from(n).is_ok() && u32::try_from(len).is_ok();
    if lines >= LINES || shape[dim] <= SOON || !sortable {
        let plan = Lines {
            index: Nest::new(shape, index.strides())?.still(dim, 1).layout(index.offset())?,
            index_step: index.strides()[dim] as i64,
            inner: shape[dim + 1..].iter().product::<usize>() as i64,
            how,
            ..places.lines(source)?
        };
        return by_lines(plan, source, index, out);
    }
    // Row-major, element i of the source is row i of the sort.
    let dense;
    let flat = [n];
    let source = match source.is_contiguous() {
        true => Array::new(source.buffer(), source.kind(), source.offset(), &flat, &[1])?,
        false => {
            let mut copied = DeviceBuffer::new(out.gpu(), n * source.kind().size())?;
            copy::copy(source, &mut copied)?;
            dense = copied;
            Array::new(&dense, source.kind(), 0, &flat, &[1])?
        }
    };
    let rest = places.rest.still(dim, shape[dim]).layout(0)?;
    let (keys, order) = places.sorted(rest, strides.get()[dim], len)?;
    let plan = Meeting {
        rest: Nest::still_in(&flat)?.layout(source.offset())?,
        step: 1,
        n: n as i64,
        width: 1,
        size: 0,
        total: n as i64,
        how,
    };
    by_keys(plan, source, [&keys, &order], out)
}

/// `out[.., index[i], ..] += source[.., i, ..]` along `dim`, ascending `i`; `index` is a vector, `out` contiguous from its start with shape
/// `out_shape`. Of f32 and f64.
///
/// # Errors
/// As [`cpu::gather::index_add`](crate::cpu::gather::index_add), but what `out` then has is not known; [`Beyond`](Error::Beyond);
/// [`Cuda`](Error::Cuda).
pub fn index_add(
    source: Array<'_>,
    dim: usize,
    index: Array<'_>,
    out_shape: &[usize],
    out: &mut DeviceBuffer,
) -> Result<()> {
    let shape = source.shape();
    require(dim < shape.len() && out_shape.len() == shape.len(), "index_add: number of dims")?;
    let fits = shape.iter().zip(out_shape).enumerate().all(|(d, (a, b))| d == dim || a == b);
    require(fits, "index_add: sizes of the other dims")?;
    let bytes = checked_len(out_shape).and_then(|len| len.checked_mul(source.kind().size()));
    require(bytes == Some(out.len()), "index_add: length")?;
    combines(source.kind())?;
    let (n, index_step) = vector(index)?;
    require(n == shape[dim], "index_add: length of the index")?;
    let size = out_shape[dim];
    if source.is_empty() {
        return super::check(index, size);
    }
    let strides = RowMajor::new(out_shape)?;
    let (total, lines) = (source.len(), source.len() / n);
    let sortable = u32::try_from(n).is_ok() && u32::try_from(size).is_ok();
    if lines >= LINES || n <= SOON || !sortable {
        let rest = Nest::new(shape, strides.get())?;
        let plan = Lines {
            index: Nest::still_in(shape)?.still(dim, 1).layout(index.offset())?,
            index_step,
            inner: 0,
            how: 0,
            ..Places { index, dim, rest, size }.lines(source)?
        };
        return by_lines(plan, source, index, out);
    }
    let places = Places { index, dim: 0, rest: Nest::still_in(&[n])?, size };
    let (keys, order) = places.sorted(places.rest.layout(0)?, 1, size)?;
    let plan = Meeting {
        rest: Nest::new(shape, source.strides())?.still(dim, n).layout(source.offset())?,
        step: source.strides()[dim] as i64,
        n: n as i64,
        width: shape[dim + 1..].iter().product::<usize>() as i64,
        size: size as i64,
        total: total as i64,
        how: 0,
    };
    by_keys(plan, source, [&keys, &order], out)
}

/// The kernels' number of what elements do; `None`: the last stays.
fn code(how: Option<ScatterOp>) -> Option<i32> {
    match how {
        None => Some(0),
        Some(ScatterOp::Prod) => Some(1),
        Some(ScatterOp::Max) => Some(2),
        Some(ScatterOp::Min) => Some(3),
        Some(ScatterOp::Last) => None,
    }
}

fn combines(kind: Type) -> Result<()> {
    let known = matches!(kind, Type::F32 | Type::F64 | Type::I64);
    require(known, "cuda index: elements of f32, f64 and i64 are combined")
}

/// Where elements of the shape of `rest` go in a result: to `rest` (its strides) and, along `dim`, where `index` says, below `size`.
#[derive(Clone, Copy)]
struct Places<'a> {
    index: Array<'a>,
    dim: usize,
    rest: Nest,
    size: usize,
}

impl Places<'_> {
    /// The lines along the dim, but for those of the index.
    fn lines(&self, source: Array<'_>) -> Result<Lines> {
        let (dim, shape) = (self.dim, source.shape());
        let x = Nest::new(shape, source.strides())?.still(dim, 1).layout(source.offset())?;
        Ok(Lines {
            x,
            index: Strided::LINEAR,
            out: self.rest.still(dim, 1).layout(0)?,
            x_step: source.strides()[dim] as i64,
            index_step: 0,
            out_step: self.rest.strides[dim] as i64,
            n: shape[dim] as i64,
            lines: (source.len() / shape[dim]) as i64,
            size: self.size as i64,
            inner: 0,
            how: 0,
        })
    }

    /// The places of all elements, sorted, and which elements they are of; places are below `most`.
    fn sorted(
        &self,
        rest: Strided,
        step: isize,
        most: usize,
    ) -> Result<(DeviceBuffer, DeviceBuffer)> {
        let (index, gpu, n) = (self.index, self.index.buffer().gpu(), self.index.len());
        let keys = DeviceBuffer::new(gpu, n * size_of::<u32>())?;
        let (from, layout, to) = (index.buffer().address(), index.layout()?, keys.address());
        let (step, size, count) = (step as i64, self.size as i64, n as i64);
        let fault = Fault::new(gpu)?;
        let note = fault.0.address();
        let arguments = [
            argument(&from),
            argument(&layout),
            argument(&rest),
            argument(&step),
            argument(&size),
            argument(&to),
            argument(&count),
            argument(&note),
        ];
        // SAFETY: the kernel's arguments; an index below `size` leads to a place in the result, and there is a key for each.
        unsafe { run(gpu, &["index_keys"], n, &arguments)? };
        fault.told(index, self.size)?;
        sort::sort_keys(1, n, sort::Keys::Short(keys), digits(most))
    }
}

/// Bytes of the numbers below `most`.
fn digits(most: usize) -> usize {
    (usize::BITS - most.saturating_sub(1).leading_zeros()).div_ceil(8).max(1) as usize
}

fn by_lines(plan: Lines, source: Array<'_>, index: Array<'_>, out: &DeviceBuffer) -> Result<()> {
    let fault = Fault::new(out.gpu())?;
    let (from, chosen, to) = (source.buffer().address(), index.buffer().address(), out.address());
    let note = fault.0.address();
    let arguments =
        [argument(&from), argument(&chosen), argument(&to), argument(&plan), argument(&note)];
    let name = ["index_lines", source.kind().name()];
    // SAFETY: the kernel's arguments; the lines are those of the source, an index below `size` leads to a place in `out`.
    unsafe { run(out.gpu(), &name, plan.lines as usize, &arguments)? };
    fault.told(index, plan.size as usize)
}

fn by_keys(
    plan: Meeting,
    source: Array<'_>,
    [keys, order]: [&DeviceBuffer; 2],
    out: &DeviceBuffer,
) -> Result<()> {
    let (from, to) = (source.buffer().address(), out.address());
    let (keys, order) = (keys.address(), order.address());
    let arguments =
        [argument(&from), argument(&keys), argument(&order), argument(&to), argument(&plan)];
    let name = ["index_meet", source.kind().name()];
    // SAFETY: the kernel's arguments; there are keys and places for the source's `n` rows, and keys are places in `out`.
    unsafe { run(out.gpu(), &name, plan.total as usize, &arguments) }
}

/// The last element stays: first each place learns which that is.
fn last(source: Array<'_>, places: Places<'_>, len: usize, out: &DeviceBuffer) -> Result<()> {
    let (index, dim, gpu, n) = (places.index, places.dim, out.gpu(), places.index.len());
    if !u32::try_from(n).is_ok_and(|n| n < u32::MAX) {
        return Err(Error::Beyond("2^32 - 1 elements that are scattered"));
    }
    let bytes = len.checked_mul(size_of::<u32>());
    let mut winner =
        DeviceBuffer::new(gpu, bytes.ok_or(Error::Contract("scatter: size of a buffer"))?)?;
    winner.zero()?;
    let fault = Fault::new(gpu)?;
    let (chosen, layout) = (index.buffer().address(), index.layout()?);
    let rest = places.rest.still(dim, index.shape()[dim]).layout(0)?;
    let (step, size, count) = (places.rest.strides[dim] as i64, places.size as i64, n as i64);
    let (winner, note, to) = (winner.address(), fault.0.address(), out.address());
    let arguments = [
        argument(&chosen),
        argument(&layout),
        argument(&rest),
        argument(&step),
        argument(&size),
        argument(&winner),
        argument(&count),
        argument(&note),
    ];
    // SAFETY: the kernel's arguments; an index below `size` leads to a place in the result, which has a winner.
    unsafe { run(gpu, &["index_claim"], n, &arguments)? };
    let (from, x) = (source.buffer().address(), source.layout()?);
    let arguments = [
        argument(&from),
        argument(&x),
        argument(&chosen),
        argument(&layout),
        argument(&rest),
        argument(&step),
        argument(&size),
        argument(&winner),
        argument(&to),
        argument(&count),
    ];
    // SAFETY: as above.
    unsafe { run(gpu, &["index_last", source.kind().size_name()], n, &arguments)? };
    fault.told(index, places.size)
}
