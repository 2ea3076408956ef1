//! Convolutions that are made of [`conv2d`](Tensor::conv2d) and its adjoint.

use super::image::{batched, flat};
use crate::apply::{Operand, apply_one};
use crate::error::{Error, Result};
use crate::op::{
    Conv1dOp, Conv2dOp, Conv3dOp, ConvOp, ConvTranspose1dOp, ConvTranspose2dOp, IndexOp, Op, ViewOp,
};
use crate::ops::chain::{BinaryChain, ShapeChain};
use crate::ops::{look, methods};
use crate::tensor::Tensor;

/// Padding of the output to the input's size, and how many outputs are then too many at the start: PyTorch puts the odd one of
/// the padding at the end.
fn same<const D: usize>(
    op: &'static str,
    settings: ConvOp<D>,
    kernel: &[usize],
) -> Result<(ConvOp<D>, [usize; D])> {
    if settings.stride != [1; D] {
        return Err(Error::argument(op, "padding to the same size needs stride 1"));
    }
    let (mut padding, mut extra) = ([0; D], [0; D]);
    for d in 0..D {
        let total = kernel[d].saturating_sub(1).checked_mul(settings.dilation[d]);
        let total = total.ok_or_else(|| Error::argument(op, "a kernel beyond all sizes"))?;
        padding[d] = total.div_ceil(2);
        extra[d] = total % 2;
    }
    Ok((settings.padding(padding), extra))
}

/// Cut to the sizes of `x` in the last `D` dims, behind what is too many.
fn cut<const D: usize>(y: Tensor, extra: [usize; D], x: &Tensor) -> Result<Tensor> {
    let mut y = y;
    for d in (0..D).filter(|&d| extra[d] > 0) {
        let (at, of) = (y.rank() - D + d, x.rank() - D + d);
        y = y.narrow(at as i64, extra[d], x.shape()[of])?;
    }
    Ok(y)
}

/// The sizes of a weight's kernel.
fn kernel<'a>(op: &'static str, weight: &'a Tensor, dims: usize) -> Result<&'a [usize]> {
    match weight.rank() {
        rank if rank == dims + 2 => Ok(&weight.shape()[2..]),
        _ => {
            let message = format!("weight {:?}: {} dims expected", weight.shape(), dims + 2);
            Err(Error::shape(op, message))
        }
    }
}

/// A weight for images of height 1.
fn flat_weight(op: &'static str, weight: &Tensor) -> Result<Tensor> {
    kernel(op, weight, 1)?;
    weight.unsqueeze(-2)
}

/// `y + bias`, a bias for each channel before `dims` others.
fn biased(op: &'static str, y: Tensor, bias: Option<&Tensor>, dims: usize) -> Result<Tensor> {
    let Some(bias) = bias else { return Ok(y) };
    let channels = y.shape()[1];
    if bias.shape() != [channels] {
        let message = format!("bias {:?}: [{channels}] expected", bias.shape());
        return Err(Error::shape(op, message));
    }
    let mut column = bias.clone();
    for _ in 0..dims {
        column = column.unsqueeze(-1)?;
    }
    Ok(y).add(column)
}

/// A transposed convolution along one dim: what a full one gives, and where the result lies in it.
struct Span {
    full: usize,
    start: usize,
    size: usize,
}

fn span(settings: &ConvTranspose2dOp, d: usize, input: usize, kernel: usize) -> Option<Span> {
    let (stride, dilation) = (settings.stride[d], settings.dilation[d]);
    let reach = dilation.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
    let full = input.checked_sub(1)?.checked_mul(stride)?.checked_add(reach)?;
    let grown = full.checked_add(settings.output_padding[d])?;
    let start = settings.padding[d];
    let size = grown.checked_sub(start.checked_mul(2)?).filter(|&size| size > 0)?;
    Some(Span { full, start, size })
}

fn transposed(x: Operand<'_>, weight: &Tensor, settings: ConvTranspose2dOp) -> Result<Tensor> {
    let op = "conv_transpose2d";
    let ConvTranspose2dOp { stride, padding, output_padding, dilation, groups } = settings;
    let x = look(op, &x)?;
    let kernel = kernel(op, weight, 2)?;
    if (0..2).any(|d| output_padding[d] >= stride[d].max(dilation[d])) {
        let message = format!("{settings:?}: output_padding must be less than stride or dilation");
        return Err(Error::argument(op, message));
    }
    if x.shape()[1] != weight.shape()[0] {
        let message =
            format!("input {:?}, weight {:?}: channels differ", x.shape(), weight.shape());
        return Err(Error::shape(op, message));
    }
    let span = |d: usize| {
        span(&settings, d, x.shape()[2 + d], kernel[d]).ok_or_else(|| {
            let (x, w) = (x.shape(), weight.shape());
            Error::shape(op, format!("input {x:?}, weight {w:?}, {settings:?}: no output"))
        })
    };
    let spans = [span(0)?, span(1)?];
    let adjoint = Conv2dOp { stride, padding, dilation, groups };
    if (0..2).all(|d| output_padding[d] < stride[d]) {
        return x.conv2d_input(weight, adjoint, [spans[0].size, spans[1].size]);
    }
    // No convolution of the larger size gives back the input: cut the result out of all that there is.
    let full = [spans[0].full, spans[1].full];
    let mut y = x.conv2d_input(weight, adjoint.padding([0, 0]), full)?;
    for (dim, Span { full, start, size }) in [2, 3].into_iter().zip(spans) {
        let length = full.saturating_sub(start).min(size);
        y = y.narrow(dim as i64, start.min(full), length)?;
        if length < size {
            y = placed(y, dim, 0, 1, size)?;
        }
    }
    Ok(y)
}

