//! What a packed operand is made from: a `[k, columns]` matrix that can write panels of itself.

use std::ops::Range;

use super::Dispatch;
use super::microkernel::fetch;
use crate::cpu::isa::Kernel;
use crate::cpu::simd::Simd;
use crate::element::Float;

/// A `[k, columns]` operand: B, or the transpose of A. An implementation says how panels of it are
/// packed.
pub(crate) trait Panels<T: Float>: Sync {
    /// Writes element `(l, j)` to `to[(l - k.start) * width + j - columns.start]`, and anything or
    /// nothing from `columns.end` to the width.
    ///
    /// # Safety
    /// - The ranges must lie inside the operand, and `to` must hold `k.len() * width` elements,
    ///   `width >= columns.len()`.
    unsafe fn pack<S: Simd<T>>(
        &self,
        s: S,
        k: Range<usize>,
        columns: Range<usize>,
        to: *mut T,
        width: usize,
    );

    /// The operand as it lies, if it is a strided matrix.
    fn strided(&self) -> Option<Strided<T>> {
        None
    }

    /// What starts at `(l, j)`, if the operand is packed: the rest of its panel, strided.
    fn panel(&self, _l: usize, _j: usize) -> Option<Strided<T>> {
        None
    }
}

/// A strided matrix: element `(l, j)` is at `start + l * k_stride + j * column_stride`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strided<T> {
    pub(crate) start: *const T,
    pub(crate) k_stride: isize,
    pub(crate) column_stride: isize,
}

// SAFETY: it is only read, and whoever makes one keeps the memory borrowed while it is used.
unsafe impl<T: Sync> Sync for Strided<T> {}

impl<T> Strided<T> {
    /// Address of element `(l, j)`.
    #[inline(always)]
    pub(crate) fn at(&self, l: usize, j: usize) -> *const T {
        self.start
            .wrapping_offset(l as isize * self.k_stride)
            .wrapping_offset(j as isize * self.column_stride)
    }
}

impl<T: Float> Panels<T> for Strided<T> {
    #[inline(always)]
    unsafe fn pack<S: Simd<T>>(
        &self,
        s: S,
        k: Range<usize>,
        columns: Range<usize>,
        to: *mut T,
        width: usize,
    ) {
        let from = self.at(k.start, columns.start);
        // SAFETY: the caller's contract is handed on.
        unsafe {
            if self.column_stride == 1 {
                copy_rows(s, from, self.k_stride, [k.len(), columns.len()], to, width);
            } else if self.k_stride == 1 {
                transpose_columns(s, from, self.column_stride, [k.len(), columns.len()], to, width);
            } else {
                let strides = [self.k_stride, self.column_stride];
                transpose(from, strides, [k.len(), columns.len()], to, width);
            }
        }
    }

    fn strided(&self) -> Option<Strided<T>> {
        Some(*self)
    }
}

/// Packs rows that are contiguous in memory.
///
/// # Safety
/// - As [`Panels::pack`].
#[inline(always)]
pub(super) unsafe fn copy_rows<T: Float, S: Simd<T>>(
    s: S,
    from: *const T,
    stride: isize,
    [rows, columns]: [usize; 2],
    to: *mut T,
    width: usize,
) {
    let whole = columns - columns % S::LANES;
    for l in 0..rows {
        let from = from.wrapping_offset(l as isize * stride);
        // SAFETY: row l of the operand and of the panel.
        unsafe {
            let to = to.add(l * width);
            for j in (0..whole).step_by(S::LANES) {
                s.store(to.add(j), s.load(from.add(j)));
            }
            if whole < columns {
                fetch(from.wrapping_add(64 / size_of::<T>()));
                let tail = s.load_first(from.add(whole), columns - whole);
                s.store_first(to.add(whole), tail, columns - whole);
            }
        }
    }
}

/// Bytes that a column is fetched ahead.
const AHEAD: usize = 256;

