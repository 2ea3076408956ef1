// The stand-in driver's memory: host memory with an edge on either side. What is fresh reads as NaN.
#include "driver.hpp"

#include <cstdlib>

using namespace driver;

namespace {

#ifdef EMU_ASAN
constexpr size_t EDGE = 0; // ASan watches both ends of an allocation of exact size
#else
constexpr size_t EDGE = 256;
#endif
constexpr unsigned char EDGE_BYTE = 0xed;

bool is_edge(const unsigned char* place) {
    for (size_t i = 0; i < EDGE; ++i)
        if (place[i] != EDGE_BYTE) return false;
    return true;
}

void copy(void* to, const void* from, size_t bytes) {
#ifdef EMU_TSAN
    emu::copy_unseen(to, from, bytes); // the caller's own synchronisation is not visible to TSan
#else
    std::memmove(to, from, bytes);
#endif
}

void fill(Pointer place, const void* pattern, size_t width, size_t count) {
    auto* const bytes = reinterpret_cast<unsigned char*>(place);
    for (size_t i = 0; i < count; ++i) copy(bytes + i * width, pattern, width);
}

int allocate(Device& device, Pointer* place, size_t bytes) {
    *place = 0;
    if (!bytes) return INVALID_VALUE;
    void* start = nullptr;
    if (fails_here("alloc", ++state().allocations)) return OUT_OF_MEMORY;
    if (bytes > state().settings.memory - device.used) return OUT_OF_MEMORY;
    if (posix_memalign(&start, 256, bytes + 2 * EDGE)) return OUT_OF_MEMORY;
    auto* const first = static_cast<unsigned char*>(start);
    emu::fill_unseen(first, EDGE_BYTE, EDGE);
    emu::fill_unseen(first + EDGE, 0xff, bytes);
    emu::fill_unseen(first + EDGE + bytes, EDGE_BYTE, EDGE);
    *place = reinterpret_cast<Pointer>(first + EDGE);
    state().blocks[*place] = {bytes, &device};
    device.used += bytes;
    return SUCCESS;
}

int release(Pointer place) {
    if (!place) return SUCCESS;
    const auto found = state().blocks.find(place);
    if (found == state().blocks.end()) return INVALID_VALUE;
    drain(*found->second.device);
    if (!guards_intact(place, found->second)) return ILLEGAL_ADDRESS;
    found->second.device->used -= found->second.bytes;
    state().blocks.erase(found);
    std::free(reinterpret_cast<unsigned char*>(place) - EDGE);
    return SUCCESS;
}

bool is_pinned(Pointer place) {
    const auto after = state().pinned.upper_bound(place);
    return after != state().pinned.begin() && place - std::prev(after)->first < std::prev(after)->second;
}

// A copy, counted, with those of its ends checked that lie on the device. Host memory that is not pinned is read before the call
// returns, and written.
int transfer(const Call& call, Pointer to, bool to_device, Pointer from, bool from_device, size_t bytes, void* stream) {
    if (!call) return call.error();
    if (!bytes) return SUCCESS;
    if (to_device && !block_of(to, bytes)) return INVALID_VALUE;
    if (from_device && !block_of(from, bytes)) return INVALID_VALUE;
    if (!to || !from) return INVALID_VALUE;
    const Kind kind = from_device && to_device ? Kind::Copy : to_device ? Kind::Upload : Kind::Download;
    if (!to_device && records(stream) && !is_pinned(to)) return spoil(stream);
    std::shared_ptr<unsigned char[]> staged;
    if (!from_device && deferred(stream) && !is_pinned(from)) {
        if (records(stream)) return spoil(stream); // where from should it copy when it runs?
        staged.reset(new unsigned char[bytes]);
        copy(staged.get(), reinterpret_cast<const void*>(from), bytes);
    }
    const int error = enqueue(call.device(), stream, kind, [=](Device& device) {
        const void* source = staged ? staged.get() : reinterpret_cast<const void*>(from);
        if (fails_here("copy", ++state().copies))
            device.fault = ILLEGAL_ADDRESS;
        else
            copy(reinterpret_cast<void*>(to), source, bytes);
    });
    if (!to_device && !records(stream) && !is_pinned(to)) drain(call.device());
    return error;
}
// The same, waited for.
int transfer_now(const Call& call, Pointer to, bool to_device, Pointer from, bool from_device, size_t bytes) {
    if (call)
        if (const int error = forbid_capture()) return error;
    const int error = transfer(call, to, to_device, from, from_device, bytes, nullptr);
    return error ? error : synchronise(call.device());
}

int set(const Call& call, Pointer place, const void* pattern, size_t width, size_t count, void* stream) {
    if (!call) return call.error();
    if (!count) return SUCCESS;
    if (place % width || !block_of(place, width * count)) return INVALID_VALUE;
    uint32_t value = 0;
    std::memcpy(&value, pattern, width);
    return enqueue(call.device(), stream, Kind::Fill, [=](Device&) { fill(place, &value, width, count); });
}

Pointer address(const void* place) { return reinterpret_cast<Pointer>(place); }

} // namespace

