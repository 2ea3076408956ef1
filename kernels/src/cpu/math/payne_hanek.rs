//! Argument reduction of a large `x` modulo pi/2 (Payne and Hanek): only those digits of 2/pi that
//! matter are multiplied.

/// 2/pi's fraction digits, 64 a word, behind a word of zeros (so that a window may start before the
/// point).
const TWO_OVER_PI: [u64; 21] = [
    0,
    0xa2f9836e4e441529,
    0xfc2757d1f534ddc0,
    0xdb6295993c439041,
    0xfe5163abdebbc561,
    0xb7246e3a424dd2e0,
    0x06492eea09d1921c,
    0xfe1deb1cb129a73e,
    0xe88235f52ebb4484,
    0xe99c7026b45f7e41,
    0x3991d639835339f4,
    0x9c845f8bbdf9283b,
    0x1ff897ffde05980f,
    0xef2f118b5a0a6d1f,
    0x6d367ecf27cb09b7,
    0x4f463f669e5fea2d,
    0x7527bac7ebe5f17b,
    0x3d0739f78a5292ea,
    0x6bfb5fb11f8d5d08,
    0x56033046fc7b6bab,
    0xf0cfbc209af4361d,
];

/// `(n, r, low)` with `x = n pi/2 + r + low` modulo a full turn, `n` in `-4..=4`, `|r| <= pi/4`;
/// for finite `|x| >= 1`.
pub(super) fn reduce(x: f64) -> (f64, f64, f64) {
    let bits = x.abs().to_bits();
    let mantissa = (bits & ((1 << 52) - 1)) | 1 << 52;
    let exponent = ((bits >> 52) as i64 - 1075).clamp(-62, 971);
    // Digits before `exponent - 1` contribute multiples of 4 quarter turns: the window starts
    // there. The product's top two bits are then the quadrant, the rest its fraction; what the
    // window cuts off is below 2^-136.
    let start = (exponent - 1 + 63) as usize;
    let window = [0, 1, 2].map(|i| digits(start + 64 * i));
    let product = multiply(mantissa, window);
    let mut quadrant = (product[0] >> 62) as f64;
    let mut fraction = shift_left(product, 2);
    // To the nearest quadrant: a fraction of a half or more becomes negative.
    let above = fraction[0] >> 63 == 1;
    if above {
        quadrant += 1.0;
        fraction = negate(fraction);
    }
    let (high, low) = to_pair(fraction);
    let pi_2 = std::f64::consts::FRAC_PI_2;
    let r = high * pi_2;
    let r_low = high.mul_add(pi_2, -r) + (high * 6.123233995736766e-17 + low * pi_2);
    let sign = if above != (x < 0.0) { -1.0 } else { 1.0 };
    (if x < 0.0 { -quadrant } else { quadrant }, sign * r, sign * r_low)
}

/// 64 digits of the table from bit `start`.
fn digits(start: usize) -> u64 {
    let word = |i: usize| TWO_OVER_PI.get(i).copied().unwrap_or(0);
    let pair = (word(start / 64) as u128) << 64 | word(start / 64 + 1) as u128;
    (pair >> (64 - start % 64)) as u64
}

/// `a * b` modulo 2^192, most significant word first.
fn multiply(a: u64, b: [u64; 3]) -> [u64; 3] {
    let mut carry = 0u128;
    let mut product = [0; 3];
    for i in [2, 1, 0] {
        carry += a as u128 * b[i] as u128;
        product[i] = carry as u64;
        carry >>= 64;
    }
    product
}

/// `x << by` for `by < 64`.
fn shift_left(x: [u64; 3], by: u32) -> [u64; 3] {
    let join = |high: u64, low: u64| (((high as u128) << 64 | low as u128) << by >> 64) as u64;
    [join(x[0], x[1]), join(x[1], x[2]), x[2] << by]
}

/// `2^192 - x`.
fn negate(x: [u64; 3]) -> [u64; 3] {
    let (low, carry) = (!x[2]).overflowing_add(1);
    let (middle, carry) = (!x[1]).overflowing_add(carry as u64);
    [(!x[0]).wrapping_add(carry as u64), middle, low]
}

/// The fraction `x / 2^192` as `high + low`.
fn to_pair(mut x: [u64; 3]) -> (f64, f64) {
    let mut zeros = 0;
    while x[0] == 0 && zeros < 128 {
        x = [x[1], x[2], 0];
        zeros += 64;
    }
    let leading = x[0].leading_zeros().min(63);
    let x = shift_left(x, leading);
    let unit = f64::from_bits((1023 - zeros - leading as u64) << 52);
    // 2^-53, 2^-64, 2^-128.
    let high = (x[0] >> 11) as f64 * 1.1102230246251565e-16;
    let low = (x[0] & 0x7ff) as f64 * 5.421010862427522e-20 + x[1] as f64 * 2.938735877055719e-39;
    (high * unit, low * unit)
}
