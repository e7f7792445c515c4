#include "core/exit_block.hpp"

#include "uapi/kvm.hpp"

#include <algorithm>
#include <cstring>

namespace gm {

void publish_exit(std::span<const std::uint8_t> run_page, std::span<std::uint8_t> block) {
    if (block.size() < exit_head + exit_io_data_max || run_page.size() < std::max(exit_head, sizeof(uapi::kvm_run)))
        return;
    std::memcpy(block.data(), run_page.data(), exit_head);
    uapi::kvm_run run;
    std::memcpy(&run, run_page.data(), sizeof run);
    if (run.exit_reason != uapi::KVM_EXIT_IO)
        return;
    const std::size_t length = std::min<std::size_t>(exit_io_data_max, std::size_t{run.io.size} * run.io.count);
    const std::uint64_t offset = run.io.data_offset;
    if (offset > run_page.size() || length > run_page.size() - offset)
        return;
    std::memcpy(block.data() + exit_head, run_page.data() + offset, length);
}

} // namespace gm
