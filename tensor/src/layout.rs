//! Layouts: how a shape lies in a storage.

use smallvec::SmallVec;

use crate::op::Diagonal;
use crate::shape::Dims;

/// Strides in elements.
pub(crate) type Strides = SmallVec<[isize; INLINE]>;

/// So many lie inline, as in [`Dims`].
const INLINE: usize = 6;

/// Element `i` of a tensor lies at `offset + sum(i[d] * strides[d])` of its storage.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    pub(crate) shape: Dims,
    pub(crate) strides: Strides,
    pub(crate) offset: usize,
}

// As Meta's: SmallVec's own clone goes element by element.
impl Clone for Layout {
    fn clone(&self) -> Self {
        Layout { shape: few(&self.shape), strides: few(&self.strides), offset: self.offset }
    }
}

/// Strides broadcast to a shape: borrowed where it is the layout's own.
pub(crate) enum BroadcastStrides<'a> {
    Own(&'a [isize]),
    Broadcast(Strides),
}

impl std::ops::Deref for BroadcastStrides<'_> {
    type Target = [isize];
    fn deref(&self) -> &[isize] {
        match self {
            BroadcastStrides::Own(strides) => strides,
            BroadcastStrides::Broadcast(strides) => strides,
        }
    }
}

/// A list of usual length without a call: every tensor that is made has two.
#[inline(always)]
pub(crate) fn few<T: Copy + Default>(list: &[T]) -> SmallVec<[T; INLINE]> {
    let zero = T::default();
    // One list made of what is there: several would be joined in memory.
    let (len, [a, b, c, d]) = match *list {
        [] => (0, [zero; 4]),
        [a] => (1, [a, zero, zero, zero]),
        [a, b] => (2, [a, b, zero, zero]),
        [a, b, c] => (3, [a, b, c, zero]),
        [a, b, c, d] => (4, [a, b, c, d]),
        _ => return SmallVec::from_slice(list),
    };
    SmallVec::from_buf_and_len([a, b, c, d, zero, zero], len)
}

impl Layout {
    /// Row-major without gaps, if there are at most two dims; else one that is to be [completed](Self::complete) where it stays.
    #[inline(always)]
    pub(crate) fn begun(shape: &[usize]) -> Layout {
        let (rank, [m, n]) = match *shape {
            [m] => (1, [m, 0]),
            [m, n] => (2, [m, n]),
            _ => (0, [0, 0]),
        };
        let row = if rank == 2 { n.max(1) as isize } else { 1 };
        Layout {
            shape: Dims::from_buf_and_len([m, n, 0, 0, 0, 0], rank),
            strides: Strides::from_buf_and_len([row, 1, 0, 0, 0, 0], rank),
            offset: 0,
        }
    }

    /// Does what [`begun`](Self::begun) left.
    #[inline(always)]
    pub(crate) fn complete(&mut self, shape: &[usize]) {
        if shape.len() > 2 {
            *self = Self::of_many(shape);
        }
    }

    /// Row-major without gaps.
    pub(crate) fn contiguous(shape: Dims) -> Layout {
        let strides = Self::row_major(&shape);
        Layout { shape, strides, offset: 0 }
    }

    #[inline(never)]
    fn of_many(shape: &[usize]) -> Layout {
        Self::contiguous(few(shape))
    }

    fn row_major(shape: &[usize]) -> Strides {
        let mut stride = 1isize;
        let mut fill = |strides: &mut [isize]| {
            for (place, &size) in strides.iter_mut().zip(shape).rev() {
                *place = stride;
                stride = stride.saturating_mul(size.max(1) as isize);
            }
        };
        let mut inline = [0; INLINE];
        match inline.get_mut(..shape.len()) {
            Some(strides) => {
                fill(strides);
                Strides::from_buf_and_len(inline, shape.len())
            }
            None => {
                let mut strides = Strides::from_elem(0, shape.len());
                fill(&mut strides);
                strides
            }
        }
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Strides in elements.
    pub fn strides(&self) -> &[isize] {
        &self.strides
    }

    /// Index of the first element in the storage.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// True if the elements lie row-major without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.shape.contains(&0)
            || ferrotape_kernels::strided::is_contiguous(&self.shape, &self.strides)
    }

