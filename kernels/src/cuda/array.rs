//! Operands of kernels: device memory with a type and a layout.

use super::memory::DeviceBuffer;
use crate::error::{Error, Result, require};
use crate::strided;

/// The element types, as kernels' names end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Type {
    F32,
    F64,
    F16,
    BF16,
    I8,
    U8,
    I32,
    I64,
}

impl Type {
    /// All of them.
    pub const ALL: [Type; 8] =
        [Type::F32, Type::F64, Type::F16, Type::BF16, Type::I8, Type::U8, Type::I32, Type::I64];

    /// As in kernels' names.
    pub fn name(self) -> &'static str {
        match self {
            Type::F32 => "f32",
            Type::F64 => "f64",
            Type::F16 => "f16",
            Type::BF16 => "bf16",
            Type::I8 => "i8",
            Type::U8 => "u8",
            Type::I32 => "i32",
            Type::I64 => "i64",
        }
    }

    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Type::I8 | Type::U8 => 1,
            Type::F16 | Type::BF16 => 2,
            Type::F32 | Type::I32 => 4,
            Type::F64 | Type::I64 => 8,
        }
    }

    /// True for whole numbers.
    pub fn is_integer(self) -> bool {
        matches!(self, Type::I8 | Type::U8 | Type::I32 | Type::I64)
    }

    /// For what only moves elements: the size, as in kernels' names.
    pub fn size_name(self) -> &'static str {
        match self.size() {
            1 => "1",
            2 => "2",
            4 => "4",
            _ => "8",
        }
    }
}

/// The most dims that a kernel takes, after those that lie together were joined.
pub const RANK: usize = 16;

/// A layout as kernels take it, in elements; `rank == 0`: row-major without gaps from `offset` on.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strided {
    offset: i64,
    rank: i32,
    size: [u32; RANK],
    stride: [i64; RANK],
}

impl Strided {
    /// Row-major without gaps.
    pub const LINEAR: Strided = Strided { offset: 0, rank: 0, size: [0; RANK], stride: [0; RANK] };

    /// The layout with dims that lie together joined and those of size 1 left out.
    ///
    /// # Errors
    /// [`Beyond`](Error::Beyond): more than [`RANK`] dims that remain, or a size beyond 2^32 - 1.
    pub fn new(offset: usize, shape: &[usize], strides: &[isize]) -> Result<Strided> {
        let mut strided = Strided { offset: offset as i64, ..Strided::LINEAR };
        let mut rank = 0;
        for (&size, &stride) in shape.iter().zip(strides).filter(|(size, _)| **size != 1) {
            let size32 =
                u32::try_from(size).map_err(|_| Error::Beyond("a dim of more than 2^32 - 1"))?;
            let stride = stride as i64;
            if rank > 0 && strided.stride[rank - 1] == stride.wrapping_mul(i64::from(size32)) {
                // Beside its inner neighbour: one dim, unless that has too many elements for one.
                if let Some(joined) = strided.size[rank - 1].checked_mul(size32) {
                    (strided.size[rank - 1], strided.stride[rank - 1]) = (joined, stride);
                    continue;
                }
            }
            if rank == RANK {
                return Err(Error::Beyond("more than 16 dims that don't lie together"));
            }
            (strided.size[rank], strided.stride[rank]) = (size32, stride);
            rank += 1;
        }
        if rank > 0 && !strided::is_contiguous(shape, strides) {
            strided.rank = rank as i32;
        }
        Ok(strided)
    }

    /// True if it is row-major without gaps.
    pub fn is_linear(&self) -> bool {
        self.rank == 0
    }
}

/// The strides of a row-major layout without gaps.
pub struct RowMajor {
    strides: [isize; 64],
    rank: usize,
}

impl RowMajor {
    /// Of this shape.
    ///
    /// # Errors
    /// [`Beyond`](Error::Beyond): more than 64 dims.
    pub fn new(shape: &[usize]) -> Result<RowMajor> {
        let (mut strides, rank) = ([0; 64], shape.len());
        if rank > strides.len() {
            return Err(Error::Beyond("more than 64 dims"));
        }
        let mut stride = 1isize;
        for (place, &size) in strides[..rank].iter_mut().zip(shape).rev() {
            *place = stride;
            stride = stride.saturating_mul(size as isize);
        }
        Ok(RowMajor { strides, rank })
    }

    /// One a dim.
    pub fn get(&self) -> &[isize] {
        &self.strides[..self.rank]
    }
}

/// An operand: every element that its layout reaches lies inside the buffer.
#[derive(Debug, Clone, Copy)]
pub struct Array<'a> {
    buffer: &'a DeviceBuffer,
    kind: Type,
    offset: usize,
    shape: &'a [usize],
    strides: &'a [isize],
}

impl<'a> Array<'a> {
    /// A view of `buffer`, offset and strides in elements.
    ///
    /// # Errors
    /// [`Contract`](Error::Contract) if an element would lie outside the buffer.
    pub fn new(
        buffer: &'a DeviceBuffer,
        kind: Type,
        offset: usize,
        shape: &'a [usize],
        strides: &'a [isize],
    ) -> Result<Array<'a>> {
        let inside = strided::reach(buffer.len() / kind.size(), offset, shape, strides);
        require(inside, "cuda array: an element lies outside its buffer")?;
        Ok(Array { buffer, kind, offset, shape, strides })
    }

    /// The buffer.
    pub fn buffer(&self) -> &'a DeviceBuffer {
        self.buffer
    }

    /// The element type.
    pub fn kind(&self) -> Type {
        self.kind
    }

    /// Sizes.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Strides in elements.
    pub fn strides(&self) -> &'a [isize] {
        self.strides
    }

    /// Index of the first element.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        if self.is_empty() { 0 } else { self.shape.iter().product() }
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// True if its elements lie row-major without gaps (as none do).
    pub fn is_contiguous(&self) -> bool {
        self.is_empty() || strided::is_contiguous(self.shape, self.strides)
    }

    /// The address of the first of elements that lie row-major without gaps.
    ///
    /// # Errors
    /// [`Contract`](Error::Contract) if they don't.
    pub(super) fn start(&self) -> Result<u64> {
        require(self.is_contiguous(), "cuda: an operand is not row-major")?;
        Ok(self.buffer.address() + (self.offset * self.kind.size()) as u64)
    }

    /// As kernels take it.
    ///
    /// # Errors
    /// As [`Strided::new`].
    pub fn layout(&self) -> Result<Strided> {
        Strided::new(self.offset, self.shape, self.strides)
    }
}
