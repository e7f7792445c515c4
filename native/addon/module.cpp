#include "addon/call.hpp"

#include <csignal>
#include <cstring>
#include <sys/prctl.h>
#include <unistd.h>

// From native/guest, the one of this architecture.
extern "C" const std::uint8_t gm_guest_begin[], gm_guest_end[];

namespace gm {
namespace {

Napi::Value close(const Call& call) { return call.give(call.environment().close(call.u32(0))); }

Napi::Value fd(const Call& call) { return call.give(call.environment().fd_of(call.env(), call.u32(0))); }

Napi::Value guest_program(const Call& call) {
    const auto size = static_cast<std::size_t>(gm_guest_end - gm_guest_begin);
    auto bytes = Napi::Uint8Array::New(call.env(), size);
    if (size > 0)
        std::memcpy(bytes.Data(), gm_guest_begin, size);
    return bytes;
}

Napi::Value page_size(const Call& call) { return call.give(static_cast<double>(::sysconf(_SC_PAGESIZE))); }

/// PR_SET_PDEATHSIG: the suite's worker process must not outlive its parent, not even one that is killed.
Napi::Value die_with_parent(const Call& call) { return call.give(status_of(::prctl(PR_SET_PDEATHSIG, SIGKILL))); }

constexpr Export own_exports[] = {
    {"close", close},
    {"fd", fd},
    {"guestProgram", guest_program},
    {"pageSize", page_size},
    {"dieWithParent", die_with_parent},
};

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
    auto* environment = new Environment(env);
    env.SetInstanceData(environment);
    for (const auto list : {std::span<const Export>(own_exports), kvm_exports(), vm_exports(), conversion_exports(),
                            guest_memfd_exports(), mapping_exports(), memory_file_exports(), populate_exports(),
                            raw_exports(), vcpu_exports()}) {
        for (const Export& entry : list) {
            exports.Set(
                entry.name,
                Napi::Function::New(
                    env, [function = entry.function](const Napi::CallbackInfo& info) { return function(Call(info)); },
                    entry.name, environment));
        }
    }
    return exports;
}

} // namespace

NODE_API_MODULE(guest_memfd, initialise)

} // namespace gm
