// Pools of [planes, h, w] (kernels/src/cpu/pool). A thread an element of the result, which it gathers: backward as well, each
// input's shares in ascending order of the windows.
#include "common.cuh"

// As Windows of kernels/src/cpu/pool/shape.rs, a pair being height and width. Adaptive: window i of o over n elements reaches
// from floor(i n / o) to ceil((i + 1) n / o).
struct Windows {
    i64 input[2], output[2], kernel[2], stride[2], padding[2], dilation[2];
    i64 by;                // the divisor, where a number was given
    i32 adaptive, divisor; // what a mean is divided by: 0 its elements, 1 those and padded places, 2 `by`
};

DEVICE i64 divided_up(i64 a, i64 b) { return b == 1 ? a : divided(a + b - 1, b); }
DEVICE i64 least_of(i64 a, i64 b) { return a < b ? a : b; }

// What a window sees along a dim: `count` elements from `start`, `padded` with those in the padding.
struct Taps {
    i64 start, count, step, padded;
};
DEVICE Taps taps(const Windows& w, int d, i64 at) {
    if (w.adaptive != 0) {
        const i64 start = divided(at * w.input[d], w.output[d]);
        const i64 count = divided_up((at + 1) * w.input[d], w.output[d]) - start;
        return Taps{start, count, 1, count};
    }
    const i64 first = at * w.stride[d], padding = w.padding[d], step = w.dilation[d];
    const i64 hidden = padding > first ? divided_up(padding - first, step) : 0;
    const i64 end = least_of(divided_up(w.input[d] + padding - first, step), w.kernel[d]);
    return Taps{first + hidden * step - padding, end - hidden, step, least_of(w.kernel[d], w.input[d] + 2 * padding - first)};
}

// The windows, `first` to `last`, that see an element (of no dilation).
struct Seeing {
    i64 first, last;
};
DEVICE Seeing seeing(const Windows& w, int d, i64 at) {
    if (w.adaptive != 0)
        return Seeing{divided(at * w.output[d], w.input[d]), divided_up((at + 1) * w.output[d], w.input[d]) - 1};
    const i64 place = at + w.padding[d], before = place - w.kernel[d] + 1;
    return Seeing{before > 0 ? divided_up(before, w.stride[d]) : 0, least_of(divided(place, w.stride[d]), w.output[d] - 1)};
}

// Element `i` of planes of this size.
struct Place {
    i64 plane, row, column;
    DEVICE Place(i64 i, const i64 (&size)[2]) {
        const i64 line = divided(i, size[1]);
        column = i - line * size[1];
        plane = divided(line, size[0]);
        row = line - plane * size[0];
    }
};

// True if x, which comes later, is larger than the best, or the first NaN.
template <class T> DEVICE bool beats(T x, T best) { return x > best || (is_nan(x) && !is_nan(best)); }

// The maximum of each window and which of its taps that is; or, if `places` is given, row * width + column alone.
template <class T> DEVICE void most(const T* __restrict__ x, T* __restrict__ out, u8* __restrict__ index, i64* __restrict__ places, const Windows& w, i64 n) {
    const i64 width = w.input[1];
#pragma unroll 1
    GRID_STRIDE(i, n) {
        const Place at(i, w.output);
        const Taps rows = taps(w, 0, at.row), columns = taps(w, 1, at.column);
        const T* const image = x + at.plane * w.input[0] * width;
        i64 row = rows.start, column = columns.start;
        T best = image[row * width + column];
#pragma unroll 1
        for (i64 r = 0, y = rows.start; r < rows.count; ++r, y += rows.step)
#pragma unroll 1
            for (i64 c = 0, z = columns.start; c < columns.count; ++c, z += columns.step) {
                const T value = image[y * width + z];
                if (beats(value, best)) best = value, row = y, column = z;
            }
        if (places != nullptr) {
            places[i] = row * width + column;
        } else {
            row += w.padding[0] - at.row * w.stride[0];
            column += w.padding[1] - at.column * w.stride[1];
            out[i] = best;
            index[i] = (u8)(row * w.kernel[1] + column);
        }
    }
}

