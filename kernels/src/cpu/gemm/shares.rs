//! A team's product by shares of rows: each is a product of its own, computed as a thread alone does it.
//!
//! Each share packs B for itself, which costs less than what it saves: nobody waits for anybody in between, and what a thread reads
//! and writes of A and C is contiguous. (Half of the columns of rows that are a power of two long would be half of the sets of its L2.)

use std::sync::Mutex;

use super::Dispatch;
use super::driver::{Product, multiply, work_ns};
use super::panels::Strided;
use super::settle::Finish;
use crate::cpu::parallel;
use crate::element::Float;
use crate::error::Result;

/// Rows of a share that are enough to pack B for.
const ROWS: usize = 64;

/// Rows of a share that are enough for two a thread, so that who is late has less to do.
const MANY: usize = 128;

/// Bytes of B up to which every thread reads it from its own L2.
const B_IN_L2: usize = 1 << 20;

/// A as it lies and how many shares the product is best computed in, if in any.
pub(super) fn suits<T: Float>(d: Dispatch, p: &Product<'_, T>) -> Option<(Strided<T>, usize)> {
    let threads = parallel::threads().max(2);
    let rows = |shares: usize| p.m / shares;
    let shares = if rows(2 * threads) >= MANY { 2 * threads } else { threads };
    let small = p.n.saturating_mul(p.k.len()).saturating_mul(size_of::<T>()) <= B_IN_L2;
    // Nothing to pack, or rows to copy: transposing it more than once costs more.
    let by_rows = p.b.panel(0, 0).or(p.b.strided()).is_some_and(|b| b.column_stride == 1);
    let enough = d.team && rows(shares) >= ROWS && small && by_rows;
    Some((p.a.strided().filter(|_| enough)?, shares))
}

/// Computes it.
///
/// # Errors
/// As [`multiply`].
///
/// # Safety
/// - As there.
pub(super) unsafe fn by_rows<T: Float>(
    d: Dispatch,
    p: &Product<'_, T>,
    (a, shares): (Strided<T>, usize),
) -> Result<()> {
    let failed = Mutex::new(Ok(()));
    parallel::run(shares, work_ns(p.m, p.n, p.k.len()), &|share| {
        let [from, to] = [share, share + 1].map(|share| start(p.m, shares, share));
        let a = Strided { start: a.at(0, from), ..a };
        let bias = p.finish.row_bias;
        let row_bias = if bias.is_null() { bias } else { bias.wrapping_add(from) };
        let finish = Finish { row_bias, ..p.finish };
        let output = p.output.below(from);
        let part = Product { m: to - from, k: p.k.clone(), a: &a, output, finish, ..*p };
        // SAFETY: some of the product's rows, and of its row bias.
        if let Err(error) = unsafe { multiply(d.alone(), &part) } {
            *failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Err(error);
        }
    });
    failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The first row of a share: whole tiles and vectors, as evenly as they go.
fn start(m: usize, shares: usize, share: usize) -> usize {
    const TILES: usize = 16;
    (m.div_ceil(TILES) * share / shares * TILES).min(m)
}
