//! Normalisations.

use smallvec::SmallVec;

use crate::apply::{Operand, apply_one};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::Op;
use crate::ops::chain::{BinaryChain as _, ReduceChain as _, UnaryChain as _};
use crate::ops::{look, methods};
use crate::shape::{Dims, IntoShape};
use crate::tensor::Tensor;

/// That x ends in the dims `shape`, and that the parameters have this shape.
fn check_trailing(
    op: &'static str,
    x: &Tensor,
    shape: &[usize],
    parameters: [Option<&Tensor>; 2],
) -> Result<()> {
    if shape.is_empty() || !x.shape().ends_with(shape) {
        let message = format!("input {:?} does not end in the normalised {shape:?}", x.shape());
        return Err(Error::shape(op, message));
    }
    match parameters.into_iter().flatten().find(|parameter| parameter.shape() != shape) {
        Some(other) => {
            let message = format!("parameter {:?} for the normalised {shape:?}", other.shape());
            Err(Error::shape(op, message))
        }
        None => Ok(()),
    }
}

/// The size of dim 1, and that the parameters are vectors of that size.
fn check_channels(op: &'static str, x: &Tensor, parameters: &[Option<&Tensor>]) -> Result<usize> {
    let &[_, channels, ..] = x.shape() else {
        let message = format!("input {:?}: [n, channels, ..] expected", x.shape());
        return Err(Error::shape(op, message));
    };
    match parameters.iter().flatten().find(|parameter| parameter.shape() != [channels]) {
        Some(other) => {
            let message = format!("parameter {:?} for {channels} channels", other.shape());
            Err(Error::shape(op, message))
        }
        None => Ok(channels),
    }
}

/// A vector along dim 1 of `rank` dims.
fn along_channels(vector: &Tensor, rank: usize) -> Result<Tensor> {
    let mut shape = Dims::from_elem(1, rank);
    shape[1] = vector.len();
    vector.reshape(shape)
}

