//! One lane: the portable path, and the same bits as the others.

use super::Simd;

/// The token of the portable path; needs no proof.
#[derive(Debug, Clone, Copy)]
pub struct Scalar;

macro_rules! scalar {
    ($t:ident, $bits:ident, $int:ident, $mantissa:expr, $bias:expr, $min_normal:expr) => {
        impl Simd<$t> for Scalar {
            type V = $t;
            type M = bool;
            const LANES: usize = 1;

            #[inline(always)]
            fn splat(self, x: $t) -> $t {
                x
            }
            #[inline(always)]
            unsafe fn load(self, from: *const $t) -> $t {
                // SAFETY: the caller guarantees one readable element.
                unsafe { *from }
            }
            #[inline(always)]
            unsafe fn load_first(self, from: *const $t, n: usize) -> $t {
                // SAFETY: the caller guarantees `n` readable elements.
                if n == 0 { 0.0 } else { unsafe { *from } }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $t, x: $t) {
                // SAFETY: the caller guarantees one writable element.
                unsafe { *to = x }
            }
            #[inline(always)]
            unsafe fn store_first(self, to: *mut $t, x: $t, n: usize) {
                if n != 0 {
                    // SAFETY: the caller guarantees `n` writable elements.
                    unsafe { *to = x }
                }
            }
            #[inline(always)]
            fn add(self, a: $t, b: $t) -> $t {
                a + b
            }
            #[inline(always)]
            fn sub(self, a: $t, b: $t) -> $t {
                a - b
            }
            #[inline(always)]
            fn mul(self, a: $t, b: $t) -> $t {
                a * b
            }
            #[inline(always)]
            fn div(self, a: $t, b: $t) -> $t {
                a / b
            }
            #[inline(always)]
            fn fma(self, a: $t, b: $t, c: $t) -> $t {
                a.mul_add(b, c)
            }
            #[inline(always)]
            fn fnma(self, a: $t, b: $t, c: $t) -> $t {
                (-a).mul_add(b, c)
            }
            #[inline(always)]
            fn sqrt(self, a: $t) -> $t {
                a.sqrt()
            }
            #[inline(always)]
            fn max_second(self, a: $t, b: $t) -> $t {
                if a > b { a } else { b }
            }
            #[inline(always)]
            fn min_second(self, a: $t, b: $t) -> $t {
                if a < b { a } else { b }
            }
            #[inline(always)]
            fn one_unless_negative(self, a: $t, x: $t) -> $t {
                if a < 0.0 { x } else { 1.0 }
            }
            #[inline(always)]
            fn round(self, a: $t) -> $t {
                a.round_ties_even()
            }
            #[inline(always)]
            fn floor(self, a: $t) -> $t {
                a.floor()
            }
            #[inline(always)]
            fn ceil(self, a: $t) -> $t {
                a.ceil()
            }
            #[inline(always)]
            fn trunc(self, a: $t) -> $t {
                a.trunc()
            }
            #[inline(always)]
            fn and(self, a: $t, b: $t) -> $t {
                $t::from_bits(a.to_bits() & b.to_bits())
            }
            #[inline(always)]
            fn or(self, a: $t, b: $t) -> $t {
                $t::from_bits(a.to_bits() | b.to_bits())
            }
            #[inline(always)]
            fn xor(self, a: $t, b: $t) -> $t {
                $t::from_bits(a.to_bits() ^ b.to_bits())
            }
            #[inline(always)]
            fn abs(self, a: $t) -> $t {
                a.abs()
            }
            #[inline(always)]
            fn neg(self, a: $t) -> $t {
                -a
            }
            #[inline(always)]
            fn copysign(self, magnitude: $t, sign: $t) -> $t {
                magnitude.copysign(sign)
            }

            #[inline(always)]
            fn scale(self, x: $t, n: $t) -> $t {
                let n = n as $int;
                let half = n >> 1;
                let power = |e: $int| $t::from_bits(((e + $bias) as $bits) << $mantissa);
                x * power(half) * power(n - half)
            }
            #[inline(always)]
            fn split_exponent(self, x: $t) -> ($t, $t) {
                let denormal = x < $t::MIN_POSITIVE;
                let (x, shift) = if denormal { (x * $min_normal, $mantissa + 2) } else { (x, 0) };
                let bits = x.to_bits() as $int;
                // 0.75's bits as origin: the exponent of x / 0.75, rounded down.
                // Wrapping: other values of x have no meaning, but must not panic.
                let above = bits.wrapping_sub((0.75 as $t).to_bits() as $int);
                let exponent = above >> $mantissa;
                let m = $t::from_bits(bits.wrapping_sub(exponent << $mantissa) as $bits);
                (m, (exponent - shift) as $t)
            }

            #[inline(always)]
            fn eq(self, a: $t, b: $t) -> bool {
                a == b
            }
            #[inline(always)]
            fn lt(self, a: $t, b: $t) -> bool {
                a < b
            }
            #[inline(always)]
            fn le(self, a: $t, b: $t) -> bool {
                a <= b
            }
            #[inline(always)]
            fn is_nan(self, a: $t) -> bool {
                a.is_nan()
            }
            #[inline(always)]
            fn select(self, mask: bool, yes: $t, no: $t) -> $t {
                if mask { yes } else { no }
            }
            #[inline(always)]
            fn mask_and(self, a: bool, b: bool) -> bool {
                a & b
            }
            #[inline(always)]
            fn mask_or(self, a: bool, b: bool) -> bool {
                a | b
            }
            #[inline(always)]
            fn mask_not(self, a: bool) -> bool {
                !a
            }
            #[inline(always)]
            fn mask_bits(self, a: bool) -> u64 {
                a as u64
            }

            #[inline(always)]
            unsafe fn load_columns(self, from: *const $t, _stride: isize) -> [$t; 4] {
                // SAFETY: by the caller's contract.
                unsafe { from.cast::<[$t; 4]>().read() }
            }
            #[inline(always)]
            fn unpair(self, a: $t, b: $t) -> [$t; 2] {
                [a, b]
            }
            #[inline(always)]
            unsafe fn store_bytes(self, to: *mut u8, x: $t, n: usize) {
                if n > 0 {
                    // SAFETY: by the caller's contract.
                    unsafe { *to = x as u8 };
                }
            }
            const BLOCK: usize = 1;
            #[inline(always)]
            unsafe fn transpose(self, rows: &[*const $t; 8], to: *mut $t, _: usize) {
                // SAFETY: the caller guarantees one element each.
                unsafe { *to = *rows[0] }
            }
            #[inline(always)]
            fn low_bits_to_exponent(self, a: $t) -> $t {
                $t::from_bits(a.to_bits() << $mantissa)
            }
            #[inline(always)]
            fn first(self, n: usize) -> bool {
                n != 0
            }
            #[inline(always)]
            fn fold_sum(self, a: $t) -> $t {
                a
            }
            #[inline(always)]
            fn fold_max(self, a: $t) -> $t {
                a
            }
        }
    };
}

// Bits of the mantissa, exponent bias, and 2^(mantissa + 2) that lifts every denormal to a normal.
scalar!(f32, u32, i32, 23, 127, 33554432.0);
scalar!(f64, u64, i64, 52, 1023, 18014398509481984.0);
