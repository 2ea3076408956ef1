//! Optimizers: the only place where a weight or a buffer changes.

mod adadelta;
mod adagrad;
mod adam;
mod adamax;
mod expression;
mod groups;
mod method;
mod nadam;
mod radam;
mod rms_prop;
mod sgd;
mod take;

use std::collections::BTreeMap;

use ferrotape_tensor::{DType, Result, Tensor};

pub use adadelta::{Adadelta, AdadeltaConfig};
pub use adagrad::{Adagrad, AdagradConfig};
pub use adam::{Adam, AdamConfig, AdamW, AdamWConfig};
pub use adamax::{Adamax, AdamaxConfig};
pub use nadam::{NAdam, NAdamConfig};
pub use radam::{RAdam, RAdamConfig};
pub use rms_prop::{RMSprop, RMSpropConfig};
pub use sgd::{SGD, SGDConfig};

use crate::module::{Module, Param};
use crate::step::{Gradients, Step};

/// Changes a model by the gradients of a step.
///
/// Each optimizer has settings of its own and, for some parameters, those of a group:
///
/// ```
/// use ferrotape_nn::{Linear, Module, Optimizer, Sequential, ReLU, AdamW};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let mut optimizer = AdamW::new(1e-3)
///     .group("head.", |g| g.lr(1e-2))
///     .group_by("bias", |path| path.ends_with(".bias") && !path.starts_with("head."), |g| g.weight_decay(0.0));
/// optimizer.set_group_lr("head.", 5e-3)?;
/// assert_eq!((optimizer.lr(), optimizer.group_lr("head.")?, optimizer.group_lr("bias")?), (1e-3, 5e-3, 1e-3));
/// # Ok(()) }
/// ```
pub trait Optimizer {
    /// Updates every trainable parameter once (tied ones too), then the buffers.
    ///
    /// # Errors
    /// A setting out of its bounds: a negative or NaN learning rate, a beta of 1; a trainable parameter that no gradient reached, by name; gradients that were taken at other weights or of another model;
    /// a group that no parameter belongs to, a parameter of two groups; state of another shape or type than its parameter's.
    /// Then nothing has changed.
    fn apply(&mut self, model: &mut dyn Module, gradients: &Gradients) -> Result<()>;

    /// The learning rate, of parameters without a group.
    fn lr(&self) -> f64;

    /// Sets the learning rate of parameters without a group; see [`set_group_lr`](Self::set_group_lr).
    fn set_lr(&mut self, lr: f64);

    /// Names of the groups, in the order they were made.
    fn groups(&self) -> Vec<String>;

    /// The learning rate of a group.
    ///
    /// # Errors
    /// No group of this name.
    fn group_lr(&self, group: &str) -> Result<f64>;

    /// Sets the learning rate of a group.
    ///
    /// # Errors
    /// No group of this name.
    fn set_group_lr(&mut self, group: &str, lr: f64) -> Result<()>;

    /// The momentum (Adam: the first beta) of parameters without a group; `None` for an optimizer that has none.
    fn current_momentum(&self) -> Option<f64>;

    /// Sets the momentum (Adam: the first beta) of all parameters, for schedules that cycle it.
    ///
    /// # Errors
    /// An optimizer that has none.
    fn set_momentum(&mut self, momentum: f64) -> Result<()>;

    /// The state as tensors by name, for a file: `state.<path>.<name>` with PyTorch's names (`exp_avg`, `momentum_buffer`, `step`,
    /// ...), and the learning rates as `lr` and `lr.<group>`. Clones share the values.
    ///
    /// # Errors
    /// Memory over the limit.
    fn state_dict(&self) -> Result<BTreeMap<String, Tensor>>;

    /// Takes over what [`state_dict`](Self::state_dict) gave, for a model with these [`parameters`](crate::parameters()); each
    /// state goes to its parameter's device. Settings other than the learning rates are the program's.
    ///
    /// # Errors
    /// State that is missing, unexpected, of another shape or type than its parameter, or of a parameter that the model does not
    /// have, all of it by name; memory over the limit. Then nothing has changed.
    fn load_state_dict(
        &mut self,
        state: &BTreeMap<String, Tensor>,
        parameters: &[(String, &Param)],
    ) -> Result<()>;

    /// Casts the state to a float type, as the model's [`to`](crate::ModuleExt::to) does with the parameters.
    ///
    /// # Errors
    /// No float type; memory over the limit. Then nothing has changed.
    fn to_dtype(&mut self, dtype: DType) -> Result<()>;

    /// [`apply`](Self::apply) of a step's gradients.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn step<M: Module, A>(&mut self, model: &mut M, step: &Step<A>) -> Result<()>
    where
        Self: Sized,
    {
        self.apply(model, &step.gradients)
    }
}
