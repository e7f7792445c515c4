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

/// (any object with a file descriptor, mode, offset, length)
Napi::Value fallocate(const Call& call) {
    const int fd = call.environment().fd_of(call.env(), call.u32(0));
    return call.give(fallocate_restarting(fd, call.i32(1), call.u64(2), call.u64(3)));
}

/// (any object with a file descriptor, seven 64-bit words): the members of FileFacts in order.
Napi::Value facts(const Call& call) {
    Result<FileFacts> facts = facts_of(call.environment().fd_of(call.env(), call.u32(0)));
    if (!facts.ok())
        return call.give(-facts.error);
    const auto out = call.array<std::uint64_t>(1);
    const std::uint64_t words[] = {facts->size, facts->block_size,  facts->blocks,       facts->inode,
                                   facts->mode, facts->file_system, facts->close_on_exec};
    std::copy_n(words, std::min(std::size(words), out.size()), out.begin());
    return call.give(0);
}

constexpr Export exports[] = {
    {"memoryFileOpen", open},     {"memoryFileMemfd", memfd},        {"memoryFileShared", shared_memory},
    {"memoryFileResize", resize}, {"memoryFileAddSeals", add_seals}, {"fileFallocate", fallocate},
    {"fileFacts", facts},
};

} // namespace

std::span<const Export> memory_file_exports() { return exports; }

} // namespace gm
