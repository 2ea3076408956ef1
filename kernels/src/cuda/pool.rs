//! Pools of images: `pool.cu`. Operands are row-major, results from the start of their buffers on.

#[cfg(test)]
mod tests;

use super::array::{Array, Type};
use super::facts::Fact;
use super::launch::{Argument, Family, Grid, Name, argument};
use super::memory::DeviceBuffer;
use crate::cpu::pool::{self, Divisor, Pool2dShape};
use crate::error::{Error, Result, require};

/// As the kernels take it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Windows {
    input: [i64; 2],
    output: [i64; 2],
    kernel: [i64; 2],
    stride: [i64; 2],
    padding: [i64; 2],
    dilation: [i64; 2],
    by: i64,
    adaptive: i32,
    divisor: i32,
}

impl Windows {
    fn new(windows: &pool::Windows, divisor: Divisor) -> Result<Windows> {
        let beyond = Error::Beyond("more than 2^31 - 1 places along a dim");
        // Products of two such still fit 63 bits.
        let small = |x: usize| i64::try_from(x).ok().filter(|&x| x < 1 << 31);
        let both = |[a, b]: [usize; 2]| Some([small(a)?, small(b)?]);
        let output = windows.output().and_then(both);
        let (by, how) = match divisor {
            Divisor::Elements => (1, 0),
            Divisor::Padded => (1, 1),
            Divisor::By(number) => (number, 2),
        };
        let made = match windows {
            pool::Windows::Sliding(s) => {
                // A stride beyond the image is as good as any other: there is one window.
                let stride = s.stride.map(|stride| stride.min((1 << 31) - 1));
                both(s.kernel).zip(both(stride)).zip(both(s.padding).zip(both(s.dilation)))
            }
            pool::Windows::Adaptive { .. } => Some((([1; 2], [1; 2]), ([0; 2], [1; 2]))),
        };
        let (input, adaptive) = match windows {
            pool::Windows::Sliding(s) => (both(s.input), 0),
            pool::Windows::Adaptive { input, .. } => (both(*input), 1),
        };
        let ((kernel, stride), (padding, dilation)) = made.ok_or(beyond.clone())?;
        let (input, output) = input.zip(output).ok_or(beyond)?;
        let divisor = how;
        Ok(Windows { input, output, kernel, stride, padding, dilation, by, adaptive, divisor })
    }
}

/// Floats that there are kernels for, row-major.
fn floats(x: Array<'_>) -> Result<Type> {
    require(matches!(x.kind(), Type::F32 | Type::F64), "cuda pool: f32 and f64 only")?;
    Ok(x.kind())
}

/// How many elements of this type the buffer holds.
fn length(buffer: &DeviceBuffer, kind: Type) -> Result<usize> {
    let len = buffer.len() / kind.size();
    require(len * kind.size() == buffer.len(), "cuda pool: a part of an element")?;
    Ok(len)
}

