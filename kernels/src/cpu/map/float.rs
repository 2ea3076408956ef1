//! The float path: each op is instantiated once an ISA, as a kernel over some rows.
//!
//! An operand's row is contiguous or one value; the latter is spread over one vector in memory
//! which is then read again and again, so one loop serves every pattern. Other strides are gathered
//! first, tile by tile.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::plain::{Feed, TILE, Tile};
use super::{PIECE, Pointer, Source, pieces, same_length, wide};
use crate::cpu::copy::{self, past};
use crate::cpu::isa::{Available, Kernel};
use crate::cpu::simd::{self, Four, Simd};
use crate::element::Float;
use crate::elementwise::{BinaryFormula, BinaryOp, BinaryVisitor, UnaryFormula, UnaryOp};
use crate::elementwise::{UnaryVisitor, WideBinaryFormula, WideUnaryFormula};
use crate::error::{Result, require};
use crate::strided::{Dims, LoopNest};

/// `len` contiguous elements of `out = op(x)`; `x` may be `out`.
#[derive(Clone, Copy)]
struct UnaryRow<T, F> {
    x: *const T,
    out: *mut T,
    len: usize,
    formula: PhantomData<F>,
}

impl<T: Float, F: UnaryFormula> Kernel<T> for UnaryRow<T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let mut last = Spread::<T>([MaybeUninit::uninit(); 16]);
        let last: *mut T = last.0.as_mut_ptr().cast();
        let (mut x, mut out, mut i) = (self.x, self.out, 0);
        let (mut whole, rest) = (self.len - self.len % S::LANES, self.len % S::LANES);
        // SAFETY: `x .. x + len` is readable, `out .. out + len` writable (contract of
        // `unary_row`); each vector is read before it is written, so `x == out` is fine. What is no
        // whole vector is made one elsewhere, and goes through the same loop: one instance of the
        // formula.
        unsafe {
            if const { size_of::<T>() == 4 && S::LANES > 1 && is_chain(F::OP) } {
                let s = Four(s);
                while i + 4 * S::LANES <= self.len {
                    s.store(out.add(i), F::apply(s, s.load(x.add(i))));
                    i += 4 * S::LANES;
                }
            }
            loop {
                while i < whole {
                    s.store(out.add(i), F::apply(s, s.load(x.add(i))));
                    i += S::LANES;
                }
                if x == last.cast_const() {
                    return s.store_first(self.out.add(self.len - rest), s.load(last), rest);
                }
                if rest == 0 {
                    return;
                }
                s.store(last, s.load_first(x.add(i), rest));
                (x, out, i, whole) = (last, last, 0, S::LANES);
            }
        }
    }
}

/// Whether the formula is a long chain of steps, worth a second instance that takes [`Four`] vectors together.
const fn is_chain(op: UnaryOp) -> bool {
    use UnaryOp::*;
    matches!(op, Exp | Expm1 | Tanh | Sigmoid | Erf | Gelu)
}

/// The visitor that runs a [`UnaryRow`].
struct RunUnary<T> {
    x: *const T,
    out: *mut T,
    len: usize,
}

impl<T: Float> UnaryVisitor for RunUnary<T> {
    type Output = ();

    #[inline]
    fn visit<F: UnaryFormula>(self) {
        let RunUnary { x, out, len } = self;
        T::dispatch(UnaryRow { x, out, len, formula: PhantomData::<F> });
    }

    #[inline]
    fn visit_wide<F: WideUnaryFormula>(self) {
        // SAFETY: the contract of `unary_row`.
        unsafe { wide::unary_row(wide::one::<F>, self.x, self.out, self.len) }
    }
}

/// `out = op(x)` for `len` elements.
///
/// # Safety
/// - `x .. x + len` must be readable and `out .. out + len` writable; they are the same or
///   disjoint.
unsafe fn unary_row<T: Float>(op: UnaryOp, x: *const T, out: *mut T, len: usize) {
    op.visit(RunUnary { x, out, len });
}

