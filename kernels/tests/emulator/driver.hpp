// State of the stand-in driver, shared by its parts.
#pragma once
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "machine.hpp"

#define API extern "C" __attribute__((visibility("default"))) int

namespace driver {

using Pointer = unsigned long long; // CUdeviceptr

#define DRIVER_ERRORS(error)                                                                            \
    error(0, SUCCESS, "no error")                                                                       \
    error(1, INVALID_VALUE, "invalid argument")                                                         \
    error(2, OUT_OF_MEMORY, "out of memory")                                                            \
    error(3, NOT_INITIALIZED, "initialization error")                                                   \
    error(100, NO_DEVICE, "no CUDA-capable device is detected")                                         \
    error(101, INVALID_DEVICE, "invalid device ordinal")                                                \
    error(200, INVALID_IMAGE, "device kernel image is invalid")                                         \
    error(201, INVALID_CONTEXT, "invalid device context")                                               \
    error(218, INVALID_PTX, "a PTX JIT compilation failed")                                             \
    error(222, UNSUPPORTED_PTX_VERSION, "the provided PTX was compiled with an unsupported toolchain.") \
    error(400, INVALID_HANDLE, "invalid resource handle")                                               \
    error(500, NOT_FOUND, "named symbol not found")                                                     \
    error(600, NOT_READY, "device not ready")                                                           \
    error(700, ILLEGAL_ADDRESS, "an illegal memory access was encountered")                             \
    error(701, LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch")                      \
    error(719, LAUNCH_FAILED, "unspecified launch failure")                                             \
    error(801, NOT_SUPPORTED, "operation not supported")                                                \
    error(900, STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing")          \
    error(901, STREAM_CAPTURE_INVALIDATED, "operation failed due to a previous error during capture")   \
    error(906, STREAM_CAPTURE_IMPLICIT, "operation would make the legacy stream depend on a capturing blocking stream") \
    error(907, CAPTURED_EVENT, "operation not permitted on an event last recorded in a capturing stream")             \
    error(910, GRAPH_EXEC_UPDATE_FAILURE, "the graph update was not performed because it included changes which violated constraints specific to instantiated graph update")
enum Error {
#define DRIVER_ERROR(code, name, text) name = code,
    DRIVER_ERRORS(DRIVER_ERROR)
#undef DRIVER_ERROR
};

// What the environment asks for, read at cuInit.
struct Settings {
    int devices = 1;               // FERROTAPE_EMULATED_DEVICES
    size_t memory = size_t(4) << 30; // FERROTAPE_EMULATED_MEMORY, bytes a device
    int capability = 80;           // FERROTAPE_EMULATED_CAPABILITY, 10 * major + minor
    emu::Order order;              // FERROTAPE_EMULATED_ORDER = forward | reverse | random[:seed]
    std::string fault_kind;        // FERROTAPE_EMULATED_FAULT = launch:N | copy:N | alloc:N | pin:N, counted from 1
    uint64_t fault_at = 0;
    bool trace = false;            // FERROTAPE_EMULATED_TRACE=1 names each launch on stderr
    bool lazy = false;             // FERROTAPE_EMULATED_LAZY=1: work is done when somebody waits for it, not before
    bool skip = false;             // FERROTAPE_EMULATED_SKIP=1: kernels are launched, but not run, to measure what a launch costs
};

// One device, which is its primary context, too.
struct Device {
    int index = 0;
    size_t used = 0;
    int fault = 0;        // what an asynchronous operation has met
    bool noticed = false; // from the next synchronisation on every call returns it
    std::deque<std::function<void(Device&)>> queue; // what a lazy device has yet to do
};

struct Block {
    size_t bytes;
    Device* device;
};

// What a node of a graph is: an update must find each at its place.
enum class Kind { Kernel, Upload, Download, Copy, Fill, Other };
struct Node {
    Kind kind;
    std::function<void(Device&)> work;
};
struct Graph {
    std::vector<Node> nodes;
};
struct Stream {
    Device* device;
    std::unique_ptr<Graph> captured; // while it records
    bool invalidated = false;
    bool relaxed = false;
};
struct Event {
    Device* device;
    unsigned flags;
    bool recorded = false;
    bool captured = false; // recorded last by a stream that records: there is nothing to wait for
    std::chrono::steady_clock::time_point time{};
};

struct State {
    std::recursive_mutex lock;
    bool initialised = false;
    Settings settings;
    std::vector<std::unique_ptr<Device>> devices;
    std::map<Pointer, Block> blocks; // device memory
    std::map<Pointer, size_t> pinned; // host memory that copies use directly
    uint64_t launches = 0, copies = 0, allocations = 0, pinnings = 0;
    int capturing = 0; // streams that record
    int strictly = 0;  // those that forbid others to allocate meanwhile
};
State& state();
Device*& current_device();

// The lock, the current context and the errors that any call may return.
class Call {
  public:
    Call();
    explicit operator bool() const { return error_ == SUCCESS; }
    int error() const { return error_; }
    Device& device() const { return *device_; }

  private:
    std::lock_guard<std::recursive_mutex> guard_;
    Device* device_;
    int error_;
};

// True, once, if this was the operation to fail.
bool fails_here(const char* kind, uint64_t count);
// Runs or records work; a device that has met a fault does none.
int enqueue(Device& device, void* stream, Kind kind, std::function<void(Device&)> work);
// True while the stream records.
bool records(void* stream);
// True if what is enqueued now runs after the call that enqueues it.
bool deferred(void* stream);
// Does all that waits to be done.
void drain(Device& device);
// Waits for the device: its fault, if it has met one.
int synchronise(Device& device);
// What nobody may do while a stream records: waiting for the device, freeing memory that what was recorded may yet use.
int forbid_capture();
// What nobody may do while a stream records that is not relaxed.
int forbid_strict_capture();
// What does not fit into a recording ends it in an error.
int spoil(void* stream);
// The block that holds all of these bytes, or null.
const Block* block_of(Pointer place, size_t bytes, Pointer* start = nullptr);
// A message if a kernel has written beside this block.
bool guards_intact(Pointer start, const Block& block);

} // namespace driver
