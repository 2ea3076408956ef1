// A stand-in for libcuda.so.1: the CUDA driver API on top of the emulated multiprocessor, so that code written against
// the driver runs unchanged on machines without a GPU. This part: devices, contexts, streams, events, graphs, errors.
//
// Work is done when it is enqueued or, lazily, when somebody waits for it: what uses memory too early or lets it go too early
// shows in one of the two. Faults behave as on a device: the call that caused one succeeds, the device does nothing more, the
// next synchronisation returns the fault and so does every call after it.
#include "driver.hpp"

#include <cstdlib>
#include <dlfcn.h>

using namespace driver;

namespace driver {

State& state() {
    static auto& all = *new State; // never destroyed: other threads may call until the process ends
    return all;
}

Device*& current_device() {
    static thread_local Device* current = nullptr;
    return current;
}

namespace {

const char* variable(const char* name, const char* otherwise) {
    const char* value = std::getenv(name);
    return value ? value : otherwise;
}

Settings read_settings() {
    Settings s;
    s.devices = std::atoi(variable("FERROTAPE_EMULATED_DEVICES", "1"));
    s.memory = std::strtoull(variable("FERROTAPE_EMULATED_MEMORY", "4294967296"), nullptr, 10);
    s.capability = std::atoi(variable("FERROTAPE_EMULATED_CAPABILITY", "80"));
    s.trace = *variable("FERROTAPE_EMULATED_TRACE", "0") == '1';
    s.lazy = *variable("FERROTAPE_EMULATED_LAZY", "0") == '1';
    s.skip = *variable("FERROTAPE_EMULATED_SKIP", "0") == '1';
    const std::string order = variable("FERROTAPE_EMULATED_ORDER", "forward");
    if (order == "reverse") s.order.kind = emu::Order::Reverse;
    if (order.starts_with("random")) s.order = {emu::Order::Random, std::strtoull(order.c_str() + std::min<size_t>(7, order.size()), nullptr, 10)};
    const std::string fault = variable("FERROTAPE_EMULATED_FAULT", "");
    if (const size_t colon = fault.find(':'); colon != std::string::npos) {
        s.fault_kind = fault.substr(0, colon);
        s.fault_at = std::strtoull(fault.c_str() + colon + 1, nullptr, 10);
    }
    return s;
}

// A handle of 0, 1 or 2 is one of the default streams.
Stream* stream_of(void* handle) { return uintptr_t(handle) <= 2 ? nullptr : static_cast<Stream*>(handle); }

} // namespace

Call::Call() : guard_(state().lock), device_(current_device()) {
    error_ = !state().initialised ? NOT_INITIALIZED : !device_ ? INVALID_CONTEXT : device_->noticed ? Error(device_->fault) : SUCCESS;
}

bool fails_here(const char* kind, uint64_t count) { return state().settings.fault_at == count && state().settings.fault_kind == kind; }

bool records(void* stream) {
    Stream* const s = stream_of(stream);
    return s && s->captured;
}

int enqueue(Device& device, void* stream, Kind kind, std::function<void(Device&)> work) {
    Stream* const s = stream_of(stream);
    if (s && s->device != &device) return INVALID_HANDLE;
    if (s && s->captured) {
        s->captured->nodes.push_back({kind, std::move(work)});
    } else {
        device.queue.push_back(std::move(work));
        if (!state().settings.lazy) drain(device);
    }
    return SUCCESS;
}

bool deferred(void* stream) { return records(stream) || state().settings.lazy; }

void drain(Device& device) {
    while (!device.queue.empty()) {
        const auto work = std::move(device.queue.front());
        device.queue.pop_front();
        if (!device.fault) work(device);
    }
}

int synchronise(Device& device) {
    drain(device);
    device.noticed = device.fault != 0;
    return device.fault;
}

int forbid_capture() { return state().capturing ? STREAM_CAPTURE_UNSUPPORTED : SUCCESS; }
int forbid_strict_capture() { return state().strictly ? STREAM_CAPTURE_UNSUPPORTED : SUCCESS; }

int spoil(void* stream) {
    stream_of(stream)->invalidated = true;
    return STREAM_CAPTURE_UNSUPPORTED;
}

} // namespace driver

// ---- the driver and its devices ----