    /// The strides of this layout broadcast to `shape` (which must be a valid broadcast of it).
    pub(crate) fn broadcast_strides(&self, shape: &[usize]) -> Strides {
        let lead = shape.len() - self.shape.len();
        let mut strides = Strides::from_elem(0, shape.len());
        for (i, &size) in self.shape.iter().enumerate() {
            if size == shape[lead + i] {
                strides[lead + i] = self.strides[i];
            }
        }
        strides
    }

    /// The strides of this layout broadcast to `shape`, its own where that is its shape.
    pub(crate) fn strides_in(&self, shape: &[usize]) -> BroadcastStrides<'_> {
        if *shape == self.shape[..] {
            return BroadcastStrides::Own(&self.strides);
        }
        BroadcastStrides::Broadcast(self.broadcast_strides(shape))
    }

    /// A diagonal as the last dim.
    pub(crate) fn diagonal(&self, diagonal: &Diagonal) -> Layout {
        let [first, second] = diagonal.dims;
        let sizes = [self.shape[first], self.shape[second]];
        let ([row, column], length) = diagonal.place(sizes);
        let mut layout = Layout { offset: self.offset, ..Layout::contiguous(Dims::new()) };
        for d in (0..self.shape.len()).filter(|d| !diagonal.dims.contains(d)) {
            layout.shape.push(self.shape[d]);
            layout.strides.push(self.strides[d]);
        }
        let steps = [self.strides[first], self.strides[second]];
        layout.shape.push(length);
        layout.strides.push(steps[0].saturating_add(steps[1]));
        if length > 0 && !self.shape.contains(&0) {
            let shift = row as isize * steps[0] + column as isize * steps[1];
            layout.offset = self.offset.wrapping_add_signed(shift);
        }
        layout
    }

    /// Windows of a dim along a new last dim.
    pub(crate) fn unfold(&self, dim: usize, size: usize, step: usize) -> Layout {
        let mut layout = self.clone();
        let (n, stride) = (self.shape[dim], self.strides[dim]);
        layout.shape[dim] = (n.saturating_sub(size) / step.max(1)).saturating_add(1);
        layout.strides[dim] = stride.saturating_mul(isize::try_from(step).unwrap_or(isize::MAX));
        layout.shape.push(size);
        layout.strides.push(stride);
        layout
    }

    /// The same elements in row-major order under another shape of the same length, if that needs no copy.
    pub(crate) fn reshape(&self, shape: &[usize]) -> Option<Layout> {
        if self.is_contiguous() {
            let offset = self.offset;
            return Some(Layout { offset, ..Layout::contiguous(Dims::from_slice(shape)) });
        }
        // Merge what can be merged, then cut each merged run into new dims.
        let mut runs: SmallVec<[(usize, isize); 6]> = SmallVec::new();
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            match runs.last_mut() {
                _ if size == 1 => {}
                Some(last) if last.1 == stride * size as isize => *last = (last.0 * size, stride),
                _ => runs.push((size, stride)),
            }
        }
        let mut strides = Strides::from_elem(0, shape.len());
        let mut runs = runs.into_iter().rev();
        let (mut left, mut stride) = runs.next().unwrap_or((1, 1));
        for (d, &size) in shape.iter().enumerate().rev() {
            if size != 1 && left == 1 {
                (left, stride) = runs.next()?;
            }
            strides[d] = stride;
            if size != 1 {
                if left % size != 0 {
                    return None;
                }
                left /= size;
                stride *= size as isize;
            }
        }
        (left == 1).then(|| Layout { shape: Dims::from_slice(shape), strides, offset: self.offset })
    }
}