/// Zeros of `size` along a dim, with `y` at the places of a slice.
fn placed(y: Tensor, dim: usize, start: usize, step: usize, size: usize) -> Result<Tensor> {
    let step = step as isize;
    apply_one(&Op::Index(IndexOp::Unslice { dim, start, step, size }), &mut [Operand::Own(y)])
}

/// The outputs whose tap `tap` lies in the volume: first and last + 1.
fn seen(settings: &Conv3dOp, tap: usize, depth: usize, outputs: usize) -> Option<(usize, usize)> {
    let (stride, padding) = (settings.stride[0], settings.padding[0]);
    let tap = tap.checked_mul(settings.dilation[0])?;
    let first = padding.saturating_sub(tap).div_ceil(stride);
    let end = depth.checked_add(padding)?.saturating_sub(tap).div_ceil(stride).min(outputs);
    (first < end).then_some((first, end))
}

/// Each tap is a convolution of its own; a kernel without elements could have any number of them.
const DEEPEST: usize = 1 << 16;

/// The sum over the taps in depth, in ascending order, of convolutions of the planes they see.
fn volumes(x: &Tensor, weight: &Tensor, settings: Conv3dOp) -> Result<Tensor> {
    let op = "conv3d";
    let kernel = kernel(op, weight, 3)?;
    let [n, depth] = [0, 2].map(|d| x.shape()[d]);
    let ConvOp { stride, padding, dilation, groups } = settings;
    let planes = Conv2dOp {
        stride: [stride[1], stride[2]],
        padding: [padding[1], padding[2]],
        dilation: [dilation[1], dilation[2]],
        groups,
    };
    let outputs = (|| {
        let reach = dilation[0].checked_mul(kernel[0].checked_sub(1)?)?.checked_add(1)?;
        let padded = padding[0].checked_mul(2)?.checked_add(depth)?;
        padded.checked_sub(reach)?.checked_div(stride[0])?.checked_add(1)
    })();
    let outputs = outputs.ok_or_else(|| {
        let (x, w) = (x.shape(), weight.shape());
        Error::shape(op, format!("the kernel of weight {w:?} does not fit {x:?} with {settings:?}"))
    })?;
    if stride.contains(&0) || dilation.contains(&0) || kernel[0] > DEEPEST {
        let message = format!("stride, dilation of at least 1, a depth of {DEEPEST} at most");
        return Err(Error::argument(op, message));
    }
    let mut sum: Option<Tensor> = None;
    for tap in 0..kernel[0] {
        let Some((first, end)) = seen(&settings, tap, depth, outputs) else { continue };
        let start = first * stride[0] + tap * dilation[0] - padding[0];
        let (length, step) = (end - first, stride[0] as isize);
        let slice = Op::View(ViewOp::Slice { dim: 2, start, length, step });
        let images = apply_one(&slice, &mut [x.into()]).transpose(1, 2)?;
        let weight = weight.narrow(2, tap, 1).squeeze(2)?;
        let y = images.flatten(0, 1)?.conv2d(&weight, None, planes)?;
        let [o, oh, ow] = [1, 2, 3].map(|d| y.shape()[d]);
        let mut y = y.reshape([n, length, o, oh, ow]).transpose(1, 2)?;
        if length < outputs {
            y = placed(y, 2, first, 1, outputs)?;
        }
        sum = Some(match sum {
            Some(sum) => Ok(sum).add(y)?,
            None => y,
        });
    }
    sum.ok_or_else(|| Error::shape(op, format!("no output sees anything of {:?}", x.shape())))
}

