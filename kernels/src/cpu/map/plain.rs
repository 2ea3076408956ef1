//! Elementwise loops that need no token: the compiler vectorises them, and there is nothing to
//! round.

use std::mem::MaybeUninit;

use super::{Pointer, pieces, same_length};
use crate::element::{Number, Pod};
use crate::error::{Result, require};
use crate::strided::{LoopNest, View, is_contiguous};

/// Elements of a tile on the stack.
pub(super) const TILE: usize = 512;

/// Room for the gathered elements of one operand.
#[repr(align(64))]
pub(super) struct Tile<T>([MaybeUninit<T>; TILE]);

impl<T: Pod> Tile<T> {
    /// Without contents.
    #[inline(always)]
    pub(super) fn new() -> Self {
        Tile([MaybeUninit::uninit(); TILE])
    }
}

/// An operand as contiguous tiles in logical order.
pub(super) struct Feed<'a, T> {
    base: *const T,
    contiguous: bool,
    /// How to gather them if not. Not an `Option`: optimised code looks at what a `None` does not hold, harmlessly, but valgrind tells.
    nest: LoopNest<1>,
    /// All elements are one, and the tile already holds them.
    filled: bool,
    tile: &'a mut Tile<T>,
}

impl<'a, T: Pod> Feed<'a, T> {
    /// Of a view.
    #[inline]
    pub(super) fn new(view: &View<'a, T>, tile: &'a mut Tile<T>) -> Self {
        let base = view.data().as_ptr().wrapping_add(view.offset());
        let contiguous = is_contiguous(view.shape(), view.strides());
        let (shape, strides) =
            if contiguous { Default::default() } else { (view.shape(), view.strides()) };
        Feed { base, contiguous, nest: LoopNest::new(shape, [strides]), filled: false, tile }
    }

    /// Of contiguous elements.
    #[inline]
    pub(super) fn contiguous(base: *const T, tile: &'a mut Tile<T>) -> Self {
        Feed { base, contiguous: true, nest: LoopNest::new(&[], [&[]]), filled: false, tile }
    }

    /// Of one value, as often as needed.
    #[inline]
    pub(super) fn one(value: &T, tile: &'a mut Tile<T>) -> Self {
        tile.0.fill(MaybeUninit::new(*value));
        let (base, nest) = (std::ptr::from_ref(value), LoopNest::new(&[], [&[]]));
        Feed { base, contiguous: false, nest, filled: true, tile }
    }

    /// The elements `start .. start + n`, contiguous.
    ///
    /// # Safety
    /// - `start + n` must not exceed the operand's length, nor `n` [`TILE`].
    #[inline]
    pub(super) unsafe fn tile(&mut self, start: usize, n: usize) -> *const T {
        if self.contiguous {
            return self.base.wrapping_add(start);
        }
        let nest = &self.nest;
        let to: *mut T = self.tile.0.as_mut_ptr().cast();
        if !self.filled {
            let one_value = nest.shape.len() == 1 && nest.inner_strides() == [0];
            let (start, n) = if one_value { (0, TILE.min(nest.inner())) } else { (start, n) };
            // SAFETY: the view is checked, `start + n` within it, and the tile has room.
            unsafe { gather(nest, self.base, start, n, to) };
            self.filled = one_value;
        }
        to
    }
}

/// Copies the elements `start .. start + n` of a nest to `to`.
///
/// # Safety
/// - Every element of the nest must be readable from `base`, `start + n` at most their number, and
///   `to .. to + n` writable.
unsafe fn gather<T: Pod>(nest: &LoopNest<1>, base: *const T, start: usize, n: usize, to: *mut T) {
    let [stride] = nest.inner_strides();
    nest.rectangles(start..start + n, &mut |r| {
        for row in 0..r.rows {
            let from = base.wrapping_offset(r.offsets[0] + row as isize * r.row_strides[0]);
            // SAFETY: inside the nest, and inside `to .. to + n` (contract).
            unsafe {
                let to = to.add(r.start - start + row * r.len);
                if stride == 1 && r.len >= 16 {
                    std::ptr::copy_nonoverlapping(from, to, r.len);
                } else {
                    for i in 0..r.len {
                        *to.add(i) = *from.wrapping_offset(i as isize * stride);
                    }
                }
            }
        }
    });
}

/// Picoseconds an element, roughly.
const COST: u64 = 200;

