//! `erf` and `gelu`.

use super::exponential::{exp, exp_reduced};
use super::{LOG2_E, constant, either, ln2_head, ln2_tail, magic, polynomial, single};
use crate::cpu::simd::Simd;
use crate::element::Float;

/// Error function.
#[inline(always)]
pub fn erf<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let a = s.abs(x);
    let z = s.mul(x, x);
    let p = if single::<T>() {
        let c = [0.12837915, -0.37612489, 0.1128173, -0.026762916, 0.0049872529, -0.00059589773];
        polynomial(s, z, c)
    } else {
        polynomial(
            s,
            z,
            [
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
            ],
        )
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

/// `x Phi(x)`, with the error function: `max(x, 0) - |x| Phi(-|x|)`.
#[inline(always)]
pub fn gelu<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let a = s.min_second(either(s, 14.5, 39.0), s.abs(x));
    let t = s.fma(s.mul(a, a), constant(s, -0.5 * LOG2_E), magic(s));
    let n = s.sub(t, magic(s));
    // One rounding of the exact a^2 / 2 less n ln 2: rounding a^2 alone would cost 40 ULP in the tail.
    let half_a = s.mul(a, constant(s, 0.5));
    let r = s.neg(s.fma(a, half_a, s.mul(n, ln2_head(s))));
    let r = s.fnma(n, ln2_tail(s), r);
    let tail = s.mul(s.mul(a, exp_reduced(s, r)), mills(s, a));
    s.sub(s.max_second(s.splat(T::ZERO), x), s.scale(tail, n))
}

/// `Phi(-a) e^(a^2 / 2)`: on `[0, 14.5]` in f32, `[0, 39]` in f64.
#[inline(always)]
fn mills<T: Float, S: Simd<T>>(s: S, a: S::V) -> S::V {
    if single::<T>() {
        let p = [0.5, 0.43829599, 0.18323575, 0.040633388, 0.0041163183];
        let q = [1.0, 1.67447698, 1.20250595, 0.4694722, 0.101859242, 0.0103179628];
        s.div(polynomial(s, a, p), polynomial(s, a, q))
    } else {
        let five = constant(s, 5.0);
        let u = s.div(s.sub(a, five), s.add(a, five));
        polynomial(
            s,
            u,
            [
                0.07691930497500629,
                -0.14345755526401197,
                0.11606881188600329,
                -0.08088387726412741,
                0.04785535228416992,
                -0.02341390048769248,
                0.008991370550592294,
                -0.002378844356688347,
                0.00021955073759614478,
                0.00013427684339324653,
                -6.042748263130746e-05,
                9.61305968607504e-07,
                6.64442065958085e-06,
                -1.2700759093822703e-06,
                -6.750775653713419e-07,
                2.4334840048040954e-07,
                7.710670867344227e-08,
                -3.9171833889817e-08,
                -1.0996025308962263e-08,
                5.693048494157474e-09,
                1.8275640179465206e-09,
                -5.71149353021903e-10,
                -2.3268023885828378e-10,
            ],
        )
    }
}
