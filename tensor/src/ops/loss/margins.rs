//! Losses with margins, of embeddings and of several labels at once.

use std::f64::consts::TAU;

use super::{
    CosineEmbeddingLoss, GaussianNLLLoss, MarginRankingLoss, MultiLabelMarginLoss,
    MultiLabelSoftMarginLoss, MultiMarginLoss, SoftMarginLoss, TripletMarginLoss, reduced,
    same_shape, weighted,
};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::chain::{
    BinaryChain as _, ReduceChain as _, ScanChain as _, ShapeChain as _, UnaryChain as _,
};
use crate::ops::{look, methods};
use crate::tensor::Tensor;

/// `max(x, 0)`
fn hinge(x: Result<Tensor>) -> Result<Tensor> {
    x.clamp(0.0, f64::INFINITY)
}

/// Rows and classes of `[rows, classes]` or `[classes]`, and x as rows.
fn rows(op: &'static str, x: &Tensor) -> Result<(Tensor, bool)> {
    match *x.shape() {
        [_, 1_usize..=usize::MAX] => Ok((x.clone(), true)),
        [1_usize..=usize::MAX] => Ok((x.unsqueeze(0)?, false)),
        _ => {
            let message = format!("input {:?}: [rows, classes] or [classes] expected", x.shape());
            Err(Error::shape(op, message))
        }
    }
}

fn same(op: &'static str, what: [&str; 2], a: &Tensor, b: &Tensor) -> Result<()> {
    match a.shape() == b.shape() {
        true => Ok(()),
        false => {
            let message =
                format!("{} {:?} and {} {:?} differ", what[0], a.shape(), what[1], b.shape());
            Err(Error::shape(op, message))
        }
    }
}

fn cosine_embedding(
    x: &Tensor,
    other: &Tensor,
    target: &Tensor,
    settings: CosineEmbeddingLoss,
) -> Result<Tensor> {
    const EPS: f64 = 1e-12;
    let name = "cosine_embedding_loss";
    same(name, ["input", "other"], x, other)?;
    let lead = x.shape().split_last().map(|(_, lead)| lead);
    if !(1..=2).contains(&x.rank()) || lead != Some(target.shape()) {
        let message = format!(
            "inputs {:?}, target {:?}: [n, size] and [n] expected",
            x.shape(),
            target.shape()
        );
        return Err(Error::shape(name, message));
    }
    let square = |x: &Tensor| x.square().sum(-1).add(EPS);
    let cosine = x.mul(other).sum(-1).div(square(x)?.mul(square(other)).sqrt())?;
    let like = target.eq(1.0)?.select(cosine.mul(-1.0).add(1.0), 0.0);
    let unlike = target.eq(-1.0)?.select(hinge(cosine.sub(settings.margin)), 0.0);
    reduced(like.add(unlike), settings.reduction, target.shape())
}

fn multi_margin(x: &Tensor, target: &Tensor, settings: MultiMarginLoss<'_>) -> Result<Tensor> {
    let name = "multi_margin_loss";
    let MultiMarginLoss { p, margin, reduction, weight } = settings;
    if p != 1 && p != 2 {
        return Err(Error::argument(name, format!("p is {p}: 1 or 2 expected")));
    }
    let (x, batched) = rows(name, x)?;
    let (count, classes) = (x.shape()[0], x.shape()[1]);
    if target.len() != count || target.rank() > 1 || (batched && target.rank() == 0) {
        let message = format!("input {:?} and target {:?} don't fit", x.shape(), target.shape());
        return Err(Error::shape(name, message));
    }
    let target = target.reshape([count])?;
    if let Some(weight) = weight
        && weight.shape() != [classes]
    {
        let message = format!("weight {:?} for {classes} classes", weight.shape());
        return Err(Error::shape(name, message));
    }
    let right = x.gather(1, &target.unsqueeze(1)?)?;
    let short = hinge(x.sub(right).add(margin))?;
    let short = if p == 2 { short.square()? } else { short };
    let is_right = target.one_hot(classes, DType::F64)?.ne(0.0)?;
    let loss = is_right.select(0.0, short).sum(1).div(classes as f64);
    let of_row = weight.map(|weight| weight.index_select(0, &target)).transpose()?;
    let loss = weighted(loss, of_row.as_ref());
    match batched {
        true => reduced(loss, reduction, &[count]),
        false => reduced(loss.squeeze(0), reduction, &[]),
    }
}

