//! Philox4x32-10: counter-based random numbers; element `i` depends on (seed, stream, i) only.

pub(crate) mod transform;

use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::Result;

/// Blocks computed side by side: enough to fill the widest vectors.
const BATCH: usize = 16;
/// Blocks of a piece.
const PIECE: usize = 4096;

/// A place in a random stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Philox {
    /// The key.
    pub seed: u64,
    /// Which stream of this key.
    pub stream: u64,
    /// Block of 4 words at which the next draw starts.
    pub block: u64,
}

/// Word `w` of each block of a batch.
type Words = [[u32; BATCH]; 4];

/// One block: 4 words from a 128-bit counter and a 64-bit key.
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    rounds::<1>(counter.map(|word| [word]), key).map(|word| word[0])
}

/// Ten rounds on `N` counters at once, all with one key.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // four arrays walked together
fn rounds<const N: usize>(mut c: [[u32; N]; 4], mut key: [u32; 2]) -> [[u32; N]; 4] {
    for _ in 0..10 {
        for i in 0..N {
            let even = 0xD251_1F53 * c[0][i] as u64;
            let odd = 0xCD9E_8D57 * c[2][i] as u64;
            let (c1, c3) = (c[1][i], c[3][i]);
            c[0][i] = (odd >> 32) as u32 ^ c1 ^ key[0];
            c[1][i] = odd as u32;
            c[2][i] = (even >> 32) as u32 ^ c3 ^ key[1];
            c[3][i] = even as u32;
        }
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

impl Philox {
    /// Blocks `self.block + first ..` of the stream.
    #[inline(always)]
    fn batch(&self, first: usize) -> Words {
        let mut counter = [[0; BATCH]; 4];
        let start = self.block.wrapping_add(first as u64);
        let [low, high, stream_low, stream_high] = &mut counter;
        for (i, (low, high)) in low.iter_mut().zip(high).enumerate() {
            let block = start.wrapping_add(i as u64);
            (*low, *high) = (block as u32, (block >> 32) as u32);
        }
        stream_low.fill(self.stream as u32);
        stream_high.fill((self.stream >> 32) as u32);
        rounds(counter, [self.seed as u32, (self.seed >> 32) as u32])
    }
}

/// Uniform in `[0, 1)`, by ADR 001.
///
/// # Errors
/// None today.
pub fn uniform<T: Float>(at: Philox, out: &mut [T]) -> Result<()> {
    draw(at, false, out);
    Ok(())
}

/// Standard normal, by ADR 001.
///
/// # Errors
/// None today.
pub fn normal<T: Float>(at: Philox, out: &mut [T]) -> Result<()> {
    draw(at, true, out);
    Ok(())
}

/// Elements that a block gives.
const fn per_block<T>(normal: bool) -> usize {
    if normal || size_of::<T>() == 8 { 2 } else { 4 }
}

fn draw<T: Float>(at: Philox, normal: bool, out: &mut [T]) {
    let piece_len = PIECE * per_block::<T>(normal);
    let work = out.len() as u64 * if normal { 6 } else { 1 };
    let pieces = out.len().div_ceil(piece_len);
    let shared = Shared::new(out);
    parallel::run(pieces, work, &|piece| {
        // SAFETY: pieces are disjoint.
        let out = unsafe { shared.part(piece * piece_len, piece_len) };
        let at = Philox { block: at.block.wrapping_add((piece * PIECE) as u64), ..at };
        T::dispatch(Draw { at, normal, out });
    });
}

struct Draw<'a, T> {
    at: Philox,
    normal: bool,
    out: &'a mut [T],
}

impl<T: Float> Kernel<T> for Draw<'_, T> {
    type Output = ();
    /// Integer work in plain loops over a batch, which the compiler turns into the vectors of the ISA.
    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) {
        let per_batch = BATCH * per_block::<T>(self.normal);
        for (i, out) in self.out.chunks_mut(per_batch).enumerate() {
            let words = self.at.batch(i * BATCH);
            let mut values = [T::ZERO; 4 * BATCH];
            if self.normal {
                pairs(&words, &mut values, transform::box_muller);
            } else if size_of::<T>() == 8 {
                pairs(&words, &mut values, transform::keep);
            } else {
                for b in 0..BATCH {
                    for (w, word) in words.iter().enumerate() {
                        // 24 bits: exact in f32, and in the i32 that vectors convert from.
                        let x = (word[b] >> 8) as i32 as f32 * (1.0 / 16_777_216.0);
                        values[4 * b + w] = T::from_f64(x as f64);
                    }
                }
            }
            out.copy_from_slice(&values[..out.len()]);
        }
    }
}

/// Each block's two f64 uniforms through `transform`.
#[inline(always)]
fn pairs<T: Float>(
    words: &Words,
    values: &mut [T; 4 * BATCH],
    transform: impl Fn(f64, f64) -> (f64, f64),
) {
    let mut even = [0.0; BATCH];
    let mut odd = [0.0; BATCH];
    for b in 0..BATCH {
        let first = transform::uniform_f64(words[0][b], words[1][b]);
        let second = transform::uniform_f64(words[2][b], words[3][b]);
        (even[b], odd[b]) = transform(first, second);
    }
    for b in 0..BATCH {
        values[2 * b] = T::from_f64(even[b]);
        values[2 * b + 1] = T::from_f64(odd[b]);
    }
}

/// Number of blocks that a draw of `len` elements uses: the generator advances by it.
/// f32 uniform: 4 elements a block; f64 uniform and all normals: 2.
pub fn blocks<T: Float>(normal: bool, len: usize) -> u64 {
    (len as u64).div_ceil(per_block::<T>(normal) as u64)
}

/// A pseudo-random permutation of `0..n` (Fisher-Yates over 64-bit words of the stream). Uses `n` halves of blocks.
///
/// From the end: for `k = n - 1, ..., 1` the elements `k` and `j` change places, `j = (x * (k + 1)) >> 64` in 128 bits, where `x` is
/// the next 64-bit word of the stream (its words `2i, 2i + 1`, low first): the first for `k = n - 1`.
pub fn permutation(at: Philox, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut words = [[0; BATCH]; 4];
    for (i, k) in (1..n).rev().enumerate() {
        let (block, half) = (i / 2, i % 2);
        if i % (2 * BATCH) == 0 {
            words = at.batch(block);
        }
        let pick = |w: usize| words[w][block % BATCH] as u64;
        let word = pick(2 * half) | pick(2 * half + 1) << 32;
        let j = (word as u128 * (k as u128 + 1)) >> 64;
        order.swap(k, j as usize);
    }
    order
}

#[cfg(test)]
mod tests;