API cuInit(unsigned flags) {
    std::lock_guard guard(state().lock);
    if (flags) return INVALID_VALUE;
    if (!state().initialised) {
        state().settings = read_settings();
        for (int i = 0; i < state().settings.devices; ++i) state().devices.push_back(std::make_unique<Device>(Device{i}));
        state().initialised = true;
    }
    return state().devices.empty() ? NO_DEVICE : SUCCESS;
}

// The device of this number.
static int device_at(int index, Device** device) {
    if (!state().initialised) return NOT_INITIALIZED;
    if (index < 0 || size_t(index) >= state().devices.size()) return INVALID_DEVICE;
    *device = state().devices[size_t(index)].get();
    return SUCCESS;
}

API cuDriverGetVersion(int* version) {
    *version = 12000;
    return SUCCESS;
}
API cuDeviceGetCount(int* count) {
    *count = int(state().devices.size());
    return state().initialised ? SUCCESS : NOT_INITIALIZED;
}
API cuDeviceGet(int* handle, int index) {
    Device* device;
    *handle = index;
    return device_at(index, &device);
}
API cuDeviceGetName(char* name, int length, int index) {
    Device* device;
    if (const int error = device_at(index, &device)) return error;
    std::snprintf(name, size_t(length), "Ferrotape CUDA emulator");
    return SUCCESS;
}
API cuDeviceGetUuid_v2(unsigned char* uuid, int index) {
    Device* device;
    if (const int error = device_at(index, &device)) return error;
    std::memset(uuid, index, 16);
    return SUCCESS;
}
API cuDeviceTotalMem_v2(size_t* bytes, int index) {
    Device* device;
    *bytes = state().settings.memory;
    return device_at(index, &device);
}

// Few multiprocessors, so that grids are small and grid-stride loops do turn.
static int attribute(int which) {
    const int capability = state().settings.capability;
    switch (which) {
    case 1: case 2: case 3: return 1024;            // threads of a block; block x, y
    case 4: return 64;                              // block z
    case 5: return 2147483647;                      // grid x
    case 6: case 7: return 65535;                   // grid y, z
    case 8: return 48 << 10;                        // shared memory of a block
    case 9: return 64 << 10;                        // constant memory
    case 10: return 32;                             // warp
    case 12: case 82: return 65536;                 // registers of a block, of a multiprocessor
    case 13: return 1500000;                        // clock, kHz
    case 16: return 4;                              // multiprocessors
    case 18: case 31: case 41: return 1;            // can map host memory, concurrent kernels, unified addressing
    case 36: return 1500000;                        // memory clock, kHz
    case 37: return 1024;                           // memory bus, bits
    case 38: return 4 << 20;                        // L2
    case 39: return 2048;                           // threads of a multiprocessor
    case 40: return 2;                              // copy engines
    case 75: return capability / 10;
    case 76: return capability % 10;
    case 81: return capability >= 80 ? 164 << 10 : 64 << 10; // shared memory of a multiprocessor
    case 97: return capability >= 80 ? 163 << 10 : 64 << 10; // of a block, if asked for
    case 106: return 24;                            // blocks of a multiprocessor
    case 115: return 1;                             // memory pools
    default: return 0;
    }
}
API cuDeviceGetAttribute(int* value, int which, int index) {
    Device* device;
    *value = attribute(which);
    return device_at(index, &device);
}
API cuDeviceComputeCapability(int* major, int* minor, int index) {
    cuDeviceGetAttribute(major, 75, index);
    return cuDeviceGetAttribute(minor, 76, index);
}

// ---- contexts ----

static thread_local std::vector<Device*> pushed;

