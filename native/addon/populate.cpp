#include "addon/call.hpp"

#include "core/populate.hpp"

namespace gm {
namespace {

/// (mapping, offset, length, page size, threads, processors, PopulateMethod, callback())
Napi::Value start(const Call& call) {
    const Mapping& mapping = call.mapping(0);
    const std::uint64_t offset = call.u64(1), length = call.u64(2);
    if (!mapping.contains(offset, length))
        throw Napi::RangeError::New(call.env(), "range outside the mapping");
    const auto cpus = call.array<std::uint32_t>(5);
    napi_threadsafe_function function = nullptr;
    call.check(napi_create_threadsafe_function(
        call.env(), call.value(7), nullptr, Napi::String::New(call.env(), "guest-memfd prealloc"), 0, 1, nullptr,
        nullptr, nullptr,
        [](napi_env env, napi_value callback, void*, void*) {
            napi_value undefined;
            if (!env || !callback || napi_get_undefined(env, &undefined) != napi_ok)
                return; // the environment is ending
            napi_call_function(env, undefined, callback, 0, nullptr, nullptr);
        },
        &function));
    auto job =
        Populate::start(mapping,
                        {.offset = offset,
                         .length = length,
                         .page_size = call.u64(3),
                         .threads = call.u32(4),
                         .cpus = {cpus.begin(), cpus.end()},
                         .method = static_cast<PopulateMethod>(call.u32(6))},
                        [function] {
                            // A closing function has let go of this thread already; releasing it again would be
                            // one too many.
                            if (napi_call_threadsafe_function(function, nullptr, napi_tsfn_nonblocking) != napi_closing)
                                napi_release_threadsafe_function(function, napi_tsfn_release);
                        });
    if (!job.ok())
        napi_release_threadsafe_function(function, napi_tsfn_release);
    return call.give(std::move(job));
}

Napi::Value progress(const Call& call) { return call.give(static_cast<double>(call.object<Populate>(0).done())); }

Napi::Value cancel(const Call& call) {
    call.object<Populate>(0).cancel();
    return call.give(0);
}

/// (job, three 64-bit words: bytes done, where it failed, 1 when the pages were touched one by one): 0 or the errno.
Napi::Value outcome(const Call& call) {
    const PopulateOutcome outcome = call.object<Populate>(0).outcome();
    const auto out = call.array<std::uint64_t>(1);
    const std::uint64_t words[] = {outcome.done, outcome.error_offset, outcome.touched};
    std::copy_n(words, std::min(std::size(words), out.size()), out.begin());
    return call.give(outcome.status);
}

/// (processors)
Napi::Value affinity(const Call& call) {
    const auto cpus = call.array<std::uint32_t>(0);
    return call.give(probe_affinity({cpus.begin(), cpus.end()}));
}

constexpr Export exports[] = {
    {"populateStart", start},     {"populateProgress", progress}, {"populateCancel", cancel},
    {"populateOutcome", outcome}, {"probeAffinity", affinity},
};

} // namespace

std::span<const Export> populate_exports() { return exports; }

} // namespace gm
