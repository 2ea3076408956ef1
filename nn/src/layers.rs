//! Layers: one file each.

mod activation;
mod conv;
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
pub use conv::{Conv2d, Conv2dConfig};
pub use dropout::Dropout;
pub use linear::{Linear, LinearConfig};
pub use norm::BatchNorm2d;
pub use pool::MaxPool2d;
pub use recurrent::{GRU, GRUCell, GRUConfig, LSTM, LSTMCell, LSTMConfig, RNN, RNNCell, RNNConfig};
pub use sequential::Sequential;
