//! `sin`, `cos` and `tan`.

use super::pair::{divide, fast_two_sum};
use super::payne_hanek;
use super::{constant, either, magic, polynomial, single};
use crate::cpu::simd::{MOST_LANES, Scalar, Simd};
use crate::element::Float;

/// Beyond it the argument is reduced lane by lane with as many digits of 2/pi as it takes.
const LARGE: f64 = 1e5;

/// Sine.
#[inline(always)]
pub fn sin<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let (n, r, low) = reduce(s, x);
    let value = turn(s, n, r, low);
    // Keeps -0 and denormals.
    let tiny = s.lt(s.abs(x), either(s, 1e-4, 7e-9));
    let value = s.select(tiny, x, value);
    let large = s.mask_bits(s.lt(constant(s, LARGE), s.abs(x)));
    if large == 0 { value } else { patch(s, x, value, large, |x| far(x, 0.0)) }
}

/// Cosine: the sine, a quarter turn on.
#[inline(always)]
pub fn cos<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let (n, r, low) = reduce(s, x);
    let value = turn(s, s.add(n, s.splat(T::ONE)), r, low);
    let large = s.mask_bits(s.lt(constant(s, LARGE), s.abs(x)));
    if large == 0 { value } else { patch(s, x, value, large, |x| far(x, 1.0)) }
}

/// `(n, r, low)` with `x = n pi/2 + r + low`, for `|x|` up to [`LARGE`].
#[inline(always)]
fn reduce<T: Float, S: Simd<T>>(s: S, x: S::V) -> (S::V, S::V, S::V) {
    let n = s.sub(s.fma(x, constant(s, std::f64::consts::FRAC_2_PI), magic(s)), magic(s));
    // pi/2 in three parts. x and n * first are multiples of one power of two that their small
    // difference spans: exact.
    let exact = s.fnma(n, either(s, 1.5707963705062866, std::f64::consts::FRAC_PI_2), x);
    let second = either(s, -4.371138828673793e-8, 6.123233995736766e-17);
    let third = either(s, -1.7151245100058819e-15, -1.4973849048591698e-33);
    let p = s.mul(n, second);
    let p_low = s.fma(n, second, s.neg(p));
    let high = s.sub(exact, p);
    // Two-sum: either operand may be the larger.
    let back = s.add(high, p);
    let lost = s.add(s.sub(exact, back), s.sub(s.sub(back, high), p));
    let low = s.fnma(n, third, s.sub(lost, p_low));
    let r = s.add(high, low);
    (n, r, s.sub(low, s.sub(r, high)))
}

/// `sin(n pi/2 + r + low)` for `|r| <= pi/4` and an integral `n`.
#[inline(always)]
fn turn<T: Float, S: Simd<T>>(s: S, n: S::V, r: S::V, low: S::V) -> S::V {
    let (half, one) = (constant(s, 0.5), s.splat(T::ONE));
    let z = s.mul(r, r);
    let (p, q) = if single::<T>() {
        (
            polynomial(
                s,
                z,
                [
                    -0.16666666663608304,
                    0.00833333177968258,
                    -0.00019840035943066543,
                    2.724340926e-6,
                ],
            ),
            polynomial(
                s,
                z,
                [0.04166666666411509, -0.0013888887592708222, 2.480055798e-5, -2.72955202e-7],
            ),
        )
    } else {
        (polynomial(s, z, SINE_F64), polynomial(s, z, COSINE_F64))
    };
    // sin(r + low) = r + (r^3 p + low (1 - z/2)), cos(r + low) = 1 - z/2 + (z^2 q - r low).
    let half_z = s.mul(half, z);
    let sine = s.add(r, s.fma(s.mul(z, r), p, s.fnma(half_z, low, low)));
    let start = s.sub(one, half_z);
    let lost = s.sub(s.sub(one, start), half_z);
    let cosine = s.add(start, s.add(lost, s.fnma(r, low, s.mul(s.mul(z, z), q))));
    // Quarter turns: an odd n takes the cosine, an odd half of n the other sign.
    let pairs = s.floor(s.mul(n, half));
    let odd = s.lt(s.add(pairs, pairs), n);
    let fours = s.floor(s.mul(pairs, half));
    let negative = s.lt(s.add(fours, fours), pairs);
    let value = s.select(odd, cosine, sine);
    s.select(negative, s.neg(value), value)
}

