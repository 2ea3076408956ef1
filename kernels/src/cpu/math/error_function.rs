//! `erf`, `erfc` and `gelu`.

use super::exponential::{EXP_F32, exp, exp_pair, stretched};
use super::pair::{Pair, divide, fast_two_sum, two_product, two_sum};
use super::{LOG2_E, constant, either, ln2_head, ln2_tail, magic, polynomial, single};
use crate::cpu::simd::Simd;
use crate::element::Float;

/// `erf(x) / x - 1` for `|x| <= 1`, in `x^2`.
const NEAR_F64: [f64; 13] = [
    0.1283791670955126,
    -0.3761263890318375,
    0.11283791670954879,
    -0.026866170645076792,
    0.0052239776248180145,
    -0.000854832698083379,
    0.0001205533111164271,
    -1.4925595266831182e-05,
    1.6461000484121368e-06,
    -1.6350312701054695e-07,
    1.4659775274047436e-08,
    -1.1372848856791674e-09,
    5.957176147748911e-11,
];

/// Error function.
#[inline(always)]
pub fn erf<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let a = s.abs(x);
    let z = s.mul(x, x);
    let p = if single::<T>() {
        let c = [0.12837915, -0.37612489, 0.1128173, -0.026762916, 0.0049872529, -0.00059589773];
        polynomial(s, z, c)
    } else {
        polynomial(s, z, NEAR_F64)
    };
    let near = s.fma(x, p, x);
    let far = s.lt(either(s, 0.93, 1.0), a);
    // Skipping what no lane needs changes no bit.
    if s.mask_bits(far) == 0 {
        return near;
    }
    let one = s.splat(T::ONE);
    s.select(far, s.copysign(s.sub(one, complement(s, a)), x), near)
}

/// `1 - erf(a)` for `a` of at least 0.93, as precise as `erf` needs it.
#[inline(always)]
fn complement<T: Float, S: Simd<T>>(s: S, a: S::V) -> S::V {
    let a = s.min_second(either(s, 4.0, 6.0), a);
    if single::<T>() {
        let p = polynomial(
            s,
            a,
            [
                -0.12865421,
                -0.63512814,
                -0.10627510,
                0.023794895,
                -0.0036579343,
                0.00032659713,
                -1.1608940e-5,
            ],
        );
        exp(s, s.fma(a, p, s.neg(a)))
    } else {
        let three = constant(s, 3.0);
        let u = s.div(s.sub(a, three), s.add(a, three));
        let p = polynomial(
            s,
            u,
            [
                0.17900115118138996,
                -0.3262335600430372,
                0.24560380171233487,
                -0.15011593650077898,
                0.07166583719747308,
                -0.024392499318915004,
                0.004269136356961225,
                0.0007077464666941425,
                -0.0005970624964924544,
                4.525434558991009e-05,
                6.406279226046039e-05,
                -1.2845780030775907e-05,
                -8.00978093907608e-06,
                2.0135111426447427e-06,
                1.2755818949624478e-06,
                3.381355142042904e-09,
            ],
        );
        s.mul(exp(s, s.neg(s.mul(a, a))), p)
    }
}

/// `1 - erf(x)`, to its last digits in the tail.
#[inline(always)]
pub fn erfc<S: Simd<f64>>(s: S, x: S::V) -> S::V {
    let (half, one) = (s.splat(0.5), s.splat(1.0));
    let p = polynomial(s, s.mul(x, x), NEAR_F64);
    let (start, lost) = fast_two_sum(s, one, s.neg(x));
    let near = s.add(start, s.fnma(x, p, lost));
    let a = s.max_second(half, s.min_second(s.splat(28.0), s.abs(x)));
    let far = scaled_tail(s, (a, s.splat(0.0)), two_product(s, a, a), one);
    let far = s.select(s.lt(x, s.splat(0.0)), s.sub(s.splat(2.0), far), far);
    s.select(s.lt(half, s.abs(x)), far, near)
}

/// `factor erfc(a)` for `a` of 0.5 to 28, where `square` is `a^2`, of which the tail feels every
/// digit; f64.
///
/// It is `e^(-a^2)` times a slow function, which is `SLOW / (a + 1)`.
#[inline(always)]
fn scaled_tail<T: Float, S: Simd<T>>(
    s: S,
    (a, a_low): Pair<S::V>,
    square: Pair<S::V>,
    factor: S::V,
) -> S::V {
    let three = constant(s, 3.0);
    let (power, n) = exp_pair(s, s.neg(square.0), s.neg(square.1));
    let slow = polynomial(s, s.div(s.sub(a, three), s.add(a, three)), SLOW);
    let (slow, slow_low) = two_product(s, slow, factor);
    let (product, rest) = two_product(s, power.0, slow);
    let product = (product, s.fma(power.0, slow_low, s.fma(power.1, slow, rest)));
    let (below, lost) = two_sum(s, a, s.splat(T::ONE));
    let (value, low) = divide(s, product, (below, s.add(lost, a_low)));
    s.scale(s.add(value, low), n)
}

