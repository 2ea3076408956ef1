//! Selection by index and its adjoints: `index.cu`, with the bits of [`cpu::gather`](crate::cpu::gather). Elements that meet are combined
//! in ascending order of the source: by one thread for each line along the dim, or, where lines are few and long, by one for
//! each place, the elements having been sorted by place. Whether all indices lie inside is known when a function returns: it
//! waits for the device.

mod meet;
#[cfg(test)]
mod tests;

use super::array::{Array, Strided, Type};
use super::driver::Gpu;
use super::launch::{Argument, Family, Grid, Name, argument};
use super::memory::DeviceBuffer;
use crate::error::{Error, Result, require};
use crate::strided::{self, checked_len};

pub use meet::{index_add, scatter};

/// Dims of a view on the stack, or beyond what kernels take.
const MOST: usize = 64;

/// A layout that is a changed copy of another.
#[derive(Clone, Copy)]
struct Nest {
    shape: [usize; MOST],
    strides: [isize; MOST],
    rank: usize,
}

impl Nest {
    fn new(shape: &[usize], strides: &[isize]) -> Result<Nest> {
        let rank = shape.len();
        if rank > MOST || strides.len() != rank {
            return Err(Error::Beyond("more than 64 dims"));
        }
        let mut nest = Nest { shape: [1; MOST], strides: [0; MOST], rank };
        nest.shape[..rank].copy_from_slice(shape);
        nest.strides[..rank].copy_from_slice(strides);
        Ok(nest)
    }

    /// One element that has this shape.
    fn still_in(shape: &[usize]) -> Result<Nest> {
        let strides = [0; MOST];
        Nest::new(shape, strides.get(..shape.len()).unwrap_or_default())
    }

    /// As kernels take it.
    fn layout(&self, offset: usize) -> Result<Strided> {
        Strided::new(offset, &self.shape[..self.rank], &self.strides[..self.rank])
    }

    /// Dim `dim` in this size, and nothing moves along it.
    fn still(mut self, dim: usize, size: usize) -> Nest {
        (self.shape[dim], self.strides[dim]) = (size, 0);
        self
    }
}

/// Where kernels note the first index that lies outside its dim.
struct Fault(DeviceBuffer);

impl Fault {
    fn new(gpu: &'static Gpu) -> Result<Fault> {
        let mut note = DeviceBuffer::new(gpu, size_of::<u64>())?;
        note.zero()?;
        Ok(Fault(note))
    }

    /// The error that the kernels met, if they met one.
    fn told(self, index: Array<'_>, size: usize) -> Result<()> {
        let mut note = [0; 8];
        self.0.download(0, &mut note)?;
        let note = u64::from_le_bytes(note);
        if note == 0 {
            return Ok(());
        }
        let position = !note as usize;
        let (mut rest, mut place) = (position, index.offset() as isize);
        for (&size, &stride) in index.shape().iter().zip(index.strides()).rev() {
            place += (rest % size) as isize * stride;
            rest /= size;
        }
        let mut value = [0; 8];
        index.buffer().download(place as usize * size_of::<i64>(), &mut value)?;
        Err(Error::IndexOutOfRange { index: i64::from_le_bytes(value), position, size })
    }
}

