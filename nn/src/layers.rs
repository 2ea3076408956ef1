//! Layers: one file each.

mod activation;
mod conv;
mod conv_transpose;
mod dropout;
mod linear;
mod norm;
mod pool;
mod recurrent;
mod sequential;

/// [`ReLU`], as Rust would spell it.
pub use activation::ReLU as Relu;
pub use activation::{
    Approximate, CELU, ELU, Flatten, GELU, GLU, Hardshrink, Hardsigmoid, Hardswish, Hardtanh,
    Identity, LeakyReLU, LogSigmoid, LogSoftmax, Mish, PReLU, ReLU, ReLU6, SELU, SiLU, Sigmoid,
    Softmax, Softmin, Softplus, Softshrink, Softsign, Tanh, Tanhshrink, Threshold,
};
pub use conv::{Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, PaddingMode};
pub use conv_transpose::{
    ConvTranspose1d, ConvTranspose1dConfig, ConvTranspose2d, ConvTranspose2dConfig,
};
pub use dropout::Dropout;
pub use linear::{Linear, LinearConfig};
pub use norm::BatchNorm2d;
pub use pool::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, MaxPool1d,
    MaxPool2d, Upsample,
};
pub use recurrent::{GRU, GRUCell, GRUConfig, LSTM, LSTMCell, LSTMConfig, RNN, RNNCell, RNNConfig};
pub use sequential::Sequential;
