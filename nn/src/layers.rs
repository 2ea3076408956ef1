//! Layers: one file each.

mod activation;
mod conv;
mod dropout;
mod linear;
mod norm;
mod pool;
mod recurrent;
mod sequential;

pub use activation::{Flatten, Gelu, Relu, Sigmoid, Tanh};
pub use conv::{Conv2d, Conv2dConfig};
pub use dropout::Dropout;
pub use linear::{Linear, LinearConfig};
pub use norm::BatchNorm2d;
pub use pool::MaxPool2d;
pub use recurrent::{GRU, GRUCell, GRUConfig, LSTM, LSTMCell, LSTMConfig, RNN, RNNCell, RNNConfig};
pub use sequential::Sequential;
