#include "addon/call.hpp"

#include "core/conversion.hpp"

#include <vector>

namespace gm {
namespace {

constexpr std::size_t words_per_step = 5;

ConversionStep decode(const Call& call, std::span<const std::uint64_t> words) {
    Environment& environment = call.environment();
    const auto handle = static_cast<std::uint32_t>(words[1]);
    const std::uint64_t offset = words[2], length = words[3], value = words[4];
    switch (words[0]) {
    case 0:
        return SetVmAttributes{&environment.get<Vm>(call.env(), handle), offset, length, value};
    case 1:
        return SetFileAttributes{&environment.get<GuestMemfd>(call.env(), handle), offset, length, value};
    case 2:
        return PunchHole{&environment.get<GuestMemfd>(call.env(), handle), offset, length};
    case 3: {
        const Mapping& mapping = *environment.get<MappingEntry>(call.env(), handle).mapping;
        if (!mapping.contains(offset, length))
            throw Napi::RangeError::New(call.env(), "range outside the mapping");
        return Advise{&mapping, offset, length, static_cast<int>(value)};
    }
    default:
        throw Napi::RangeError::New(call.env(), "no such step");
    }
}

/// (steps of five words each: kind, handle, offset, length, value; an outcome of two: steps done, error offset).
/// All steps are decoded before the first is done.
Napi::Value convert_steps(const Call& call) {
    const auto words = call.array<std::uint64_t>(0);
    std::vector<ConversionStep> steps;
    steps.reserve(words.size() / words_per_step);
    for (std::size_t at = 0; at + words_per_step <= words.size(); at += words_per_step)
        steps.push_back(decode(call, words.subspan(at, words_per_step)));
    const ConversionOutcome outcome = convert(steps);
    const auto out = call.array<std::uint64_t>(1);
    out[0] = outcome.done;
    out[1] = outcome.error_offset;
    return call.give(outcome.status);
}

constexpr Export exports[] = {{"convert", convert_steps}};

} // namespace

std::span<const Export> conversion_exports() { return exports; }

} // namespace gm
