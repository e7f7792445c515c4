#pragma once

#include "core/kvm.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

// One executable a subject, one function a property. A test that fails says where and ends: what follows would only be
// noise.

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                               \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (false)

#define CHECK_EQUAL(got, expected)                                                                                     \
    do {                                                                                                               \
        const auto got_value = static_cast<long long>(got);                                                            \
        const auto expected_value = static_cast<long long>(expected);                                                  \
        if (got_value != expected_value) {                                                                             \
            std::fprintf(stderr, "%s:%d: %s is %lld, expected %lld\n", __FILE__, __LINE__, #got, got_value,            \
                         expected_value);                                                                              \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (false)

#define RUN(test)                                                                                                      \
    do {                                                                                                               \
        test();                                                                                                        \
        std::printf("ok %s\n", #test);                                                                                 \
        std::fflush(stdout);                                                                                           \
    } while (false)

/// Opens the device, or skips the whole executable with the reason (a failure with GMEM_REQUIRE_KVM=1).
inline std::shared_ptr<gm::Kvm> require_kvm() {
    auto kvm = gm::Kvm::open("/dev/kvm");
    if (kvm.ok())
        return *kvm;
    const char* required = std::getenv("GMEM_REQUIRE_KVM");
    const bool fail = required && std::strcmp(required, "1") == 0;
    std::printf("%s: /dev/kvm: %s\n", fail ? "failed" : "skipped", std::strerror(kvm.error));
    std::exit(fail ? 1 : 77);
}
