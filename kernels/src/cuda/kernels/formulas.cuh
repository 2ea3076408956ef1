// THE TABLE of elementwise operations (kernels/src/elementwise.rs) for the device: a row is a name and its formula.
// ROW(name, light, formula) of `x`, or of `a` and `b`; a row "in f64" computes in f64 whatever the type and rounds once.
#pragma once
#include "math.cuh"

#define UNARY_ROWS(ROW)                                                     \
    ROW(neg, true, -x)                                                      \
    ROW(abs, true, math::abs(x))                                            \
    ROW(sign, true, x < T(0) || T(0) < x ? math::copysign(T(1), x) : x)     \
    ROW(reciprocal, true, T(1) / x)                                         \
    ROW(square, true, x * x)                                                \
    ROW(sqrt, true, math::root(x))                                          \
    ROW(rsqrt, true, T(1) / math::root(x))                                  \
    ROW(exp, false, math::exp(x))                                           \
    ROW(expm1, false, math::expm1(x))                                       \
    ROW(log, false, math::log(x))                                           \
    ROW(log1p, false, math::log1p(x))                                       \
    ROW(sin, false, math::sin(x))                                           \
    ROW(cos, false, math::cos(x))                                           \
    ROW(tanh, false, math::tanh(x))                                         \
    ROW(sigmoid, false, math::sigmoid(x))                                   \
    ROW(erf, false, math::erf(x))                                           \
    ROW(relu, true, max_second(T(0), x))                                    \
    ROW(gelu, false, math::gelu(x))                                         \
    ROW(floor, true, math::floor(x))                                        \
    ROW(ceil, true, math::ceil(x))                                          \
    ROW(round, true, math::round(x))                                        \
    ROW(trunc, true, math::trunc(x))

#define WIDE_UNARY_ROWS(ROW)                                                \
    ROW(erfc, math::erfc(x))                                                \
    ROW(tan, math::tan(x))                                                  \
    ROW(asin, math::asin(x))                                                \
    ROW(acos, math::acos(x))                                                \
    ROW(atan, math::atan(x))                                                \
    ROW(sinh, math::sinh(x))                                                \
    ROW(cosh, math::cosh(x))                                                \
    ROW(asinh, math::asinh(x))                                              \
    ROW(acosh, math::acosh(x))                                              \
    ROW(atanh, math::atanh(x))                                              \
    ROW(exp2, math::exp2(x))                                                \
    ROW(log2, math::log2(x))                                                \
    ROW(log10, math::log10(x))

#define BINARY_ROWS(ROW)                                                    \
    ROW(add, true, a + b)                                                   \
    ROW(sub, true, a - b)                                                   \
    ROW(mul, true, a * b)                                                   \
    ROW(div, true, a / b)                                                   \
    ROW(maximum, true, ::maximum(a, b))                                     \
    ROW(minimum, true, ::minimum(a, b))                                     \
    ROW(pow, false, math::pow(a, b))                                        \
    ROW(relu_grad, true, b <= T(0) ? T(0) : a)                              \
    ROW(tanh_grad, true, a * math::fnma(b, b, T(1)))                        \
    ROW(sigmoid_grad, true, (a * b) * (T(1) - b))

#define WIDE_BINARY_ROWS(ROW)                                               \
    ROW(trunc_divide, math::trunc(a / b))                                   \
    ROW(floor_divide, math::floor_divide(a, b))                             \
    ROW(fmod, math::fmod(a, b))                                             \
    ROW(remainder, math::remainder(a, b))                                   \
    ROW(atan2, math::atan2(a, b))                                           \
    ROW(hypot, math::hypot(a, b))

// Each row as a type with the function `of`. A light one costs less than the loop around it.
#define UNARY_TYPE(name, light, formula)                                          \
    struct name {                                                                 \
        static constexpr bool LIGHT = light;                                      \
        template <class T> static DEVICE T of(T x) { return formula; }            \
    };
#define BINARY_TYPE(name, light, formula)                                         \
    struct name {                                                                 \
        static constexpr bool LIGHT = light;                                      \
        template <class T> static DEVICE T of(T a, T b) { return formula; }       \
    };
// Called, not inlined: kernels of several element types share them.
#define WIDE_UNARY_TYPE(name, formula)                                            \
    struct name {                                                                 \
        static constexpr bool LIGHT = false;                                      \
        static __device__ __noinline__ f64 of(f64 x) { return formula; }          \
        static DEVICE f32 of(f32 x) { return f32(of(f64(x))); }                   \
    };
#define WIDE_BINARY_TYPE(name, formula)                                           \
    struct name {                                                                 \
        static constexpr bool LIGHT = false;                                      \
        static __device__ __noinline__ f64 of(f64 a, f64 b) { return formula; }   \
        static DEVICE f32 of(f32 a, f32 b) { return f32(of(f64(a), f64(b))); }    \
    };

namespace unary {
UNARY_ROWS(UNARY_TYPE)
WIDE_UNARY_ROWS(WIDE_UNARY_TYPE)
} // namespace unary

namespace binary {
BINARY_ROWS(BINARY_TYPE)
WIDE_BINARY_ROWS(WIDE_BINARY_TYPE)
} // namespace binary
