#include "addon/call.hpp"

#include "core/memory_file.hpp"

namespace gm {
namespace {

/// (path, flags, mode)
Napi::Value open(const Call& call) {
    return call.give(MemoryFile::open(call.text(0).c_str(), call.i32(1), call.u32(2)));
}

/// (name, flags)
Napi::Value memfd(const Call& call) { return call.give(MemoryFile::memfd(call.text(0).c_str(), call.u32(1))); }

Napi::Value shared_memory(const Call& call) { return call.give(MemoryFile::shared_memory()); }

Napi::Value resize(const Call& call) { return call.give(call.object<MemoryFile>(0).resize(call.u64(1))); }

Napi::Value add_seals(const Call& call) { return call.give(call.object<MemoryFile>(0).add_seals(call.i32(1))); }

Napi::Value fallocate(const Call& call) {
    return call.give(call.object<MemoryFile>(0).fallocate(call.i32(1), call.u64(2), call.u64(3)));
}

Napi::Value facts(const Call& call) { return give_facts(call, call.object<MemoryFile>(0).facts()); }

constexpr Export exports[] = {
    {"memoryFileOpen", open},     {"memoryFileMemfd", memfd},        {"memoryFileShared", shared_memory},
    {"memoryFileResize", resize}, {"memoryFileAddSeals", add_seals}, {"memoryFileFallocate", fallocate},
    {"memoryFileFacts", facts},
};

} // namespace

std::span<const Export> memory_file_exports() { return exports; }

} // namespace gm