/// Packs columns that are contiguous in memory: whole vectors of them, then what is left by blocks, which write too much.
///
/// # Safety
/// - As [`Panels::pack`].
#[inline(always)]
unsafe fn transpose_columns<T: Float, S: Simd<T>>(
    s: S,
    from: *const T,
    stride: isize,
    [rows, columns]: [usize; 2],
    to: *mut T,
    width: usize,
) {
    let whole = if S::LANES > 1 { columns - columns % S::LANES } else { 0 };
    if whole < columns {
        // SAFETY: handed on.
        unsafe { transpose_blocks(s, from, stride, [rows, columns], whole, to, width) };
    }
    let line = 64 / size_of::<T>();
    let fours = rows - rows % 4;
    // Whole cache lines of each column: columns are often a power of two apart, and evict each other.
    for l in (0..fours).step_by(line) {
        for j in (0..whole).step_by(S::LANES) {
            let from = from.wrapping_offset(j as isize * stride).wrapping_add(l);
            for i in 0..S::LANES {
                fetch(from.wrapping_offset(i as isize * stride).wrapping_add(line));
            }
            let to = to.wrapping_add(l * width + j);
            let len = line.min(fours - l);
            let eights = len - len % 8;
            for i in (0..eights).step_by(8) {
                // SAFETY: eight rows of existing columns, and their places in the panel.
                unsafe {
                    let rows = s.load_columns_8(from.add(i), stride);
                    store_rows(s, rows, to.add(i * width), width);
                }
            }
            if eights < len {
                // SAFETY: the last four rows.
                unsafe {
                    let rows = s.load_columns(from.add(eights), stride);
                    store_rows(s, rows, to.add(eights * width), width);
                }
            }
        }
    }
    // SAFETY: the rows that are left.
    unsafe {
        let from = from.wrapping_add(fours);
        transpose(from, [1, stride], [rows - fours, whole], to.add(fours * width), width);
    }
}

/// Stores vectors `width` elements apart.
///
/// # Safety
/// - Their places must be writable.
#[inline(always)]
unsafe fn store_rows<T: Float, S: Simd<T>, const N: usize>(
    s: S,
    rows: [S::V; N],
    to: *mut T,
    width: usize,
) {
    for (i, row) in rows.into_iter().enumerate() {
        // SAFETY: by the caller's contract.
        unsafe { s.store(to.add(i * width), row) };
    }
}

/// Packs columns that are contiguous in memory, from column `first` on, by blocks transposed in registers.
///
/// A block is stored in whole even if the panel is narrower: what it writes too much is the start
/// of the panel's next row, which is written later (groups of columns go from right to left, rows
/// downwards).
///
/// # Safety
/// - As [`Panels::pack`].
#[inline(always)]
unsafe fn transpose_blocks<T: Float, S: Simd<T>>(
    s: S,
    from: *const T,
    stride: isize,
    [rows, columns]: [usize; 2],
    first: usize,
    to: *mut T,
    width: usize,
) {
    let groups = (columns - first).div_ceil(S::BLOCK);
    let whole = rows - rows % S::BLOCK;
    // There are more columns than prefetchers follow. A narrow panel's next neighbour comes soon.
    let ahead = match columns <= 8 {
        true => stride.wrapping_mul(columns as isize),
        false => (AHEAD / size_of::<T>()) as isize,
    };
    // Two blocks at a time are a whole cache line of each column: columns are often a power of two
    // apart, and evict each other.
    for l in (0..whole).step_by(2 * S::BLOCK) {
        for group in (0..groups).rev() {
            let j = first + group * S::BLOCK;
            for l in (l..whole.min(l + 2 * S::BLOCK)).step_by(S::BLOCK) {
                let mut sources = [from; 8];
                for (i, source) in sources.iter_mut().enumerate() {
                    let column = (j + i).min(columns - 1) as isize;
                    *source = from.wrapping_offset(column * stride).wrapping_add(l);
                    fetch(source.wrapping_offset(ahead));
                }
                // SAFETY: `BLOCK` rows of existing columns, and this block's place in the panel.
                unsafe { store_block(s, &sources, [l, j], [rows, width], to) };
            }
        }
    }
    // SAFETY: the rows that are left.
    unsafe {
        let from = from.wrapping_offset(first as isize * stride).wrapping_add(whole);
        let left = [rows - whole, columns - first];
        transpose(from, [1, stride], left, to.add(whole * width + first), width);
    }
}

