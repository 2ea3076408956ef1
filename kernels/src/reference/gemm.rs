//! Naive gemm.