// Where the winning tap of window `at` lies; -1 outside the image.
DEVICE i64 winner(const Windows& w, const Place& at, u32 tap) {
    const u32 width = (u32)w.kernel[1], high = tap / width;
    const i64 row = at.row * w.stride[0] + high - w.padding[0], column = at.column * w.stride[1] + (tap - high * width) - w.padding[1];
    const bool inside = row >= 0 && row < w.input[0] && column >= 0 && column < w.input[1];
    return inside ? row * w.input[1] + column : -1;
}

// bad |= 1: a tap outside its window, 2: outside the image.
KERNEL(pool_check, const u8* index, u32* bad, const Windows w, i64 n) {
    u32 found = 0;
#pragma unroll 1
    GRID_STRIDE(i, n) {
        if (index[i] >= w.kernel[0] * w.kernel[1]) found |= 1;
        else if (winner(w, Place(i, w.output), index[i]) < 0) found |= 2;
    }
    if (found != 0) atomicOr(bad, found);
}

// The element at each window's winning tap.
template <class T> DEVICE void gather(const T* __restrict__ x, const u8* __restrict__ index, T* __restrict__ out, const Windows& w, i64 n) {
#pragma unroll 1
    GRID_STRIDE(i, n) {
        const Place at(i, w.output);
        const i64 from = winner(w, at, index[i]);
        out[i] = from < 0 ? T(0) : x[at.plane * w.input[0] * w.input[1] + from];
    }
}

// A sum over what a mean is divided by.
DEVICE f64 divisor(const Windows& w, const Taps& rows, const Taps& columns) {
    return w.divisor == 0 ? (f64)rows.count * (f64)columns.count : (f64)rows.padded * (f64)columns.padded;
}
template <class T> DEVICE T share(const Windows& w, T sum, const Taps& rows, const Taps& columns) {
    return sum / (w.divisor == 2 ? (T)w.by : (T)divisor(w, rows, columns));
}

// What each input receives of the windows that it won; or, without an index, of the means that it is in.
template <class T> DEVICE void spread(const T* __restrict__ grad, const u8* __restrict__ index, T* __restrict__ out, const Windows& w, i64 n) {
#pragma unroll 1
    GRID_STRIDE(i, n) {
        const Place at(i, w.input);
        const Seeing rows = seeing(w, 0, at.row), columns = seeing(w, 1, at.column);
        const i64 plane = at.plane * w.output[0] * w.output[1];
        T sum = T(0);
#pragma unroll 1
        for (i64 r = rows.first; r <= rows.last; ++r)
#pragma unroll 1
            for (i64 c = columns.first; c <= columns.last; ++c) {
                const i64 window = plane + r * w.output[1] + c;
                if (index == nullptr) {
                    sum = sum + share(w, grad[window], taps(w, 0, r), taps(w, 1, c));
                } else {
                    const i64 row = at.row + w.padding[0] - r * w.stride[0], column = at.column + w.padding[1] - c * w.stride[1];
                    if (index[window] == row * w.kernel[1] + column) sum = sum + grad[window];
                }
            }
        out[i] = sum;
    }
}

// The mean of each window.
template <class T> DEVICE void average(const T* __restrict__ x, T* __restrict__ out, const Windows& w, i64 n) {
#pragma unroll 1
    GRID_STRIDE(i, n) {
        const Place at(i, w.output);
        const Taps rows = taps(w, 0, at.row), columns = taps(w, 1, at.column);
        const T* line = x + (at.plane * w.input[0] + rows.start) * w.input[1] + columns.start;
        T sum = T(0);
#pragma unroll 1
        for (i64 r = 0; r < rows.count; ++r, line += w.input[1])
#pragma unroll 4
            for (i64 c = 0; c < columns.count; ++c) sum = sum + line[c];
        out[i] = share(w, sum, rows, columns);
    }
}

#define POOL(T)                                                                                                             \
    KERNEL(pool_max_##T, const T* x, T* out, u8* index, i64* places, const Windows w, i64 n) { most(x, out, index, places, w, n); } \
    KERNEL(pool_gather_##T, const T* x, const u8* index, T* out, const Windows w, i64 n) { gather(x, index, out, w, n); }   \
    KERNEL(pool_spread_##T, const T* grad, const u8* index, T* out, const Windows w, i64 n) { spread(grad, index, out, w, n); } \
    KERNEL(pool_average_##T, const T* x, T* out, const Windows w, i64 n) { average(x, out, w, n); }
POOL(f32) POOL(f64)
