// Drives the stand-in driver through its API, as the library does: check <libcuda.so.1> <folder of PTX> [case]
//
// scripts/cuda-emulator --check runs it in every thread order, with planted faults, and with each variable it obeys.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <numeric>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

using Pointer = unsigned long long;
using Handle = void*;

static void* library;
static int failures;

static void expect(bool holds, const char* what, int line) {
    if (holds) return;
    std::printf("line %d: %s\n", line, what);
    ++failures;
}
#define EXPECT(condition) expect(condition, #condition, __LINE__)

template <class... A>
static int cuda(const char* name, A... arguments) {
    auto* function = reinterpret_cast<int (*)(A...)>(dlsym(library, name));
    if (!function) {
        std::printf("no %s\n", name);
        std::exit(2);
    }
    return function(arguments...);
}
#define OK(...) EXPECT(cuda(__VA_ARGS__) == 0)

struct Strided {
    long long offset = 0;
    int rank = 0;
    unsigned size[16] = {};
    long long stride[16] = {};
    Strided() = default;
    Strided(long long offset, std::vector<unsigned> sizes, std::vector<long long> strides) : offset(offset), rank(int(sizes.size())) {
        std::copy(sizes.begin(), sizes.end(), size);
        std::copy(strides.begin(), strides.end(), stride);
    }
};
struct Transpose {
    Strided from, to;
    long long rows, columns, from_stride, to_stride, matrices;
};

template <class T>
struct Buffer {
    Pointer place = 0;
    size_t n;
    explicit Buffer(size_t n) : n(n) { OK("cuMemAlloc_v2", &place, n * sizeof(T)); }
    explicit Buffer(const std::vector<T>& x) : Buffer(x.size()) { OK("cuMemcpyHtoD_v2", place, (const void*)x.data(), n * sizeof(T)); }
    Buffer(const Buffer&) = delete;
    ~Buffer() { cuda("cuMemFree_v2", place); }
    std::vector<T> read() const {
        std::vector<T> x(n);
        OK("cuMemcpyDtoH_v2", (void*)x.data(), place, n * sizeof(T));
        return x;
    }
};

static std::string folder;
static Handle load(const std::string& family) {
    std::ostringstream text;
    text << std::ifstream(folder + "/" + family + ".ptx").rdbuf();
    Handle module = nullptr;
    OK("cuModuleLoadData", &module, (const void*)text.str().c_str());
    return module;
}
static Handle function(Handle module, const char* name) {
    Handle found = nullptr;
    OK("cuModuleGetFunction", &found, module, name);
    return found;
}
struct Dims {
    unsigned x, y = 1, z = 1;
};
template <class... A>
static int launch(Handle kernel, Dims grid, Dims block, unsigned shared, Handle stream, A... arguments) {
    void* list[] = {(void*)&arguments...};
    return cuda("cuLaunchKernel", kernel, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared, stream, (void**)list, (void**)nullptr);
}

template <class T>
static std::vector<T> counted(size_t n) {
    std::vector<T> x(n);
    std::iota(x.begin(), x.end(), T(1));
    return x;
}

template <class T>
static void copies(Handle module) {
    const std::string size = std::to_string(sizeof(T));
    const auto x = counted<T>(2 * 3 * 5 * 7);
    const Buffer<T> from(x), to(x.size());
    // [2, 3, 5, 7] permuted to [5, 2, 7, 3]
    const Strided permuted(0, {5, 2, 7, 3}, {7, 105, 1, 35});
    OK("cuMemsetD8_v2", to.place, (unsigned char)0, x.size() * sizeof(T));
    const long long n = (long long)x.size();
    EXPECT(launch(function(module, ("copy_strided_" + size).c_str()), {2}, {32}, 0, nullptr, from.place, permuted, to.place, Strided(), n) == 0);
    auto found = to.read();
    size_t i = 0;
    for (int a = 0; a < 5; ++a)
        for (int b = 0; b < 2; ++b)
            for (int c = 0; c < 7; ++c)
                for (int d = 0; d < 3; ++d) EXPECT(found[i++] == x[size_t(a * 7 + b * 105 + c + d * 35)]);
    // back into the strided place
    EXPECT(launch(function(module, ("copy_strided_" + size).c_str()), {3}, {64}, 0, nullptr, to.place, Strided(), from.place, permuted, n) == 0);
    EXPECT(from.read() == x);
    // every second element
    EXPECT(launch(function(module, ("copy_fill_" + size).c_str()), {1}, {32}, 0, nullptr, to.place, Strided(1, {105}, {2}), T(9), 105ll) == 0);
    found = to.read();
    for (size_t k = 1; k < found.size(); k += 2) EXPECT(found[k] == T(9));
    EXPECT(found[0] == x[0]);
}

