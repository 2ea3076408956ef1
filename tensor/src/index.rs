//! Indexing: `x.i((.., 1..3, -1))`, by index tensors and masks too.

mod advanced;

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo};

use smallvec::SmallVec;

use crate::apply::{Operand, apply_one};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::op::{Op, ViewOp};
use crate::tensor::Tensor;

/// What to take of one dim.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Index {
    /// One element; the dim goes. Negative counts from the end.
    At(i64),
    /// The elements from a start up to, not including, an end; negative counts from the end. `None`: to the end of the dim.
    Range(i64, Option<i64>),
    /// As a range, every `step`-th element: Python's `start:stop:step`. A negative step runs backwards, and `None` is then the last
    /// element and the place before the first.
    Step {
        /// The first element.
        start: Option<i64>,
        /// The place after the last.
        end: Option<i64>,
        /// Distance, not 0.
        step: i64,
    },
    /// A new dim of size 1.
    NewDim,
    /// As many whole dims as the other indices leave: Python's `...`; at most once.
    Ellipsis,
    /// The elements that a tensor of i64 names (negative counts from the end), or those where a mask is true; the mask stands for as many
    /// dims as it has.
    Tensor(Tensor),
}

impl Index {
    /// Every `step`-th element: Python's `start:stop:step`.
    ///
    /// ```
    /// # use ferrotape_tensor::{Index, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([0f32, 1., 2., 3., 4.]);
    /// assert_eq!(x.i(Index::step(1, None, 2))?.to_vec::<f32>()?, [1., 3.]);
    /// assert_eq!(x.i(Index::step(None, None, -2))?.to_vec::<f32>()?, [4., 2., 0.]);
    /// # Ok(()) }
    /// ```
    pub fn step(start: impl Into<Option<i64>>, end: impl Into<Option<i64>>, step: i64) -> Index {
        Index::Step { start: start.into(), end: end.into(), step }
    }
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
impl From<&Tensor> for Index {
    fn from(tensor: &Tensor) -> Self {
        Index::Tensor(tensor.clone())
    }
}
impl From<Tensor> for Index {
    fn from(tensor: Tensor) -> Self {
        Index::Tensor(tensor)
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
single!(&Tensor, Tensor, Index);

impl IndexList for &[Index] {
    fn into_indices(self) -> SmallVec<[Index; 6]> {
        self.iter().cloned().collect()
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
    /// A part of the tensor: a view where it is named by positions, a copy where by index tensors or masks. Ranges that leave the dim
    /// are an error, not cut as in Python.
    ///
    /// Several index tensors are broadcast against each other and say together which elements to take; the dims of that choice stand where
    /// the first of them stands if they stand side by side, else first, as in PyTorch.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[1f32, 2., 3.], [4., 5., 6.]]);
    /// assert_eq!(x.i((.., 1..3))?.to_vec::<f32>()?, [2., 3., 5., 6.]);
    /// assert_eq!(x.i(-1)?.to_vec::<f32>()?, [4., 5., 6.]);
    /// assert_eq!(x.i((.., &Tensor::from([2i64, 0])))?.to_vec::<f32>()?, [3., 1., 6., 4.]);
    /// assert_eq!(x.i(&x.gt(3.5)?)?.to_vec::<f32>()?, [4., 5., 6.]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// An index or a range that leaves its dim; more indices than dims; index tensors that are neither i64 nor bool, or don't fit.
    #[track_caller]
    pub fn i(&self, indices: impl IndexList) -> Result<Tensor> {
        let here = std::panic::Location::caller();
        self.part(&indices.into_indices()).map_err(|error| error.at(here))
    }

    fn part(&self, indices: &[Index]) -> Result<Tensor> {
        let named: usize = indices.iter().map(dims_of).sum();
        if named > self.rank() {
            let message = format!("{named} indices for shape {:?}", self.shape());
            return Err(Error::argument("index", message));
        }
        let mut part = self.clone();
        // `dim` counts the part's dims, `own` the tensor's, of which errors speak.
        let (mut dim, mut own, mut chosen, mut open) = (0, 0, Vec::new(), true);
        for index in indices {
            let of_own = |error: Error| error.of_dim(own);
            match index {
                Index::NewDim => {
                    part = part.unsqueeze(dim as i64)?;
                    dim += 1;
                }
                Index::At(at) => part = part.slice_at(dim, *at).map_err(of_own)?,
                // One number without dims is no list of them, as in PyTorch.
                Index::Tensor(at)
                    if at.rank() == 0 && matches!(at.dtype(), DType::I64 | DType::I32) =>
                {
                    let at = at.to_dtype(DType::I64)?.item::<i64>()?;
                    part = part.slice_at(dim, at).map_err(of_own)?;
                }
                Index::Range(start, end) => {
                    let (start, length) = span(*start, *end, part.shape()[dim]).map_err(of_own)?;
                    part = part.cut(dim, start, length, 1)?;
                    dim += 1;
                }
                Index::Step { start, end, step } => {
                    let steps = steps([*start, *end], *step, part.shape()[dim], false);
                    let (start, length) = steps.map_err(of_own)?;
                    part = part.cut(dim, start, length, *step)?;
                    dim += 1;
                }
                Index::Ellipsis if open => {
                    open = false;
                    dim += self.rank() - named;
                    own += self.rank() - named;
                }
                Index::Ellipsis => {
                    return Err(Error::argument("index", "more than one ellipsis"));
                }
                Index::Tensor(tensor) => {
                    chosen.push((dim, own, tensor));
                    dim += dims_of(index);
                }
            }
            own += dims_of(index);
        }
        if chosen.is_empty() { Ok(part) } else { advanced::choose(&part, &chosen) }
    }

    /// One slice of a dim, which goes.
    fn slice_at(self, dim: usize, at: i64) -> Result<Tensor> {
        let start = place(at, self.shape()[dim], false)?;
        self.cut(dim, start, 1, 1)?.squeeze(dim as i64)
    }

    /// `length` elements of one dim, `step` apart.
    pub(crate) fn cut(self, dim: usize, start: usize, length: usize, step: i64) -> Result<Tensor> {
        if (start, length, step) == (0, self.shape()[dim], 1) {
            return Ok(self);
        }
        let step = isize::try_from(step).unwrap_or(isize::MAX);
        apply_one(&Op::View(ViewOp::Slice { dim, start, length, step }), &mut [Operand::Own(self)])
    }
}

/// How many dims of the tensor an index speaks of.
fn dims_of(index: &Index) -> usize {
    match index {
        Index::NewDim | Index::Ellipsis => 0,
        Index::Tensor(tensor) if tensor.dtype() == DType::Bool => tensor.rank(),
        _ => 1,
    }
}

/// Start and length of a range.
fn span(start: i64, end: Option<i64>, size: usize) -> Result<(usize, usize)> {
    let start = place(start, size, true)?;
    let end = end.map_or(Ok(size), |end| place(end, size, true))?;
    let length = end.checked_sub(start).ok_or_else(|| {
        Error::argument("index", format!("the range {start}..{end} runs backwards"))
    })?;
    Ok((start, length))
}

/// Start and length of Python's `start:end:step`; what leaves the dim is cut, or an error.
pub(crate) fn steps(
    [start, end]: [Option<i64>; 2],
    step: i64,
    size: usize,
    cut: bool,
) -> Result<(usize, usize)> {
    if step == 0 {
        return Err(Error::argument("index", "a step of 0"));
    }
    // In a range that runs backwards the places shift by one: from the last, down to before the first.
    let size_wide = size as i128;
    let (low, high) = if step > 0 { (0, size_wide) } else { (-1, size_wide - 1) };
    let wide = |at: i64| -> Result<i128> {
        let resolved = if at < 0 { i128::from(at) + size_wide } else { i128::from(at) };
        if cut || (low..=high).contains(&resolved) {
            return Ok(resolved.clamp(low, high));
        }
        Err(Error::plain(ErrorKind::Index { op: "index", index: at, size, dim: None }))
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let start = start.map_or(Ok(first), wide)?;
    let end = end.map_or(Ok(last), wide)?;
    let (distance, step) = (if step > 0 { end - start } else { start - end }, i128::from(step));
    let length = if distance <= 0 { 0 } else { (distance - 1) / step.abs() + 1 };
    let small = |wide: i128| usize::try_from(wide).unwrap_or(0);
    Ok((small(start), small(length)))
}

/// A position that may count from the end; `end`: the place after the last is one too.
pub(crate) fn place(index: i64, size: usize, end: bool) -> Result<usize> {
    let resolved = if index < 0 { index.saturating_add(size as i64) } else { index };
    let limit = size as i64 + i64::from(end);
    if (0..limit).contains(&resolved) {
        Ok(resolved as usize)
    } else {
        Err(Error::plain(ErrorKind::Index { op: "index", index, size, dim: None }))
    }
}
