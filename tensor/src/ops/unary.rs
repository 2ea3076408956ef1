//! Elementwise methods of one operand.

use crate::apply::apply_one;
use crate::device::Device;
use crate::dtype::DType;
use crate::op::Op;
use crate::ops::{look, methods};
use crate::tensor::Tensor;
use ferrotape_kernels::elementwise::UnaryOp;

methods! {
    /// Elementwise methods of one operand, on `Result<Tensor>`.
    trait UnaryChain;

    /// `-x`
    fn neg(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Neg), &mut [x]) }
    /// `|x|`
    fn abs(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Abs), &mut [x]) }
    /// -1, 0 or 1; NaN stays.
    fn sign(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Sign), &mut [x]) }
    /// `1 / x`
    fn reciprocal(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Reciprocal), &mut [x]) }
    /// `x * x`
    fn square(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Square), &mut [x]) }
    /// Square root; NaN below 0.
    fn sqrt(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Sqrt), &mut [x]) }
    /// `1 / sqrt(x)`
    fn rsqrt(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Rsqrt), &mut [x]) }
    /// `e^x`
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// assert_eq!(Tensor::from([0f32, f32::NEG_INFINITY]).exp()?.to_vec::<f32>()?, [1., 0.]);
    /// # Ok(()) }
    /// ```
    fn exp(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Exp), &mut [x]) }
    /// `e^x - 1`, accurate near 0.
    fn expm1(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Expm1), &mut [x]) }
    /// Natural logarithm; `-inf` at 0, NaN below.
    fn log(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Log), &mut [x]) }
    /// `log(1 + x)`, accurate near 0.
    fn log1p(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Log1p), &mut [x]) }
    /// Sine of radians.
    fn sin(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Sin), &mut [x]) }
    /// Cosine of radians.
    fn cos(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Cos), &mut [x]) }
    /// Hyperbolic tangent.
    fn tanh(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Tanh), &mut [x]) }
    /// `1 / (1 + e^-x)`
    fn sigmoid(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Sigmoid), &mut [x]) }
    /// The error function.
    fn erf(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Erf), &mut [x]) }
    /// `max(x, 0)`; NaN stays.
    fn relu(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Relu), &mut [x]) }
    /// `x * Phi(x)`, the exact form with the error function.
    fn gelu(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Gelu), &mut [x]) }
    /// Largest integer not above.
    fn floor(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Floor), &mut [x]) }
    /// Smallest integer not below.
    fn ceil(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Ceil), &mut [x]) }
    /// Nearest integer, ties to even.
    fn round(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Round), &mut [x]) }

    /// `x * sigmoid(x)`, also called swish.
    fn silu(x) -> Tensor {
        let x = look("silu", &x)?;
        x.mul(x.sigmoid())
    }
    /// `log(1 + e^x)` as `max(x, 0) + log1p(e^-|x|)`: never overflows.
    fn softplus(x) -> Tensor {
        use crate::ops::chain::BinaryChain;
        let x = look("softplus", &x)?;
        // Not abs: at 0 its derivative and relu's are 0 and would add up to 0, not 1/2.
        let negative = x.gt(0.0).select(x.neg(), x);
        negative.exp().log1p().add(x.relu())
    }
    /// `x` above 0, `slope * x` elsewhere.
    fn leaky_relu(x, slope: f64) -> Tensor {
        let x = look("leaky_relu", &x)?;
        x.gt(0.0)?.select(x, x.mul(slope))
    }
    /// `x` kept within `low..=high`; NaN stays, and a bound that is NaN makes all NaN. As in PyTorch, `high` wins where the bounds cross,
    /// and the derivative at the bounds is 0.
    fn clamp(x, low: f64, high: f64) -> Tensor {
        let x = look("clamp", &x)?;
        if low.is_nan() || high.is_nan() {
            return x.maximum(f64::NAN);
        }
        // Not maximum and minimum: of a tie with a bound they would give x half the gradient.
        let raised = x.le(low)?.select(low, x)?;
        raised.ge(high)?.select(high, &raised)
    }

    /// The elements as another type; floats to integers truncate and saturate, NaN gives 0.
    fn to_dtype(x, dtype: DType) -> Tensor {
        let tensor = look("cast", &x)?;
        if tensor.dtype() == dtype {
            return Ok(tensor.clone());
        }
        apply_one(&Op::Cast(dtype), &mut [x])
    }
    /// The same elements on another device: PyTorch's `to`. The gradient comes back to this one.
    ///
    /// # Errors
    /// Memory over the limit; the driver's refusal, or a fault of earlier work.
    fn to_device(x, device: Device) -> Tensor {
        let tensor = look("to_device", &x)?;
        if tensor.device() == device {
            return Ok(tensor.clone());
        }
        apply_one(&Op::Transfer(device), &mut [x])
    }
    /// The same value, watched by no tape: PyTorch's `detach`.
    fn detach(x) -> Tensor { apply_one(&Op::StopGradient, &mut [x]) }
}
