//! Matrix products.

use crate::apply::{Operand, apply_one};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::observe::is_observed;
use crate::op::{LinearActivation, Op};
use crate::ops::chain::{ShapeChain as _, UnaryChain as _};
use crate::ops::{look, methods, promoted};
use crate::shape::Dims;
use crate::tensor::Tensor;

/// PyTorch's `matmul`: vectors become matrices for the product, a stack times one matrix is one tall product.
fn matmul(a: Operand<'_>, b: Operand<'_>) -> Result<Tensor> {
    // Two matrices of one type, which need none of what follows; as new operands: moves of the given ones would wait for their stores.
    if let (Operand::Ref(x), Operand::Ref(y)) = (&a, &b)
        && (x.rank(), y.rank()) == (2, 2)
        && x.dtype() == y.dtype()
    {
        return apply_one(&Op::Matmul, &mut [Operand::Ref(x), Operand::Ref(y)]);
    }
    let [a, b] = promoted("matmul", a, b)?;
    let (x, y) = (look("matmul", &a)?, look("matmul", &b)?);
    match (x.rank(), y.rank()) {
        (0, _) | (_, 0) => {
            let message = format!("{:?} x {:?}: a scalar has no inner dim", x.shape(), y.shape());
            Err(Error::shape("matmul", message))
        }
        (1, 1) => inner_sizes(x, y)
            .and_then(|()| matmul(x.unsqueeze(0)?.into(), y.unsqueeze(1)?.into()))
            .reshape(()),
        (1, _) => {
            inner_sizes(x, y)?;
            matmul(x.unsqueeze(0)?.into(), b).squeeze(-2)
        }
        (_, 1) => {
            inner_sizes(x, y)?;
            let column = y.unsqueeze(1)?;
            matmul(a, column.into()).squeeze(-1)
        }
        (rank, 2) if rank > 2 && !x.is_empty() && x.layout().reshape(&rows(x)).is_some() => {
            inner_sizes(x, y)?;
            let mut shape = Dims::from_slice(x.shape());
            shape[rank - 1] = y.shape()[1];
            matmul(x.reshape(rows(x))?.into(), b).reshape(shape)
        }
        _ => apply_one(&Op::Matmul, &mut [a, b]),
    }
}

fn linear(
    x: Operand<'_>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: LinearActivation,
) -> Result<Tensor> {
    let op = Op::Linear(activation);
    match bias {
        Some(bias) => apply_one(&op, &mut [x, weight.into(), bias.into()]),
        None => apply_one(&op, &mut [x, weight.into()]),
    }
}

/// A stack of matrices as one: all rows under each other.
fn rows(x: &Tensor) -> Dims {
    let (last, lead) = x.shape().split_last().map_or((1, &[][..]), |(last, lead)| (*last, lead));
    Dims::from_slice(&[lead.iter().product(), last])
}

/// The check in terms of the shapes that the user gave.
fn inner_sizes(a: &Tensor, b: &Tensor) -> Result<()> {
    let (x, y) = (a.shape(), b.shape());
    let (k, l) = (x[x.len() - 1], y[y.len().saturating_sub(2)]);
    if k == l {
        return Ok(());
    }
    Err(Error::shape("matmul", format!("{x:?} x {y:?}: inner sizes {k} and {l} differ")))
}

methods! {
    /// Matrix products, on `Result<Tensor>`.
    trait ProductChain;

    /// Matrix product: `[.., m, k] x [.., k, n]`, any strides, batch dims broadcast; vectors as in PyTorch's `matmul`.
    ///
    /// ```
    /// # use ferrotape_tensor::{DType, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let (a, b) = (Tensor::ones([2, 3], DType::F32)?, Tensor::ones([4, 5], DType::F32)?);
    /// let error = a.matmul(&b).unwrap_err().to_string();
    /// assert!(error.starts_with("matmul: [2, 3] x [4, 5]: inner sizes 3 and 4 differ (at "));
    /// # Ok(()) }
    /// ```
    fn matmul<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { matmul(x, other.into()) }

    /// `x weight^T + bias`, weight: `[out, in]` or a vector, bias: `[out]`: PyTorch's `linear`. The bias is added in the product's epilogue,
    /// with the bits of a separate addition.
    fn linear(x, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        if weight.rank() == 1 || look("linear", &x)?.dtype().is_integer() {
            return super::linalg::plain_linear(x, weight, bias);
        }
        linear(x, weight, bias, LinearActivation::None)
    }

    /// [`linear`](Tensor::linear), and of its result the activation: one operation on the CPU in f32 and f64, two elsewhere
    /// and while an observer other than a tape listens, with the same bits.
    ///
    /// ```
    /// # use ferrotape_tensor::{LinearActivation, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let (x, w) = (Tensor::from([[1f32, 2.]]), Tensor::from([[3f32, -4.], [1., 0.5]]));
    /// let y = x.linear_with(&w, None, LinearActivation::Relu)?;
    /// assert_eq!(y.to_vec::<f32>()?, [0., 2.]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As `linear`.
    fn linear_with(x, weight: &Tensor, bias: Option<&Tensor>, activation: LinearActivation) -> Tensor {
        let given = look("linear", &x)?;
        let joins = matches!(given.dtype(), DType::F32 | DType::F64)
            && (given.device(), weight.rank()) == (Device::Cpu, 2);
        if joins && !is_observed() {
            return linear(x, weight, bias, activation);
        }
        let y = given.linear(weight, bias);
        match activation {
            LinearActivation::None => y,
            LinearActivation::Relu => y.relu(),
            LinearActivation::Sigmoid => y.sigmoid(),
            LinearActivation::Tanh => y.tanh(),
        }
    }
}
