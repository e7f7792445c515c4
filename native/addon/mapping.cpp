#include "addon/call.hpp"

namespace gm {
namespace {

/// (fd or -1, offset, length, protection, flags, alignment, 1 for a guard page, a word to be filled with the address)
Napi::Value map(const Call& call) {
    auto mapping = Mapping::map({.fd = call.i32(0),
                                 .offset = call.u64(1),
                                 .length = call.u64(2),
                                 .protection = call.i32(3),
                                 .flags = call.i32(4),
                                 .alignment = call.u64(5),
                                 .guard = call.u32(6) != 0});
    if (!mapping.ok())
        return call.give(-mapping.error);
    auto entry = std::make_shared<MappingEntry>();
    entry->mapping = std::move(*mapping);
    call.array<std::uintptr_t>(7).front() = reinterpret_cast<std::uintptr_t>(entry->mapping->base());
    return call.give(call.environment().add(std::move(entry)));
}

/// A range that lib/kvm has checked must lie inside once more: this is the last place before the memory.
void require_inside(const Call& call, const Mapping& mapping, std::uint64_t offset, std::uint64_t length) {
    if (!mapping.contains(offset, length))
        throw Napi::RangeError::New(call.env(), "range outside the mapping");
}

Napi::Value read(const Call& call) {
    const Mapping& mapping = call.mapping(0);
    const std::uint64_t offset = call.u64(1);
    const auto bytes = call.array<std::uint8_t>(2);
    require_inside(call, mapping, offset, bytes.size());
    return call.give(static_cast<double>(mapping.read(offset, bytes.data(), bytes.size()).done));
}

Napi::Value write(const Call& call) {
    const Mapping& mapping = call.mapping(0);
    const std::uint64_t offset = call.u64(1);
    const auto bytes = call.array<std::uint8_t>(2);
    require_inside(call, mapping, offset, bytes.size());
    return call.give(static_cast<double>(mapping.write(offset, bytes.data(), bytes.size()).done));
}

Napi::Value fill(const Call& call) {
    const Mapping& mapping = call.mapping(0);
    require_inside(call, mapping, call.u64(1), call.u64(2));
    const auto value = static_cast<std::uint8_t>(call.u32(3));
    return call.give(static_cast<double>(mapping.fill(call.u64(1), value, call.u64(2)).done));
}

/// The number of equal bytes, or -1 minus that number when the next one could not be accessed.
Napi::Value compare(const Call& call) {
    const Mapping& mapping = call.mapping(0);
    const auto bytes = call.array<std::uint8_t>(2);
    require_inside(call, mapping, call.u64(1), bytes.size());
    const GuardedOutcome outcome = mapping.compare(call.u64(1), bytes.data(), bytes.size());
    const auto done = static_cast<double>(outcome.done);
    return call.give(outcome.faulted ? -1 - done : done);
}

Napi::Value advise(const Call& call) {
    const Mapping& mapping = call.mapping(0);
    require_inside(call, mapping, call.u64(1), call.u64(2));
    return call.give(mapping.advise(call.u64(1), call.u64(2), call.i32(3)));
}

Napi::Value protect(const Call& call) {
    const Mapping& mapping = call.mapping(0);
    require_inside(call, mapping, call.u64(1), call.u64(2));
    return call.give(mapping.protect(call.u64(1), call.u64(2), call.i32(3)));
}

/// (mapping, offset, length, mode, flags, node mask as 64-bit words)
Napi::Value bind(const Call& call) {
    const Mapping& mapping = call.mapping(0);
    require_inside(call, mapping, call.u64(1), call.u64(2));
    const auto words = call.array<std::uint64_t>(5);
    return call.give(mapping.bind(call.u64(1), call.u64(2), call.i32(3), {words.begin(), words.end()}, call.u32(4)));
}

/// Fills the first word with the mode and the others with the node mask.
Napi::Value policy(const Call& call) {
    const Mapping& mapping = call.mapping(0);
    require_inside(call, mapping, call.u64(1), 1);
    const auto out = call.array<std::uint64_t>(2);
    int mode = 0;
    std::vector<std::uint64_t> nodes;
    const Status status = mapping.policy(call.u64(1), mode, nodes);
    if (status < 0)
        return call.give(status);
    out[0] = static_cast<std::uint64_t>(mode);
    std::copy_n(nodes.begin(), std::min(nodes.size(), out.size() - 1), out.begin() + 1);
    return call.give(0);
}

Napi::Value residency(const Call& call) {
    const Mapping& mapping = call.mapping(0);
    require_inside(call, mapping, call.u64(1), call.u64(2));
    return call.give(mapping.residency(call.u64(1), call.u64(2), call.array<std::uint8_t>(3).data()));
}

Napi::Value nodes(const Call& call) {
    const auto out = call.array<std::int32_t>(2);
    return call.give(call.mapping(0).nodes(call.u64(1), out.size(), out.data()));
}

Napi::Value seal(const Call& call) {
    Mapping& mapping = call.mapping(0);
    require_inside(call, mapping, call.u64(1), call.u64(2));
    return call.give(mapping.seal(call.u64(1), call.u64(2)));
}

/// (mapping, offset, length): a handle, whose kind pinKind tells.
Napi::Value pin(const Call& call) {
    const Mapping& mapping = call.mapping(0);
    require_inside(call, mapping, call.u64(1), call.u64(2));
    return call.give(PagePin::pin(mapping, call.u64(1), call.u64(2)));
}

Napi::Value pin_kind(const Call& call) { return call.give(static_cast<double>(call.object<PagePin>(0).kind())); }

Napi::Value fork_child(const Call& call) { return call.give(ForkedChild::fork(call.mapping(0))); }

/// (child, offset): the byte there, or -EFAULT. lib/kvm has checked that it lies inside.
Napi::Value child_load(const Call& call) {
    return call.give(static_cast<double>(call.object<ForkedChild>(0).load(call.u64(1))));
}

Napi::Value child_store(const Call& call) {
    return call.give(
        static_cast<double>(call.object<ForkedChild>(0).store(call.u64(1), static_cast<std::uint8_t>(call.u32(2)))));
}

/// (mapping, number of the view, offset, length): an ArrayBuffer over the memory itself.
Napi::Value view(const Call& call) {
    MappingEntry& entry = call.object<MappingEntry>(0);
    const std::uint64_t offset = call.u64(2), length = call.u64(3);
    require_inside(call, *entry.mapping, offset, length);
    auto view = std::make_shared<View>(entry.mapping->range());
    entry.views[call.u32(1)] = view;
    auto* owner = new std::shared_ptr<View>(std::move(view));
    napi_value buffer = nullptr;
    const napi_status status = napi_create_external_arraybuffer(
        call.env(), entry.mapping->base() + offset, length,
        [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<View>*>(hint); }, owner, &buffer);
    if (status == napi_no_external_buffers_allowed) {
        delete owner;
        Napi::Error error = Napi::Error::New(
            call.env(), "this JavaScript engine allows no memory from outside; use read() and write() instead");
        error.Set("code", Napi::String::New(call.env(), "ERR_NO_EXTERNAL_BUFFERS"));
        throw error;
    }
    call.check(status);
    return {call.env(), buffer};
}

/// (mapping, number of the view, its ArrayBuffer): true when no JavaScript can reach the memory through it any more.
Napi::Value detach_view(const Call& call) {
    MappingEntry& entry = call.object<MappingEntry>(0);
    const auto found = entry.views.find(call.u32(1));
    if (found == entry.views.end())
        return Napi::Boolean::New(call.env(), true);
    const auto view = found->second.lock();
    bool gone = !view;
    if (view && call.value(2).IsArrayBuffer()) {
        auto buffer = call.value(2).As<Napi::ArrayBuffer>();
        // One that is detached already was transferred: its memory lives on under another ArrayBuffer.
        if (!buffer.IsDetached()) {
            buffer.Detach();
            view->discount();
            gone = true;
        }
    }
    if (gone)
        entry.views.erase(found);
    return Napi::Boolean::New(call.env(), gone);
}

constexpr Export exports[] = {
    {"map", map},
    {"mappingRead", read},
    {"mappingWrite", write},
    {"mappingFill", fill},
    {"mappingCompare", compare},
    {"mappingAdvise", advise},
    {"mappingProtect", protect},
    {"mappingBind", bind},
    {"mappingPolicy", policy},
    {"mappingResidency", residency},
    {"mappingNodes", nodes},
    {"mappingSeal", seal},
    {"mappingPin", pin},
    {"pinKind", pin_kind},
    {"mappingForkChild", fork_child},
    {"childLoad", child_load},
    {"childStore", child_store},
    {"mappingView", view},
    {"mappingDetachView", detach_view},
};

} // namespace

std::span<const Export> mapping_exports() { return exports; }

} // namespace gm