template <class T>
static void transposes(Handle module) {
    const std::string name = "copy_transpose_" + std::to_string(sizeof(T));
    const long long stack = 3, rows = 45, columns = 70;
    const auto x = counted<T>(size_t(stack * rows * columns));
    const Buffer<T> from(x), to(x.size());
    const Strided each(0, {unsigned(stack)}, {rows * columns});
    const Transpose plan{each, each, rows, columns, rows, columns, stack};
    EXPECT(launch(function(module, name.c_str()), {4}, {32, 8}, 0, nullptr, from.place, to.place, plan) == 0);
    const auto found = to.read();
    for (long long b = 0; b < stack; ++b)
        for (long long r = 0; r < rows; ++r)
            for (long long c = 0; c < columns; ++c)
                EXPECT(found[size_t((b * rows + r) * columns + c)] == x[size_t((b * columns + c) * rows + r)]);
}

static void refusals(Handle module) {
    Handle none = nullptr;
    EXPECT(cuda("cuModuleGetFunction", &none, module, "no_such_kernel") == 500);
    const Handle fill = function(module, "copy_fill_4");
    const Buffer<int> to(8);
    EXPECT(launch(fill, {1}, {2048}, 0, nullptr, to.place, Strided(), 1, 8ll) == 1);
    EXPECT(launch(fill, {0}, {32}, 0, nullptr, to.place, Strided(), 1, 8ll) == 1);
    EXPECT(launch(fill, {1, 70000}, {32}, 0, nullptr, to.place, Strided(), 1, 8ll) == 1);
    EXPECT(launch(fill, {1}, {32}, 50000, nullptr, to.place, Strided(), 1, 8ll) == 1);
    OK("cuFuncSetAttribute", fill, 8, 60000);
    EXPECT(launch(fill, {1}, {32}, 50000, nullptr, to.place, Strided(), 1, 8ll) == 0);
    EXPECT(cuda("cuMemcpyDtoH_v2", (void*)&none, to.place + 28, size_t(8)) == 1);
    Pointer place = 0;
    EXPECT(cuda("cuMemAlloc_v2", &place, size_t(1) << 50) == 2);
    const char* name = nullptr;
    OK("cuGetErrorName", 2, &name);
    EXPECT(!std::strcmp(name, "CUDA_ERROR_OUT_OF_MEMORY"));
    EXPECT(cuda("cuGetErrorName", 12345, &name) == 1);
}

// PTX that is not what is compiled in, host memory given to a kernel, writing beside a block.
static void stale() {
    Handle module = nullptr, found = nullptr;
    const char* image = ".version 7.0\n.entry copy_fill_4(.param .u64 a, .param .align 8 .b8 b[100]){ret;}\n.entry not_compiled(){ret;}";
    EXPECT(cuda("cuModuleLoadData", &module, (const void*)"no PTX") == 200);
    EXPECT(cuda("cuModuleLoadData", &module, (const void*)".version 9.0") == 222);
    OK("cuModuleLoadData", &module, (const void*)image);
    EXPECT(cuda("cuModuleGetFunction", &found, module, "copy_fill_4") == 500);
    EXPECT(cuda("cuModuleGetFunction", &found, module, "not_compiled") == 500);
}
static void misuse(Handle module, const std::string& what) {
    const Buffer<int> to(64);
    static int host[64];
    const Pointer place = what == "host" ? (Pointer)host : to.place;
    EXPECT(launch(function(module, "copy_fill_4"), {1}, {32}, 0, nullptr, place, Strided(), 1, what == "host" ? 64ll : 65ll) == 0);
    EXPECT(cuda("cuCtxSynchronize") == 700);
}

