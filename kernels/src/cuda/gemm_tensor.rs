//! Matrix products on tensor cores: `gemm_tensor.cu`.

use super::array::{RANK, Strided, Type};
use super::driver::Gpu;
use super::gemm::{Checked, Side, fold};
use super::launch::{Family, Grid, Name, argument};
use super::memory::DeviceBuffer;
use super::precision::Precision;
use super::product::{SKINNY, Target};
use crate::error::{Error, Result, require};

/// As the kernel takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct TensorGemm {
    m: i64,
    n: i64,
    k: i64,
    matrices: i64,
    a_pitch: i64,
    b_pitch: i64,
    part: i64,
    single: i32,
    a_at: Strided,
    b_at: Strided,
    target: Target,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Pack {
    lines: i64,
    length: i64,
    stride: i64,
    pitch: i64,
    vectors: i32,
    at: Strided,
}

/// Multiplications below which a product waits for launches, not for arithmetic.
const SMALL: usize = 1 << 20;

/// True if tensor cores are to compute this product.
pub(super) fn worthwhile(product: &Checked<'_>, precision: Precision, gpu: &Gpu) -> bool {
    let (m, k, n) = (product.left.rows, product.left.k, product.right.rows);
    let work = m.saturating_mul(n).saturating_mul(k).saturating_mul(product.matrices);
    precision != Precision::Exact && m.min(n) > SKINNY && work >= SMALL && computes(product, gpu)
}

/// True if they can.
pub(super) fn computes(product: &Checked<'_>, gpu: &Gpu) -> bool {
    product.kind != Type::F64
        && gpu.info().capability >= (8, 0)
        && product.left.k > 0
        && packs(product)
}

/// True if the operands fit into [`Lines`], with distances that kernels compute in 32 bits.
pub(super) fn packs(product: &Checked<'_>) -> bool {
    let small = |size: usize| size < 1 << 23;
    let near = |stride: isize| small(stride.unsigned_abs());
    [&product.left, &product.right].into_iter().all(|side| {
        let dims = side.batch().0.iter().filter(|size| **size > 1).count();
        let sizes = small(side.rows) && small(side.k);
        let strides = near(side.row_stride) && near(side.k_stride);
        side.batch().0.len() <= RANK && dims < RANK && sizes && strides
    })
}

/// What tensor cores take operands of `kind` as.
pub(super) fn operand_kind(kind: Type, precision: Precision) -> Type {
    match (kind, precision) {
        (Type::F32, Precision::Bf16) => Type::BF16,
        _ => kind,
    }
}

/// Bytes that lines of operands begin at multiples of.
const ALIGNMENT: usize = 16;

/// An operand in a layout that is copied 16 bytes at a time: where it lay, or packed.
pub(super) struct Lines<'a> {
    lying: &'a DeviceBuffer,
    packed: Option<DeviceBuffer>,
    /// Lines lie along k, else along the rows.
    pub(super) along_k: bool,
    /// Elements from a line to the next.
    pub(super) pitch: i64,
    /// Of the first matrix, in elements.
    pub(super) offset: usize,
    strides: [isize; RANK],
    dims: usize,
}

/// How matrices of a batch may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Batch {
    /// In any way.
    Strided,
    /// Equally far apart.
    Even,
}

/// Elements from a matrix of a batch to the next, if that is the same for all.
pub(super) fn step(shape: &[usize], strides: &[isize]) -> Option<isize> {
    let mut known: Option<(isize, isize)> = None;
    for (&size, &stride) in shape.iter().zip(strides).rev().filter(|(size, _)| **size != 1) {
        let (step, next) = known.unwrap_or((stride, stride));
        if stride != next {
            return None;
        }
        known = Some((step, next.checked_mul(size as isize)?));
    }
    Some(known.map_or(0, |(step, _)| step))
}

