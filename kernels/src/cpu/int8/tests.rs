//! Every instruction set, team and output against the naive sums in i64; extremes, limits, wrong calls.

mod images;
mod products;
mod rows;
mod scheme;
mod sequence;

use super::{Code, Codes};
use crate::cpu::isa::Int8Isa;

/// A generator of test data: the same numbers every time.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// In `0..n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In `low..=high`.
    pub(super) fn between(&mut self, [low, high]: [i32; 2]) -> i32 {
        low + self.below((high - low + 1) as usize) as i32
    }

    /// In -1..1.
    pub(super) fn float(&mut self) -> f32 {
        (self.next() >> 24) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(super) fn codes<C: Code>(&mut self, n: usize) -> Vec<C> {
        (0..n).map(|_| C::from_i32(self.next() as i32)).collect()
    }

    pub(super) fn yes(&mut self) -> bool {
        self.below(2) == 0
    }
}

pub(super) fn available() -> Vec<Int8Isa> {
    Int8Isa::ALL.into_iter().filter(|isa| isa.available()).collect()
}

/// Codes as numbers.
pub(super) fn numbers(codes: Codes<'_>) -> Vec<i32> {
    match codes {
        Codes::U8(codes) => codes.iter().map(|c| i32::from(*c)).collect(),
        Codes::I8(codes) => codes.iter().map(|c| i32::from(*c)).collect(),
    }
}

/// Runs `check` on one thread, then on two and three.
pub(super) fn on_teams(mut check: impl FnMut()) {
    use crate::cpu::parallel::set_threads;
    for threads in [2, 3, 1] {
        set_threads(threads);
        check();
    }
}
