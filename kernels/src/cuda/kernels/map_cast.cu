// Casts as Rust's `as`, contiguous: map_cast_<from>_<to>; to `bool`: 1 where not 0. Floats go to integers cut and kept in
// range; anything goes to the 2-byte floats by way of f32.
#include "frames.cuh"

// Without loss: as f32, f64 or i64.
DEVICE f32 wide(f32 x) { return x; }
DEVICE f32 wide(f16 x) { return to_f32(x); }
DEVICE f32 wide(bf16 x) { return to_f32(x); }
DEVICE f64 wide(f64 x) { return x; }
DEVICE i64 wide(i64 x) { return x; }
DEVICE i64 wide(i32 x) { return x; }
DEVICE i64 wide(i8 x) { return x; }
DEVICE i64 wide(u8 x) { return x; }

struct bool8 {};
template <class O> struct To;
#define TO(O, S, of_f32, of_f64, of_i64)            \
    template <> struct To<O> {                      \
        typedef S Stored;                           \
        static DEVICE S from(f32 x) { return of_f32; } \
        static DEVICE S from(f64 x) { return of_f64; } \
        static DEVICE S from(i64 x) { return of_i64; } \
    };
TO(f32, f32, x, f32(x), f32(x))
TO(f64, f64, f64(x), x, f64(x))
TO(f16, f16, to_f16(x), to_f16(f32(x)), to_f16(f32(x)))
TO(bf16, bf16, to_bf16(x), to_bf16(f32(x)), to_bf16(f32(x)))
TO(i64, i64, to_i64(x), to_i64(x), x)
TO(i32, i32, to_i32(x), to_i32(x), i32(x))
TO(i8, i8, to_i8(x), to_i8(x), i8(x))
TO(u8, u8, to_u8(x), to_u8(x), u8(x))
TO(bool8, u8, x != 0, x != 0, x != 0)

template <class O> struct Cast {
    static constexpr bool LIGHT = false;
    template <class I> DEVICE typename To<O>::Stored of(I x) const { return To<O>::from(wide(x)); }
};

#define CAST_KERNEL(from, to, O) \
    KERNEL(map_cast_##from##_##to, To<O>::Stored* y, const from* x, i64 n) { linear(y, x, n, Cast<O>{}); }
#define CAST_KERNELS(from, ...)  \
    CAST_KERNEL(from, f32, f32)  \
    CAST_KERNEL(from, f64, f64)  \
    CAST_KERNEL(from, f16, f16)  \
    CAST_KERNEL(from, bf16, bf16) \
    CAST_KERNEL(from, i8, i8)    \
    CAST_KERNEL(from, u8, u8)    \
    CAST_KERNEL(from, i32, i32)  \
    CAST_KERNEL(from, i64, i64)  \
    CAST_KERNEL(from, bool, bool8)
EACH_FLOAT(CAST_KERNELS)
EACH_INTEGER(CAST_KERNELS)