fn multilabel_margin(
    x: &Tensor,
    target: &Tensor,
    settings: MultiLabelMarginLoss,
) -> Result<Tensor> {
    let name = "multilabel_margin_loss";
    same(name, ["input", "target"], x, target)?;
    let (x, batched) = rows(name, x)?;
    let (target, _) = rows(name, target)?;
    let classes = x.shape()[1];
    // What comes behind the first negative number does not count.
    let counts = target.lt(0.0).to_dtype(DType::F64).cumsum(1).eq(0.0)?;
    let labels = counts.select(&target, 0.0).to_dtype(DType::I64)?;
    let flat = labels.reshape([labels.len()])?.one_hot(classes, x.dtype());
    let hot = flat
        .reshape([x.shape()[0], classes, classes])
        .mul(counts.to_dtype(x.dtype())?.unsqueeze(-1))?;
    let is_label = hot.sum(1).ne(0.0)?.unsqueeze(1)?;
    let short = x.unsqueeze(1).sub(x.gather(1, &labels)?.unsqueeze(2)).add(1.0);
    let counted = is_label.select(0.0, hinge(short))?;
    let counted = counts.unsqueeze(2)?.select(counted, 0.0);
    let loss = counted.sum([1, 2]).div(classes as f64);
    match batched {
        true => reduced(loss, settings.reduction, x.shape()),
        false => reduced(loss.squeeze(0), settings.reduction, &[]),
    }
}

fn gaussian_nll(
    x: &Tensor,
    target: &Tensor,
    var: &Tensor,
    settings: GaussianNLLLoss,
) -> Result<Tensor> {
    let name = "gaussian_nll_loss";
    let GaussianNLLLoss { full, eps, reduction } = settings;
    if eps.is_nan() || eps <= 0.0 {
        return Err(Error::argument(name, format!("eps {eps} is not positive")));
    }
    same_shape(name, x, &target.into())?;
    let lead = x.shape().split_last().map(|(_, lead)| lead);
    let var = match () {
        () if var.shape() == x.shape() => var.clone(),
        () if lead == Some(var.shape()) => var.unsqueeze(-1)?,
        () if lead == var.shape().split_last().map(|(_, lead)| lead)
            && var.shape().last() == Some(&1) =>
        {
            var.clone()
        }
        () => {
            let message = format!("variance {:?} for input {:?}", var.shape(), x.shape());
            return Err(Error::shape(name, message));
        }
    };
    if !var.is_empty() && var.detach()?.min(..)?.to_f64()? < 0.0 {
        return Err(Error::argument(name, "a variance is negative"));
    }
    let var = crate::ops::distance::at_least(&var, eps)?;
    let loss = var.log().add(x.sub(target).square().div(&var)).mul(0.5);
    let loss = if full { loss.add(0.5 * TAU.ln()) } else { loss };
    reduced(loss, reduction, x.shape())
}

