//! Naive pool.