impl<'a> Lines<'a> {
    /// Brings a side into such a layout, its elements as `kind`.
    pub(super) fn of(side: &Side<'a>, kind: Type, batch: Batch) -> Result<Lines<'a>> {
        let (shape, strides) = side.batch();
        let (size, dims) = (kind.size(), shape.len());
        if dims > RANK {
            return Err(Error::Beyond("more than 16 dims of a batch"));
        }
        let buffer = side.array.buffer();
        let whole = |elements: usize| (elements * size).is_multiple_of(ALIGNMENT);
        let mut lines = Lines {
            lying: buffer,
            packed: None,
            along_k: true,
            pitch: 0,
            offset: side.array.offset(),
            strides: [0; RANK],
            dims,
        };
        let ways = [
            (true, side.k_stride == 1 || side.k == 1, side.row_stride, side.rows, side.k),
            (false, side.row_stride == 1 || side.rows == 1, side.k_stride, side.k, side.rows),
        ];
        let apart = |(size, stride): (&usize, &isize)| *size == 1 || whole(stride.unsigned_abs());
        let lies = side.array.kind() == kind
            && buffer.address().is_multiple_of(ALIGNMENT as u64)
            && whole(side.array.offset())
            && shape.iter().zip(strides).all(apart)
            && (batch == Batch::Strided || step(shape, strides).is_some_and(|step| step >= 0));
        for (along_k, dense, pitch, count, length) in ways {
            let pitch =
                if count == 1 { length.next_multiple_of(ALIGNMENT / size) as isize } else { pitch };
            if lies && dense && pitch >= length as isize && whole(pitch.unsigned_abs()) {
                lines.strides[..dims].copy_from_slice(strides);
                return Ok(Lines { along_k, pitch: pitch as i64, ..lines });
            }
        }
        lines.pack(side, kind, batch)?;
        Ok(lines)
    }

    fn pack(&mut self, side: &Side<'_>, kind: Type, batch: Batch) -> Result<()> {
        let overflow = || Error::Contract("cuda gemm: sizes overflow");
        let (shape, strides) = side.batch();
        // Along the dim whose elements lie closer together: reads of neighbours are of one place in memory.
        let far = |count: usize, stride: isize| match (count, stride.unsigned_abs()) {
            (1, _) | (_, 0) => usize::MAX,
            (_, stride) => stride,
        };
        self.along_k = far(side.k, side.k_stride) <= far(side.rows, side.row_stride);
        let (length, stride, count, between) = match self.along_k {
            true => (side.k, side.k_stride, side.rows, side.row_stride),
            false => (side.rows, side.row_stride, side.k, side.k_stride),
        };
        let pitch = length.next_multiple_of(ALIGNMENT / kind.size());
        // Dims along which the same matrix repeats are left out, unless all steps must be equal.
        let repeats = batch == Batch::Strided || strides.iter().all(|stride| *stride == 0);
        let kept = |size: usize, stride: isize| size > 1 && (stride != 0 || !repeats);
        let (mut sizes, mut apart, mut rank) = ([0; RANK + 1], [0; RANK + 1], 0);
        let mut matrix = count.checked_mul(pitch).ok_or_else(overflow)?;
        for (&size, &stride) in
            shape.iter().zip(strides).filter(|(size, stride)| kept(**size, **stride))
        {
            (sizes[rank], apart[rank]) = (size, stride);
            rank += 1;
        }
        (sizes[rank], apart[rank]) = (count, between);
        for (d, (&size, &stride)) in shape.iter().zip(strides).enumerate().rev() {
            if kept(size, stride) {
                self.strides[d] = matrix as isize;
                matrix = matrix.checked_mul(size).ok_or_else(overflow)?;
            }
        }
        let bytes = matrix.checked_mul(kind.size()).ok_or_else(overflow)?;
        let (x, from) = (side.array.buffer(), side.array.kind());
        let width = ALIGNMENT / from.size();
        let whole = |stride: &isize| stride.unsigned_abs().is_multiple_of(width);
        let vectors = stride == 1
            && x.address().is_multiple_of(ALIGNMENT as u64)
            && side.array.offset().is_multiple_of(width)
            && (count == 1 || whole(&between))
            && apart[..rank].iter().all(whole);
        let pack = Pack {
            lines: (matrix / pitch) as i64,
            length: length as i64,
            stride: stride as i64,
            pitch: pitch as i64,
            vectors: i32::from(vectors),
            at: Strided::new(side.array.offset(), &sizes[..=rank], &apart[..=rank])?,
        };
        let packed = DeviceBuffer::new(x.gpu(), bytes)?;
        let (from_address, to_address) = (x.address(), packed.address());
        let arguments = [argument(&from_address), argument(&to_address), argument(&pack)];
        let name = if from == kind { kind.size_name() } else { kind.name() };
        let name = Name::of(&["gemm_tensor_pack", name]);
        // SAFETY: the kernel's arguments; the operand was checked to lie in its buffer, the other has room for every line.
        unsafe {
            let grid = Grid::over(bytes / ALIGNMENT);
            x.gpu().launch(Family::GemmTensor, &name, grid, &arguments)?;
        }
        (self.packed, self.offset, self.pitch) = (Some(packed), 0, pitch as i64);
        Ok(())
    }

    /// Of the memory it lies in.
    pub(super) fn address(&self) -> u64 {
        self.packed.as_ref().unwrap_or(self.lying).address()
    }

    /// From a matrix to the next, by dim of the batch.
    pub(super) fn strides(&self) -> &[isize] {
        &self.strides[..self.dims]
    }
}

/// A tile: rows and columns of a block, its threads.
struct Tile {
    name: &'static str,
    rows: usize,
    columns: usize,
    threads: u32,
}

impl Tile {
    fn count(&self, m: usize, n: usize) -> usize {
        m.div_ceil(self.rows).saturating_mul(n.div_ceil(self.columns))
    }