methods! {
    /// Losses with margins, of embeddings and of several labels, on `Result<Tensor>`.
    trait MarginLossChain;

    /// [`cosine_embedding_loss_with`](Tensor::cosine_embedding_loss_with) at its defaults: margin 0, the mean.
    ///
    /// # Errors
    /// Shapes that don't fit.
    fn cosine_embedding_loss(x, other: &Tensor, target: &Tensor) -> Tensor {
        cosine_embedding(look("cosine_embedding_loss", &x)?, other, target, CosineEmbeddingLoss::default())
    }

    /// With the cosine of the angle between x and `other`, each `[n, size]` or `[size]`: `1 - cos` where target (`[n]` or `[]`) is 1,
    /// `max(0, cos - margin)` where it is -1. PyTorch's `cosine_embedding_loss`.
    ///
    /// ```
    /// # use ferrotape_tensor::{CosineEmbeddingLoss, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let (x, y) = (Tensor::from([[1f64, 0.], [1., 0.]]), Tensor::from([[2f64, 0.], [3., 0.]]));
    /// let settings = CosineEmbeddingLoss::default().margin(0.5);
    /// let loss = x.cosine_embedding_loss_with(&y, &Tensor::from([1f64, -1.]), settings)?;
    /// assert!((loss.item::<f64>()? - 0.25).abs() < 1e-9);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Shapes that don't fit.
    fn cosine_embedding_loss_with(x, other: &Tensor, target: &Tensor, settings: CosineEmbeddingLoss) -> Tensor {
        cosine_embedding(look("cosine_embedding_loss", &x)?, other, target, settings)
    }

    /// [`margin_ranking_loss_with`](Tensor::margin_ranking_loss_with) at its defaults: margin 0, the mean.
    ///
    /// # Errors
    /// Shapes that differ.
    fn margin_ranking_loss(x, other: &Tensor, target: &Tensor) -> Tensor {
        look("margin_ranking_loss", &x)?.margin_ranking_loss_with(other, target, MarginRankingLoss::default())
    }

    /// `max(0, -target (x - other) + margin)`: x should be above `other` where target is 1, below it where it is -1. PyTorch's
    /// `margin_ranking_loss`.
    ///
    /// # Errors
    /// Shapes that differ.
    fn margin_ranking_loss_with(x, other: &Tensor, target: &Tensor, settings: MarginRankingLoss) -> Tensor {
        let name = "margin_ranking_loss";
        let x = look(name, &x)?;
        same(name, ["input", "other"], x, other)?;
        same(name, ["input", "target"], x, target)?;
        let loss = hinge(target.neg().mul(x.sub(other)).add(settings.margin));
        reduced(loss, settings.reduction, x.shape())
    }

    /// [`triplet_margin_loss_with`](Tensor::triplet_margin_loss_with) at its defaults: margin 1, the Euclidean distance, the mean.
    ///
    /// # Errors
    /// Shapes that differ.
    fn triplet_margin_loss(x, positive: &Tensor, negative: &Tensor) -> Tensor {
        look("triplet_margin_loss", &x)?.triplet_margin_loss_with(positive, negative, TripletMarginLoss::default())
    }

    /// `max(0, d(x, positive) - d(x, negative) + margin)` with [`pairwise_distance`](Tensor::pairwise_distance) over the last dim. PyTorch's
    /// `triplet_margin_loss`.
    ///
    /// # Errors
    /// Shapes that differ.
    fn triplet_margin_loss_with(x, positive: &Tensor, negative: &Tensor, settings: TripletMarginLoss) -> Tensor {
        let name = "triplet_margin_loss";
        let x = look(name, &x)?;
        same(name, ["anchor", "positive"], x, positive)?;
        same(name, ["anchor", "negative"], x, negative)?;
        let TripletMarginLoss { margin, p, eps, swap, reduction } = settings;
        let near = x.pairwise_distance(positive, p, eps)?;
        let mut far = x.pairwise_distance(negative, p, eps)?;
        if swap {
            far = far.minimum(positive.pairwise_distance(negative, p, eps))?;
        }
        let shape = near.shape().to_vec();
        reduced(hinge(near.sub(far).add(margin)), reduction, &shape)
    }

    /// [`multi_margin_loss_with`](Tensor::multi_margin_loss_with) at its defaults: p 1, margin 1, no weight, the mean.
    ///
    /// # Errors
    /// Shapes that don't fit; a class that is not there.
    fn multi_margin_loss(x, target: &Tensor) -> Tensor {
        multi_margin(look("multi_margin_loss", &x)?, target, MultiMarginLoss::default())
    }

    /// The sum over all classes `j` but the right one `t` of `weight[t] max(0, margin - x[t] + x[j])^p`, divided by the number of
    /// classes. x: `[n, classes]` or `[classes]`, target: i64 `[n]` or `[]`. PyTorch's `multi_margin_loss`.
    ///
    /// # Errors
    /// Shapes that don't fit; a class that is not there; a p that is neither 1 nor 2.
    fn multi_margin_loss_with<'b>(x, target: &Tensor, settings: MultiMarginLoss<'b>) -> Tensor {
        multi_margin(look("multi_margin_loss", &x)?, target, settings)
    }

    /// [`multilabel_margin_loss_with`](Tensor::multilabel_margin_loss_with) with the mean.
    ///
    /// # Errors
    /// As there.
    fn multilabel_margin_loss(x, target: &Tensor) -> Tensor {
        multilabel_margin(look("multilabel_margin_loss", &x)?, target, MultiLabelMarginLoss::default())
    }

    /// The sum over labels `t` and classes `j` that are no labels of `max(0, 1 - x[t] + x[j])`, divided by the number of classes. x:
    /// `[n, classes]` or `[classes]`; target: i64 of that shape, the labels in front, then -1. PyTorch's `multilabel_margin_loss`.
    ///
    /// # Errors
    /// Shapes that differ; a class that is not there.
    fn multilabel_margin_loss_with(x, target: &Tensor, settings: MultiLabelMarginLoss) -> Tensor {
        multilabel_margin(look("multilabel_margin_loss", &x)?, target, settings)
    }

    /// [`soft_margin_loss_with`](Tensor::soft_margin_loss_with) with the mean.
    ///
    /// # Errors
    /// Shapes that differ.
    fn soft_margin_loss(x, target: &Tensor) -> Tensor {
        look("soft_margin_loss", &x)?.soft_margin_loss_with(target, SoftMarginLoss::default())
    }

    /// `log(1 + e^(-target x))`, target being 1 or -1: PyTorch's `soft_margin_loss`.
    ///
    /// # Errors
    /// Shapes that differ.
    fn soft_margin_loss_with(x, target: &Tensor, settings: SoftMarginLoss) -> Tensor {
        let x = look("soft_margin_loss", &x)?;
        same("soft_margin_loss", ["input", "target"], x, target)?;
        reduced(target.neg().mul(x).softplus(), settings.reduction, x.shape())
    }

    /// [`multilabel_soft_margin_loss_with`](Tensor::multilabel_soft_margin_loss_with) at its defaults: no weight, the mean.
    ///
    /// # Errors
    /// Shapes that differ.
    fn multilabel_soft_margin_loss(x, target: &Tensor) -> Tensor {
        look("multilabel_soft_margin_loss", &x)?.multilabel_soft_margin_loss_with(target, MultiLabelSoftMarginLoss::default())
    }

    /// The mean over the last dim, the classes, of `-weight (target log sigmoid(x) + (1 - target) log sigmoid(-x))`: PyTorch's
    /// `multilabel_soft_margin_loss`.
    ///
    /// # Errors
    /// Shapes that differ; no classes; a weight that does not broadcast.
    fn multilabel_soft_margin_loss_with<'b>(x, target: &Tensor, settings: MultiLabelSoftMarginLoss<'b>) -> Tensor {
        let name = "multilabel_soft_margin_loss";
        let x = look(name, &x)?;
        same(name, ["input", "target"], x, target)?;
        if x.rank() == 0 {
            return Err(Error::shape(name, "input []: [.., classes] expected"));
        }
        let loss = weighted(x.softplus().sub(x.mul(target)), settings.weight).mean(-1)?;
        let shape = loss.shape().to_vec();
        reduced(Ok(loss), settings.reduction, &shape)
    }

    /// [`gaussian_nll_loss_with`](Tensor::gaussian_nll_loss_with) at its defaults: without the constant, eps 1e-6, the mean.
    ///
    /// # Errors
    /// As there.
    fn gaussian_nll_loss(x, target: &Tensor, var: &Tensor) -> Tensor {
        gaussian_nll(look("gaussian_nll_loss", &x)?, target, var, GaussianNLLLoss::default())
    }

    /// `(log var + (x - target)^2 / var) / 2`, the variance at least eps (its gradient passes all the same), with `full` and
    /// `log(2 pi) / 2`. var: x's shape, or that with a last size of 1 or without the last dim. PyTorch's `gaussian_nll_loss`.
    ///
    /// # Errors
    /// Shapes that don't fit; a negative variance; an eps that is not positive.
    fn gaussian_nll_loss_with(x, target: &Tensor, var: &Tensor, settings: GaussianNLLLoss) -> Tensor {
        gaussian_nll(look("gaussian_nll_loss", &x)?, target, var, settings)
    }
}
