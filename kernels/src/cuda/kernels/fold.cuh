// The folds of R3 (docs/adr/001): what the CPU's kernels/src/cpu/reduce/lanes.rs has.
#pragma once
#include "common.cuh"

constexpr i32 CHUNK = 16384; // elements in a chunk of the innermost group
constexpr i32 ROWS = 256;    // rows in a chunk of any other

DEVICE bool is_nan(i64) { return false; }
template <class T> DEVICE bool negative_sign(T x) { return bits_of(x) >> (sizeof(T) * 8 - 1) != 0; }
DEVICE bool negative_sign(i64) { return false; }
template <class T> DEVICE T plus(T a, T b) { return a + b; }
template <> DEVICE i64 plus(i64 a, i64 b) { return (i64)((u64)a + (u64)b); }
template <class T> DEVICE T times(T a, T b) { return a * b; }
template <> DEVICE i64 times(i64 a, i64 b) { return (i64)((u64)a * (u64)b); }

// The extreme that everything beats.
template <class T> DEVICE T least(bool smallest);
template <> DEVICE f32 least(bool smallest) { return float_of(smallest ? 0x7f800000u : 0xff800000u); }
template <> DEVICE f64 least(bool smallest) { return float_of(smallest ? 0x7ff0000000000000ull : 0xfff0000000000000ull); }
template <> DEVICE i64 least(bool smallest) { return smallest ? (i64)~(1ull << 63) : (i64)(1ull << 63); }

template <class T> struct Sum {
    static constexpr bool PICKS = false;
    DEVICE explicit Sum(i32) {}
    DEVICE T start() const { return T(0); }
    DEVICE T join(T left, T right) const { return plus(left, right); }
};
template <class T> struct Prod {
    static constexpr bool PICKS = false;
    DEVICE explicit Prod(i32) {}
    DEVICE T start() const { return T(1); }
    DEVICE T join(T left, T right) const { return times(left, right); }
};
// The larger, or the smaller; NaN before all, the left of equals.
template <class T> struct Pick {
    static constexpr bool PICKS = true;
    bool smallest;
    DEVICE explicit Pick(i32 code) : smallest(code != 0) {}
    DEVICE T start() const { return least<T>(smallest); }
    DEVICE T join(T left, T right) const {
        const bool better = smallest ? right < left : right > left;
        return is_nan(right) || better ? right : left;
    }
};

// Lanes meet out of order: of zeros with different signs the first counts. It is kept as twice its place plus its sign.
constexpr u32 NO_ZERO = 0xffffffffu;
template <class T> DEVICE u32 zero_at(u32 known, T x, i32 place) {
    const u32 key = (u32)place * 2 + (negative_sign(x) ? 1 : 0);
    return x == T(0) && key < known ? key : known;
}
template <class T> DEVICE T first_zero(T picked, u32 zero) {
    return picked == T(0) && zero != NO_ZERO ? ((zero & 1) != 0 ? -T(0) : T(0)) : picked;
}
DEVICE u32 lower(u32 a, u32 b) { return a < b ? a : b; }

// Some neighbours in a warp that share a row: `width` of them, a power of 2. Fewer than 32 only if the row is no longer.
struct Team {
    i32 width, lane;
    DEVICE explicit Team(i32 width) : width(width), lane((i32)(threadIdx.x & (u32)(width - 1))) {}
    // The fixed fold of the 64 lanes, of which this thread has `lane` (a) and `lane + 32` (b); right in lane 0 alone.
    template <class T, class F> DEVICE T fold(T a, T b, const F& f) const {
        if (width == 32) a = f.join(a, b);
        for (i32 w = width >> 1; w > 0; w >>= 1) a = f.join(a, __shfl_down_sync(WARP, a, w));
        return a;
    }
    DEVICE u32 lowest(u32 a) const {
        for (i32 w = width >> 1; w > 0; w >>= 1) a = lower(a, __shfl_down_sync(WARP, a, w));
        return a;
    }
    template <class T> DEVICE T first(T a) const { return __shfl_sync(WARP, a, (i32)(threadIdx.x & 31) & ~(width - 1)); }
};

