#pragma once

#include "core/fd.hpp"
#include "core/memory_file.hpp"
#include "core/result.hpp"

#include <cstdint>

namespace gm {

/// Which file offset in-place conversion stopped at.
struct AttributesOutcome {
    Status status;
    std::uint64_t error_offset;
};

/// A guest_memfd. It holds no reference to its Vm: the kernel's file pins the kernel's VM by itself.
class GuestMemfd {
  public:
    explicit GuestMemfd(Fd fd) : fd_(std::move(fd)) {}

    [[nodiscard]] int fd() const { return fd_.get(); }
    void close() { fd_.close(); }

    [[nodiscard]] Status fallocate(int mode, std::uint64_t offset, std::uint64_t length) const {
        return fallocate_restarting(fd_.get(), mode, offset, length);
    }
    [[nodiscard]] Result<FileFacts> facts() const { return facts_of(fd_.get()); }
    /// The pending KVM_SET_MEMORY_ATTRIBUTES2 (in-place conversion); ENOTTY on every kernel released by November 2026.
    [[nodiscard]] AttributesOutcome set_memory_attributes(std::uint64_t offset, std::uint64_t size,
                                                          std::uint64_t attributes, std::uint64_t flags) const;
    /// The same ioctl with a null argument, which changes nothing: -EFAULT where the kernel has it, -ENOTTY where not.
    [[nodiscard]] Status probe_memory_attributes() const;

  private:
    Fd fd_;
};

} // namespace gm
