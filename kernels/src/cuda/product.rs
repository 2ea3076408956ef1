//! What matrix products and convolutions share (`product.cuh`): tiles, whether blocks of k are computed apart, where results go.

use super::array::{Array, Type};
use super::driver::Gpu;
use super::memory::DeviceBuffer;
use crate::cpu::gemm::{Activation, KC};
use crate::error::{Error, Result, require};

/// A multiplication and a shift in place of a division by `d`, of numbers below 2^31.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Divisor {
    d: u32,
    magic: u32,
    shift: u32,
}

impl Divisor {
    /// No division at all.
    pub(super) const NONE: Divisor = Divisor { d: 0, magic: 0, shift: 0 };

    /// By `d`, from 1 to 2^31 - 1.
    pub(super) fn new(d: usize) -> Result<Divisor> {
        let d = u32::try_from(d).ok().filter(|d| (1..1 << 31).contains(d));
        let d = d.ok_or(Error::Beyond("a size of more than 2^31 - 1, or none"))?;
        let shift = d.next_power_of_two().trailing_zeros();
        // Below 2^32, for 2^shift - d is less than d.
        let magic = ((1u64 << 32) * ((1u64 << shift) - u64::from(d)) / u64::from(d) + 1) as u32;
        Ok(Divisor { d, magic, shift })
    }
}

/// Where results go, as the kernels take it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) row: i64,
    pub(super) column: i64,
    pub(super) matrix: i64,
    pub(super) group_stride: i64,
    pub(super) row_bias: i64,
    pub(super) column_bias: i64,
    pub(super) group: Divisor,
    pub(super) accumulate: i32,
    pub(super) relu: i32,
    pub(super) vectors: i32,
}

impl Target {
    /// Row-major matrices of `m` rows and `n` columns, one after the other.
    pub(super) fn row_major(m: usize, n: usize) -> Target {
        Target {
            row: n as i64,
            column: 1,
            matrix: (m * n) as i64,
            group_stride: 0,
            row_bias: 0,
            column_bias: 0,
            group: Divisor::NONE,
            accumulate: 0,
            relu: 0,
            vectors: 0,
        }
    }

    /// With this activation.
    pub(super) fn activated(self, activation: Activation) -> Target {
        Target { relu: i32::from(activation == Activation::Relu), ..self }
    }
}

/// The kernels' tiles: a row and a column count, and the threads that compute one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) name: &'static str,
    rows: usize,
    columns: usize,
    pub(super) threads: u32,
}

const fn tile(name: &'static str, rows: usize, columns: usize, threads: u32) -> Tile {
    Tile { name, rows, columns, threads }
}

impl Tile {
    /// From the largest on.
    fn of(products: Products, kind: Type) -> &'static [Tile] {
        const SINGLE: [Tile; 3] =
            [tile("large", 128, 128, 256), tile("medium", 64, 64, 128), tile("small", 32, 32, 64)];
        const OTHER: [Tile; 2] = [tile("large", 64, 64, 256), tile("small", 32, 32, 64)];
        const GATHERED: [Tile; 2] = [tile("large", 64, 128, 256), tile("small", 32, 64, 128)];
        const GATHERED_DOUBLE: [Tile; 2] = [tile("large", 64, 64, 256), tile("small", 32, 64, 128)];
        match (products, kind) {
            (Products::Gathered, Type::F64) => &GATHERED_DOUBLE,
            (Products::Gathered, _) => &GATHERED,
            (_, Type::F32) => &SINGLE,
            _ => &OTHER,
        }
    }

    /// For few rows.
    fn skinny(kind: Type) -> Tile {
        match kind {
            Type::F64 => tile("skinny", SKINNY, 64, 64),
            _ => tile("skinny", SKINNY, 128, 128),
        }
    }

    /// How many make up an `m` by `n` matrix.
    pub(super) fn count(&self, m: usize, n: usize) -> usize {
        m.div_ceil(self.rows).saturating_mul(n.div_ceil(self.columns))
    }
}

/// Rows that the skinny tile has.
pub(super) const SKINNY: usize = 4;

