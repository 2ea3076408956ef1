// Rows that compute in f64 whatever the type: map_<op>_<type>. The 2-byte floats, rare here, go by way of f32 in memory.
#include "formulas.cuh"
#include "frames.cuh"

#define UNARY_KERNEL(T, op) \
    KERNEL(map_##op##_##T, T* y, const T* x, i64 n) { linear(y, x, n, Widened<unary::op, T>{}); }
#define UNARY_KERNELS(op, formula) UNARY_KERNEL(f32, op) UNARY_KERNEL(f64, op)
WIDE_UNARY_ROWS(UNARY_KERNELS)

#define BINARY_KERNEL(T, op)                                                              \
    KERNEL(map_##op##_##T, T* y, const T* a, const T* b, const Nest<2> nest, i64 n) { \
        pairs(y, a, b, nest, n, Widened<binary::op, T>{});                                \
    }
#define BINARY_KERNELS(op, formula) BINARY_KERNEL(f32, op) BINARY_KERNEL(f64, op)
WIDE_BINARY_ROWS(BINARY_KERNELS)
