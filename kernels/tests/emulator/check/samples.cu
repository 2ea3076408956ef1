// Kernels that test the emulator: `sample_` ones are right, `planted_` ones have a fault each, named in the table of
// scripts/cuda-emulator. All set out[0..256] to 1 from x[0..256], which is all 1, in 2 blocks of 64 threads with 64 floats of
// dynamic shared memory.
//
// For compute_80.
#include "tensor_core.cuh"

constexpr int N = 256, THREADS = 64;

// out[i] = good ? 1 : 0 for the two elements of this thread
DEVICE void report(f32* out, bool good) { GRID_STRIDE(i, N) out[i] = good ? 1.f : 0.f; }

// ---- barriers ----

// The sum of x over the block, through a tree in shared memory. Skips a barrier if asked to.
template <class T> DEVICE T block_sum(T x, T* scratch, bool first_barrier, bool loop_barriers) {
    const int t = threadIdx.x;
    if (first_barrier) __syncthreads(); // the scratch may still be read by the call before
    scratch[t] = x;
    __syncthreads();
    for (int width = THREADS / 2; width; width /= 2) {
        if (t < width) scratch[t] += scratch[t + width];
        if (loop_barriers) __syncthreads();
    }
    return scratch[0];
}
template <class T> DEVICE T templated_sum(T x) { // static shared memory of a template
    __shared__ T scratch[THREADS];
    return block_sum(x, scratch, true, true);
}
KERNEL(sample_sums, const f32* x, f32* out) {
    const int t = threadIdx.x;
    const bool good = templated_sum(x[t]) == 64.f && templated_sum(t) == 2016 && templated_sum((f64)t) == 2016.0;
    report(out, good);
}
KERNEL(planted_missing_barrier, const f32* x, f32* out) {
    DYNAMIC_SHARED(f32, scratch);
    report(out, block_sum(x[threadIdx.x], scratch, true, false) == 64.f);
}
KERNEL(planted_reused_scratch, const f32* x, f32* out) { // a thread may be late to read the first sum
    __shared__ f32 scratch[THREADS];
    const f32 first = block_sum(x[threadIdx.x], scratch, true, true);
    report(out, first == 64.f && block_sum(x[threadIdx.x], scratch, false, true) == 64.f);
}
KERNEL(planted_uninitialised, const f32* x, f32* out) {
    __shared__ f32 scratch[THREADS];
    report(out, scratch[threadIdx.x] == 0.f);
    scratch[threadIdx.x] = 0.f;
    __syncthreads();
}
KERNEL(planted_divergent_barrier, const f32* x, f32* out) {
    if (threadIdx.x < 32) __syncthreads();
    else {
        report(out, true);
        __syncthreads();
    }
    report(out, true);
}
KERNEL(planted_unreached_barrier, const f32* x, f32* out) {
    if (threadIdx.x < 32) __syncthreads();
    else __syncwarp(threadIdx.x < 48 ? 0x0001ffffu : 0xffff0000u); // half a warp waits for one that waits elsewhere
    report(out, true);
}

// ---- warps ----

KERNEL(sample_warps, const f32* x, f32* out) {
    const int lane = threadIdx.x % 32;
    bool good = __shfl_xor_sync(WARP, lane, 5) == (lane ^ 5);
    good = good && __shfl_down_sync(WARP, (f64)lane, 3) == (lane < 29 ? lane + 3 : lane);
    good = good && __shfl_up_sync(WARP, (i64)lane, 2, 8) == (lane % 8 >= 2 ? lane - 2 : lane);
    good = good && __shfl_sync(WARP, (u8)lane, 7) == 7 && __shfl_sync(WARP, lane, 9, 8) == lane / 8 * 8 + 1;
    good = good && __ballot_sync(WARP, lane % 3 == 0) == 0x49249249u;
    good = good && __any_sync(WARP, lane == 31) && !__all_sync(WARP, lane == 31) && __all_sync(WARP, lane < 32);
    good = good && __match_any_sync(WARP, lane % 4) == 0x11111111u << lane % 4;
    good = good && __syncthreads_count(lane < 5) == 10 && __syncthreads_or(lane == 9) && !__syncthreads_and(lane == 9);
    if (lane < 16) good = good && __shfl_sync(0xffffu, lane, 3) == 3; // half a warp, under its own mask
    report(out, good);
}
KERNEL(planted_missing_syncwarp, const f32* x, f32* out) {
    __shared__ int place[THREADS];
    place[threadIdx.x] = threadIdx.x;
    report(out, place[threadIdx.x ^ 1] == (int)(threadIdx.x ^ 1));
    __syncwarp();
}
KERNEL(planted_exited_lane, const f32* x, f32* out) {
    report(out, true);
    if (threadIdx.x % 32 >= 16) return;
    out[threadIdx.x] = __shfl_xor_sync(WARP, 1.f, 1);
}