API cuDevicePrimaryCtxRetain(Device** context, int index) { return device_at(index, context); }
API cuDevicePrimaryCtxRelease_v2(int index) {
    Device* device;
    return device_at(index, &device);
}
API cuCtxSetCurrent(Device* context) {
    current_device() = context;
    return SUCCESS;
}
API cuCtxGetCurrent(Device** context) {
    *context = current_device();
    return SUCCESS;
}
API cuCtxPushCurrent_v2(Device* context) {
    if (!context) return INVALID_CONTEXT;
    pushed.push_back(current_device());
    current_device() = context;
    return SUCCESS;
}
API cuCtxPopCurrent_v2(Device** context) {
    if (pushed.empty()) return INVALID_CONTEXT;
    if (context) *context = current_device();
    current_device() = pushed.back();
    pushed.pop_back();
    return SUCCESS;
}
API cuCtxGetDevice(int* index) {
    const Call call;
    if (call) *index = call.device().index;
    return call.error();
}
API cuCtxSynchronize() {
    const Call call;
    if (!call) return call.error();
    if (const int error = forbid_capture()) return error;
    return synchronise(call.device());
}
API cuCtxGetLimit(size_t* value, int) {
    *value = 0;
    return SUCCESS;
}
API cuCtxSetLimit(int, size_t) { return SUCCESS; }
API cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    *least = *greatest = 0;
    return SUCCESS;
}

// ---- streams ----

