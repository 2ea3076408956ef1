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

mod checkpoint;
mod ctx;
pub mod data;
pub mod init;
mod layers;
mod module;
mod optim;
mod state;
mod step;

pub use checkpoint::checkpoint;
pub use ctx::Ctx;
pub use ferrotape_nn_derive::Module;
pub use layers::{
    BatchNorm, BatchNorm1d, BatchNorm1dConfig, BatchNorm2d, BatchNorm2dConfig, BatchNorm3d,
    BatchNorm3dConfig, BatchNormConfig, Conv2d, Conv2dConfig, Dropout, Dropout2d, Embedding,
    EmbeddingConfig, Flatten, Gelu, GroupNorm, InstanceNorm, LayerNorm, LayerNormConfig, Linear,
    LinearConfig, MaxPool2d, RMSNorm, Relu, Sequential, Sigmoid, Tanh,
};
pub use module::{Buffer, Forward, Module, Param, Visitor, VisitorMut};
pub use optim::{Adam, Optimizer, Sgd, adam_w};
pub use state::{
    StateReport, buffers, load_state_dict, parameter_count, parameters, set_trainable, state_dict,
    to_dtype,
};
pub use step::{Gradients, Step, value_and_grad, value_and_grad_aux};