// ---- memory ----

KERNEL(sample_atomics, const f32* x, f32* out) {
    __shared__ u32 count;
    __shared__ i32 most;
    if (threadIdx.x == 0) {
        count = 0;
        most = -5;
    }
    __syncthreads();
    atomicAdd(&count, 2);
    atomicMax(&most, (i32)threadIdx.x);
    __syncthreads();
    report(out, count == 128 && most == 63);
}
KERNEL(planted_lost_updates, const f32* x, f32* out) {
    __shared__ u32 count;
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    count = count + 2;
    __syncthreads();
    report(out, count == 128);
}
KERNEL(planted_overrun, const f32* x, f32* out) {
    report(out, true);
    if (threadIdx.x == 0) out[N] = 1.f;
}
KERNEL(planted_overread, const f32* x, f32* out) { report(out, x[N + threadIdx.x % 2] != 1.f); }
KERNEL(planted_shared_overrun, const f32* x, f32* out) {
    __shared__ f32 small[THREADS];
    small[threadIdx.x + 1] = x[0];
    __syncthreads();
    report(out, true);
}
KERNEL(planted_dynamic_overrun, const f32* x, f32* out) {
    DYNAMIC_SHARED(f32, small);
    small[threadIdx.x + 1] = x[0];
    report(out, true);
}
KERNEL(planted_misaligned, const f32* x, f32* out) {
    const float4 four = *reinterpret_cast<const float4*>(x + 1);
    report(out, four.x == 1.f);
}

// ---- asynchronous copies and tensor cores ----

DEVICE void stage(f32* shared, const f32* x) {
    copy_async_16(shared + threadIdx.x % 16 * 4, x + threadIdx.x % 16 * 4);
    copy_async_commit();
}
KERNEL(sample_async_copy, const f32* x, f32* out) {
    __shared__ __align__(16) f32 part[2][THREADS];
    if (threadIdx.x < 16) {
        stage(part[0], x);
        stage(part[1], x + 64);
        copy_async_wait<1>();
    }
    __syncthreads();
    bool good = part[0][threadIdx.x] == 1.f;
    if (threadIdx.x < 16) copy_async_wait<0>();
    __syncthreads();
    report(out, good && part[1][threadIdx.x] == 1.f);
}
KERNEL(sample_partial_copy, const f32* x, f32* out) {
    __shared__ __align__(16) f32 part[THREADS];
    if (threadIdx.x < 16) {
        copy_async_16(part + threadIdx.x * 4, x, 8);
    } else if (threadIdx.x < 20) {
        copy_async_wait<0>();
    }
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
    const bool good = part[threadIdx.x] == (threadIdx.x % 4 < 2 ? 1.f : 0.f);
    __syncthreads();
    copy_async_4(part + threadIdx.x, x + threadIdx.x, threadIdx.x % 3 == 0);
    copy_async_commit();
    copy_async_wait<0>();
    report(out, good && part[threadIdx.x] == (threadIdx.x % 3 == 0 ? 1.f : 0.f));
}
KERNEL(planted_early_wait, const f32* x, f32* out) {
    __shared__ __align__(16) f32 part[THREADS];
    if (threadIdx.x < 16) {
        stage(part, x);
        copy_async_wait<1>();
    }
    __syncthreads();
    report(out, part[threadIdx.x] == 1.f);
}

// A 16x16 times 16x8 product whose operands are small integers, so that any order of the sum is exact.
DEVICE f32 a_of(int row, int k) { return (f32)((row * 7 + k * 3) % 11 - 5); }
DEVICE f32 b_of(int k, int column) { return (f32)((k * 5 + column * 2) % 13 - 6); }

