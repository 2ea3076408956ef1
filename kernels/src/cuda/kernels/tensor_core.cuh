// Asynchronous copies and matrix instructions: inline PTX, each with a second body for the emulator, which moves data only at
// the wait and follows the lane layouts of the PTX manual. A file that uses what sm_75 lacks says `// For compute_80.` in its
// head, and scripts/cuda-kernels compiles it so.
#pragma once
#include "common.cuh"

#ifdef CUDA_EMU
#define PTX(emulated, ...) emulated
#else
#define PTX(emulated, ...) __VA_ARGS__
DEVICE u32 shared_address(const void* place) { return (u32)__cvta_generic_to_shared(place); }
#endif

// Registers of the two operands of a product, by lane; see the manual's "matrix fragments for mma".
enum class HalfKind { F16, Bf16 };

#if defined(CUDA_EMU) || __CUDA_ARCH__ >= 800

// Starts to copy 16 bytes from global to shared memory, past L1; both aligned to 16.
DEVICE void copy_async_16(void* to, const void* from) {
    PTX(emu::copy_async(to, from, 16, __LINE__),
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory"));
}
// The same for the first `bytes` of them; the rest is filled with 0.
DEVICE void copy_async_16(void* to, const void* from, int bytes) {
    PTX(emu::copy_async(to, from, 16, __LINE__, bytes),
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory"));
}
// 4 bytes, or 0 where not `present`.
DEVICE void copy_async_4(void* to, const void* from, bool present) {
    PTX(emu::copy_async(to, from, 4, __LINE__, present ? 4 : 0),
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(present ? 4 : 0) : "memory"));
}
// Closes a group of copies.
DEVICE void copy_async_commit() { PTX(emu::copy_commit(), asm volatile("cp.async.commit_group;" ::: "memory")); }
// Waits until at most `LEFT` of this thread's groups are under way; others' copies are seen after a barrier.
template <int LEFT> DEVICE void copy_async_wait() { PTX(emu::copy_wait(LEFT), asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory")); }

// D += A B, 16x8x16, halves with f32 sums.
template <HalfKind KIND> DEVICE void multiply_16x8x16(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#ifdef CUDA_EMU
    emu::mma_m16n8k16(d, a, b, KIND == HalfKind::F16 ? emu::Half::F16 : emu::Half::Bf16, __LINE__);
#else
    if (KIND == HalfKind::F16)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    else
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
// D += A B, 16x8x8, f32 cut to tf32.
DEVICE void multiply_16x8x8_tf32(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    PTX(emu::mma_m16n8k8_tf32(d, a, b, __LINE__),
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
}
// D += A B, 16x8x32, signed codes with i32 sums.
DEVICE void multiply_16x8x32(i32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    PTX(emu::mma_m16n8k32_s8(d, a, b, __LINE__),
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
}
// The nearest tf32, ties away from 0, as f32 bits.
DEVICE u32 to_tf32(f32 x) {
#ifdef CUDA_EMU
    return is_nan(x) ? bits_of(x) : (bits_of(x) + 0x1000) & ~0x1fffu;
#else
    u32 bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
#endif
}
#endif

// D += A B, 16x8x8, f16 with f32 sums.
DEVICE void multiply_16x8x8_f16(f32 (&d)[4], const u32 (&a)[2], const u32 (&b)[1]) {
    PTX(emu::mma_m16n8k8(d, a, b, emu::Half::F16, __LINE__),
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(b[0])));
}

// Four (two) 8x8 matrices of halves from shared memory: lane l gives row l % 8 of matrix l / 8, aligned to 16 bytes.
DEVICE void load_matrices(u32 (&r)[4], const void* row) {
    PTX(emu::load_matrices(r, 4, false, row, __LINE__),
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory"));
}
DEVICE void load_matrices(u32 (&r)[2], const void* row) {
    PTX(emu::load_matrices(r, 2, false, row, __LINE__),
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory"));
}
// The same, each matrix transposed.
DEVICE void load_transposed(u32 (&r)[4], const void* row) {
    PTX(emu::load_matrices(r, 4, true, row, __LINE__),
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory"));
}
DEVICE void load_transposed(u32 (&r)[2], const void* row) {
    PTX(emu::load_matrices(r, 2, true, row, __LINE__),
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory"));
}
