#pragma once

#include "core/fd.hpp"
#include "core/mapping.hpp"
#include "core/result.hpp"

#include <cstdint>
#include <memory>
#include <sys/types.h>

namespace gm {

/// A child of this process, made by fork(), that touches a mapping it inherited when it is told to: what another
/// process sees of memory that this one converts. It makes system calls and guarded accesses only, for it is the copy
/// of one thread of many. It holds copies of all file descriptors until it is closed.
class ForkedChild {
  public:
    static Result<std::shared_ptr<ForkedChild>> fork(const Mapping& mapping);
    ForkedChild(pid_t pid, Fd requests, Fd answers)
        : pid_(pid), requests_(std::move(requests)), answers_(std::move(answers)) {}
    ForkedChild(const ForkedChild&) = delete;
    ForkedChild& operator=(const ForkedChild&) = delete;
    ~ForkedChild() { close(); }

    /// The byte at an offset; -EFAULT where the access faults.
    [[nodiscard]] int load(std::uint64_t offset) { return ask({false, 0, offset}); }
    /// 0, or -EFAULT.
    [[nodiscard]] int store(std::uint64_t offset, std::uint8_t value) { return ask({true, value, offset}); }
    /// Ends the child and waits until it is gone.
    void close();

  private:
    struct Request {
        bool is_store;
        std::uint8_t value;
        std::uint64_t offset;
    };
    static void serve(const Mapping& mapping, int requests, int answers);
    [[nodiscard]] int ask(const Request& request);

    pid_t pid_;
    Fd requests_, answers_;
};

} // namespace gm
