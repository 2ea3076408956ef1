// Codes (kernels/src/cpu/int8): products by dp4a, and all that stands between products.
#include "int8.cuh"

// ---- products ----

// A block of threads computes a tile of 64 x 64, a thread 4 x 4 of it. Slices of A and B, 32 bytes long in k, go through shared memory,
// two buffers in turn, transposed: a word of k after the other. A thread brings 16 bytes of each.
constexpr int TILE = 64, THREADS = 256, WORDS = 8, LD = TILE + 4; // 16 rows' chunks fall into different banks
static_assert(THREADS == TILE * 2 * 2 && THREADS == TILE / 4 * (TILE / 4), "a chunk a thread; 4 x 4 sums a thread");

// Grid: tiles, parts of k, groups (striding).
KERNEL_BOUNDED(THREADS, int8_dot, const u8* __restrict__ x, const u8* __restrict__ weight, i32* parts, const Windows w, const Product p,
               const Ending end) {
    __shared__ Chunk slices[2][2][WORDS * LD / 4]; // buffer, A or B
    __shared__ Vector<i32, 4> sums[TILE][LD / 4];
    __shared__ Window windows[TILE];
    i64 tile_m, tile_n;
    tile_at(blockIdx.x, (w.rows + TILE - 1) / TILE, (p.n + TILE - 1) / TILE, tile_m, tile_n);
    const i64 i0 = tile_m * TILE;
    const i32 j0 = (i32)tile_n * TILE, begin = blockIdx.y * p.part, stop = p.k - begin < p.part ? p.k : begin + p.part;
    const int y = threadIdx.x / (TILE / 4), z = threadIdx.x % (TILE / 4); // four rows, four columns
    const bool brings_b = threadIdx.x >= THREADS / 2;
    const int line = threadIdx.x % (THREADS / 2) / 2, half = threadIdx.x % 2;
    if (threadIdx.x < TILE) windows[threadIdx.x] = window_at(w, i0 + threadIdx.x);
    __syncthreads();
#pragma unroll 1
    for (i32 group = blockIdx.z; group < p.groups; group += gridDim.z) {
        const u8* const from_a = x + (i64)group * w.channels;
        const u8* const from_b = weight + (group * (i64)p.n + j0 + line) * p.pitch;
        i32 sum[4][4] = {};
        int buffer = 1;
        // One step ahead of the sums: the first turn only loads.
#pragma unroll 1
        for (i32 k = begin - 4 * WORDS; k < stop; k += 4 * WORDS) {
            const bool more = k + 4 * WORDS < stop;
            const i32 next_k = k + 4 * WORDS + half * 16;
            Chunk next = {};
            if (more && !brings_b) {
                next = gathered(from_a, w, windows[line], next_k);
#pragma unroll
                for (int e = 0; e < 4; ++e) next.at[e] ^= w.flip;
            } else if (more && j0 + line < p.n && next_k < p.k) {
                next = *reinterpret_cast<const Chunk*>(from_b + next_k);
            }
            if (k >= begin) {
#pragma unroll
                for (int l = 0; l < WORDS; ++l) {
                    const Chunk left = slices[buffer][0][l * LD / 4 + y], right = slices[buffer][1][l * LD / 4 + z];
#pragma unroll
                    for (int i = 0; i < 4; ++i)
#pragma unroll
                        for (int j = 0; j < 4; ++j) sum[i][j] = __dp4a((i32)left.at[i], (i32)right.at[j], sum[i][j]);
                }
            }
            if (more) {
                buffer ^= 1;
                u32* const slice = reinterpret_cast<u32*>(slices[buffer][brings_b]) + half * 4 * LD + line;
#pragma unroll
                for (int e = 0; e < 4; ++e) slice[e * LD] = next.at[e];
                __syncthreads();
            }
        }
        // By way of shared memory: finished in a loop, not once for each register.
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[y * 4 + i][z] = Vector<i32, 4>{{sum[i][0], sum[i][1], sum[i][2], sum[i][3]}};
        __syncthreads();
#pragma unroll 1
        for (int row = y; row < TILE && i0 + row < w.rows; row += THREADS / (TILE / 4)) {
            Vector<i32, 4> four = sums[row][z];
            if (j0 + z * 4 < p.n) leave_four(end, p, parts, w.rows, four.at, i0 + row, j0 + z * 4, group);
        }
        __syncthreads(); // what is shared is used again
    }
}

