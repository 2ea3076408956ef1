//! Products and convolutions: which kernel, how the work is cut.

use super::super::array::{Array, Type};
use super::super::driver::Gpu;
use super::super::launch::{Family, Grid, Name, argument};
use super::super::memory::DeviceBuffer;
use super::finish::{Call, prepare};
use super::weights::{Conv2d, Packed, Weights};
use super::{Image, Windows, over, small, warps, width};
use crate::cpu::int8::{Ending, Zero};
use crate::error::{Error, Result, require};
use crate::strided::checked_len;

/// As the kernels take it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Product {
    pitch: i64,
    n: i32,
    k: i32,
    groups: i32,
    part: i32,
}

/// What multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cores {
    /// `dp4a`.
    Dot,
    /// `mma.sync` on i8, from compute capability 8.0 on.
    Tensor,
}

impl Cores {
    pub(super) fn of(gpu: &Gpu) -> Cores {
        if gpu.info().capability >= (8, 0) { Cores::Tensor } else { Cores::Dot }
    }
}

/// `out[m, n]` from the codes `a[m, k]`, rows any number of elements apart, and the packed `[k, n]` weights: what
/// [`cpu::int8::gemm`](crate::cpu::int8::gemm()) computes. `zero` is `a`'s; `stride` is how many elements the rows of the result are
/// apart.
///
/// # Errors
/// As there; [`Beyond`](Error::Beyond); [`Cuda`](Error::Cuda).
#[allow(clippy::too_many_arguments)]
pub fn gemm(
    a: Array<'_>,
    zero: Zero<'_>,
    weights: &Packed,
    weight_zero: Option<Zero<'_>>,
    bias: Option<&[i32]>,
    ending: Ending<'_>,
    out: &mut DeviceBuffer,
    stride: usize,
) -> Result<()> {
    let call = Call { zero, weight_zero, bias, ending, stride, together: 1, rows: None };
    gemm_by(Cores::of(out.gpu()), a, weights, &call, out)
}

/// [`gemm`] by these cores.
pub(super) fn gemm_by(
    cores: Cores,
    a: Array<'_>,
    Packed(weights): &Packed,
    call: &Call<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let ([m, k], [row, column]) = (a.shape(), a.strides()) else {
        return Err(Error::Contract("int8: the activations have two dims"));
    };
    require(*k == weights.k, "int8: k of the activations is not that of the weights")?;
    require(*k <= 1 || *column == 1, "int8: rows of the activations don't lie together")?;
    let pitch = if *m <= 1 { Some(*k) } else { usize::try_from(*row).ok() };
    let pitch = pitch.ok_or(Error::Contract("int8: rows of the activations go backwards"))?;
    let address = a.buffer().address() + a.offset() as u64;
    let windows = Windows::plain(a, address, *m, pitch, *k)?;
    multiply(cores, (a.kind(), address), windows, weights, call, out)
}

/// `output[n, oh, ow, o]` from `x[n, h, w, c]`: what [`cpu::int8::conv2d`](crate::cpu::int8::conv2d) computes.
///
/// # Errors
/// As there; [`Beyond`](Error::Beyond); [`Cuda`](Error::Cuda).
#[allow(clippy::too_many_arguments)]
pub fn conv2d(
    conv: &Conv2d,
    batch: usize,
    input: [usize; 2],
    x: Array<'_>,
    zero: Zero<'_>,
    weight_zero: Option<Zero<'_>>,
    bias: Option<&[i32]>,
    ending: Ending<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let stride = conv.shape.out_channels;
    let call = Call { zero, weight_zero, bias, ending, stride, together: 1, rows: None };
    conv2d_by(Cores::of(out.gpu()), conv, (batch, input), x, &call, out)
}

/// [`conv2d`] by these cores.
pub(super) fn conv2d_by(
    cores: Cores,
    conv: &Conv2d,
    (batch, size): (usize, [usize; 2]),
    x: Array<'_>,
    call: &Call<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let shape = &conv.shape;
    let output = shape.output(size).ok_or(Error::Contract("conv2d: the kernel does not fit"))?;
    let len = checked_len(&[batch, size[0], size[1], shape.in_channels]);
    require(len == Some(x.len()), "conv2d: wrong length of the input")?;
    let channels = [shape.in_channels, shape.inputs()];
    let image = Image { batch, size, channels, zero: call.zero.at(0) };
    let sizes = [shape.kernel, shape.stride, shape.padding, shape.dilation, output];
    let windows = Windows::sliding(x, &image, sizes)?;
    let from = (x.kind(), x.start()?);
    let call = Call { together: output[0] * output[1], ..*call };
    match conv.depthwise() {
        true => depthwise(from, windows, &conv.weights, &call, out),
        false => multiply(cores, from, windows, &conv.weights, &call, out),
    }
}

/// k whose sums fit into an i32 in any case, whole slices: 128 * 128 * 65,536 < 2^31.
const EXACT: usize = 65_536;

/// The least of k that a part has, and the most bytes that parts are kept in for the sake of speed.
const PART: usize = 512;
const PARTS: usize = 256 << 20;

/// Groups that have blocks of their own: enough to fill a device; these then go on to others.
const GROUPS: usize = 2048;

