#include "addon/call.hpp"

namespace gm {
namespace {

Napi::Value open(const Call& call) {
    return call.give(Kvm::open(call.value(0).As<Napi::String>().Utf8Value().c_str()));
}

Napi::Value api_version(const Call& call) { return call.give(call.object<Kvm>(0).api_version()); }

Napi::Value check_extension(const Call& call) { return call.give(call.object<Kvm>(0).check_extension(call.u32(1))); }

Napi::Value vcpu_mmap_size(const Call& call) { return call.give(call.object<Kvm>(0).vcpu_mmap_size()); }

Napi::Value supported_cpuid(const Call& call) {
    const auto list = call.array<std::uint8_t>(1);
    return call.give(call.object<Kvm>(0).supported_cpuid(list.data(), list.size()));
}

Napi::Value create_vm(const Call& call) { return call.give(call.object<Kvm>(0).create_vm(call.u64(1))); }

constexpr Export exports[] = {
    {"kvmOpen", open},
    {"kvmApiVersion", api_version},
    {"kvmCheckExtension", check_extension},
    {"kvmSupportedCpuid", supported_cpuid},
    {"kvmVcpuMmapSize", vcpu_mmap_size},
    {"kvmCreateVm", create_vm},
};

} // namespace

std::span<const Export> kvm_exports() { return exports; }

} // namespace gm