/// Launches one of the family's kernels over `n` things.
///
/// # Safety
/// As [`Gpu::launch`].
unsafe fn run(gpu: &Gpu, name: &[&str], n: usize, arguments: &[Argument<'_>]) -> Result<()> {
    // SAFETY: the caller's duty.
    unsafe { gpu.launch(Family::Index, &Name::of(name), Grid::over(n), arguments) }
}

/// The address of a view's first element.
fn start(x: Array<'_>) -> u64 {
    x.buffer().address() + (x.offset() * x.kind().size()) as u64
}

/// The vector of indices, and the check that the dims but `dim` are the same.
fn vector(index: Array<'_>) -> Result<(usize, i64)> {
    require(index.kind() == Type::I64, "cuda index: indices are i64")?;
    match (index.shape(), index.strides()) {
        ([n], [stride]) => Ok((*n, *stride as i64)),
        _ => Err(Error::Contract("index: not a vector")),
    }
}

/// The check of a vector of indices where no element is moved.
fn check(index: Array<'_>, size: usize) -> Result<()> {
    if index.is_empty() {
        return Ok(());
    }
    let (from, layout) = (index.buffer().address(), index.layout()?);
    let (n, limit, fault) = (index.len() as i64, size as i64, Fault::new(index.buffer().gpu())?);
    let note = fault.0.address();
    let arguments =
        [argument(&from), argument(&layout), argument(&n), argument(&limit), argument(&note)];
    // SAFETY: the kernel's arguments; the layout's elements lie inside the buffer.
    unsafe { run(index.buffer().gpu(), &["index_check"], index.len(), &arguments)? };
    fault.told(index, size)
}

/// `out[.., i, ..] = x[.., index[.., i, ..], ..]` along `dim`; `out` has the shape of `index`, contiguous from its start.
///
/// # Errors
/// As [`cpu::gather::gather`](crate::cpu::gather::gather); [`Beyond`](Error::Beyond); [`Cuda`](Error::Cuda).
pub fn gather(x: Array<'_>, dim: usize, index: Array<'_>, out: &mut DeviceBuffer) -> Result<()> {
    let (shape, bytes) = (x.shape(), x.kind().size());
    require(dim < shape.len() && index.shape().len() == shape.len(), "gather: number of dims")?;
    let fits = index.shape().iter().zip(shape).enumerate().all(|(d, (i, x))| d == dim || i <= x);
    require(fits, "gather: the index is larger than the input")?;
    require(index.kind() == Type::I64, "cuda index: indices are i64")?;
    let n = index.len();
    require(n.checked_mul(bytes) == Some(out.len()), "gather: length of the result")?;
    if n == 0 {
        return Ok(());
    }
    let rest = Nest::new(index.shape(), x.strides())?.still(dim, index.shape()[dim]);
    let (rest, layout) = (rest.layout(x.offset())?, index.layout()?);
    let (from, chosen, to) = (x.buffer().address(), index.buffer().address(), out.address());
    let (step, size, count) = (x.strides()[dim] as i64, shape[dim] as i64, n as i64);
    let fault = Fault::new(out.gpu())?;
    let note = fault.0.address();
    let arguments = [
        argument(&from),
        argument(&rest),
        argument(&step),
        argument(&size),
        argument(&chosen),
        argument(&layout),
        argument(&to),
        argument(&count),
        argument(&note),
    ];
    // SAFETY: the kernel's arguments; an index below `size` leads to an element of `x`, for the other dims are no longer than its.
    unsafe { run(out.gpu(), &["index_gather", x.kind().size_name()], n, &arguments)? };
    fault.told(index, shape[dim])
}

/// `out[.., i, ..] = x[.., index[i], ..]` along `dim`; `index` is a vector, `out` contiguous from its start.
///
/// # Errors
/// As [`cpu::gather::index_select`](crate::cpu::gather::index_select); [`Beyond`](Error::Beyond); [`Cuda`](Error::Cuda).
pub fn index_select(
    x: Array<'_>,
    dim: usize,
    index: Array<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let (shape, bytes) = (x.shape(), x.kind().size());
    require(dim < shape.len(), "index_select: no such dim")?;
    let (count, index_step) = vector(index)?;
    let rest = Nest::new(shape, x.strides())?.still(dim, count);
    let n = checked_len(&rest.shape[..rest.rank]);
    let fits = n.and_then(|n| n.checked_mul(bytes)) == Some(out.len());
    require(fits, "index_select: length of the result")?;
    let Some(n) = n.filter(|&n| n > 0) else { return check(index, shape[dim]) };
    let (from, chosen, to) = (x.buffer().address(), start(index), out.address());
    let step = x.strides()[dim];
    let width: usize = shape[dim + 1..].iter().product();
    // Rows of whole 16-byte pieces are moved by these.
    let group = 16 / bytes;
    let neat = strided::is_contiguous(&shape[dim + 1..], &x.strides()[dim + 1..])
        && width.is_multiple_of(group)
        && (x.offset() * bytes) as u64 % 16 + from % 16 + to % 16 == 0
        && x.strides()[..=dim].iter().all(|stride| stride.unsigned_abs() % group == 0);
    let (rest, group) = match neat {
        true => (grouped(&rest, dim, width, group)?.layout(x.offset() / group)?, group),
        false => (rest.layout(x.offset())?, 1),
    };
    let name = if group > 1 { "16" } else { x.kind().size_name() };
    let (step, size) = ((step / group as isize) as i64, shape[dim] as i64);
    let (count, width, total) = (count as i64, (width / group) as i64, (n / group) as i64);
    let fault = Fault::new(out.gpu())?;
    let note = fault.0.address();
    let arguments = [
        argument(&from),
        argument(&rest),
        argument(&step),
        argument(&size),
        argument(&chosen),
        argument(&index_step),
        argument(&count),
        argument(&width),
        argument(&to),
        argument(&total),
        argument(&note),
    ];
    // SAFETY: the kernel's arguments; an index below `size` leads to an element of `x`.
    unsafe { run(out.gpu(), &["index_select", name], n / group, &arguments)? };
    fault.told(index, shape[dim])
}

/// The dims beyond `dim` as one of `width / group` groups of elements.
fn grouped(rest: &Nest, dim: usize, width: usize, group: usize) -> Result<Nest> {
    let (mut shape, mut strides) = (rest.shape, rest.strides);
    (shape[dim + 1], strides[dim + 1]) = (width / group, 1);
    for stride in &mut strides[..=dim] {
        *stride /= group as isize;
    }
    Nest::new(&shape[..dim + 2], &strides[..dim + 2])
}

/// As `index_fold` takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Windows {
    rest: Strided,
    window_step: i64,
    tap_step: i64,
    windows: i64,
    taps: i64,
    step: i64,
    size: i64,
    width: i64,
    total: i64,
}

