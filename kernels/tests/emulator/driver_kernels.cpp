// The stand-in driver's modules and launches. A module is PTX text: only its list of entries is used, and each must be a
// kernel that is compiled in, with the same parameters, so that PTX that was not regenerated is found.
#include "driver.hpp"

#include <cstdlib>

using namespace driver;

namespace {

struct Entry {
    std::vector<unsigned> parameters; // their sizes
    unsigned max_threads = 1024;
};
struct Function {
    const emu::Kernel* kernel;
    Entry entry;
    unsigned dynamic_limit;
};
struct Module {
    std::map<std::string, Entry, std::less<>> entries;
    std::map<std::string, std::unique_ptr<Function>, std::less<>> functions;
};

constexpr unsigned DYNAMIC_DEFAULT = 48 << 10;

unsigned dynamic_most() { return state().settings.capability >= 80 ? 163 << 10 : 64 << 10; }

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '.'; }

// The next word of PTX: a name or number, or one other character; empty at the end.
std::string_view word(std::string_view& text) {
    while (!text.empty()) {
        if (text.starts_with("//"))
            text.remove_prefix(std::min(text.find('\n'), text.size()));
        else if (std::isspace(static_cast<unsigned char>(text[0])))
            text.remove_prefix(1);
        else
            break;
    }
    size_t length = 0;
    while (length < text.size() && is_name(text[length])) ++length;
    if (!length && !text.empty()) length = 1;
    const std::string_view found = text.substr(0, length);
    text.remove_prefix(length);
    return found;
}

unsigned number(std::string_view text) { return unsigned(std::strtoul(std::string(text).c_str(), nullptr, 10)); }

// `.param .u64 name` or `.param .align 8 .b8 name[24]`, up to the closing parenthesis.
std::vector<unsigned> read_parameters(std::string_view& text) {
    std::vector<unsigned> sizes;
    for (auto w = word(text); w != ")" && !w.empty(); w = word(text)) {
        if (w == ".param") sizes.push_back(0);
        if (sizes.empty()) continue;
        if (w == ".align") word(text);
        else if (w.size() > 2 && w[0] == '.' && std::strchr("busf", w[1])) sizes.back() = number(w.substr(2)) / 8;
        else if (w == "[") sizes.back() *= number(word(text));
    }
    return sizes;
}

void read_entries(std::string_view text, Module& module) {
    for (size_t at; (at = text.find(".entry")) != std::string_view::npos;) {
        text.remove_prefix(at + 6);
        const std::string name(word(text));
        Entry entry;
        if (word(text) == "(") entry.parameters = read_parameters(text);
        for (auto w = word(text); w != "{" && !w.empty(); w = word(text))
            if (w == ".maxntid") entry.max_threads = number(word(text));
        module.entries.emplace(name, entry);
    }
}

// Highest PTX version that the driver we stand for (12.0) takes.
bool version_known(std::string_view text) {
    std::string_view rest = text.substr(text.find(".version") + 8);
    return std::atof(std::string(word(rest)).c_str()) <= 8.0;
}

std::vector<unsigned> sizes_of(const emu::Kernel& kernel) {
    std::vector<unsigned> sizes;
    for (const auto& argument : kernel.arguments) sizes.push_back(argument.size);
    return sizes;
}

int complain(const char* what, std::string_view kernel) {
    std::fprintf(stderr, "emulator: kernel %.*s: %s\n", int(kernel.size()), kernel.data(), what);
    return NOT_FOUND;
}

// Where a pointer argument's block starts; a kernel must not be given host memory.
bool pointers_valid(const emu::Kernel& kernel, void* const* arguments, const Device& device) {
    for (size_t i = 0; i < kernel.arguments.size(); ++i) {
        Pointer place = 0;
        if (!kernel.arguments[i].pointer) continue;
        std::memcpy(&place, arguments[i], sizeof place);
        const Block* const block = place ? block_of(place, 0) : nullptr;
        if (!place || (block && block->device == &device)) continue;
        std::fprintf(stderr, "emulator: kernel %s: argument %zu is not memory of device %d\n", kernel.name.data(), i, device.index);
        return false;
    }
    return true;
}

bool edges_intact(const emu::Kernel& kernel, void* const* arguments) {
    for (size_t i = 0; i < kernel.arguments.size(); ++i) {
        Pointer place = 0, start = 0;
        if (!kernel.arguments[i].pointer) continue;
        std::memcpy(&place, arguments[i], sizeof place);
        const Block* const block = place ? block_of(place, 0, &start) : nullptr;
        if (!block || guards_intact(start, *block)) continue;
        std::fprintf(stderr, "emulator: kernel %s did so, through argument %zu\n", kernel.name.data(), i);
        return false;
    }
    return true;
}

void run(Device& device, const emu::Kernel& kernel, dim3 grid, dim3 block, unsigned dynamic_bytes, void* const* arguments) {
    if (state().settings.trace)
        std::fprintf(stderr, "emulator: %s<<<(%u,%u,%u), (%u,%u,%u), %u>>>\n", kernel.name.data(), grid.x, grid.y, grid.z, block.x,
                     block.y, block.z, dynamic_bytes);
    if (fails_here("launch", ++state().launches)) {
        device.fault = LAUNCH_FAILED;
        return;
    }
    if (!pointers_valid(kernel, arguments, device)) {
        device.fault = ILLEGAL_ADDRESS;
        return;
    }
    const std::string error = emu::launch(kernel, grid, block, dynamic_bytes, arguments, state().settings.order);
    if (!error.empty()) {
        std::fprintf(stderr, "emulator: kernel %s: %s\n", kernel.name.data(), error.c_str());
        device.fault = LAUNCH_FAILED;
    } else if (!edges_intact(kernel, arguments)) {
        device.fault = ILLEGAL_ADDRESS;
    }
}

