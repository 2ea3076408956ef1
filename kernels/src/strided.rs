//! Strided views of slices: checked once when made, then walked without checks.

use std::ops::Range;

use crate::element::Pod;
use crate::error::{Result, require};

/// A read-only strided view. Every element it can reach lies inside `data`: [`View::new`] proves
/// it, kernels rely on it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, T> {
    data: &'a [T],
    offset: usize,
    shape: &'a [usize],
    strides: &'a [isize],
}

/// The number of elements of `shape`; `None` on overflow. A zero dim gives 0 whatever the others
/// are.
pub fn checked_len(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))
}

impl<'a, T: Pod> View<'a, T> {
    /// A view of `data` whose element `i` is `data[offset + sum(i[d] * strides[d])]`. Stride 0
    /// broadcasts, negative strides run backwards.
    ///
    /// # Errors
    /// [`Contract`](crate::Error::Contract) if an element would lie outside `data`.
    pub fn new(
        data: &'a [T],
        offset: usize,
        shape: &'a [usize],
        strides: &'a [isize],
    ) -> Result<Self> {
        require(
            reach(data.len(), offset, shape, strides),
            "view: an element lies outside its data",
        )?;
        Ok(View { data, offset, shape, strides })
    }

    /// The same elements as the words they are made of.
    #[inline]
    pub(crate) fn bits(self) -> View<'a, T::Bits> {
        let View { data, offset, shape, strides } = self;
        View { data: crate::element::bits(data), offset, shape, strides }
    }

    /// The data behind the view.
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// Index of the first element in [`data`](Self::data).
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Strides in elements.
    pub fn strides(&self) -> &'a [isize] {
        self.strides
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        if self.is_empty() { 0 } else { self.shape.iter().product() }
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// The elements as one slice in logical order, if they lie so (row-major, no gaps).
    pub fn as_contiguous(&self) -> Option<&'a [T]> {
        if self.is_empty() {
            return Some(&[]);
        }
        is_contiguous(self.shape, self.strides)
            .then(|| self.data.get(self.offset..self.offset + self.len()))
            .flatten()
    }
}

/// A strided view that is written: no two of its elements may share a place.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    /// The data written to.
    pub(crate) data: &'a mut [T],
    /// Index of the first element.
    pub(crate) offset: usize,
    /// Sizes, outermost first.
    pub(crate) shape: &'a [usize],
    /// Strides in elements.
    pub(crate) strides: &'a [isize],
}

impl<'a, T: Pod> ViewMut<'a, T> {
    /// As [`View::new`]; writes to overlapping elements are allowed and the last in row-major order
    /// wins.
    ///
    /// # Errors
    /// [`Contract`](crate::Error::Contract) if an element would lie outside `data`.
    pub fn new(
        data: &'a mut [T],
        offset: usize,
        shape: &'a [usize],
        strides: &'a [isize],
    ) -> Result<Self> {
        require(
            reach(data.len(), offset, shape, strides),
            "view: an element lies outside its data",
        )?;
        Ok(ViewMut { data, offset, shape, strides })
    }
}

/// True if every element of the view lies in `0..len`, and their number is a `usize`.
pub(crate) fn reach(len: usize, offset: usize, shape: &[usize], strides: &[isize]) -> bool {
    if shape.len() != strides.len() {
        return false;
    }
    // A span beyond isize lies outside any slice, so overflow is a refusal.
    let (mut low, mut high, mut count) = (offset as isize, offset as isize, 1usize);
    let (mut overflow, mut empty) = (low < 0, false);
    for (&size, &stride) in shape.iter().zip(strides) {
        empty |= size == 0;
        let (last, wide) = ((size as isize).wrapping_sub(1), size > isize::MAX as usize);
        let (span, a) = last.overflowing_mul(stride);
        let (end, b) = if span < 0 { low } else { high }.overflowing_add(span);
        if span < 0 {
            low = end
        } else {
            high = end
        }
        let (product, c) = count.overflowing_mul(size);
        count = product;
        overflow |= a | b | c | wide;
    }
    empty || (!overflow && low >= 0 && (high as usize) < len)
}

/// True if `strides` are those of a row-major tensor without gaps (size-1 dims may have any
/// stride).
pub fn is_contiguous(shape: &[usize], strides: &[isize]) -> bool {
    let mut expected = 1isize;
    for (&size, &stride) in shape.iter().zip(strides).rev() {
        if size != 1 {
            if stride != expected {
                return false;
            }
            expected = expected.saturating_mul(size as isize);
        }
    }
    true
}

/// The strides of a row-major tensor without gaps.
pub(crate) fn row_major(shape: &[usize]) -> Dims<isize> {
    let mut strides = Dims::new(1);
    for _ in shape {
        strides.push(1);
    }
    let mut stride = 1isize;
    for (place, &size) in strides.iter_mut().zip(shape).rev() {
        *place = stride;
        stride = stride.saturating_mul(size as isize);
    }
    strides
}

