#include "core/guarded_memory.hpp"

#include "test/check.hpp"

#include <atomic>
#include <csignal>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

/// Two pages of which only the first can be accessed: the second is beyond the end of a file, or protected.
unsigned char* edge(bool beyond_file) {
    void* memory;
    if (beyond_file) {
        const int fd = memfd_create("gm-test", MFD_CLOEXEC);
        CHECK_EQUAL(ftruncate(fd, static_cast<off_t>(page)), 0);
        memory = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
    } else {
        memory = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK_EQUAL(mprotect(static_cast<char*>(memory) + page, page, PROT_NONE), 0);
    }
    CHECK(memory != MAP_FAILED);
    return static_cast<unsigned char*>(memory);
}

void stops_at_the_byte_that_faults() {
    std::vector<unsigned char> buffer(256, 0x33);
    for (const bool beyond_file : {false, true}) {
        unsigned char* memory = edge(beyond_file);
        for (std::size_t before = 0; before <= 70; before++) {
            for (const std::size_t length : {before + 1, before + 15, before + 16, before + 100}) {
                unsigned char* at = memory + page - before;
                const auto in = gm::guarded_copy(buffer.data(), at, length);
                CHECK_EQUAL(in.done, before);
                CHECK(in.faulted);
                const auto out = gm::guarded_copy(at, buffer.data(), length);
                CHECK_EQUAL(out.done, before);
                CHECK(out.faulted);
                const auto filled = gm::guarded_fill(at, 0x44, length);
                CHECK_EQUAL(filled.done, before);
                CHECK(filled.faulted);
                for (std::size_t i = 0; i < before; i++)
                    CHECK_EQUAL(at[i], 0x44);
                std::vector<unsigned char> same(length, 0x44);
                const auto compared = gm::guarded_compare(at, same.data(), length);
                CHECK_EQUAL(compared.done, before);
                CHECK(compared.faulted && compared.equal);
            }
        }
        munmap(memory, 2 * page);
    }
}

void does_what_it_says_where_nothing_faults() {
    std::vector<unsigned char> from(3 * page), to(3 * page);
    for (std::size_t i = 0; i < from.size(); i++)
        from[i] = static_cast<unsigned char>(i * 7);
    for (const std::size_t length :
         {std::size_t{0}, std::size_t{1}, std::size_t{15}, std::size_t{16}, std::size_t{17}, 3 * page}) {
        std::fill(to.begin(), to.end(), 0);
        const auto copied = gm::guarded_copy(to.data(), from.data(), length);
        CHECK(!copied.faulted);
        CHECK_EQUAL(copied.done, length);
        CHECK(std::memcmp(to.data(), from.data(), length) == 0);
        CHECK(gm::guarded_compare(to.data(), from.data(), length).equal);
        CHECK(length == to.size() || to[length] == 0);
    }
    to[2 * page + 5] ^= 1;
    const auto differs = gm::guarded_compare(to.data(), from.data(), 3 * page);
    CHECK(!differs.equal && !differs.faulted);
    CHECK_EQUAL(differs.done, 2 * page + 5);
}

void many_threads_fault_at_once() {
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; i++) {
        threads.emplace_back([i] {
            unsigned char* memory = edge(i % 2 == 0);
            unsigned char buffer[64];
            for (int round = 0; round < 2000; round++) {
                CHECK_EQUAL(gm::guarded_copy(buffer, memory + page - 5, sizeof buffer).done, 5);
                CHECK_EQUAL(gm::guarded_fill(memory + page - 9, 1, 64).done, 9);
            }
            munmap(memory, 2 * page);
        });
    }
    for (std::thread& thread : threads)
        thread.join();
}

/// The exit code of a child that does something, or minus the signal that ended it.
template <typename Action> int in_child(Action action) {
    const pid_t child = fork();
    if (child == 0) {
        action();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void touch(unsigned char* memory) { *static_cast<volatile unsigned char*>(memory + page) = 1; }

} // namespace

// In children, because the guard is installed once per process: before it there must be what is asked about.
static void others_faults_reach_who_was_there_before() {
    for (const int signal : {SIGBUS, SIGSEGV}) {
        CHECK_EQUAL(in_child([signal] {
                        struct sigaction theirs{};
                        theirs.sa_sigaction = [](int, siginfo_t* info, void*) { _exit(info->si_addr ? 42 : 43); };
                        theirs.sa_flags = SA_SIGINFO;
                        sigaction(signal, &theirs, nullptr);
                        gm::install_memory_guard();
                        touch(edge(signal == SIGBUS));
                    }),
                    42);
        CHECK_EQUAL(in_child([signal] {
                        std::signal(signal, [](int) { _exit(44); });
                        gm::install_memory_guard();
                        touch(edge(signal == SIGBUS));
                    }),
                    44);
        CHECK_EQUAL(in_child([signal] {
                        std::signal(signal, SIG_DFL);
                        gm::install_memory_guard();
                        touch(edge(signal == SIGBUS));
                    }),
                    -signal);
        CHECK_EQUAL(in_child([signal] {
                        std::signal(signal, SIG_DFL);
                        gm::install_memory_guard();
                        raise(signal);
                    }),
                    -signal);
        CHECK_EQUAL(in_child([signal] {
                        std::signal(signal, SIG_IGN);
                        gm::install_memory_guard();
                        raise(signal);
                    }),
                    0);
    }
}

/// Theirs mends what faulted: it puts memory there and lets the instruction be done again.
static std::atomic<int> mended = 0;

static void mend(int, siginfo_t* info, void*) {
    void* at = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(info->si_addr) & ~(page - 1));
    if (mmap(at, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
        _exit(45);
    mended++;
}

static void fault_in_mappings_of_ones_own() {
    constexpr int threads_of_a_kind = 4, rounds = 200;
    std::vector<std::thread> threads;
    for (int i = 0; i < threads_of_a_kind; i++) {
        threads.emplace_back([] {
            for (int round = 0; round < rounds; round++) {
                unsigned char* memory = edge(true);
                touch(memory); // theirs makes it work
                CHECK_EQUAL(memory[page], 1);
                munmap(memory, 2 * page);
            }
        });
        threads.emplace_back([] {
            unsigned char* memory = edge(true);
            unsigned char buffer[64];
            for (int round = 0; round < rounds; round++)
                CHECK_EQUAL(gm::guarded_copy(buffer, memory + page - 5, sizeof buffer).done, 5);
            munmap(memory, 2 * page);
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    _exit(mended == threads_of_a_kind * rounds ? 42 : 46);
}

static void others_faults_reach_them_while_copies_fault() {
    CHECK_EQUAL(in_child([] {
                    struct sigaction theirs{};
                    theirs.sa_sigaction = mend;
                    theirs.sa_flags = SA_SIGINFO;
                    sigaction(SIGBUS, &theirs, nullptr);
                    gm::install_memory_guard();
                    fault_in_mappings_of_ones_own();
                }),
                42);
}

int main() {
    RUN(others_faults_reach_who_was_there_before);
    RUN(others_faults_reach_them_while_copies_fault);
    gm::install_memory_guard();
    RUN(stops_at_the_byte_that_faults);
    RUN(does_what_it_says_where_nothing_faults);
    RUN(many_threads_fault_at_once);
}
