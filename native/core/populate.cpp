#include "core/populate.hpp"

#include <algorithm>
#include <csignal>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <system_error>

// Newer than the C library of some build machines.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace gm {
namespace {

// Between two of these a cancel is noticed and the progress told: a few milliseconds of zeroing.
constexpr std::uint64_t chunk_size = 8 << 20;

Status set_affinity(const std::vector<std::uint32_t>& cpus) {
    if (cpus.empty())
        return 0;
    const std::uint32_t last = *std::max_element(cpus.begin(), cpus.end());
    cpu_set_t* set = CPU_ALLOC(last + 1);
    const std::size_t size = CPU_ALLOC_SIZE(last + 1);
    if (!set)
        return -ENOMEM;
    CPU_ZERO_S(size, set);
    for (const std::uint32_t cpu : cpus)
        CPU_SET_S(cpu, size, set);
    const Status status = status_of(::sched_setaffinity(0, size, set), Step::sched_setaffinity);
    CPU_FREE(set);
    return status;
}

/// While this lives, new threads are born with every signal blocked but those of faults, which the memory guard needs.
class QuietBirth {
  public:
    QuietBirth() {
        sigset_t quiet;
        ::sigfillset(&quiet);
        for (const int fault : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP})
            ::sigdelset(&quiet, fault);
        ::pthread_sigmask(SIG_SETMASK, &quiet, &before_);
    }
    ~QuietBirth() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    QuietBirth(const QuietBirth&) = delete;
    QuietBirth& operator=(const QuietBirth&) = delete;

  private:
    sigset_t before_;
};

} // namespace

Populate::Populate(const Mapping& mapping, const PopulateRequest& request)
    : pin_(mapping.range()), base_(mapping.base()), request_(request) {}

Result<std::shared_ptr<Populate>> Populate::start(const Mapping& mapping, const PopulateRequest& request,
                                                  std::function<void()> done) {
    install_memory_guard();
    const std::shared_ptr<Populate> job(new Populate(mapping, request));
    job->finished_ = std::move(done);
    const std::uint64_t page = request.page_size;
    const std::uint64_t pages = (request.length + page - 1) / page;
    const std::uint64_t count = std::clamp<std::uint64_t>(request.threads, 1, std::max<std::uint64_t>(pages, 1));
    job->running_ = static_cast<unsigned>(count);
    const QuietBirth quiet;
    std::uint64_t begin = request.offset;
    for (std::uint64_t i = 0; i < count; i++) {
        const std::uint64_t share = (pages / count + (i < pages % count ? 1 : 0)) * page;
        const std::uint64_t end = std::min(begin + share, request.offset + request.length);
        try {
            job->threads_.emplace_back([raw = job.get(), begin, end] { raw->serve(begin, end); });
        } catch (const std::system_error& error) {
            job->cancelled_ = true;
            job->finished_ = nullptr;
            job->go_ = 1;
            job->go_.notify_all();
            job->close();
            return Result<std::shared_ptr<Populate>>::failure(error.code().value());
        }
        begin = end;
    }
    // Threads that fault hold the lock that making another thread's stack needs.
    job->go_ = 1;
    job->go_.notify_all();
    return job;
}

void Populate::serve(std::uint64_t begin, std::uint64_t end) {
    go_.wait(0);
    const Status placed = set_affinity(request_.cpus);
    if (placed < 0)
        fail(placed, begin);
    else
        populate(begin, end);
    if (--running_ == 0 && finished_)
        finished_();
}

void Populate::populate(std::uint64_t begin, std::uint64_t end) {
    std::uint64_t step = std::max(request_.page_size, chunk_size / request_.page_size * request_.page_size);
    for (std::uint64_t at = begin; at < end && !cancelled_ && status_ == 0;) {
        const std::uint64_t length = std::min(step, end - at);
        const Status status = populate_chunk(at, length);
        if (status < 0 && length > request_.page_size) {
            step = request_.page_size; // again in single pages, to tell which one it is
            continue;
        }
        if (status < 0)
            return fail(status, at);
        at += length;
        done_ += length;
    }
}

Status Populate::populate_chunk(std::uint64_t at, std::uint64_t length) {
    const bool by_kernel = request_.method == PopulateMethod::write || request_.method == PopulateMethod::read;
    if (!by_kernel || touched_)
        return touch(at, length);
    const int advice = request_.method == PopulateMethod::write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    int result;
    do {
        result = ::madvise(base_ + at, length, advice);
    } while (result < 0 && errno == EINTR);
    if (result == 0)
        return 0;
    if (errno != EINVAL)
        return -errno;
    touched_ = true;
    return touch(at, length);
}

Status Populate::touch(std::uint64_t at, std::uint64_t length) const {
    const bool writes = request_.method == PopulateMethod::write || request_.method == PopulateMethod::touch_write;
    for (std::uint64_t page = at; page < at + length; page += request_.page_size) {
        std::uint8_t byte;
        if (guarded_copy(&byte, base_ + page, 1).faulted)
            return -EFAULT;
        if (writes && guarded_copy(base_ + page, &byte, 1).faulted)
            return -EFAULT;
    }
    return 0;
}

void Populate::fail(Status status, std::uint64_t at) {
    Status none = 0;
    if (status_.compare_exchange_strong(none, status))
        error_offset_ = at;
}

void Populate::close() {
    cancel();
    for (std::thread& thread : threads_)
        if (thread.joinable())
            thread.join();
}

PopulateOutcome Populate::outcome() const {
    return {status_, error_offset_, done_, cancelled_,
            touched_ || request_.method == PopulateMethod::touch_write ||
                request_.method == PopulateMethod::touch_read};
}

Status probe_affinity(const std::vector<std::uint32_t>& cpus) {
    Status status = 0;
    try {
        std::thread([&] { status = set_affinity(cpus); }).join();
    } catch (const std::system_error& error) {
        return -at_step(Step::pthread_create, error.code().value());
    }
    return status;
}

} // namespace gm
