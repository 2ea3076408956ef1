// Random numbers from Philox (R5 of docs/adr/001-order-of-every-sum.md): a thread computes a block of 4 words and the elements that
// it gives: 4 uniforms, or 2 of f64, or a pair of normals.
#include "transform.cuh"

template <class T, int N> struct alignas(N * sizeof(T)) Group {
    T at[N];
};

// N elements from `at` on, as far as there are n.
template <class T, int N> DEVICE void put(T* out, i64 at, i64 n, const Group<T, N>& x) {
    if (n - at >= N) {
        *reinterpret_cast<Group<T, N>*>(out + at) = x;
        return;
    }
#pragma unroll
    for (int i = 0; i < N - 1; ++i)
        if (i < n - at) out[at + i] = x.at[i];
}

// The uniform numbers of a block.
template <class C> struct Uniforms {
    static constexpr int COUNT = 4;
    C at[4];
    DEVICE Uniforms(const Words& words) {
#pragma unroll
        for (int i = 0; i < 4; ++i) at[i] = (f32)(i32)(words.word[i] >> 8) * (1.0f / 16777216.0f);
    }
};
template <> struct Uniforms<f64> {
    static constexpr int COUNT = 2;
    f64 at[2];
    DEVICE Uniforms(const Words& words)
        : at{uniform_of(words.word[0], words.word[1]), uniform_of(words.word[2], words.word[3])} {}
};

// [low, low + range), cut to the digits of a 2-byte type if `scale` is not 0; rounding goes no further than `top`.
template <class C> struct Range {
    C low, range, top, scale, back;
    DEVICE C of(C x) const {
        if (scale != C(0)) x = (C)(i32)(x * scale) * back;
        const C y = fma(x, range, low);
        return y > top ? top : y;
    }
};

// `value` with probability p, else 0.
template <class C> struct Chance {
    C p, value;
    DEVICE C of(C x) const { return x < p ? value : C(0); }
};

template <class T, class How> DEVICE void uniform(T* out, const Philox& at, i64 n, const How& how) {
    typedef typename Compute<T>::type C;
    constexpr int N = Uniforms<C>::COUNT;
    const i64 blocks = (n + N - 1) / N;
#pragma unroll 1
    GRID_STRIDE(block, blocks) {
        const Uniforms<C> x(philox(at, block));
        Group<T, N> y;
#pragma unroll
        for (int i = 0; i < N; ++i) y.at[i] = narrow<T>(how.of(x.at[i]));
        put(out, block * N, n, y);
    }
}

template <class C> struct Bell {
    C mean, std;
};

template <class T, class C> DEVICE void normal(T* out, const Philox& at, i64 n, const Bell<C>& bell) {
    const i64 blocks = (n + 1) / 2;
#pragma unroll 1
    GRID_STRIDE(block, blocks) {
        Uniforms<f64> x(philox(at, block));
        box_muller(x.at[0], x.at[1]);
        Group<T, 2> y;
#pragma unroll
        for (int i = 0; i < 2; ++i) y.at[i] = narrow<T>(fma((C)x.at[i], bell.std, bell.mean));
        put(out, block * 2, n, y);
    }
}

#define RANDOM(T)                                                                                                                   \
    KERNEL(random_uniform_##T, T* out, const Philox at, i64 n, const Range<Compute<T>::type> how) { uniform(out, at, n, how); }     \
    KERNEL(random_bernoulli_##T, T* out, const Philox at, i64 n, const Chance<Compute<T>::type> how) { uniform(out, at, n, how); }  \
    KERNEL(random_normal_##T, T* out, const Philox at, i64 n, const Bell<Compute<T>::type> how) { normal(out, at, n, how); }
RANDOM(f32) RANDOM(f64) RANDOM(f16) RANDOM(bf16)
