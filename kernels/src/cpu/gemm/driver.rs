//! The loops JC PC IC JR around the micro-kernel, and who packs what when.
//!
//! Three shapes of the same five loops. *Streamed*: one row block covers all of m, so every panel of
//! B is used by one piece alone, which packs it on its own stack just before use (or reads it in
//! place) and fetches the next one while it multiplies. *Blocked*, for many rows and for a team with
//! few columns: several row blocks share packed panels of B; a team packs B and A, then multiplies,
//! a thread alone packs each panel when it multiplies it first. *By columns*, for a team with many columns and 1000 or 2000 rows: each
//! piece of columns as a thread alone does it. A is packed unless it lies well.
//! [Small](super::small) products come by none of this, nor does a team's where each thread keeps B in its L2: it has [shares](super::shares) of rows.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::Dispatch;
use super::blocked::{self, blocked};
use super::blocking::{
    A_BLOCK, A_RESIDENT, A_WINDOW, Blocking, KC, L2, MC, MC_PACKED, PACKED_BLOCK, PANEL_PAGES,
    PIECE, PIECE_COLUMNS, PIECES, TileKind, WIDE, blocking,
};
use super::microkernel::{Ahead, packs};
use super::output::Output;
use super::panels::{PackRows, Packs, Strided};
use super::settle::Finish;
use super::sliver::{Rows, Sliver, tile_start};
use super::split::by_blocks;
use super::{shares, sparse, swapped, vector};
use crate::buffer::Buffer;
use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::{Error, Result};

/// A product `C[m, n] = finish(A B)`, or a run of its blocks of k.
#[derive(Clone)]
pub(crate) struct Product<'a, T: Float> {
    pub(crate) m: usize,
    pub(crate) n: usize,
    /// The part of k to compute now; starts at a multiple of [`KC`], ends at one or at `k_total`.
    /// Parts are computed in ascending order (and in one part if C is accumulated into).
    pub(crate) k: Range<usize>,
    pub(crate) k_total: usize,
    /// The transpose of A, `[k, m]`.
    pub(crate) a: &'a dyn Packs<T>,
    /// B, `[k, n]`.
    pub(crate) b: &'a dyn Packs<T>,
    pub(crate) output: Output<'a, T>,
    pub(crate) finish: Finish<T>,
}

// SAFETY: its pointers are to biases that the caller keeps borrowed while it runs; the rest is Sync
// by itself.
unsafe impl<T: Float> Sync for Product<'_, T> {}

/// What is decided before the loops start.
pub(super) struct Plan<'a, T> {
    pub(super) blocking: Blocking,
    /// A as it lies, if it is not packed.
    pub(super) a: Option<Rows<T>>,
    /// B as it lies, if it is not packed.
    pub(super) b: Option<Strided<T>>,
    /// Where partial sums are kept, if not in C.
    pub(super) sums: Option<Output<'a, T>>,
    /// Columns a piece, a multiple of `nr`.
    pub(super) chunk: usize,
    /// Every block's sums are stored as they are.
    pub(super) apart: bool,
}

// SAFETY: its pointers are those of the product's operands, which are only read.
unsafe impl<T: Sync + Send> Sync for Plan<'_, T> {}

/// One panel of packed B, on a piece's stack: KC times the widest tile.
#[repr(align(64))]
struct PanelBuffer([MaybeUninit<u8>; KC * 256]);

/// Computes the product.
///
/// # Errors
/// [`OutOfMemory`](Error::OutOfMemory) if there is no room for packed operands.
///
/// # Safety
/// - `a` and `b` must hold `k_total` rows of `m` and `n` columns, the biases `m` and `n` elements.
pub(crate) unsafe fn multiply<T: Float>(d: Dispatch, p: &Product<'_, T>) -> Result<()> {
    // SAFETY: by the caller's contract.
    unsafe { multiply_in(d, p, &mut []) }
}

