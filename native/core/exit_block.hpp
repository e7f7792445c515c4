#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace gm {

// What JavaScript is told of an exit: the head of kvm_run, then the data of an I/O exit (lib/kvm/exits.ts has the same
// numbers).
constexpr std::size_t exit_head = 256;
constexpr std::size_t exit_io_data_max = 1024;

/// Copies an exit out of a vCPU's kvm_run mapping. I/O data is where the kernel says that it is, and as long: of what
/// does not lie in the mapping nothing is copied. Blocks that are too small stay as they are.
void publish_exit(std::span<const std::uint8_t> run_page, std::span<std::uint8_t> block);

} // namespace gm
