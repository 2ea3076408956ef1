//! Layers: one file each.

mod activation;
mod arrange;
mod attention;
mod conv;
mod conv_transpose;
mod dropout;
mod embedding;
mod linear;
mod norm;
mod pad;
mod pairs;
mod pool;
mod recurrent;
mod sequential;
mod transformer;

pub use activation::{
    Approximate, CELU, ELU, Flatten, GELU, GLU, Hardshrink, Hardsigmoid, Hardswish, Hardtanh,
    Identity, LeakyReLU, LogSigmoid, LogSoftmax, Mish, PReLU, ReLU, ReLU6, SELU, SiLU, Sigmoid,
    Softmax, Softmin, Softplus, Softshrink, Softsign, Tanh, Tanhshrink, Threshold,
};
pub use arrange::{ChannelShuffle, Fold, PixelShuffle, PixelUnshuffle, Unflatten, Unfold};
pub use attention::{AttentionMasks, MultiheadAttention, MultiheadAttentionConfig};
pub use conv::{Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, Conv3d, Conv3dConfig, PaddingMode};
pub use conv_transpose::{
    ConvTranspose1d, ConvTranspose1dConfig, ConvTranspose2d, ConvTranspose2dConfig,
};
pub use dropout::{AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d};
pub use embedding::{Embedding, EmbeddingConfig};
pub use linear::{Linear, LinearConfig};
pub use norm::{
    BatchNorm, BatchNorm1d, BatchNorm1dConfig, BatchNorm2d, BatchNorm2dConfig, BatchNorm3d,
    BatchNorm3dConfig, BatchNormConfig, GroupNorm, GroupNormConfig, InstanceNorm, InstanceNorm1d,
    InstanceNorm1dConfig, InstanceNorm2d, InstanceNorm2dConfig, InstanceNorm3d,
    InstanceNorm3dConfig, InstanceNormConfig, LayerNorm, LayerNormConfig, LocalResponseNorm,
    RMSNorm, RMSNormConfig,
};
pub use pad::{
    CircularPad1d, CircularPad2d, CircularPad3d, ConstantPad1d, ConstantPad2d, ConstantPad3d,
    ReflectionPad1d, ReflectionPad2d, ReflectionPad3d, ReplicationPad1d, ReplicationPad2d,
    ReplicationPad3d, ZeroPad1d, ZeroPad2d, ZeroPad3d,
};
pub use pairs::{Bilinear, BilinearConfig, CosineSimilarity, PairwiseDistance};
pub use pool::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d,
    AvgPool2d, MaxPool1d, MaxPool2d, Upsample,
};
pub use recurrent::{
    GRU, GRUCell, GRUCellConfig, GRUConfig, LSTM, LSTMCell, LSTMCellConfig, LSTMConfig, RNN,
    RNNCell, RNNCellConfig, RNNConfig,
};
pub use sequential::Sequential;
pub use transformer::{
    TransformerActivation, TransformerEncoder, TransformerEncoderLayer,
    TransformerEncoderLayerConfig,
};