/// See [`super::unary`].
pub(super) fn unary<T: Float>(op: UnaryOp, x: Source<'_, T>, out: &mut [T]) -> Result<()> {
    let len = out.len();
    let mut source = None;
    match x {
        Source::View(view) => {
            same_length(&view, len)?;
            source = view.as_contiguous().map(|slice| Pointer(slice.as_ptr().cast_mut()));
            if source.is_none() {
                copy::copy(view, out)?;
            }
        }
        Source::Slice(slice) => {
            require(slice.len() == len, "map: an operand's length is not the result's")?;
            source = Some(Pointer(slice.as_ptr().cast_mut()));
        }
        Source::One(&value) => out.fill(value),
        Source::Output => {}
    }
    let target = Pointer(out.as_mut_ptr());
    let large = source.is_some() && past::suits(target.get(), len, 1);
    let source = source.unwrap_or(target);
    pieces(len, op.cost() * size_of::<T>() as u64 / 4, &|start, end| {
        // SAFETY: both slices have `len` elements and pieces are disjoint; they are one slice or
        // borrowed apart. Pieces start after whole lines.
        unsafe {
            let (x, out) = (source.get().add(start), target.get().add(start));
            match large {
                true => past::by_tiles(out, end - start, |i, to, n| unary_row(op, x.add(i), to, n)),
                false => unary_row(op, x, out, end - start),
            }
        }
    });
    Ok(())
}

/// An operand's place in a [`BinaryRows`]: row `r` starts at `pointer + r * row_stride` and is
/// contiguous, or one value.
#[derive(Clone, Copy)]
struct Rows<T> {
    pointer: *const T,
    row_stride: isize,
    one_value: bool,
}

/// `rows` rows of `len` elements of `out = op(a, b)`; `out` is contiguous.
#[derive(Clone, Copy)]
struct BinaryRows<T> {
    a: Rows<T>,
    b: Rows<T>,
    out: *mut T,
    rows: usize,
    len: usize,
}

/// The kernel of a formula, over rows that are not copied on the way to it: they may be very short.
struct RunRows<'a, T, F>(&'a BinaryRows<T>, PhantomData<F>);

/// One vector of one value, for every ISA.
#[repr(align(64))]
struct Spread<T>([MaybeUninit<T>; 16]);

impl<T: Float, F: BinaryFormula> Kernel<T> for RunRows<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let BinaryRows { a, b, out, rows, len } = *self.0;
        let mut spread_a = Spread([MaybeUninit::uninit(); 16]);
        let mut spread_b = Spread([MaybeUninit::uninit(); 16]);
        let (mut row_a, mut row_b, mut out) = (a.pointer, b.pointer, out);
        for _ in 0..rows {
            // SAFETY: rows lie where the contract of `binary_rows` says; a vector has at most 16
            // lanes. Each vector is read before it is written, so an operand may be the output.
            unsafe {
                let (x, mask_x) = spread(s, row_a, a.one_value, &mut spread_a);
                let (y, mask_y) = spread(s, row_b, b.one_value, &mut spread_b);
                let mut i = 0;
                while i + S::LANES <= len {
                    let z = F::apply(s, s.load(x.add(i & mask_x)), s.load(y.add(i & mask_y)));
                    s.store(out.add(i), z);
                    i += S::LANES;
                }
                if i < len {
                    let rest = len - i;
                    let x = s.load_first(x.add(i & mask_x), rest);
                    let z = F::apply(s, x, s.load_first(y.add(i & mask_y), rest));
                    s.store_first(out.add(i), z, rest);
                }
                out = out.add(len);
            }
            row_a = row_a.wrapping_offset(a.row_stride);
            row_b = row_b.wrapping_offset(b.row_stride);
        }
    }
}

/// Where to read a row, and the mask of its index: the row itself, or its one value spread over a
/// vector.
///
/// # Safety
/// - `row` must be readable if `one_value`.
#[inline(always)]
unsafe fn spread<T: Float, S: simd::Simd<T>>(
    s: S,
    row: *const T,
    one_value: bool,
    place: &mut Spread<T>,
) -> (*const T, usize) {
    if one_value {
        // SAFETY: `row` is readable, and the place holds a vector of any ISA.
        unsafe { s.store(place.0.as_mut_ptr().cast(), s.splat(*row)) };
        (place.0.as_ptr().cast(), 0)
    } else {
        (row, usize::MAX)
    }
}

/// The visitor that runs [`BinaryRows`] under an ISA that is known to be there.
struct RunBinary<'a, T>(Available, &'a BinaryRows<T>);

