// CUDA C++ as plain C++20: `g++ -std=c++20 -include emulator.hpp kernel.cu` compiles a kernel file for the CPU.
//
// Covered is what our kernels use; an unknown name does not compile: add it here. Two conventions (common.cuh): kernels are
// declared by KERNEL, dynamic shared memory by DYNAMIC_SHARED. Inline PTX stands in wrappers with a second body for CUDA_EMU.
// The build gives EMU_SHARED, the name of the section that holds this file's static shared memory, and includes the file in
// an unnamed namespace, so that variables of templates can live in that section, too.
#pragma once
#define CUDA_EMU 1
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>

#include "machine.hpp"
#include "tensor_core.hpp"

#define EMU_TEXT_(x) #x
#define EMU_TEXT(x) EMU_TEXT_(x)
#define EMU_JOIN_(a, b) a##b
#define EMU_JOIN(a, b) EMU_JOIN_(a, b)
#ifdef EMU_SHARED
extern "C" {
__attribute__((weak, visibility("hidden"))) extern char EMU_JOIN(__start_, EMU_SHARED)[];
__attribute__((weak, visibility("hidden"))) extern char EMU_JOIN(__stop_, EMU_SHARED)[];
}
#define __shared__ static __attribute__((section(EMU_TEXT(EMU_SHARED))))
#define KERNEL(name, ...)                                                                                             \
    static void name(__VA_ARGS__);                                                                                    \
    static const emu::Registration EMU_JOIN(emu_, name)(                                                              \
        EMU_TEXT(name), name, [](void* const* arguments) { emu::apply(name, arguments); },                            \
        emu::Section{EMU_JOIN(__start_, EMU_SHARED), EMU_JOIN(__stop_, EMU_SHARED)});                                 \
    static void name(__VA_ARGS__)
#endif
#define KERNEL_BOUNDED(threads, name, ...) KERNEL(name, __VA_ARGS__)
#define KERNEL_RESIDENT(threads, blocks, name, ...) KERNEL_BOUNDED(threads, name, __VA_ARGS__)
#define DYNAMIC_SHARED(T, name) T* const name = reinterpret_cast<T*>(emu::dynamic_shared)

// ---- keywords ----
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __launch_bounds__(...)
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))

// ---- places, barriers, warps ----
#define threadIdx (emu::current->index)
#define blockIdx (emu::block_index)
#define blockDim (emu::block_size)
#define gridDim (emu::grid_size)
constexpr int warpSize = 32;
#define __syncthreads() ((void)emu::sync_block(__LINE__))
#define __syncthreads_count(vote) int(emu::sync_block(__LINE__, (vote) != 0).count)
#define __syncthreads_or(vote) int(emu::sync_block(__LINE__, (vote) != 0).count != 0)
#define __syncthreads_and(vote) int(emu::sync_block(__LINE__, (vote) == 0).count == 0)
#define __syncwarp(...) emu::sync_warp(emu::mask_of(__VA_ARGS__), __LINE__)
#define __shfl_sync(mask, value, lane, ...) emu::shuffle(mask, value, emu::lane_in(lane, emu::width_of(__VA_ARGS__)), __LINE__)
#define __shfl_up_sync(mask, value, by, ...) emu::shuffle(mask, value, emu::lane_up(by, emu::width_of(__VA_ARGS__)), __LINE__)
#define __shfl_down_sync(mask, value, by, ...) emu::shuffle(mask, value, emu::lane_down(by, emu::width_of(__VA_ARGS__)), __LINE__)
#define __shfl_xor_sync(mask, value, by, ...) emu::shuffle(mask, value, emu::lane_xor(by, emu::width_of(__VA_ARGS__)), __LINE__)
#define __ballot_sync(mask, vote) emu::ballot(mask, vote, __LINE__)
#define __any_sync(mask, vote) int(emu::ballot(mask, vote, __LINE__) != 0)
#define __all_sync(mask, vote) int(emu::ballot(mask, !(vote), __LINE__) == 0)
#define __match_any_sync(mask, value) emu::match_any(mask, value, __LINE__)

namespace emu {
constexpr unsigned mask_of(unsigned mask = ~0u) { return mask; }
constexpr int width_of(int width = 32) { return width; }
// Lanes that a shuffle reads; one that would leave its group of `width` lanes reads itself.
inline int own_lane() { return int(current->lane); }
inline int lane_in(int lane, int width) { return own_lane() / width * width + (lane & (width - 1)); }
inline int lane_up(unsigned by, int width) { return own_lane() % width >= int(by) ? own_lane() - int(by) : own_lane(); }
inline int lane_down(unsigned by, int width) { return own_lane() % width + int(by) < width ? own_lane() + int(by) : own_lane(); }
inline int lane_xor(int by, int width) { return (own_lane() ^ by) / width <= own_lane() / width ? own_lane() ^ by : own_lane(); }

struct alignas(16) Bytes16 {
    unsigned char bytes[16] = {};
};
template <class T>
Bytes16 pack(T value) {
    static_assert(sizeof(T) <= 16);
    Bytes16 packed;
    __builtin_memcpy(packed.bytes, &value, sizeof value);
    return packed;
}
template <class T>
T shuffle(unsigned mask, T value, int source, int line) {
    Bytes16 packed = pack(value);
    exchange(mask, &packed, source, line);
    __builtin_memcpy(&value, packed.bytes, sizeof value);
    return value;
}
// The lanes whose bytes equal `value`'s.
template <class T>
unsigned match_any(unsigned mask, T value, int line) {
    const Bytes16 own = pack(value);
    const Lanes lanes = gather(mask, &own, line);
    unsigned equal = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        if (lanes.present >> lane & 1) equal |= unsigned(__builtin_memcmp(lanes.bytes16[lane], own.bytes, sizeof(T)) == 0) << lane;
    return equal;
}
inline unsigned ballot(unsigned mask, bool vote, int line) {
    const Bytes16 own = pack(vote);
    const Lanes lanes = gather(mask, &own, line);
    unsigned yes = 0;
    for (unsigned lane = 0; lane < 32; ++lane) yes |= (lanes.present >> lane & 1 & lanes.bytes16[lane][0]) << lane;
    return yes;
}
} // namespace emu