/// [`multiply`] with room for packed operands, which is used where it is enough.
///
/// # Errors
/// As there.
///
/// # Safety
/// - As there.
pub(super) unsafe fn multiply_in<T: Float>(
    d: Dispatch,
    p: &Product<'_, T>,
    room: &mut [T],
) -> Result<()> {
    if p.m == 0 || p.n == 0 {
        return Ok(());
    }
    if let Some(operands) = vector::suits(p) {
        return vector::multiply(d, p, operands);
    }
    if let Some(shares) = shares::suits(d, p) {
        // SAFETY: handed on.
        return unsafe { shares::by_rows(d, p, shares) };
    }
    if swapped::suits(d, p) {
        return swapped::multiply(d, p);
    }
    let blocking = blocking::<T>(d, tile_kind(p));
    let row = p.k.len().clamp(1, KC) * size_of::<T>();
    // Columns of a piece if each thread is to have two.
    let wide = p.n.div_ceil(2 * parallel::threads()).next_multiple_of(blocking.nr);
    let many = (A_BLOCK / row + 1..=2 * MC_PACKED).contains(&p.m);
    let by_columns = blocking.by_rows && d.team && many && wide >= WIDE;
    // A team, too, where there are many and nothing of A is to be packed.
    let along_k = p.a.strided().is_some_and(|a| a.k_stride == 1);
    let by_rows = blocking.by_rows && (!d.team || by_columns || (along_k && p.m > MC_PACKED));
    let blocking = Blocking { by_rows, ..blocking };
    let a = p.a.strided().and_then(|a| in_place(a, [p.m, p.n], &blocking));
    let mut sum_buffer = match p.finish.accumulate && p.k_total > KC {
        true => Some(Buffer::new(bytes::<T>(&[p.m, p.n])?)?),
        false => None,
    };
    // SAFETY: the buffer has `m * n` elements and lives to the end of this function.
    let sums = sum_buffer
        .as_mut()
        .map(|b| unsafe { Output::new(b.as_mut_slice::<T>().as_mut_ptr(), p.n, p.n, 0) });
    let b = p.b.strided().filter(|b| {
        b.column_stride == 1
            && (p.m <= blocking.mr || (close(p, b) && (p.m <= 2 * blocking.mr || even(b))))
    });
    let fair = PIECE / p.m.saturating_mul(p.k.len()).max(1);
    let fair = if d.team { fair } else { PIECE_COLUMNS };
    let chunk = fair.clamp(1, PIECE_COLUMNS).next_multiple_of(blocking.nr);
    let plan = Plan { blocking, a, b, sums, chunk, apart: false };
    if by_columns {
        return blocked::by_columns(d, p, &Plan { chunk: wide.min(PIECE_COLUMNS), ..plan });
    }
    // A panel of B that is packed by one piece is in L2 when it is used, and was fetched before; shared ones make pieces of rows, too.
    let few = d.team && p.n.div_ceil(chunk) < PIECES;
    let one_block = match (by_rows, plan.a.is_some()) {
        (true, _) if d.team => 0,
        (true, true) => A_BLOCK / row,
        (true, false) => PACKED_BLOCK / row,
        (false, _) if !few => MC_PACKED,
        (false, true) => 512,
        (false, false) => 2 * MC,
    };
    let long = p.blocks().len() >= 4 && p.n.div_ceil(chunk) <= 4 && p.finish.is_nothing();
    match p.m <= one_block {
        true if long && d.team => by_blocks(d, p, &plan),
        true => streamed(d, p, &plan, room),
        false => blocked(d, p, &plan),
    }
}

/// A product whose A is read in place, all rows of it at a time, on this thread.
pub(super) fn streamed_alone<T: Float>(d: Dispatch, p: &Product<'_, T>) -> Result<()> {
    let blocking = blocking::<T>(d, tile_kind(p));
    let a = p.a.strided().map(|a| Rows::Strided(a.start, a.column_stride, a.k_stride));
    let chunk = PIECE_COLUMNS.next_multiple_of(blocking.nr);
    streamed(d, p, &Plan { blocking, a, b: None, sums: None, chunk, apart: false }, &mut [])
}

