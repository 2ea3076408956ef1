//! The lines of a view along one dim.

use std::ops::Range;

use crate::cpu::parallel;
use crate::cpu::reduce::dims::{Dim, Dims, offset};
use crate::element::Pod;
use crate::error::{Result, require};
use crate::strided::View;

/// Elements that make a piece worth handing out.
const PIECE: usize = 16_384;

/// The lines of a view along one dim, numbered in row-major order of the other dims.
#[derive(Debug)]
pub(crate) struct Lines {
    base: isize,
    others: Dims,
    /// How many lines.
    pub(crate) count: usize,
    /// Elements of a line.
    pub(crate) n: usize,
    /// From element to element of a line, in the view.
    pub(crate) stride: isize,
    /// From element to element of a line, in a row-major result.
    pub(crate) inner: usize,
}

impl Lines {
    pub(crate) fn new<T: Pod>(x: &View<'_, T>, dim: usize) -> Result<Lines> {
        let shape = x.shape();
        require(dim < shape.len(), "no such dim")?;
        let (n, stride) = (shape[dim], x.strides()[dim]);
        let mut others = Dims::new();
        if x.is_empty() {
            return Ok(Lines { base: 0, others, count: 0, n, stride, inner: 0 });
        }
        for (d, (&size, &stride)) in shape.iter().zip(x.strides()).enumerate() {
            if d != dim {
                others.push(Dim { size, stride, reduced: false })?;
            }
        }
        let inner = shape[dim + 1..].iter().product();
        Ok(Lines { base: x.offset() as isize, others, count: x.len() / n, n, stride, inner })
    }

    /// Index of a line's first element in the view's data.
    pub(crate) fn start(&self, line: usize) -> isize {
        self.base + offset(self.others.as_slice(), line)
    }

    /// Index of a line's first element in a row-major result.
    pub(crate) fn place(&self, line: usize) -> usize {
        line / self.inner * self.n * self.inner + line % self.inner
    }

    /// Hands out all lines in pieces; `cost`: nanoseconds an element.
    pub(crate) fn run(&self, cost: u64, body: &(impl Fn(Range<usize>) + Sync)) {
        let per_piece = (PIECE / self.n.clamp(1, PIECE)).next_multiple_of(super::BLOCK);
        let elements = (self.count as u64).saturating_mul(self.n as u64);
        parallel::run(self.count.div_ceil(per_piece), elements.saturating_mul(cost), &|piece| {
            let first = piece * per_piece;
            body(first..(first + per_piece).min(self.count));
        });
    }
}