const SINE_F64: [f64; 7] = [
    -0.16666666666666666,
    0.008333333333333331,
    -0.00019841269841264534,
    2.7557319218930736e-06,
    -2.5052106092079693e-08,
    1.6058509605642e-10,
    -7.585413158756367e-13,
];
const COSINE_F64: [f64; 7] = [
    0.041666666666666664,
    -0.0013888888888888887,
    2.480158730158435e-05,
    -2.7557319221175745e-07,
    2.08767557130385e-09,
    -1.147044864854107e-11,
    4.745158038365112e-14,
];

/// Tangent: sine over cosine, both as pairs.
#[inline(always)]
pub fn tan<S: Simd<f64>>(s: S, x: S::V) -> S::V {
    let (n, r, low) = reduce(s, x);
    let value = slope(s, n, r, low);
    let value = s.select(s.lt(s.abs(x), s.splat(7e-9)), x, value);
    let large = s.mask_bits(s.lt(s.splat(LARGE), s.abs(x)));
    if large == 0 { value } else { patch(s, x, value, large, far_tan) }
}

/// `tan(n pi/2 + r + low)` for `|r| <= pi/4` and an integral `n`.
#[inline(always)]
fn slope<S: Simd<f64>>(s: S, n: S::V, r: S::V, low: S::V) -> S::V {
    let (half, one) = (s.splat(0.5), s.splat(1.0));
    let z = s.mul(r, r);
    let (p, q) = (polynomial(s, z, SINE_F64), polynomial(s, z, COSINE_F64));
    let half_z = s.mul(half, z);
    let sine = fast_two_sum(s, r, s.fma(s.mul(z, r), p, s.fnma(half_z, low, low)));
    let (start, lost) = fast_two_sum(s, one, s.neg(half_z));
    let z_low = s.fma(r, r, s.neg(z));
    let rest = s.fnma(half, z_low, s.add(lost, s.fnma(r, low, s.mul(s.mul(z, z), q))));
    let cosine = fast_two_sum(s, start, rest);
    let odd = s.lt(s.mul(s.floor(s.mul(n, half)), s.splat(2.0)), n);
    let pick = |a, b| s.select(odd, a, b);
    let over = (pick(s.neg(cosine.0), sine.0), pick(s.neg(cosine.1), sine.1));
    let (value, low) = divide(s, over, (pick(sine.0, cosine.0), pick(sine.1, cosine.1)));
    s.add(value, low)
}

/// `value` with the lanes in `lanes` replaced by `f` of `x`.
#[inline(always)]
fn patch<T: Float, S: Simd<T>>(
    s: S,
    x: S::V,
    value: S::V,
    lanes: u64,
    f: impl Fn(f64) -> f64,
) -> S::V {
    let (mut xs, mut values) = ([T::ZERO; MOST_LANES], [T::ZERO; MOST_LANES]);
    // SAFETY: no vector has more lanes.
    unsafe {
        s.store(xs.as_mut_ptr(), x);
        s.store(values.as_mut_ptr(), value);
    }
    for lane in 0..S::LANES.min(MOST_LANES) {
        if lanes >> lane & 1 == 1 {
            values[lane] = T::from_f64(f(xs[lane].to_f64()));
        }
    }
    // SAFETY: as above.
    unsafe { s.load(values.as_ptr()) }
}

/// `sin(x + quarters pi/2)` of one large `x`.
#[cold]
#[inline(never)]
fn far(x: f64, quarters: f64) -> f64 {
    match payne_hanek_of(x) {
        Some((n, r, low)) => turn::<f64, Scalar>(Scalar, n + quarters, r, low),
        None => f64::NAN,
    }
}

/// `tan(x)` of one large `x`.
#[cold]
#[inline(never)]
fn far_tan(x: f64) -> f64 {
    match payne_hanek_of(x) {
        Some((n, r, low)) => slope(Scalar, n, r, low),
        None => f64::NAN,
    }
}

/// As `reduce`, of one large `x`; `None` if it is not finite.
#[inline(never)]
fn payne_hanek_of(x: f64) -> Option<(f64, f64, f64)> {
    x.is_finite().then(|| payne_hanek::reduce(x))
}
