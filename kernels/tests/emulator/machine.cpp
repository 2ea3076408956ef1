// Fibers, barriers and warp operations of the emulated multiprocessor. Compiled without instrumentation, so that sanitizers
// see only what kernels do; EMU_ASAN or EMU_TSAN tells which of them must hear of stack switches.
#include "machine.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <map>
#include <sys/mman.h>

#ifdef EMU_ASAN
#include <sanitizer/common_interface_defs.h>
#define ASAN(...) __VA_ARGS__
#else
#define ASAN(...)
#endif
#ifdef EMU_TSAN
#include <sanitizer/tsan_interface.h>
#define TSAN(...) __VA_ARGS__
#else
#define TSAN(...)
#endif
#if !defined(__x86_64__) || !defined(__linux__)
#error "the stack switch is written for x86-64 Linux"
#endif

namespace emu {

Thread* current;
uint3 block_index;
dim3 block_size, grid_size;
unsigned char* dynamic_shared;

namespace {

constexpr unsigned MAX_THREADS = 1024;
constexpr size_t STACK = 256 << 10, PAGE = 4096;

struct Fiber {
    void* stack_pointer;
    char* stack;
    void* fake_stack; // ASan's
};

// Lanes that meet under one mask. Two sets of slots: the next meeting fills the other one.
struct Meeting {
    unsigned mask, arrived, phase;
    int line;
    alignas(16) unsigned char slot[2][32][16];
};
struct Warp {
    unsigned exist, done, meetings;
    Meeting meeting[16];
};

enum State : unsigned char { Fresh, Ready, Waiting, Done };

struct Machine {
    const Kernel* kernel;
    void* const* arguments;
    unsigned threads, live, cursor;
    std::string error;
    Order order;
    uint64_t random;
    // the block's barrier
    unsigned arrived, phase, votes[2], electorate;
    int line;
    bool dirty; // threads have met, so shared memory may be in use
    State state[MAX_THREADS];
    unsigned turn[MAX_THREADS]; // the order within a pass
    Thread thread[MAX_THREADS];
    Fiber* fiber[MAX_THREADS]; // of a suspended thread
    Warp warp[MAX_THREADS / 32];
    Fiber* idle[MAX_THREADS];
    unsigned idles;
    Fiber host;     // the launching thread's own stack
    Fiber* running; // what the processor is on
    Thread* next;   // what an idle fiber wakes up for
#ifdef EMU_ASAN
    const void* host_bottom;
    size_t host_size;
#endif
#ifdef EMU_TSAN
    void* tsan_host;
    void* tsan_thread[MAX_THREADS];
    char barrier_tag[2], start_tag, end_tag;
#endif
};
Machine m;

// ---- stacks ----

// Saves the callee-saved registers here and continues there: (where to save, what to load).
__attribute__((naked, noinline)) void swap_stacks(void**, void*) {
    asm volatile("push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15; mov %rsp, (%rdi); mov %rsi, %rsp;"
                 "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp; ret");
}

#ifdef EMU_ASAN
void arrive(void* fake_stack) {
    const void* bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(fake_stack, &bottom, &size);
    if (!m.host_bottom) m.host_bottom = bottom, m.host_size = size; // a launch's first switch comes from the host
}
#endif

void switch_to(Fiber* to) {
    Fiber* from = m.running;
    m.running = to;
    ASAN(const bool to_host = to == &m.host;
         __sanitizer_start_switch_fiber(&from->fake_stack, to_host ? m.host_bottom : to->stack, to_host ? m.host_size : STACK);)
    swap_stacks(&from->stack_pointer, to->stack_pointer);
    ASAN(arrive(from->fake_stack);)
}

[[noreturn]] void run_threads();

void first_entry() {
    ASAN(arrive(nullptr);)
    run_threads();
}

Fiber* new_fiber() {
    static unsigned made = 0;
    constexpr size_t SPAN = STACK + PAGE;
    auto* lowest = static_cast<char*>(mmap(nullptr, SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (lowest == MAP_FAILED) {
        std::fputs("emulator: no memory for a stack\n", stderr);
        std::abort();
    }
    mprotect(lowest, PAGE, PROT_NONE);
    auto* fiber = new Fiber{nullptr, lowest + PAGE, nullptr};
    // Tops are staggered: at equal offsets in their pages they would fight for the same sets of the cache. The address to
    // return to lies after the six registers; a function starts with rsp % 16 == 8.
    void** top = reinterpret_cast<void**>(fiber->stack + STACK - 64 - made++ % 63 * 192);
    top[6] = reinterpret_cast<void*>(first_entry);
    top[7] = nullptr;
    fiber->stack_pointer = top;
    return fiber;
}

// ---- which thread runs ----

void shuffle() {
    for (unsigned i = m.threads; i-- > 1;) {
        m.random = m.random * 6364136223846793005u + 1442695040888963407u;
        std::swap(m.turn[i], m.turn[(m.random >> 33) % (i + 1)]);
    }
}

// The next thread, in order, that can run; null if there is none.
Thread* pick() {
    for (unsigned seen = 0; seen < m.threads; ++seen) {
        if (m.cursor == m.threads) {
            m.cursor = 0;
            if (m.order.kind == Order::Random) {
                shuffle();
                seen = 0; // the order is new
                for (unsigned i = 0; i < m.threads; ++i)
                    if (m.state[m.turn[i]] <= Ready) {
                        m.cursor = i + 1;
                        return &m.thread[m.turn[i]];
                    }
                return nullptr;
            }
        }
        const unsigned rank = m.turn[m.cursor++];
        if (m.state[rank] <= Ready) return &m.thread[rank];
    }
    return nullptr;
}

[[noreturn]] void abandon(const std::string& message) {
    if (m.error.empty()) m.error = message;
    TSAN(__tsan_release(&m.end_tag); __tsan_switch_to_fiber(m.tsan_host, 1);)
    switch_to(&m.host);
    std::abort(); // an abandoned fiber is never resumed
}

[[noreturn]] void deadlock() {
    abandon("deadlock: some threads never reach the barrier or warp operation where others wait (last __syncthreads: line " +
            std::to_string(m.line) + ")");
}

void go_to(Thread* thread) {
    current = thread;
    TSAN(__tsan_switch_to_fiber(m.tsan_thread[thread->rank], 1);)
    if (m.state[thread->rank] == Fresh) {
        m.next = thread;
        switch_to(m.idles ? m.idle[--m.idles] : new_fiber());
    } else {
        switch_to(m.fiber[thread->rank]);
    }
}

// Leaves the running thread until something makes it ready.
void wait() {
    Thread* const self = current;
    m.state[self->rank] = Waiting;
    m.fiber[self->rank] = m.running;
    Thread* const next = pick();
    if (!next) deadlock();
    go_to(next);
}

void release_block() {
    m.electorate = m.live;
    m.votes[++m.phase & 1] = 0;
    m.arrived = 0;
    for (unsigned i = 0; i < m.threads; ++i)
        if (m.state[i] == Waiting) m.state[i] = Ready;
}

void exit_thread(const Thread& self) {
    Warp& warp = m.warp[self.rank / 32];
    m.state[self.rank] = Done;
    warp.done |= 1u << self.lane;
    --m.live;
    for (unsigned i = 0; i < warp.meetings; ++i)
        if (warp.meeting[i].arrived && (warp.meeting[i].mask >> self.lane & 1))
            fail("a lane exits while others wait for it at a warp operation", warp.meeting[i].line);
    if (m.arrived && m.arrived == m.live) release_block(); // a barrier counts the threads that have not exited
}

void run_threads() {
    for (;;) {
        Thread* const self = m.next;
        m.state[self->rank] = Ready;
        copies_forgotten(self->rank);
        TSAN(__tsan_acquire(&m.start_tag);)
        m.kernel->call(m.arguments);
        TSAN(__tsan_release(&m.end_tag);)
        exit_thread(*self);
        Thread* const next = pick();
        if (!next && m.live) deadlock();
        if (next && m.state[next->rank] == Fresh) { // the common case: the next one on the same stack
            current = m.next = next;
            TSAN(__tsan_switch_to_fiber(m.tsan_thread[next->rank], 1);)
            continue;
        }
        m.idle[m.idles++] = m.running;
        if (next) {
            go_to(next);
        } else {
            TSAN(__tsan_switch_to_fiber(m.tsan_host, 1);)
            switch_to(&m.host);
        }
    }
}

Meeting& meeting(unsigned mask, int line) {
    Warp& warp = m.warp[current->rank / 32];
    if (!(mask >> current->lane & 1)) fail("the mask of a warp operation leaves its caller out", line);
    unsigned i = 0;
    while (i < warp.meetings && warp.meeting[i].mask != mask) ++i;
    if (i == 16) fail("more than 16 different masks in a warp", line);
    if (i == warp.meetings) {
        warp.meeting[i].mask = mask;
        warp.meeting[i].arrived = 0;
        ++warp.meetings;
    }
    return warp.meeting[i];
}

void meet(Meeting& at, int line) {
    const Warp& warp = m.warp[current->rank / 32];
    const unsigned needed = at.mask & warp.exist;
    m.dirty = true;
    if (needed & warp.done) fail("the mask of a warp operation names an exited lane", line);
    if (at.arrived && at.line != line) fail("divergent warp operation: other lanes wait at another line", line);
    at.line = line;
    at.arrived |= 1u << current->lane;
    TSAN(__tsan_release(&at);)
    if (at.arrived == needed) {
        at.arrived = 0;
        ++at.phase;
        const unsigned first = current->rank - current->lane;
        for (unsigned lane = 0; lane < 32; ++lane)
            if (lane != current->lane && (needed >> lane & 1)) m.state[first + lane] = Ready;
    } else {
        wait();
    }
    TSAN(__tsan_acquire(&at);)
}

// ---- blocks ----

void place_threads() {
    for (unsigned i = 0; i < m.threads; ++i) {
        const uint3 index = {i % block_size.x, i / block_size.x % block_size.y, i / (block_size.x * block_size.y)};
        m.thread[i] = {index, i, i % 32};
        m.turn[i] = m.order.kind == Order::Reverse ? m.threads - 1 - i : i;
        TSAN(if (!m.tsan_thread[i]) m.tsan_thread[i] = __tsan_create_fiber(0);)
    }
    for (unsigned i = 0; i < m.threads; i += 32) m.warp[i / 32].exist = ~0u >> (m.threads - i < 32 ? 32 - (m.threads - i) : 0);
}

void run_block(size_t dynamic_bytes) {
    if (m.dirty) { // shared memory starts as NaN; what an earlier block left must not serve
        fill_unseen(m.kernel->shared.start, 0xff, size_t(m.kernel->shared.end - m.kernel->shared.start));
        fill_unseen(dynamic_shared, 0xff, dynamic_bytes);
        m.dirty = false;
    }
    std::memset(m.state, Fresh, m.threads);
    for (unsigned i = 0; i < m.threads; i += 32) m.warp[i / 32].done = m.warp[i / 32].meetings = 0;
    m.live = m.threads;
    m.arrived = m.phase = m.votes[0] = m.votes[1] = 0;
    m.cursor = 0;
    if (m.order.kind == Order::Random) shuffle();
    TSAN(__tsan_acquire(&m.end_tag); __tsan_release(&m.start_tag);) // a block sees what the host and earlier blocks did
    m.running = &m.host;
    go_to(pick());
}

uint3 block_at(uint64_t i) { return {unsigned(i % grid_size.x), unsigned(i / grid_size.x % grid_size.y), unsigned(i / grid_size.x / grid_size.y)}; }

void run_grid(size_t dynamic_bytes) {
    const uint64_t blocks = grid_size.count();
    uint64_t place = 0, step = 1; // blocks in the order place, place + step, ...
    if (m.order.kind == Order::Reverse) place = blocks - 1, step = blocks - 1;
    if (m.order.kind == Order::Random) {
        place = m.random % blocks;
        for (step = m.random / 7 % blocks + 1; std::gcd(step, blocks) != 1;) ++step;
    }
    for (uint64_t done = 0; done < blocks && m.error.empty(); ++done) {
        block_index = block_at(place);
        run_block(dynamic_bytes);
        place = (place + step) % blocks;
    }
}

std::map<std::string_view, Kernel>& kernels() {
    static std::map<std::string_view, Kernel> all;
    return all;
}

} // namespace

Registration::Registration(Kernel kernel) {
    if (!kernels().emplace(kernel.name, kernel).second) {
        std::fprintf(stderr, "emulator: two kernels named %.*s\n", int(kernel.name.size()), kernel.name.data());
        std::abort();
    }
}

const Kernel* find_kernel(std::string_view name) {
    const auto found = kernels().find(name);
    return found == kernels().end() ? nullptr : &found->second;
}

void copy_unseen(void* to, const void* from, size_t bytes) { asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes)::"memory"); }
void fill_unseen(void* to, unsigned char value, size_t bytes) { asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory"); }

void fail(const char* what, int line) {
    char place[192];
    const uint3 t = current->index, b = block_index;
    std::snprintf(place, sizeof place, " (line %d; block %u,%u,%u thread %u,%u,%u)", line, b.x, b.y, b.z, t.x, t.y, t.z);
    abandon(what + std::string(place));
}

Votes sync_block(int line, bool vote) {
    if (m.arrived && m.line != line) fail("divergent __syncthreads: other threads wait at another line", line);
    m.line = line;
    m.dirty = true;
    const unsigned phase = m.phase & 1;
    m.votes[phase] += vote;
    TSAN(__tsan_release(&m.barrier_tag[phase]);)
    if (++m.arrived == m.live)
        release_block();
    else
        wait();
    TSAN(__tsan_acquire(&m.barrier_tag[phase]);)
    return {m.votes[phase], m.electorate};
}

void sync_warp(unsigned mask, int line) { meet(meeting(mask, line), line); }

Lanes gather(unsigned mask, const void* bytes16, int line) {
    Meeting& at = meeting(mask, line);
    auto* const slots = at.slot[at.phase & 1];
    __builtin_memcpy(slots[current->lane], bytes16, 16);
    meet(at, line);
    return {slots, at.mask & m.warp[current->rank / 32].exist};
}

void exchange(unsigned mask, void* bytes16, int source, int line) {
    const Lanes lanes = gather(mask, bytes16, line);
    if (lanes.present >> source & 1)
        __builtin_memcpy(bytes16, lanes.bytes16[source], 16);
    else
        __builtin_memset(bytes16, 0xff, 16);
}

std::string launch(const Kernel& kernel, dim3 grid, dim3 block, size_t dynamic_bytes, void* const* arguments, Order order) {
    m.kernel = &kernel;
    m.arguments = arguments;
    m.order = order;
    static uint64_t launches = 0;
    m.random = order.seed + ++launches * 0x9E3779B97F4A7C15u;
    m.error.clear();
    m.dirty = true;
    grid_size = grid;
    block_size = block;
    m.threads = unsigned(block.count());
    dynamic_shared = nullptr;
    if (dynamic_bytes && posix_memalign(reinterpret_cast<void**>(&dynamic_shared), 128, dynamic_bytes)) return "no memory";
    ASAN(m.host_bottom = nullptr;)
    TSAN(m.tsan_host = __tsan_get_current_fiber();)
    place_threads();
    run_grid(dynamic_bytes);
    TSAN(__tsan_acquire(&m.end_tag);)
    std::free(dynamic_shared); // of its exact size: ASan sees its end
    if (!m.error.empty()) {
        m.idles = 0; // stacks in an unknown state leak
        TSAN(for (auto& fiber : m.tsan_thread) fiber = nullptr;)
    }
    return m.error;
}

} // namespace emu
