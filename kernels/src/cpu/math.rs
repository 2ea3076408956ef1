//! Transcendental functions as polynomials over a `Simd` token, with stated ULP bounds.
