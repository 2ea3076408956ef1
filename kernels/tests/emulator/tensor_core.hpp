// Bodies for the wrappers of inline PTX: cp.async, ldmatrix, mma. Lane layouts are those of the PTX manual.
#pragma once
#include <cstdint>

namespace emu {

// ldmatrix.sync.aligned.m8n8.x<COUNT>[.trans].shared.b16: lane l gives the address of row l % 8 of matrix l / 8.
void load_matrices(uint32_t* registers, int count, bool transposed, const void* row, int line);

enum class Half { F16, Bf16 };
// mma.sync.aligned.m16n8k16.row.col.f32.<half>.<half>.f32, D += A B
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Half half, int line);
// mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 (sm_75 has it)
void mma_m16n8k8(float (&d)[4], const uint32_t (&a)[2], const uint32_t (&b)[1], Half half, int line);
// mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32: operands are f32 bits, cut to 10 digits
void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int line);
// mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32: sums wrap
void mma_m16n8k32_s8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int line);

} // namespace emu