static void graphs(Handle module) {
    Handle stream = nullptr, graph = nullptr, executable = nullptr;
    OK("cuStreamCreate", &stream, 1u);
    const Buffer<int> from(counted<int>(64)), to(64);
    OK("cuStreamBeginCapture_v2", stream, 0);
    EXPECT(launch(function(module, "copy_strided_4"), {1}, {32}, 0, stream, from.place, Strided(), to.place, Strided(), 64ll) == 0);
    OK("cuMemsetD32Async", from.place, 7u, size_t(64), stream);
    OK("cuStreamEndCapture", stream, &graph);
    EXPECT(to.read()[0] == -1); // nothing has run: fresh memory
    OK("cuGraphInstantiateWithFlags", &executable, graph, 0ull);
    for (int expected : {3, 7}) {
        OK("cuGraphLaunch", executable, stream);
        OK("cuStreamSynchronize", stream);
        EXPECT(to.read()[2] == expected);
    }
    OK("cuStreamBeginCapture_v2", stream, 0);
    EXPECT(cuda("cuStreamSynchronize", stream) == 900);
    Handle lost = nullptr;
    EXPECT(cuda("cuStreamEndCapture", stream, &lost) == 901);
    // Other arguments in place of those of before; not other kinds of work, nor more of it.
    long long said[3];
    const auto recorded = [&](bool longer, bool other) {
        Handle again = nullptr;
        OK("cuStreamBeginCapture_v2", stream, 2);
        if (other) OK("cuMemsetD32Async", from.place, 7u, size_t(64), stream);
        EXPECT(launch(function(module, "copy_fill_4"), {1}, {32}, 0, stream, to.place, Strided(), 11, 64ll) == 0);
        if (!other) OK("cuMemsetD32Async", from.place, 8u, size_t(64), stream);
        if (longer) OK("cuMemsetD32Async", from.place, 9u, size_t(64), stream);
        OK("cuStreamEndCapture", stream, &again);
        const int code = cuda("cuGraphExecUpdate_v2", executable, again, (void*)said);
        OK("cuGraphDestroy", again);
        return code;
    };
    EXPECT(recorded(true, false) == 910 && recorded(false, true) == 910);
    EXPECT(recorded(false, false) == 0);
    OK("cuGraphLaunch", executable, stream);
    OK("cuStreamSynchronize", stream);
    EXPECT(to.read()[2] == 11 && from.read()[5] == 8);
    OK("cuGraphExecDestroy", executable);
    OK("cuGraphDestroy", graph);
    // What may happen beside a relaxed recording, and what not.
    Handle event = nullptr;
    Pointer place = 0;
    int plain[4];
    OK("cuEventCreate", &event, 2u);
    OK("cuStreamBeginCapture_v2", stream, 2);
    OK("cuMemAlloc_v2", &place, size_t(64));
    EXPECT(cuda("cuMemFree_v2", place) == 900);
    EXPECT(cuda("cuCtxSynchronize") == 900);
    OK("cuEventSynchronize", event);
    OK("cuEventRecord", event, stream);
    EXPECT(cuda("cuEventSynchronize", event) == 907);
    OK("cuStreamEndCapture", stream, &lost);
    OK("cuGraphDestroy", lost);
    OK("cuStreamBeginCapture_v2", stream, 0);
    EXPECT(cuda("cuMemAlloc_v2", &place, size_t(64)) == 900);
    EXPECT(cuda("cuMemcpyDtoHAsync_v2", (void*)plain, to.place, size_t(16), stream) == 900);
    EXPECT(cuda("cuStreamEndCapture", stream, &lost) == 901);
    OK("cuEventDestroy_v2", event);
    OK("cuStreamDestroy_v2", stream);
}

// Pinned memory is used when the work is done; other memory at once.
static void laziness(bool lazy) {
    int *pinned = nullptr, plain = 1;
    OK("cuMemAllocHost_v2", (void**)&pinned, size_t(8));
    const Buffer<int> to(2);
    pinned[0] = 1, pinned[1] = 0;
    OK("cuMemcpyHtoDAsync_v2", to.place, (const void*)pinned, size_t(4), (Handle)nullptr);
    OK("cuMemcpyHtoDAsync_v2", to.place + 4, (const void*)&plain, size_t(4), (Handle)nullptr);
    OK("cuMemcpyDtoHAsync_v2", (void*)(pinned + 1), to.place + 4, size_t(4), (Handle)nullptr);
    EXPECT(pinned[1] == (lazy ? 0 : 1));
    pinned[0] = plain = 2;
    OK("cuCtxSynchronize");
    EXPECT(pinned[1] == 1);
    EXPECT(to.read() == (std::vector<int>{lazy ? 2 : 1, 1}));
    OK("cuMemFreeHost", (void*)pinned);
}

