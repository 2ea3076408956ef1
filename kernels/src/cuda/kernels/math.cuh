// The CPU's mathematical functions (kernels/src/cpu/math), formula by formula, for f32 and f64: the same constants,
// the same order, every fused multiply-add written out. Nothing is contracted (-fmad=false, -ffp-contract=off) and no
// mathematical function of the system is called, so every result has the CPU's bits; any NaN equals any NaN.
//
// A vector's lane is one thread here: a select is `?:`, and what the CPU does for rare lanes is a branch.
// `exp`, `log` and so on live in namespace `math`; functions that the table has "in f64" alone take f64 only.
#pragma once

#include "common.cuh"

#ifndef CUDA_EMU
// Neither static nor const: such names would carry a hash of the folder, and the PTX must not depend on it.
#define CALL inline __device__ __noinline__
#define TABLE __constant__
#else
#define CALL static
#define TABLE static const
#endif

namespace math {

// What the hardware rounds once.
DEVICE f32 root(f32 x) { return ::square_root(x); }
DEVICE f64 root(f64 x) { return ::square_root(x); }
#ifndef CUDA_EMU
DEVICE f32 fma(f32 a, f32 b, f32 c) { return __fmaf_rn(a, b, c); }
DEVICE f64 fma(f64 a, f64 b, f64 c) { return __fma_rn(a, b, c); }
DEVICE f32 floor(f32 x) { return ::floorf(x); }
DEVICE f64 floor(f64 x) { return ::floor(x); }
DEVICE f32 ceil(f32 x) { return ::ceilf(x); }
DEVICE f64 ceil(f64 x) { return ::ceil(x); }
DEVICE f32 trunc(f32 x) { return ::truncf(x); }
DEVICE f64 trunc(f64 x) { return ::trunc(x); }
DEVICE f32 round(f32 x) { return ::rintf(x); }
DEVICE f64 round(f64 x) { return ::rint(x); }
DEVICE f32 abs(f32 x) { return ::fabsf(x); }
DEVICE f64 abs(f64 x) { return ::fabs(x); }
DEVICE f32 copysign(f32 x, f32 sign) { return ::copysignf(x, sign); }
DEVICE f64 copysign(f64 x, f64 sign) { return ::copysign(x, sign); }
// Of NaN any integer: what it is used for becomes NaN.
DEVICE i32 to_int(f32 x) { return __float2int_rz(x); }
DEVICE i32 to_int(f64 x) { return __double2int_rz(x); }
DEVICE u64 multiply_high(u64 a, u64 b) { return __umul64hi(a, b); }
DEVICE i32 leading_zeros(u64 x) { return __clzll((i64)x); }
#else
DEVICE f32 fma(f32 a, f32 b, f32 c) { return __builtin_fmaf(a, b, c); }
DEVICE f64 fma(f64 a, f64 b, f64 c) { return __builtin_fma(a, b, c); }
DEVICE f32 floor(f32 x) { return __builtin_floorf(x); }
DEVICE f64 floor(f64 x) { return __builtin_floor(x); }
DEVICE f32 ceil(f32 x) { return __builtin_ceilf(x); }
DEVICE f64 ceil(f64 x) { return __builtin_ceil(x); }
DEVICE f32 trunc(f32 x) { return __builtin_truncf(x); }
DEVICE f64 trunc(f64 x) { return __builtin_trunc(x); }
DEVICE f32 round(f32 x) { return __builtin_rintf(x); }
DEVICE f64 round(f64 x) { return __builtin_rint(x); }
DEVICE f32 abs(f32 x) { return __builtin_fabsf(x); }
DEVICE f64 abs(f64 x) { return __builtin_fabs(x); }
DEVICE f32 copysign(f32 x, f32 sign) { return __builtin_copysignf(x, sign); }
DEVICE f64 copysign(f64 x, f64 sign) { return __builtin_copysign(x, sign); }
DEVICE i32 to_int(f32 x) { return x == x ? i32(x) : 0; }
DEVICE i32 to_int(f64 x) { return x == x ? i32(x) : 0; }
DEVICE u64 multiply_high(u64 a, u64 b) { return (u64)((unsigned __int128)a * b >> 64); }
DEVICE i32 leading_zeros(u64 x) { return x == 0 ? 64 : __builtin_clzll(x); }
#endif

// What differs between f32 and f64.
template <class T> struct Format;
template <> struct Format<f32> {
    using Bits = u32;
    using Int = int;
    static constexpr i32 MANTISSA = 23, BIAS = 127;
    static constexpr u32 INFINITE = 0x7f800000, NOT_A_NUMBER = 0x7fc00000;
    static constexpr f64 MIN_NORMAL = 0x1p-126, LIFT = 33554432.0;
};
template <> struct Format<f64> {
    using Bits = u64;
    using Int = i64;
    static constexpr i32 MANTISSA = 52, BIAS = 1023;
    static constexpr u64 INFINITE = 0x7ff0000000000000, NOT_A_NUMBER = 0x7ff8000000000000;
    static constexpr f64 MIN_NORMAL = 0x1p-1022, LIFT = 18014398509481984.0;
};

// True for f32, false for f64.
template <class T> DEVICE constexpr bool single() { return sizeof(T) == 4; }
// The coefficient of f32 or of f64, whichever T is.
template <class T> DEVICE T either(f64 of_f32, f64 of_f64) { return T(single<T>() ? of_f32 : of_f64); }

template <class T> DEVICE T infinity() { return float_of(Format<T>::INFINITE); }
template <class T> DEVICE T not_a_number() { return float_of(Format<T>::NOT_A_NUMBER); }

// c - a * b, rounded once.
template <class T> DEVICE T fnma(T a, T b, T c) { return fma(-a, b, c); }

// x * 2^n for an integral n, as x * 2^(n >> 1) * 2^(n - (n >> 1)).
template <class T> DEVICE T scale(T x, T n) {
    using F = Format<T>;
    const i32 whole = to_int(n);
    const i32 half = whole >> 1, rest = whole - half;
    const T low = float_of(typename F::Bits(half + F::BIAS) << F::MANTISSA);
    const T high = float_of(typename F::Bits(rest + F::BIAS) << F::MANTISSA);
    return x * low * high;
}

// A positive x as m * 2^e with m in [0.75, 1.5).
template <class T> DEVICE void split_exponent(T x, T& m, T& e) {
    using F = Format<T>;
    const bool denormal = x < T(F::MIN_NORMAL);
    const typename F::Bits all = bits_of(denormal ? x * T(F::LIFT) : x);
    // 0.75's bits as origin: the exponent of x / 0.75, rounded down.
    const typename F::Int above = typename F::Int(all - bits_of(T(0.75)));
    const i32 exponent = i32(above >> F::MANTISSA);
    m = float_of(all - (typename F::Bits(exponent) << F::MANTISSA));
    e = T(exponent - (denormal ? F::MANTISSA + 2 : 0));
}

// The lowest bits moved to the exponent field.
template <class T> DEVICE T low_bits_to_exponent(T a) { return float_of(bits_of(a) << Format<T>::MANTISSA); }

// c0 + c1 x + ... by Horner.
template <class T> DEVICE T polynomial(T, f64 c) { return T(c); }
template <class T, class... Rest> DEVICE T polynomial(T x, f64 c, Rest... rest) {
    return fma(polynomial(x, rest...), x, T(c));
}

constexpr f64 LOG2_E = 1.44269504088896340735992468100189214;
constexpr f64 LOG10_E = 0.434294481903251827651128918916605082;
constexpr f64 LN_2 = 0.693147180559945309417232121458176568;
constexpr f64 SQRT_2 = 1.41421356237309504880168872420969808;
constexpr f64 FRAC_1_SQRT_2 = 0.707106781186547524400844362104849039;
constexpr f64 FRAC_PI_2 = 1.57079632679489661923132169163975144;
constexpr f64 FRAC_2_PI = 0.636619772367581343075535053490057448;

// Adding it rounds to an integer (to nearest, ties to even), kept in the low bits of the sum.
template <class T> DEVICE T magic() { return either<T>(12582912.0, 6755399441055744.0); }
// ln 2 cut so that its product with any exponent is exact, and the rest of it.
template <class T> DEVICE T ln2_head() { return either<T>(0.693145751953125, 0.6931471805598903); }
template <class T> DEVICE T ln2_tail() { return either<T>(1.42860677e-6, 5.497923018708371e-14); }

} // namespace math

#include "math/pair.cuh"
#include "math/exponential.cuh"
#include "math/logarithm.cuh"
#include "math/power.cuh"
#include "math/trigonometric.cuh"
#include "math/error_function.cuh"
#include "math/hyperbolic.cuh"
#include "math/arc.cuh"
#include "math/quotient.cuh"
