#include "addon/call.hpp"

#include "core/exit_block.hpp"

#include <cmath>
#include <cstring>

namespace gm {
namespace {

/// (vm, id, exit block)
Napi::Value create(const Call& call) {
    auto vcpu = Vcpu::create(call.environment().share<Vm>(call.env(), call.u32(0)), call.u32(1));
    if (!vcpu.ok())
        return call.give(-vcpu.error);
    auto entry = std::make_shared<VcpuEntry>();
    entry->vcpu = std::move(*vcpu);
    entry->exit_block = Napi::Persistent(call.value(2).As<Napi::Uint8Array>());
    entry->exit_bytes = call.array<std::uint8_t>(2);
    return call.give(call.environment().add(std::move(entry)));
}

void publish(const VcpuEntry& entry) {
    const auto page = entry.vcpu->run_page();
    publish_exit({reinterpret_cast<const std::uint8_t*>(page.data()), page.size()}, entry.exit_bytes);
}

std::uint64_t nanoseconds(double milliseconds) {
    return milliseconds > 0 && std::isfinite(milliseconds) ? static_cast<std::uint64_t>(milliseconds * 1e6) : 0;
}

/// (vcpu, timeout in milliseconds, 0 for none): RunEnd or a negative errno.
Napi::Value run(const Call& call) {
    const VcpuEntry& entry = call.object<VcpuEntry>(0);
    const int result = entry.vcpu->run(nanoseconds(call.number(1)));
    publish(entry);
    return call.give(result);
}

/// (vcpu, timeout, callback(result))
Napi::Value run_async(const Call& call) {
    const auto entry = call.environment().share<VcpuEntry>(call.env(), call.u32(0));
    // One thread-safe function a run: it lives just as long as Node must wait for the vCPU.
    auto* context = new std::shared_ptr<VcpuEntry>(entry);
    napi_threadsafe_function function = nullptr;
    const napi_status made = napi_create_threadsafe_function(
        call.env(), call.value(2), nullptr, Napi::String::New(call.env(), "guest-memfd vCPU"), 0, 1, nullptr,
        [](napi_env, void*, void* held) { delete static_cast<std::shared_ptr<VcpuEntry>*>(held); }, context,
        [](napi_env env, napi_value callback, void* held, void* data) {
            if (!env || !callback)
                return; // the environment is ending
            const VcpuEntry& ended = **static_cast<std::shared_ptr<VcpuEntry>*>(held);
            if (!ended.exit_block.IsEmpty())
                publish(ended);
            napi_value undefined, result;
            if (napi_get_undefined(env, &undefined) != napi_ok)
                return;
            if (napi_create_int32(env, static_cast<std::int32_t>(reinterpret_cast<std::intptr_t>(data)), &result) !=
                napi_ok)
                return;
            napi_call_function(env, undefined, callback, 1, &result, nullptr);
        },
        &function);
    if (made != napi_ok)
        delete context;
    call.check(made);
    const Status status = entry->vcpu->run_async(nanoseconds(call.number(1)), [function](int result) {
        // A closing function has let go of this thread already; releasing it again would be one too many.
        const napi_status called = napi_call_threadsafe_function(
            function, reinterpret_cast<void*>(static_cast<std::intptr_t>(result)), napi_tsfn_nonblocking);
        if (called != napi_closing)
            napi_release_threadsafe_function(function, napi_tsfn_release);
    });
    if (status < 0)
        napi_release_threadsafe_function(function, napi_tsfn_release);
    return call.give(status);
}

Napi::Value stop(const Call& call) {
    call.object<VcpuEntry>(0).vcpu->stop();
    return call.give(0);
}

/// (vcpu, struct kvm_cpuid2 with its leaves)
Napi::Value set_cpuid(const Call& call) {
    const auto list = call.array<std::uint8_t>(1);
    return call.give(call.object<VcpuEntry>(0).vcpu->set_cpuid(list.data(), list.size()));
}

/// (vcpu, VcpuState, bytes of the struct)
Napi::Value transfer(const Call& call) {
    const auto bytes = call.array<std::uint8_t>(2);
    return call.give(
        call.object<VcpuEntry>(0).vcpu->transfer(static_cast<VcpuState>(call.u32(1) & 3), bytes.data(), bytes.size()));
}

/// (vcpu, offset in kvm_run, bytes): answers to I/O, MMIO and hypercall exits.
Napi::Value write_run(const Call& call) {
    const auto page = call.object<VcpuEntry>(0).vcpu->run_page();
    const std::uint64_t offset = call.u64(1);
    const auto bytes = call.array<std::uint8_t>(2);
    if (offset > page.size() || bytes.size() > page.size() - offset)
        throw Napi::RangeError::New(call.env(), "range outside kvm_run");
    std::memcpy(page.data() + offset, bytes.data(), bytes.size());
    return call.give(0);
}

/// (vcpu, gpa, size, flags, two words for what is left)
Napi::Value pre_fault(const Call& call) {
    const PreFaultOutcome outcome = call.object<VcpuEntry>(0).vcpu->pre_fault(call.u64(1), call.u64(2), call.u64(3));
    const auto left = call.array<std::uint64_t>(4);
    left[0] = outcome.gpa;
    left[1] = outcome.size;
    return call.give(outcome.status);
}

constexpr Export exports[] = {
    {"vcpuCreate", create},      {"vcpuRun", run},           {"vcpuRunAsync", run_async}, {"vcpuStop", stop},
    {"vcpuSetCpuid", set_cpuid}, {"vcpuTransfer", transfer}, {"vcpuWriteRun", write_run}, {"vcpuPreFault", pre_fault},
};

} // namespace

std::span<const Export> vcpu_exports() { return exports; }

} // namespace gm
