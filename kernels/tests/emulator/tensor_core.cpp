// Asynchronous copies and matrix instructions. Compiled without instrumentation, as machine.cpp is.
#include "tensor_core.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "machine.hpp"

namespace emu {
namespace {

// ---- copies under way ----

struct Copy {
    void* to;
    const void* from;
    int bytes, present, group;
};
constexpr unsigned MAX_COPIES = 64;
struct Queue {
    unsigned copies;
    int group;
    Copy copy[MAX_COPIES];
};
Queue queues[1024];

void arrive(const Copy& copy) { // sanitizers see these calls
    std::memcpy(copy.to, copy.from, size_t(copy.present));
    std::memset(static_cast<char*>(copy.to) + copy.present, 0, size_t(copy.bytes - copy.present));
}

// ---- elements ----

float widen(uint16_t bits, Half half) {
    if (half == Half::Bf16) return std::bit_cast<float>(uint32_t(bits) << 16);
    const uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31, digits = bits & 0x3ff;
    if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000 | digits << 13);
    if (exponent) return std::bit_cast<float>(sign | (exponent + 112) << 23 | digits << 13);
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(float(digits) * 0x1p-24f));
}
float half_of(uint32_t pair, unsigned which, Half half) { return widen(uint16_t(pair >> 16 * which), half); }
float tf32(uint32_t bits) { return std::bit_cast<float>(bits & ~0x1fffu); }

// The operands of one matrix product of a warp.
struct Product {
    float a[16][16], b[16][8];
};
Product scratch[32];
struct Codes {
    int8_t a[16][32], b[32][8];
};
Codes codes[32];

// Lane l holds elements [l / 4 (+ 8)][l % 4 * 2 (+ 1)] of D. Sums ascend in k; tensor cores don't say how they round.
void accumulate(float (&d)[4], const Product& product, unsigned depth) {
    const unsigned row = current->lane / 4, column = current->lane % 4 * 2;
    for (unsigned i = 0; i < 4; ++i)
        for (unsigned k = 0; k < depth; ++k) d[i] += product.a[row + i / 2 * 8][k] * product.b[k][column + i % 2];
}

} // namespace

void copies_forgotten(unsigned rank) {
    queues[rank].copies = 0;
    queues[rank].group = 0;
}

void copy_async(void* to, const void* from, int bytes, int line, int present) {
    if ((uintptr_t(to) | uintptr_t(from)) % unsigned(bytes)) fail("cp.async: misaligned", line);
    Queue& queue = queues[current->rank];
    if (queue.copies == MAX_COPIES) fail("cp.async: more than 64 copies under way in a thread", line);
    queue.copy[queue.copies++] = {to, from, bytes, std::min(present, bytes), queue.group};
}

void copy_commit() { ++queues[current->rank].group; }

void copy_wait(int groups_left) {
    Queue& queue = queues[current->rank];
    unsigned kept = 0;
    for (unsigned i = 0; i < queue.copies; ++i) {
        const Copy copy = queue.copy[i];
        if (copy.group < queue.group - groups_left)
            arrive(copy);
        else
            queue.copy[kept++] = copy;
    }
    queue.copies = kept;
}

void load_matrices(uint32_t* registers, int count, bool transposed, const void* row, int line) {
    const unsigned lane = current->lane;
    for (int matrix = 0; matrix < count; ++matrix) {
        alignas(16) const void* address[2] = {row, nullptr};
        if (lane < 8 * unsigned(count) && uintptr_t(row) % 16) fail("ldmatrix: a row must be aligned to 16 bytes", line);
        const Lanes lanes = gather(~0u, address, line);
        uint16_t pair[2];
        for (unsigned i = 0; i < 2; ++i) {
            const unsigned r = transposed ? lane % 4 * 2 + i : lane / 4, c = transposed ? lane / 4 : lane % 4 * 2 + i;
            const uint16_t* from;
            __builtin_memcpy(&from, lanes.bytes16[matrix * 8 + int(r)], sizeof from);
            pair[i] = from[c];
        }
        registers[matrix] = pair[0] | uint32_t(pair[1]) << 16;
    }
    sync_warp(~0u, line);
}

void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Half half, int line) {
    Product& product = scratch[current->rank / 32];
    const unsigned row = current->lane / 4, column = current->lane % 4 * 2;
    for (unsigned i = 0; i < 4; ++i)
        for (unsigned j = 0; j < 2; ++j) product.a[row + i % 2 * 8][column + j + i / 2 * 8] = half_of(a[i], j, half);
    for (unsigned i = 0; i < 2; ++i)
        for (unsigned j = 0; j < 2; ++j) product.b[column + j + i * 8][row] = half_of(b[i], j, half);
    sync_warp(~0u, line);
    accumulate(d, product, 16);
    sync_warp(~0u, line);
}

void mma_m16n8k8(float (&d)[4], const uint32_t (&a)[2], const uint32_t (&b)[1], Half half, int line) {
    Product& product = scratch[current->rank / 32];
    const unsigned row = current->lane / 4, column = current->lane % 4 * 2;
    for (unsigned j = 0; j < 2; ++j) {
        for (unsigned i = 0; i < 2; ++i) product.a[row + i * 8][column + j] = half_of(a[i], j, half);
        product.b[column + j][row] = half_of(b[0], j, half);
    }
    sync_warp(~0u, line);
    accumulate(d, product, 8);
    sync_warp(~0u, line);
}

void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int line) {
    Product& product = scratch[current->rank / 32];
    const unsigned row = current->lane / 4, column = current->lane % 4;
    for (unsigned i = 0; i < 4; ++i) product.a[row + i % 2 * 8][column + i / 2 * 4] = tf32(a[i]);
    for (unsigned i = 0; i < 2; ++i) product.b[column + i * 4][row] = tf32(b[i]);
    sync_warp(~0u, line);
    accumulate(d, product, 8);
    sync_warp(~0u, line);
}

void mma_m16n8k32_s8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int line) {
    Codes& product = codes[current->rank / 32];
    const unsigned row = current->lane / 4, four = current->lane % 4 * 4, column = current->lane % 4 * 2;
    for (unsigned byte = 0; byte < 4; ++byte) {
        for (unsigned i = 0; i < 4; ++i) product.a[row + i % 2 * 8][four + byte + i / 2 * 16] = int8_t(a[i] >> 8 * byte);
        for (unsigned i = 0; i < 2; ++i) product.b[four + byte + i * 16][row] = int8_t(b[i] >> 8 * byte);
    }
    sync_warp(~0u, line);
    for (unsigned i = 0; i < 4; ++i)
        for (unsigned k = 0; k < 32; ++k)
            d[i] = int32_t(uint32_t(d[i]) + uint32_t(product.a[row + i / 2 * 8][k] * product.b[k][column + i % 2]));
    sync_warp(~0u, line);
}

} // namespace emu
