//! Vectors: the trait that algorithms are written over, and one token per ISA.
//!
//! A token is a proof that its instructions exist on this CPU; its methods are therefore safe, except where they touch
//! memory through a pointer. Every method is one or a few intrinsics and means the same on every ISA, bit for bit.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod four;
mod scalar;

use std::mem::MaybeUninit;

pub use four::Four;
pub use scalar::Scalar;
#[cfg(target_arch = "x86_64")]
pub use {avx2::Avx2, avx512::Avx512};

/// The most lanes of a vector: [`Four`] of the widest.
pub(crate) const MOST_LANES: usize = 64;

/// Vectors of `T` on one ISA.
pub trait Simd<T>: Copy + Send + Sync + 'static {
    /// A vector of [`LANES`](Self::LANES) elements.
    type V: Copy;
    /// A mask with one bit a lane.
    type M: Copy;
    /// Elements a vector.
    const LANES: usize;

    /// All lanes `x`.
    fn splat(self, x: T) -> Self::V;

    /// Loads [`LANES`](Self::LANES) elements.
    ///
    /// # Safety
    /// - `from .. from + LANES` must be readable. No alignment is needed beyond the element's.
    unsafe fn load(self, from: *const T) -> Self::V;

    /// Loads the first `n <= LANES` elements, the other lanes are +0; nothing beyond them is read.
    ///
    /// # Safety
    /// - `from .. from + n` must be readable and `n <= LANES`.
    unsafe fn load_first(self, from: *const T, n: usize) -> Self::V;

    /// Stores [`LANES`](Self::LANES) elements.
    ///
    /// # Safety
    /// - `to .. to + LANES` must be writable.
    unsafe fn store(self, to: *mut T, x: Self::V);

    /// [`store`](Self::store), past the caches where there are instructions for that.
    ///
    /// # Safety
    /// - As there, and `to` must be aligned to the vector's size; this thread must fence before anyone accesses what it wrote.
    #[inline(always)]
    unsafe fn store_past(self, to: *mut T, x: Self::V) {
        // SAFETY: by the caller's contract.
        unsafe { self.store(to, x) }
    }

    /// Stores the first `n <= LANES` elements; nothing beyond them is touched.
    ///
    /// # Safety
    /// - `to .. to + n` must be writable and `n <= LANES`.
    unsafe fn store_first(self, to: *mut T, x: Self::V, n: usize);

    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`, rounded once.
    fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Correctly rounded square root.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `a > b ? a : b`, the x86 instruction: the second operand if either is NaN or both are zero.
    fn max_second(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a < b ? a : b`, the x86 instruction: the second operand if either is NaN or both are zero.
    fn min_second(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a` held to `-bound ..= bound`. NaN stays or becomes a bound, whichever costs less: its way to the result must be another.
    #[inline(always)]
    fn within(self, a: Self::V, bound: Self::V) -> Self::V {
        self.max_second(self.neg(bound), self.min_second(bound, a))
    }
    /// `|a|` held to `bound`, NaN as in [`within`](Self::within).
    #[inline(always)]
    fn abs_within(self, a: Self::V, bound: Self::V) -> Self::V {
        self.min_second(bound, self.abs(a))
    }
    /// `a < 0 ? x : 1`, and NaN for an `a` whose NaN [`abs_within`](Self::abs_within) would lose.
    fn one_unless_negative(self, a: Self::V, x: Self::V) -> Self::V;
    /// Nearest integer, ties to even.
    fn round(self, a: Self::V) -> Self::V;
    /// Largest integer not above.
    fn floor(self, a: Self::V) -> Self::V;
    /// Smallest integer not below.
    fn ceil(self, a: Self::V) -> Self::V;
    /// Integer part.
    fn trunc(self, a: Self::V) -> Self::V;

    /// Bitwise and.
    fn and(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bitwise or.
    fn or(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bitwise exclusive or.
    fn xor(self, a: Self::V, b: Self::V) -> Self::V;
    /// Clears the sign bit.
    fn abs(self, a: Self::V) -> Self::V;
    /// Flips the sign bit.
    fn neg(self, a: Self::V) -> Self::V;
    /// `magnitude` with the sign bit of `sign`.
    fn copysign(self, magnitude: Self::V, sign: Self::V) -> Self::V;

    /// `x * 2^n` for integral `n` that is at most twice the exponent range, computed as `x * 2^(n >> 1) * 2^(n - (n >> 1))`:
    /// rounds at most once when the result is denormal and `x` is near 1.
    fn scale(self, x: Self::V, n: Self::V) -> Self::V;
    /// True if [`scale`](Self::scale) takes any `n` at all: 0 or infinity beyond the exponents' range, NaN of NaN.
    const ANY_SCALE: bool = false;
    /// Splits a positive normal or denormal `x` into `(m, e)` with `x = m * 2^e` and `m` in `[0.75, 1.5)`, `e` as a float.
    fn split_exponent(self, x: Self::V) -> (Self::V, Self::V);

    /// `a == b`, false for NaN.
    fn eq(self, a: Self::V, b: Self::V) -> Self::M;
    /// `a < b`, false for NaN.
    fn lt(self, a: Self::V, b: Self::V) -> Self::M;
    /// `a <= b`, false for NaN.
    fn le(self, a: Self::V, b: Self::V) -> Self::M;
    /// True where NaN.
    fn is_nan(self, a: Self::V) -> Self::M;
    /// `mask ? yes : no`.
    fn select(self, mask: Self::M, yes: Self::V, no: Self::V) -> Self::V;
    /// Both.
    fn mask_and(self, a: Self::M, b: Self::M) -> Self::M;
    /// Either.
    fn mask_or(self, a: Self::M, b: Self::M) -> Self::M;
    /// The opposite.
    fn mask_not(self, a: Self::M) -> Self::M;
    /// Bit `l` is lane `l`.
    fn mask_bits(self, a: Self::M) -> u64;

    /// The mask of the first `n` lanes; all of them from `n = LANES` on.
    fn first(self, n: usize) -> Self::M;
    /// The lanes' sum by the fixed fold `lane[i] += lane[i + w]`, `w = LANES / 2, ..., 2, 1` (ADR 001, R3).
    fn fold_sum(self, a: Self::V) -> T;
    /// The largest lane, if none is NaN; of zeros any.
    fn fold_max(self, a: Self::V) -> T;
    /// The lowest bits moved to the exponent field: `2^n` of `n + bias + 1.5 * 2^MANTISSA`, whose low bits are `n + bias`.
    fn low_bits_to_exponent(self, a: Self::V) -> Self::V;
    /// Four elements of each of [`LANES`](Self::LANES) columns, transposed: lane `i` of vector `j` is `from[i * stride + j]`.
    ///
    /// # Safety
    /// - Every column must be readable for 4 elements.
    unsafe fn load_columns(self, from: *const T, stride: isize) -> [Self::V; 4];
    /// [`load_columns`](Self::load_columns) of eight elements.
    ///
    /// # Safety
    /// - Every column must be readable for 8 elements.
    #[inline(always)]
    unsafe fn load_columns_8(self, from: *const T, stride: isize) -> [Self::V; 8] {
        // SAFETY: the first and the last four of the eight.
        unsafe {
            let [a, b, c, d] = self.load_columns(from, stride);
            let [e, f, g, h] = self.load_columns(from.add(4), stride);
            [a, b, c, d, e, f, g, h]
        }
    }
    /// [`load_columns`](Self::load_columns) of sixteen elements. Where there are sixteen columns, too, both halves of a line are loaded soon after each
    /// other: a cache may have room for half of their lines only.
    ///
    /// # Safety
    /// - Every column must be readable for 16 elements.
    #[inline(always)]
    unsafe fn load_columns_16(self, from: *const T, stride: isize) -> [[Self::V; 8]; 2] {
        // SAFETY: handed on.
        unsafe {
            [self.load_columns_8(from, stride), self.load_columns_8(from.wrapping_add(8), stride)]
        }
    }
    /// Of the elements of `a`, then those of `b`: every other one from the first on, and from the second on.
    fn unpair(self, a: Self::V, b: Self::V) -> [Self::V; 2];
    /// Stores the first `n <= LANES` lanes, whole numbers from 0 to 255, a byte each; nothing beyond them is touched.
    ///
    /// # Safety
    /// - `to .. to + n` must be writable and `n <= LANES`.
    unsafe fn store_bytes(self, to: *mut u8, x: Self::V, n: usize);
    /// Stores the lanes where the mask is true one after the other, and says how many they are; the rest of as much memory as a vector takes
    /// may be overwritten.
    ///
    /// # Safety
    /// - As [`store`](Self::store).
    #[inline(always)]
    unsafe fn store_where(self, to: *mut T, x: Self::V, mask: Self::M) -> usize {
        let mut lanes = [const { MaybeUninit::<T>::uninit() }; MOST_LANES];
        let lanes: *mut T = lanes.as_mut_ptr().cast();
        let (bits, mut count) = (self.mask_bits(mask), 0);
        // SAFETY: no vector has more lanes; no more of them are stored than there are.
        unsafe {
            self.store(lanes, x);
            for lane in 0..Self::LANES {
                // The next one takes its place if it is not to stay.
                to.add(count).write(lanes.add(lane).read());
                count += (bits >> lane & 1) as usize;
            }
        }
        count
    }
    /// Side of a block that [`transpose`](Self::transpose) takes.
    const BLOCK: usize;

    /// `to[j * to_stride + i] = *rows[i].add(j)` for `i, j < BLOCK`, stored in ascending `j`.
    ///
    /// # Safety
    /// - The first [`BLOCK`](Self::BLOCK) of `rows` must be readable for `BLOCK` elements each.
    /// - `to + j * to_stride` must be writable for `BLOCK` elements for each `j < BLOCK`.
    unsafe fn transpose(self, rows: &[*const T; 8], to: *mut T, to_stride: usize);
}
