#pragma once

#include "core/forked_child.hpp"
#include "core/guest_memfd.hpp"
#include "core/kvm.hpp"
#include "core/mapping.hpp"
#include "core/memory_file.hpp"
#include "core/page_pin.hpp"
#include "core/populate.hpp"
#include "core/vcpu.hpp"
#include "core/vm.hpp"

#include <cstdint>
#include <memory>
#include <napi.h>
#include <unordered_map>
#include <variant>

namespace gm {

/// One ArrayBuffer over a mapping: among range->views from here until it is detached or gone. The finalizer of its
/// backing store owns it.
class View {
  public:
    explicit View(std::shared_ptr<AddressRange> range) : range_(std::move(range)) { range_->views++; }
    View(const View&) = delete;
    View& operator=(const View&) = delete;
    ~View() { discount(); }

    void discount() {
        if (counted_)
            range_->views--;
        counted_ = false;
    }

  private:
    std::shared_ptr<AddressRange> range_;
    bool counted_ = true;
};

/// A mapping with the views that JavaScript made of it, by the number JavaScript gave them.
struct MappingEntry {
    std::shared_ptr<Mapping> mapping;
    std::unordered_map<std::uint32_t, std::weak_ptr<View>> views;
};

/// A vCPU with the block of JavaScript memory into which each exit is copied.
struct VcpuEntry {
    std::shared_ptr<Vcpu> vcpu;
    Napi::Reference<Napi::Uint8Array> exit_block;
    std::span<std::uint8_t> exit_bytes;
};

/// What the addon keeps for one Node environment (the main thread or a worker): its open objects, by handle.
///
/// JavaScript holds numbers, because a free function with numbers costs half of a wrapped object's method. Handles are
/// never used twice, so a stale one is an error and cannot name somebody else's object.
class Environment {
  public:
    using Object = std::variant<std::shared_ptr<Kvm>, std::shared_ptr<Vm>, std::shared_ptr<GuestMemfd>,
                                std::shared_ptr<MappingEntry>, std::shared_ptr<MemoryFile>, std::shared_ptr<PagePin>,
                                std::shared_ptr<Populate>, std::shared_ptr<ForkedChild>, std::shared_ptr<VcpuEntry>>;

    explicit Environment(Napi::Env env);
    /// Stops and joins every vCPU, closes everything: called while the environment can still run finalizers.
    void close_all();

    double add(Object object);
    /// Forgets a handle and closes its object; 0, or a negative errno.
    Status close(std::uint32_t handle);
    [[nodiscard]] int fd_of(Napi::Env env, std::uint32_t handle);

    template <typename T> T& get(Napi::Env env, std::uint32_t handle) { return *share<T>(env, handle); }
    template <typename T> const std::shared_ptr<T>& share(Napi::Env env, std::uint32_t handle) {
        if (const Object* found = find(handle)) {
            if (auto* object = std::get_if<std::shared_ptr<T>>(found))
                return *object;
        }
        throw_unknown_handle(env);
    }

  private:
    /// Most calls are for the object of the call before: a comparison instead of a division by a prime.
    Object* find(std::uint32_t handle) {
        if (handle == latest_handle_)
            return latest_;
        const auto found = objects_.find(handle);
        if (found == objects_.end())
            return nullptr;
        latest_handle_ = handle;
        return latest_ = &found->second;
    }
    [[noreturn]] static void throw_unknown_handle(Napi::Env env);

    void forget_latest() {
        latest_handle_ = 0;
        latest_ = nullptr;
    }

    std::unordered_map<std::uint32_t, Object> objects_;
    std::uint32_t next_ = 1;
    std::uint32_t latest_handle_ = 0; ///< 0, which is no handle, or that of `latest_`
    Object* latest_ = nullptr;        ///< its place in the map does not move
};

} // namespace gm