/// The most bytes that blocks of k, computed apart, are kept in.
const PARTS: usize = 256 << 20;

/// How operands lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Products {
    /// `gemm.cu`
    Strided,
    /// `conv.cu`
    Gathered,
}

/// How a product is computed. Nothing of it shows in the result's bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) tile: Tile,
    /// Blocks of k that are computed apart, each by its own threads; 1: all by the same.
    pub(super) parts: usize,
}

impl Plan {
    /// For `matrices` products `[m, k, n]`.
    pub(super) fn new(
        gpu: &Gpu,
        products: Products,
        kind: Type,
        [m, k, n]: [usize; 3],
        matrices: usize,
    ) -> Plan {
        let fills = gpu.info().multiprocessors.max(1) as usize;
        let tiles = Tile::of(products, kind);
        let busy = |tile: &Tile| tile.count(m, n).saturating_mul(matrices);
        // Not a tile that would be half empty, nor one too large for all multiprocessors to have some.
        let whole = |tile: &Tile| 2 * m > tile.rows && 2 * n > tile.columns;
        let (small, larger) = (tiles[tiles.len() - 1], &tiles[..tiles.len() - 1]);
        let tile = match larger.iter().find(|tile| whole(tile) && busy(tile) >= fills) {
            _ if m <= SKINNY && products == Products::Strided => Tile::skinny(kind),
            Some(tile) => *tile,
            // Blocks of k give all of them work.
            None if k > 2 * KC => {
                larger.last().copied().filter(|tile| whole(tile)).unwrap_or(small)
            }
            None => small,
        };
        let double = kind == Type::F64;
        let bytes = if double { 8 } else { 4 };
        let blocks = k.div_ceil(KC);
        let room =
            [m, n, matrices, blocks, bytes].iter().try_fold(1usize, |x, &y| x.checked_mul(y));
        let fits = room.is_some_and(|room| room <= PARTS) && blocks <= 1 << 15;
        let parts = if busy(&tile) < fills && blocks > 1 && fits { blocks } else { 1 };
        Plan { tile, parts }
    }

    /// Room for the parts of `count` elements.
    pub(super) fn workspace(
        &self,
        gpu: &'static Gpu,
        kind: Type,
        count: usize,
    ) -> Result<DeviceBuffer> {
        let bytes = if kind == Type::F64 { 8 } else { 4 };
        DeviceBuffer::new(gpu, if self.parts > 1 { count * self.parts * bytes } else { 0 })
    }
}

/// The address of a bias of `len` elements; 0 for none.
pub(super) fn bias_address(bias: Option<Array<'_>>, kind: Type, len: usize) -> Result<u64> {
    let Some(bias) = bias else { return Ok(0) };
    let fits = bias.kind() == kind && bias.is_contiguous() && bias.len() == len;
    require(fits, "cuda product: type, length or layout of the bias")?;
    Ok(bias.buffer().address() + (bias.offset() * kind.size()) as u64)
}

/// True for the types that products have kernels of.
pub fn computes(kind: Type) -> bool {
    matches!(kind, Type::F32 | Type::F64 | Type::F16 | Type::BF16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisors() {
        let quotient = |n: u32, by: Divisor| {
            let high = ((u64::from(n) * u64::from(by.magic)) >> 32) as u32;
            (high + n) >> by.shift
        };
        for d in (1..300).chain([65535, 65536, 65537, (1 << 30) - 1, 1 << 30, (1 << 31) - 1]) {
            let by = Divisor::new(d).unwrap();
            let around = |n: u32| [n.saturating_sub(1), n, n + 1];
            let multiples = [0, 1, 2, 7, 1000, ((1 << 31) - 2) / d as u32]
                .map(|q| (q as usize).saturating_mul(d));
            for n in
                multiples.into_iter().filter(|n| *n < (1 << 31) - 1).flat_map(|n| around(n as u32))
            {
                assert_eq!(quotient(n, by), n / d as u32, "{n} / {d}");
            }
        }
        assert!(Divisor::new(0).is_err() && Divisor::new(1 << 31).is_err());
    }
}
