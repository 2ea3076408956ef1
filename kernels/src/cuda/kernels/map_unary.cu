// Elementwise operations of one operand, contiguous: map_<op>_<type>.
#include "formulas.cuh"
#include "frames.cuh"

#define UNARY_KERNEL(T, op) \
    KERNEL(map_##op##_##T, T* y, const T* x, i64 n) { linear(y, x, n, Widened<unary::op, T>{}); }
#define UNARY_KERNELS(op, light, formula) EACH_FLOAT(UNARY_KERNEL, op)
UNARY_ROWS(UNARY_KERNELS)

// Integers wrap: neg, abs, sign, square, relu.
template <class T> struct IntegerUnary {
    static constexpr bool LIGHT = false;
    i32 op;
    DEVICE T of(T x) const {
        switch (opaque(op)) {
            case 0: return T(0 - (u64)x);
            case 1: return (i64)x < 0 ? T(0 - (u64)x) : x;
            case 2: return (i64)x < 0 ? T(-1) : T(x > T(0));
            case 3: return T((u64)x * (u64)x);
            default: return x > T(0) ? x : T(0);
        }
    }
};
#define INTEGER_KERNEL(T) \
    KERNEL(map_integer_unary_##T, T* y, const T* x, i64 n, i32 op) { linear(y, x, n, IntegerUnary<T>{op}); }
EACH_INTEGER(INTEGER_KERNEL)
