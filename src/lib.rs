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

pub use ferrotape_tensor::{
    Activation, AdamStep, ArgOp, BCELoss, BCEWithLogitsLoss, BinaryOp, CompareOp, Conv2dOp,
    CrossEntropyLoss, CustomOp, DType, Device, Dims, Element, Error, ErrorKind, Generator,
    HingeEmbeddingLoss, HuberLoss, Index, IndexOp, KLDivLoss, L1Loss, Layout, LogicalOp, MSELoss,
    MemoryStats, Meta, NLLLoss, Observer, Op, Operand, OptimizeOp, Outputs, PoissonNLLLoss,
    Pool2dOp, RandomOp, ReduceDims, ReduceOp, Reduction, Result, SgdStep, SmoothL1Loss, Tag,
    Tensor, TensorId, UnaryOp, ViewOp, apply, chain, dispatch_counts, io, isa, no_tape, observe,
    output_metas, set_threads, threads,
};

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
        Adam, BatchNorm1d, BatchNorm2d, Conv2d, Conv2dConfig, Ctx, Dropout, Dropout2d, Embedding,
        Flatten, Forward, Gelu, GroupNorm, LayerNorm, Linear, MaxPool2d, Module, Optimizer,
        RMSNorm, Relu, Sequential, Sgd, Sigmoid, Step, Tanh, adam_w, value_and_grad,
        value_and_grad_aux,
    };
    pub use ferrotape_tensor::chain::*;
    pub use ferrotape_tensor::{
        BCELoss, BCEWithLogitsLoss, Conv2dOp, CrossEntropyLoss, DType, Device, Error, Generator,
        HingeEmbeddingLoss, HuberLoss, KLDivLoss, L1Loss, MSELoss, NLLLoss, PoissonNLLLoss,
        Pool2dOp, Reduction, Result, SmoothL1Loss, Tensor, no_tape,
    };
}