impl<T: Float> BinaryVisitor for RunBinary<'_, T> {
    type Output = ();

    #[inline]
    fn visit<F: BinaryFormula>(self) {
        T::dispatch_at(self.0, RunRows(self.1, PhantomData::<F>));
    }

    #[inline]
    fn visit_wide<F: WideBinaryFormula>(self) {
        let BinaryRows { a, b, out, rows, len } = *self.1;
        for row in 0..rows {
            let place = |rows: Rows<T>| {
                let start = rows.pointer.wrapping_offset(row as isize * rows.row_stride);
                (start, !rows.one_value as usize)
            };
            // SAFETY: the contract of `binary_rows`.
            unsafe { wide::binary_row(wide::two::<F>, place(a), place(b), out.add(row * len), len) }
        }
    }
}

/// `out = op(a, b)` for `rows` rows of `len` elements.
///
/// # Safety
/// - Row `r` of an operand, `pointer + r * row_stride`, must be readable for `len` elements (1 if
///   `one_value`), `out` writable for `rows * len`.
/// - An operand overlaps `out` only if it is exactly `out`.
#[inline]
unsafe fn binary_rows<T: Float>(
    op: BinaryOp,
    a: Rows<T>,
    b: Rows<T>,
    out: *mut T,
    (rows, len): (usize, usize),
) {
    op.visit(RunBinary(Available::in_force(), &BinaryRows { a, b, out, rows, len }));
}

/// How an operand of the whole problem lies.
#[derive(Clone, Copy)]
enum Lie {
    Contiguous,
    OneValue,
    Strided,
}

/// The first element and how the rest lie.
fn lie<T: Float>(source: &Source<'_, T>, out: Pointer<T>) -> (Pointer<T>, Lie) {
    match source {
        Source::Output => (out, Lie::Contiguous),
        Source::Slice(slice) => (Pointer(slice.as_ptr().cast_mut()), Lie::Contiguous),
        Source::One(value) => (Pointer(std::ptr::from_ref(*value).cast_mut()), Lie::OneValue),
        Source::View(view) => {
            let base = Pointer(view.data().as_ptr().wrapping_add(view.offset()).cast_mut());
            if crate::strided::is_contiguous(view.shape(), view.strides()) {
                (base, Lie::Contiguous)
            } else if view.shape().iter().zip(view.strides()).all(|(&n, &s)| n == 1 || s == 0) {
                (base, Lie::OneValue)
            } else {
                (base, Lie::Strided)
            }
        }
    }
}

/// `out = op(a, b)` of slices, if they have one length and are no work for a team.
#[inline(always)]
pub(super) fn short_slices<T: Float>(op: BinaryOp, a: &[T], b: &[T], out: &mut [T]) -> bool {
    let len = out.len();
    let short = (a.len(), b.len()) == (len, len) && len <= PIECE;
    if short {
        let row = |x: &[T]| Rows { pointer: x.as_ptr(), row_stride: 0, one_value: false };
        // SAFETY: all three have `len` elements, and the output is borrowed apart.
        unsafe { binary_rows(op, row(a), row(b), out.as_mut_ptr(), (1, len)) };
    }
    short
}

/// Of any slices, whose lengths are looked at.
#[inline(never)]
pub(super) fn any_slices<T: Float>(op: BinaryOp, a: &[T], b: &[T], out: &mut [T]) -> Result<()> {
    binary(op, Source::Slice(a), Source::Slice(b), out)
}

/// See [`super::binary`].
pub(super) fn binary<T: Float>(
    op: BinaryOp,
    a: Source<'_, T>,
    b: Source<'_, T>,
    out: &mut [T],
) -> Result<()> {
    let len = out.len();
    for source in [&a, &b] {
        match source {
            Source::View(view) => same_length(view, len)?,
            Source::Slice(slice) => {
                require(slice.len() == len, "map: an operand's length is not the result's")?;
            }
            Source::One(_) | Source::Output => {}
        }
    }
    if let (Source::View(a), Source::View(b)) = (&a, &b) {
        require(a.shape() == b.shape(), "map: the operands' shapes differ")?;
    }
    if len == 0 {
        return Ok(());
    }
    let target = Pointer(out.as_mut_ptr());
    let ((a_base, a_lie), (b_base, b_lie)) = (lie(&a, target), lie(&b, target));
    let cost = op.cost() * size_of::<T>() as u64 / 4;
    if matches!(a_lie, Lie::Strided) || matches!(b_lie, Lie::Strided) {
        return binary_strided(op, (&a, a_base), (&b, b_base), target, len);
    }
    let rows = |base: Pointer<T>, lie: Lie, start: usize| match lie {
        Lie::OneValue => Rows { pointer: base.get().cast_const(), row_stride: 0, one_value: true },
        _ => Rows { pointer: base.get().wrapping_add(start), row_stride: 0, one_value: false },
    };
    let in_place = [&a, &b].iter().any(|source| matches!(source, Source::Output));
    let read = [a_lie, b_lie].iter().filter(|lie| matches!(lie, Lie::Contiguous)).count();
    let large = !in_place && past::suits(target.get(), len, read);
    pieces(len, cost, &|start, end| {
        // SAFETY: contiguous operands have `len` elements, others one; pieces are disjoint, start after whole lines, and only an operand
        // that is the output overlaps it.
        unsafe {
            let part = |start, out, n| {
                let (a, b) = (rows(a_base, a_lie, start), rows(b_base, b_lie, start));
                binary_rows(op, a, b, out, (1, n));
            };
            let out = target.get().add(start);
            match large {
                true => past::by_tiles(out, end - start, |i, to, n| part(start + i, to, n)),
                false => part(start, out, end - start),
            }
        }
    });
    Ok(())
}