/// The tile that suits a product.
pub(super) fn tile_kind<T: Float>(p: &Product<'_, T>) -> TileKind {
    if p.m <= 2 {
        let lies_well = p.b.strided().or(p.b.panel(0, 0)).is_some_and(|b| b.column_stride == 1);
        return if lies_well { TileKind::Low } else { TileKind::Thin };
    }
    match p.n * size_of::<T>() {
        ..=64 => TileKind::Thin,
        65..=128 => TileKind::Narrow,
        _ => TileKind::Wide,
    }
}

/// A as it lies, if it is worth reading so: one of its strides is 1, and the panels of B, or its own rows, are few, or it is split
/// by rows, along k, so that it comes from L2 again and again.
pub(super) fn in_place<T: Float>(
    a: Strided<T>,
    [m, n]: [usize; 2],
    blocking: &Blocking,
) -> Option<Rows<T>> {
    let rows = Rows::Strided(a.start, a.column_stride, a.k_stride);
    let panels = n.div_ceil(blocking.nr);
    let few = m == 1
        || (a.k_stride == 1 && (blocking.by_rows || panels <= blocking.few_panels || m <= 6))
        || (a.column_stride == 1 && panels <= 4);
    few.then_some(rows)
}

/// True if a panel of B can be read again and again where it lies: its pages stay within the first level of address translation,
/// and its rows do not evict each other from L1.
fn close<T: Float>(p: &Product<'_, T>, b: &Strided<T>) -> bool {
    let stride = b.k_stride.unsigned_abs().saturating_mul(size_of::<T>());
    let panel = stride.saturating_mul(KC.min(p.k.len()));
    stride <= 1024 || (panel <= PANEL_PAGES && !stride.is_multiple_of(512))
}

/// True if no vector of a panel lies across two cache lines: it would be read as two.
fn even<T: Float>(b: &Strided<T>) -> bool {
    let stride = b.k_stride.wrapping_mul(size_of::<T>() as isize);
    (b.start.addr() as isize | stride) % 64 == 0
}

/// `A`'s rows from row `row`, at the start of block `l` of k.
pub(super) fn rows_at<T>(a: Rows<T>, row: usize, l: usize) -> Rows<T> {
    match a {
        Rows::Packed(a) => Rows::Packed(a),
        Rows::Strided(a, row_stride, k_stride) => {
            let from = a.wrapping_offset((row as isize).wrapping_mul(row_stride));
            let from = from.wrapping_offset((l as isize).wrapping_mul(k_stride));
            Rows::Strided(from, row_stride, k_stride)
        }
    }
}

/// The size in bytes of a product of sizes.
pub(super) fn bytes<T>(sizes: &[usize]) -> Result<usize> {
    crate::strided::checked_len(sizes)
        .and_then(|len| len.checked_mul(size_of::<T>()))
        .ok_or(Error::Contract("gemm: the size of a workspace overflows"))
}

/// The work of `m * n * k` fused multiply-adds in nanoseconds, at 100 GFLOP/s.
pub(crate) fn work_ns(m: usize, n: usize, k: usize) -> u64 {
    (m as u64).saturating_mul(n as u64).saturating_mul(k as u64) / 50
}

impl<T: Float> Product<'_, T> {
    /// The blocks of k to compute: at least one, so that k = 0 gives the epilogue of zeros.
    pub(super) fn blocks(&self) -> Range<usize> {
        let first = self.k.start / KC;
        first..self.k.end.div_ceil(KC).max(first + 1)
    }

    /// Elements of a packed row of A: no more than there are, if they make one block.
    pub(super) fn depth(&self) -> usize {
        if self.blocks().len() == 1 { KC.min(self.k.len()) } else { KC }
    }

    /// The range of k of a block.
    pub(super) fn block(&self, index: usize) -> Range<usize> {
        index * KC..((index + 1) * KC).min(self.k_total)
    }

    /// A sliver of this product, to be completed by the caller.
    pub(super) fn sliver<'s>(
        &'s self,
        plan: &'s Plan<'s, T>,
        block: usize,
        [first_row, m]: [usize; 2],
        a: Rows<T>,
        columns: Range<usize>,
    ) -> Sliver<'s, T> {
        let tile_count = m.div_ceil(plan.blocking.mr);
        Sliver {
            m,
            tile_count,
            first_row,
            tiles: 0..tile_count,
            k: self.block(block).len(),
            a,
            b: std::ptr::null(),
            b_stride: plan.blocking.nr as isize,
            pack: std::ptr::null_mut(),
            j: columns.start,
            columns: columns.len(),
            ahead: Ahead::NONE,
            askers: 8,
            lines: (Ahead::NONE, 1),
            output: &self.output,
            sums: plan.sums.as_ref().unwrap_or(&self.output),
            first: plan.apart || block == 0,
            last: !plan.apart && (block + 1) * KC >= self.k_total,
            finish: self.finish,
        }
    }
}

