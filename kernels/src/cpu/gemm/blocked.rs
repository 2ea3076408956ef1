//! Several row blocks that share packed panels of B.

use std::ops::Range;

use super::Dispatch;
use super::blocking::{A_WINDOW, Blocking, KC, MC, MC_PACKED, NC};
use super::driver::{Plan, Product, bytes, pack_a, rows_at, work_ns};
use super::microkernel::Ahead;
use super::sliver::{LINE, Rows, tile_start};
use crate::buffer::Buffer;
use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::Result;

/// Several row blocks: they share packed panels of B. A team packs all of them, and of A, before it multiplies; a thread alone packs a
/// panel when its first row block comes to it. Of A, if it is packed, [`MC_PACKED`] rows are at a
/// time; where rows are split for L2 ([`Blocking::by_rows`]), a thread alone packs a row block at a time.
pub(super) fn blocked<T: Float>(d: Dispatch, p: &Product<'_, T>, plan: &Plan<'_, T>) -> Result<()> {
    let Blocking { mr, nr, .. } = plan.blocking;
    let width = p.n.min(NC).next_multiple_of(nr);
    let mut b_buffer = Buffer::new(bytes::<T>(&[width, KC])?)?;
    let in_turn = plan.a.is_none() && plan.blocking.by_rows && !d.team;
    let height = match (plan.a.is_some(), in_turn) {
        (true, _) => p.m,
        // What is packed for one row block makes room for the next: it stays in L2.
        (false, true) => p.m.div_ceil(p.m.div_ceil(MC)).next_multiple_of(mr),
        (false, false) => p.m.min(MC_PACKED),
    };
    let depth = if plan.a.is_some() { 0 } else { p.depth() };
    let mut a_buffer = Buffer::new(bytes::<T>(&[height, depth])?)?;
    // LOOP JC: columns in steps of NC.
    for jc in (0..p.n).step_by(NC) {
        let columns = jc..p.n.min(jc + NC);
        // LOOP PC: k in steps of KC.
        for block in p.blocks() {
            let b = b_buffer.as_mut_slice::<T>();
            if d.team {
                pack_b(d, p, plan, block, columns.clone(), b);
            }
            for row in (0..p.m).step_by(height) {
                let rows = [row, height.min(p.m - row)];
                let a = match plan.a {
                    Some(a) => rows_at(a, row, p.block(block).start),
                    None => {
                        let packed = a_buffer.as_mut_slice::<T>();
                        pack_a(d, p, plan, rows, block..block + 1, packed);
                        Rows::Packed(packed.as_ptr())
                    }
                };
                // LOOP IC: rows in balanced steps; for a team whose threads do not each have many, times chunks of columns.
                let tiles = rows[1].div_ceil(mr);
                let (row_blocks, chunk) = match (plan.blocking.by_rows, d.team) {
                    (true, false) => (rows[1].div_ceil(MC), columns.len()),
                    (true, true) => {
                        (rows[1].div_ceil(MC).next_multiple_of(parallel::threads()), columns.len())
                    }
                    (false, true) => (rows[1].div_ceil(MC), plan.chunk),
                    (false, false) => (1, columns.len()),
                };
                let chunks = columns.len().div_ceil(chunk);
                let work = work_ns(rows[1], columns.len(), p.block(block).len());
                let shared = Shared::new(&mut *b);
                let multiply = |piece| {
                    let (index, part) = (piece % row_blocks, piece / row_blocks);
                    let some = tile_start(tiles, row_blocks, index)
                        ..tile_start(tiles, row_blocks, index + 1);
                    let from = part * chunk;
                    let columns =
                        columns.start + from..columns.end.min(columns.start + from + chunk);
                    let b = shared.as_ptr().wrapping_add(from * KC);
                    let packs = !d.team && row == 0 && index == 0;
                    let next = if in_turn { next_rows(p, block, rows, height) } else { None };
                    multiply_rows(d, p, plan, block, rows, some, a, columns, b, packs, next);
                };
                match d.team {
                    true => parallel::run(row_blocks * chunks, work, &multiply),
                    false => (0..row_blocks * chunks).for_each(multiply),
                }
            }
        }
    }
    Ok(())
}