// Few rows of a plain product: a warp a column, which is read once. Rows are read 16 codes at a time.
template <int ROWS> DEVICE void few(const u8* x, const u8* weight, const Windows& w, const Product& p, const Ending& end) {
    const int lane = threadIdx.x % 32;
#pragma unroll 1
    for (i64 j = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / 32; j < p.n; j += (i64)gridDim.x * blockDim.x / 32) {
        i32 sum[ROWS] = {};
#pragma unroll 1
        for (i32 k = lane * 16; k < p.k; k += 512) {
            const Chunk right = *reinterpret_cast<const Chunk*>(weight + j * p.pitch + k);
#pragma unroll
            for (int i = 0; i < ROWS; ++i) {
                const Chunk left = *reinterpret_cast<const Chunk*>(x + (i < w.rows ? i : 0) * w.pitch + k);
#pragma unroll
                for (int e = 0; e < 4; ++e) sum[i] = __dp4a((i32)(left.at[e] ^ w.flip), (i32)right.at[e], sum[i]);
            }
        }
        i32 own[4] = {}; // lane i has row i
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
#pragma unroll
            for (int by = 16; by > 0; by /= 2) sum[i] += __shfl_xor_sync(WARP, sum[i], by);
            if (lane == i) own[0] = sum[i];
        }
        if (lane >= ROWS || lane >= w.rows) continue;
        own[0] = exact(end, own[0], lane, (i32)j, 0, 1);
        put(end, own, lane, j, 1);
    }
}
KERNEL(int8_few_1, const u8* __restrict__ x, const u8* __restrict__ weight, const Windows w, const Product p, const Ending end) {
    few<1>(x, weight, w, p, end);
}
KERNEL(int8_few_4, const u8* __restrict__ x, const u8* __restrict__ weight, const Windows w, const Product p, const Ending end) {
    few<4>(x, weight, w, p, end);
}

// The sums of all parts of k, in i64, finished.
KERNEL(int8_fold, const i32* __restrict__ parts, i32 count, i64 rows, i32 groups, i32 group, const Ending end) {
    const i64 len = rows * end.columns;
#pragma unroll 1
    GRID_STRIDE(at, len) {
        const i64 i = divided(at, end.columns);
        const i32 j = (i32)(at - i * end.columns);
        i64 sum[4] = {};
#pragma unroll 1
        for (i32 part = 0; part < count; ++part) sum[0] += parts[part * len + at];
        sum[0] = exact(end, sum[0], i, j, j / group, groups);
        put(end, sum, i, j, 1);
    }
}

// The sum of each window's codes, by row and group: a warp each.
KERNEL(int8_row_sums, const u8* __restrict__ x, i32* __restrict__ sums, i32 groups, const Windows w) {
    const int lane = threadIdx.x % 32;
    const u32 flip = w.flip & 255;
#pragma unroll 1
    for (i64 unit = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / 32; unit < w.rows * groups; unit += (i64)gridDim.x * blockDim.x / 32) {
        const i64 i = divided(unit, groups);
        const Window row = window_at(w, i);
        const i64 from = (unit - i * groups) * w.channels + row.at; // before the start of x, where the window begins in the padding
        i32 sum = 0;
#pragma unroll 1
        for (i32 k = lane; k < w.k; k += 32) {
            const Window tap = tap_at(w, k);
            sum += (i8)((inside(w, row, tap) ? (u32)x[from + tap.at] : row.fill & 255) ^ flip);
        }
#pragma unroll
        for (int by = 16; by > 0; by /= 2) sum += __shfl_xor_sync(WARP, sum, by);
        if (lane == 0) sums[unit] = sum;
    }
}

