//! Losses whose target names a class: cross entropy and the negative log likelihood.

use super::{CrossEntropyLoss, NLLLoss, Reduction, batch};
use crate::apply::apply_one;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::op::Op;
use crate::ops::chain::{BinaryChain as _, ReduceChain as _, ShapeChain as _, UnaryChain as _};
use crate::shape::Dims;
use crate::tensor::Tensor;

/// See [`Tensor::cross_entropy_with`].
pub(super) fn cross_entropy(
    x: &Tensor,
    target: &Tensor,
    settings: &CrossEntropyLoss<'_>,
) -> Result<Tensor> {
    const NAME: &str = "cross_entropy";
    let smoothing = settings.label_smoothing;
    if !(0.0..=1.0).contains(&smoothing) {
        let message = format!("label smoothing {smoothing} is not within 0 and 1");
        return Err(Error::argument(NAME, message));
    }
    let dim = class_dim(NAME, x)?;
    check_weight(NAME, settings.weight, x.shape()[dim])?;
    if target.dtype().is_float() {
        return probabilities(x, target, dim, settings);
    }
    check_target(NAME, x, target, dim)?;
    let logits = rows(x, dim)?;
    let flat = target.reshape([target.len()])?;
    let (loss, classes) = fused_rows(&logits, flat, settings.ignore_index)?;
    let weights = classes.weights(NAME, settings.weight)?;
    let mut loss = weights.of(loss)?;
    if smoothing > 0.0 {
        let spread = classes.kept(spread_rows(&logits, settings.weight))?;
        let share = smoothing / logits.shape()[1] as f64;
        loss = loss.mul(1.0 - smoothing).add(spread.mul(share))?;
    }
    match settings.reduction {
        Reduction::None => loss.reshape(target.shape()),
        Reduction::Mean => weights.mean(&loss, &classes),
        Reduction::Sum => loss.sum(..),
        Reduction::BatchMean => loss.sum(..).div(batch(target.shape())),
    }
}

/// `-sum_j weight_j log softmax(x)_j` of each row.
fn spread_rows(logits: &Tensor, weight: Option<&Tensor>) -> Result<Tensor> {
    let log = logits.log_softmax(1);
    match weight {
        Some(weight) => log.mul(weight).sum(1).neg(),
        None => log.sum(1).neg(),
    }
}

/// The loss of each row, 0 where it does not count.
fn fused_rows(logits: &Tensor, target: Tensor, ignored: i64) -> Result<(Tensor, Classes)> {
    let fused = |target: &Tensor| apply_one(&Op::CrossEntropy, &mut [logits.into(), target.into()]);
    let size = logits.shape()[1];
    if usize::try_from(ignored).is_ok_and(|ignored| ignored < size) {
        let classes = Classes::new(target, Some(ignored))?;
        return Ok((classes.kept(fused(&classes.number))?, classes));
    }
    match fused(&target) {
        // Outside the classes, the ignored one can only be met as an error: all others pay nothing for it.
        Err(error) if matches!(error.kind(), ErrorKind::Class { .. }) => {
            let classes = Classes::new(target, Some(ignored))?;
            Ok((classes.kept(fused(&classes.number))?, classes))
        }
        loss => Ok((loss?, Classes::new(target, None)?)),
    }
}

/// See [`Tensor::nll_loss_with`].
pub(super) fn nll_loss(x: &Tensor, target: &Tensor, settings: &NLLLoss<'_>) -> Result<Tensor> {
    const NAME: &str = "nll_loss";
    let dim = class_dim(NAME, x)?;
    check_weight(NAME, settings.weight, x.shape()[dim])?;
    if target.dtype() != DType::I64 {
        return Err(Error::dtype(NAME, format!("targets of {}, i64 expected", target.dtype())));
    }
    check_target(NAME, x, target, dim)?;
    let classes = Classes::new(target.clone(), Some(settings.ignore_index))?;
    let weights = classes.weights(NAME, settings.weight);
    let weights =
        weights.map_err(|error| name_row(NAME, error, &classes.number, x.shape()[dim]))?;
    let column = classes.number.unsqueeze(dim as i64)?;
    let taken = x.gather(dim as i64, &column).squeeze(dim as i64).neg();
    let taken = taken.map_err(|error| name_row(NAME, error, &classes.number, x.shape()[dim]));
    let loss = weights.of(classes.kept(taken)?)?;
    match settings.reduction {
        Reduction::None => Ok(loss),
        Reduction::Mean => weights.mean(&loss, &classes),
        Reduction::Sum => loss.sum(..),
        Reduction::BatchMean => loss.sum(..).div(batch(target.shape())),
    }
}

/// An index out of range as the class of a row that is not there.
fn name_row(op: &'static str, error: Error, classes: &Tensor, size: usize) -> Error {
    let (ErrorKind::Index { .. }, Ok(numbers)) = (error.kind(), classes.to_vec::<i64>()) else {
        return error;
    };
    let outside = |class: &i64| usize::try_from(*class).map_or(true, |class| class >= size);
    match numbers.iter().enumerate().find(|(_, class)| outside(class)) {
        Some((row, &class)) => Error::plain(ErrorKind::Class { op, row, class, classes: size }),
        None => error,
    }
}

/// A target of class numbers.
struct Classes {
    /// The class of each row, 0 for those that don't count.
    number: Tensor,
    /// Which rows count; `None`: all.
    counts: Option<Tensor>,
}

