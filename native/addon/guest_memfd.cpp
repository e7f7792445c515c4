#include "addon/call.hpp"

namespace gm {
namespace {

Napi::Value fallocate(const Call& call) {
    return call.give(call.object<GuestMemfd>(0).fallocate(call.i32(1), call.u64(2), call.u64(3)));
}

Napi::Value facts(const Call& call) { return give_facts(call, call.object<GuestMemfd>(0).facts()); }

Napi::Value set_memory_attributes(const Call& call) {
    const AttributesOutcome outcome =
        call.object<GuestMemfd>(0).set_memory_attributes(call.u64(1), call.u64(2), call.u64(3), call.u64(4));
    call.array<std::uint64_t>(5)[0] = outcome.error_offset;
    return call.give(outcome.status);
}

Napi::Value probe_memory_attributes(const Call& call) {
    return call.give(call.object<GuestMemfd>(0).probe_memory_attributes());
}

constexpr Export exports[] = {
    {"guestMemfdFallocate", fallocate},
    {"guestMemfdFacts", facts},
    {"guestMemfdSetMemoryAttributes", set_memory_attributes},
    {"guestMemfdProbeMemoryAttributes", probe_memory_attributes},
};

} // namespace

std::span<const Export> guest_memfd_exports() { return exports; }

} // namespace gm
