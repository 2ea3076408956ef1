// Products and convolutions of codes (kernels/src/cpu/int8): what int8.cu and int8_tensor.cu share.
//
// Sums are exact integers, so their order is of no importance. All codes are computed with as i8: those of u8 are made so by `flip`,
// and their zero points come moved by -128. Rows of A are windows of NHWC images, read where they lie (a plain product: one place a
// row); B is packed, one column of C after the other. Its codes beyond k are 0, so that A's there may be any.
#pragma once
#include "product.cuh"

// The windows that are A's rows. A pair is height and width.
struct Windows {
    i64 rows, pitch; // pitch: codes from a place of the image to the next
    i32 input[2], output[2], kernel[2], stride[2], padding[2], dilation[2];
    i32 channels; // that a window sees, of a group
    i32 k;        // codes of a window
    i32 plain;    // a window is one place, and row i is place i
    i32 width;    // 16, 4 or 1: codes that may be read at a time
    u32 fill;     // padding: its code, four times
    u32 flip;     // 0x80808080 for u8
    Divisor by_channels, by_kernel;
    const i32* zeros; // of each image; or null: `fill`
};

// Where a window begins, where that is in the image, and what the padding is.
struct Window {
    i64 at;
    i32 y, x;
    u32 fill;
};
// What is beyond the rows is a row, too.
DEVICE Window window_at(const Windows& w, i64 i) {
    if (i >= w.rows) i = w.rows - 1;
    if (w.plain) return Window{i * w.pitch, 0, 0, 0};
    const i64 line = divided(i, w.output[1]), image = divided(line, w.output[0]);
    const i32 y = (i32)(line - image * w.output[0]) * w.stride[0] - w.padding[0];
    const i32 x = (i32)(i - line * w.output[1]) * w.stride[1] - w.padding[1];
    const u32 fill = w.zeros ? (u32)(w.zeros[image] & 255) * 0x01010101u : w.fill;
    return Window{((image * w.input[0] + y) * w.input[1] + x) * w.pitch, y, x, fill};
}
// Place k of every window, relative to where it begins.
DEVICE Window tap_at(const Windows& w, i32 k) {
    if (w.plain) return Window{k, 0, 0, 0};
    const u32 tap = quotient((u32)k, w.by_channels), channel = k - tap * w.channels, down = quotient(tap, w.by_kernel);
    const i32 y = (i32)down * w.dilation[0], x = (i32)(tap - down * w.kernel[1]) * w.dilation[1];
    return Window{((i64)y * w.input[1] + x) * w.pitch + channel, y, x, 0};
}
DEVICE bool inside(const Windows& w, i32 y, i32 x) { return (u32)y < (u32)w.input[0] && (u32)x < (u32)w.input[1]; }
DEVICE bool inside(const Windows& w, const Window& row, const Window& tap) { return w.plain || inside(w, row.y + tap.y, row.x + tap.x); }

// 16 codes of a window from place k on.
typedef Vector<u32, 4> Chunk;
DEVICE Chunk filled(u32 word) { return Chunk{{word, word, word, word}}; }
DEVICE Chunk gathered(const u8* x, const Windows& w, const Window& row, i32 k) {
    Chunk chunk = {};
    if (w.width == 16) {
        if (k >= w.k) return chunk;
        const Window tap = tap_at(w, k);
        if (!inside(w, row, tap)) return filled(row.fill);
        return *reinterpret_cast<const Chunk*>(x + (row.at + tap.at));
    }
    const int bytes = w.width;
#pragma unroll 1
    for (int e = 0; e < 4; ++e) {
        u32 word = 0;
#pragma unroll 1
        for (int byte = 0; byte < 4; byte += bytes) {
            const i32 place = k + 4 * e + byte;
            if (place >= w.k) break;
            const Window tap = tap_at(w, place);
            if (bytes == 4) word = inside(w, row, tap) ? *reinterpret_cast<const u32*>(x + (row.at + tap.at)) : row.fill;
            else word |= (inside(w, row, tap) ? (u32)x[row.at + tap.at] : row.fill & 255) << 8 * byte;
        }
#pragma unroll
        for (int same = 0; same < 4; ++same) // registers have no index
            if (same == e) chunk.at[same] = word;
    }
    return chunk;
}

// B and how the work is cut. Sums of a part of k, `part` long, go to parts[part][row][column] if there are several.
struct Product {
    i64 pitch; // of B's columns, a multiple of 16
    i32 n, k;  // of a group; k is the window's
    i32 groups, part;
};

// ---- what follows the sums ----

enum To { TO_I32 = 0, TO_I64 = 1, TO_F32 = 2, TO_CODES = 3 };

// As Finish of kernels/src/cpu/int8/finish.rs.
struct Ending {
    const i32* column_sums;  // of B
    const i32* row_zeros;    // or null; A's zero points are these, one a group of rows, plus `zero`
    const i32* weight_zeros; // B's, or null: `weight_zero`
    const i32* row_sums;     // of A, by row and group; or null: B's zero points are 0
    const i32* bias;         // or null
    const f32* scale;        // one, or one a column
    const f32* row_scale;    // one a group of rows, or null: 1
    const f32* float_bias;   // or null
    void* out;
    i64 stride;   // elements from row to row
    i64 together; // rows of a group
    i32 columns, k, zero, weight_zero;
    i32 scale_step, to, relu, out_zero;
    i32 vectors; // four results may be written at a time
    f32 low, high;
};

