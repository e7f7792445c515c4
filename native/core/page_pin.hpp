#pragma once

#include "core/fd.hpp"
#include "core/mapping.hpp"
#include "core/result.hpp"

#include <cstdint>
#include <memory>

namespace gm {

/// Holds the pages of a range as a device that does DMA would: the kernel's references stay until the pin is closed,
/// whatever becomes of the mapping.
class PagePin {
  public:
    enum class Kind {
        registered_buffer, ///< io_uring's fixed buffers: pinned for long, as for DMA
        pipe,              ///< vmsplice(): referenced by a pipe that nobody reads
    };

    /// Pins by io_uring, and where that is not to be had (compiled out, switched off, over RLIMIT_MEMLOCK) by
    /// vmsplice(). -EFAULT where a page cannot be accessed.
    static Result<std::shared_ptr<PagePin>> pin(const Mapping& mapping, std::uint64_t offset, std::uint64_t length);

    PagePin(Kind kind, Fd fd, Fd other = {}) : kind_(kind), fd_(std::move(fd)), other_(std::move(other)) {}
    PagePin(const PagePin&) = delete;
    PagePin& operator=(const PagePin&) = delete;
    ~PagePin() { close(); }

    [[nodiscard]] Kind kind() const { return kind_; }
    void close();

  private:
    Kind kind_;
    Fd fd_, other_;
};

} // namespace gm
