//! Naive optimize.
