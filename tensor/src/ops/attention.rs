//! Attention: a composite.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::chain::{BinaryChain as _, ProductChain as _, SoftmaxChain as _};
use crate::ops::{look, methods};
use crate::tensor::Tensor;

/// The settings of [`scaled_dot_product_attention`](Tensor::scaled_dot_product_attention).
#[derive(Debug, Clone, Copy, Default)]
pub struct AttentionOp<'a> {
    /// Broadcast with the scores `[.., queries, keys]`: bool, false where a key must not be seen, or floats that are added.
    pub mask: Option<&'a Tensor>,
    /// A query sees no key behind its own place.
    pub is_causal: bool,
    /// What the scores are multiplied with; `None`: 1 / sqrt of the last size.
    pub scale: Option<f64>,
    /// Fewer keys and values than queries along dim -3, each for several queries.
    pub enable_gqa: bool,
}

/// Keys or values as often as there are queries to each.
fn grouped(query: &Tensor, x: &Tensor) -> Result<Tensor> {
    let (&[.., queries, _, _], &[.., groups, _, _]) = (query.shape(), x.shape()) else {
        return Err(Error::shape("attention", "groups of queries need three dims"));
    };
    if groups == queries {
        return Ok(x.clone());
    }
    if groups == 0 || queries % groups != 0 {
        let message = format!("{queries} queries for {groups} keys or values");
        return Err(Error::shape("attention", message));
    }
    x.repeat_interleave(queries / groups, Some(-3))
}

fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    settings: AttentionOp<'_>,
) -> Result<Tensor> {
    let wrong = || {
        let shapes = [query.shape(), key.shape(), value.shape()];
        let message = format!("query, key and value of {shapes:?}: [.., length, width] expected");
        Error::shape("attention", message)
    };
    if [query, key, value].iter().any(|x| x.rank() < 2)
        || settings.is_causal && settings.mask.is_some()
    {
        return Err(if settings.is_causal && settings.mask.is_some() {
            Error::argument("attention", "a mask beside is_causal")
        } else {
            wrong()
        });
    }
    let (key, value) = match settings.enable_gqa {
        true => (grouped(query, key)?, grouped(query, value)?),
        false => (key.clone(), value.clone()),
    };
    let width = query.shape().last().map_or(1, |&width| width);
    let scale = settings.scale.unwrap_or_else(|| (width as f64).sqrt().recip());
    let mut scores = query.matmul(key.t()).mul(scale)?;
    if settings.is_causal {
        let &[.., rows, columns] = scores.shape() else { return Err(wrong()) };
        let seen = Tensor::ones([rows, columns], (DType::Bool, query.device()))?.tril(0)?;
        scores = seen.select(&scores, f64::NEG_INFINITY)?;
    }
    let Some(mask) = settings.mask else { return scores.softmax(-1).matmul(value) };
    scores = match mask.dtype() {
        DType::Bool => mask.select(&scores, f64::NEG_INFINITY)?,
        _ => scores.add(mask)?,
    };
    if scores.is_empty() {
        return scores.softmax(-1).matmul(value);
    }
    // A query that sees nothing gets 0, not the NaN of a softmax of nothing.
    let blind = scores.max_keep(-1)?.detach().eq(f64::NEG_INFINITY)?;
    let weights = blind.select(0.0, &scores).softmax(-1)?;
    blind.select(0.0, weights).matmul(value)
}

methods! {
    /// Attention, on `Result<Tensor>`.
    trait AttentionChain;

    /// `softmax(x key^T scale + mask) value`, x being the queries `[.., queries, width]`; key: `[.., keys, width]`, value: `[.., keys, out]`.
    /// PyTorch's `nn.functional.scaled_dot_product_attention` without dropout. A query that the mask lets see nothing gives 0.
    ///
    /// ```
    /// # use ferrotape_tensor::{AttentionOp, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[1f32, 0.], [0., 1.]]);
    /// let settings = AttentionOp { is_causal: true, ..Default::default() };
    /// let y = x.scaled_dot_product_attention(&x, &x, settings)?;
    /// assert_eq!(y.i(0)?.to_vec::<f32>()?, [1., 0.]);
    /// # Ok(()) }
    /// ```
    fn scaled_dot_product_attention(x, key: &Tensor, value: &Tensor, settings: AttentionOp<'_>) -> Tensor {
        attention(look("attention", &x)?, key, value, settings)
    }
}
