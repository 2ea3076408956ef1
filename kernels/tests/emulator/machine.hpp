// The emulated multiprocessor: what kernels see of it (threads, barriers, warp operations) and what the driver asks of it.
//
// Blocks run one after another. The threads of a block run on fibers that are made only when needed: a fiber runs one thread
// after another until one of them waits at a barrier or a warp operation; then the next thread gets a fiber of its own. A
// kernel without barriers so runs as plain calls on one stack, and one with barriers pays a stack switch a wait.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
    constexpr uint64_t count() const { return uint64_t(x) * y * z; }
};

namespace emu {

// What the kernel being run asks for. `thread` is read by every `threadIdx`: it must be cheap.
struct Thread {
    uint3 index;
    unsigned rank, lane;
};
extern Thread* current;
extern uint3 block_index;
extern dim3 block_size, grid_size;
extern unsigned char* dynamic_shared;

// ---- what threads do together; `line` names the place, so that threads waiting at different places are told apart ----

struct Votes {
    unsigned count, live;
};
// Waits for every thread of the block that has not exited; tells how many brought `vote`.
Votes sync_block(int line, bool vote = false);
// Waits for the lanes of `mask`.
void sync_warp(unsigned mask, int line);
// Hands 16 bytes to the other lanes of `mask` and takes what lane `source` has brought; all ones if it brings nothing.
void exchange(unsigned mask, void* bytes16, int source, int line);
// All that the lanes of `mask` have brought, by lane; valid until this thread's next warp operation but one.
struct Lanes {
    const unsigned char (*bytes16)[16];
    unsigned present;
};
Lanes gather(unsigned mask, const void* bytes16, int line);
// Ends the launch with a message that names kernel, line, block and thread.
[[noreturn]] void fail(const char* what, int line);

// ---- tensor-core and asynchronous-copy instructions (tensor_core.cpp) ----

// Starts a copy of `bytes` to shared memory, the last of them 0 if fewer are `present`. Nothing arrives before the wait, so that
// a missing wait shows.
void copy_async(void* to, const void* from, int bytes, int line, int present = 16);
void copy_commit();
void copy_wait(int groups_left);
// Forgets the copies of a thread, at its start.
void copies_forgotten(unsigned rank);

// ---- kernels by name ----

// The static shared memory of a source file: filled with NaN before every block.
struct Section {
    char *start, *end;
};
struct Argument {
    unsigned size;
    bool pointer;
};
struct Kernel {
    std::string_view name;
    void (*call)(void* const* arguments);
    std::vector<Argument> arguments;
    Section shared;
};
const Kernel* find_kernel(std::string_view name);

struct Registration {
    Registration(Kernel kernel);
    template <class... A, class Call>
    Registration(std::string_view name, void (*)(A...), Call call, Section shared)
        : Registration(Kernel{name, call, {Argument{sizeof(A), std::is_pointer_v<A>}...}, shared}) {}
};
template <class... A, size_t... I>
inline void apply(void (*kernel)(A...), void* const* arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<A>*>(arguments[I])...);
}
template <class... A>
inline void apply(void (*kernel)(A...), void* const* arguments) {
    apply(kernel, arguments, std::index_sequence_for<A...>{});
}

// Order in which threads run between two waits, and blocks: any must give the same result.
struct Order {
    enum Kind { Forward, Reverse, Random } kind = Forward;
    uint64_t seed = 0;
};
// Runs a kernel to its end; a message if it failed. One at a time.
std::string launch(const Kernel& kernel, dim3 grid, dim3 block, size_t dynamic_bytes, void* const* arguments, Order order);

// Not seen by sanitizers.
void copy_unseen(void* to, const void* from, size_t bytes);
void fill_unseen(void* to, unsigned char value, size_t bytes);

} // namespace emu
