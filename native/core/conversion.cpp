#include "core/conversion.hpp"

#include <fcntl.h>

namespace gm {
namespace {

Status perform(const SetVmAttributes& step, std::uint64_t&) {
    return step.vm->set_memory_attributes(step.address, step.size, step.attributes, 0);
}

Status perform(const SetFileAttributes& step, std::uint64_t& error_offset) {
    const AttributesOutcome outcome = step.file->set_memory_attributes(step.offset, step.size, step.attributes, 0);
    error_offset = outcome.error_offset;
    return outcome.status;
}

Status perform(const PunchHole& step, std::uint64_t&) {
    return fallocate_restarting(step.file->fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, step.offset, step.length);
}

Status perform(const Advise& step, std::uint64_t&) {
    return step.mapping->advise(step.offset, step.length, step.advice);
}

} // namespace

ConversionOutcome convert(std::span<const ConversionStep> steps) {
    ConversionOutcome outcome{};
    for (const ConversionStep& step : steps) {
        outcome.status = std::visit([&](const auto& call) { return perform(call, outcome.error_offset); }, step);
        if (outcome.status < 0)
            break;
        outcome.done++;
    }
    return outcome;
}

} // namespace gm
