//! Naive random.
