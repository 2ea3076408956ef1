// 2-D convolutions and their gradients as products of gathered operands: see product.cuh. NCHW, OIHW. A tap that lies in the padding,
// or that a stride skips, keeps its place in k and contributes nothing.
#include "product.cuh"

// Forward: rows are output channels, columns (n, oh, ow), k is (c, kh, kw). Gradient of x: rows are input channels, columns (n, h, w), k
// is (o, kh, kw). Gradient of the weight: rows are output channels, columns (c, kh, kw), k is (n, oh, ow). Groups are matrices.
struct Conv {
    i64 m, n, k, groups;
    i64 x_image, y_image, x_plane, y_plane, weight_row; // elements of an image, a plane, an output channel's weights
    i64 a_group, b_group;                               // from a group's operand to the next's
    i32 x_size[2], y_size[2], stride[2], padding[2], dilation[2], a_mode, unused;
    Divisor taps, tap_columns, x_plane_by, x_columns, y_plane_by, y_columns, stride_by[2], last;
    Target target;
};

// Half of a place: two of them add up to one.
struct Half {
    i64 base;
    int y, x;
};
DEVICE Half split(u32 i, const Divisor& plane, const Divisor& columns, u32& outer) {
    outer = quotient(i, plane);
    const u32 rest = i - outer * plane.d, y = quotient(rest, columns);
    return Half{0, (int)y, (int)(rest - y * columns.d)};
}
// Of x: by the output's place, and by the tap.
DEVICE Half x_by_output(const Conv& s, u32 i) {
    u32 image;
    const Half at = split(i, s.y_plane_by, s.y_columns, image);
    return Half{image * s.x_image, at.y * s.stride[0] - s.padding[0], at.x * s.stride[1] - s.padding[1]};
}
DEVICE Half x_by_tap(const Conv& s, u32 i) {
    u32 channel;
    const Half at = split(i, s.taps, s.tap_columns, channel);
    return Half{channel * s.x_plane, at.y * s.dilation[0], at.x * s.dilation[1]};
}
DEVICE bool in_x(const Conv& s, const Half& a, const Half& b, i64& place) {
    const int y = a.y + b.y, x = a.x + b.x;
    place = a.base + b.base + (i64)y * s.x_size[1] + x;
    return (u32)y < (u32)s.x_size[0] && (u32)x < (u32)s.x_size[1];
}

struct XForward {
    const Conv& s;
    typedef Half Row;
    typedef Half Tap;
    DEVICE Half row(u32 i) const { return x_by_output(s, i); }
    DEVICE Half tap(u32 k) const { return x_by_tap(s, k); }
    DEVICE bool at(const Half& row, const Half& tap, i64& place) const { return in_x(s, row, tap, place); }
};
struct XWeight {
    const Conv& s;
    typedef Half Row;
    typedef Half Tap;
    DEVICE Half row(u32 i) const { return x_by_tap(s, i); }
    DEVICE Half tap(u32 k) const { return x_by_output(s, k); }
    DEVICE bool at(const Half& row, const Half& tap, i64& place) const { return in_x(s, row, tap, place); }
};
// The output whose tap reads a place of x, if there is one.
struct YInput {
    const Conv& s;
    typedef Half Row;
    typedef Half Tap;
    DEVICE Half row(u32 i) const {
        u32 image;
        const Half at = split(i, s.x_plane_by, s.x_columns, image);
        return Half{image * s.y_image, at.y + s.padding[0], at.x + s.padding[1]};
    }
    DEVICE Half tap(u32 k) const {
        u32 channel;
        const Half at = split(k, s.taps, s.tap_columns, channel);
        return Half{channel * s.y_plane, -at.y * s.dilation[0], -at.x * s.dilation[1]};
    }
    DEVICE bool at(const Half& row, const Half& tap, i64& place) const {
        const int y = row.y + tap.y, x = row.x + tap.x;
        const int oy = (int)quotient(y < 0 ? 0u : (u32)y, s.stride_by[0]), ox = (int)quotient(x < 0 ? 0u : (u32)x, s.stride_by[1]);
        place = row.base + tap.base + (i64)oy * s.y_size[1] + ox;
        return oy * s.stride[0] == y && ox * s.stride[1] == x && oy < s.y_size[0] && ox < s.y_size[1];
    }
};
// The gradient by output channel and (n, oh, ow).
struct YWeight {
    const Conv& s;
    typedef i64 Row;
    typedef i64 Tap;
    DEVICE i64 row(u32 i) const { return i * s.y_plane; }
    DEVICE i64 tap(u32 k) const {
        const u32 image = quotient(k, s.y_plane_by);
        return image * s.y_image + (k - image * s.y_plane_by.d);
    }
    DEVICE bool at(i64 row, i64 tap, i64& place) const {
        place = row + tap;
        return true;
    }
};
// The weight by input channel and (o, kh, kw).
struct WeightInput {
    const Conv& s;
    typedef i64 Row;
    typedef i64 Tap;
    DEVICE i64 row(u32 i) const { return (i64)i * s.taps.d; }
    DEVICE i64 tap(u32 k) const {
        const u32 channel = quotient(k, s.taps);
        return channel * s.weight_row + (k - channel * s.taps.d);
    }
    DEVICE bool at(i64 row, i64 tap, i64& place) const {
        place = row + tap;
        return true;
    }
};

