//! Naive softmax.