/// `(a + 1) erfc(a) e^(a^2)` for `a` of 0.5 to 28, in `(a - 3) / (a + 3)`.
const SLOW: [f64; 22] = [
    0.7160046047255598,
    -0.23092733308380928,
    0.09902075367944009,
    -0.010235388898999524,
    -0.023803913108668796,
    0.02195776401231009,
    -0.009750689292726634,
    0.001618569133687527,
    0.0006458142010858809,
    -0.00036728854847448573,
    -2.0551567897127145e-05,
    5.611979712338692e-05,
    -1.5147232398029368e-06,
    -8.99166247983205e-06,
    2.622743342266795e-07,
    1.5924669289563977e-06,
    5.618855891954368e-08,
    -2.985304158066627e-07,
    -3.912762630488438e-08,
    5.44697613397438e-08,
    8.599044648838003e-09,
    -7.45569295317535e-09,
];

/// `x Phi(x)`, with the error function: `max(x, 0) - |x| Phi(-|x|)`.
#[inline(always)]
pub fn gelu<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    if !single::<T>() {
        return gelu_double(s, x);
    }
    // NaN may be lost here, but not in the maximum below.
    let a = s.abs_within(x, constant(s, 14.5));
    let t = s.fma(s.mul(a, a), constant(s, -0.5 * LOG2_E), magic(s));
    let n = s.sub(t, magic(s));
    // One rounding of the exact a^2 and 2 n ln 2: rounding a^2 alone would cost 40 ULP in the tail.
    let two = constant(s, 2.0);
    let r = s.fma(a, a, s.mul(n, s.mul(two, ln2_head(s))));
    let r = s.fma(n, s.mul(two, ln2_tail(s)), r);
    // e^(-r / 2)
    let power = polynomial(s, r, const { stretched(EXP_F32, 1.0, -0.5) });
    let tail = s.mul(power, mills(s, a));
    s.sub(s.max_second(s.splat(T::ZERO), x), s.scale(tail, n))
}

/// `gelu` of f64: `x (1 + erf(x / sqrt(2))) / 2` near 0, `max(x, 0) - |x| erfc(|x| / sqrt(2)) / 2`
/// farther out.
#[inline(always)]
fn gelu_double<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let (half, root) = (constant(s, 0.5), constant(s, std::f64::consts::FRAC_1_SQRT_2));
    let (b, half_x) = (s.mul(x, root), s.mul(x, half));
    let p = polynomial(s, s.mul(b, b), NEAR_F64);
    let (start, lost) = fast_two_sum(s, s.splat(T::ONE), b);
    let near = s.fma(half_x, start, s.mul(half_x, s.fma(b, p, lost)));
    let a = s.min_second(constant(s, 39.0), s.abs(x));
    let half_a = s.mul(a, half);
    let b = s.mul(a, root);
    let b_low = s.fma(a, constant(s, -4.833646656726457e-17), s.fma(a, root, s.neg(b)));
    let tail = scaled_tail(s, (s.max_second(half, b), b_low), two_product(s, half_a, a), half_a);
    let far = s.sub(s.max_second(s.splat(T::ZERO), x), tail);
    s.select(s.lt(half, b), far, near)
}

/// `a Phi(-a) e^(a^2 / 2)` on `[0, 14.5]`, f32.
///
/// It is `a / (a + k)` times a function that falls slowly from `k / 2` to 0.4: no digits cancel in
/// its polynomial, whose variable `(a - k) / (a + k)` comes from the same quotient.
#[inline(always)]
fn mills<T: Float, S: Simd<T>>(s: S, a: S::V) -> S::V {
    let share = s.div(a, s.add(a, constant(s, 3.5)));
    let u = s.fma(share, constant(s, 2.0), constant(s, -1.0));
    let slow = polynomial(
        s,
        u,
        [
            0.7444160797901401,
            -0.5655617650253301,
            0.31542466165735084,
            -0.11605262091686595,
            0.017410664475287614,
            0.006491951936627745,
            -0.003191281455327021,
            -0.0004990856782791951,
            0.00044136758816283654,
            0.00012301059629275094,
        ],
    );
    s.mul(share, slow)
}