// ---- atomics, on integers alone: sums of floats would depend on the order ----
#ifdef __SANITIZE_THREAD__
extern "C" uint32_t __tsan_atomic32_compare_exchange_val(volatile void*, uint32_t, uint32_t, int, int);
extern "C" uint64_t __tsan_atomic64_compare_exchange_val(volatile void*, uint64_t, uint64_t, int, int);
#endif
namespace emu {
// What was there; it is `desired` now if that was `expected`.
template <class T>
T exchanged(T* place, T expected, T desired) {
#ifdef __SANITIZE_THREAD__ // by value: a variable whose address is taken lies on a stack, and threads that end leave theirs to others
    if constexpr (sizeof(T) == 8)
        return T(__tsan_atomic64_compare_exchange_val(place, uint64_t(expected), uint64_t(desired), __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    else
        return T(__tsan_atomic32_compare_exchange_val(place, uint32_t(expected), uint32_t(desired), __ATOMIC_RELAXED, __ATOMIC_RELAXED));
#else
    __atomic_compare_exchange_n(place, &expected, desired, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return expected;
#endif
}
} // namespace emu
#define EMU_ATOMIC(name, result)                                \
    template <class T, class U>                                 \
        requires(std::is_integral_v<T> && sizeof(T) >= 4)       \
    T name(T* place, U operand) {                               \
        const T b = T(operand);                                 \
        T a = __atomic_load_n(place, __ATOMIC_RELAXED);         \
        for (;;) {                                              \
            const T seen = emu::exchanged(place, a, T(result)); \
            if (seen == a) return a;                            \
            a = seen;                                           \
        }                                                       \
    }
EMU_ATOMIC(atomicAdd, std::make_unsigned_t<T>(a) + std::make_unsigned_t<T>(b))
EMU_ATOMIC(atomicSub, std::make_unsigned_t<T>(a) - std::make_unsigned_t<T>(b))
EMU_ATOMIC(atomicMax, a > b ? a : b)
EMU_ATOMIC(atomicMin, a < b ? a : b)
EMU_ATOMIC(atomicAnd, a & b)
EMU_ATOMIC(atomicOr, a | b)
EMU_ATOMIC(atomicXor, a ^ b)
EMU_ATOMIC(atomicExch, b)
template <class T>
T atomicCAS(T* place, std::type_identity_t<T> expected, std::type_identity_t<T> desired) {
    static_assert(std::is_integral_v<T> && sizeof(T) >= 4);
    return emu::exchanged(place, expected, desired);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- vectors ----
#define EMU_VECTORS(T, name)                                                \
    struct name##1 { T x; };                                                \
    struct alignas(2 * sizeof(T)) name##2 { T x, y; };                      \
    struct name##3 { T x, y, z; };                                          \
    struct alignas(sizeof(T) > 4 ? 16 : 4 * sizeof(T)) name##4 { T x, y, z, w; }; \
    inline name##1 make_##name##1(T x) { return {x}; }                      \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }              \
    inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }      \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMU_VECTORS(signed char, char)
EMU_VECTORS(unsigned char, uchar)
EMU_VECTORS(short, short)
EMU_VECTORS(unsigned short, ushort)
EMU_VECTORS(int, int)
EMU_VECTORS(long long, longlong)
EMU_VECTORS(unsigned long long, ulonglong)
EMU_VECTORS(float, float)
EMU_VECTORS(double, double)
struct uint1 { unsigned x; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// ---- memory and integers ----
template <class T> T __ldg(const T* p) { return *p; }
template <class T> T __ldcg(const T* p) { return *p; }
template <class T> T __ldcs(const T* p) { return *p; }
template <class T> void __stcs(T* p, std::type_identity_t<T> value) { *p = value; }
template <class T> void __stcg(T* p, std::type_identity_t<T> value) { *p = value; }
#define EMU_MIN_MAX(T) \
    constexpr T min(T a, T b) { return b < a ? b : a; } \
    constexpr T max(T a, T b) { return a < b ? b : a; }
EMU_MIN_MAX(int)
EMU_MIN_MAX(unsigned)
EMU_MIN_MAX(long)
EMU_MIN_MAX(unsigned long)
EMU_MIN_MAX(long long)
EMU_MIN_MAX(unsigned long long)
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(unsigned(x)); }
inline int __clzll(long long x) { return std::countl_zero((unsigned long long)(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t(a) * b) >> 32); }
inline int __mulhi(int a, int b) { return int((int64_t(a) * b) >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned long long)(((unsigned __int128)a * b) >> 64); }
// Four signed products of bytes, added to c; sums wrap.
inline int __dp4a(int a, int b, int c) {
    for (int byte = 0; byte < 4; ++byte) c = int(unsigned(c) + unsigned(int8_t(unsigned(a) >> 8 * byte) * int8_t(unsigned(b) >> 8 * byte)));
    return c;
}
inline long long __mul64hi(long long a, long long b) { return (long long)(((__int128)a * b) >> 64); }

// ---- floats: exact operations alone (built with -ffp-contract=off) ----
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline double __dsqrt_rn(double x) { return sqrt(x); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }

#define __trap() emu::fail("__trap", __LINE__)
