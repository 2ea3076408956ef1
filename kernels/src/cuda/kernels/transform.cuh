// Logarithm and turns in f64 with + - * /, fused multiply-adds and square roots alone (kernels/src/cpu/random/transform.rs).
#pragma once
#include "common.cuh"

// log(x) for normal positive x.
DEVICE f64 log_of(f64 x) {
    const u64 bits = bits_of(x);
    const i32 high = (i32)(u32)(bits >> 32) - 0x3fe6a09e;
    const u64 fraction = (u64)(u32)((high & 0xfffff) + 0x3fe6a09e);
    const f64 f = float_of(fraction << 32 | (bits & 0xffffffffull)) - 1.0;
    const f64 k = (f64)(high >> 20);
    const f64 s = f / (2.0 + f), z = s * s;
    f64 r = 1.4798198605116586e-1;
    r = fma(r, z, 1.5313837699209373e-1);
    r = fma(r, z, 1.818357216161805e-1);
    r = fma(r, z, 2.2222198432149784e-1);
    r = fma(r, z, 2.857142874366239e-1);
    r = fma(r, z, 3.999999999940942e-1);
    r = fma(r, z, 6.666666666666735e-1);
    r *= z;
    const f64 half = 0.5 * f * f;
    return k * 6.931471803691238e-1 - ((half - (s * (half + r) + k * 1.9082149292705877e-10)) - f);
}

// ((high:low) >> 11) * 2^-53
DEVICE f64 uniform_of(u32 low, u32 high) {
    const f64 top = (f64)(i32)(high >> 6), rest = (f64)(i32)((high & 63) << 21 | low >> 11);
    return top * (1.0 / 67108864.0) + rest * (1.0 / 9007199254740992.0);
}

DEVICE f64 flipped(f64 x, i32 negative) { return float_of(bits_of(x) ^ (u64)(negative & 1) << 63); }

// sin and cos of 2 pi u, u in [0, 1).
DEVICE void turns(f64 u, f64& sin, f64& cos) {
    const i32 quarter = (i32)(4.0 * u + 0.5);
    const f64 y = (u - (f64)quarter * 0.25) * (2.0 * 3.14159265358979323846264338327950288), z = y * y;
    f64 p = 1.58969099521155e-10;
    p = fma(p, z, -2.5050760253406863e-8);
    p = fma(p, z, 2.7557313707070068e-6);
    p = fma(p, z, -1.984126982985795e-4);
    p = fma(p, z, 8.33333333332249e-3);
    p = fma(p, z, -1.6666666666666632e-1);
    const f64 s = fma(z * y, p, y);
    f64 q = -1.1359647557788195e-11;
    q = fma(q, z, 2.087572321298175e-9);
    q = fma(q, z, -2.7557314351390663e-7);
    q = fma(q, z, 2.480158728947673e-5);
    q = fma(q, z, -1.388888888887411e-3);
    q = fma(q, z, 4.16666666666666e-2);
    const f64 half = 0.5 * z, one_less = 1.0 - half;
    const f64 c = one_less + (((1.0 - one_less) - half) + z * (z * q));
    const bool swap = (quarter & 1) == 1;
    sin = flipped(swap ? c : s, quarter >> 1);
    cos = flipped(swap ? s : c, (quarter + 1) >> 1);
}

// Two independent standard normals from two uniforms in [0, 1).
DEVICE void box_muller(f64& first, f64& second) {
    const f64 radius = square_root(-2.0 * log_of(1.0 - first));
    f64 sin, cos;
    turns(second, sin, cos);
    first = radius * cos;
    second = radius * sin;
}