// The group of a row, if anything is given for groups.
DEVICE i64 group_of(const Ending& end, i64 i) { return end.together == 1 ? i : divided(i, end.together); }

// A's zero point.
DEVICE i32 zero_at(const Ending& end, i64 i) { return end.zero + (end.row_zeros ? end.row_zeros[group_of(end, i)] : 0); }

template <class I> struct Wrapping;
template <> struct Wrapping<i32> { typedef u32 type; };
template <> struct Wrapping<i64> { typedef u64 type; };

// The exact sum, modulo I: the products, the zero points' terms and the bias.
template <class I> DEVICE I exact(const Ending& end, I products, i64 i, i32 j, i32 group, i32 groups) {
    typedef typename Wrapping<I>::type U;
    const U zero = (U)(I)zero_at(end, i);
    U sum = (U)products - zero * (U)(I)end.column_sums[j];
    if (end.bias) sum += (U)(I)end.bias[j];
    if (end.row_sums) {
        const U weight_zero = (U)(I)(end.weight_zeros ? end.weight_zeros[j] : end.weight_zero);
        sum -= weight_zero * ((U)(I)end.row_sums[i * groups + group] - (U)end.k * zero);
    }
    return (I)sum;
}

constexpr f32 ROUNDER = 12582912.f; // 1.5 * 2^23: what is at most 2^22 is rounded by adding it, half to even
DEVICE i32 rounded(f32 x) { return (i32)(bits_of(x + ROUNDER) - bits_of(ROUNDER)); }
DEVICE f32 clamped(f32 x, f32 low, f32 high) {
    const f32 above = x > low ? x : low;
    return above < high ? above : high;
}

template <class I> DEVICE f32 as_float(const Ending& end, I sum, f32 row_scale, i64 j) {
    f32 x = (f32)sum * (row_scale * end.scale[j * end.scale_step]);
    if (end.float_bias) x = x + end.float_bias[j];
    return end.relu && 0.f > x ? 0.f : x;
}
template <class I> DEVICE u32 as_code(const Ending& end, I sum, i64 j) {
    return (u32)(rounded(clamped((f32)sum * end.scale[j * end.scale_step], end.low, end.high)) + end.out_zero) & 255;
}

// Writes `count` of four results of a row, from column j on.
template <class I> DEVICE void put(const Ending& end, const I (&sum)[4], i64 i, i64 j, i32 count) {
    const i64 at = i * end.stride + j;
    const bool whole = end.vectors && count >= 4;
    if (end.to == TO_I32) {
        i32* const out = (i32*)end.out + at;
        if (whole) *reinterpret_cast<Vector<i32, 4>*>(out) = Vector<i32, 4>{{(i32)sum[0], (i32)sum[1], (i32)sum[2], (i32)sum[3]}};
        else
#pragma unroll
            for (int e = 0; e < 4; ++e)
                if (e < count) out[e] = (i32)sum[e];
    } else if (end.to == TO_I64) {
        i64* const out = (i64*)end.out + at;
#pragma unroll
        for (int e = 0; e < 4; ++e)
            if (e < count) out[e] = (i64)sum[e];
    } else if (end.to == TO_F32) {
        f32* const out = (f32*)end.out + at;
        const f32 row_scale = end.row_scale ? end.row_scale[group_of(end, i)] : 1.f;
        Vector<f32, 4> value = {};
#pragma unroll
        for (int e = 0; e < 4; ++e)
            if (e < count) value.at[e] = as_float(end, sum[e], row_scale, j + e);
        if (whole) *reinterpret_cast<Vector<f32, 4>*>(out) = value;
        else
#pragma unroll
            for (int e = 0; e < 4; ++e)
                if (e < count) out[e] = value.at[e];
    } else {
        u8* const out = (u8*)end.out + at;
        u32 word = 0;
#pragma unroll
        for (int e = 0; e < 4; ++e)
            if (e < count) word |= as_code(end, sum[e], j + e) << 8 * e;
        if (whole) *reinterpret_cast<u32*>(out) = word;
        else
#pragma unroll
            for (int e = 0; e < 4; ++e)
                if (e < count) out[e] = (u8)(word >> 8 * e);
    }
}

// Four sums of products of row i and a group's columns from j on: finished, or kept as a part.
DEVICE void leave_four(const Ending& end, const Product& p, i32* parts, i64 rows, i32 (&sum)[4], i64 i, i32 j, i32 group) {
    const i32 count = p.n - j < 4 ? p.n - j : 4, column = group * p.n + j;
    if (parts) {
        i32* const to = parts + (blockIdx.y * rows + i) * end.columns + column;
#pragma unroll
        for (int e = 0; e < 4; ++e)
            if (e < count) to[e] = sum[e];
        return;
    }
#pragma unroll
    for (int e = 0; e < 4; ++e)
        if (e < count) sum[e] = exact(end, sum[e], i, column + e, group, p.groups);
    put(end, sum, i, column, count);
}