/// Stores one block at `(l, j)` of a panel: at once where the panel has room for whole rows, else
/// by way of memory of its own.
///
/// # Safety
/// - The sources must be readable for `BLOCK` elements, `(l, j)` must lie inside the panel `to` of
///   `rows` by `width`.
#[inline(always)]
unsafe fn store_block<T: Float, S: Simd<T>>(
    s: S,
    sources: &[*const T; 8],
    [l, j]: [usize; 2],
    [rows, width]: [usize; 2],
    to: *mut T,
) {
    let at = l * width + j;
    // SAFETY: by the caller's contract, and as checked here.
    unsafe {
        if at + (S::BLOCK - 1) * width + S::BLOCK <= rows * width {
            s.transpose(sources, to.add(at), width);
            return;
        }
        let mut block = [T::ZERO; 64];
        s.transpose(sources, block.as_mut_ptr(), S::BLOCK);
        for i in 0..S::BLOCK {
            for v in 0..S::BLOCK.min(width - j) {
                *to.add(at + i * width + v) = block[i * S::BLOCK + v];
            }
        }
    }
}

/// Packs by any strides, element by element; the inner loop runs along k, where B^T and A are
/// usually contiguous.
///
/// # Safety
/// - As [`Panels::pack`].
#[inline(always)]
unsafe fn transpose<T: Float>(
    from: *const T,
    [k_stride, column_stride]: [isize; 2],
    [rows, columns]: [usize; 2],
    to: *mut T,
    width: usize,
) {
    for j in 0..columns {
        let from = from.wrapping_offset(j as isize * column_stride);
        for l in 0..rows {
            // SAFETY: element (l, j) of the operand and of the panel.
            unsafe { *to.add(l * width + j) = *from.offset(l as isize * k_stride) };
        }
    }
}

/// Packs all panels of some rows of an operand whose rows are contiguous, a few whole rows at a time: each row may lie in a page of its
/// own, and a panel's rows fill cache lines together. Made where the operand holds the panels, and `to` all of them.
pub(super) struct PackRows<T> {
    /// Element (0, 0) of the first panel, and how far apart rows are.
    pub(super) from: *const T,
    pub(super) k_stride: isize,
    /// Rows of a panel, and which of them are packed.
    pub(super) k: usize,
    pub(super) rows: Range<usize>,
    /// Panels of so many columns, and how many: first some, then the others.
    pub(super) panels: [[usize; 2]; 2],
    /// The panels, one after the other.
    pub(super) to: *mut T,
}

impl<T: Float> Kernel<T> for PackRows<T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let columns: usize = self.panels.iter().map(|[width, count]| width * count).sum();
        for l in self.rows.clone().step_by(Self::ROWS) {
            let end = self.rows.end.min(l + Self::ROWS);
            let (mut column, mut to) = (0, self.to);
            for [width, count] in self.panels {
                let vectors = width.div_ceil(S::LANES);
                let beyond = vectors * S::LANES;
                // The last rows that are packed here have none after them to write into.
                let last = self.rows.end.saturating_sub((beyond - 1) / width);
                for _ in 0..count {
                    let fits = vectors <= 2 && column + beyond <= columns;
                    let whole = if fits { end.min(last).max(l) } else { l };
                    let (panel, at) = ([l, whole], [column, width]);
                    // SAFETY: rows of the operand and of a panel, up to `whole` with as many elements as whole vectors have.
                    unsafe {
                        match vectors {
                            1 => self.whole::<S, 1>(s, panel, at, to),
                            _ => self.whole::<S, 2>(s, panel, at, to),
                        }
                        self.cut(s, [whole, end], at, to);
                        to = to.add(self.k * width);
                    }
                    column += width;
                }
            }
        }
    }
}