/// One row block: pieces of columns, each with its own loop over k.
fn streamed<T: Float>(
    d: Dispatch,
    p: &Product<'_, T>,
    plan: &Plan<'_, T>,
    room: &mut [T],
) -> Result<()> {
    let blocks = p.blocks();
    let pieces = p.n.div_ceil(plan.chunk);
    let window = (A_WINDOW / (p.m * KC)).clamp(1, blocks.len());
    let packed = if plan.a.is_some() { 0 } else { bytes::<T>(&[p.m, p.depth(), window])? };
    // For either way to compute it: what is taken does not depend on the operands' numbers.
    let sparse = sparse::suits(d, p);
    let lists = sparse.as_ref().map_or(Ok(0), |sparse| bytes::<T>(&[sparse.room()]))?;
    let mut buffer = match packed.max(lists) {
        bytes if bytes > size_of_val(room) => Buffer::new(bytes)?,
        _ => Buffer::empty(),
    };
    let room = if buffer.is_empty() { room } else { buffer.as_mut_slice::<T>() };
    if sparse.is_some_and(|sparse| sparse.multiply(d, p, room)) {
        return Ok(());
    }
    if plan.a.is_some() {
        let work = work_ns(p.m, p.n, p.k.len());
        parallel::run(pieces, work, &|piece| {
            stream_piece(d, p, plan, piece, blocks.clone(), std::ptr::null());
        });
        return Ok(());
    }
    let packed = room;
    for start in blocks.clone().step_by(window) {
        let blocks = start..(start + window).min(blocks.end);
        pack_a(d, p, plan, [0, p.m], blocks.clone(), packed);
        let a = Shared::new(packed);
        let work = work_ns(p.m, p.n, blocks.len() * KC);
        parallel::run(pieces, work, &|piece| {
            stream_piece(d, p, plan, piece, blocks.clone(), a.as_ptr());
        });
    }
    Ok(())
}