namespace driver {

const Block* block_of(Pointer place, size_t bytes, Pointer* start) {
    const auto after = state().blocks.upper_bound(place);
    if (after == state().blocks.begin()) return nullptr;
    const auto& [first, block] = *std::prev(after);
    if (place - first > block.bytes || bytes > block.bytes - (place - first)) return nullptr;
    if (start) *start = first;
    return &block;
}

bool guards_intact(Pointer start, const Block& block) {
    auto* const first = reinterpret_cast<const unsigned char*>(start);
    if (is_edge(first - EDGE) && is_edge(first + block.bytes)) return true;
    std::fprintf(stderr, "emulator: something was written beside a block of %zu bytes\n", block.bytes);
    return false;
}

} // namespace driver

API cuMemAlloc_v2(Pointer* place, size_t bytes) {
    const Call call;
    if (!call) return call.error();
    if (const int error = forbid_strict_capture()) return error;
    return allocate(call.device(), place, bytes);
}
API cuMemFree_v2(Pointer place) {
    const Call call;
    if (!call) return call.error();
    if (const int error = forbid_capture()) return error;
    return release(place);
}
API cuMemAllocAsync(Pointer* place, size_t bytes, void* stream) {
    const Call call;
    if (!call) return call.error();
    return records(stream) ? int(STREAM_CAPTURE_UNSUPPORTED) : allocate(call.device(), place, bytes);
}
API cuMemFreeAsync(Pointer place, void* stream) {
    const Call call;
    if (!call) return call.error();
    return records(stream) ? int(STREAM_CAPTURE_UNSUPPORTED) : release(place);
}
API cuMemGetInfo_v2(size_t* free, size_t* total) {
    const Call call;
    if (!call) return call.error();
    *total = state().settings.memory;
    *free = *total - call.device().used;
    return SUCCESS;
}
API cuMemAllocHost_v2(void** place, size_t bytes) {
    const Call call;
    if (!call) return call.error();
    if (const int error = forbid_strict_capture()) return error;
    if (!bytes) return INVALID_VALUE;
    if (fails_here("pin", ++state().pinnings)) return OUT_OF_MEMORY;
    if (posix_memalign(place, 4096, bytes)) return OUT_OF_MEMORY;
    state().pinned[address(*place)] = bytes;
    return SUCCESS;
}
API cuMemHostAlloc(void** place, size_t bytes, unsigned) { return cuMemAllocHost_v2(place, bytes); }
static int unpin(void* place) {
    const std::lock_guard guard(state().lock);
    if (const int error = forbid_capture()) return error;
    for (const auto& device : state().devices) drain(*device);
    return state().pinned.erase(address(place)) ? SUCCESS : INVALID_VALUE;
}
API cuMemFreeHost(void* place) {
    const int error = unpin(place);
    if (!error) std::free(place);
    return error;
}
API cuMemHostRegister_v2(void* place, size_t bytes, unsigned) {
    const Call call;
    if (call) state().pinned[address(place)] = bytes;
    return call.error();
}
API cuMemHostUnregister(void* place) { return unpin(place); }

API cuMemcpyHtoD_v2(Pointer to, const void* from, size_t bytes) { return transfer_now(Call(), to, true, address(from), false, bytes); }
API cuMemcpyDtoH_v2(void* to, Pointer from, size_t bytes) { return transfer_now(Call(), address(to), false, from, true, bytes); }
API cuMemcpyDtoD_v2(Pointer to, Pointer from, size_t bytes) { return transfer_now(Call(), to, true, from, true, bytes); }
API cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, void* stream) { return transfer(Call(), to, true, address(from), false, bytes, stream); }
API cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, void* stream) { return transfer(Call(), address(to), false, from, true, bytes, stream); }
API cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void* stream) { return transfer(Call(), to, true, from, true, bytes, stream); }
API cuMemcpyPeer(Pointer to, void*, Pointer from, void*, size_t bytes) { return cuMemcpyDtoD_v2(to, from, bytes); }
API cuMemcpyPeerAsync(Pointer to, void*, Pointer from, void*, size_t bytes, void* stream) { return cuMemcpyDtoDAsync_v2(to, from, bytes, stream); }

API cuMemsetD8Async(Pointer place, unsigned char value, size_t count, void* stream) { return set(Call(), place, &value, 1, count, stream); }
API cuMemsetD16Async(Pointer place, unsigned short value, size_t count, void* stream) { return set(Call(), place, &value, 2, count, stream); }
API cuMemsetD32Async(Pointer place, unsigned value, size_t count, void* stream) { return set(Call(), place, &value, 4, count, stream); }
API cuMemsetD8_v2(Pointer place, unsigned char value, size_t count) { return cuMemsetD8Async(place, value, count, nullptr); }
API cuMemsetD16_v2(Pointer place, unsigned short value, size_t count) { return cuMemsetD16Async(place, value, count, nullptr); }
API cuMemsetD32_v2(Pointer place, unsigned value, size_t count) { return cuMemsetD32Async(place, value, count, nullptr); }
