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
mod clip;
mod ctx;
pub mod data;
pub mod init;
mod layers;
mod model;
mod module;
mod optim;
mod schedule;
mod state;
mod step;
mod summary;

pub use checkpoint::checkpoint;
pub use clip::ClipNorm;
pub use ctx::Ctx;
pub use ferrotape_nn_derive::Module;
pub use layers::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool2d, Approximate, AvgPool1d, AvgPool2d,
    BatchNorm, BatchNorm1d, BatchNorm1dConfig, BatchNorm2d, BatchNorm2dConfig, BatchNorm3d,
    BatchNorm3dConfig, BatchNormConfig, CELU, Conv1d, Conv1dConfig, Conv2d, Conv2dConfig,
    ConvTranspose1d, ConvTranspose1dConfig, ConvTranspose2d, ConvTranspose2dConfig, Dropout,
    Dropout2d, ELU, Embedding, EmbeddingConfig, Flatten, GELU, GLU, GRU, GRUCell, GRUConfig,
    GroupNorm, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, Identity, InstanceNorm, LSTM,
    LSTMCell, LSTMConfig, LayerNorm, LayerNormConfig, LeakyReLU, Linear, LinearConfig, LogSigmoid,
    LogSoftmax, MaxPool1d, MaxPool2d, Mish, PReLU, PaddingMode, RMSNorm, RNN, RNNCell, RNNConfig,
    ReLU, ReLU6, SELU, Sequential, SiLU, Sigmoid, Softmax, Softmin, Softplus, Softshrink, Softsign,
    Tanh, Tanhshrink, Threshold, Upsample,
};
pub use model::{ModuleExt, Placement};
pub use module::{Buffer, Forward, Module, Param, Visitor, VisitorMut};
pub use optim::{
    Adagrad, AdagradConfig, Adam, AdamConfig, Optimizer, RMSprop, RMSpropConfig, SGD, SGDConfig,
    adam_w,
};
pub use schedule::{
    Anneal, ConstantLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, ExponentialLR, LambdaLR,
    LinearLR, MultiStepLR, OneCycleLR, PlateauMode, PolynomialLR, ReduceLROnPlateau, Schedule,
    Scheduler, SequentialLR, StepLR, ThresholdMode,
};
pub use state::{
    StateReport, buffers, compare_state_dict, load_state_dict, load_state_dict_partial,
    parameter_count, parameters, set_trainable, state_dict, to_dtype,
};
pub use step::{Gradients, Step, value_and_grad, value_and_grad_aux};
pub use summary::{Summary, SummaryRow};