/// All of m, a chunk of columns, some blocks of k (of which `packed` holds the rows, unless A is
/// read in place).
pub(super) fn stream_piece<T: Float>(
    d: Dispatch,
    p: &Product<'_, T>,
    plan: &Plan<'_, T>,
    piece: usize,
    blocks: Range<usize>,
    packed: *const T,
) {
    let nr = plan.blocking.nr;
    let mut spare = PanelBuffer([MaybeUninit::uninit(); KC * 256]);
    let spare: *mut T = spare.0.as_mut_ptr().cast();
    let end = p.n.min((piece + 1) * plan.chunk);
    let start = piece * plan.chunk;
    // B in rows that are contiguous: the next panel is fetched while this one is multiplied.
    let by_rows = p.b.strided().filter(|b| b.column_stride == 1);
    let beyond = by_rows.is_some() && p.n.saturating_mul(p.k.len()) >= L2;
    let panels_first = !beyond && p.m.saturating_mul(p.k.len()) <= A_RESIDENT;
    // A whole panel of them is packed by the first tile.
    let Blocking { mr, lanes, .. } = plan.blocking;
    let tiles = p.m.div_ceil(mr);
    let highest = tile_start(p.m, tiles, 1);
    let can = tiles > 1 && packs(lanes * size_of::<T>(), highest, nr / lanes);
    // Not where every row lies in a page of its own: a tile has too few loads under way to hide that.
    let near = |b: &Strided<T>| b.k_stride.unsigned_abs().saturating_mul(size_of::<T>()) <= 1 << 11;
    let while_multiplied = by_rows.filter(|b| can && near(b));
    let step = |block: usize, j: usize| {
        let k = p.block(block);
        let a = match plan.a {
            Some(a) => rows_at(a, 0, k.start),
            None => {
                let from_start = (block - blocks.start) * p.m * KC;
                Rows::Packed(packed.wrapping_add(from_start))
            }
        };
        let columns = j..end.min(j + nr);
        let mut sliver = p.sliver(plan, block, [0, p.m], a, columns.clone());
        let next = match panels_first {
            true if block + 1 < blocks.end => [k.end, j],
            true => [blocks.start * KC, columns.end],
            false if columns.end < end => [k.start, columns.end],
            false => [k.end, start],
        };
        if let Some(b) = by_rows.filter(|_| next[0] < blocks.end * KC && next[1] < end) {
            sliver.ahead =
                Ahead { from: b.at(next[0], next[1]), stride: b.k_stride, rows: sliver.k };
        }
        let lies = match plan.b {
            Some(b) => Some(Strided { start: b.at(k.start, j), ..b }),
            None => p.b.panel(k.start, j),
        };
        match (lies, while_multiplied.filter(|_| columns.len() == nr)) {
            (Some(b), _) => (sliver.b, sliver.b_stride) = (b.start, b.k_stride),
            (None, Some(b)) => {
                (sliver.b, sliver.b_stride) = (b.at(k.start, j), b.k_stride);
                sliver.pack = spare;
            }
            (None, None) => {
                // SAFETY: a panel inside B; the spare one holds it.
                unsafe { p.b.pack_on(d, k, columns, spare, nr) };
                sliver.b = spare;
            }
        }
        // SAFETY: a panel inside the product.
        unsafe { sliver.compute(d, &plan.blocking) };
    };
    if panels_first {
        (start..end).step_by(nr).for_each(|j| blocks.clone().for_each(|block| step(block, j)));
    } else {
        blocks.clone().for_each(|block| (start..end).step_by(nr).for_each(|j| step(block, j)));
    }
}

/// Packs rows of A for some blocks of k: block after block, in it tile after tile.
pub(super) fn pack_a<T: Float>(
    d: Dispatch,
    p: &Product<'_, T>,
    plan: &Plan<'_, T>,
    [row, m]: [usize; 2],
    blocks: Range<usize>,
    to: &mut [T],
) {
    let tiles = m.div_ceil(plan.blocking.mr);
    let to = Shared::new(to);
    let work = (blocks.len() * m * KC) as u64 / 4;
    if let Some(a) = p.a.strided().filter(|a| a.column_stride == 1 && a.k_stride != 1) {
        // Two pieces a thread.
        let pieces = if d.team { 2 * parallel::threads() } else { 1 };
        let at_once = p.depth().div_ceil(pieces).next_multiple_of(PackRows::<T>::ROWS);
        let groups = p.depth().div_ceil(at_once.max(1));
        let (height, higher) = (m / tiles, m % tiles);
        // A row of a tile of f32 fits half a vector of AVX-512.
        let d = if size_of::<T>() == 4 { d.narrow() } else { d };
        parallel::run(blocks.len() * groups, work, &|piece| {
            let (block, group) = (piece / groups, piece % groups);
            let range = p.block(blocks.start + block);
            let (k, from) = (range.len(), a.at(range.start, row));
            let rows = (group * at_once).min(k)..((group + 1) * at_once).min(k);
            let to = to.as_ptr().wrapping_add(block * m * KC);
            let panels = [[height + 1, higher], [height, tiles - higher]];
            d.call::<T, _>(PackRows { from, k_stride: a.k_stride, k, rows, panels, to });
        });
        return;
    }
    parallel::run(blocks.len() * tiles, work, &|piece| {
        let (block, index) = (piece / tiles, piece % tiles);
        let (start, end) = (tile_start(m, tiles, index), tile_start(m, tiles, index + 1));
        let k = p.block(blocks.start + block);
        let to = to.as_ptr().wrapping_add(block * m * KC + start * k.len());
        let columns = row + start..row + end;
        // SAFETY: a panel inside A, to its place in the buffer.
        unsafe { p.a.pack_on(d, k, columns, to, end - start) };
    });
}
