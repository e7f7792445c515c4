#include "addon/environment.hpp"

namespace gm {
namespace {

Status close_object(Kvm& kvm) {
    kvm.close();
    return 0;
}
Status close_object(Vm& vm) {
    vm.close();
    return 0;
}
Status close_object(GuestMemfd& guest_memfd) {
    guest_memfd.close();
    return 0;
}
Status close_object(ForkedChild& child) {
    child.close();
    return 0;
}
Status close_object(PagePin& pin) {
    pin.close();
    return 0;
}
Status close_object(MemoryFile& file) {
    file.close();
    return 0;
}
Status close_object(Populate& job) {
    job.close();
    return 0;
}
Status close_object(MappingEntry& entry) { return entry.mapping->close(); }
Status close_object(VcpuEntry& entry) {
    entry.exit_block.Reset();
    return entry.vcpu->close();
}

} // namespace

Environment::Environment(Napi::Env env) {
    // A cleanup hook, not the instance data's destructor: Node runs all hooks before it frees the thread-safe functions
    // that vCPU and preallocation threads call, so joining the threads here is what makes a worker's end safe.
    env.AddCleanupHook([this] { close_all(); });
}

void Environment::close_all() {
    for (auto& [handle, object] : objects_) {
        if (auto* entry = std::get_if<std::shared_ptr<VcpuEntry>>(&object))
            (void)close_object(**entry);
        if (auto* job = std::get_if<std::shared_ptr<Populate>>(&object))
            (void)close_object(**job);
    }
    for (auto& [handle, object] : objects_) {
        std::visit([](auto& held) { (void)close_object(*held); }, object);
    }
    forget_latest();
    objects_.clear();
}

double Environment::add(Object object) {
    const std::uint32_t handle = next_++;
    objects_.emplace(handle, std::move(object));
    return handle;
}

Status Environment::close(std::uint32_t handle) {
    forget_latest();
    auto node = objects_.extract(handle);
    if (node.empty())
        return 0;
    return std::visit([](auto& held) { return close_object(*held); }, node.mapped());
}

int Environment::fd_of(Napi::Env env, std::uint32_t handle) {
    if (const Object* found = find(handle)) {
        if (auto* kvm = std::get_if<std::shared_ptr<Kvm>>(found))
            return (*kvm)->fd();
        if (auto* vm = std::get_if<std::shared_ptr<Vm>>(found))
            return (*vm)->fd();
        if (auto* gmem = std::get_if<std::shared_ptr<GuestMemfd>>(found))
            return (*gmem)->fd();
        if (auto* file = std::get_if<std::shared_ptr<MemoryFile>>(found))
            return (*file)->fd();
        if (auto* vcpu = std::get_if<std::shared_ptr<VcpuEntry>>(found))
            return (*vcpu)->vcpu->fd();
    }
    throw_unknown_handle(env);
}

void Environment::throw_unknown_handle(Napi::Env env) {
    Napi::Error error = Napi::Error::New(env, "no such open object; lib/kvm checks this before it calls");
    error.Set("code", Napi::String::New(env, "ERR_INVALID_STATE"));
    throw error;
}

} // namespace gm