/// How an operand lies in the result's shape.
fn strides_of<'a, T: Float>(source: &'a Source<'_, T>, contiguous: &'a [isize]) -> Dims<isize> {
    let mut strides = Dims::new(0);
    match source {
        Source::Output | Source::Slice(_) => contiguous.iter().for_each(|&s| strides.push(s)),
        Source::One(_) => contiguous.iter().for_each(|_| strides.push(0)),
        Source::View(view) => view.strides().iter().for_each(|&s| strides.push(s)),
    }
    strides
}

/// At least one operand is neither contiguous nor one value.
fn binary_strided<T: Float>(
    op: BinaryOp,
    (a, a_base): (&Source<'_, T>, Pointer<T>),
    (b, b_base): (&Source<'_, T>, Pointer<T>),
    target: Pointer<T>,
    len: usize,
) -> Result<()> {
    let shape = match (a, b) {
        (Source::View(view), _) | (_, Source::View(view)) => view.shape(),
        _ => return Ok(()),
    };
    let contiguous = crate::strided::row_major(shape);
    let strides = [strides_of(a, &contiguous), strides_of(b, &contiguous)];
    let nest = LoopNest::new(shape, [&strides[0], &strides[1]]);
    let inner = nest.inner_strides();
    let cost = op.cost() * size_of::<T>() as u64 / 4;
    if inner.iter().all(|&stride| stride == 0 || stride == 1) {
        pieces(len, cost, &|start, end| {
            nest.rectangles(start..end, &mut |r| {
                let rows = |i: usize, base: Pointer<T>| Rows {
                    pointer: base.get().wrapping_offset(r.offsets[i]).cast_const(),
                    row_stride: r.row_strides[i],
                    one_value: inner[i] == 0,
                };
                // SAFETY: the nest walks elements of checked views; rectangles are disjoint parts
                // of the output.
                unsafe {
                    let out = target.get().add(r.start);
                    binary_rows(op, rows(0, a_base), rows(1, b_base), out, (r.rows, r.len));
                }
            });
        });
        return Ok(());
    }
    pieces(len, 2 * cost, &|start, end| {
        let (mut a_tile, mut b_tile) = (Tile::new(), Tile::new());
        let mut a_feed = feed(a, a_base, &mut a_tile);
        let mut b_feed = feed(b, b_base, &mut b_tile);
        let mut i = start;
        while i < end {
            let n = TILE.min(end - i);
            let row = |pointer| Rows { pointer, row_stride: 0, one_value: false };
            // SAFETY: a feed gives `n` readable elements (its views have `len`); tiles of the
            // output are disjoint.
            unsafe {
                let (a, b) = (row(a_feed.tile(i, n)), row(b_feed.tile(i, n)));
                binary_rows(op, a, b, target.get().add(i), (1, n));
            }
            i += n;
        }
    });
    Ok(())
}

/// The feed of a view, or of the output itself.
fn feed<'a, T: Float>(
    source: &Source<'a, T>,
    base: Pointer<T>,
    tile: &'a mut Tile<T>,
) -> Feed<'a, T> {
    match source {
        Source::Output | Source::Slice(_) => Feed::contiguous(base.get(), tile),
        Source::One(value) => Feed::one(value, tile),
        Source::View(view) => Feed::new(view, tile),
    }
}
