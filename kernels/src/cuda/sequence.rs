//! Recurrent layers over a whole sequence: `sequence.cu`, with the bits of [`cpu::sequence`](crate::cpu::sequence).
//!
//! The input's products of all steps are one product. A step is the product over the state and one pass over the gates, two launches; a
//! small one is one launch of a kernel that does both.

mod backward;
mod forward;
#[cfg(test)]
mod tests;

pub use backward::{Backward, backward};
pub use forward::{Forward, forward};

use super::array::{Array, Type};
use super::driver::Gpu;
use super::launch::Name;
use super::memory::DeviceBuffer;
use crate::cpu::gemm::KC;
use crate::cpu::sequence::{RecurrentCell, SequenceShape};
use crate::error::{Error, Result, require};

/// Rows and columns of the tiles that the kernels of a whole step compute, forward and backward.
const TILE: [usize; 2] = [16, 16];
const TILE_BACK: [usize; 2] = [8, 8];

/// Blocks of k that a multiprocessor may have to add for a step to be better one launch than two.
const SMALL: usize = 4;

/// True if a step with a product `[batch, k, columns]` is better one launch; `groups` blocks of k are added at a time.
fn is_small(
    gpu: &Gpu,
    kind: Type,
    [rows, columns]: [usize; 2],
    [tile_rows, tile_columns]: [usize; 2],
    (k, groups): (usize, usize),
) -> bool {
    let tiles = rows.div_ceil(tile_rows).saturating_mul(columns.div_ceil(tile_columns));
    let each = tiles.div_ceil(gpu.info().multiprocessors.max(1) as usize);
    kind == Type::F32 && each.saturating_mul(k.div_ceil(KC).div_ceil(groups)) <= SMALL
}

/// As kernels' names have it.
fn cell_name(cell: RecurrentCell) -> &'static str {
    match cell {
        RecurrentCell::Lstm => "lstm",
        RecurrentCell::Gru => "gru",
        RecurrentCell::RnnTanh | RecurrentCell::RnnRelu => "rnn",
    }
}

fn kernel(shape: &SequenceShape, what: &str, kind: Type) -> Name {
    Name::of(&["sequence", cell_name(shape.cell), what, kind.name()])
}

/// Units of a tile of a whole step: as many as have all their gates in it.
fn units(cell: RecurrentCell) -> usize {
    TILE[1] / cell.gates()
}

/// Elements one after the other: an operand or a part of a buffer.
#[derive(Clone, Copy)]
struct Flat<'a> {
    buffer: &'a DeviceBuffer,
    kind: Type,
    offset: usize,
}

impl<'a> Flat<'a> {
    /// All of a buffer.
    fn of(buffer: &'a DeviceBuffer, kind: Type) -> Self {
        Flat { buffer, kind, offset: 0 }
    }

    /// From element `n` on.
    fn from(self, n: usize) -> Self {
        Flat { offset: self.offset + n, ..self }
    }

    /// Of its first element.
    fn address(&self) -> u64 {
        self.buffer.address() + (self.offset * self.kind.size()) as u64
    }

    /// As a matrix with these strides.
    fn matrix(self, shape: &'a [usize; 2], strides: &'a [isize; 2]) -> Result<Array<'a>> {
        Array::new(self.buffer, self.kind, self.offset, shape, strides)
    }

    /// As a vector.
    fn vector(self, shape: &'a [usize; 1]) -> Result<Array<'a>> {
        Array::new(self.buffer, self.kind, self.offset, shape, &[1])
    }
}

/// An operand of `len` elements of type `kind`, one after the other.
fn flat<'a>(x: Array<'a>, kind: Type, len: usize, what: &'static str) -> Result<Flat<'a>> {
    require(x.kind() == kind && x.is_contiguous() && x.len() == len, what)?;
    Ok(Flat { buffer: x.buffer(), kind, offset: x.offset() })
}

/// As [`flat`], of an operand that is there if `on`.
fn maybe_flat<'a>(
    x: Option<Array<'a>>,
    on: bool,
    kind: Type,
    len: usize,
    what: &'static str,
) -> Result<Option<Flat<'a>>> {
    require(x.is_some() == on, what)?;
    x.map(|x| flat(x, kind, len, what)).transpose()
}

/// Room for a result of `len` elements.
fn room(buffer: &DeviceBuffer, kind: Type, len: usize, what: &'static str) -> Result<()> {
    require(len.checked_mul(kind.size()) == Some(buffer.len()), what)
}

/// As [`room`], for a result that is there if `on`; gives its address, or null.
fn maybe_room(
    buffer: Option<&DeviceBuffer>,
    on: bool,
    kind: Type,
    len: usize,
    what: &'static str,
) -> Result<u64> {
    require(buffer.is_some() == on, what)?;
    let Some(buffer) = buffer else { return Ok(0) };
    room(buffer, kind, len, what).map(|()| buffer.address())
}

/// `len` zeros: the states of a layer that is given none.
fn zeros(gpu: &'static Gpu, len: usize, kind: Type) -> Result<DeviceBuffer> {
    let mut buffer = DeviceBuffer::new(gpu, len.saturating_mul(kind.size()))?;
    buffer.zero()?;
    Ok(buffer)
}

/// Its address, or null.
fn address(x: Option<Flat<'_>>) -> u64 {
    x.map_or(0, |x| x.address())
}

/// Checks the sizes and the lengths of rows, which are read for it; gives where the kernels find those.
fn check<'a>(
    shape: &SequenceShape,
    kind: Type,
    lengths: Option<Array<'a>>,
) -> Result<Option<Flat<'a>>> {
    require(matches!(kind, Type::F32 | Type::F64), "cuda sequence: of f32 and f64 only")?;
    let Some(lengths) = lengths else { return shape.check(None).map(|()| None) };
    let lengths = flat(lengths, Type::I64, shape.batch, "sequence: one length a row")?;
    let mut bytes = vec![0; shape.batch * Type::I64.size()];
    lengths.buffer.download(lengths.offset * Type::I64.size(), &mut bytes)?;
    let numbers: Vec<i64> = bytes
        .chunks_exact(Type::I64.size())
        .map(|bytes| bytes.try_into().map(i64::from_le_bytes))
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| Error::Contract("sequence: lengths"))?;
    shape.check(Some(&numbers))?;
    Ok(Some(lengths))
}
