//! Rows of the table that stand in f64 alone: f32 is widened tile by tile, and its results rounded
//! once. A formula is instantiated once an ISA.

use std::marker::PhantomData;

use crate::cpu::isa::{self, Kernel};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::elementwise::{WideBinaryFormula, WideUnaryFormula};

/// Elements of a tile.
const TILE: usize = 128;

/// A whole number of vectors, whatever the ISA.
#[repr(align(64))]
pub(super) struct Tile([f64; TILE]);

/// `y = f(x)` of the first `n` elements, and of others up to a whole vector.
pub(super) type One = fn(x: &Tile, y: &mut Tile, n: usize);
/// `y = f(a, b)`, likewise.
pub(super) type Two = fn(a: &Tile, b: &Tile, y: &mut Tile, n: usize);

struct OneTile<'a, F>(&'a Tile, &'a mut Tile, usize, PhantomData<F>);

impl<F: WideUnaryFormula> Kernel<f64> for OneTile<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) {
        let mut i = 0;
        while i < self.2.min(TILE) {
            // SAFETY: `i` is a multiple of LANES below TILE, which is one too.
            unsafe {
                let x = s.load(self.0.0.as_ptr().add(i));
                s.store(self.1.0.as_mut_ptr().add(i), F::apply(s, x));
            }
            i += S::LANES;
        }
    }
}

struct TwoTiles<'a, F>(&'a Tile, &'a Tile, &'a mut Tile, usize, PhantomData<F>);

impl<F: WideBinaryFormula> Kernel<f64> for TwoTiles<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) {
        let mut i = 0;
        while i < self.3.min(TILE) {
            // SAFETY: as in `OneTile`.
            unsafe {
                let (a, b) = (s.load(self.0.0.as_ptr().add(i)), s.load(self.1.0.as_ptr().add(i)));
                s.store(self.2.0.as_mut_ptr().add(i), F::apply(s, a, b));
            }
            i += S::LANES;
        }
    }
}

/// The formula `F` of a tile.
pub(super) fn one<F: WideUnaryFormula>(x: &Tile, y: &mut Tile, n: usize) {
    isa::dispatch(OneTile(x, y, n, PhantomData::<F>));
}

/// The formula `F` of two tiles.
pub(super) fn two<F: WideBinaryFormula>(a: &Tile, b: &Tile, y: &mut Tile, n: usize) {
    isa::dispatch(TwoTiles(a, b, y, n, PhantomData::<F>));
}

/// `len` elements of `out = f(x)`; `x` may be `out`.
///
/// # Safety
/// - `x .. x + len` must be readable and `out .. out + len` writable; they are the same or
///   disjoint.
#[inline(never)]
pub(super) unsafe fn unary_row<T: Float>(f: One, x: *const T, out: *mut T, len: usize) {
    let (mut from, mut to) = (Tile([0.0; TILE]), Tile([0.0; TILE]));
    let mut i = 0;
    while i < len {
        let n = TILE.min(len - i);
        // SAFETY: `i + n <= len`, and the contract.
        unsafe {
            widen(x.add(i), 1, n, &mut from);
            f(&from, &mut to, n);
            narrow(&to, out.add(i), n);
        }
        i += n;
    }
}

/// `len` elements of `out = f(a, b)`; an operand is where it starts and its step, 1 or 0.
///
/// # Safety
/// - An operand must be readable for `len` elements (1 if its step is 0), `out` writable for `len`;
///   an operand overlaps `out` only if it is exactly `out`.
#[inline(never)]
pub(super) unsafe fn binary_row<T: Float>(
    f: Two,
    (a, a_step): (*const T, usize),
    (b, b_step): (*const T, usize),
    out: *mut T,
    len: usize,
) {
    let [mut x, mut y, mut to] = [const { Tile([0.0; TILE]) }; 3];
    let mut i = 0;
    while i < len {
        let n = TILE.min(len - i);
        // SAFETY: `i + n <= len`, and the contract.
        unsafe {
            widen(a.add(i * a_step), a_step, n, &mut x);
            widen(b.add(i * b_step), b_step, n, &mut y);
            f(&x, &y, &mut to, n);
            narrow(&to, out.add(i), n);
        }
        i += n;
    }
}

/// # Safety
/// - `from` must be readable for `n` elements `step` apart.
unsafe fn widen<T: Float>(from: *const T, step: usize, n: usize, tile: &mut Tile) {
    for (i, place) in tile.0.iter_mut().take(n).enumerate() {
        // SAFETY: `i < n`.
        *place = unsafe { *from.add(i * step) }.to_f64();
    }
}

/// # Safety
/// - `to` must be writable for `n` elements.
unsafe fn narrow<T: Float>(tile: &Tile, to: *mut T, n: usize) {
    for (i, &value) in tile.0.iter().take(n).enumerate() {
        // SAFETY: `i < n`.
        unsafe { *to.add(i) = T::from_f64(value) };
    }
}