// A kernel of each channel's own: four channels of a place a thread. `weight` is [tap][pitch].
KERNEL(int8_depthwise, const u8* __restrict__ x, const u8* __restrict__ weight, i64 pitch, const Windows w, const Ending end) {
    const i64 fours = (end.columns + 3) / 4;
    const u32 flip = w.flip & 255;
#pragma unroll 1
    GRID_STRIDE(unit, w.rows * fours) {
        const i64 i = divided(unit, fours);
        const i32 c = (i32)(unit - i * fours) * 4, count = end.columns - c < 4 ? end.columns - c : 4;
        const Window row = window_at(w, i);
        i64 sum[4];
        i32 weight_zero[4];
        const i32 zero = zero_at(end, i);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            sum[e] = end.bias && e < count ? end.bias[c + e] : 0;
            weight_zero[e] = end.weight_zeros && e < count ? end.weight_zeros[c + e] : end.weight_zero;
        }
        const u8* line = weight + c;
#pragma unroll 1
        for (i32 ky = 0, y = row.y; ky < w.kernel[0]; ++ky, y += w.dilation[0]) {
#pragma unroll 1
            for (i32 kx = 0, z = row.x; kx < w.kernel[1]; ++kx, z += w.dilation[1], line += pitch) {
                if (!inside(w, y, z)) continue;
                const u8* const from = x + (row.at + ((i64)(y - row.y) * w.input[1] + (z - row.x)) * w.pitch + c);
                const u32 weights = *reinterpret_cast<const u32*>(line);
                u32 codes = 0;
                if (w.width >= 4 && count == 4) {
                    codes = *reinterpret_cast<const u32*>(from);
                } else {
#pragma unroll
                    for (int e = 0; e < 4; ++e)
                        if (e < count) codes |= (u32)from[e] << 8 * e;
                }
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const i32 code = (i8)((codes >> 8 * e & 255) ^ flip), by = (i8)(weights >> 8 * e);
                    sum[e] += (code - zero) * (by - weight_zero[e]);
                }
            }
        }
        put(end, sum, i, c, count);
    }
}

// ---- weights ----

struct Packing {
    i64 rows, row, channel, tap; // rows of the result; codes between rows, channels and taps of the source
    i32 k, channels;             // k: taps times channels
    i64 pitch;
    u32 flip;
};
// Rows of weights, the rest of each 0, and their sums: a warp a row.
KERNEL(int8_pack, const u8* __restrict__ weight, u8* __restrict__ out, i32* __restrict__ sums, const Packing p) {
    const int lane = threadIdx.x % 32;
#pragma unroll 1
    for (i64 r = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / 32; r < p.rows; r += (i64)gridDim.x * blockDim.x / 32) {
        i32 sum = 0;
#pragma unroll 1
        for (i64 l = lane; l < p.pitch; l += 32) {
            u32 code = 0;
            if (l < p.k) {
                const i32 tap = (i32)l / p.channels;
                code = (weight[r * p.row + (l - tap * p.channels) * p.channel + tap * p.tap] ^ p.flip) & 255;
            }
            sum += (i8)code;
            out[r * p.pitch + l] = (u8)code;
        }
#pragma unroll
        for (int by = 16; by > 0; by /= 2) sum += __shfl_xor_sync(WARP, sum, by);
        if (lane == 0) sums[r] = sum;
    }
}

// ---- between numbers and codes ----

