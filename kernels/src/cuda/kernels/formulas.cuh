// THE TABLE of elementwise operations (kernels/src/elementwise.rs) for the device: a row is a name and its formula.
// ROW(name, formula) of `x`, or of `a` and `b`. Rows "in f64" compute in double whatever the type, and round once.
#pragma once
#include "math.cuh"

#define UNARY_ROWS(ROW)                                             \
    ROW(neg, -x)                                                    \
    ROW(abs, math::abs(x))                                          \
    ROW(sign, x < T(0) || T(0) < x ? math::copysign(T(1), x) : x)   \
    ROW(reciprocal, T(1) / x)                                       \
    ROW(square, x * x)                                              \
    ROW(sqrt, math::root(x))                                        \
    ROW(rsqrt, T(1) / math::root(x))                                \
    ROW(exp, math::exp(x))                                          \
    ROW(expm1, math::expm1(x))                                      \
    ROW(log, math::log(x))                                          \
    ROW(log1p, math::log1p(x))                                      \
    ROW(sin, math::sin(x))                                          \
    ROW(cos, math::cos(x))                                          \
    ROW(tanh, math::tanh(x))                                        \
    ROW(sigmoid, math::sigmoid(x))                                  \
    ROW(erf, math::erf(x))                                          \
    ROW(relu, math::max_second(T(0), x))                            \
    ROW(gelu, math::gelu(x))                                        \
    ROW(floor, math::floor(x))                                      \
    ROW(ceil, math::ceil(x))                                        \
    ROW(round, math::round(x))                                      \
    ROW(trunc, math::trunc(x))

#define WIDE_UNARY_ROWS(ROW)        \
    ROW(erfc, math::erfc(x))        \
    ROW(tan, math::tan(x))          \
    ROW(asin, math::asin(x))        \
    ROW(acos, math::acos(x))        \
    ROW(atan, math::atan(x))        \
    ROW(sinh, math::sinh(x))        \
    ROW(cosh, math::cosh(x))        \
    ROW(asinh, math::asinh(x))      \
    ROW(acosh, math::acosh(x))      \
    ROW(atanh, math::atanh(x))      \
    ROW(exp2, math::exp2(x))        \
    ROW(log2, math::log2(x))        \
    ROW(log10, math::log10(x))

#define BINARY_ROWS(ROW)                                            \
    ROW(add, a + b)                                                 \
    ROW(sub, a - b)                                                 \
    ROW(mul, a * b)                                                 \
    ROW(div, a / b)                                                 \
    ROW(maximum, math::is_nan(b) ? b : math::max_second(b, a))      \
    ROW(minimum, math::is_nan(b) ? b : math::min_second(b, a))      \
    ROW(pow, math::pow(a, b))                                       \
    ROW(relu_grad, b <= T(0) ? T(0) : a)                            \
    ROW(tanh_grad, a * math::fnma(b, b, T(1)))                      \
    ROW(sigmoid_grad, (a * b) * (T(1) - b))

#define WIDE_BINARY_ROWS(ROW)                           \
    ROW(trunc_divide, math::trunc(a / b))               \
    ROW(floor_divide, math::floor_divide(a, b))         \
    ROW(fmod, math::fmod(a, b))                         \
    ROW(remainder, math::remainder(a, b))               \
    ROW(atan2, math::atan2(a, b))                       \
    ROW(hypot, math::hypot(a, b))

// Each row as a function of namespace `unary` or `binary`, for float and double.
#define UNARY_FORMULA(name, formula) \
    template <class T> MATH T name(T x) { return formula; }
#define WIDE_UNARY_FORMULA(name, formula)                            \
    MATH_CALL double name(double x) { return formula; }              \
    MATH float name(float x) { return float(name(double(x))); }
#define BINARY_FORMULA(name, formula) \
    template <class T> MATH T name(T a, T b) { return formula; }
#define WIDE_BINARY_FORMULA(name, formula)                           \
    MATH_CALL double name(double a, double b) { return formula; }    \
    MATH float name(float a, float b) { return float(name(double(a), double(b))); }

namespace unary {
UNARY_ROWS(UNARY_FORMULA)
WIDE_UNARY_ROWS(WIDE_UNARY_FORMULA)
} // namespace unary

namespace binary {
BINARY_ROWS(BINARY_FORMULA)
WIDE_BINARY_ROWS(WIDE_BINARY_FORMULA)
} // namespace binary
