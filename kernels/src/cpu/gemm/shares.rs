//! A team's product by shares of rows: each is a product of its own, computed as a thread alone does it.
//!
//! Each share packs B for itself, which costs less than what it saves: nobody waits for anybody in between, and what a thread reads
//! and writes of A and C is contiguous. (Half of the columns of rows that are a power of two long would be half of the sets of its L2.)

use std::sync::OnceLock;

use super::Dispatch;
use super::blocking::{KC, PACKED_BLOCK, blocking};
use super::driver::{Product, bytes, in_place, multiply_in, tile_kind, work_ns};
use super::panels::Strided;
use super::settle::Finish;
use super::sparse;
use crate::buffer::Buffer;
use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::Result;

/// Rows of a share that are enough to pack B for.
const ROWS: usize = 64;

/// Rows of a share that are enough for two a thread, so that who is late has less to do.
const MANY: usize = 128;

/// The most rows of a share.
const MOST: usize = 256;

/// Bytes of B up to which every thread reads it from its own L2.
const B_IN_L2: usize = 1 << 20;

/// Blocks of k up to which a packed A takes no more room than A itself.
const BLOCKS: usize = 4;

/// Rows are dealt out by so many, whole tiles of most kinds.
const STEP: usize = 16;

/// A as it lies and how many shares the product is best computed in, if in any.
pub(super) fn suits<T: Float>(d: Dispatch, p: &Product<'_, T>) -> Option<(Strided<T>, usize)> {
    // What is added to C in several blocks takes room for its sums.
    let in_parts = p.finish.accumulate && p.k_total > KC;
    if !d.team || in_parts || p.blocks().len() > BLOCKS {
        return None;
    }
    let threads = parallel::threads().max(2);
    let some = if p.m / (2 * threads) >= MANY { 2 * threads } else { threads };
    // What is packed of a share is one row block.
    let row = p.k.len().clamp(1, KC) * size_of::<T>();
    let shares = some.max(p.m.div_ceil(MOST.min(PACKED_BLOCK / row) - STEP));
    let small = p.n.saturating_mul(p.k.len()).saturating_mul(size_of::<T>()) <= B_IN_L2;
    // Nothing to pack, or rows to copy: transposing it more than once costs more.
    let by_rows = p.b.panel(0, 0).or(p.b.strided()).is_some_and(|b| b.column_stride == 1);
    let enough = p.m / shares >= ROWS && small && by_rows;
    Some((p.a.strided().filter(|_| enough)?, shares))
}

/// Computes it.
///
/// # Errors
/// [`OutOfMemory`](crate::Error::OutOfMemory) if there is no room for a packed A: it is taken here, for all shares, so that what one thread can
/// compute many can, too, and nothing is written before.
///
/// # Safety
/// - As [`multiply`](super::driver::multiply).
pub(super) unsafe fn by_rows<T: Float>(
    d: Dispatch,
    p: &Product<'_, T>,
    (a, shares): (Strided<T>, usize),
) -> Result<()> {
    let alone = d.alone();
    let blocking = blocking::<T>(alone, tile_kind(p));
    let packs = in_place(a, [p.m / shares, p.n], &blocking).is_none();
    // Room for a row of A, packed, or for what of it is not 0.
    let row = if packs { p.blocks().len() * p.depth() } else { 0 };
    let sparse = (0..shares).filter_map(|share| {
        let m = start(p.m, shares, share + 1) - start(p.m, shares, share);
        let part = Product { m, k: p.k.clone(), a: &a, ..*p };
        Some(sparse::suits(alone, &part)?.room() / m)
    });
    let row = row.max(sparse.max().unwrap_or(0));
    let mut room = Buffer::new(bytes::<T>(&[p.m, row])?)?;
    let (room, failed) = (Shared::new(room.as_mut_slice::<T>()), OnceLock::new());
    parallel::run(shares, work_ns(p.m, p.n, p.k.len()), &|share| {
        let [from, to] = [share, share + 1].map(|share| start(p.m, shares, share));
        let a = Strided { start: a.at(0, from), ..a };
        let bias = p.finish.row_bias;
        let row_bias = if bias.is_null() { bias } else { bias.wrapping_add(from) };
        let finish = Finish { row_bias, ..p.finish };
        let output = p.output.below(from);
        let part = Product { m: to - from, k: p.k.clone(), a: &a, output, finish, ..*p };
        // SAFETY: some of the product's rows, and of its row bias; room for those rows.
        let outcome = unsafe {
            let room = room.part(from * row, (to - from) * row);
            multiply_in(alone, &part, room)
        };
        if let Err(error) = outcome {
            let _ = failed.set(error);
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

/// The first row of a share, as evenly as they go.
fn start(m: usize, shares: usize, share: usize) -> usize {
    (m.div_ceil(STEP) * share / shares * STEP).min(m)
}
