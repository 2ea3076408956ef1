//! Naive random numbers: one block, one element at a time.

use crate::cpu::random::{Philox, philox4x32_10};

/// Word `i` of the stream.
pub fn word(at: Philox, i: u64) -> u32 {
    let block = at.block.wrapping_add(i / 4);
    let counter = [block as u32, (block >> 32) as u32, at.stream as u32, (at.stream >> 32) as u32];
    philox4x32_10(counter, [at.seed as u32, (at.seed >> 32) as u32])[(i % 4) as usize]
}

/// Uniform f32 number `i`.
pub fn uniform_f32(at: Philox, i: u64) -> f32 {
    (word(at, i) >> 8) as f32 * 2f32.powi(-24)
}

/// Uniform f64 number `i`.
pub fn uniform_f64(at: Philox, i: u64) -> f64 {
    let wide = (word(at, 2 * i + 1) as u64) << 32 | word(at, 2 * i) as u64;
    (wide >> 11) as f64 * 2f64.powi(-53)
}

/// Normal number `i`, with the system's functions: right up to their rounding.
pub fn normal(at: Philox, i: u64) -> f64 {
    let (first, second) = (uniform_f64(at, i / 2 * 2), uniform_f64(at, i / 2 * 2 + 1));
    let radius = (-2.0 * (1.0 - first).ln()).sqrt();
    let angle = 2.0 * std::f64::consts::PI * second;
    radius * if i.is_multiple_of(2) { angle.cos() } else { angle.sin() }
}
