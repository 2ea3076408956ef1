// `sin`, `cos` and `tan` (kernels/src/cpu/math/trigonometric.rs and payne_hanek.rs).
#pragma once

namespace math {

// Beyond it the argument is reduced with as many digits of 2/pi as it takes.
constexpr f64 LARGE_ANGLE = 1e5;

// x = n pi/2 + r + low.
template <class T> struct Reduced { T n, r, low; };

// For |x| up to LARGE_ANGLE.
template <class T> DEVICE Reduced<T> reduce_angle(T x) {
    const T n = fma(x, T(FRAC_2_PI), magic<T>()) - magic<T>();
    // pi/2 in three parts. x and n * first are multiples of one power of two that their small difference spans: exact.
    const T exact = fnma(n, either<T>(1.5707963705062866, FRAC_PI_2), x);
    const T second = either<T>(-4.371138828673793e-8, 6.123233995736766e-17);
    const T third = either<T>(-1.7151245100058819e-15, -1.4973849048591698e-33);
    const T p = n * second;
    const T p_low = fma(n, second, -p);
    const T high = exact - p;
    // Two-sum: either operand may be the larger.
    const T back = high + p;
    const T lost = (exact - back) + ((back - high) - p);
    const T low = fnma(n, third, lost - p_low);
    const T r = high + low;
    return {n, r, low - (r - high)};
}

template <class T> DEVICE T sine_series(T z) {
    if (single<T>()) {
        return polynomial(z, -0.16666666663608304, 0.00833333177968258, -0.00019840035943066543, 2.724340926e-6);
    }
    return polynomial(z, -0.16666666666666666, 0.008333333333333331, -0.00019841269841264534, 2.7557319218930736e-06,
                      -2.5052106092079693e-08, 1.6058509605642e-10, -7.585413158756367e-13);
}

template <class T> DEVICE T cosine_series(T z) {
    if (single<T>()) {
        return polynomial(z, 0.04166666666411509, -0.0013888887592708222, 2.480055798e-5, -2.72955202e-7);
    }
    return polynomial(z, 0.041666666666666664, -0.0013888888888888887, 2.480158730158435e-05, -2.7557319221175745e-07,
                      2.08767557130385e-09, -1.147044864854107e-11, 4.745158038365112e-14);
}

// sin(n pi/2 + r + low) for |r| <= pi/4 and an integral n.
template <class T> DEVICE T turn(T n, T r, T low) {
    const T half = T(0.5), one = T(1);
    const T z = r * r;
    const T p = sine_series(z), q = cosine_series(z);
    // sin(r + low) = r + (r^3 p + low (1 - z/2)), cos(r + low) = 1 - z/2 + (z^2 q - r low).
    const T half_z = half * z;
    const T sine = r + fma(z * r, p, fnma(half_z, low, low));
    const T start = one - half_z;
    const T lost = (one - start) - half_z;
    const T cosine = start + (lost + fnma(r, low, (z * z) * q));
    // Quarter turns: an odd n takes the cosine, an odd half of n the other sign.
    const T pairs = floor(n * half);
    const bool odd = pairs + pairs < n;
    const T fours = floor(pairs * half);
    const bool negative = fours + fours < pairs;
    const T value = odd ? cosine : sine;
    return negative ? -value : value;
}

// tan(n pi/2 + r + low) for |r| <= pi/4 and an integral n.
DEVICE f64 slope(f64 n, f64 r, f64 low) {
    const f64 half = 0.5, one = 1.0;
    const f64 z = r * r;
    const f64 p = sine_series(z), q = cosine_series(z);
    const f64 half_z = half * z;
    const Pair<f64> sine = fast_two_sum(r, fma(z * r, p, fnma(half_z, low, low)));
    const Pair<f64> start = fast_two_sum(one, -half_z);
    const f64 z_low = fma(r, r, -z);
    const f64 rest = fnma(half, z_low, start.low + fnma(r, low, (z * z) * q));
    const Pair<f64> cosine = fast_two_sum(start.high, rest);
    const bool odd = floor(n * half) * 2.0 < n;
    const Pair<f64> over = {odd ? -cosine.high : sine.high, odd ? -cosine.low : sine.low};
    const Pair<f64> under = {odd ? sine.high : cosine.high, odd ? sine.low : cosine.low};
    const Pair<f64> value = divide(over, under);
    return value.high + value.low;
}

// 2/pi's fraction digits, 64 a word, behind a word of zeros (so that a window may start before the point).
TABLE u64 TWO_OVER_PI[21] = {
    0ull,
    0xa2f9836e4e441529ull, 0xfc2757d1f534ddc0ull, 0xdb6295993c439041ull, 0xfe5163abdebbc561ull, 0xb7246e3a424dd2e0ull,
    0x06492eea09d1921cull, 0xfe1deb1cb129a73eull, 0xe88235f52ebb4484ull, 0xe99c7026b45f7e41ull, 0x3991d639835339f4ull,
    0x9c845f8bbdf9283bull, 0x1ff897ffde05980full, 0xef2f118b5a0a6d1full, 0x6d367ecf27cb09b7ull, 0x4f463f669e5fea2dull,
    0x7527bac7ebe5f17bull, 0x3d0739f78a5292eaull, 0x6bfb5fb11f8d5d08ull, 0x56033046fc7b6babull, 0xf0cfbc209af4361dull,
};

// (high << by | low >> (64 - by)) for by < 64.
DEVICE u64 join(u64 high, u64 low, int by) {
    return by == 0 ? high : high << by | low >> (64 - by);
}

// 64 digits of the table from bit `start`.
DEVICE u64 pi_digits(u32 start) {
    const u32 word = start / 64;
    const u64 high = word < 21 ? TWO_OVER_PI[word] : 0;
    const u64 low = word + 1 < 21 ? TWO_OVER_PI[word + 1] : 0;
    return join(high, low, i32(start % 64));
}

// Payne and Hanek: x = n pi/2 + r + low modulo a full turn, n in -4..=4, |r| <= pi/4; for finite |x| >= 1.
DEVICE Reduced<f64> reduce_far(f64 x) {
    const u64 all = bits_of(abs(x));
    const u64 mantissa = (all & ((1ull << 52) - 1)) | 1ull << 52;
    i32 exponent = i32(all >> 52) - 1075;
    exponent = exponent < -62 ? -62 : exponent > 971 ? 971 : exponent;
    // Digits before `exponent - 1` contribute multiples of 4 quarter turns: the window starts there. The product's top
    // two bits are then the quadrant, the rest its fraction; what the window cuts off is below 2^-136.
    const u32 start = u32(exponent - 1 + 63);
    const u64 b0 = pi_digits(start), b1 = pi_digits(start + 64), b2 = pi_digits(start + 128);
    // mantissa * b modulo 2^192, most significant word first.
    u64 p2 = mantissa * b2;
    u64 p1 = mantissa * b1, p1_low = multiply_high(mantissa, b2);
    p1 += p1_low;
    u64 p0 = mantissa * b0 + multiply_high(mantissa, b1) + (p1 < p1_low);
    f64 quadrant = f64(i32(p0 >> 62));
    p0 = join(p0, p1, 2);
    p1 = join(p1, p2, 2);
    p2 <<= 2;
    // To the nearest quadrant: a fraction of a half or more becomes negative.
    const bool above = p0 >> 63 == 1;
    if (above) {
        quadrant += 1.0;
        p2 = ~p2 + 1;
        p1 = ~p1 + (p2 == 0);
        p0 = ~p0 + (p2 == 0 && p1 == 0);
    }
    // The fraction / 2^192 as a pair.
    i32 zeros = 0;
    for (i32 i = 0; i < 2; ++i) {
        if (p0 == 0) {
            p0 = p1;
            p1 = p2;
            p2 = 0;
            zeros += 64;
        }
    }
    i32 leading = leading_zeros(p0);
    leading = leading > 63 ? 63 : leading;
    p0 = join(p0, p1, leading);
    p1 = join(p1, p2, leading);
    const f64 unit = float_of((u64)(1023 - zeros - leading) << 52);
    // 2^-53, 2^-64, 2^-128.
    const f64 high = f64(p0 >> 11) * 1.1102230246251565e-16 * unit;
    const f64 low = (f64(p0 & 0x7ff) * 5.421010862427522e-20 + f64(p1) * 2.938735877055719e-39) * unit;
    const f64 r = high * FRAC_PI_2;
    const f64 r_low = fma(high, FRAC_PI_2, -r) + (high * 6.123233995736766e-17 + low * FRAC_PI_2);
    const f64 sign = above != (x < 0.0) ? -1.0 : 1.0;
    return {x < 0.0 ? -quadrant : quadrant, sign * r, sign * r_low};
}

// sin(x + quarters pi/2) of one large x.
CALL f64 far_turn(f64 x, f64 quarters) {
    if (!(abs(x) < infinity<f64>())) return not_a_number<f64>();
    const Reduced<f64> x_reduced = reduce_far(x);
    return turn(x_reduced.n + quarters, x_reduced.r, x_reduced.low);
}

// tan(x) of one large x.
CALL f64 far_slope(f64 x) {
    if (!(abs(x) < infinity<f64>())) return not_a_number<f64>();
    const Reduced<f64> x_reduced = reduce_far(x);
    return slope(x_reduced.n, x_reduced.r, x_reduced.low);
}

template <class T> DEVICE T sin(T x) {
    if (T(LARGE_ANGLE) < abs(x)) return T(far_turn(f64(x), 0.0));
    // Keeps -0 and denormals.
    if (abs(x) < either<T>(1e-4, 7e-9)) return x;
    const Reduced<T> reduced = reduce_angle(x);
    return turn(reduced.n, reduced.r, reduced.low);
}

// The sine, a quarter turn on.
template <class T> DEVICE T cos(T x) {
    if (T(LARGE_ANGLE) < abs(x)) return T(far_turn(f64(x), 1.0));
    const Reduced<T> reduced = reduce_angle(x);
    return turn(reduced.n + T(1), reduced.r, reduced.low);
}

// Sine over cosine, both as pairs.
DEVICE f64 tan(f64 x) {
    if (LARGE_ANGLE < abs(x)) return far_slope(x);
    if (abs(x) < 7e-9) return x;
    const Reduced<f64> reduced = reduce_angle(x);
    return slope(reduced.n, reduced.r, reduced.low);
}

} // namespace math
