#pragma once

#include "core/fd.hpp"
#include "core/result.hpp"

#include <cstdint>
#include <memory>

namespace gm {

/// What fstat() and fstatfs() tell of a file.
struct FileFacts {
    std::uint64_t size;
    std::uint64_t block_size; ///< the size of its pages on hugetlbfs
    std::uint64_t blocks;
    std::uint64_t inode;
    std::uint64_t mode;
    std::uint64_t file_system; ///< statfs f_type
    bool close_on_exec;
};

[[nodiscard]] Result<FileFacts> facts_of(int fd);
[[nodiscard]] Status fallocate_restarting(int fd, int mode, std::uint64_t offset, std::uint64_t length);

/// A file that memory is made of: a memfd, a POSIX shared memory object, a file or a device.
class MemoryFile {
  public:
    /// `flags` are open()'s; O_CLOEXEC is added.
    static Result<std::shared_ptr<MemoryFile>> open(const char* path, int flags, unsigned mode);
    /// `flags` are memfd_create()'s; MFD_CLOEXEC is added.
    static Result<std::shared_ptr<MemoryFile>> memfd(const char* name, unsigned flags);
    /// shm_open(), and its name is removed at once: nobody else can open it, and nothing is left behind.
    static Result<std::shared_ptr<MemoryFile>> shared_memory();

    explicit MemoryFile(Fd fd) : fd_(std::move(fd)) {}

    [[nodiscard]] int fd() const { return fd_.get(); }
    void close() { fd_.close(); }

    [[nodiscard]] Status fallocate(int mode, std::uint64_t offset, std::uint64_t length) const {
        return fallocate_restarting(fd_.get(), mode, offset, length);
    }
    [[nodiscard]] Result<FileFacts> facts() const { return facts_of(fd_.get()); }
    [[nodiscard]] Status resize(std::uint64_t size) const;
    /// F_ADD_SEALS.
    [[nodiscard]] Status add_seals(int seals) const;

  private:
    Fd fd_;
};

} // namespace gm
