//! Ferrotape: an autograd tensor library that trains and runs neural networks.
//!
//! Five promises: the same bits everywhere, memory you can state, as fast as the machine, one binary, int8 that is int8.
//! ARCHITECTURE.md says how; `docs/adr/` why.
//!
//! ```
//! use ferrotape::prelude::*;
//!
//! #[derive(Module)]
//! struct Net { hidden: Linear, out: Linear }
//!
//! impl Forward for Net {
//!     fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
//!         self.out.forward(&self.hidden.forward(x, ctx).tanh()?, ctx)
//!     }
//! }
//!
//! fn main() -> Result<()> {
//!     let mut rng = Generator::new(0);
//!     let mut net = Net { hidden: Linear::new(2, 8, &mut rng)?, out: Linear::new(8, 1, &mut rng)? };
//!     let x = Tensor::from([[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]]);
//!     let y = Tensor::from([[0f32], [1.], [1.], [0.]]);
//!     let mut optimizer = Adam::new(0.05);
//!     for _ in 0..300 {
//!         let step = value_and_grad(&net, &mut rng, |net, ctx| net.forward(&x, ctx).bce_with_logits(&y))?;
//!         optimizer.step(&mut net, &step)?;
//!     }
//!     let said = net.forward(&x, &mut Ctx::eval()).gt(0.0)?;
//!     assert_eq!(said.to_vec::<bool>()?, [false, true, true, false]);
//!     Ok(())
//! }
//! ```
#![forbid(unsafe_code)]

pub use ferrotape_tensor::*;

/// Differentiation: tapes, gradient checks, checkpoints, custom functions.
pub mod autograd {
    pub use ferrotape_autograd::*;
}

/// Modules, layers, optimizers, data.
pub mod nn {
    pub use ferrotape_nn::*;
}

/// What a program that trains needs: `use ferrotape::prelude::*;`
pub mod prelude {
    pub use ferrotape_autograd::Tape;
    pub use ferrotape_nn::data::DataLoader;
    pub use ferrotape_nn::{
        Adagrad, Adam, AdamW, AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool2d, Approximate,
        AttentionMasks, AvgPool1d, AvgPool2d, BatchNorm1d, BatchNorm2d, BatchNorm3d, CELU, Conv1d,
        Conv1dConfig, Conv2d, Conv2dConfig, Conv3d, Conv3dConfig, ConvTranspose1d,
        ConvTranspose1dConfig, ConvTranspose2d, ConvTranspose2dConfig, Ctx, Dropout, Dropout2d,
        ELU, Embedding, EmbeddingConfig, Flatten, Forward, GELU, GLU, GRU, GRUConfig, GroupNorm,
        Hardshrink, Hardsigmoid, Hardswish, Hardtanh, Identity, LSTM, LSTMConfig, LayerNorm,
        LeakyReLU, Linear, LogSigmoid, LogSoftmax, MaxPool1d, MaxPool2d, Mish, Module, ModuleExt,
        MultiheadAttention, Optimizer, PReLU, PaddingMode, RMSNorm, RMSprop, RNN, RNNConfig, ReLU,
        ReLU6, SELU, SGD, Sequential, SiLU, Sigmoid, Softmax, Softmin, Softplus, Softshrink,
        Softsign, Step, Tanh, Tanhshrink, Threshold, TransformerEncoder, TransformerEncoderLayer,
        TransformerEncoderLayerConfig, Upsample, value_and_grad, value_and_grad_aux,
    };
    pub use ferrotape_tensor::chain::*;
    pub use ferrotape_tensor::{
        AttentionOp, AvgPool1dOp, AvgPool2dOp, BCELoss, BCEWithLogitsLoss, Conv1dOp, Conv2dOp,
        Conv3dOp, ConvTranspose1dOp, ConvTranspose2dOp, CosineEmbeddingLoss, CrossEntropyLoss,
        DType, Device, Error, GaussianNLLLoss, Generator, HingeEmbeddingLoss, HuberLoss, Index,
        Interpolate, InterpolateMode, KLDivLoss, L1Loss, MSELoss, MarginRankingLoss,
        MultiLabelMarginLoss, MultiLabelSoftMarginLoss, MultiMarginLoss, NLLLoss, PadMode,
        PoissonNLLLoss, Pool1dOp, Pool2dOp, Reduction, Result, ScatterReduce, SmoothL1Loss,
        SoftMarginLoss, Tensor, TripletMarginLoss, no_tape,
    };
}
