//! Naive conv.
