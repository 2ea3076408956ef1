//! Convolution and pooling of images, NCHW.

use crate::apply::{Operand, apply, apply_one};
use crate::error::{Error, Result};
use crate::op::{Conv2dOp, Op, Pool2dOp};
use crate::ops::methods;
use crate::tensor::Tensor;
use ferrotape_kernels::cpu::gemm::Activation;

fn convolve(op: Op, x: Operand<'_>, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(bias) => apply_one(&op, &mut [x, weight.into(), bias.into()]),
        None => apply_one(&op, &mut [x, weight.into()]),
    }
}

fn pool(settings: Pool2dOp, x: Operand<'_>) -> Result<(Tensor, Tensor)> {
    let mut outputs = apply(&Op::MaxPool2d(settings), &mut [x])?.into_iter();
    match (outputs.next(), outputs.next()) {
        (Some(y), Some(taps)) => Ok((y, taps)),
        _ => Err(Error::argument("max_pool2d", "internal: two outputs expected")),
    }
}

methods! {
    /// Convolution and pooling, on `Result<Tensor>`.
    trait ImageChain;

    /// `y[n, o] = sum_c x[n, c] (*) weight[o, c] + bias[o]`, a cross-correlation as PyTorch's `conv2d`. x: `[n, c, h, w]`, weight:
    /// `[o, c / groups, kh, kw]`, bias: `[o]`.
    fn conv2d(x, weight: &Tensor, bias: Option<&Tensor>, settings: Conv2dOp) -> Tensor {
        convolve(Op::Conv2d(settings, Activation::None), x, weight, bias)
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

    /// Maximum of each window, NaN wins: PyTorch's `max_pool2d`.
    fn max_pool2d(x, settings: Pool2dOp) -> Tensor { Ok(pool(settings, x)?.0) }

    /// The maximum of each window, and which tap (`row * width + column`) won: u8.
    fn max_pool2d_with_taps(x, settings: Pool2dOp) -> (Tensor, Tensor) { pool(settings, x) }

    /// Each element at the place of its window's winning tap, summed: the adjoint of `max_pool2d`.
    fn max_pool2d_scatter(x, taps: &Tensor, settings: Pool2dOp, size: [usize; 2]) -> Tensor {
        apply_one(&Op::MaxPool2dScatter(settings, size), &mut [x, taps.into()])
    }

    /// The element at each window's winning tap: the adjoint of `max_pool2d_scatter`.
    fn max_pool2d_gather(x, taps: &Tensor, settings: Pool2dOp) -> Tensor {
        apply_one(&Op::MaxPool2dGather(settings), &mut [x, taps.into()])
    }
}
