//! Angles: `atan`, `asin`, `acos`, `atan2`; and `hypot`.

use super::pair::{Pair, divide, fast_two_sum, square_and_one, square_root, two_product, two_sum};
use super::polynomial;
use crate::cpu::simd::Simd;

/// Inverse tangent.
#[inline(always)]
pub fn atan<S: Simd<f64>>(s: S, x: S::V) -> S::V {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    // Beyond it the angle is pi/2, and the quotient's remainder would overflow.
    let a = s.min_second(s.splat(1e300), s.abs(x));
    s.copysign(angle(s, (a, zero), (one, zero), s.lt(one, zero)), x)
}

/// Inverse sine: the angle of `x` over `sqrt(1 - x^2)`.
#[inline(always)]
pub fn asin<S: Simd<f64>>(s: S, x: S::V) -> S::V {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    let root = square_root(s, square_and_one(s, x, -1.0, 1.0));
    s.copysign(angle(s, (s.abs(x), zero), root, s.lt(one, zero)), x)
}

/// Inverse cosine: the angle of `sqrt(1 - x^2)` over `x`.
#[inline(always)]
pub fn acos<S: Simd<f64>>(s: S, x: S::V) -> S::V {
    let zero = s.splat(0.0);
    let root = square_root(s, square_and_one(s, x, -1.0, 1.0));
    angle(s, root, (s.abs(x), zero), s.lt(x, zero))
}

/// The angle of the point `(x, y)`, with the special cases of IEEE 754 `atan2`.
#[inline(always)]
pub fn atan2<S: Simd<f64>>(s: S, y: S::V, x: S::V) -> S::V {
    let (zero, one, infinity) = (s.splat(0.0), s.splat(1.0), s.splat(f64::INFINITY));
    let (mut a, mut b) = (s.abs(y), s.abs(x));
    let negative = s.lt(s.copysign(one, x), zero);
    // Towards infinity only the direction counts; the angle of nothing is that of (1, 0).
    let infinite = s.mask_or(s.eq(a, infinity), s.eq(b, infinity));
    let direction = |v| s.select(s.eq(v, infinity), one, zero);
    (a, b) = (s.select(infinite, direction(a), a), s.select(infinite, direction(b), b));
    b = s.select(s.mask_and(s.eq(a, zero), s.eq(b, zero)), one, b);
    // Sums must not overflow, remainders not vanish.
    let larger = s.max_second(a, b);
    let down = s.select(s.lt(s.splat(1e300), larger), s.splat(0.25), one);
    let factor = s.select(s.lt(larger, s.splat(1e-270)), s.splat(2f64.powi(100)), down);
    let value = angle(s, (s.mul(a, factor), zero), (s.mul(b, factor), zero), negative);
    let value = s.copysign(value, y);
    s.select(s.is_nan(x), x, s.select(s.is_nan(y), y, value))
}

/// The angle of the point `(+-x, y)`, `x` and `y` not negative and not both 0; `x` counts as
/// negative where `left` says so.
#[inline(always)]
fn angle<S: Simd<f64>>(s: S, y: Pair<S::V>, x: Pair<S::V>, left: S::M) -> S::V {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    // Mirrored at pi/4 and turned back by it, the angle is within pi/8 of 0.
    let steep = s.lt(x.0, y.0);
    let pick = |a, b| s.select(steep, a, b);
    let (low_side, long) = ((pick(x.0, y.0), pick(x.1, y.1)), (pick(y.0, x.0), pick(y.1, x.1)));
    let turned = s.lt(s.mul(long.0, s.splat(std::f64::consts::SQRT_2 - 1.0)), low_side.0);
    let (difference, sum) = (two_sum(s, low_side.0, s.neg(long.0)), two_sum(s, low_side.0, long.0));
    let difference = (difference.0, s.add(difference.1, s.sub(low_side.1, long.1)));
    let sum = (sum.0, s.add(sum.1, s.add(low_side.1, long.1)));
    let pick = |a, b| s.select(turned, a, b);
    let (t, t_low) = divide(
        s,
        (pick(difference.0, low_side.0), pick(difference.1, low_side.1)),
        (pick(sum.0, long.0), pick(sum.1, long.1)),
    );
    let z = s.mul(t, t);
    let p = polynomial(
        s,
        z,
        [
            -0.3333333333333333,
            0.19999999999995516,
            -0.14285714284665682,
            0.11111111015187018,
            -0.0909090457530649,
            0.07692183125376892,
            -0.06664510525508936,
            0.05858140904866328,
            -0.050854078345894844,
            0.03923044778479309,
            -0.019175404711104935,
        ],
    );
    let low = s.fma(s.mul(t, z), p, s.fnma(t_low, z, t_low));
    // Quarters of pi to add it to, and its sign: of the mirrored, of the left half.
    let quarters = s.select(turned, one, zero);
    let quarters = s.select(steep, s.sub(s.splat(2.0), quarters), quarters);
    let quarters = s.select(left, s.sub(s.splat(4.0), quarters), quarters);
    let sign = s.select(steep, s.splat(-1.0), one);
    let sign = s.select(left, s.neg(sign), sign);
    // pi/4 cut so that its multiples are exact.
    let whole = s.mul(quarters, s.splat(0.7853981633974456));
    let (high, lost) = two_sum(s, whole, s.mul(sign, t));
    let rest = s.fma(quarters, s.splat(2.6951514290790595e-15), s.fma(sign, low, lost));
    s.add(high, rest)
}

/// `sqrt(a^2 + b^2)`; infinite if either is.
#[inline(always)]
pub fn hypot<S: Simd<f64>>(s: S, a: S::V, b: S::V) -> S::V {
    let (one, infinity) = (s.splat(1.0), s.splat(f64::INFINITY));
    let (a, b) = (s.abs(a), s.abs(b));
    let (larger, smaller) = (s.max_second(a, b), s.min_second(b, a));
    // Squares must neither overflow nor vanish: by powers of two, which are exact.
    let (huge, tiny) = (s.lt(s.splat(1e150), larger), s.lt(larger, s.splat(1e-140)));
    let factor = |up: i32, down: i32| {
        let factor = s.select(huge, s.splat(2f64.powi(down)), one);
        s.select(tiny, s.splat(2f64.powi(up)), factor)
    };
    let down = factor(600, -600);
    let (larger, smaller) = (s.mul(larger, down), s.mul(smaller, down));
    let (square, lost) = two_product(s, larger, larger);
    let (other, other_lost) = two_product(s, smaller, smaller);
    let (sum, rest) = fast_two_sum(s, square, other);
    let (root, low) = square_root(s, (sum, s.add(rest, s.add(lost, other_lost))));
    let value = s.mul(s.add(root, low), factor(-600, 600));
    let value = s.select(s.is_nan(b), b, s.select(s.is_nan(a), a, value));
    s.select(s.mask_or(s.eq(a, infinity), s.eq(b, infinity)), infinity, value)
}
