//! One layer after the other.

use std::fmt;

use ferrotape_tensor::LinearActivation::Relu;
use ferrotape_tensor::chain::UnaryChain as _;
use ferrotape_tensor::{Result, Tensor, is_observed};

use crate::ctx::Ctx;
use crate::model::ModuleExt;
use crate::module::{Forward, Joint, Module, Visitor, VisitorMut};

/// Layers in a row, named `0`, `1`, ... as in PyTorch's `nn.Sequential`.
///
/// Neighbours may be computed together (a convolution with its relu and its max pool, a linear layer with its activation) or
/// exchanged (a relu and the max pool that follows it), with
/// the results of the layers one by one, but that a maximum of -0 may come out as +0. While an observer other than a tape listens,
/// each is computed by itself.
///
/// ```
/// # use ferrotape_nn::{Ctx, Forward, Linear, ReLU, Sequential};
/// # use ferrotape_tensor::{DType, Generator, Tensor};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let mut rng = Generator::new(0);
/// let net = Sequential::new().then(Linear::new(4, 8, &mut rng)?).then(ReLU).then(Linear::new(8, 1, &mut rng)?);
/// assert_eq!(net.forward(&Tensor::ones([2, 4], DType::F32)?, &mut Ctx::eval())?.shape(), [2, 1]);
/// # Ok(()) }
/// ```
#[derive(Default)]
pub struct Sequential {
    layers: Vec<Box<dyn Forward>>,
}

impl Sequential {
    /// Without layers: the identity.
    pub fn new() -> Self {
        Sequential::default()
    }

    /// With one more layer at the end.
    pub fn then(mut self, layer: impl Forward + 'static) -> Self {
        self.layers.push(Box::new(layer));
        self
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// True without layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

/// The layers' types and their parameters, as in a summary.
impl fmt::Debug for Sequential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = self.summary();
        let rows = summary.rows().iter().map(|row| (&row.path, &row.kind));
        f.write_str("Sequential ")?;
        f.debug_map().entries(rows).finish()
    }
}

impl Module for Sequential {
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.module(std::any::type_name::<Self>());
        self.layers.visit(visitor);
    }
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        self.layers.visit_mut(visitor);
    }
}

impl Forward for Sequential {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let joins = !is_observed();
        let (mut y, mut layers) = (x.clone(), &self.layers[..]);
        while let [layer, rest @ ..] = layers {
            let next = rest.first().map_or(Joint::None, |next| next.joint());
            layers = rest;
            let after = rest.get(1).map_or(Joint::None, |after| after.joint());
            match (layer.joint(), next) {
                // As below; the map before the pool is never whole in memory.
                (Joint::Conv2d(conv), Joint::Activation(Relu)) if joins && conv.is_plain() => {
                    let bias = conv.bias.as_deref();
                    if let Joint::MaxPool2d(pool) = after {
                        y = y.conv2d_max_pool2d(&conv.weight, bias, conv.settings, pool).relu()?;
                        layers = rest.get(2..).unwrap_or_default();
                    } else if ctx.is_training() {
                        // Backward, the three gradients would each cut what they receive.
                        y = layer.forward_owned(y, ctx)?;
                    } else {
                        y = y.conv2d_relu(&conv.weight, bias, conv.settings)?;
                        layers = rest.get(1..).unwrap_or_default();
                    }
                }
                (Joint::Conv2d(conv), Joint::MaxPool2d(pool)) if joins && conv.is_plain() => {
                    let bias = conv.bias.as_deref();
                    y = y.conv2d_max_pool2d(&conv.weight, bias, conv.settings, pool)?;
                    layers = rest.get(1..).unwrap_or_default();
                }
                // A maximum of what is cut at 0 is the maximum cut at 0, and so is what flows back; there are fewer of them.
                (Joint::Activation(Relu), Joint::MaxPool2d(pool)) if joins => {
                    y = y.max_pool2d(pool).relu()?;
                    layers = rest.get(1..).unwrap_or_default();
                }
                (Joint::Linear(fc), Joint::Activation(then)) if joins => {
                    y = y.linear_with(&fc.weight, fc.bias.as_deref(), then)?;
                    layers = rest.get(1..).unwrap_or_default();
                }
                _ => y = layer.forward_owned(y, ctx)?,
            }
        }
        Ok(y)
    }
}
