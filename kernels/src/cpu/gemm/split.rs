//! Long sums with a small result (weight gradients): blocks of k in parallel, each with sums of its
//! own, added in order.

use super::Dispatch;
use super::blocking::{A_WINDOW, KC};
use super::driver::{Plan, Product, bytes, pack_a, stream_piece, work_ns};
use super::output::Output;
use super::settle::{Settle, settle_on};
use crate::buffer::Buffer;
use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::Result;

/// The most blocks whose sums are kept at a time.
const WINDOW: usize = 64;

/// Rows of C that are added up at a time.
const ROWS: usize = 16;

/// Computes a product without an epilogue by pieces of one block of k each; A is packed, or read in
/// place, as planned.
pub(super) fn by_blocks<T: Float>(
    d: Dispatch,
    p: &Product<'_, T>,
    plan: &Plan<'_, T>,
) -> Result<()> {
    let plan = Plan { chunk: p.n.next_multiple_of(plan.blocking.nr), apart: true, ..*plan };
    let all = p.blocks();
    let window = (A_WINDOW / (p.m * KC)).clamp(1, all.len().min(WINDOW));
    let rows = p.m * KC;
    let packs = plan.a.is_none();
    let mut a = Buffer::new(if packs { bytes::<T>(&[rows, window])? } else { 0 })?;
    let mut sums = Buffer::new(bytes::<T>(&[p.m, p.n, window])?)?;
    for start in all.clone().step_by(window) {
        let blocks = start..(start + window).min(all.end);
        if packs {
            pack_a(d, p, &plan, [0, p.m], blocks.clone(), a.as_mut_slice());
        }
        let a = Shared::new(a.as_mut_slice::<T>());
        let parts = Shared::new(sums.as_mut_slice::<T>());
        parallel::run(blocks.len(), work_ns(p.m, p.n, blocks.len() * KC), &|index| {
            let (block, to) = (start + index, parts.as_ptr().wrapping_add(index * p.m * p.n));
            // SAFETY: each piece has the `m * n` sums of its own block.
            let output = unsafe { Output::new(to, p.n, p.n, 0) };
            let part = Product { k: p.k.clone(), output, ..*p };
            let packed = a.as_ptr().wrapping_add(if packs { index * rows } else { 0 });
            stream_piece(d, &part, &plan, 0, block..block + 1, packed);
        });
        let work = (blocks.len() * p.m * p.n) as u64 / 4;
        parallel::run(p.m.div_ceil(ROWS), work, &|piece| {
            let rows = [piece * ROWS, ROWS.min(p.m - piece * ROWS)];
            for (index, block) in blocks.clone().enumerate() {
                let from = parts.as_ptr().wrapping_add((index * p.m + rows[0]) * p.n);
                let earlier = (block > 0).then_some(&p.output);
                let (columns, to) = ([0, p.n], &p.output);
                let (from_stride, finish) = (p.n, None);
                let job = Settle { rows, columns, from, from_stride, earlier, to, finish };
                // SAFETY: rows of the product, and of the sums of one block, which hold as many.
                unsafe { settle_on(d, job) };
            }
        });
    }
    Ok(())
}
