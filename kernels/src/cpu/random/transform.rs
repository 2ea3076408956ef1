//! Box-Muller in f64 with `+ - * /`, FMA and square root only: the same bits on every machine, and no branch, so that
//! loops over it become vectors.

use std::f64::consts::PI;

/// `((high:low) >> 11) * 2^-53`: both parts are exact in an i32, which vectors convert from, and so is their sum.
#[inline(always)]
pub(crate) fn uniform_f64(low: u32, high: u32) -> f64 {
    let top = (high >> 6) as i32 as f64;
    let rest = (((high & 63) << 21) | (low >> 11)) as i32 as f64;
    top * (1.0 / 67_108_864.0) + rest * (1.0 / 9_007_199_254_740_992.0)
}

/// The uniforms themselves.
#[inline(always)]
pub(crate) fn keep(first: f64, second: f64) -> (f64, f64) {
    (first, second)
}

/// Two independent standard normals from two uniforms in `[0, 1)`.
#[inline(always)]
pub(crate) fn box_muller(first: f64, second: f64) -> (f64, f64) {
    let radius = (-2.0 * log(1.0 - first)).sqrt();
    let (sin, cos) = sincos_turns(second);
    (radius * cos, radius * sin)
}

/// `log(x)` for normal positive `x`, below 1 ULP: `x = 2^k (1 + f)`, `s = f / (2 + f)`, a polynomial in `s^2` (fdlibm's).
#[inline(always)]
pub(crate) fn log(x: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    let bits = x.to_bits();
    // sqrt(1/2) in the high word as origin: 1 + f lies in [sqrt(1/2), sqrt(2)).
    let high = (bits >> 32) as i32 - 0x3fe6_a09e;
    let exponent = high >> 20;
    let fraction = ((high & 0xf_ffff) + 0x3fe6_a09e) as u32 as u64;
    let f = f64::from_bits(fraction << 32 | bits & 0xffff_ffff) - 1.0;
    let k = exponent as f64;
    let s = f / (2.0 + f);
    let z = s * s;
    let mut r: f64 = 1.479_819_860_511_658_6e-1;
    for c in [
        1.531_383_769_920_937_3e-1,
        1.818_357_216_161_805e-1,
        2.222_219_843_214_978_4e-1,
        2.857_142_874_366_239e-1,
        3.999_999_999_940_942e-1,
        6.666_666_666_666_735e-1,
    ] {
        r = r.mul_add(z, c);
    }
    r *= z;
    let half = 0.5 * f * f;
    // k ln2 + (f - (half - (s (half + r) + k ln2_low)))
    k * LN2_HIGH - ((half - (s * (half + r) + k * LN2_LOW)) - f)
}

/// `sin` and `cos` of `2 pi u` for `u` in `[0, 1)` of at most 53 bits: the distance to the next quarter turn is exact.
#[inline(always)]
pub(crate) fn sincos_turns(u: f64) -> (f64, f64) {
    let quarter = (4.0 * u + 0.5) as i32;
    let y = (u - quarter as f64 * 0.25) * (2.0 * PI);
    let z = y * y;
    let mut p: f64 = 1.589_690_995_211_55e-10;
    for c in [
        -2.505_076_025_340_686_3e-8,
        2.755_731_370_707_006_8e-6,
        -1.984_126_982_985_795e-4,
        8.333_333_333_322_49e-3,
        -1.666_666_666_666_663_2e-1,
    ] {
        p = p.mul_add(z, c);
    }
    let sin = (z * y).mul_add(p, y);
    let mut q: f64 = -1.135_964_755_778_819_5e-11;
    for c in [
        2.087_572_321_298_175e-9,
        -2.755_731_435_139_066_3e-7,
        2.480_158_728_947_673e-5,
        -1.388_888_888_887_411e-3,
        4.166_666_666_666_66e-2,
    ] {
        q = q.mul_add(z, c);
    }
    let half = 0.5 * z;
    let one_less = 1.0 - half;
    let cos = one_less + (((1.0 - one_less) - half) + z * (z * q));
    let swap = quarter & 1 == 1;
    let (s, c) = (if swap { cos } else { sin }, if swap { sin } else { cos });
    // Quarters 1 and 2 have a negative cosine, 2 and 3 a negative sine.
    let flip = |x: f64, negative: i32| f64::from_bits(x.to_bits() ^ ((negative & 1) as u64) << 63);
    (flip(s, quarter >> 1), flip(c, (quarter + 1) >> 1))
}