// As Affine of kernels/src/cpu/int8/scheme.rs. Zero points and bounds are those of the codes, u8 or i8.
struct Affine {
    const f32* scales; // or null: `scale`
    const i32* zeros;  // or null: `zero`
    i64 channels, inner;
    f32 scale;
    i32 zero, low, high, divide;
    i32 vectors; // four elements may be read and written at a time
    i32 images;  // of NCHW: the scales and zero points are those of images
};
struct Channel {
    f32 by, scale, low, high;
    i32 zero, divide;
    DEVICE Channel(const Affine& affine, i64 c) {
        scale = affine.scales ? affine.scales[c] : affine.scale;
        zero = affine.zeros ? affine.zeros[c] : affine.zero;
        divide = affine.divide;
        by = divide ? scale : 1.f / scale;
        low = (f32)(affine.low - zero);
        high = (f32)(affine.high - zero);
    }
    // The code less the zero point.
    DEVICE i32 step(f32 x) const {
        const f32 steps = divide ? x / by : x * by;
        return rounded(is_nan(steps) ? 0.f : clamped(steps, low, high));
    }
    DEVICE u8 quantized(f32 x) const { return (u8)(step(x) + zero); }
    DEVICE f32 faked(f32 x) const { return (f32)step(x) * scale; }
};
// The number that a code stands for; `flip` is 128 for u8.
DEVICE f32 dequantized(u32 code, u32 flip, i32 zero, f32 scale) { return (f32)((i8)(code ^ flip) + (i32)flip - zero) * scale; }

// out = what `each` makes of every x, with its channel's formulas: [outer, channels, inner].
template <class From, class To, class Each> DEVICE void each(const From* x, To* out, const Affine& affine, i64 n, const Each& make) {
    const bool uniform = !affine.scales && !affine.zeros, same = uniform || affine.inner % 4 == 0;
    const auto channel_of = [&](i64 at) {
        const i64 place = divided(at, affine.inner);
        return Channel(affine, place - divided(place, affine.channels) * affine.channels);
    };
    Channel channel(affine, 0);
#pragma unroll 1
    GRID_STRIDE(unit, (n + 3) / 4) {
        const i64 at = unit * 4;
        const i32 count = n - at < 4 ? (i32)(n - at) : 4;
        const bool whole = affine.vectors && count == 4;
        Vector<From, 4> from = {};
        Vector<To, 4> to = {};
        if (!uniform) channel = channel_of(at);
        if (whole) from = *reinterpret_cast<const Vector<From, 4>*>(x + at);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            if (e >= count) break;
            if (e > 0 && !same) channel = channel_of(at + e);
            if (!whole) from.at[e] = x[at + e];
            to.at[e] = make(channel, from.at[e]);
            if (!whole) out[at + e] = to.at[e];
        }
        if (whole) *reinterpret_cast<Vector<To, 4>*>(out + at) = to;
    }
}
KERNEL(int8_quantize, const f32* __restrict__ x, u8* __restrict__ out, const Affine affine, i64 n) {
    each(x, out, affine, n, [](const Channel& channel, f32 x) { return channel.quantized(x); });
}
KERNEL(int8_dequantize, const u8* __restrict__ x, f32* __restrict__ out, u32 flip, const Affine affine, i64 n) {
    each(x, out, affine, n, [=](const Channel& channel, u8 x) { return dequantized(x, flip, channel.zero, channel.scale); });
}
KERNEL(int8_fake_quantize, const f32* __restrict__ x, f32* __restrict__ out, const Affine affine, i64 n) {
    each(x, out, affine, n, [](const Channel& channel, f32 x) { return channel.faked(x); });
}

// Scale and zero point of each row by its own range, which holds 0 (kernels/src/cpu/int8/rows.rs): a block a row. `bad`: the least row
// that has none.
KERNEL_BOUNDED(256, int8_ranges, const f32* __restrict__ x, f32* __restrict__ scale, i32* __restrict__ zero, i64* bad, i32 lowest, i32 highest,
               i64 rows, i64 k) {
    __shared__ f32 lows[8], highs[8];
    __shared__ u32 tops[8];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll 1
    for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
        f32 low = 0.f, high = 0.f;
        u32 top = 0; // the largest bits of a magnitude: NaN's lie above an infinity's
#pragma unroll 4
        for (i64 i = threadIdx.x; i < k; i += 256) {
            const f32 value = x[row * k + i];
            low = value < low ? value : low;
            high = value > high ? value : high;
            top = max(top, bits_of(value) & 0x7fffffffu);
        }
        const auto merge = [&](f32 other_low, f32 other_high, u32 other_top) {
            low = other_low < low ? other_low : low;
            high = other_high > high ? other_high : high;
            top = max(top, other_top);
        };
#pragma unroll
        for (int by = 16; by > 0; by /= 2) {
            const f32 other_low = __shfl_xor_sync(WARP, low, by), other_high = __shfl_xor_sync(WARP, high, by);
            merge(other_low, other_high, __shfl_xor_sync(WARP, top, by));
        }
        if (lane == 0) lows[warp] = low, highs[warp] = high, tops[warp] = top;
        __syncthreads();
        if (threadIdx.x == 0) {
#pragma unroll 1
            for (int w = 1; w < 8; ++w) merge(lows[w], highs[w], tops[w]);
            const f32 width = high - low, step = width / (f32)(highest - lowest), smallest = float_of(0x34000000u); // 2^-23
            const f32 found = step > smallest ? step : smallest;
            if (top >= 0x7f800000u || !(width < float_of(0x7f800000u))) {
                atomicMin(bad, row);
            } else {
                scale[row] = found;
                zero[row] = (i32)clamped((f32)lowest - rintf(low / found), (f32)lowest, (f32)highest);
            }
        }
        __syncthreads(); // what is shared is used again
    }
}

