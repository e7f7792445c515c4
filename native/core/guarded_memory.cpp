#include "core/guarded_memory.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <mutex>
#include <ucontext.h>

// From guarded_access.S. Each returns the number of bytes that are left to do.
extern "C" {
std::size_t gm_guarded_copy(void* to, const void* from, std::size_t length);
std::size_t gm_guarded_fill(void* to, std::uint8_t value, std::size_t length);
// The instructions that may fault, and where to go on when one of them does.
extern const char gm_guarded_begin[], gm_guarded_end[], gm_guarded_fault[];
}

namespace gm {
namespace {

struct sigaction previous_sigbus, previous_sigsegv;

bool step_over(ucontext_t* context) {
#if defined(__x86_64__)
    auto& pc = context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    auto& pc = context->uc_mcontext.pc;
#else
#error "the fault guard knows x86-64 and aarch64"
#endif
    const auto at = static_cast<std::uintptr_t>(pc);
    if (at < reinterpret_cast<std::uintptr_t>(gm_guarded_begin))
        return false;
    if (at >= reinterpret_cast<std::uintptr_t>(gm_guarded_end))
        return false;
    pc = static_cast<std::remove_reference_t<decltype(pc)>>(reinterpret_cast<std::uintptr_t>(gm_guarded_fault));
    return true;
}

void pass_on(const struct sigaction& previous, int signal, siginfo_t* info, void* context) {
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler == SIG_IGN && info->si_code <= 0) {
        // Sent by a process and ignored before us: still ignored.
    } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
        // Nobody handled it before us. Without a handler the same instruction faults again, and the kernel ends the
        // process as if we had never been there. A signal sent by kill() does not come again by itself, so raise it.
        struct sigaction dfl{};
        dfl.sa_handler = SIG_DFL;
        ::sigaction(signal, &dfl, nullptr);
        if (info->si_code <= 0)
            ::raise(signal);
    } else {
        previous.sa_handler(signal);
    }
}

void on_fault(int signal, siginfo_t* info, void* context) {
    if (info->si_code > 0 && step_over(static_cast<ucontext_t*>(context)))
        return;
    pass_on(signal == SIGBUS ? previous_sigbus : previous_sigsegv, signal, info, context);
}

} // namespace

void install_memory_guard() {
    static std::once_flag once;
    std::call_once(once, [] {
        // The old action is read before ours is in place: a fault on another thread must never find it unset.
        ::sigaction(SIGBUS, nullptr, &previous_sigbus);
        ::sigaction(SIGSEGV, nullptr, &previous_sigsegv);
        struct sigaction ours{};
        ours.sa_sigaction = on_fault;
        sigemptyset(&ours.sa_mask);
        // SA_ONSTACK: a handler before us may rely on its alternate stack (stack overflow); ours does not mind.
        ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
        ::sigaction(SIGBUS, &ours, nullptr);
        ::sigaction(SIGSEGV, &ours, nullptr);
    });
}

GuardedOutcome guarded_copy(void* to, const void* from, std::size_t length) {
    std::size_t left = gm_guarded_copy(to, from, length);
    // Copies go 16 bytes at a time; fewer than that go one by one, up to the very byte that faults.
    if (left > 0) {
        const std::size_t done = length - left;
        const std::size_t tail = std::min<std::size_t>(left, 15);
        left -= tail - gm_guarded_copy(static_cast<char*>(to) + done, static_cast<const char*>(from) + done, tail);
    }
    return {.done = length - left, .faulted = left != 0};
}

GuardedOutcome guarded_fill(void* to, std::uint8_t value, std::size_t length) {
    std::size_t left = gm_guarded_fill(to, value, length);
    if (left > 0) {
        const std::size_t tail = std::min<std::size_t>(left, 15);
        left -= tail - gm_guarded_fill(static_cast<char*>(to) + (length - left), value, tail);
    }
    return {.done = length - left, .faulted = left != 0};
}

GuardedOutcome guarded_compare(const void* memory, const void* expected, std::size_t length) {
    // Through a copy: then one piece of assembly is all that may touch the memory, and memcmp() stays the C library's.
    alignas(64) char chunk[4096];
    const char* at = static_cast<const char*>(memory);
    const char* want = static_cast<const char*>(expected);
    for (std::size_t done = 0; done < length;) {
        const std::size_t step = std::min(sizeof chunk, length - done);
        const GuardedOutcome copied = guarded_copy(chunk, at + done, step);
        if (std::memcmp(chunk, want + done, copied.done) != 0) {
            const auto differing = std::mismatch(chunk, chunk + copied.done, want + done).first;
            return {.done = done + static_cast<std::size_t>(differing - chunk), .equal = false};
        }
        done += copied.done;
        if (copied.faulted)
            return {.done = done, .faulted = true};
    }
    return {.done = length};
}

} // namespace gm