/// `out = f(x)`, `f` being a loop over a tile. As those below it is compiled once for a set of types, not for each operation.
pub(super) fn one<A: Pod, O: Pod>(
    x: View<'_, A>,
    out: &mut [O],
    f: fn(&[A], &mut [O]),
) -> Result<()> {
    same_length(&x, out.len())?;
    let target = Pointer(out.as_mut_ptr());
    pieces(out.len(), COST, &|start, end| {
        let mut tile = Tile::new();
        let mut feed = Feed::new(&x, &mut tile);
        let mut i = start;
        while i < end {
            let n = TILE.min(end - i);
            // SAFETY: `i + n` is within the view and the output, pieces are disjoint, and views are
            // never the output.
            unsafe {
                let x = std::slice::from_raw_parts(feed.tile(i, n), n);
                f(x, std::slice::from_raw_parts_mut(target.get().add(i), n));
            }
            i += n;
        }
    });
    Ok(())
}

/// `write(start, wide)` for every tile of `x`, widened.
pub(super) fn widened<A: Number>(x: View<'_, A>, write: &(dyn Fn(usize, &[A::Wide]) + Sync)) {
    let len = x.len();
    pieces(len, COST, &|start, end| {
        let mut tile = Tile::new();
        let mut feed = Feed::new(&x, &mut tile);
        let mut wide = [A::Wide::default(); TILE];
        let mut i = start;
        while i < end {
            let n = TILE.min(end - i);
            // SAFETY: `i + n` is within the view.
            let x = unsafe { std::slice::from_raw_parts(feed.tile(i, n), n) };
            for (wide, x) in wide.iter_mut().zip(x) {
                *wide = x.widen();
            }
            write(i, &wide[..n]);
            i += n;
        }
    });
}

/// A formula of two slices.
type Two<A, B, O> = fn(&[A], &[B], &mut [O]);

/// `out = f(a, b)`, tile by tile.
pub(super) fn two<A: Pod, B: Pod, O: Pod>(
    a: View<'_, A>,
    b: View<'_, B>,
    out: &mut [O],
    f: Two<A, B, O>,
) -> Result<()> {
    require(a.shape() == b.shape(), "map: the operands' shapes differ")?;
    same_length(&a, out.len())?;
    let target = Pointer(out.as_mut_ptr());
    pieces(out.len(), COST, &|start, end| {
        let (mut a_tile, mut b_tile) = (Tile::new(), Tile::new());
        let (mut a_feed, mut b_feed) = (Feed::new(&a, &mut a_tile), Feed::new(&b, &mut b_tile));
        let mut i = start;
        while i < end {
            let n = TILE.min(end - i);
            // SAFETY: as in `one`.
            unsafe {
                let a = std::slice::from_raw_parts(a_feed.tile(i, n), n);
                let b = std::slice::from_raw_parts(b_feed.tile(i, n), n);
                f(a, b, std::slice::from_raw_parts_mut(target.get().add(i), n));
            }
            i += n;
        }
    });
    Ok(())
}

/// `out = c ? a : b`.
pub(super) fn select<T: Pod>(
    c: View<'_, u8>,
    a: View<'_, T>,
    b: View<'_, T>,
    out: &mut [T],
) -> Result<()> {
    require(c.shape() == a.shape() && a.shape() == b.shape(), "map: the operands' shapes differ")?;
    same_length(&a, out.len())?;
    let target = Pointer(out.as_mut_ptr());
    pieces(out.len(), COST, &|start, end| {
        let (mut c_tile, mut a_tile, mut b_tile) = (Tile::new(), Tile::new(), Tile::new());
        let mut c_feed = Feed::new(&c, &mut c_tile);
        let (mut a_feed, mut b_feed) = (Feed::new(&a, &mut a_tile), Feed::new(&b, &mut b_tile));
        let mut i = start;
        while i < end {
            let n = TILE.min(end - i);
            // SAFETY: as in `one`.
            unsafe {
                let c = std::slice::from_raw_parts(c_feed.tile(i, n), n);
                let a = std::slice::from_raw_parts(a_feed.tile(i, n), n);
                let b = std::slice::from_raw_parts(b_feed.tile(i, n), n);
                let out = std::slice::from_raw_parts_mut(target.get().add(i), n);
                for (((out, &c), &a), &b) in out.iter_mut().zip(c).zip(a).zip(b) {
                    *out = if c != 0 { a } else { b };
                }
            }
            i += n;
        }
    });
    Ok(())
}