/// The sum of windows that may overlap: `out[.., p, ..]` is the sum of `x[.., w, .., p - w * step]` over windows `w`, ascending, where dim
/// `dim` of `x` counts the windows and its last dim lies along them. `out`: of shape `out_shape`, contiguous from its start.
///
/// # Errors
/// [`Contract`](Error::Contract) if shapes don't fit or `x` is not of f32 or f64; [`Beyond`](Error::Beyond); [`Cuda`](Error::Cuda).
pub fn fold(
    x: Array<'_>,
    dim: usize,
    step: usize,
    out_shape: &[usize],
    out: &mut DeviceBuffer,
) -> Result<()> {
    require(matches!(x.kind(), Type::F32 | Type::F64), "fold: of f32 and f64 only")?;
    let rank = out_shape.len();
    require(dim < rank && x.shape().len() == rank + 1 && step > 0, "fold: number of dims")?;
    let (windows, taps, size) = (x.shape()[dim], x.shape()[rank], out_shape[dim]);
    let others = (0..rank).all(|d| d == dim || x.shape()[d] == out_shape[d]);
    let reach = windows
        .checked_sub(1)
        .map_or(Some(0), |last| last.checked_mul(step).and_then(|start| start.checked_add(taps)));
    require(others && reach.is_some_and(|reach| reach <= size), "fold: sizes")?;
    let total = checked_len(out_shape);
    let bytes = total.and_then(|total| total.checked_mul(x.kind().size()));
    require(bytes == Some(out.len()), "fold: length of the result")?;
    let Some(total) = total.filter(|&total| total > 0) else { return Ok(()) };
    if x.is_empty() {
        return out.zero();
    }
    let rest = Nest::new(out_shape, &x.strides()[..rank])?.still(dim, size);
    let plan = Windows {
        rest: rest.layout(x.offset())?,
        window_step: x.strides()[dim] as i64,
        tap_step: x.strides()[rank] as i64,
        windows: windows as i64,
        taps: taps as i64,
        step: step as i64,
        size: size as i64,
        width: out_shape[dim + 1..].iter().product::<usize>() as i64,
        total: total as i64,
    };
    let (from, to) = (x.buffer().address(), out.address());
    let arguments = [argument(&from), argument(&to), argument(&plan)];
    // SAFETY: the kernel's arguments; windows and taps are those of `x`, `out` has `total` elements.
    unsafe { run(out.gpu(), &["index_fold", x.kind().name()], total, &arguments) }
}
