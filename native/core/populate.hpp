#pragma once

#include "core/mapping.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace gm {

/// How pages are made to be there.
enum class PopulateMethod {
    write, ///< MADV_POPULATE_WRITE (5.14), and `touch_write` where the kernel has it not
    read,  ///< MADV_POPULATE_READ, for memory that cannot be written, and `touch_read` where the kernel has it not
    touch_write, ///< a byte of every page is read and written back: nothing else may be writing there
    touch_read,
};

struct PopulateRequest {
    std::uint64_t offset;
    std::uint64_t length;
    std::uint64_t page_size; ///< of the memory's pages, which may be huge ones
    unsigned threads;
    std::vector<std::uint32_t> cpus; ///< where the threads may run; anywhere when empty
    PopulateMethod method;
};

/// What one preallocation came to.
struct PopulateOutcome {
    Status status;              ///< 0, or the negative errno of the first page that could not be had
    std::uint64_t error_offset; ///< where that page is
    std::uint64_t done;         ///< bytes populated
    bool cancelled;
    bool touched; ///< the kernel does not know MADV_POPULATE_*
};

/// Preallocation of a range of a mapping by threads of its own, each with an even share.
class Populate {
  public:
    /// `done` is called once, on one of the threads, when all are through.
    static Result<std::shared_ptr<Populate>> start(const Mapping& mapping, const PopulateRequest& request,
                                                   std::function<void()> done);
    ~Populate() { close(); }

    [[nodiscard]] std::uint64_t done() const { return done_.load(std::memory_order_relaxed); }
    /// Lets the threads stop before their next chunk.
    void cancel() { cancelled_ = true; }
    /// Cancels and waits for the threads.
    void close();
    /// To be asked when `done` has been called.
    [[nodiscard]] PopulateOutcome outcome() const;

  private:
    Populate(const Mapping& mapping, const PopulateRequest& request);
    void serve(std::uint64_t begin, std::uint64_t end);
    void populate(std::uint64_t begin, std::uint64_t end);
    [[nodiscard]] Status populate_chunk(std::uint64_t at, std::uint64_t length);
    [[nodiscard]] Status touch(std::uint64_t at, std::uint64_t length) const;
    void fail(Status status, std::uint64_t at);

    // A mapping that is closed meanwhile leaves inaccessible addresses here instead of somebody else's memory.
    SlotPin pin_;
    std::byte* base_;
    PopulateRequest request_;
    std::function<void()> finished_;
    std::vector<std::thread> threads_;
    std::atomic<unsigned> running_{0};
    std::atomic<int> go_{0};
    std::atomic<bool> cancelled_{false};
    std::atomic<bool> touched_{false};
    std::atomic<std::uint64_t> done_{0};
    std::atomic<Status> status_{0};
    std::uint64_t error_offset_ = 0;
};

/// Whether a thread may run on these processors: 0, or a negative errno (EINVAL where none of them can be used).
[[nodiscard]] Status probe_affinity(const std::vector<std::uint32_t>& cpus);

} // namespace gm
