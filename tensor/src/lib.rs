//! Eager tensors of ferrotape: shapes, views, ops as values, explicit memory.
//!
//! This crate has never heard of a gradient. Every operation is a value of [`Op`] and goes through one function,
//! [`apply`], which checks it, announces it to the [observers](Observer) of this thread, finds its output memory and
//! executes it into that memory.
#![forbid(unsafe_code)]

mod apply;
mod create;
mod device;
mod display;
mod dtype;
mod error;
mod execute;
mod graph;
mod index;
mod layout;
mod observe;
mod op;
mod operators;
mod ops;
mod qtensor;
mod random;
mod shape;
mod storage;
mod tensor;

pub mod io;

pub use apply::{Operand, Outputs, apply, apply_one};
pub use create::{Full, IntoTensor, TensorOptions};
pub use device::{CudaDevice, Device, DeviceInfo, MemoryStats};
pub use dtype::{DType, Element, bf16, f16};
pub use error::{Error, ErrorKind, Result};
pub use graph::StepGraph;
pub use index::{Index, IndexList};
pub use layout::Layout;
pub use observe::{Observer, Tag, TapeSlot, is_observed, no_tape, observe};
pub use op::{
    AvgPool1dOp, AvgPool2dOp, AvgPoolOp, Conv1dOp, Conv2dOp, Conv3dOp, ConvOp, ConvTranspose1dOp,
    ConvTranspose2dOp, ConvTransposeOp, CustomOp, Diagonal, Encoding, FakeQuantizeOp, IndexOp,
    Int8Call, Int8Dynamic, Int8Op, Int8Recurrent, Int8RecurrentWeights, Int8Weights,
    LinearActivation, Meta, Op, OptimizeOp, Pool1dOp, Pool2dOp, PoolOp, QuantizeOp, RandomOp,
    ReduceDims, SequenceOp, SequencePlaces, ViewOp, WindowsOp, output_metas,
};
pub use ops::{
    AttentionOp, BCELoss, BCEWithLogitsLoss, CosineEmbeddingLoss, CrossEntropyLoss,
    GaussianNLLLoss, HingeEmbeddingLoss, HuberLoss, Interpolate, InterpolateMode, KLDivLoss,
    L1Loss, MSELoss, MarginRankingLoss, MatrixNorm, MultiLabelMarginLoss, MultiLabelSoftMarginLoss,
    MultiMarginLoss, NLLLoss, PadMode, PoissonNLLLoss, Reduction, ScatterReduce, SequenceOutput,
    SmoothL1Loss, SoftMarginLoss, TripletMarginLoss, chain,
};
pub use qtensor::QTensor;
pub use random::Generator;
pub use shape::{Dims, IntoDims, IntoShape, IntoSizes};
pub use tensor::{Tensor, TensorId, WeakTensor};

/// ```
/// # fn main() -> ferrotape_tensor::Result<()> {
/// use ferrotape_tensor::{Device, Precision, Tensor};
/// let x = Tensor::from([[1f32, 2.], [3., 4.]]).to_device(Device::best())?;
/// let y = Precision::Tf32.scope(|| x.matmul(&x))?;
/// assert_eq!(y.to_vec::<f32>()?, [7., 10., 15., 22.]);
/// # Ok(()) }
/// ```
pub use ferrotape_kernels::cuda::Precision;

/// ```
/// # fn main() -> ferrotape_tensor::Result<()> {
/// use ferrotape_tensor::{Device, MatmulBackend, Tensor};
/// let x = Tensor::from([[1f32, 2.], [3., 4.]]).to_device(Device::best())?;
/// match MatmulBackend::CublasLt.scope(|| x.matmul(&x)) {
///     Ok(y) => assert_eq!(y.to_vec::<f32>()?, [7., 10., 15., 22.]),
///     Err(missing) => println!("{missing}"),
/// }
/// # Ok(()) }
/// ```
pub use ferrotape_kernels::cuda::MatmulBackend;

/// Kernel-level vocabulary that ops are made of.
pub use ferrotape_kernels::{
    cpu::gather::ScatterOp,
    cpu::gemm::Activation,
    cpu::int8::scheme::Rule as QuantizeRule,
    cpu::optimize::{AdagradStep, AdamStep, RmsPropStep, SgdStep},
    cpu::pool::Divisor,
    cpu::reduce::{ArgOp, ReduceOp},
    cpu::scan::ScanOp,
    cpu::sequence::RecurrentCell,
    elementwise::{BinaryOp, CompareOp, LogicalOp, UnaryOp},
};

/// The number of threads that kernels may use.
pub fn threads() -> usize {
    ferrotape_kernels::cpu::parallel::threads()
}

/// Sets the number of threads that kernels may use (at least 1). No result depends on it.
pub fn set_threads(threads: usize) {
    ferrotape_kernels::cpu::parallel::set_threads(threads);
}

/// Runs `body` with every kernel on the calling thread alone: for threads beside the one that trains, which would otherwise
/// take the team from it.
pub fn serial<R>(body: impl FnOnce() -> R) -> R {
    ferrotape_kernels::cpu::parallel::serial(body)
}

/// How many operations on GPU tensors had no kernel there and were computed by the CPU, on copies: 0 is what a program wants.
pub fn host_fallbacks() -> u64 {
    execute::host_fallbacks()
}

/// Name of the instruction set that the CPU kernels run on: `scalar`, `avx2` or `avx512`.
pub fn isa() -> &'static str {
    ferrotape_kernels::cpu::isa::isa().name()
}

/// How often each instruction set's kernels were dispatched to: `[scalar, avx2, avx512]`.
pub fn dispatch_counts() -> [u64; 3] {
    ferrotape_kernels::cpu::isa::dispatch_counts()
}
