// A stand-in for libcublasLt.so.13: the functions of cublasLt.h that we call. Products are computed naively, element by element, by
// the stand-in driver's stream; what is called wrongly is refused, more strictly than by the library itself.
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <mutex>

#define API extern "C" __attribute__((visibility("default"))) int

namespace {

enum Status { SUCCESS = 0, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum Type { F32 = 0, F16 = 2, BF16 = 14 };
enum Compute { COMPUTE_32F = 68, FAST_TF32 = 77 };
enum Epilogue : unsigned { DEFAULT = 1, RELU = 2, BIAS = 4 };
constexpr uint64_t MAGIC = 0x6665727274617065, WORKSPACE = 4096;

struct Descriptor {
    int compute = COMPUTE_32F, transposed[2] = {0, 0};
    unsigned epilogue = DEFAULT;
    const void* bias = nullptr;
};
struct Layout {
    int type;
    uint64_t rows, columns;
    int64_t pitch;
    int batch = 1;
    int64_t offset = 0; // elements between matrices
};
struct Preference {
    uint64_t workspace = 0;
    uint32_t alignment[4] = {256, 256, 256, 256};
};
struct Algorithm {
    uint64_t magic, rest[7];
};
struct Heuristic {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

int refuse(const char* why) {
    std::fprintf(stderr, "emulator: cuBLASLt: %s\n", why);
    return INVALID_VALUE;
}

size_t size_of(int type) { return type == F32 ? 4 : 2; }

float read(const void* at, int64_t place, int type) {
    if (type == F32) return static_cast<const float*>(at)[place];
    const uint32_t bits = static_cast<const uint16_t*>(at)[place];
    if (type == BF16) return std::bit_cast<float>(bits << 16);
    const int exponent = int(bits >> 10 & 31), digits = int(bits & 1023);
    const float size = exponent == 31 ? (digits ? NAN : INFINITY) : exponent ? std::ldexp(float(digits + 1024), exponent - 25) : std::ldexp(float(digits), -24);
    return bits >> 15 ? -size : size;
}
void write(void* at, int64_t place, int type, float x) {
    if (type == F32) {
        static_cast<float*>(at)[place] = x;
        return;
    }
    uint32_t bits;
    if (type == BF16) {
        bits = std::bit_cast<uint32_t>(x);
        bits = x != x ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    } else {
        const float size = std::fabs(x);
        if (size != size) bits = 0x7e00;
        else if (size >= 65520.f) bits = 0x7c00;
        else if (size < 6.103515625e-5f) bits = uint32_t(std::nearbyint(std::ldexp(size, 24)));
        else {
            const uint32_t wide = std::bit_cast<uint32_t>(size);
            bits = (wide - (112u << 23) + 0xfff + (wide >> 13 & 1)) >> 13;
        }
        bits |= std::signbit(x) ? 0x8000 : 0;
    }
    static_cast<uint16_t*>(at)[place] = uint16_t(bits);
}
float rounded(float x, int compute) {
    return compute == FAST_TF32 && std::isfinite(x) ? std::bit_cast<float>((std::bit_cast<uint32_t>(x) + 0x1000) & ~0x1fffu) : x;
}

struct Work {
    Descriptor desc;
    Layout a, b, d;
    const void *at_a, *at_b, *at_c;
    void* at_d;
    float alpha, beta;
    uint64_t depth;
};

void compute(void* data) {
    const auto* const work = static_cast<const Work*>(data);
    const auto& [desc, a, b, d, at_a, at_b, at_c, at_d, alpha, beta, depth] = *work;
    // Elements (i, l) of op(A) and (l, j) of op(B), column-major.
    auto place = [](const Layout& x, int transposed, int64_t row, int64_t column) {
        return transposed ? column + row * x.pitch : row + column * x.pitch;
    };
    for (int z = 0; z < d.batch; ++z)
        for (uint64_t j = 0; j < d.columns; ++j)
            for (uint64_t i = 0; i < d.rows; ++i) {
                float sum = 0;
                for (uint64_t l = 0; l < depth; ++l)
                    sum += rounded(read(at_a, z * a.offset + place(a, desc.transposed[0], int64_t(i), int64_t(l)), a.type), desc.compute) *
                           rounded(read(at_b, z * b.offset + place(b, desc.transposed[1], int64_t(l), int64_t(j)), b.type), desc.compute);
                const int64_t to = z * d.offset + int64_t(i) + int64_t(j) * d.pitch;
                sum *= alpha;
                if (beta != 0) sum += beta * read(at_c, to, d.type);
                if (desc.epilogue & BIAS) sum += read(desc.bias, int64_t(i), d.type);
                if (desc.epilogue & RELU) sum = sum < 0 ? 0 : sum;
                write(at_d, to, d.type, sum);
            }
}

// What both the heuristic and the product hold the descriptors to.
int fit(const Descriptor& desc, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
    const uint64_t rows = desc.transposed[0] ? a.columns : a.rows, depth = desc.transposed[0] ? a.rows : a.columns;
    const uint64_t depth_b = desc.transposed[1] ? b.columns : b.rows, columns = desc.transposed[1] ? b.rows : b.columns;
    if (rows != d.rows || columns != d.columns || depth != depth_b) return refuse("sizes that don't fit");
    if (c.rows != d.rows || c.columns != d.columns || c.type != d.type || c.pitch != d.pitch) return refuse("C unlike D");
    if (a.batch != d.batch || b.batch != d.batch || c.batch != d.batch) return refuse("batches that differ");
    if (a.type != b.type || (d.type != a.type && !(a.type == BF16 && d.type == F32))) return refuse("types");
    if (desc.compute == FAST_TF32 && a.type != F32) return refuse("tf32 of other types than f32");
    if (desc.epilogue != DEFAULT && desc.epilogue & ~(RELU | BIAS)) return NOT_SUPPORTED;
    if ((desc.epilogue & BIAS && desc.epilogue != DEFAULT) != (desc.bias != nullptr)) return refuse("a bias without its epilogue, or the other way");
    return SUCCESS;
}

template <class T> int set(T& to, const void* from, size_t bytes) {
    if (bytes != sizeof to) return refuse("an attribute of another size");
    std::memcpy(&to, from, bytes);
    return SUCCESS;
}

template <class Function> Function driver(const char* name) {
    static void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    return library ? reinterpret_cast<Function>(dlsym(library, name)) : nullptr;
}

bool misaligned(const void* place, unsigned to) { return uintptr_t(place) % to != 0; }

} // namespace

API cublasLtCreate(void** handle) {
    void* context = nullptr;
    const auto current = driver<int (*)(void**)>("cuCtxGetCurrent");
    if (!current || current(&context) || !context) return refuse("no context");
    static int one;
    *handle = &one;
    return SUCCESS;
}

API cublasLtMatmulDescCreate(Descriptor** desc, int compute, int scale) {
    if ((compute != COMPUTE_32F && compute != FAST_TF32) || scale != F32) return NOT_SUPPORTED;
    *desc = new Descriptor{compute};
    return SUCCESS;
}
API cublasLtMatmulDescSetAttribute(Descriptor* desc, int which, const void* from, size_t bytes) {
    switch (which) {
    case 3: return set(desc->transposed[0], from, bytes);
    case 4: return set(desc->transposed[1], from, bytes);
    case 7: return set(desc->epilogue, from, bytes);
    case 8: return set(desc->bias, from, bytes);
    default: return refuse("an unknown attribute of a product");
    }
}
API cublasLtMatmulDescDestroy(Descriptor* desc) {
    delete desc;
    return SUCCESS;
}

API cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns, int64_t pitch) {
    if (type != F32 && type != F16 && type != BF16) return NOT_SUPPORTED;
    if (!rows || !columns || pitch < int64_t(rows)) return refuse("a layout whose columns overlap");
    *layout = new Layout{type, rows, columns, pitch};
    return SUCCESS;
}
API cublasLtMatrixLayoutSetAttribute(Layout* layout, int which, const void* from, size_t bytes) {
    switch (which) {
    case 5: return set(layout->batch, from, bytes);
    case 6: return set(layout->offset, from, bytes);
    default: return refuse("an unknown attribute of a layout");
    }
}
API cublasLtMatrixLayoutDestroy(Layout* layout) {
    delete layout;
    return SUCCESS;
}

API cublasLtMatmulPreferenceCreate(Preference** preference) {
    *preference = new Preference;
    return SUCCESS;
}
API cublasLtMatmulPreferenceSetAttribute(Preference* preference, int which, const void* from, size_t bytes) {
    if (which == 1) return set(preference->workspace, from, bytes);
    if (which >= 5 && which <= 8) return set(preference->alignment[which - 5], from, bytes);
    return refuse("an unknown preference");
}
API cublasLtMatmulPreferenceDestroy(Preference* preference) {
    delete preference;
    return SUCCESS;
}

API cublasLtMatmulAlgoGetHeuristic(void* handle, const Descriptor* desc, const Layout* a, const Layout* b, const Layout* c, const Layout* d,
                                   const Preference* preference, int wanted, Heuristic* found, int* count) {
    *count = 0;
    if (!handle || wanted < 1) return refuse("a handle, or how many algorithms");
    if (const int wrong = fit(*desc, *a, *b, *c, *d)) return wrong;
    if (preference->workspace < WORKSPACE) return NOT_SUPPORTED;
    *found = Heuristic{{MAGIC, {}}, WORKSPACE, SUCCESS, 1.f, {}};
    *count = 1;
    return SUCCESS;
}

API cublasLtMatmul(void* handle, const Descriptor* desc, const float* alpha, const void* at_a, const Layout* a, const void* at_b, const Layout* b,
                   const float* beta, const void* at_c, const Layout* c, void* at_d, const Layout* d, const Algorithm* algorithm,
                   void* workspace, size_t bytes, void* stream) {
    if (!handle || !algorithm || algorithm->magic != MAGIC) return refuse("an algorithm that no heuristic gave");
    if (const int wrong = fit(*desc, *a, *b, *c, *d)) return wrong;
    if (!workspace || bytes < WORKSPACE || misaligned(workspace, 256)) return refuse("the workspace");
    if (misaligned(at_a, 16) || misaligned(at_b, 16) || misaligned(at_d, 16)) return refuse("operands that are not aligned as was said");
    for (const Layout* x : {a, b})
        if (x->columns > 1 && x->pitch * int64_t(size_of(x->type)) % 16) return refuse("lines that are not aligned");
    if (!stream) return refuse("the stream");
    const auto enqueue = driver<int (*)(void*, void (*)(void*), void*)>("cuLaunchHostFunc");
    static auto& all = *new std::deque<Work>; // kept: a graph may run it again
    static std::mutex lock;
    lock.lock();
    all.push_back(Work{*desc, *a, *b, *d, at_a, at_b, at_c, at_d, *alpha, *beta, desc->transposed[0] ? a->rows : a->columns});
    Work* const work = &all.back();
    lock.unlock();
    return enqueue && enqueue(stream, compute, work) == 0 ? SUCCESS : EXECUTION_FAILED;
}
