#include "addon/call.hpp"

#include <array>
#include <csignal>
#include <cstring>
#include <deque>
#include <new>
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

/// An exported function, with the environment that it works in.
struct Bound {
    Function function;
    Environment& environment;
};

/// What one Node environment has of this addon.
struct Module {
    explicit Module(Napi::Env env) : environment(env) {}
    Environment environment;
    std::deque<Bound> functions; // JavaScript's functions lead here, so they must not move
};

/// What JavaScript calls with the data of an exported function. Node-API itself, without the layers that
/// Napi::Function puts around it: they would be a fifth of a short call.
napi_value invoke(napi_env env, napi_callback_info info) {
    std::array<napi_value, most_arguments> arguments;
    std::size_t count = arguments.size();
    void* data = nullptr;
    if (napi_get_cb_info(env, info, &count, arguments.data(), nullptr, &data) != napi_ok)
        return nullptr;
    const auto& bound = *static_cast<Bound*>(data);
    try {
        return bound.function(Call(env, bound.environment, arguments));
    } catch (const Napi::Error& error) {
        error.ThrowAsJavaScriptException();
        return nullptr;
    } catch (const std::bad_alloc&) {
        // An exception that nobody catches would end the process; memory that the addon cannot have is an error.
        napi_throw_error(env, "ENOMEM", "the addon cannot have the memory that it takes");
        return nullptr;
    }
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
    auto* module = new Module(env);
    env.SetInstanceData(module);
    for (const auto list : {std::span<const Export>(own_exports), kvm_exports(), vm_exports(), conversion_exports(),
                            guest_memfd_exports(), mapping_exports(), memory_file_exports(), populate_exports(),
                            raw_exports(), vcpu_exports()}) {
        for (const Export& entry : list) {
            Bound& bound = module->functions.emplace_back(Bound{entry.function, module->environment});
            napi_value function = nullptr;
            if (napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, invoke, &bound, &function) != napi_ok)
                throw Napi::Error::New(env);
            exports.Set(entry.name, function);
        }
    }
    return exports;
}

} // namespace

NODE_API_MODULE(guest_memfd, initialise)

} // namespace gm