methods! {
    /// Convolutions of sequences and volumes, and transposed ones, on `Result<Tensor>`.
    trait ConvolutionChain;

    /// [`conv2d`](Tensor::conv2d) with `padding="same"`: y has the height and width of x. The settings' own padding is not used; an
    /// odd number of zeros has the last one at the end.
    ///
    /// # Errors
    /// A stride that is not 1; as `conv2d`.
    fn conv2d_same(x, weight: &Tensor, bias: Option<&Tensor>, settings: Conv2dOp) -> Tensor {
        let op = "conv2d";
        let (settings, extra) = same(op, settings, kernel(op, weight, 2)?)?;
        let x = look(op, &x)?;
        cut(x.conv2d(weight, bias, settings)?, extra, x)
    }

    /// `y[n, o] = sum_c x[n, c] (*) weight[o, c] + bias[o]`, a cross-correlation as PyTorch's `conv1d`. x: `[n, c, l]` or `[c, l]`,
    /// weight: `[o, c / groups, k]`, bias: `[o]`.
    ///
    /// ```
    /// # use ferrotape_tensor::{Tensor, Conv1dOp};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[1f32, 2., 4., 8.]]);
    /// let difference = Tensor::from([[[-1f32, 1.]]]);
    /// assert_eq!(x.conv1d(&difference, None, Conv1dOp::default())?.to_vec::<f32>()?, [1., 2., 4.]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Channels that differ, a kernel that does not fit, a stride, dilation or number of groups of 0.
    fn conv1d(x, weight: &Tensor, bias: Option<&Tensor>, settings: Conv1dOp) -> Tensor {
        let weight = flat_weight("conv1d", weight)?;
        flat("conv1d", x, |x| look("conv1d", &x)?.conv2d(&weight, bias, settings.flat()))
    }

    /// [`conv1d`](Tensor::conv1d) with `padding="same"`: y is as long as x.
    ///
    /// # Errors
    /// A stride that is not 1; as `conv1d`.
    fn conv1d_same(x, weight: &Tensor, bias: Option<&Tensor>, settings: Conv1dOp) -> Tensor {
        let op = "conv1d";
        let (settings, extra) = same(op, settings, kernel(op, weight, 1)?)?;
        let x = look(op, &x)?;
        cut(x.conv1d(weight, bias, settings)?, extra, x)
    }

    /// The cross-correlation of volumes, PyTorch's `conv3d`: the sum over the kernel's depth, in ascending order, of `conv2d` of
    /// the planes. x: `[n, c, d, h, w]` or `[c, d, h, w]`, weight: `[o, c / groups, kd, kh, kw]`, bias: `[o]`.
    ///
    /// # Errors
    /// As [`conv2d`](Tensor::conv2d).
    fn conv3d(x, weight: &Tensor, bias: Option<&Tensor>, settings: Conv3dOp) -> Tensor {
        batched("conv3d", x, 3, |x| {
            biased("conv3d", volumes(look("conv3d", &x)?, weight, settings)?, bias, 3)
        })
    }

    /// [`conv3d`](Tensor::conv3d) with `padding="same"`.
    ///
    /// # Errors
    /// A stride that is not 1; as `conv3d`.
    fn conv3d_same(x, weight: &Tensor, bias: Option<&Tensor>, settings: Conv3dOp) -> Tensor {
        let op = "conv3d";
        let (settings, extra) = same(op, settings, kernel(op, weight, 3)?)?;
        let x = look(op, &x)?;
        cut(x.conv3d(weight, bias, settings)?, extra, x)
    }

    /// The transposed convolution, PyTorch's `conv_transpose2d`: the adjoint of `conv2d` in its input, plus a bias. x: `[n, c, h, w]`
    /// or `[c, h, w]`, weight: `[c, o / groups, kh, kw]`, bias: `[o]`, y: `[n, o, oh, ow]` with
    /// `oh = (h - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1`.
    ///
    /// ```
    /// # use ferrotape_tensor::{Tensor, ConvTranspose2dOp};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let (x, kernel) = (Tensor::from([[[1f32, 2.]]]), Tensor::from([[[[1f32, 10.]]]]));
    /// let y = x.conv_transpose2d(&kernel, None, ConvTranspose2dOp::default().stride([1, 2]))?;
    /// assert_eq!(y.to_vec::<f32>()?, [1., 10., 2., 20.]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Channels that differ, sizes that leave no output, an output padding that reaches both stride and dilation.
    fn conv_transpose2d(x, weight: &Tensor, bias: Option<&Tensor>, settings: ConvTranspose2dOp) -> Tensor {
        let op = "conv_transpose2d";
        batched(op, x, 2, |x| biased(op, transposed(x, weight, settings)?, bias, 2))
    }

    /// The transposed convolution of sequences, PyTorch's `conv_transpose1d`. x: `[n, c, l]` or `[c, l]`, weight: `[c, o / groups, k]`,
    /// bias: `[o]`.
    ///
    /// # Errors
    /// As [`conv_transpose2d`](Tensor::conv_transpose2d).
    fn conv_transpose1d(x, weight: &Tensor, bias: Option<&Tensor>, settings: ConvTranspose1dOp) -> Tensor {
        let op = "conv_transpose1d";
        let weight = flat_weight(op, weight)?;
        flat(op, x, |x| biased(op, transposed(x, &weight, settings.flat())?, bias, 2))
    }
}