/// A short list whose first items live in place: a loop nest of usual rank needs no allocation.
#[derive(Clone)]
pub struct Dims<T> {
    len: usize,
    inline: [T; INLINE],
    spilled: Vec<T>,
}

const INLINE: usize = 6;

impl<T: Copy> Dims<T> {
    pub(crate) fn new(filler: T) -> Self {
        Dims { len: 0, inline: [filler; INLINE], spilled: Vec::new() }
    }

    pub(crate) fn push(&mut self, item: T) {
        if self.len < INLINE {
            self.inline[self.len] = item;
        } else {
            if self.spilled.is_empty() {
                self.spilled.extend_from_slice(&self.inline);
            }
            self.spilled.push(item);
        }
        self.len += 1;
    }
}

impl<T> std::ops::Deref for Dims<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        if self.len <= INLINE { &self.inline[..self.len] } else { &self.spilled }
    }
}

impl<T> std::ops::DerefMut for Dims<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        if self.len <= INLINE { &mut self.inline[..self.len] } else { &mut self.spilled }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Dims<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A loop nest over `N` operands of one logical shape: size-1 dims dropped, neighbours merged
/// wherever every operand allows it, so that the innermost dim is as long as it can be.
#[derive(Debug, Clone)]
pub struct LoopNest<const N: usize> {
    /// Sizes, outermost first; at least one dim (size 1 for a scalar).
    pub shape: Dims<usize>,
    /// Strides of each operand, for each dim.
    pub strides: Dims<[isize; N]>,
}

impl<const N: usize> LoopNest<N> {
    /// The collapsed nest of `shape` and each operand's strides. The logical order of elements is
    /// kept.
    pub fn new(shape: &[usize], strides: [&[isize]; N]) -> Self {
        let mut nest = LoopNest { shape: Dims::new(1), strides: Dims::new([0; N]) };
        if shape.contains(&0) {
            // Beside a size 0 the products of the others may overflow.
            nest.shape.push(0);
            nest.strides.push([0; N]);
            return nest;
        }
        for (d, &size) in shape.iter().enumerate() {
            if size == 1 {
                continue;
            }
            let here: [isize; N] = std::array::from_fn(|i| strides[i][d]);
            match (nest.shape.last_mut(), nest.strides.last_mut()) {
                (Some(outer), Some(outer_strides))
                    if (0..N).all(|i| outer_strides[i] == here[i] * size as isize) =>
                {
                    *outer *= size;
                    *outer_strides = here;
                }
                _ => {
                    nest.shape.push(size);
                    nest.strides.push(here);
                }
            }
        }
        if nest.shape.is_empty() {
            nest.shape.push(1);
            nest.strides.push([0; N]);
        }
        nest
    }

    /// Size of the innermost dim.
    pub fn inner(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }

    /// Strides of the innermost dim.
    pub fn inner_strides(&self) -> [isize; N] {
        self.strides[self.strides.len() - 1]
    }

    /// Number of innermost rows.
    pub fn rows(&self) -> usize {
        self.shape[..self.shape.len() - 1].iter().product()
    }

    /// Offset of each operand at row `row` (counted in logical order).
    pub fn row_offsets(&self, mut row: usize) -> [isize; N] {
        let mut offsets = [0isize; N];
        for d in (0..self.shape.len() - 1).rev() {
            let index = (row % self.shape[d]) as isize;
            row /= self.shape[d];
            for (offset, stride) in offsets.iter_mut().zip(self.strides[d]) {
                *offset += index * stride;
            }
        }
        offsets
    }

    /// The elements `range` (in logical order) as rectangles of the two innermost dims, handed to
    /// `body` in ascending order.
    pub(crate) fn rectangles(&self, range: Range<usize>, body: &mut dyn FnMut(Rectangle<N>)) {
        let (inner, depth) = (self.inner(), self.shape.len());
        let (plane, row_strides) = match depth {
            0 | 1 => (1, [0; N]),
            _ => (self.shape[depth - 2], self.strides[depth - 2]),
        };
        let inner_strides = self.inner_strides();
        let mut start = range.start;
        while start < range.end && inner > 0 {
            let (row, column) = (start / inner, start % inner);
            let left = range.end - start;
            let (rows, len) = if column > 0 || left < inner {
                (1, left.min(inner - column))
            } else {
                ((left / inner).min(plane - row % plane), inner)
            };
            let mut offsets = if depth == 1 { [0; N] } else { self.row_offsets(row) };
            for (offset, stride) in offsets.iter_mut().zip(inner_strides) {
                *offset += column as isize * stride;
            }
            body(Rectangle { start, rows, len, offsets, row_strides });
            start += rows * len;
        }
    }
}

/// Some rows of a nest that lie in one plane of its two innermost dims.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rectangle<const N: usize> {
    /// Logical index of its first element.
    pub(crate) start: usize,
    /// Number of rows.
    pub(crate) rows: usize,
    /// Elements a row.
    pub(crate) len: usize,
    /// Offset of each operand's first element.
    pub(crate) offsets: [isize; N],
    /// From row to row.
    pub(crate) row_strides: [isize; N],
}
