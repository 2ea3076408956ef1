//! Where a product is written.

use std::marker::PhantomData;

/// The destination: element `(i, j)` is at `i * row_stride + (j / group) * group_stride + j %
/// group`. One group for a matrix, one an image for a convolution, so that a range of columns may
/// span images.
#[derive(Debug)]
pub(crate) struct Output<'a, T> {
    pointer: *mut T,
    /// Elements from row to row.
    pub(crate) row_stride: usize,
    /// Columns a group.
    pub(crate) group: usize,
    /// Elements from group to group.
    pub(crate) group_stride: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

impl<T> Clone for Output<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Output<'_, T> {}

// SAFETY: a product's pieces write disjoint tiles, so sharing is no more than sending disjoint
// `&mut [T]`.
unsafe impl<T: Send> Sync for Output<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Output<'_, T> {}

impl<'a, T> Output<'a, T> {
    /// The destination that starts at `pointer`.
    ///
    /// # Safety
    /// - Every element of the product must lie in memory that is writable, and nobody else's, for
    ///   `'a`.
    pub(crate) unsafe fn new(
        pointer: *mut T,
        row_stride: usize,
        group: usize,
        group_stride: usize,
    ) -> Self {
        Output { pointer, row_stride, group, group_stride, lifetime: PhantomData }
    }

    /// The destination from a row on.
    pub(super) fn below(self, row: usize) -> Self {
        Output { pointer: self.pointer.wrapping_add(row * self.row_stride), ..self }
    }

    /// Address of element `(i, j)`.
    #[inline(always)]
    pub(super) fn at(&self, i: usize, j: usize) -> *mut T {
        self.column(j).0.wrapping_add(i * self.row_stride)
    }

    /// Address of element (0, `j`) and how many columns from there on are contiguous.
    #[inline(always)]
    pub(super) fn column(&self, j: usize) -> (*mut T, usize) {
        let within = j % self.group;
        (
            self.pointer.wrapping_add(j / self.group * self.group_stride + within),
            self.group - within,
        )
    }
}