    /// Three stages of 128 bytes of every row and column.
    fn shared(&self) -> u32 {
        3 * 128 * (self.rows + self.columns) as u32
    }

    /// The largest that all multiprocessors get some of, and that is not half empty.
    fn of(gpu: &Gpu, m: usize, n: usize, matrices: usize) -> &'static Tile {
        const HUGE: Tile = Tile { name: "huge", rows: 128, columns: 256, threads: 256 };
        const LARGE: Tile = Tile { name: "large", rows: 128, columns: 128, threads: 128 };
        const SMALL: Tile = Tile { name: "small", rows: 64, columns: 64, threads: 128 };
        let info = gpu.info();
        let fits = |tile: &Tile| {
            2 * m > tile.rows
                && 2 * n > tile.columns
                && tile.count(m, n).saturating_mul(matrices) >= info.multiprocessors as usize
        };
        // Those with 160 KiB of shared memory a block.
        let roomy = matches!(info.capability, (8, 0) | (9, 0) | (10, _));
        match () {
            () if roomy && fits(&HUGE) => &HUGE,
            () if fits(&LARGE) => &LARGE,
            () => &SMALL,
        }
    }
}

/// The least of k that a part has.
const PART: usize = 512;

/// The most bytes that parts are kept in.
const PARTS: usize = 256 << 20;

/// `out = activation(a b + bias)` by tensor cores.
pub(super) fn multiply(
    product: &Checked<'_>,
    precision: Precision,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let Checked { kind, left, right, matrices, biases, target } = product;
    let (kind, matrices, gpu) = (*kind, *matrices, out.gpu());
    let operands = operand_kind(kind, precision);
    let lines = |side| Lines::of(side, operands, Batch::Strided);
    let (a, b) = (lines(left)?, lines(right)?);
    let [m, k, n] = [left.rows, left.k, right.rows];
    let tile = Tile::of(gpu, m, n, matrices);
    let tiles = tile.count(m, n);
    require(tiles <= i32::MAX as usize, "cuda gemm: too large")?;
    // Few tiles and a long k: parts of it are computed apart, and added in their order.
    let (fills, busy) =
        (gpu.info().multiprocessors.max(1) as usize, tiles.saturating_mul(matrices));
    let most = if busy < fills { (2 * fills / busy).min(k / PART) } else { 1 };
    let bytes = (m * n * matrices).saturating_mul(4);
    let parts = if most > 1 && bytes.saturating_mul(most) <= PARTS { most } else { 1 };
    // Whole slices of 64 elements.
    let part = k.div_ceil(parts).next_multiple_of(64);
    let parts = k.div_ceil(part);
    let workspace = DeviceBuffer::new(gpu, if parts > 1 { bytes * parts } else { 0 })?;
    let vectors = n.is_multiple_of(4) && out.address().is_multiple_of(16);
    let target = Target { vectors: i32::from(vectors), ..*target };
    let at = |lines: &Lines<'_>| Strided::new(lines.offset, left.batch().0, lines.strides());
    let gemm = TensorGemm {
        m: m as i64,
        n: n as i64,
        k: k as i64,
        matrices: matrices as i64,
        a_pitch: a.pitch,
        b_pitch: b.pitch,
        part: part as i64,
        single: i32::from(kind == Type::F32),
        a_at: at(&a)?,
        b_at: at(&b)?,
        target,
    };
    let ([row_bias, column_bias], c) = (*biases, out.address());
    let ([a_address, b_address], parts_address) =
        ([&a, &b].map(Lines::address), workspace.address());
    let arguments = [
        argument(&a_address),
        argument(&b_address),
        argument(&row_bias),
        argument(&column_bias),
        argument(&c),
        argument(&parts_address),
        argument(&gemm),
    ];
    let layout = match (a.along_k, b.along_k) {
        (true, false) => "nn",
        (true, true) => "nt",
        (false, false) => "tn",
        (false, true) => "tt",
    };
    let name = Name::of(&["gemm_tensor", tile.name, layout, operands.name()]);
    let grid = Grid {
        blocks: [tiles as u32, parts as u32, matrices.min(1 << 15) as u32],
        threads: [tile.threads, 1, 1],
        shared: tile.shared(),
    };
    // SAFETY: the kernel's arguments; operands lie inside their buffers, in lines of 16 bytes of which the last is read only as far as
    // it goes; the result fits its own, the workspace has room for all parts.
    unsafe { gpu.launch(Family::GemmTensor, &name, grid, &arguments)? };
    match parts {
        1 => Ok(()),
        _ => fold(kind, &workspace, parts, [matrices, m, n], (*biases, target), out),
    }
}