/// `y * weight + bias`, along dim 1.
fn affine(y: Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<Tensor> {
    let rank = y.rank();
    let scaled = match weight {
        Some(weight) => Ok(y).mul(along_channels(weight, rank)),
        None => Ok(y),
    };
    match bias {
        Some(bias) => scaled.add(along_channels(bias, rank)),
        None => scaled,
    }
}

/// The rows of the last dim, normalised.
fn layer_norm(
    x: Operand<'_>,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let op = Op::LayerNorm { eps };
    let mut operands: SmallVec<[Operand<'_>; 3]> = SmallVec::new();
    operands.push(x);
    operands.extend(weight.map(Operand::Ref));
    match (weight, bias) {
        (None, Some(bias)) => apply_one(&op, &mut operands).add(bias),
        _ => {
            operands.extend(bias.map(Operand::Ref));
            apply_one(&op, &mut operands)
        }
    }
}

fn group_norm(
    op: &'static str,
    x: &Tensor,
    groups: usize,
    [weight, bias]: [Option<&Tensor>; 2],
    eps: f64,
) -> Result<Tensor> {
    let channels = check_channels(op, x, &[weight, bias])?;
    if groups == 0 || channels % groups != 0 {
        let message = format!("{groups} groups don't divide {channels} channels");
        return Err(Error::argument(op, message));
    }
    // Not by a count of elements: there may be none.
    let each = x.shape()[2..].iter().fold(channels / groups, |size, &dim| size.saturating_mul(dim));
    let rows = x.reshape([x.shape()[0], groups, each])?;
    let y = layer_norm(rows.into(), None, None, eps)?.reshape(x.shape())?;
    affine(y, weight, bias)
}

/// `centered / sqrt(var + eps)`, affine; var: along dim 1 or a vector.
fn scaled(
    centered: Tensor,
    var: &Tensor,
    [weight, bias]: [Option<&Tensor>; 2],
    eps: f64,
) -> Result<Tensor> {
    let rank = centered.rank();
    let mut scale = along_channels(var, rank)?.add(eps).rsqrt()?;
    if let Some(weight) = weight {
        scale = scale.mul(along_channels(weight, rank)?)?;
    }
    affine(centered.mul(scale)?, None, bias)
}

methods! {
    /// Normalisations, on `Result<Tensor>`.
    trait NormChain;

    /// `(x - mean) / sqrt(var + eps) * weight + bias` over the last dims, which are `shape`; the variance is that of the whole
    /// (divided by n). weight, bias: `shape`, may be absent. PyTorch's `layer_norm`.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let y = Tensor::from([[1f64, 2., 3., 6.]]).layer_norm(4, None, None, 0.5)?;
    /// assert_eq!(y.to_vec::<f64>()?, [-1., -0.5, 0., 1.5]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// An input that does not end in `shape`; parameters of another shape or type.
    fn layer_norm<'b>(
        x,
        shape: impl IntoShape,
        weight: Option<&'b Tensor>,
        bias: Option<&'b Tensor>,
        eps: f64,
    ) -> Tensor {
        let shape = shape.into_shape();
        let tensor = look("layer_norm", &x)?;
        check_trailing("layer_norm", tensor, &shape, [weight, bias])?;
        if shape.len() == 1 {
            return layer_norm(x, weight, bias, eps);
        }
        let flat = |parameter: Option<&Tensor>| parameter.map(|p| p.flatten(0, -1)).transpose();
        let (weight, bias) = (flat(weight)?, flat(bias)?);
        let rows = tensor.flatten(-(shape.len() as i64), -1)?;
        layer_norm(rows.into(), weight.as_ref(), bias.as_ref(), eps)?.reshape(tensor.shape())
    }

    /// `x / sqrt(mean(x^2) + eps) * weight` over the last dims, which are `shape`; weight: `shape`, may be absent. `eps`: without one the
    /// type's machine epsilon. PyTorch's `rms_norm`.
    ///
    /// # Errors
    /// As [`layer_norm`](Tensor::layer_norm).
    fn rms_norm<'b>(x, shape: impl IntoShape, weight: Option<&'b Tensor>, eps: Option<f64>) -> Tensor {
        let shape = shape.into_shape();
        let x = look("rms_norm", &x)?;
        check_trailing("rms_norm", x, &shape, [weight, None])?;
        let epsilon = if x.dtype() == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
        let rank = x.rank() as i64;
        let dims: Vec<i64> = (rank - shape.len() as i64..rank).collect();
        let scale = x.square().mean_keep(&dims[..]).add(eps.unwrap_or(epsilon)).rsqrt();
        let y = x.mul(scale);
        match weight {
            Some(weight) => y.mul(weight),
            None => y,
        }
    }

    /// As [`layer_norm`](Tensor::layer_norm), over each of `groups` groups of channels of each sample, with a weight and a bias a channel. x:
    /// `[n, channels, ..]`. PyTorch's `group_norm`.
    ///
    /// # Errors
    /// Groups that don't divide the channels; parameters that are no vectors of the channels.
    fn group_norm<'b>(
        x,
        groups: usize,
        weight: Option<&'b Tensor>,
        bias: Option<&'b Tensor>,
        eps: f64,
    ) -> Tensor {
        group_norm("group_norm", look("group_norm", &x)?, groups, [weight, bias], eps)
    }

    /// [`group_norm`](Tensor::group_norm) with every channel a group of its own: PyTorch's `instance_norm` with the input's statistics. (With
    /// running ones it is [`batch_norm`](Tensor::batch_norm).)
    ///
    /// # Errors
    /// As [`group_norm`](Tensor::group_norm); one value a channel, which has no variance.
    fn instance_norm<'b>(x, weight: Option<&'b Tensor>, bias: Option<&'b Tensor>, eps: f64) -> Tensor {
        let x = look("instance_norm", &x)?;
        let channels = check_channels("instance_norm", x, &[weight, bias])?;
        if !x.is_empty() && x.shape()[2..].iter().all(|&size| size == 1) {
            let message = format!("{:?} has one value a channel: no variance", x.shape());
            return Err(Error::shape("instance_norm", message));
        }
        group_norm("instance_norm", x, channels.max(1), [weight, bias], eps)
    }

    /// `(x - mean) / sqrt(var + eps) * weight + bias` with given statistics; all are vectors of the channels. x: `[n, channels, ..]`. PyTorch's
    /// `batch_norm` without training.
    ///
    /// # Errors
    /// Statistics or parameters that are no vectors of the channels.
    fn batch_norm<'b>(
        x,
        mean: &Tensor,
        var: &Tensor,
        weight: Option<&'b Tensor>,
        bias: Option<&'b Tensor>,
        eps: f64,
    ) -> Tensor {
        let x = look("batch_norm", &x)?;
        if x.shape() == [0] {
            return Ok(x.clone());
        }
        check_channels("batch_norm", x, &[Some(mean), Some(var), weight, bias])?;
        let centered = x.sub(along_channels(mean, x.rank())?)?;
        scaled(centered, var, [weight, bias], eps)
    }

    /// As [`batch_norm`](Tensor::batch_norm) with the statistics of x itself: gives the result, the mean and the variance (divided by n) of each
    /// channel. PyTorch's `batch_norm` in training.
    ///
    /// # Errors
    /// As [`batch_norm`](Tensor::batch_norm); one value a channel, which has no variance. (No value at all is nothing wrong, as in PyTorch; the
    /// statistics are NaN then.)
    fn batch_norm_train<'b>(
        x,
        weight: Option<&'b Tensor>,
        bias: Option<&'b Tensor>,
        eps: f64,
    ) -> (Tensor, Tensor, Tensor) {
        let x = look("batch_norm", &x)?;
        if x.shape() == [0] {
            return Ok((x.clone(), x.copy()?, x.copy()?));
        }
        let channels = check_channels("batch_norm", x, &[weight, bias])?;
        if !x.is_empty() && x.len() <= channels {
            let message = format!("{:?} has one value a channel: no variance", x.shape());
            return Err(Error::shape("batch_norm", message));
        }
        let dims: Vec<i64> = (0..x.rank() as i64).filter(|&dim| dim != 1).collect();
        let mean = x.mean_keep(&dims[..])?;
        let centered = x.sub(&mean)?;
        let var = centered.square().mean_keep(&dims[..])?;
        let y = scaled(centered, &var, [weight, bias], eps)?;
        Ok((y, mean.reshape([channels])?, var.reshape([channels])?))
    }
}
