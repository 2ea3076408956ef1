//! Neural networks on ferrotape: modules, layers, optimizers, data.
//!
//! A training step is two calls: [`value_and_grad`] runs the model on a tape and returns the loss with the gradients of its
//! parameters; an [`Optimizer`] takes `&mut model` and applies them. Nothing else changes a weight.
//!
//! ```
//! use ferrotape_nn::{Adam, Forward, Linear, Module, Optimizer, value_and_grad};
//! use ferrotape_tensor::{Generator, Result, Tensor};
//!
//! # fn main() -> Result<()> {
//! let mut rng = Generator::new(0);
//! let mut model = Linear::new(2, 1, &mut rng)?;
//! let (x, y) = (Tensor::from([[0f32, 1.], [1., 2.]]), Tensor::from([[1f32], [3.]]));
//! let mut optimizer = Adam::new(0.1);
//! for _ in 0..200 {
//!     let step = value_and_grad(&model, &mut rng, |model, ctx| model.forward(&x, ctx)?.mse_loss(&y))?;
//!     optimizer.step(&mut model, &step)?;
//! }
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod average;
mod checkpoint;
mod clip;
mod ctx;
pub mod data;
mod finite;
pub mod init;
mod layers;
mod model;
mod module;
mod optim;
mod pack;
pub mod quant;
pub mod save;
mod schedule;
mod state;
mod step;
mod summary;
mod vector;
mod watch;

pub use average::AveragedModel;
pub use checkpoint::checkpoint;
pub use clip::ClipNorm;
pub use ctx::Ctx;
pub use ferrotape_nn_derive::Module;
pub use finite::NonFinite;
pub use layers::*;
pub use model::{ModuleExt, Placement};
#[doc(hidden)]
pub use module::Joint;
pub use module::{Buffer, Forward, Module, Param, Visitor, VisitorMut};
pub use optim::{
    Adadelta, AdadeltaConfig, Adagrad, AdagradConfig, Adam, AdamConfig, AdamW, AdamWConfig, Adamax,
    AdamaxConfig, NAdam, NAdamConfig, Optimizer, RAdam, RAdamConfig, RMSprop, RMSpropConfig, SGD,
    SGDConfig,
};
pub use pack::pad_sequence;
pub use schedule::{
    Anneal, ConstantLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, ExponentialLR, LambdaLR,
    LinearLR, MultiStepLR, OneCycleLR, PlateauMode, PolynomialLR, ReduceLROnPlateau, Schedule,
    Scheduler, SequentialLR, StepLR, ThresholdMode,
};
pub use state::{
    StateReport, buffers, compare_state_dict, load_state_dict, load_state_dict_partial,
    parameter_count, parameters, state_dict, to_dtype,
};
pub use step::{Gradients, Step, value_and_grad, value_and_grad_aux};
pub use summary::{Summary, SummaryRow};
pub use vector::{parameters_to_vector, vector_to_parameters};
pub use watch::NanWatch;
