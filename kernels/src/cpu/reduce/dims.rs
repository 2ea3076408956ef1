//! The dims of a reduction: size-1 dims dropped, neighbours of one kind merged where their strides allow it.

use crate::element::Pod;
use crate::error::{Error, Result};
use crate::strided::View;

/// One dim of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dim {
    /// At least 2.
    pub(crate) size: usize,
    /// In elements.
    pub(crate) stride: isize,
    /// True if it is reduced.
    pub(crate) reduced: bool,
}

/// Dims beyond this are refused: it takes 2^32 elements, or broadcasting, to have more of size 2.
const MOST: usize = 32;

/// Dims, outermost first, on the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dims {
    dims: [Dim; MOST],
    len: usize,
}

impl Dims {
    /// No dims.
    pub(crate) fn new() -> Self {
        Dims { dims: [Dim { size: 0, stride: 0, reduced: false }; MOST], len: 0 }
    }

    /// The dims of `x`, marked by `reduced`.
    pub(crate) fn of<T: Pod>(x: &View<'_, T>, reduced: &[bool]) -> Result<Self> {
        let mut dims = Dims::new();
        for ((&size, &stride), &reduced) in x.shape().iter().zip(x.strides()).zip(reduced) {
            dims.push(Dim { size, stride, reduced })?;
        }
        Ok(dims)
    }

    /// Adds the next inner dim.
    pub(crate) fn push(&mut self, dim: Dim) -> Result<()> {
        if dim.size == 1 {
            return Ok(());
        }
        if let Some(last) = self.dims[..self.len].last_mut()
            && last.reduced == dim.reduced
            && dim.stride.checked_mul(dim.size as isize) == Some(last.stride)
        {
            // Saturates only beside a size 0, where no loop runs.
            *last = Dim { size: last.size.saturating_mul(dim.size), ..dim };
            return Ok(());
        }
        let place = self.dims.get_mut(self.len);
        *place.ok_or(Error::Contract("more than 32 dims that can't be merged"))? = dim;
        self.len += 1;
        Ok(())
    }

    /// Outermost first.
    pub(crate) fn as_slice(&self) -> &[Dim] {
        &self.dims[..self.len]
    }

    /// The innermost group of reduced dims as `(outer, group, inner)`; `None` if nothing is reduced.
    pub(crate) fn innermost_group(&self) -> Option<(&[Dim], &[Dim], &[Dim])> {
        let dims = self.as_slice();
        let end = dims.iter().rposition(|d| d.reduced)? + 1;
        let start = dims[..end].iter().rposition(|d| !d.reduced).map_or(0, |kept| kept + 1);
        Some((&dims[..start], &dims[start..end], &dims[end..]))
    }
}

/// Number of elements of a loop.
pub(crate) fn count(dims: &[Dim]) -> usize {
    // Beside a size 0 the product of the others may overflow.
    if dims.iter().any(|d| d.size == 0) { 0 } else { dims.iter().map(|d| d.size).product() }
}

/// Offset of element `index`, counted in logical order.
#[inline(always)]
pub(crate) fn offset(dims: &[Dim], mut index: usize) -> isize {
    let Some((outermost, inner)) = dims.split_first() else { return 0 };
    let mut offset = 0;
    for dim in inner.iter().rev() {
        offset += (index % dim.size) as isize * dim.stride;
        index /= dim.size;
    }
    offset + index as isize * outermost.stride
}

/// True if the elements lie one after the other.
#[inline(always)]
pub(crate) fn is_unit(dims: &[Dim]) -> bool {
    match dims {
        [] => true,
        [dim] => dim.stride == 1,
        _ => false,
    }
}
