//! The table of tile and block sizes, one row per vector width.
//!
//! Only speed depends on it: the order of every sum is fixed by [`KC`] alone.

use super::Dispatch;
use crate::cpu::isa::Kernel;
use crate::cpu::simd::Simd;
use crate::element::Float;

/// The block of k: part of the order R2, the same for every ISA and dtype.
pub(crate) const KC: usize = 256;

/// Columns of B that are packed at a time where several row blocks share them.
pub(super) const NC: usize = 4096;

/// Rows of A that are packed at a time.
pub(super) const MC_PACKED: usize = 4096;

/// Elements of A that are packed at a time where one row block covers all of m.
pub(super) const A_WINDOW: usize = 1 << 20;

/// Fused multiply-adds that a parallel piece should at least hold (about 50 us).
pub(super) const PIECE: usize = 1 << 22;

/// Columns of a piece: with them a piece's part of B stays in L2.
pub(super) const PIECE_COLUMNS: usize = 256;

/// The largest tile of any row of the table, in elements.
pub(super) const TILE_MAX: usize = 6 * 64;

/// A register tile of `mr` rows and `vectors` vectors of columns, and the rows `mc` whose part of A
/// stays in L2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocking {
    /// Rows of a tile.
    pub(super) mr: usize,
    /// Vectors of columns of a tile.
    pub(super) vectors: usize,
    /// Columns of a tile.
    pub(super) nr: usize,
    /// Rows of an L2 block, a multiple of `mr`.
    pub(super) mc: usize,
}

impl Blocking {
    /// The vectors of the micro-kernel's instance for a panel of `columns`. Instances cost compile
    /// time: the tall tile has one, the scalar ISA has one, and no tile has one of 3.
    #[inline]
    pub(super) fn instance(&self, columns: usize) -> usize {
        let lanes = self.nr / self.vectors;
        match columns.div_ceil(lanes) {
            _ if lanes == 1 || self.mr > 6 => self.vectors,
            vectors @ (1 | 2) => vectors,
            _ => self.vectors,
        }
    }

    /// The columns of that instance.
    #[inline]
    pub(super) fn width(&self, columns: usize) -> usize {
        self.instance(columns) * (self.nr / self.vectors)
    }
}

/// Elements of A up to which a piece runs through all of k before it goes to the next panel of B: A
/// stays in L2, and B's columns (or rows) are read in one go.
pub(super) const A_RESIDENT: usize = 1 << 17;

/// Which tile suits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TileKind {
    /// As square as the registers allow.
    Tall,
    /// Fewer rows, more columns: few row pointers, few broadcasts.
    Wide,
    /// One or two rows, B read in place: chains enough to hide the latency of an FMA, long pieces
    /// of B's rows.
    Low,
    /// One or two rows, B packed: few columns, so that few streams are read at a time.
    Thin,
}

/// The table. Columns: bytes of a vector, kind, MR, vectors, MC.
#[inline(always)]
pub(super) const fn tile_of(vector_bytes: usize, kind: TileKind) -> (usize, usize, usize) {
    match (vector_bytes, kind) {
        (64, TileKind::Tall) => (12, 2, 144),
        (64, TileKind::Wide | TileKind::Low) => (6, 4, 144),
        (64, TileKind::Thin) => (6, 1, 144),
        (32, TileKind::Low) => (2, 4, 144),
        (32, _) => (6, 2, 144),
        (_, _) => (4, 4, 64),
    }
}

/// True if [`Blocking::instance`] can ask for `vectors` vectors of `lanes` lanes.
pub(super) const fn has_instance(lanes: usize, vectors: usize) -> bool {
    if lanes == 1 { vectors == 4 } else { vectors <= 4 }
}

/// The row of the table for the ISA that `dispatch` runs.
pub(crate) fn blocking<T: Float>(dispatch: Dispatch, kind: TileKind) -> Blocking {
    dispatch.call::<T, _>(Lookup(kind))
}

struct Lookup(TileKind);

impl<T: Float> Kernel<T> for Lookup {
    type Output = Blocking;
    const WIDE: bool = true;
    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) -> Blocking {
        let (mr, vectors, mc) = tile_of(S::LANES * size_of::<T>(), self.0);
        Blocking { mr, vectors, nr: vectors * S::LANES, mc }
    }
}