/// Rows that are multiplied without tiles.
const FEW: usize = 4;

/// `out = ending(x weights)`.
fn multiply(
    cores: Cores,
    from: (Type, u64),
    mut windows: Windows,
    weights: &Weights,
    call: &Call<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let prepared = prepare(from, &mut windows, weights, call, out, true)?;
    let (rows, n, k, groups) = (windows.rows as usize, weights.n, weights.k, weights.groups);
    if rows == 0 || n == 0 || groups == 0 {
        return Ok(());
    }
    out.forget();
    let (gpu, finish) = (out.gpu(), &prepared.finish);
    let (x, codes) = (from.1, weights.lines.codes.address());
    let mut product = Product {
        pitch: weights.lines.pitch as i64,
        n: small(n)?,
        k: small(k)?,
        groups: small(groups)?,
        part: 0,
    };
    if windows.plain == 1 && windows.width == 16 && groups == 1 && rows <= FEW && !prepared.wide {
        let arguments = [
            argument(&x),
            argument(&codes),
            argument(&windows),
            argument(&product),
            argument(finish),
        ];
        let name = if rows == 1 { "few_1" } else { "few_4" };
        // SAFETY: the kernel's arguments; operands and result lie in their buffers.
        return unsafe { over(gpu, warps(n), name, &arguments) };
    }
    let fills = gpu.info().multiprocessors.max(1) as usize;
    let count = |side: usize| rows.div_ceil(side).saturating_mul(n.div_ceil(side));
    let large = cores == Cores::Tensor && 2 * n > 128 && count(128).saturating_mul(groups) >= fills;
    let tiles = count(if large { 128 } else { 64 });
    require(tiles <= i32::MAX as usize, "cuda int8: too large")?;
    // Few tiles and a long k: parts of it are computed apart. Beyond i32, they must be.
    let (busy, columns) = (tiles.saturating_mul(groups), weights.columns());
    let most = if busy < fills { (2 * fills / busy).min(k / PART).max(1) } else { 1 };
    let overflow = Error::Contract("int8: sizes overflow");
    let bytes =
        rows.checked_mul(columns).and_then(|len| len.checked_mul(4)).ok_or(overflow.clone())?;
    let most = if bytes.saturating_mul(most) <= PARTS { most } else { 1 };
    let parts = if prepared.wide { most.max(k.div_ceil(EXACT)) } else { most };
    // Whole slices.
    let part = k.div_ceil(parts).next_multiple_of(128).max(128);
    let parts = k.div_ceil(part).max(1);
    let apart = parts > 1 || prepared.wide;
    let room = if apart { bytes.checked_mul(parts).ok_or(overflow)? } else { 0 };
    let workspace = DeviceBuffer::new(gpu, room)?;
    product.part = small(part)?;
    let to = workspace.address();
    let arguments = [
        argument(&x),
        argument(&codes),
        argument(&to),
        argument(&windows),
        argument(&product),
        argument(finish),
    ];
    let (family, name, threads, shared) = match (cores, large) {
        (Cores::Dot, _) => (Family::Int8, "int8_dot", 256, 0),
        // Three slices of 128 codes of every row and column, and 24 bytes a row.
        (_, true) => (Family::Int8Tensor, "int8_tensor_large", 256, 3 * 128 * 256 + 24 * 128),
        (_, false) => (Family::Int8Tensor, "int8_tensor_small", 128, 3 * 128 * 128 + 24 * 64),
    };
    let grid = Grid {
        blocks: [tiles as u32, parts as u32, groups.min(GROUPS) as u32],
        threads: [threads, 1, 1],
        shared,
    };
    // SAFETY: the kernel's arguments; windows lie in their operand, the weights are packed lines, and the result (or the parts) fit
    // their buffers, as was checked.
    unsafe { gpu.launch(family, &Name::of(&[name]), grid, &arguments)? };
    if !apart {
        return Ok(());
    }
    let (parts, rows) = (parts as i32, rows as i64);
    let arguments = [
        argument(&to),
        argument(&parts),
        argument(&rows),
        argument(&product.groups),
        argument(&product.n),
        argument(finish),
    ];
    // SAFETY: the kernel's arguments; all parts were written.
    unsafe { over(gpu, bytes / 4, "fold", &arguments) }
}

/// A kernel of each channel's own.
fn depthwise(
    from: (Type, u64),
    mut windows: Windows,
    weights: &Weights,
    call: &Call<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let channels = weights.columns();
    let prepared = prepare(from, &mut windows, weights, call, out, false)?;
    let finish = &prepared.finish;
    windows.width = width(from.1, &[channels]);
    out.forget();
    let (x, codes, pitch) = (from.1, weights.lines.codes.address(), weights.lines.pitch as i64);
    let arguments =
        [argument(&x), argument(&codes), argument(&pitch), argument(&windows), argument(finish)];
    let units = (windows.rows as usize).saturating_mul(channels.div_ceil(4));
    // SAFETY: the kernel's arguments; the windows lie in their operand, lines hold all channels, and the result fits its buffer.
    unsafe { over(out.gpu(), units, "depthwise", &arguments) }
}
