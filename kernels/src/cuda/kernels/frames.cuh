// Loops over elements: a thread takes groups of four neighbours, loaded and stored whole where that is possible.
//
// A formula that is not light stands in the code once: the elements of a group pass by it in a ring.
#pragma once
#include "common.cuh"

template <class T> struct alignas(sizeof(T) * 4 > 16 ? 16 : sizeof(T) * 4) Four {
    T x, y, z, w;
};

// Drops the first, appends `next`.
template <class T> DEVICE void push(Four<T>& four, T next) {
    four.x = four.y;
    four.y = four.z;
    four.z = four.w;
    four.w = next;
}

template <class T> DEVICE bool aligned(const T* pointer) { return ((u64)pointer & (alignof(Four<T>) - 1)) == 0; }
template <class T> DEVICE Four<T> load(const T* from) { return *reinterpret_cast<const Four<T>*>(from); }
template <class T> DEVICE void store(T* to, const Four<T>& four) { *reinterpret_cast<Four<T>*>(to) = four; }

// The same number, unknown to the compiler: it would copy whole loops, one for each answer.
DEVICE i32 opaque(i32 x) {
#ifndef CUDA_EMU
    asm volatile("" : "+r"(x));
#endif
    return x;
}

// `i` is the start of each group of 0..n that this thread takes.
#define GROUPS(i, n) \
    for (i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * 4; i < (n); i += (i64)gridDim.x * blockDim.x * 4)

// y[i] = f.of(x[i]); x may be y.
template <class F, class O, class I> DEVICE void linear(O* y, const I* x, i64 n, F f) {
    const i32 neat = aligned(y) && aligned(x);
#pragma unroll 1
    GROUPS(i, n) {
        const int count = n - i < 4 ? (int)(n - i) : 4;
        const bool whole = opaque(neat) != 0 && count == 4;
        if constexpr (F::LIGHT) {
            if (whole) {
                const Four<I> in = load(x + i);
                store(y + i, Four<O>{f.of(in.x), f.of(in.y), f.of(in.z), f.of(in.w)});
            } else {
#pragma unroll 1
                for (int k = 0; k < count; ++k) y[i + k] = f.of(x[i + k]);
            }
        } else {
            Four<I> in{};
            Four<O> out{};
            if (whole) in = load(x + i);
#pragma unroll 1
            for (int k = 0; k < count; ++k) {
                if (!whole) in.x = x[i + k];
                push(out, f.of(in.x));
                push(in, in.x);
                if (!whole) y[i + k] = out.w;
            }
            if (whole) store(y + i, out);
        }
    }
}

// How N operands lie in one nest of loops, in elements, outermost dim first; rank 0: one element after the other.
template <int N> struct Nest {
    i32 rank;
    // Not 0 if four neighbours may be moved at once: of every operand, in groups that cross no row. Then bit 8 + k says that
    // those of operand k are one value.
    i32 whole;
    u32 size[16];
    i64 stride[16][N];
};

// The places of element `i`.
template <int N> DEVICE void places(const Nest<N>& nest, i64 i, i64 (&at)[N]) {
    const i32 rank = opaque(nest.rank);
#pragma unroll
    for (int k = 0; k < N; ++k) at[k] = rank == 0 ? i : 0;
    u64 rest = (u64)i;
#pragma unroll 1
    for (i32 d = rank - 1; d >= 0; --d) {
        const u64 outer = d == 0 ? 0 : rest / nest.size[d];
        const i64 here = (i64)(rest - outer * nest.size[d]);
#pragma unroll
        for (int k = 0; k < N; ++k) at[k] += here * nest.stride[d][k];
        rest = outer;
    }
}

// Four neighbours of operand k.
template <class T> DEVICE Four<T> fetch(const T* from, i32 whole, int k) {
    if (whole >> (8 + k) & 1) return Four<T>{*from, *from, *from, *from};
    return load(from);
}

// y[i] = f.of(a[i], b[i]); either may be y where it lies like y.
template <class F, class O, class I> DEVICE void pairs(O* y, const I* a, const I* b, const Nest<2>& nest, i64 n, F f) {
#pragma unroll 1
    GROUPS(i, n) {
        const int count = n - i < 4 ? (int)(n - i) : 4;
        const bool whole = opaque(nest.whole) != 0 && count == 4;
        Four<I> left{}, right{};
        Four<O> out{};
#pragma unroll 1
        for (int k = 0; k < count; ++k) {
            if (!whole || k == 0) {
                i64 at[2];
                places(nest, i + k, at);
                if (whole) {
                    left = fetch(a + at[0], nest.whole, 0);
                    right = fetch(b + at[1], nest.whole, 1);
                    if constexpr (F::LIGHT) {
                        store(y + i, Four<O>{f.of(left.x, right.x), f.of(left.y, right.y), f.of(left.z, right.z),
                                             f.of(left.w, right.w)});
                        break;
                    }
                } else {
                    left.x = a[at[0]];
                    right.x = b[at[1]];
                }
            }
            push(out, f.of(left.x, right.x));
            push(left, left.x);
            push(right, right.x);
            if (!whole) y[i + k] = out.w;
        }
        if (!F::LIGHT && whole) store(y + i, out);
    }
}

// y[i] = c[i] ? a[i] : b[i].
template <class T> DEVICE void choose(T* y, const u8* c, const T* a, const T* b, const Nest<3>& nest, i64 n) {
#pragma unroll 1
    GROUPS(i, n) {
        const int count = n - i < 4 ? (int)(n - i) : 4;
        const int step = opaque(nest.whole) != 0 && count == 4 ? 4 : 1;
#pragma unroll 1
        for (int k = 0; k < count; k += step) {
            i64 at[3];
            places(nest, i + k, at);
            if (step == 4) {
                const Four<u8> condition = fetch(c + at[0], nest.whole, 0);
                const Four<T> yes = fetch(a + at[1], nest.whole, 1), no = fetch(b + at[2], nest.whole, 2);
                store(y + i, Four<T>{condition.x ? yes.x : no.x, condition.y ? yes.y : no.y, condition.z ? yes.z : no.z,
                                     condition.w ? yes.w : no.w});
            } else {
                y[i + k] = c[at[0]] ? a[at[1]] : b[at[2]];
            }
        }
    }
}

// A formula of the computed type for a stored one: widened, and rounded once.
template <class F, class T> struct Widened {
    static constexpr bool LIGHT = F::LIGHT;
    DEVICE T of(T x) const { return narrow<T>(F::of(widen(x))); }
    DEVICE T of(T a, T b) const { return narrow<T>(F::of(widen(a), widen(b))); }
};

#define EACH_FLOAT(macro, ...) macro(f32, __VA_ARGS__) macro(f64, __VA_ARGS__) macro(f16, __VA_ARGS__) macro(bf16, __VA_ARGS__)
#define EACH_INTEGER(macro) macro(i8) macro(u8) macro(i32) macro(i64)