// Codes with one scale and zero point.
struct Operand {
    f32 scale;
    i32 zero;
    u32 flip;
};
DEVICE f32 number(const Operand& operand, u32 code) { return dequantized(code, operand.flip, operand.zero, operand.scale); }

KERNEL(int8_add, const u8* __restrict__ a, const u8* __restrict__ b, u8* __restrict__ out, const Operand left, const Operand right, i32 relu,
       const Affine affine, i64 n) {
    const Channel channel(affine, 0);
    const auto sum = [&](u32 a, u32 b) {
        const f32 x = number(left, a) + number(right, b);
        return channel.quantized(relu && 0.f > x ? 0.f : x);
    };
#pragma unroll 1
    GRID_STRIDE(unit, (n + 3) / 4) {
        const i64 at = unit * 4;
        if (affine.vectors && n - at >= 4) {
            const u32 as = *reinterpret_cast<const u32*>(a + at), bs = *reinterpret_cast<const u32*>(b + at);
            u32 word = 0;
#pragma unroll
            for (int e = 0; e < 4; ++e) word |= (u32)sum(as >> 8 * e & 255, bs >> 8 * e & 255) << 8 * e;
            *reinterpret_cast<u32*>(out + at) = word;
        } else {
#pragma unroll 1
            for (i64 i = at; i < n && i < at + 4; ++i) out[i] = sum(a[i], b[i]);
        }
    }
}

// Codes of [places, channels] into lines of `pitch`; `same`: as they are.
KERNEL(int8_join, const u8* __restrict__ x, u8* __restrict__ out, i64 channels, i64 pitch, i32 same, const Operand operand, const Affine affine, i64 n) {
    const Channel channel(affine, 0);
#pragma unroll 1
    GRID_STRIDE(i, n) {
        const i64 place = divided(i, channels);
        out[place * pitch + (i - place * channels)] = same ? x[i] : channel.quantized(number(operand, x[i]));
    }
}

// ---- between NCHW of numbers and NHWC of codes: 16 channels of a place a thread ----

constexpr int CHANNELS = 16;

