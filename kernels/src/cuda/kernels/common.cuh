// What every kernel file starts from: names of types, kernel declarations, strided operands, conversions.
//
// Sources are compiled twice: by nvcc for the device (scripts/cuda-kernels) and by g++ for the emulator
// (scripts/cuda-emulator), which defines CUDA_EMU. Arithmetic gives the CPU's bits: compiled without contraction, so a fused
// multiply-add is written `fma(a, b, c)`; no function of the CUDA maths library but sqrt, fma, floor, ceil, trunc, rint, fabs,
// copysign.
#pragma once

typedef signed char i8;
typedef unsigned char u8;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
typedef float f32;
typedef double f64;
// Bits alone: computed with as f32.
struct f16 {
    u16 bits;
};
struct bf16 {
    u16 bits;
};

// ---- declarations ----

#ifndef CUDA_EMU
// A kernel, found by its name. KERNEL_BOUNDED: for at most so many threads a block, so that it may use more registers;
// KERNEL_RESIDENT: no more registers than that so many blocks fit a multiprocessor.
#define KERNEL(name, ...) extern "C" __global__ void name(__VA_ARGS__)
#define KERNEL_BOUNDED(threads, name, ...) extern "C" __global__ void __launch_bounds__(threads) name(__VA_ARGS__)
#define KERNEL_RESIDENT(threads, blocks, name, ...) extern "C" __global__ void __launch_bounds__(threads, blocks) name(__VA_ARGS__)
// The block's dynamic shared memory as an array of T.
#define DYNAMIC_SHARED(T, name)                                       \
    extern __shared__ __align__(16) unsigned char dynamic_shared[]; \
    T* const name = reinterpret_cast<T*>(dynamic_shared)
#endif
#define DEVICE __device__ __forceinline__

// `i` runs over 0..n, each thread of the grid taking every so many-th.
#define GRID_STRIDE(i, n) \
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x, i##_end = (n); i < i##_end; i += (i64)gridDim.x * blockDim.x)

constexpr u32 WARP = 0xffffffffu; // the mask of all lanes

// a / b, neither negative: 32-bit divisions are several times faster.
DEVICE i64 divided(i64 a, i64 b) { return (u64)(a | b) >> 32 == 0 ? (i64)((u32)a / (u32)b) : a / b; }

// ---- strided operands ----

// Where the elements of an operand lie, in elements, outermost dim first; rank 0 means one after the other.
struct Strided {
    i64 offset;
    i32 rank;
    u32 size[16];
    i64 stride[16];
};

// The place of element `i` in logical order. By value, from a kernel's parameter: it then stays in constant memory.
DEVICE i64 place_of(const Strided& x, i64 i) {
    i64 place = x.offset;
    if (x.rank == 0) return place + i;
    if ((u64)i >> 32 == 0) { // 32-bit divisions are several times faster
        u32 rest = (u32)i;
#pragma unroll 1
        for (i32 d = x.rank - 1; d > 0; --d) {
            const u32 outer = rest / x.size[d];
            place += (i64)(rest - outer * x.size[d]) * x.stride[d];
            rest = outer;
        }
        return place + (i64)rest * x.stride[0];
    }
    u64 rest = (u64)i;
#pragma unroll 1
    for (i32 d = x.rank - 1; d > 0; --d) {
        const u64 outer = rest / x.size[d];
        place += (i64)(rest - outer * x.size[d]) * x.stride[d];
        rest = outer;
    }
    return place + (i64)rest * x.stride[0];
}

// ---- bits ----

DEVICE u32 bits_of(f32 x) { return __float_as_uint(x); }
DEVICE u64 bits_of(f64 x) { return (u64)__double_as_longlong(x); }
DEVICE f32 float_of(u32 bits) { return __uint_as_float(bits); }
DEVICE f64 float_of(u64 bits) { return __longlong_as_double((i64)bits); }

// ---- floats, with the CPU's meaning ----

DEVICE bool is_nan(f32 x) { return !(x == x); }
DEVICE bool is_nan(f64 x) { return !(x == x); }
#ifdef CUDA_EMU // nvcc has both
using ::fma;
DEVICE f32 fma(f32 a, f32 b, f32 c) { return __builtin_fmaf(a, b, c); }
#endif
DEVICE f32 square_root(f32 x) { return __fsqrt_rn(x); }
DEVICE f64 square_root(f64 x) { return __dsqrt_rn(x); }
// x86's instruction: the second operand if either is NaN or both are zero.
template <class T> DEVICE T max_second(T a, T b) { return a > b ? a : b; }
template <class T> DEVICE T min_second(T a, T b) { return a < b ? a : b; }
// NaN if one is; the left of equals.
template <class T> DEVICE T maximum(T a, T b) { return b != b ? b : max_second(b, a); }
template <class T> DEVICE T minimum(T a, T b) { return b != b ? b : min_second(b, a); }

