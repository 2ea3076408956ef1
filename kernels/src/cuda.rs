//! CUDA: the same kernels on NVIDIA GPUs, bit for bit (R8 of `docs/adr/001-order-of-every-sum.md`).
//!
//! Nothing of CUDA is needed to build: the driver is looked for at run time ([`driver`]), the kernels travel in the binary as PTX
//! ([`launch`]). A device has one context, one stream and one caching pool ([`memory`]); all its work is ordered by that stream, so a
//! block that was freed may be handed out again while kernels that read it still run.

pub mod array;
pub mod conv;
pub mod copy;
mod cublaslt;
pub mod driver;
mod facts;
pub mod gemm;
mod gemm_tensor;
pub mod graph;
pub mod index;
pub mod int8;
pub mod integers;
pub mod launch;
pub mod map;
pub mod memory;
pub mod norm;
pub mod optimize;
pub mod pool;
pub mod precision;
mod product;
pub mod random;
pub mod reduce;
pub mod scan;
pub mod sequence;
pub mod softmax;
pub mod sort;
mod staging;
mod stream;
#[cfg(test)]
mod testing;

pub use array::{Array, Strided, Type};
pub use driver::{Gpu, Info, count, gpu};
pub use graph::Graph;
pub use memory::DeviceBuffer;
pub use precision::{MatmulBackend, Precision};