API cuStreamCreate(Stream** stream, unsigned) {
    const Call call;
    if (call) *stream = new Stream{&call.device(), nullptr};
    return call.error();
}
API cuStreamCreateWithPriority(Stream** stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
API cuStreamDestroy_v2(Stream* stream) {
    const Call call;
    if (uintptr_t(stream) <= 2) return INVALID_HANDLE;
    if (stream->captured) --state().capturing, state().strictly -= !stream->relaxed;
    delete stream;
    return call.error();
}
API cuStreamSynchronize(Stream* stream) {
    const Call call;
    if (!call) return call.error();
    if (records(stream)) return spoil(stream);
    return synchronise(call.device());
}
API cuStreamQuery(Stream* stream) { return cuStreamSynchronize(stream); }
API cuStreamWaitEvent(Stream* stream, Event* event, unsigned) {
    const Call call;
    if (!call) return call.error();
    if (!event) return INVALID_HANDLE;
    return records(stream) ? spoil(stream) : int(SUCCESS); // recording over several streams is not emulated
}

// Other stand-ins (cublaslt.cpp) compute by it.
API cuLaunchHostFunc(Stream* stream, void (*function)(void*), void* data) {
    const Call call;
    if (!call) return call.error();
    if (!function) return INVALID_VALUE;
    return enqueue(call.device(), stream, Kind::Other, [=](Device&) { function(data); });
}

// ---- events ----

API cuEventCreate(Event** event, unsigned flags) {
    const Call call;
    if (call) *event = new Event{&call.device(), flags};
    return call.error();
}
API cuEventDestroy_v2(Event* event) {
    if (!event) return INVALID_HANDLE;
    std::lock_guard guard(state().lock);
    drain(*event->device);
    delete event;
    return SUCCESS;
}
API cuEventRecord(Event* event, void* stream) {
    const Call call;
    if (!call) return call.error();
    if (!event || event->device != &call.device()) return INVALID_HANDLE;
    event->captured = records(stream);
    if (event->captured) return SUCCESS;
    return enqueue(call.device(), stream, Kind::Other, [event](Device&) {
        event->recorded = true;
        event->time = std::chrono::steady_clock::now();
    });
}
API cuEventSynchronize(Event* event) {
    const Call call;
    if (!call) return call.error();
    if (!event) return INVALID_HANDLE;
    return event->captured ? int(CAPTURED_EVENT) : synchronise(call.device());
}
API cuEventQuery(Event* event) { return cuEventSynchronize(event); }
API cuEventElapsedTime(float* milliseconds, Event* start, Event* end) {
    const Call call;
    if (!call) return call.error();
    constexpr unsigned DISABLE_TIMING = 2;
    if (!start || !end || !start->recorded || !end->recorded || ((start->flags | end->flags) & DISABLE_TIMING)) return INVALID_HANDLE;
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
    return SUCCESS;
}
API cuEventElapsedTime_v2(float* milliseconds, Event* start, Event* end) { return cuEventElapsedTime(milliseconds, start, end); }

// ---- graphs: what a stream records, to be run again ----

API cuStreamBeginCapture_v2(Stream* stream, int mode) {
    constexpr int RELAXED = 2;
    const Call call;
    if (!call) return call.error();
    if (uintptr_t(stream) <= 2) return STREAM_CAPTURE_UNSUPPORTED;
    if (stream->captured) return INVALID_VALUE;
    stream->captured = std::make_unique<Graph>();
    stream->invalidated = false;
    stream->relaxed = mode == RELAXED;
    ++state().capturing;
    state().strictly += !stream->relaxed;
    return SUCCESS;
}
API cuStreamEndCapture(Stream* stream, Graph** graph) {
    const Call call;
    *graph = nullptr;
    if (!call) return call.error();
    if (!records(stream)) return INVALID_VALUE;
    --state().capturing;
    state().strictly -= !stream->relaxed;
    auto recorded = std::move(stream->captured);
    if (stream->invalidated) return STREAM_CAPTURE_INVALIDATED;
    *graph = recorded.release();
    return SUCCESS;
}
API cuStreamIsCapturing(Stream* stream, int* status) {
    const Call call;
    *status = !records(stream) ? 0 : stream->invalidated ? 2 : 1;
    return call.error();
}
API cuGraphGetNodes(Graph* graph, void*, size_t* count) {
    *count = graph->nodes.size();
    return SUCCESS;
}
API cuGraphDestroy(Graph* graph) {
    delete graph;
    return SUCCESS;
}
API cuGraphInstantiateWithFlags(Graph** executable, Graph* graph, unsigned long long) {
    const Call call;
    if (call) *executable = new Graph(*graph);
    return call.error();
}
// Kernels, their arguments and places in memory may change, not how many nodes there are and of which kind.
struct UpdateResult {
    int result;
    void *node, *from;
};
API cuGraphExecUpdate_v2(Graph* executable, Graph* graph, UpdateResult* result) {
    constexpr int DONE = 0, TOPOLOGY_CHANGED = 2, NODE_TYPE_CHANGED = 3;
    const Call call;
    if (!call) return call.error();
    if (!executable || !graph || !result) return INVALID_VALUE;
    *result = {DONE, nullptr, nullptr};
    if (executable->nodes.size() != graph->nodes.size()) result->result = TOPOLOGY_CHANGED;
    for (size_t i = 0; !result->result && i < graph->nodes.size(); ++i)
        if (executable->nodes[i].kind != graph->nodes[i].kind) result->result = NODE_TYPE_CHANGED;
    if (result->result) return GRAPH_EXEC_UPDATE_FAILURE;
    *executable = *graph;
    return SUCCESS;
}
API cuGraphExecDestroy(Graph* executable) { return cuGraphDestroy(executable); }
API cuGraphUpload(Graph*, void*) { return SUCCESS; }
API cuGraphLaunch(Graph* executable, void* stream) {
    const Call call;
    if (!call) return call.error();
    if (!executable) return INVALID_HANDLE;
    for (const auto& node : executable->nodes)
        if (const int error = enqueue(call.device(), stream, node.kind, node.work)) return error;
    return SUCCESS;
}

// ---- errors and entry points ----

static const char* const* words(int error) {
    static const std::map<int, std::pair<const char*, const char*>> all = {
#define DRIVER_ERROR(code, name, text) {code, {code ? "CUDA_ERROR_" #name : "CUDA_SUCCESS", text}},
        DRIVER_ERRORS(DRIVER_ERROR)
#undef DRIVER_ERROR
    };
    const auto found = all.find(error);
    return found == all.end() ? nullptr : &found->second.first;
}
API cuGetErrorName(int error, const char** name) {
    const char* const* found = words(error);
    *name = found ? found[0] : nullptr;
    return found ? SUCCESS : INVALID_VALUE;
}
API cuGetErrorString(int error, const char** text) {
    const char* const* found = words(error);
    *text = found ? found[1] : nullptr;
    return found ? SUCCESS : INVALID_VALUE;
}
API cuGetProcAddress_v2(const char* symbol, void** function, int, uint64_t, int* status) {
    Dl_info self;
    dladdr(reinterpret_cast<void*>(cuInit), &self);
    void* const library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    *function = nullptr;
    for (const char* version : {"_v2", ""})
        if (library && !*function) *function = dlsym(library, (symbol + std::string(version)).c_str());
    if (status) *status = *function ? 0 : 1;
    return *function ? SUCCESS : NOT_FOUND;
}
API cuGetProcAddress(const char* symbol, void** function, int version, uint64_t flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, nullptr);
}