// One chunk of `n` elements, element k being `at(k)`; right in lane 0 alone. All of a warp come here together. So many
// elements at a time: 8, or 2 where each is much work.
template <class C, i32 AT_ONCE = 8, class F, class At> DEVICE C fold_chunk(const Team& team, i32 n, const F& f, const At& at) {
    C a = f.start(), b = f.start();
    u32 zero = NO_ZERO;
    i32 k = team.lane;
    if (team.width == 32) {
        #pragma unroll 1
        for (; k - team.lane + 32 * AT_ONCE <= n; k += 32 * AT_ONCE) {
            C x[AT_ONCE];
#pragma unroll
            for (i32 j = 0; j < AT_ONCE; ++j) x[j] = at(k + 32 * j);
#pragma unroll
            for (i32 j = 0; j < AT_ONCE; ++j) {
                if (F::PICKS) zero = zero_at(zero, x[j], k + 32 * j);
                if (j % 2 == 0) a = f.join(a, x[j]);
                else b = f.join(b, x[j]);
            }
        }
#pragma unroll 1
        for (; k < n; k += 64) {
            const C x = at(k);
            if (F::PICKS) zero = zero_at(zero, x, k);
            a = f.join(a, x);
            if (k + 32 < n) {
                const C y = at(k + 32);
                if (F::PICKS) zero = zero_at(zero, y, k + 32);
                b = f.join(b, y);
            }
        }
    } else if (k < n) {
        const C x = at(k);
        if (F::PICKS) zero = zero_at(zero, x, k);
        a = f.join(a, x);
    }
    a = team.fold(a, b, f);
    return F::PICKS ? first_zero(a, team.lowest(zero)) : a;
}

// 16 bytes of neighbours.
template <class T> struct alignas(16) Pack {
    static constexpr i32 LEN = 16 / sizeof(T);
    T at[LEN];
};

// As `fold_chunk`, of elements one after the other from a multiple of 16 bytes on: a thread has as many lanes as 16 bytes elements, so
// that `64 / LEN` threads share the row; right in the first of them. All of a warp come here together.
template <class C, class T, class F> DEVICE C fold_line(const T* __restrict__ from, i32 n, const F& f) {
    constexpr i32 LEN = Pack<T>::LEN, WIDTH = 64 / LEN, AT_ONCE = 8;
    const i32 own = (i32)(threadIdx.x & (u32)(WIDTH - 1)) * LEN;
    C acc[LEN];
    u32 zero = NO_ZERO;
#pragma unroll
    for (i32 i = 0; i < LEN; ++i) acc[i] = f.start();
    const auto take = [&](i32 i, C value, i32 k) {
        if (F::PICKS) zero = zero_at(zero, value, k);
        acc[i] = f.join(acc[i], value);
    };
    i32 k = own;
#pragma unroll 1
    for (; k - own + 64 * AT_ONCE <= n; k += 64 * AT_ONCE) {
        Pack<T> x[AT_ONCE];
#pragma unroll
        for (i32 j = 0; j < AT_ONCE; ++j) x[j] = *reinterpret_cast<const Pack<T>*>(from + k + 64 * j);
#pragma unroll
        for (i32 j = 0; j < AT_ONCE; ++j)
#pragma unroll
            for (i32 i = 0; i < LEN; ++i) take(i, widen(x[j].at[i]), k + 64 * j + i);
    }
#pragma unroll 1
    for (; k + LEN <= n; k += 64) {
        const Pack<T> x = *reinterpret_cast<const Pack<T>*>(from + k);
#pragma unroll
        for (i32 i = 0; i < LEN; ++i) take(i, widen(x.at[i]), k + i);
    }
    // The last few, of one thread alone.
#pragma unroll
    for (i32 i = 0; i < LEN - 1; ++i)
        if (k + i < n) take(i, widen(from[k + i]), k + i);
#pragma unroll
    for (i32 w = WIDTH / 2; w > 0; w >>= 1) {
#pragma unroll
        for (i32 i = 0; i < LEN; ++i) acc[i] = f.join(acc[i], __shfl_down_sync(WARP, acc[i], w));
        if (F::PICKS) zero = lower(zero, __shfl_down_sync(WARP, zero, w));
    }
#pragma unroll
    for (i32 w = LEN / 2; w > 0; w >>= 1)
#pragma unroll
        for (i32 i = 0; i < w; ++i) acc[i] = f.join(acc[i], acc[i + w]);
    return F::PICKS ? first_zero(acc[0], zero) : acc[0];
}