// Arguments that outlive the call.
struct Arguments {
    std::vector<std::vector<unsigned char>> bytes;
    std::vector<void*> pointers;
    Arguments(const emu::Kernel& kernel, void* const* arguments) {
        for (size_t i = 0; i < kernel.arguments.size(); ++i) {
            auto* const from = static_cast<const unsigned char*>(arguments[i]);
            bytes.emplace_back(from, from + kernel.arguments[i].size);
        }
        for (auto& argument : bytes) pointers.push_back(argument.data());
    }
};

} // namespace

API cuModuleLoadData(Module** module, const void* image) {
    const Call call;
    if (!call) return call.error();
    if (!image) return INVALID_VALUE;
    const std::string_view text = static_cast<const char*>(image);
    if (text.starts_with("\x7f" "ELF") || text.find(".version") == std::string_view::npos) return INVALID_IMAGE;
    if (!version_known(text)) return UNSUPPORTED_PTX_VERSION;
    auto loaded = std::make_unique<Module>();
    read_entries(text, *loaded);
    *module = loaded.release();
    return SUCCESS;
}
API cuModuleLoadDataEx(Module** module, const void* image, unsigned, int*, void**) { return cuModuleLoadData(module, image); }
API cuModuleUnload(Module* module) {
    const Call call;
    if (call) drain(call.device());
    delete module;
    return SUCCESS;
}

API cuModuleGetFunction(Function** function, Module* module, const char* name) {
    const Call call;
    if (!call) return call.error();
    if (!module || !name) return INVALID_VALUE;
    const auto entry = module->entries.find(std::string_view(name));
    if (entry == module->entries.end()) return complain("not in the PTX", name);
    const emu::Kernel* const kernel = emu::find_kernel(name);
    if (!kernel) return complain("in the PTX, but not in the emulator: rebuild it (scripts/cuda-emulator)", name);
    if (sizes_of(*kernel) != entry->second.parameters) return complain("its PTX has other parameters: regenerate it (scripts/cuda-kernels)", name);
    auto& slot = module->functions[name];
    if (!slot) slot.reset(new Function{kernel, entry->second, DYNAMIC_DEFAULT});
    *function = slot.get();
    return SUCCESS;
}

API cuFuncGetAttribute(int* value, int which, Function* function) {
    if (!function) return INVALID_HANDLE;
    switch (which) {
    case 0: *value = int(function->entry.max_threads); break;
    case 5: *value = 70; break;                          // PTX version
    case 6: *value = state().settings.capability; break; // binary version
    case 8: *value = int(function->dynamic_limit); break;
    default: *value = 0;
    }
    return SUCCESS;
}
API cuFuncSetAttribute(Function* function, int which, int value) {
    if (!function) return INVALID_HANDLE;
    if (which != 8) return SUCCESS;
    if (value < 0 || unsigned(value) > dynamic_most()) return INVALID_VALUE;
    function->dynamic_limit = unsigned(value);
    return SUCCESS;
}
API cuFuncSetCacheConfig(Function*, int) { return SUCCESS; }
// Size of a parameter: lets tests hold launchers to their kernels.
API cuFuncGetParamInfo(Function* function, size_t index, size_t* offset, size_t* size) {
    if (!function || index >= function->entry.parameters.size()) return INVALID_VALUE;
    if (offset) *offset = 0;
    if (size) *size = function->entry.parameters[index];
    return SUCCESS;
}
API cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function* function, int threads, size_t) {
    if (!function || threads <= 0) return INVALID_VALUE;
    *blocks = 2048 / threads;
    return SUCCESS;
}

API cuLaunchKernel(Function* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned dynamic_bytes,
                   void* stream, void** arguments, void** extra) {
    const Call call;
    if (!call) return call.error();
    if (!function) return INVALID_HANDLE;
    const emu::Kernel& kernel = *function->kernel;
    const dim3 grid(gx, gy, gz), block(bx, by, bz);
    if (extra || (!arguments && !kernel.arguments.empty())) return INVALID_VALUE;
    for (size_t i = 0; i < kernel.arguments.size(); ++i)
        if (!arguments[i]) return INVALID_VALUE;
    if (!grid.count() || gx > 0x7fffffff || gy > 65535 || gz > 65535) return INVALID_VALUE;
    if (!block.count() || block.count() > 1024 || bx > 1024 || by > 1024 || bz > 64) return INVALID_VALUE;
    if (block.count() > function->entry.max_threads) return LAUNCH_OUT_OF_RESOURCES;
    if (dynamic_bytes > function->dynamic_limit) return INVALID_VALUE;
    if (state().settings.skip) return SUCCESS;
    if (!deferred(stream))
        return enqueue(call.device(), stream, Kind::Kernel, [&](Device& device) { run(device, kernel, grid, block, dynamic_bytes, arguments); });
    auto kept = std::make_shared<Arguments>(kernel, arguments);
    return enqueue(call.device(), stream, Kind::Kernel, [=, &kernel](Device& device) { run(device, kernel, grid, block, dynamic_bytes, kept->pointers.data()); });
}