impl<T> PackRows<T> {
    /// Rows that are packed at a time: their cache lines do not evict each other from L1 if they are a power of two apart.
    pub(super) const ROWS: usize = 8;
}

impl<T: Float> PackRows<T> {
    /// Rows of a panel in whole vectors: what is too much is overwritten by the rows that follow.
    ///
    /// # Safety
    /// - `V` vectors of each row must be readable, and writable at each row of the panel.
    #[inline(always)]
    unsafe fn whole<S: Simd<T>, const V: usize>(
        &self,
        s: S,
        [l, end]: [usize; 2],
        [column, width]: [usize; 2],
        to: *mut T,
    ) {
        let mut from = self.from.wrapping_offset(l as isize * self.k_stride).wrapping_add(column);
        let mut to = to.wrapping_add(l * width);
        for _ in l..end {
            for v in 0..V {
                // SAFETY: by the caller's contract.
                unsafe { s.store(to.add(v * S::LANES), s.load(from.add(v * S::LANES))) };
            }
            (from, to) = (from.wrapping_offset(self.k_stride), to.wrapping_add(width));
        }
    }

    /// Some rows of a panel, and nothing beyond them.
    ///
    /// # Safety
    /// - The rows must be readable, and those of the panel writable.
    #[inline(always)]
    unsafe fn cut<S: Simd<T>>(
        &self,
        s: S,
        [l, end]: [usize; 2],
        [column, width]: [usize; 2],
        to: *mut T,
    ) {
        for row in l..end {
            let from = self.from.wrapping_offset(row as isize * self.k_stride).wrapping_add(column);
            for done in (0..width).step_by(S::LANES) {
                let len = (width - done).min(S::LANES);
                // SAFETY: by the caller's contract.
                unsafe {
                    let to = to.add(row * width + done);
                    s.store_first(to, s.load_first(from.add(done), len), len);
                }
            }
        }
    }
}

/// [`Panels`] as the driver sees them: any operand, so that there is one instance of the driver.
pub(crate) trait Packs<T: Float>: Sync {
    /// [`Panels::strided`].
    fn strided(&self) -> Option<Strided<T>>;
    /// [`Panels::panel`].
    fn panel(&self, l: usize, j: usize) -> Option<Strided<T>>;
    /// [`Panels::pack`].
    ///
    /// # Safety
    /// - As there.
    unsafe fn pack_on(
        &self,
        d: Dispatch,
        k: Range<usize>,
        columns: Range<usize>,
        to: *mut T,
        width: usize,
    );
}

impl<T: Float, P: Panels<T>> Packs<T> for P {
    fn strided(&self) -> Option<Strided<T>> {
        Panels::strided(self)
    }
    fn panel(&self, l: usize, j: usize) -> Option<Strided<T>> {
        Panels::panel(self, l, j)
    }
    unsafe fn pack_on(
        &self,
        d: Dispatch,
        k: Range<usize>,
        columns: Range<usize>,
        to: *mut T,
        width: usize,
    ) {
        d.call::<T, _>(Pack { panels: self, k, columns, to, width });
    }
}

/// Packs one panel: the way from a piece into vector code. Made where the contract of [`Panels::pack`] holds.
struct Pack<'a, T, P> {
    panels: &'a P,
    k: Range<usize>,
    columns: Range<usize>,
    to: *mut T,
    width: usize,
}

impl<T: Float, P: Panels<T>> Kernel<T> for Pack<'_, T, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        // SAFETY: the contract of `Packs::pack_on`.
        unsafe { self.panels.pack(s, self.k, self.columns, self.to, self.width) }
    }
}