enum Kind { FORWARD, INPUT, WEIGHT };

// Grid: tiles, blocks of k (`parts` not null) or 1, groups (striding).
template <class S, Kind KIND, class T>
DEVICE void conv(const T* a, const T* b, const T* row_bias, T* c, typename S::C* parts, const Conv& plan) {
    __shared__ Shared<S> shared;
    __shared__ Marks<S, true> marks;
    const i64 m_tiles = (plan.m + S::BM - 1) / S::BM, n_tiles = (plan.n + S::BN - 1) / S::BN;
    i64 tile_m, tile_n;
    tile_at(blockIdx.x, m_tiles, n_tiles, tile_m, tile_n);
    const i64 i0 = tile_m * S::BM, j0 = tile_n * S::BN;
    const i64 begin = (i64)blockIdx.y * KC, end = parts && plan.k - begin > KC ? begin + KC : plan.k;
    for (i64 z = blockIdx.z; z < plan.groups; z += gridDim.z) {
        const T *own_a = a + z * plan.a_group, *own_b = b + z * plan.b_group;
        typename S::C total[S::TM][S::TN];
        if constexpr (KIND == FORWARD) {
            const StridedSlice<T, S::BM, S::BK, S::THREADS, S::LDA> weight(own_a + i0 * plan.k, plan.m - i0, plan.k, 1, plan.a_mode);
            const XForward gather{plan};
            const GatheredSlice<T, XForward, S::BN, S::BK, S::THREADS, S::LDB, true> x(own_b, gather, j0, plan.n - j0);
            sums<S, true>(total, weight, x, begin, end, shared, marks);
        } else if constexpr (KIND == INPUT) {
            const WeightInput left{plan};
            const YInput right{plan};
            const GatheredSlice<T, WeightInput, S::BM, S::BK, S::THREADS, S::LDA, false> weight(own_a, left, i0, plan.m - i0);
            const GatheredSlice<T, YInput, S::BN, S::BK, S::THREADS, S::LDB, true> y(own_b, right, j0, plan.n - j0);
            sums<S, true>(total, weight, y, begin, end, shared, marks);
        } else {
            const YWeight left{plan};
            const XWeight right{plan};
            const GatheredSlice<T, YWeight, S::BM, S::BK, S::THREADS, S::LDA, false> y(own_a, left, i0, plan.m - i0);
            const GatheredSlice<T, XWeight, S::BN, S::BK, S::THREADS, S::LDB, false> x(own_b, right, j0, plan.n - j0);
            sums<S, true>(total, y, x, begin, end, shared, marks);
        }
        if (parts) {
            write_part<S>(total, parts + (blockIdx.y * plan.groups + z) * plan.m * plan.n, i0, j0, plan.m, plan.n);
        } else {
            write<S>(total, Finish<T>(row_bias, nullptr, c, plan.target, z), plan.target, i0, j0, plan.m, plan.n);
        }
        __syncthreads(); // the slices are used again
    }
}

#define CONV(KIND, kind, size, dtype, ...)                                                                                     \
    KERNEL_OF_REGISTERS((Tiling<dtype, __VA_ARGS__>::THREADS), conv_##kind##_##size##_##dtype, const dtype* __restrict__ a,         \
                   const dtype* __restrict__ b, const dtype* __restrict__ row_bias, dtype* c, Compute<dtype>::type* parts,     \
                   const Conv plan) {                                                                                          \
        conv<Tiling<dtype, __VA_ARGS__>, KIND>(a, b, row_bias, c, parts, plan);                                                \
    }
#define FOLD(dtype)                                                                                                            \
    KERNEL(conv_fold_##dtype, const Compute<dtype>::type* __restrict__ parts, i64 blocks, const dtype* __restrict__ row_bias,  \
           dtype* c, const Conv plan) {                                                                                        \
        fold<dtype>(parts, blocks, row_bias, nullptr, c, plan.target, plan.m, plan.n, plan.groups);                            \
    }
// Warps, lanes along m, elements a thread, BK.
#define EACH_KIND(size, dtype, ...)                     \
    CONV(FORWARD, forward, size, dtype, __VA_ARGS__)    \
    CONV(INPUT, input, size, dtype, __VA_ARGS__)        \
    CONV(WEIGHT, weight, size, dtype, __VA_ARGS__)
EACH_KIND(large, f32, 2, 4, 8, 4, 8, 16) // 64 x 128
EACH_KIND(small, f32, 1, 4, 8, 4, 4, 16) // 32 x 64
EACH_KIND(large, f64, 2, 4, 8, 4, 4, 16) // 64 x 64
EACH_KIND(small, f64, 1, 4, 8, 4, 4, 16)
FOLD(f32)
FOLD(f64)
