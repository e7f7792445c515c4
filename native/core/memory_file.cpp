#include "core/memory_file.hpp"

#include <atomic>
#include <cstdio>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace gm {
namespace {

using Made = Result<std::shared_ptr<MemoryFile>>;

int open_restarting(const char* path, int flags, unsigned mode) {
    int fd;
    do {
        fd = ::open(path, flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

Made own(int fd) {
    if (fd < 0)
        return Made::last_error();
    return std::make_shared<MemoryFile>(Fd(fd));
}

} // namespace

Result<FileFacts> facts_of(int fd) {
    struct stat st{};
    struct statfs fs{};
    if (::fstat(fd, &st) < 0)
        return Result<FileFacts>::last_error();
    int result;
    do {
        result = ::fstatfs(fd, &fs);
    } while (result < 0 && errno == EINTR);
    if (result < 0)
        return Result<FileFacts>::last_error(Step::fstatfs);
    const int flags = ::fcntl(fd, F_GETFD);
    if (flags < 0)
        return Result<FileFacts>::last_error();
    return FileFacts{
        .size = static_cast<std::uint64_t>(st.st_size),
        .block_size = static_cast<std::uint64_t>(st.st_blksize),
        .blocks = static_cast<std::uint64_t>(st.st_blocks),
        .inode = st.st_ino,
        .mode = st.st_mode,
        .file_system = static_cast<std::uint64_t>(fs.f_type),
        .close_on_exec = (flags & FD_CLOEXEC) != 0,
    };
}

Status fallocate_restarting(int fd, int mode, std::uint64_t offset, std::uint64_t length) {
    int result;
    do {
        result = ::fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length));
    } while (result < 0 && errno == EINTR);
    return status_of(result);
}

Made MemoryFile::open(const char* path, int flags, unsigned mode) { return own(open_restarting(path, flags, mode)); }

Made MemoryFile::memfd(const char* name, unsigned flags) { return own(::memfd_create(name, flags | MFD_CLOEXEC)); }

Made MemoryFile::shared_memory() {
    // What never has a name cannot be left behind by a process that is killed.
    const int unnamed = open_restarting("/dev/shm", O_TMPFILE | O_EXCL | O_RDWR, 0600);
    // Both say that this is no tmpfs: EISDIR where nobody knows the flag.
    if (unnamed >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return own(unnamed);
    static std::atomic<unsigned> next{0};
    for (;;) {
        char name[64];
        std::snprintf(name, sizeof name, "/gmem-%d-%u", ::getpid(), next++);
        const int fd = ::shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd < 0 && errno == EEXIST)
            continue; // left by a process of this number in another PID namespace, or that was killed in between
        if (fd >= 0)
            ::shm_unlink(name);
        return own(fd);
    }
}

Status MemoryFile::resize(std::uint64_t size) const {
    int result;
    do {
        result = ::ftruncate(fd_.get(), static_cast<off_t>(size));
    } while (result < 0 && errno == EINTR);
    return status_of(result);
}

Status MemoryFile::add_seals(int seals) const { return status_of(::fcntl(fd_.get(), F_ADD_SEALS, seals)); }

} // namespace gm
