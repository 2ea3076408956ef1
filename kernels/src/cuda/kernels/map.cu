// Elementwise operations of two operands, comparisons, booleans, selections: map_<op>_<type>. Operands are
// strided, the result is not.
#include "formulas.cuh"
#include "frames.cuh"

#define BINARY_KERNEL(T, op)                                                              \
    KERNEL(map_##op##_##T, T* y, const T* a, const T* b, const Nest<2> nest, i64 n) { \
        pairs(y, a, b, nest, n, Widened<binary::op, T>{});                                \
    }
#define BINARY_KERNELS(op, light, formula) EACH_FLOAT(BINARY_KERNEL, op)
BINARY_ROWS(BINARY_KERNELS)

// ---- integers: they wrap ----

// The one quotient beyond the type's range, MIN / -1, wraps.
template <class T> DEVICE bool is_minus_one(T b) { return T(-1) < T(0) && b == T(-1); }
template <class T> DEVICE T quotient(T a, T b) { return is_minus_one(b) ? T(0 - (u64)a) : T(a / b); }
template <class T> DEVICE T rest_of(T a, T b) { return is_minus_one(b) ? T(0) : T(a % b); }

// Of a negative exponent what is left of the fraction: 0, or a power of 1 or -1.
template <class T> DEVICE bool negative(T x) { return (i64)x < 0; }
template <class T> DEVICE T power(T base, T exponent) {
    if (negative(exponent)) {
        const bool unit = base == T(1) || is_minus_one(base);
        return !unit ? T(0) : (exponent & 1) == 1 ? base : T(1);
    }
    u64 square = (u64)base, result = 1;
    for (T rest = exponent; rest > T(0); rest = T(rest >> 1)) {
        if ((rest & 1) == 1) result *= square;
        square *= square;
    }
    return T(result);
}

// add, sub, mul, maximum, minimum, pow, floor_divide, trunc_divide, fmod, remainder. A divisor 0 gives 0 and sets `fault`.
template <class T> struct Integer {
    static constexpr bool LIGHT = false;
    i32 op;
    u32* fault;
    DEVICE T of(T a, T b) const {
        switch (opaque(op)) {
            case 0: return T((u64)a + (u64)b);
            case 1: return T((u64)a - (u64)b);
            case 2: return T((u64)a * (u64)b);
            case 3: return a > b ? a : b;
            case 4: return a < b ? a : b;
            case 5: return power(a, b);
        }
        if (b == T(0)) {
            atomicOr(fault, 1u);
            return T(0);
        }
        const T q = quotient(a, b), rest = rest_of(a, b);
        const bool strays = rest != T(0) && negative(rest) != negative(b);
        switch (opaque(op)) {
            case 6: return strays ? T((u64)q - 1) : q;
            case 7: return q;
            case 8: return rest;
            default: return strays ? T((u64)rest + (u64)b) : rest;
        }
    }
};
#define INTEGER_KERNEL(T)                                                                                         \
    KERNEL(map_integer_##T, T* y, const T* a, const T* b, const Nest<2> nest, i64 n, i32 op, u32* fault) { \
        pairs(y, a, b, nest, n, Integer<T>{op, fault});                                                           \
    }
EACH_INTEGER(INTEGER_KERNEL)

// ---- comparisons and booleans, in the order of the CPU's table ----

struct Comparison {
    static constexpr bool LIGHT = false;
    i32 op;
    template <class T> DEVICE u8 of(T x, T y) const {
        const auto a = widen(x), b = widen(y);
        switch (opaque(op)) {
            case 0: return a == b;
            case 1: return a != b;
            case 2: return a < b;
            case 3: return a <= b;
            case 4: return a > b;
            default: return a >= b;
        }
    }
};
#define COMPARE_KERNEL(T, ...)                                                                            \
    KERNEL(map_compare_##T, u8* y, const T* a, const T* b, const Nest<2> nest, i64 n, i32 op) { \
        pairs(y, a, b, nest, n, Comparison{op});                                                          \
    }
EACH_FLOAT(COMPARE_KERNEL)
EACH_INTEGER(COMPARE_KERNEL)

struct Logical {
    static constexpr bool LIGHT = false;
    i32 op;
    DEVICE u8 of(u8 a, u8 b) const {
        switch (opaque(op)) {
            case 0: return a != 0 && b != 0;
            case 1: return a != 0 || b != 0;
            default: return (a != 0) != (b != 0);
        }
    }
};
KERNEL(map_logical_u8, u8* y, const u8* a, const u8* b, const Nest<2> nest, i64 n, i32 op) {
    pairs(y, a, b, nest, n, Logical{op});
}

// ---- selections, by the size of an element ----

#define SELECT_KERNEL(size, T)                                                                                   \
    KERNEL(map_select_##size, T* y, const u8* c, const T* a, const T* b, const Nest<3> nest, i64 n) { \
        choose(y, c, a, b, nest, n);                                                                             \
    }
SELECT_KERNEL(1, u8)
SELECT_KERNEL(2, u16)
SELECT_KERNEL(4, u32)
SELECT_KERNEL(8, u64)