KERNEL(int8_nhwc, const f32* __restrict__ x, u8* __restrict__ out, i64 places, const Affine affine, i64 batch) {
    const i64 runs = (affine.channels + CHANNELS - 1) / CHANNELS;
#pragma unroll 1
    GRID_STRIDE(unit, batch * runs * places) {
        const i64 plane = divided(unit, places), place = unit - plane * places, image = divided(plane, runs);
        const i64 c = (plane - image * runs) * CHANNELS;
        const i32 count = affine.channels - c < CHANNELS ? (i32)(affine.channels - c) : CHANNELS;
        const f32* const from = x + (image * affine.channels + c) * places + place;
        u8* const to = out + (image * places + place) * affine.channels + c;
        const bool each = !affine.images && (affine.scales || affine.zeros);
        Channel channel(affine, affine.images ? image : c);
        Chunk codes = {};
#pragma unroll 1
        for (int word = 0; word < CHANNELS / 4; ++word) {
            u32 four = 0;
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const i32 at = word * 4 + e;
                if (at >= count) break;
                if (each) channel = Channel(affine, c + at);
                four |= (u32)channel.quantized(from[at * places]) << 8 * e;
                if (!affine.vectors) to[at] = (u8)(four >> 8 * e);
            }
#pragma unroll
            for (int same = 0; same < CHANNELS / 4; ++same) // registers have no index
                if (same == word) codes.at[same] = four;
        }
        if (affine.vectors) *reinterpret_cast<Chunk*>(to) = codes;
    }
}
KERNEL(int8_nchw, const u8* __restrict__ x, f32* __restrict__ out, i64 places, u32 flip, const Affine affine, i64 batch) {
    const i64 runs = (affine.channels + CHANNELS - 1) / CHANNELS;
#pragma unroll 1
    GRID_STRIDE(unit, batch * runs * places) {
        const i64 plane = divided(unit, places), place = unit - plane * places, image = divided(plane, runs);
        const i64 c = (plane - image * runs) * CHANNELS;
        const i32 count = affine.channels - c < CHANNELS ? (i32)(affine.channels - c) : CHANNELS;
        const u8* const from = x + (image * places + place) * affine.channels + c;
        f32* const to = out + (image * affine.channels + c) * places + place;
        // At a time what an aligned read gives.
        const i32 step = affine.vectors ? 4 : 1;
#pragma unroll 1
        for (i32 at = 0; at < count; at += step) {
            const u32 codes = affine.vectors ? *reinterpret_cast<const u32*>(from + at) : from[at];
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                if (e >= step) break;
                const f32 scale = affine.scales ? affine.scales[c + at + e] : affine.scale;
                const i32 zero = affine.zeros ? affine.zeros[c + at + e] : affine.zero;
                to[(at + e) * places] = dequantized(codes >> 8 * e & 255, flip, zero, scale);
            }
        }
    }
}

// ---- the largest code of each window: four channels of a place a thread ----

KERNEL(int8_max_pool, const u8* __restrict__ x, u8* __restrict__ out, i32 channels, const Windows w) {
    const i64 fours = (channels + 3) / 4;
    const i32 flip = w.flip & 255;
#pragma unroll 1
    GRID_STRIDE(unit, w.rows * fours) {
        const i64 i = divided(unit, fours);
        const i32 c = (i32)(unit - i * fours) * 4, count = channels - c < 4 ? channels - c : 4;
        const bool whole = w.width >= 4 && count == 4;
        const Window row = window_at(w, i);
        i32 most[4] = {-129, -129, -129, -129};
        const i32 top = row.y < 0 ? 0 : row.y, bottom = row.y + w.kernel[0] < w.input[0] ? row.y + w.kernel[0] : w.input[0];
        const i32 left = row.x < 0 ? 0 : row.x, right = row.x + w.kernel[1] < w.input[1] ? row.x + w.kernel[1] : w.input[1];
#pragma unroll 1
        for (i32 y = top; y < bottom; ++y)
#pragma unroll 1
            for (i32 z = left; z < right; ++z) {
                const u8* const from = x + (row.at + ((i64)(y - row.y) * w.input[1] + (z - row.x)) * w.pitch + c);
                u32 codes = 0;
                if (whole) codes = *reinterpret_cast<const u32*>(from);
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    if (e >= count) break;
                    const i32 code = (i8)((whole ? codes >> 8 * e & 255 : (u32)from[e]) ^ flip);
                    most[e] = code > most[e] ? code : most[e];
                }
            }
        u8* const to = out + i * channels + c;
        if (whole) {
            u32 word = 0;
#pragma unroll
            for (int e = 0; e < 4; ++e) word |= ((u32)(most[e] ^ flip) & 255) << 8 * e;
            *reinterpret_cast<u32*>(to) = word;
        } else {
#pragma unroll
            for (int e = 0; e < 4; ++e)
                if (e < count) to[e] = (u8)(most[e] ^ flip);
        }
    }
}