/// Launches `name` of `kind` over `n` elements.
///
/// # Safety
/// - As [`Gpu::launch`](super::Gpu).
unsafe fn over(
    n: usize,
    (name, kind): (&str, Type),
    out: &DeviceBuffer,
    arguments: &[Argument<'_>],
) -> Result<()> {
    if n == 0 {
        return Ok(());
    }
    let name = Name::of(&[name, kind.name()]);
    // SAFETY: the caller's guarantee.
    unsafe { out.gpu().launch(Family::Pool, &name, Grid::over(n), arguments) }
}

/// `out = max` of each window, `index = kh * kernel_width + kw` of the winner (NaN wins, then the lowest index): u8.
///
/// # Errors
/// [`Contract`](Error::Contract) as [`pool::max_pool2d`]; [`Beyond`](Error::Beyond); [`Cuda`](Error::Cuda).
pub fn max_pool2d(
    shape: &Pool2dShape,
    x: Array<'_>,
    out: &mut DeviceBuffer,
    index: &mut DeviceBuffer,
) -> Result<()> {
    let kind = floats(x)?;
    let n = length(out, kind)?;
    pool::check_max_pool(shape, x.len(), n)?;
    require(index.len() == n, "max_pool2d: length of the index")?;
    let windows = Windows::new(&pool::Windows::Sliding(*shape), Divisor::Elements)?;
    let (from, to, taps, places, len) =
        (x.start()?, out.address(), index.address(), 0u64, n as i64);
    let arguments = [
        argument(&from),
        argument(&to),
        argument(&taps),
        argument(&places),
        argument(&windows),
        argument(&len),
    ];
    index.forget();
    // SAFETY: the kernel's arguments; the lengths are those of the shape.
    unsafe { over(n, ("pool_max", kind), out, &arguments)? };
    index.facts.note(Fact::Taps(*shape));
    Ok(())
}

/// `index = row * width + column` of the maximum of each window (NaN wins, then the lowest index): i64.
///
/// # Errors
/// [`Contract`](Error::Contract) as [`pool::max_pool2d_index`]; [`Beyond`](Error::Beyond); [`Cuda`](Error::Cuda).
pub fn max_pool2d_index(
    windows: &pool::Windows,
    x: Array<'_>,
    index: &mut DeviceBuffer,
) -> Result<()> {
    let kind = floats(x)?;
    let n = length(index, Type::I64)?;
    pool::check_windows(windows, x.len(), n)?;
    let windows = Windows::new(windows, Divisor::Elements)?;
    let (from, none, places, len) = (x.start()?, 0u64, index.address(), n as i64);
    let arguments = [
        argument(&from),
        argument(&none),
        argument(&none),
        argument(&places),
        argument(&windows),
        argument(&len),
    ];
    // SAFETY: as in `max_pool2d`.
    unsafe { over(n, ("pool_max", kind), index, &arguments) }
}

/// The backward pass: adds each output's gradient to its winner; inputs that never won get 0.
///
/// # Errors
/// [`Contract`](Error::Contract) as [`pool::max_pool2d_grad`]; [`Beyond`](Error::Beyond); [`Cuda`](Error::Cuda). Waits for the device if
/// the index is not known from [`max_pool2d`]: it is checked.
pub fn max_pool2d_grad(
    shape: &Pool2dShape,
    grad: Array<'_>,
    index: Array<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let kind = floats(grad)?;
    let n = length(out, kind)?;
    pool::check_max_pool(shape, n, grad.len())?;
    let windows = Windows::new(&pool::Windows::Sliding(*shape), Divisor::Elements)?;
    let bad = check(shape, &windows, grad.len(), index)?;
    let (from, taps, to, len) = (grad.start()?, index.start()?, out.address(), n as i64);
    let arguments =
        [argument(&from), argument(&taps), argument(&to), argument(&windows), argument(&len)];
    // SAFETY: as in `max_pool2d`; the index is only compared with.
    unsafe { over(n, ("pool_spread", kind), out, &arguments)? };
    told(bad)
}

/// `out[window] = x[winner]`: the adjoint of [`max_pool2d_grad`].
///
/// # Errors
/// As [`max_pool2d_grad`].
pub fn max_pool2d_gather(
    shape: &Pool2dShape,
    x: Array<'_>,
    index: Array<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let kind = floats(x)?;
    let n = length(out, kind)?;
    pool::check_max_pool(shape, x.len(), n)?;
    let windows = Windows::new(&pool::Windows::Sliding(*shape), Divisor::Elements)?;
    let bad = check(shape, &windows, n, index)?;
    let (from, taps, to, len) = (x.start()?, index.start()?, out.address(), n as i64);
    let arguments =
        [argument(&from), argument(&taps), argument(&to), argument(&windows), argument(&len)];
    // SAFETY: as in `max_pool2d`; a tap outside the image is not followed.
    unsafe { over(n, ("pool_gather", kind), out, &arguments)? };
    told(bad)
}

/// Looks at every tap, of which there must be `len`, unless they are known to be right; what was found lies in the buffer, once the
/// device is there.
fn check(
    shape: &Pool2dShape,
    windows: &Windows,
    len: usize,
    index: Array<'_>,
) -> Result<Option<DeviceBuffer>> {
    require(index.kind() == Type::U8, "max_pool2d: type of the index")?;
    require(index.len() == len, "max_pool2d_grad: length of the index")?;
    let whole = index.offset() == 0 && index.is_contiguous();
    if index.is_empty() || (whole && index.buffer().facts.holds(Fact::Taps(*shape))) {
        return Ok(None);
    }
    let gpu = index.buffer().gpu();
    let mut bad = DeviceBuffer::new(gpu, 4)?;
    bad.zero()?;
    let (taps, flags, n) = (index.start()?, bad.address(), len as i64);
    let arguments = [argument(&taps), argument(&flags), argument(windows), argument(&n)];
    let grid = Grid::over(index.len());
    // SAFETY: the kernel's arguments; the index has an element a window, the flags are 4 bytes.
    unsafe { gpu.launch(Family::Pool, &Name::of(&["pool_check"]), grid, &arguments)? };
    Ok(Some(bad))
}

/// What [`check`] found, in the CPU's words.
fn told(bad: Option<DeviceBuffer>) -> Result<()> {
    let mut flags = [0; 4];
    match bad {
        Some(bad) => bad.download(0, &mut flags)?,
        None => return Ok(()),
    }
    let flags = u32::from_le_bytes(flags);
    require(flags & 1 == 0, "max_pool2d: index outside window")?;
    require(flags & 2 == 0, "max_pool2d: index outside the image")
}

/// `out = (sum of each window) / divisor`, the sum in ascending order of the window's elements, from `+0`.
///
/// # Errors
/// [`Contract`](Error::Contract) as [`pool::average_pool2d`]; [`Beyond`](Error::Beyond); [`Cuda`](Error::Cuda).
pub fn average_pool2d(
    windows: &pool::Windows,
    divisor: Divisor,
    x: Array<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let kind = floats(x)?;
    let n = length(out, kind)?;
    pool::check_means(windows, divisor, x.len(), n)?;
    let windows = Windows::new(windows, divisor)?;
    let (from, to, len) = (x.start()?, out.address(), n as i64);
    let arguments = [argument(&from), argument(&to), argument(&windows), argument(&len)];
    // SAFETY: as in `max_pool2d`.
    unsafe { over(n, ("pool_average", kind), out, &arguments) }
}

/// The backward pass: every element of a window gets `grad / divisor`; an element's shares are added in ascending order of the
/// windows, from `+0`.
///
/// # Errors
/// As [`average_pool2d`].
pub fn average_pool2d_grad(
    windows: &pool::Windows,
    divisor: Divisor,
    grad: Array<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let kind = floats(grad)?;
    let n = length(out, kind)?;
    pool::check_means(windows, divisor, n, grad.len())?;
    let windows = Windows::new(windows, divisor)?;
    let (from, none, to, len) = (grad.start()?, 0u64, out.address(), n as i64);
    let arguments =
        [argument(&from), argument(&none), argument(&to), argument(&windows), argument(&len)];
    // SAFETY: as in `max_pool2d`.
    unsafe { over(n, ("pool_spread", kind), out, &arguments) }
}