static void threads(Handle module, Handle context) {
    std::vector<std::thread> all;
    for (int t = 0; t < 4; ++t)
        all.emplace_back([=] {
            OK("cuCtxSetCurrent", context);
            for (int round = 0; round < 5; ++round) {
                const Buffer<int> to(1000);
                EXPECT(launch(function(module, "copy_fill_4"), {2}, {128}, 0, nullptr, to.place, Strided(), t, 1000ll) == 0);
                EXPECT(to.read() == std::vector<int>(1000, t));
            }
        });
    for (auto& thread : all) thread.join();
}

// A fault surfaces at the next synchronisation and stays.
static void injected(Handle module, bool launches) {
    const Buffer<int> to(64);
    const int code = launches ? 719 : 700;
    const Handle fill = function(module, "copy_fill_4");
    const std::vector<int> x(64, 5);
    int failed_at = 0;
    for (int i = 1; i <= 3 && !failed_at; ++i) {
        if (launches) EXPECT(launch(fill, {1}, {32}, 0, nullptr, to.place, Strided(), i, 64ll) == 0);
        else OK("cuMemcpyHtoDAsync_v2", to.place, (const void*)x.data(), size_t(256), (Handle)nullptr);
        const int error = cuda("cuCtxSynchronize");
        EXPECT(error == 0 || error == code);
        if (error) failed_at = i;
    }
    EXPECT(failed_at == 2);
    EXPECT(launch(fill, {1}, {32}, 0, nullptr, to.place, Strided(), 1, 64ll) == code);
    EXPECT(cuda("cuCtxSynchronize") == code);
}

// A kernel of samples.cu: how it ends.
static void sample(const std::string& name) {
    const std::string image = ".version 7.0\n.target sm_75\n.visible .entry " + name + "(\n.param .u64 x,\n.param .u64 out\n)\n{\nret;\n}\n";
    Handle module = nullptr;
    OK("cuModuleLoadData", &module, (const void*)image.c_str());
    const Buffer<float> x(std::vector<float>(256, 1.f)), out(256);
    const int error = launch(function(module, name.c_str()), {2}, {64}, 256, nullptr, x.place, out.place);
    const int fault = error ? error : cuda("cuCtxSynchronize");
    bool right = !fault;
    if (!fault)
        for (const float v : out.read()) right &= v == 1.f;
    std::puts(fault ? "fault" : right ? "right" : "wrong");
}

int main(int count, char** arguments) {
    if (count < 3 || !(library = dlopen(arguments[1], RTLD_NOW))) {
        std::printf("cannot load the driver: %s\n", dlerror());
        return 2;
    }
    folder = arguments[2];
    const std::string what = count > 3 ? arguments[3] : "all";
    int devices = -1;
    Handle context = nullptr;
    EXPECT(cuda("cuDeviceGetCount", &devices) == 3);
    const int started = cuda("cuInit", 0u);
    if (what == "none") return std::puts(started == 100 ? "none" : "some") < 0;
    EXPECT(started == 0);
    EXPECT(cuda("cuCtxSynchronize") == 201);
    OK("cuDeviceGetCount", &devices);
    OK("cuDevicePrimaryCtxRetain", &context, devices - 1);
    OK("cuCtxSetCurrent", context);
    if (what.starts_with("planted_") || what.starts_with("sample_")) {
        sample(what);
        return 0;
    }
    const Handle module = load("copy");
    if (what == "host" || what == "beside") {
        misuse(module, what);
    } else if (what == "launch" || what == "copy") {
        injected(module, what == "launch");
    } else {
        copies<uint8_t>(module), copies<uint16_t>(module), copies<uint32_t>(module), copies<uint64_t>(module);
        transposes<uint8_t>(module), transposes<uint16_t>(module), transposes<uint32_t>(module), transposes<uint64_t>(module);
        refusals(module);
        stale();
        graphs(module);
        laziness(std::getenv("FERROTAPE_EMULATED_LAZY") != nullptr);
        threads(module, context);
    }
    std::printf("%d failures\n", failures);
    return failures != 0;
}