DEVICE bool product_right(const f32 (&d)[4], int depth) {
    const int lane = threadIdx.x % 32;
    bool good = true;
    for (int i = 0; i < 4; ++i) {
        f32 sum = 0;
        for (int k = 0; k < depth; ++k) sum += a_of(lane / 4 + i / 2 * 8, k) * b_of(k, lane % 4 * 2 + i % 2);
        good = good && d[i] == sum;
    }
    return good;
}
template <class T, HalfKind KIND> DEVICE bool product(T* a, T* b, bool transposed) {
    const int lane = threadIdx.x % 32;
    for (int i = lane; i < 256; i += 32) a[i] = narrow<T>(a_of(i / 16, i % 16));
    // b by columns for the plain load, by rows for the transposed one
    for (int i = lane; i < 128; i += 32) b[i] = transposed ? narrow<T>(b_of(i / 8, i % 8)) : narrow<T>(b_of(i % 16, i / 16));
    __syncwarp();
    u32 ra[4], rb[2];
    load_matrices(ra, a + lane % 16 * 16 + lane / 16 * 8);
    if (transposed) load_transposed(rb, b + lane % 16 * 8);
    else load_matrices(rb, b + lane % 8 * 16 + lane / 8 % 2 * 8);
    f32 d[4] = {0, 0, 0, 0}, e[4] = {0, 0, 0, 0};
    multiply_16x8x16<KIND>(d, ra, rb);
    const u32 first_a[2] = {ra[0], ra[1]}, first_b[1] = {rb[0]};
    if (KIND == HalfKind::F16) multiply_16x8x8_f16(e, first_a, first_b);
    __syncwarp();
    return product_right(d, 16) && (KIND != HalfKind::F16 || product_right(e, 8));
}
KERNEL(sample_tensor_cores, const f32* x, f32* out) {
    __shared__ __align__(16) f16 a[2][256], b[2][128];
    __shared__ __align__(16) bf16 c[2][256], d[2][128];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    bool good = product<f16, HalfKind::F16>(a[warp], b[warp], false) && product<f16, HalfKind::F16>(a[warp], b[warp], true);
    good = product<bf16, HalfKind::Bf16>(c[warp], d[warp], false) && product<bf16, HalfKind::Bf16>(c[warp], d[warp], true) && good;
    u32 ra[4], rb[2];
    for (int i = 0; i < 4; ++i) ra[i] = to_tf32(a_of(lane / 4 + i % 2 * 8, lane % 4 + i / 2 * 4));
    for (int i = 0; i < 2; ++i) rb[i] = to_tf32(b_of(lane % 4 + i * 4, lane / 4));
    f32 sum[4] = {0, 0, 0, 0};
    multiply_16x8x8_tf32(sum, ra, rb);
    report(out, good && product_right(sum, 8));
}

// ---- common.cuh ----

KERNEL(sample_halves, const f32* x, f32* out) {
    bool good = to_f16(65504.f).bits == 0x7bff && to_f16(65520.f).bits == 0x7c00 && to_f16(-0.f).bits == 0x8000;
    good = good && to_f16(5.9604645e-8f).bits == 1 && to_f16(2.9802322e-8f).bits == 0 && to_f16(1.00048828125f).bits == 0x3c00;
    good = good && to_f32(f16{1}) == 5.9604645e-8f && to_f32(f16{0xfbff}) == -65504.f && is_nan(to_f32(to_f16(float_of(0x7fc00000u))));
    good = good && to_bf16(1.00390625f).bits == 0x3f80 && to_bf16(1.01171875f).bits == 0x3f82 && is_nan(to_f32(to_bf16(float_of(0x7f800001u))));
    // Every f16 survives the way there and back.
    for (u32 bits = threadIdx.x; bits < 65536; bits += blockDim.x) {
        const f32 wide = to_f32(f16{(u16)bits}), brain = to_f32(bf16{(u16)bits});
        good = good && (is_nan(wide) || to_f16(wide).bits == bits) && (is_nan(brain) || to_bf16(brain).bits == bits);
    }
    report(out, good);
}
KERNEL(sample_numbers, const f32* x, f32* out) {
    const f32 nan = float_of(0x7fc00000u);
    bool good = is_nan(maximum(nan, 1.f)) && is_nan(maximum(1.f, nan)) && is_nan(minimum(1.f, nan)) && maximum(2.f, 3.f) == 3.f;
    good = good && bits_of(maximum(-0.f, 0.f)) == 0x80000000u && bits_of(maximum(0.f, -0.f)) == 0;
    good = good && to_i32(nan) == 0 && to_i32(3e9f) == 2147483647 && to_i32(-3e9) == -2147483647 - 1 && to_i8(-200.f) == -128;
    good = good && to_u8(-3.f) == 0 && to_u8(300.0) == 255 && to_i64(1e30f) == 9223372036854775807ll && to_i32(-1.9f) == -1;
    good = good && fma(1.1f, 1.1f, -1.21f) != 1.1f * 1.1f - 1.21f;
    const Words words = philox(Philox{0, 0, 0}, 0); // the published answer for counter 0, key 0
    good = good && words.word[0] == 0x6627e8d5u && words.word[1] == 0xe169c58du && words.word[2] == 0xbc57ac4cu && words.word[3] == 0x9b00dbd8u;
    report(out, good);
}
