//! Naive map.
