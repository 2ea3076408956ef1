//! Which operand is which parameter, seen how.

use std::collections::HashMap;

use ferrotape_tensor::{
    Activation, Conv2dOp, LinearActivation, Op, Result, Tensor, TensorId, ViewOp,
};

use crate::module::Module;
use crate::state::parameters;

/// How a layer's operation sees the parameter that is its weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// As it is.
    Same,
    /// As another shape.
    Reshaped(Vec<usize>),
    /// Its two dims exchanged.
    Transposed,
}

impl Seen {
    /// The parameter as the operation sees it.
    pub(super) fn of(&self, param: &Tensor) -> Result<Tensor> {
        match self {
            Seen::Same => Ok(param.clone()),
            Seen::Reshaped(shape) => param.reshape(&shape[..]),
            Seen::Transposed => param.transpose(0, 1),
        }
    }
}

/// The parameters of a model, and the views of them that its operations made.
#[derive(Debug, Default)]
pub(super) struct Weights {
    known: HashMap<TensorId, (String, Seen)>,
    /// How often each was a layer's weight in this run.
    uses: HashMap<String, usize>,
}

/// An operation that is a layer: its second operand is a parameter.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) op: LayerOp,
    /// Negative results become 0.
    pub(super) relu: bool,
    pub(super) name: String,
    pub(super) path: String,
    pub(super) seen: Seen,
}

impl Weights {
    pub(super) fn of<M: Module + ?Sized>(model: &M) -> Self {
        let named = parameters(model).into_iter();
        let known = named.map(|(path, p)| (p.id(), (path, Seen::Same))).collect();
        Weights { known, uses: HashMap::new() }
    }

    /// The layer that `op` is. Each time counts as a use of its weight.
    pub(super) fn layer(&mut self, op: &Op, inputs: &[&Tensor]) -> Option<Found> {
        let (kind, relu) = LayerOp::of(op, inputs)?;
        let (path, seen) = self.known.get(&inputs.get(1)?.id())?.clone();
        let uses = self.uses.entry(path.clone()).or_default();
        let name = layer_name(&path, *uses);
        *uses += 1;
        Some(Found { op: kind, relu, name, path, seen })
    }

    /// The parameter that `x` is, and how.
    pub(super) fn get(&self, x: &Tensor) -> Option<(&str, &Seen)> {
        self.known.get(&x.id()).map(|(path, seen)| (path.as_str(), seen))
    }

    /// `to` is made of `from` by `op`. Views of views are not followed: they are constants like others.
    pub(super) fn follow(&mut self, op: &Op, from: &Tensor, to: &Tensor) {
        let Some((path, Seen::Same)) = self.get(from) else { return };
        let seen = match op {
            Op::View(ViewOp::Reshape(shape)) => Seen::Reshaped(shape.to_vec()),
            Op::View(ViewOp::Permute(order)) if order[..] == [1, 0] => Seen::Transposed,
            Op::StopGradient => Seen::Same,
            _ => return,
        };
        let entry = (path.to_string(), seen);
        self.known.insert(to.id(), entry);
    }
}

/// An operation with a weight as its second operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LayerOp {
    /// `x W^T`
    Linear,
    /// `x W`
    Matmul,
    /// A convolution.
    Conv2d(Conv2dOp),
}

impl LayerOp {
    /// The layer that `op` is, and whether negative results become 0.
    fn of(op: &Op, inputs: &[&Tensor]) -> Option<(LayerOp, bool)> {
        let weight = inputs.get(1)?;
        match op {
            Op::Linear(LinearActivation::None) => Some((LayerOp::Linear, false)),
            Op::Linear(LinearActivation::Relu) => Some((LayerOp::Linear, true)),
            Op::Matmul if weight.rank() == 2 => Some((LayerOp::Matmul, false)),
            Op::Conv2d(settings, activation) => {
                Some((LayerOp::Conv2d(*settings), *activation == Activation::Relu))
            }
            _ => None,
        }
    }

    /// The weight, outputs first, from how the operation sees it.
    pub(super) fn outputs_first(&self, weight: Tensor) -> Result<Tensor> {
        match self {
            LayerOp::Matmul => weight.transpose(0, 1)?.contiguous(),
            LayerOp::Linear | LayerOp::Conv2d(_) => weight.contiguous(),
        }
    }

    /// Which dim of a result has the outputs.
    pub(super) fn channel(&self, rank: usize) -> usize {
        match self {
            LayerOp::Conv2d(_) => 1,
            LayerOp::Linear | LayerOp::Matmul => rank.saturating_sub(1),
        }
    }
}

/// The layer's name: its weight's path without `.weight`, and from the second use in a run on a number.
fn layer_name(path: &str, use_: usize) -> String {
    let name = path.strip_suffix(".weight").unwrap_or(path);
    match use_ {
        0 => name.to_string(),
        _ => format!("{name}#{use_}"),
    }
}
