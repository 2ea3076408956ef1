//! The naive version of every kernel, in the order of ADR 001, obviously right: the oracle of all kernel tests.

pub mod conv;
pub mod gather;
pub mod gemm;
pub mod int8;
pub mod map;
pub mod norm;
pub mod optimize;
pub mod pool;
pub mod random;
pub mod reduce;
pub mod scan;
pub mod sequence;
pub mod softmax;
pub mod sort;
