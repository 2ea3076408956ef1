//! Layers: one file each.

mod activation;
mod conv;
mod dropout;
mod embedding;
mod linear;
mod norm;
mod pool;
mod sequential;

pub use activation::{Flatten, Gelu, Relu, Sigmoid, Tanh};
pub use conv::{Conv2d, Conv2dConfig};
pub use dropout::{Dropout, Dropout2d};
pub use embedding::{Embedding, EmbeddingConfig};
pub use linear::{Linear, LinearConfig};
pub use norm::{
    BatchNorm, BatchNorm1d, BatchNorm1dConfig, BatchNorm2d, BatchNorm2dConfig, BatchNorm3d,
    BatchNorm3dConfig, BatchNormConfig, GroupNorm, InstanceNorm, LayerNorm, LayerNormConfig,
    RMSNorm,
};
pub use pool::MaxPool2d;
pub use sequential::Sequential;