/// Several row blocks, many columns, and a team: pieces of columns, each of which packs panels of B for itself and goes through rows
/// and blocks of k as a thread alone does. Nobody waits for anybody in between.
pub(super) fn by_columns<T: Float>(
    d: Dispatch,
    p: &Product<'_, T>,
    plan: &Plan<'_, T>,
) -> Result<()> {
    let all = p.blocks();
    // Whole pieces of columns at a time, as many as there is room for.
    let step = NC / plan.chunk * plan.chunk;
    let pieces = p.n.min(step).div_ceil(plan.chunk);
    let mut b_buffer = Buffer::new(bytes::<T>(&[pieces * plan.chunk, KC])?)?;
    let b = Shared::new(b_buffer.as_mut_slice::<T>());
    let window = match plan.a {
        Some(_) => all.len(),
        None => (A_WINDOW / (p.m * KC)).clamp(1, all.len()),
    };
    let packed_blocks = if plan.a.is_some() { 0 } else { window };
    let mut a_buffer = Buffer::new(bytes::<T>(&[p.m, p.depth(), packed_blocks])?)?;
    let (tiles, row_blocks) = (p.m.div_ceil(plan.blocking.mr), p.m.div_ceil(MC));
    for start in all.clone().step_by(window) {
        let blocks = start..(start + window).min(all.end);
        let packed = a_buffer.as_mut_slice::<T>();
        if plan.a.is_none() {
            pack_a(d, p, plan, [0, p.m], blocks.clone(), packed);
        }
        let packed = Shared::new(packed);
        for jc in (0..p.n).step_by(step) {
            let count = (p.n - jc).min(step).div_ceil(plan.chunk);
            let width = (p.n - jc).min(step);
            parallel::run(count, work_ns(p.m, width, blocks.len() * KC), &|piece| {
                let from = jc + piece * plan.chunk;
                let columns = from..p.n.min(from + plan.chunk);
                let b = b.as_ptr().wrapping_add(piece * plan.chunk * KC);
                for block in blocks.clone() {
                    let packed = packed.as_ptr().wrapping_add((block - start) * p.m * KC);
                    let a = match plan.a {
                        Some(a) => rows_at(a, 0, p.block(block).start),
                        None => Rows::Packed(packed.cast_const()),
                    };
                    for index in 0..row_blocks {
                        let some = tile_start(tiles, row_blocks, index)
                            ..tile_start(tiles, row_blocks, index + 1);
                        let (rows, columns, packs) = ([0, p.m], columns.clone(), index == 0);
                        multiply_rows(d, p, plan, block, rows, some, a, columns, b, packs, None);
                    }
                }
            });
        }
    }
    Ok(())
}

/// Lines that a tile asks for, of the part of A that is packed next: there is time for some more, unless it asks for much of B, too.
const LINES: usize = 20;

/// The part of A that is packed after `rows` of a block, if its rows are contiguous, and lines of each; `None` where these columns end.
fn next_rows<T: Float>(
    p: &Product<'_, T>,
    block: usize,
    [row, rows]: [usize; 2],
    height: usize,
) -> Option<(Ahead<T>, usize)> {
    let a = p.a.strided().filter(|a| a.column_stride == 1)?;
    let (block, row) = if row + rows < p.m { (block, row + rows) } else { (block + 1, 0) };
    let k = p.block(block);
    (block < p.blocks().end).then(|| {
        let from = a.at(k.start, row);
        let lines = (height.min(p.m - row) * size_of::<T>()).div_ceil(LINE);
        (Ahead { from, stride: a.k_stride, rows: k.len() }, lines)
    })
}

/// LOOP JR of a piece: a row block, some tiles of `rows`, times the panels of some columns of B, from `b` on, which it packs first if
/// told to.
#[allow(clippy::too_many_arguments)]
fn multiply_rows<T: Float>(
    d: Dispatch,
    p: &Product<'_, T>,
    plan: &Plan<'_, T>,
    block: usize,
    rows: [usize; 2],
    tiles: Range<usize>,
    a: Rows<T>,
    columns: Range<usize>,
    b: *mut T,
    packs: bool,
    next_rows: Option<(Ahead<T>, usize)>,
) {
    let nr = plan.blocking.nr;
    let k = p.block(block);
    let unpacked = p.b.strided().filter(|b| b.column_stride == 1);
    for j in columns.clone().step_by(nr) {
        let panel = b.wrapping_add((j - columns.start) * KC);
        let here = j..columns.end.min(j + nr);
        let mut sliver = p.sliver(plan, block, rows, a, here.clone());
        sliver.tiles = tiles.clone();
        sliver.b = panel;
        if let Some((rows, lines)) = &next_rows {
            // The last panels share what is to be asked for.
            let panels = columns.len().div_ceil(nr);
            let sharers = (rows.rows * lines).div_ceil(tiles.len() * LINES).clamp(1, panels);
            let index = (j - columns.start) / nr;
            if let Some(share) = (index + sharers).checked_sub(panels) {
                let start = |share| tile_start(rows.rows, sharers, share);
                sliver.lines = (rows.part(start(share)..start(share + 1)), *lines);
            }
        }
        // What comes next lies in B or, packed, beside this one; after the last panel it is the first.
        let next = if here.end < columns.end { panel.wrapping_add(nr * KC) } else { b };
        match unpacked {
            Some(b) if packs && here.end < columns.end => {
                let from = b.at(k.start, here.end);
                sliver.ahead = Ahead { from, stride: b.k_stride, rows: k.len() };
            }
            _ => sliver.fetch_packed(next),
        }
        // SAFETY: a panel inside the product, and inside B, to its place in the buffer.
        unsafe {
            if packs {
                p.b.pack_on(d, k.clone(), here, panel, nr);
            }
            sliver.compute(d, &plan.blocking);
        }
    }
}

/// Packs panels of B, `nr * KC` elements apart.
fn pack_b<T: Float>(
    d: Dispatch,
    p: &Product<'_, T>,
    plan: &Plan<'_, T>,
    block: usize,
    columns: Range<usize>,
    to: &mut [T],
) {
    let nr = plan.blocking.nr;
    let to = Shared::new(to);
    let work = (columns.len() * KC) as u64 / 4;
    parallel::run(columns.len().div_ceil(nr), work, &|panel| {
        let j = columns.start + panel * nr;
        let to = to.as_ptr().wrapping_add(panel * nr * KC);
        let columns = j..columns.end.min(j + nr);
        // SAFETY: a panel inside B, to its place in the buffer.
        unsafe { p.b.pack_on(d, p.block(block), columns, to, nr) };
    });
}
