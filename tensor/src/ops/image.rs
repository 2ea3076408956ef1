//! Convolution and pooling of images, NCHW.

use crate::apply::{Operand, apply, apply_one};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::observe::is_observed;
use crate::op::{Conv2dOp, Op, Pool2dOp, WindowsOp};
use crate::ops::chain::{PoolChain, ShapeChain};
use crate::ops::{look, methods};
use crate::tensor::Tensor;
use ferrotape_kernels::cpu::gemm::Activation;
use ferrotape_kernels::cpu::pool::Divisor;

/// `f` of a batch, `[n, c, ..]` with so many dims behind the channels; one sample `[c, ..]` is a batch of one.
pub(super) fn batched(
    op: &'static str,
    x: Operand<'_>,
    dims: usize,
    f: impl FnOnce(Operand<'_>) -> Result<Tensor>,
) -> Result<Tensor> {
    let tensor = look(op, &x)?;
    match tensor.rank() {
        rank if rank == dims + 2 => f(x),
        rank if rank == dims + 1 => {
            let one = tensor.unsqueeze(0)?;
            f(Operand::Own(one)).squeeze(0)
        }
        _ => {
            let (shape, one) = (tensor.shape(), dims + 1);
            let message = format!(
                "input of shape {shape:?}: {one} dims expected, or with a batch {}",
                one + 1
            );
            Err(Error::shape(op, message))
        }
    }
}

/// `f` of sequences `[n, c, l]`, or one of them, as images of height 1.
pub(super) fn flat(
    op: &'static str,
    x: Operand<'_>,
    f: impl FnOnce(Operand<'_>) -> Result<Tensor>,
) -> Result<Tensor> {
    batched(op, x, 1, |x| f(Operand::Own(look(op, &x)?.unsqueeze(-2)?)).squeeze(-2))
}

fn convolve(op: Op, x: Operand<'_>, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(bias) => apply_one(&op, &mut [x, weight.into(), bias.into()]),
        None => apply_one(&op, &mut [x, weight.into()]),
    }
}

/// True if a convolution of x and its max pool are one operation: a GPU, and floats that are rounded between the two, take two; an
/// observer other than a tape hears both.
fn as_one(x: &Tensor, pool: Pool2dOp) -> bool {
    let taps = pool.kernel[0].checked_mul(pool.kernel[1]);
    let counted = pool.dilation == [1, 1] && taps.is_some_and(|taps| taps <= 256);
    let joins = matches!(x.dtype(), DType::F32 | DType::F64) && x.device() == Device::Cpu;
    counted && joins && !is_observed()
}

pub(super) fn pool(settings: Pool2dOp, x: Operand<'_>) -> Result<(Tensor, Tensor)> {
    let mut outputs = apply(&Op::MaxPool2d(settings), &mut [x])?.into_iter();
    match (outputs.next(), outputs.next()) {
        (Some(y), Some(taps)) => Ok((y, taps)),
        _ => Err(Error::argument("max_pool2d", "internal: two outputs expected")),
    }
}

methods! {
    /// Convolution and pooling, on `Result<Tensor>`.
    trait ImageChain;

    /// `y[n, o] = sum_c x[n, c] (*) weight[o, c] + bias[o]`, a cross-correlation as PyTorch's `conv2d`. x: `[n, c, h, w]` or
    /// `[c, h, w]`, weight: `[o, c / groups, kh, kw]`, bias: `[o]`.
    fn conv2d(x, weight: &Tensor, bias: Option<&Tensor>, settings: Conv2dOp) -> Tensor {
        let op = Op::Conv2d(settings, Activation::None);
        batched("conv2d", x, 2, |x| convolve(op, x, weight, bias))
    }

    /// `max(conv2d(x), 0)`, computed as one: NaN stays.
    fn conv2d_relu(x, weight: &Tensor, bias: Option<&Tensor>, settings: Conv2dOp) -> Tensor {
        let op = Op::Conv2d(settings, Activation::Relu);
        batched("conv2d", x, 2, |x| convolve(op, x, weight, bias))
    }

    /// `max_pool2d(conv2d(x))`, with the same bits: on the CPU one operation that never holds the whole map between the two, nor its
    /// gradient. Two elsewhere, and while an observer other than a tape listens.
    ///
    /// ```
    /// # use ferrotape_tensor::{Conv2dOp, Pool2dOp, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[[[1f32, 2.], [3., 4.]]]]);
    /// let (weight, bias) = (Tensor::from([[[[2f32]]]]), Tensor::from([1f32]));
    /// let (conv, pool) = (Conv2dOp::default(), Pool2dOp::new([2, 2]));
    /// assert_eq!(x.conv2d_max_pool2d(&weight, Some(&bias), conv, pool)?.to_vec::<f32>()?, [9.]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`conv2d`](Tensor::conv2d) and [`max_pool2d`](Tensor::max_pool2d).
    fn conv2d_max_pool2d(
        x,
        weight: &Tensor,
        bias: Option<&Tensor>,
        settings: Conv2dOp,
        pool: Pool2dOp,
    ) -> Tensor {
        batched("conv2d_max_pool2d", x, 2, |x| {
            if !as_one(look("conv2d_max_pool2d", &x)?, pool) {
                let op = Op::Conv2d(settings, Activation::None);
                return convolve(op, x, weight, bias).max_pool2d(pool);
            }
            let op = Op::Conv2dMaxPool2d(settings, pool);
            let outputs = match bias {
                Some(bias) => apply(&op, &mut [x, weight.into(), bias.into()]),
                None => apply(&op, &mut [x, weight.into()]),
            };
            let y = outputs?.into_iter().next();
            y.ok_or_else(|| Error::argument("conv2d_max_pool2d", "internal: an output expected"))
        })
    }

    /// The adjoint of `conv2d` in its input: what the input receives if the output receives x. `size`: height and width of
    /// the input. Also the transposed convolution.
    fn conv2d_input(x, weight: &Tensor, settings: Conv2dOp, size: [usize; 2]) -> Tensor {
        convolve(Op::Conv2dInput(settings, size), x, weight, None)
    }

    /// The adjoint of `conv2d` in its weight: what the weight receives for the input x if the output receives `y`. `size`: height and
    /// width of the kernel.
    fn conv2d_weight(x, y: &Tensor, settings: Conv2dOp, size: [usize; 2]) -> Tensor {
        convolve(Op::Conv2dWeight(settings, size), x, y, None)
    }

    /// The maximum of each window, and which tap (`row * width + column`) won: u8. At most 256 taps, not dilated.
    fn max_pool2d_with_taps(x, settings: Pool2dOp) -> (Tensor, Tensor) { pool(settings, x) }

    /// Each element at the place of its window's winning tap, summed: the adjoint of `max_pool2d`.
    fn max_pool2d_scatter(x, taps: &Tensor, settings: Pool2dOp, size: [usize; 2]) -> Tensor {
        apply_one(&Op::MaxPool2dScatter(settings, size), &mut [x, taps.into()])
    }

    /// The element at each window's winning tap: the adjoint of `max_pool2d_scatter`.
    fn max_pool2d_gather(x, taps: &Tensor, settings: Pool2dOp) -> Tensor {
        apply_one(&Op::MaxPool2dGather(settings), &mut [x, taps.into()])
    }

    /// Where the maximum of each window of x, `[n, c, h, w]`, lies: `row * w + column`, i64. NaN is the largest, then the lowest
    /// place wins.
    fn max_pool2d_index(x, windows: WindowsOp) -> Tensor {
        apply_one(&Op::MaxPool2dIndex(windows), &mut [x])
    }

    /// The sum of each window of x, `[n, c, h, w]`, divided: what the means of windows are made of.
    fn window_mean(x, windows: WindowsOp, divisor: Divisor) -> Tensor {
        apply_one(&Op::AvgPool2d(windows, divisor), &mut [x])
    }

    /// The adjoint of `window_mean`: what the input, of height and width `size`, receives if the means receive x.
    fn window_mean_input(x, windows: WindowsOp, divisor: Divisor, size: [usize; 2]) -> Tensor {
        apply_one(&Op::AvgPool2dInput(windows, divisor, size), &mut [x])
    }
}
