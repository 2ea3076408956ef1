//! Whole slices by index: `[outer, n, inner]` where the middle dim is chosen by a vector of indices.

use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::reduce::dims::{Dim, Dims, count, is_unit, offset};
use crate::cpu::simd::Simd;
use crate::element::{Float, Pod};
use crate::error::{Error, Result, require};
use crate::strided::View;

/// Elements that make a piece worth handing out.
const PIECE: usize = 16_384;
/// Columns of a piece of [`add`]: its rows must stay in order.
const COLUMNS: usize = 256;

/// A vector of indices, all of them below `size`.
#[derive(Debug, Clone, Copy)]
struct Indices<'a> {
    view: View<'a, i64>,
    n: usize,
    stride: isize,
}

impl<'a> Indices<'a> {
    fn new(view: View<'a, i64>, size: usize) -> Result<Self> {
        require(view.shape().len() == 1, "index: not a vector")?;
        let indices = Indices { view, n: view.shape()[0], stride: view.strides()[0] };
        for position in 0..indices.n {
            let index = indices.raw(position);
            if usize::try_from(index).map_or(true, |i| i >= size) {
                return Err(Error::IndexOutOfRange { index, position, size });
            }
        }
        Ok(indices)
    }

    #[inline(always)]
    fn raw(&self, i: usize) -> i64 {
        self.view.data()[(self.view.offset() as isize + i as isize * self.stride) as usize]
    }

    #[inline(always)]
    fn get(&self, i: usize) -> usize {
        self.raw(i) as usize
    }
}

/// A view as `[outer, middle, inner]`.
struct Slices {
    outer: Dims,
    middle: isize,
    inner: Dims,
}

impl Slices {
    fn new<T: Pod>(x: &View<'_, T>, dim: usize) -> Result<Self> {
        let (mut outer, mut inner) = (Dims::new(), Dims::new());
        for (d, (&size, &stride)) in x.shape().iter().zip(x.strides()).enumerate() {
            let one = Dim { size, stride, reduced: false };
            if d < dim {
                outer.push(one)?;
            } else if d > dim {
                inner.push(one)?;
            }
        }
        Ok(Slices { outer, middle: x.strides()[dim], inner })
    }
}

/// [`index_select`](super::index_select).
pub(super) fn select<T: Pod>(
    x: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out: &mut [T],
) -> Result<()> {
    require(dim < x.shape().len(), "index_select: no such dim")?;
    let indices = Indices::new(index, x.shape()[dim])?;
    let others = x.shape().iter().enumerate().filter(|(d, _)| *d != dim).map(|(_, &size)| size);
    let len = super::product(others.chain([indices.n]));
    require(len == Some(out.len()), "index_select: length of the result")?;
    if out.is_empty() {
        return Ok(());
    }
    let Slices { outer, middle, inner } = Slices::new(&x, dim)?;
    let (outer, inner) = (outer.as_slice(), inner.as_slice());
    let width = count(inner);
    let per_piece = (PIECE / width).max(1);
    let lines = out.len() / width;
    let work = size_of_val(out) as u64 / 8;
    let shared = Shared::new(out);
    parallel::run(lines.div_ceil(per_piece), work, &|piece| {
        let first = piece * per_piece;
        // SAFETY: pieces are disjoint.
        let out = unsafe { shared.part(first * width, per_piece * width) };
        for (i, out) in out.chunks_exact_mut(width).enumerate() {
            let (a, i) = ((first + i) / indices.n, (first + i) % indices.n);
            let chosen = indices.get(i) as isize * middle;
            let from = x.offset() as isize + offset(outer, a) + chosen;
            if is_unit(inner) {
                out.copy_from_slice(&x.data()[from as usize..][..width]);
            } else {
                for (j, out) in out.iter_mut().enumerate() {
                    *out = x.data()[(from + offset(inner, j)) as usize];
                }
            }
        }
    });
    Ok(())
}

/// [`index_add`](super::index_add).
pub(super) fn add<T: Float>(
    source: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out_shape: &[usize],
    out: &mut [T],
) -> Result<()> {
    let shape = source.shape();
    require(dim < shape.len() && out_shape.len() == shape.len(), "index_add: number of dims")?;
    let fits = shape.iter().zip(out_shape).enumerate().all(|(d, (a, b))| d == dim || a == b);
    require(fits, "index_add: sizes of the other dims")?;
    require(super::product(out_shape.iter().copied()) == Some(out.len()), "index_add: length")?;
    let indices = Indices::new(index, out_shape[dim])?;
    require(indices.n == shape[dim], "index_add: length of the index")?;
    if source.is_empty() {
        return Ok(());
    }
    let slices = Slices::new(&source, dim)?;
    let planes = count(slices.outer.as_slice());
    let width = count(slices.inner.as_slice());
    let blocks = width.div_ceil(COLUMNS);
    let work = source.len() as u64 * size_of::<T>() as u64 / 4;
    let shared = Shared::new(out);
    parallel::run(planes * blocks, work, &|piece| {
        let (plane, first) = (piece / blocks, piece % blocks * COLUMNS);
        let columns = COLUMNS.min(width - first);
        let rows = out_shape[dim];
        let (slices, out) = (&slices, &shared);
        T::dispatch(Add { source, slices, indices, plane, first, columns, width, rows, out });
    });
    Ok(())
}

/// Columns `first .. first + columns` of one plane.
struct Add<'a, T> {
    source: View<'a, T>,
    slices: &'a Slices,
    indices: Indices<'a>,
    plane: usize,
    first: usize,
    columns: usize,
    width: usize,
    rows: usize,
    out: &'a Shared<'a, T>,
}

impl<T: Float> Kernel<T> for Add<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) {
        let Slices { outer, middle, inner } = self.slices;
        let inner = inner.as_slice();
        let base = self.source.offset() as isize + offset(outer.as_slice(), self.plane);
        let data = self.source.data();
        for i in 0..self.indices.n {
            let row = self.plane * self.rows + self.indices.get(i);
            // SAFETY: a piece has its columns of its plane for itself.
            let out = unsafe { self.out.part(row * self.width + self.first, self.columns) };
            let from = base + i as isize * middle;
            if is_unit(inner) {
                let from = &data[from as usize + self.first..][..out.len()];
                for (out, &x) in out.iter_mut().zip(from) {
                    *out = *out + x;
                }
            } else {
                for (j, out) in out.iter_mut().enumerate() {
                    *out = *out + data[(from + offset(inner, self.first + j)) as usize];
                }
            }
        }
    }
}
