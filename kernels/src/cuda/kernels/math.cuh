// The CPU's mathematical functions (kernels/src/cpu/math), formula by formula, for float and double: the same constants,
// the same order, every fused multiply-add written out. Nothing is contracted (-fmad=false, -ffp-contract=off) and no
// mathematical function of the system is called, so every result has the CPU's bits; any NaN equals any NaN.
//
// A vector's lane is one thread here: a select is `?:`, and what the CPU does for rare lanes is a branch.
// `exp`, `log` and so on live in namespace `math`; functions that the table has "in f64" alone take double only.
#pragma once

// clang-format off
#define MATH static __device__ __forceinline__
#ifdef __CUDACC__
#define MATH_CALL static __device__ __noinline__
#define MATH_TABLE static __device__ __constant__ const
#else
#define MATH_CALL static
#define MATH_TABLE static const
#endif

namespace math {

// What the hardware rounds once.
#ifdef __CUDACC__
MATH float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
MATH double fma(double a, double b, double c) { return __fma_rn(a, b, c); }
MATH float root(float x) { return __fsqrt_rn(x); }
MATH double root(double x) { return __dsqrt_rn(x); }
MATH float floor(float x) { return ::floorf(x); }
MATH double floor(double x) { return ::floor(x); }
MATH float ceil(float x) { return ::ceilf(x); }
MATH double ceil(double x) { return ::ceil(x); }
MATH float trunc(float x) { return ::truncf(x); }
MATH double trunc(double x) { return ::trunc(x); }
MATH float round(float x) { return ::rintf(x); }
MATH double round(double x) { return ::rint(x); }
MATH float abs(float x) { return ::fabsf(x); }
MATH double abs(double x) { return ::fabs(x); }
MATH float copysign(float x, float sign) { return ::copysignf(x, sign); }
MATH double copysign(double x, double sign) { return ::copysign(x, sign); }
MATH unsigned bits(float x) { return __float_as_uint(x); }
MATH unsigned long long bits(double x) { return (unsigned long long)__double_as_longlong(x); }
MATH float from_bits(unsigned x) { return __uint_as_float(x); }
MATH double from_bits(unsigned long long x) { return __longlong_as_double((long long)x); }
MATH unsigned long long multiply_high(unsigned long long a, unsigned long long b) { return __umul64hi(a, b); }
MATH int leading_zeros(unsigned long long x) { return __clzll((long long)x); }
#else
MATH float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
MATH double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
MATH float root(float x) { return __builtin_sqrtf(x); }
MATH double root(double x) { return __builtin_sqrt(x); }
MATH float floor(float x) { return __builtin_floorf(x); }
MATH double floor(double x) { return __builtin_floor(x); }
MATH float ceil(float x) { return __builtin_ceilf(x); }
MATH double ceil(double x) { return __builtin_ceil(x); }
MATH float trunc(float x) { return __builtin_truncf(x); }
MATH double trunc(double x) { return __builtin_trunc(x); }
MATH float round(float x) { return __builtin_rintf(x); }
MATH double round(double x) { return __builtin_rint(x); }
MATH float abs(float x) { return __builtin_fabsf(x); }
MATH double abs(double x) { return __builtin_fabs(x); }
MATH float copysign(float x, float sign) { return __builtin_copysignf(x, sign); }
MATH double copysign(double x, double sign) { return __builtin_copysign(x, sign); }
MATH unsigned bits(float x) { unsigned b; __builtin_memcpy(&b, &x, 4); return b; }
MATH unsigned long long bits(double x) { unsigned long long b; __builtin_memcpy(&b, &x, 8); return b; }
MATH float from_bits(unsigned x) { float f; __builtin_memcpy(&f, &x, 4); return f; }
MATH double from_bits(unsigned long long x) { double f; __builtin_memcpy(&f, &x, 8); return f; }
MATH unsigned long long multiply_high(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
MATH int leading_zeros(unsigned long long x) { return x == 0 ? 64 : __builtin_clzll(x); }
#endif

// What differs between float and double.
template <class T> struct Format;
template <> struct Format<float> {
    using Bits = unsigned;
    using Int = int;
    static constexpr int MANTISSA = 23, BIAS = 127;
    static constexpr unsigned INFINITE = 0x7f800000, NOT_A_NUMBER = 0x7fc00000;
    static constexpr double MIN_NORMAL = 0x1p-126, LIFT = 33554432.0;
};
template <> struct Format<double> {
    using Bits = unsigned long long;
    using Int = long long;
    static constexpr int MANTISSA = 52, BIAS = 1023;
    static constexpr unsigned long long INFINITE = 0x7ff0000000000000, NOT_A_NUMBER = 0x7ff8000000000000;
    static constexpr double MIN_NORMAL = 0x1p-1022, LIFT = 18014398509481984.0;
};

// True for float, false for double.
template <class T> MATH constexpr bool single() { return sizeof(T) == 4; }
// The coefficient of float or of double, whichever T is.
template <class T> MATH T either(double f32, double f64) { return T(single<T>() ? f32 : f64); }

template <class T> MATH T infinity() { return from_bits(Format<T>::INFINITE); }
template <class T> MATH T not_a_number() { return from_bits(Format<T>::NOT_A_NUMBER); }

// c - a * b, rounded once.
template <class T> MATH T fnma(T a, T b, T c) { return fma(-a, b, c); }
// The second operand if either is NaN or both are zero.
template <class T> MATH T max_second(T a, T b) { return a > b ? a : b; }
template <class T> MATH T min_second(T a, T b) { return a < b ? a : b; }
template <class T> MATH bool is_nan(T a) { return a != a; }

// x * 2^n for an integral n, as x * 2^(n >> 1) * 2^(n - (n >> 1)).
template <class T> MATH T scale(T x, T n) {
    using F = Format<T>;
    // Of NaN there is no integer, and x is NaN.
    const int whole = n == n ? int(n) : 0;
    const int half = whole >> 1, rest = whole - half;
    const T low = from_bits(typename F::Bits(half + F::BIAS) << F::MANTISSA);
    const T high = from_bits(typename F::Bits(rest + F::BIAS) << F::MANTISSA);
    return x * low * high;
}

// A positive x as m * 2^e with m in [0.75, 1.5).
template <class T> MATH void split_exponent(T x, T& m, T& e) {
    using F = Format<T>;
    const bool denormal = x < T(F::MIN_NORMAL);
    const typename F::Bits all = bits(denormal ? x * T(F::LIFT) : x);
    // 0.75's bits as origin: the exponent of x / 0.75, rounded down.
    const typename F::Int above = typename F::Int(all - bits(T(0.75)));
    const int exponent = int(above >> F::MANTISSA);
    m = from_bits(all - (typename F::Bits(exponent) << F::MANTISSA));
    e = T(exponent - (denormal ? F::MANTISSA + 2 : 0));
}

// The lowest bits moved to the exponent field.
template <class T> MATH T low_bits_to_exponent(T a) { return from_bits(bits(a) << Format<T>::MANTISSA); }

// c0 + c1 x + ... by Horner.
template <class T> MATH T polynomial(T, double c) { return T(c); }
template <class T, class... C> MATH T polynomial(T x, double c, C... rest) {
    return fma(polynomial(x, rest...), x, T(c));
}

constexpr double LOG2_E = 1.44269504088896340735992468100189214;
constexpr double LOG10_E = 0.434294481903251827651128918916605082;
constexpr double LN_2 = 0.693147180559945309417232121458176568;
constexpr double SQRT_2 = 1.41421356237309504880168872420969808;
constexpr double FRAC_1_SQRT_2 = 0.707106781186547524400844362104849039;
constexpr double FRAC_PI_2 = 1.57079632679489661923132169163975144;
constexpr double FRAC_2_PI = 0.636619772367581343075535053490057448;

// Adding it rounds to an integer (to nearest, ties to even), kept in the low bits of the sum.
template <class T> MATH T magic() { return either<T>(12582912.0, 6755399441055744.0); }
// ln 2 cut so that its product with any exponent is exact, and the rest of it.
template <class T> MATH T ln2_head() { return either<T>(0.693145751953125, 0.6931471805598903); }
template <class T> MATH T ln2_tail() { return either<T>(1.42860677e-6, 5.497923018708371e-14); }

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
