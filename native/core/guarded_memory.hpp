#pragma once

#include <cstddef>
#include <cstdint>

namespace gm {

/// How far a guarded operation came. `done` equals the length asked for unless a page could not be accessed.
struct GuardedOutcome {
    std::size_t done;
    /// For compare: false when the byte at `done` differs. Copy and fill leave it true.
    bool equal = true;
    /// True when the access at `done` would have ended the process with SIGBUS or SIGSEGV.
    bool faulted = false;
};

/// Copies, fills and compares that end, rather than kill the process, at a page that cannot be accessed: private
/// guest_memfd memory, beyond the end of a file, poisoned, or protected.
///
/// The accesses are a few instructions of assembly. The process's SIGBUS and SIGSEGV handler recognises a fault at just
/// those instructions and steps over it; every other fault goes to the handler that was installed before.
/// It needs no per-thread state, and costs nothing where nothing faults.
void install_memory_guard();
[[nodiscard]] GuardedOutcome guarded_copy(void* to, const void* from, std::size_t length);
[[nodiscard]] GuardedOutcome guarded_fill(void* to, std::uint8_t value, std::size_t length);
[[nodiscard]] GuardedOutcome guarded_compare(const void* memory, const void* expected, std::size_t length);

} // namespace gm
