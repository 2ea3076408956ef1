//! The table of tile and block sizes, one row per vector width.
//!
//! Only speed depends on it: the order of every sum is fixed by [`KC`] alone.

use super::Dispatch;
use crate::cpu::isa::{Isa, computes_halves};
use crate::element::Float;

/// The block of k: part of the order R2, the same for every ISA and dtype.
pub(crate) const KC: usize = 256;

/// Columns of B that are packed at a time where several row blocks share them.
pub(super) const NC: usize = 4096;

/// Rows of A that are packed at a time where row blocks share panels of B, unless a thread alone packs them one by one.
pub(super) const MC_PACKED: usize = 1024;

/// Rows of A that are multiplied by many panels of B, by a team or where L2 is what holds one thread up ([`Blocking::by_rows`]): they leave
/// room in L2 for the panel, the next one and C.
pub(super) const MC: usize = 144;

/// Bytes of a block of A up to which it is not split so: it stays in L2, if with less room to spare, and B need not be kept for
/// more than one block.
pub(super) const A_BLOCK: usize = 640 << 10;

/// The same for a packed A.
pub(super) const PACKED_BLOCK: usize = 400 << 10;

/// Elements of A that are packed at a time where one row block covers all of m.
pub(super) const A_WINDOW: usize = 1 << 20;

/// Fused multiply-adds that a parallel piece should at least hold (about 20 us).
pub(super) const PIECE: usize = 1 << 20;

/// Pieces of columns that are enough for a team.
pub(super) const PIECES: usize = 8;

/// Columns of a piece from which on it may go through all rows by itself, so that A comes from L3 slowly enough.
pub(super) const WIDE: usize = 256;

/// Columns of a piece: with them a piece's part of B stays in L2.
pub(super) const PIECE_COLUMNS: usize = 512;

/// The largest tile, in elements.
pub(super) const TILE_MAX: usize = 6 * 64;

/// A register tile of at most `mr` rows and `nr` columns, and how rows are gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocking {
    /// Rows of a tile.
    pub(super) mr: usize,
    /// Elements of a vector.
    pub(super) lanes: usize,
    /// Columns of a tile.
    pub(super) nr: usize,
    /// One thread, too, splits rows in blocks of [`MC`]. A tile of 512-bit vectors takes as little time as its part of B takes to come from L2, so that A
    /// must not come from L3; with vectors of half that, fewer, longer runs through B and C are better.
    pub(super) by_rows: bool,
    /// Panels of B up to which rows of A are read where they lie: packing them costs more than it saves.
    pub(super) few_panels: usize,
}

impl Blocking {
    /// The tile for the next of `columns` columns in a product of `k` steps.
    #[inline]
    pub(super) fn width<T>(&self, d: Dispatch, k: usize, columns: usize) -> Width {
        width::<T>(d, k, columns.min(self.nr))
    }
}

/// How wide a tile is, and under which ISA.
#[derive(Debug, Clone, Copy)]
pub(super) struct Width {
    pub(super) d: Dispatch,
    pub(super) lanes: usize,
    pub(super) vectors: usize,
    /// Columns, the last vector perhaps in part.
    pub(super) columns: usize,
}

/// Steps of k from which on half a vector's work pays for AVX2's slow masked stores.
const NARROW: usize = 64;

/// The tile for the first of `columns` columns, at most four vectors.
#[inline(always)]
pub(super) fn width<T>(d: Dispatch, k: usize, columns: usize) -> Width {
    let bytes = vector_bytes::<T>(d);
    let lanes = bytes / size_of::<T>();
    // A power of two: no division.
    let (whole, rest) = (columns >> lanes.trailing_zeros(), columns & (lanes - 1));
    // Half a vector or less is left to AVX2 where that is half the work.
    let half = lanes / 2;
    if bytes == 64
        && (rest == half || (rest > 0 && rest < half && k >= NARROW))
        && computes_halves()
    {
        return match whole {
            0 => Width { d: d.narrow(), lanes: half, vectors: 1, columns },
            _ => Width { d, lanes, vectors: whole, columns: columns - rest },
        };
    }
    let vectors = match (whole + usize::from(rest > 0), bytes) {
        (vectors, 64) => vectors,
        (3, 32) => 2,
        (vectors, 32) => vectors,
        (4, _) => 4,
        (_, _) => 1,
    };
    Width { d, lanes, vectors, columns: columns.min(vectors * lanes) }
}

/// Elements of A up to which a piece runs through all of k before it goes to the next panel of B: A
/// stays in L2, and B's columns (or rows) are read in one go.
pub(super) const A_RESIDENT: usize = 1 << 17;

/// Bytes that a panel of B may span where it is read in place: the first level of address translation has 64 to 96 pages, and A
/// and C need some.
pub(super) const PANEL_PAGES: usize = 50 << 12;

/// Elements of B from which on it does not stay in L2.
pub(super) const L2: usize = 1 << 18;

/// Which tile suits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TileKind {
    /// Few row pointers, few broadcasts; and rows of C that are a power of two apart do not evict each other.
    Wide,
    /// One or two rows, B read in place: chains enough to hide the latency of an FMA, long pieces of B's rows.
    Low,
    /// One or two rows, B packed; or few columns: one vector.
    Thin,
    /// Two vectors of columns at most: more rows.
    Narrow,
}

/// The table: MR, vectors.
const fn tile_of(vector_bytes: usize, kind: TileKind) -> (usize, usize) {
    match (vector_bytes, kind) {
        (64, TileKind::Wide | TileKind::Low) => (6, 4),
        (64, TileKind::Narrow) => (8, 2),
        (64, TileKind::Thin) => (8, 1),
        (32, TileKind::Low) => (2, 4),
        (32, TileKind::Thin) => (8, 1),
        (32, _) => (6, 2),
        (_, _) => (4, 4),
    }
}

/// True if there is a tile of `rows` rows and `vectors` vectors: as many sums as there are registers for, and some for the operands.
pub(super) const fn has_instance(vector_bytes: usize, rows: usize, vectors: usize) -> bool {
    match (vector_bytes, vectors) {
        (64, 4) => rows <= 6,
        (64, _) => rows <= 8,
        (32, 1) => rows <= 8,
        (32, 2) => rows <= 6,
        (32, 4) => rows <= 2,
        (32, _) => false,
        (_, _) => (vectors == 1 || vectors == 4) && rows <= 4,
    }
}

/// The bytes of a vector of the ISA that `dispatch` runs.
#[inline]
pub(crate) fn vector_bytes<T>(dispatch: Dispatch) -> usize {
    match dispatch.isa() {
        Isa::Scalar => size_of::<T>(),
        Isa::Avx2 => 32,
        Isa::Avx512 => 64,
    }
}

/// The row of the table for the ISA that `dispatch` runs.
pub(super) fn blocking<T: Float>(dispatch: Dispatch, kind: TileKind) -> Blocking {
    let vector = vector_bytes::<T>(dispatch);
    let (mr, vectors) = tile_of(vector, kind);
    let lanes = vector / size_of::<T>();
    let wide = vector == 64;
    let few_panels = if wide { 8 } else { 24 };
    Blocking { mr, lanes, nr: vectors * lanes, by_rows: wide, few_panels }
}
