//! Naive gather.
