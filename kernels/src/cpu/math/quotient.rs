//! What a quotient leaves: `fmod`, `remainder` and `floor_divide`, exact.

use crate::cpu::simd::{MOST_LANES, Simd};

/// `a - b trunc(a / b)`, exact, with the sign of `a`: C's `fmod`.
#[inline(always)]
pub fn fmod<S: Simd<f64>>(s: S, a: S::V, b: S::V) -> S::V {
    let (x, y) = (s.abs(a), s.abs(b));
    let q = s.trunc(s.div(x, y));
    // A quotient that was rounded up leaves one divisor too little. Both steps are exact: what they
    // leave is a multiple of the operands' last places, and no larger than the divisor.
    let rest = s.fnma(q, y, x);
    let rest = s.select(s.lt(rest, s.splat(0.0)), s.add(rest, y), rest);
    // Far or not finite, which is rare.
    let easy = s.mask_and(s.lt(q, s.splat(4503599627370496.0)), s.lt(y, s.splat(f64::INFINITY)));
    let hard = s.mask_bits(s.mask_not(easy));
    let rest = if hard == 0 { rest } else { lanes(s, x, y, rest, hard) };
    s.copysign(rest, a)
}

/// `rest` with the lanes in `hard` replaced by the exact remainder of `x / y`.
#[inline(always)]
fn lanes<S: Simd<f64>>(s: S, x: S::V, y: S::V, rest: S::V, hard: u64) -> S::V {
    let (mut xs, mut ys, mut rests) = ([0.0; MOST_LANES], [0.0; MOST_LANES], [0.0; MOST_LANES]);
    // SAFETY: no vector has more lanes.
    unsafe {
        s.store(xs.as_mut_ptr(), x);
        s.store(ys.as_mut_ptr(), y);
        s.store(rests.as_mut_ptr(), rest);
    }
    for lane in 0..S::LANES.min(MOST_LANES) {
        if hard >> lane & 1 == 1 {
            rests[lane] = by_division(xs[lane], ys[lane]);
        }
    }
    // SAFETY: as above.
    unsafe { s.load(rests.as_ptr()) }
}

/// The exact remainder: every system's is the same.
#[cold]
#[inline(never)]
fn by_division(x: f64, y: f64) -> f64 {
    x % y
}

/// What `fmod` leaves, one divisor further where its sign is not the divisor's.
#[inline(always)]
fn strays<S: Simd<f64>>(s: S, rest: S::V, b: S::V) -> S::M {
    let zero = s.splat(0.0);
    let opposite = s.lt(s.mul(s.copysign(s.splat(1.0), rest), s.copysign(s.splat(1.0), b)), zero);
    s.mask_and(s.mask_not(s.eq(rest, zero)), opposite)
}

/// `a - b floor(a / b)`, with the sign of `b`: Python's `%`.
#[inline(always)]
pub fn remainder<S: Simd<f64>>(s: S, a: S::V, b: S::V) -> S::V {
    let rest = fmod(s, a, b);
    s.select(strays(s, rest, b), s.add(rest, b), rest)
}

/// `floor(a / b)` of the exact quotient, as PyTorch and Python: the quotient itself where `b` is 0.
#[inline(always)]
pub fn floor_divide<S: Simd<f64>>(s: S, a: S::V, b: S::V) -> S::V {
    let rest = fmod(s, a, b);
    let whole = s.div(s.sub(a, rest), b);
    let whole = s.select(strays(s, rest, b), s.sub(whole, s.splat(1.0)), whole);
    let quotient = s.div(a, b);
    // Whole but for the rounding of quotients beyond 2^51.
    let (zero, floor) = (s.splat(0.0), s.floor(whole));
    let above = s.lt(s.splat(0.5), s.sub(whole, floor));
    let nearest = s.select(above, s.add(floor, s.splat(1.0)), floor);
    let whole = s.select(s.eq(whole, zero), s.copysign(zero, quotient), nearest);
    s.select(s.eq(b, zero), quotient, whole)
}
