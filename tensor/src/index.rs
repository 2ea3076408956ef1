//! Indexing by position: `x.i((.., 1..3, -1))`.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo};

use smallvec::SmallVec;

use crate::apply::{Operand, apply_one};
use crate::error::{Error, ErrorKind, Result};
use crate::op::{Op, ViewOp};
use crate::tensor::Tensor;

/// What to take of one dim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    /// One element; the dim goes. Negative counts from the end.
    At(i64),
    /// The elements from a start up to, not including, an end; negative counts from the end. `None`: to the end of the dim.
    Range(i64, Option<i64>),
    /// A new dim of size 1.
    NewDim,
}

impl From<i64> for Index {
    fn from(at: i64) -> Self {
        Index::At(at)
    }
}
impl From<RangeFull> for Index {
    fn from(_: RangeFull) -> Self {
        Index::Range(0, None)
    }
}
impl From<Range<i64>> for Index {
    fn from(range: Range<i64>) -> Self {
        Index::Range(range.start, Some(range.end))
    }
}
impl From<RangeFrom<i64>> for Index {
    fn from(range: RangeFrom<i64>) -> Self {
        Index::Range(range.start, None)
    }
}
impl From<RangeTo<i64>> for Index {
    fn from(range: RangeTo<i64>) -> Self {
        Index::Range(0, Some(range.end))
    }
}
impl From<RangeInclusive<i64>> for Index {
    fn from(range: RangeInclusive<i64>) -> Self {
        // Up to and including the last element is up to the end of the dim.
        let end = if *range.end() == -1 { None } else { Some(range.end().saturating_add(1)) };
        Index::Range(*range.start(), end)
    }
}

/// What to take of each dim: one index, or a tuple of them. Dims not mentioned are taken whole.
pub trait IndexList {
    /// The indices, outermost dim first.
    fn into_indices(self) -> SmallVec<[Index; 6]>;
}

macro_rules! single {
    ($($t:ty),*) => {$(
        impl IndexList for $t {
            fn into_indices(self) -> SmallVec<[Index; 6]> { SmallVec::from_iter([Index::from(self)]) }
        }
    )*};
}
single!(i64, RangeFull, Range<i64>, RangeFrom<i64>, RangeTo<i64>, RangeInclusive<i64>);

impl IndexList for Index {
    fn into_indices(self) -> SmallVec<[Index; 6]> {
        SmallVec::from_iter([self])
    }
}

impl IndexList for &[Index] {
    fn into_indices(self) -> SmallVec<[Index; 6]> {
        SmallVec::from_slice(self)
    }
}

macro_rules! tuple {
    ($($t:ident),*) => {
        impl<$($t: Into<Index>),*> IndexList for ($($t,)*) {
            #[allow(non_snake_case)]
            fn into_indices(self) -> SmallVec<[Index; 6]> {
                let ($($t,)*) = self;
                SmallVec::from_iter([$($t.into()),*])
            }
        }
    };
}
tuple!(A);
tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);
tuple!(A, B, C, D, E);
tuple!(A, B, C, D, E, F);

impl Tensor {
    /// A part of the tensor by position, as a view. Ranges that leave the dim are an error, not cut as in Python.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[1f32, 2., 3.], [4., 5., 6.]]);
    /// assert_eq!(x.i((.., 1..3))?.to_vec::<f32>()?, [2., 3., 5., 6.]);
    /// assert_eq!(x.i(-1)?.to_vec::<f32>()?, [4., 5., 6.]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// An index or a range that leaves its dim; more indices than dims.
    #[track_caller]
    pub fn i(&self, indices: impl IndexList) -> Result<Tensor> {
        let here = std::panic::Location::caller();
        self.take(&indices.into_indices()).map_err(|error| error.at(here))
    }

    fn take(&self, indices: &[Index]) -> Result<Tensor> {
        let named = indices.iter().filter(|index| **index != Index::NewDim).count();
        if named > self.rank() {
            let message = format!("{named} indices for shape {:?}", self.shape());
            return Err(Error::argument("index", message));
        }
        let mut part = self.clone();
        let mut dim = 0;
        for &index in indices {
            match index {
                Index::NewDim => {
                    part = part.unsqueeze(dim as i64)?;
                    dim += 1;
                }
                Index::At(at) => {
                    let start = place(at, part.shape()[dim], false)?;
                    part = part.slice(dim, start, 1)?.squeeze(dim as i64)?;
                }
                Index::Range(start, end) => {
                    let size = part.shape()[dim];
                    let start = place(start, size, true)?;
                    let end = end.map_or(Ok(size), |end| place(end, size, true))?;
                    let length = end.checked_sub(start).ok_or_else(|| {
                        Error::argument("index", format!("the range {start}..{end} runs backwards"))
                    })?;
                    part = part.slice(dim, start, length)?;
                    dim += 1;
                }
            }
        }
        Ok(part)
    }

    fn slice(self, dim: usize, start: usize, length: usize) -> Result<Tensor> {
        if (start, length) == (0, self.shape()[dim]) {
            return Ok(self);
        }
        apply_one(
            &Op::View(ViewOp::Slice { dim, start, length, step: 1 }),
            &mut [Operand::Own(self)],
        )
    }
}

/// A position that may count from the end; `end`: the place after the last is one too.
fn place(index: i64, size: usize, end: bool) -> Result<usize> {
    let resolved = if index < 0 { index.saturating_add(size as i64) } else { index };
    let limit = size as i64 + i64::from(end);
    if (0..limit).contains(&resolved) {
        Ok(resolved as usize)
    } else {
        Err(Error::plain(ErrorKind::Index { op: "index", index, size }))
    }
}