impl Classes {
    fn new(target: Tensor, ignored: Option<i64>) -> Result<Classes> {
        let Some(ignored) = ignored else { return Ok(Classes { number: target, counts: None }) };
        let ignored = Tensor::scalar(ignored as f64, DType::I64, target.device())?;
        let counts = target.ne(&ignored)?;
        Ok(Classes { number: counts.select(&target, 0.0)?, counts: Some(counts) })
    }

    /// `loss` where a row counts, else 0.
    fn kept(&self, loss: Result<Tensor>) -> Result<Tensor> {
        match &self.counts {
            Some(counts) => counts.select(loss, 0.0),
            None => loss,
        }
    }

    /// The weight of each row.
    fn weights(&self, op: &'static str, weight: Option<&Tensor>) -> Result<Weights> {
        let Some(weight) = weight else { return Ok(Weights(None)) };
        let shape = Dims::from_slice(self.number.shape());
        let number = self.number.reshape([self.number.len()])?;
        let each = weight.index_select(0, &number);
        let each = each.map_err(|error| name_row(op, error, &number, weight.len()))?;
        Ok(Weights(Some(self.kept(each.reshape(shape))?)))
    }
}

/// A factor for each row, or 1 for those that count.
struct Weights(Option<Tensor>);

impl Weights {
    fn of(&self, loss: Tensor) -> Result<Tensor> {
        match &self.0 {
            Some(weights) => loss.mul(weights),
            None => Ok(loss),
        }
    }

    /// The sum of the losses divided by that of the weights.
    fn mean(&self, loss: &Tensor, classes: &Classes) -> Result<Tensor> {
        match (&self.0, &classes.counts) {
            (Some(weights), _) => loss.sum(..).div(weights.sum(..)),
            (None, Some(counts)) => loss.sum(..).div(counts.to_dtype(loss.dtype()).sum(..)),
            (None, None) => loss.mean(..),
        }
    }
}

/// Cross entropy with a distribution as target.
fn probabilities(
    x: &Tensor,
    target: &Tensor,
    dim: usize,
    settings: &CrossEntropyLoss<'_>,
) -> Result<Tensor> {
    const NAME: &str = "cross_entropy";
    if target.shape() != x.shape() {
        let message = format!("logits {:?}, probabilities {:?}", x.shape(), target.shape());
        return Err(Error::shape(NAME, message + ": the same shape is expected"));
    }
    if settings.ignore_index >= 0 {
        return Err(Error::argument(NAME, "ignore_index needs a target of class numbers"));
    }
    let classes = x.shape()[dim];
    let smoothing = settings.label_smoothing;
    let smooth = match smoothing > 0.0 {
        true => target.mul(1.0 - smoothing).add(smoothing / classes as f64)?,
        false => target.clone(),
    };
    let mut terms = x.log_softmax(dim as i64).mul(&smooth)?;
    if let Some(weight) = settings.weight {
        let mut along = Dims::from_elem(1, x.rank());
        along[dim] = classes;
        terms = terms.mul(weight.reshape(along))?;
    }
    let loss = terms.sum(dim as i64).neg();
    let batch = batch(if x.rank() > 1 { x.shape() } else { &[] });
    match settings.reduction {
        Reduction::None => loss,
        // Weights of classes don't enter the divisor here.
        Reduction::Mean => loss.mean(..),
        Reduction::Sum => loss.sum(..),
        Reduction::BatchMean => loss.sum(..).div(batch),
    }
}

/// Which dim holds the classes.
fn class_dim(op: &'static str, x: &Tensor) -> Result<usize> {
    match x.rank() {
        0 => Err(Error::shape(op, "a scalar has no classes")),
        1 => Ok(0),
        _ => Ok(1),
    }
}

fn check_weight(op: &'static str, weight: Option<&Tensor>, classes: usize) -> Result<()> {
    match weight {
        Some(weight) if weight.shape() != [classes] => {
            let message = format!("weight {:?} for {classes} classes", weight.shape());
            Err(Error::shape(op, message))
        }
        _ => Ok(()),
    }
}

/// The target has the shape of x without its classes.
fn check_target(op: &'static str, x: &Tensor, target: &Tensor, dim: usize) -> Result<()> {
    let mut expected = Dims::from_slice(x.shape());
    expected.remove(dim);
    if target.shape() == &expected[..] {
        return Ok(());
    }
    let (x, target) = (x.shape(), target.shape());
    let message = format!("logits {x:?}, targets {target:?}: class numbers {expected:?} expected");
    Err(Error::shape(op, message))
}

/// `[rows, classes]`
fn rows(x: &Tensor, dim: usize) -> Result<Tensor> {
    if x.rank() == 2 {
        return Ok(x.clone());
    }
    let mut order: Vec<i64> = (0..x.rank() as i64).filter(|&d| d != dim as i64).collect();
    order.push(dim as i64);
    let classes = x.shape()[dim];
    let others = x.shape().iter().enumerate().filter(|(d, _)| *d != dim).map(|(_, &size)| size);
    // Saturating: beside a size 0 others may multiply to more than a usize.
    let rows = if others.clone().any(|size| size == 0) {
        0
    } else {
        others.fold(1usize, usize::saturating_mul)
    };
    x.permute(&order[..]).reshape([rows, classes])
}
