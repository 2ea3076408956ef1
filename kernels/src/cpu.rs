//! The CPU kernels: algorithms written once over a [`simd::Simd`] token, dispatched by [`isa`], split by [`parallel`].

pub mod conv;
pub mod copy;
pub mod gather;
pub mod gemm;
pub mod halves;
pub mod int8;
pub mod isa;
pub mod linear_weight;
pub mod map;
pub mod math;
pub mod norm;
pub mod optimize;
pub mod parallel;
pub mod peak;
pub mod pool;
pub mod random;
pub mod reduce;
pub mod scan;
pub mod search;
pub mod sequence;
pub mod simd;
pub mod softmax;
pub mod sort;
pub mod svd;
mod zeros;