// ---- 2-byte floats: to the nearest, ties to even ----

DEVICE f32 to_f32(f16 x) {
#ifdef CUDA_EMU
    const u32 sign = (u32)(x.bits & 0x8000) << 16, rest = (u32)(x.bits & 0x7fff) << 13;
    if (rest >= 0x0f800000) return float_of(sign | (rest + (224u << 23)) | (rest > 0x0f800000 ? 1u << 22 : 0));
    // 0.m * 2^-14 is (1.m - 1) * 2^-14, and that difference is exact.
    if (rest < 0x00800000) return float_of(sign | bits_of(float_of(rest + (113u << 23)) - float_of(113u << 23)));
    return float_of(sign | (rest + (112u << 23)));
#else
    f32 wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
    return wide;
#endif
}
DEVICE f16 to_f16(f32 x) {
#ifdef CUDA_EMU
    const u32 sign = bits_of(x) >> 16 & 0x8000, rest = bits_of(x) & 0x7fffffff;
    u32 found;
    if (rest > 0x7f800000) found = 0x7e00 | (rest >> 13 & 0x3ff);
    else if (rest >= 143u << 23) found = 0x7c00;
    // Beside 1/2 the digits of a subnormal are the last of an f32: the addition rounds as it should.
    else if (rest < 113u << 23) found = bits_of(float_of(rest) + 0.5f) - bits_of(0.5f);
    else found = (rest - (112u << 23) + 0xfff + (rest >> 13 & 1)) >> 13;
    return f16{(u16)(sign | found)};
#else
    f16 narrow;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(x));
    return narrow;
#endif
}
DEVICE f32 to_f32(bf16 x) { return float_of((u32)x.bits << 16); }
DEVICE bf16 to_bf16(f32 x) {
    const u32 bits = bits_of(x);
    return bf16{(u16)(is_nan(x) ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

// The type that an element is computed with, and the ways there and back.
template <class T> struct Compute { typedef T type; };
template <> struct Compute<f16> { typedef f32 type; };
template <> struct Compute<bf16> { typedef f32 type; };
template <class T> DEVICE T widen(T x) { return x; }
DEVICE f32 widen(f16 x) { return to_f32(x); }
DEVICE f32 widen(bf16 x) { return to_f32(x); }
template <class T> struct Narrow { static DEVICE T from(T x) { return x; } };
template <> struct Narrow<f16> { static DEVICE f16 from(f32 x) { return to_f16(x); } };
template <> struct Narrow<bf16> { static DEVICE bf16 from(f32 x) { return to_bf16(x); } };
template <class T> DEVICE T narrow(typename Compute<T>::type x) { return Narrow<T>::from(x); }

// A float as an integer: cut, kept in range, NaN is 0 (Rust's `as`).
template <class I, class F> DEVICE I saturate(F x, I low, I high, F low_end, F high_end) {
    if (!(x > low_end)) return is_nan(x) ? I(0) : low;
    return x >= high_end ? high : (I)x;
}
template <class F> DEVICE i64 to_i64(F x) {
    return saturate<i64, F>(x, (i64)(1ull << 63), (i64)~(1ull << 63), F(-9223372036854775808.0), F(9223372036854775808.0));
}
template <class F> DEVICE i64 to_range(F x, i64 low, i64 high) { // low and high exact in F's neighbour: by way of i64
    const i64 whole = to_i64(x);
    return whole < low ? low : whole > high ? high : whole;
}
template <class F> DEVICE i32 to_i32(F x) { return (i32)to_range(x, -2147483648ll, 2147483647ll); }
template <class F> DEVICE i8 to_i8(F x) { return (i8)to_range(x, -128, 127); }
template <class F> DEVICE u8 to_u8(F x) { return (u8)to_range(x, 0, 255); }

// ---- random numbers: Philox4x32-10 ----

struct Philox {
    u64 seed, stream, block;
};
struct Words {
    u32 word[4];
};
// The four words of block `at.block + i`.
DEVICE Words philox(Philox at, u64 i) {
    const u64 block = at.block + i;
    u32 c0 = (u32)block, c1 = (u32)(block >> 32), c2 = (u32)at.stream, c3 = (u32)(at.stream >> 32);
    u32 k0 = (u32)at.seed, k1 = (u32)(at.seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const u32 even = 0xD2511F53u * c0, even_high = __umulhi(0xD2511F53u, c0);
        const u32 odd = 0xCD9E8D57u * c2, odd_high = __umulhi(0xCD9E8D57u, c2);
        c0 = odd_high ^ c1 ^ k0;
        c1 = odd;
        c2 = even_high ^ c3 ^ k1;
        c3 = even;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return Words{{c0, c1, c2, c3}};
}
