//! Strided views of slices: checked once when made, then walked without checks.

use crate::element::Pod;
use crate::error::{Result, require};

/// A read-only strided view. Every element it can reach lies inside `data`: [`View::new`] proves it, kernels rely on it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, T> {
    data: &'a [T],
    offset: usize,
    shape: &'a [usize],
    strides: &'a [isize],
}

/// The number of elements of `shape`; `None` on overflow. A zero dim gives 0 whatever the others are.
pub fn checked_len(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))
}

impl<'a, T: Pod> View<'a, T> {
    /// A view of `data` whose element `i` is `data[offset + sum(i[d] * strides[d])]`. Stride 0 broadcasts, negative strides
    /// run backwards.
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
        self.shape.iter().product()
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
    /// As [`View::new`]; writes to overlapping elements are allowed and the last in row-major order wins.
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

/// True if every element of the view lies in `0..len`.
fn reach(len: usize, offset: usize, shape: &[usize], strides: &[isize]) -> bool {
    if shape.len() != strides.len() || checked_len(shape).is_none() {
        return false;
    }
    if shape.contains(&0) {
        return true;
    }
    let (mut low, mut high) = (offset as i128, offset as i128);
    for (&size, &stride) in shape.iter().zip(strides) {
        let span = (size as i128 - 1) * stride as i128;
        if span < 0 { low += span } else { high += span }
    }
    low >= 0 && high < len as i128
}

/// True if `strides` are those of a row-major tensor without gaps (size-1 dims may have any stride).
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

/// A loop nest over `N` operands of one logical shape: size-1 dims dropped, neighbours merged wherever every operand
/// allows it, so that the innermost dim is as long as it can be.
#[derive(Debug, Clone)]
pub struct LoopNest<const N: usize> {
    /// Sizes, outermost first; at least one dim (size 1 for a scalar).
    pub shape: Vec<usize>,
    /// Strides of each operand, for each dim.
    pub strides: Vec<[isize; N]>,
}

impl<const N: usize> LoopNest<N> {
    /// The collapsed nest of `shape` and each operand's strides. The logical order of elements is kept.
    pub fn new(shape: &[usize], strides: [&[isize]; N]) -> Self {
        let mut nest = LoopNest { shape: Vec::new(), strides: Vec::new() };
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
            for i in 0..N {
                offsets[i] += index * self.strides[d][i];
            }
        }
        offsets
    }
}
