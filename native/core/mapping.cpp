#include "core/mapping.hpp"

#include "core/fd.hpp"

#include <algorithm>
#include <linux/magic.h>
#include <memory>
#include <new>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace gm {
namespace {

constexpr int mpol_f_addr = 1 << 1;
// The kernel reads and writes nodemasks of this many bits; 1024 is the largest CONFIG_NODES_SHIFT of any distribution.
constexpr unsigned long max_nodes = 1024;

std::size_t page_size() {
    static const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    return size;
}

/// Bytes of a page of what is to be mapped: the kernel rounds lengths up to huge pages, for MAP_HUGETLB and hugetlbfs.
std::size_t page_size_of(const MapRequest& request) {
    Fd anonymous;
    int fd = request.fd;
    if (fd < 0 && (request.flags & MAP_HUGETLB)) {
        // The size is in the same bits of both calls' flags.
        constexpr unsigned size_bits = 63u << 26;
        anonymous = Fd(::memfd_create("gmem", MFD_CLOEXEC | MFD_HUGETLB | (request.flags & size_bits)));
        fd = anonymous.get();
    }
    struct statfs facts{};
    if (fd < 0 || ::fstatfs(fd, &facts) < 0 || facts.f_type != HUGETLBFS_MAGIC)
        return page_size();
    return static_cast<std::size_t>(facts.f_bsize);
}

/// munmap() of a whole mapping. Of huge pages the kernel has mapped more than it was told to, up to a whole page; a
/// shorter range is refused, and what it may reach over is the mapping's own until one is not.
int unmap(void* base, std::size_t length) {
    constexpr std::size_t largest = std::size_t{16} << 30;
    int result = ::munmap(base, length);
    for (std::size_t unit = 2 * page_size(); result < 0 && errno == EINVAL && unit <= largest; unit *= 2)
        result = ::munmap(base, (length + unit - 1) & ~(unit - 1));
    return result;
}

} // namespace

AddressRange::~AddressRange() { (void)release(); }

Status AddressRange::release() {
    if (!base_)
        return 0;
    const Status status = status_of(unmap(base_, length_ + guard_), Step::munmap);
    // What could not be unmapped is tried once more by the last owner.
    if (status == 0)
        base_ = nullptr;
    return status;
}

Result<std::shared_ptr<Mapping>> Mapping::map(const MapRequest& request) {
    using Failure = Result<std::shared_ptr<Mapping>>;
    install_memory_guard();
    void* hint = nullptr;
    int flags = request.flags;
    void* reserved = nullptr;
    std::size_t reserved_length = 0;
    std::size_t unit = page_size();
    const std::size_t guard = request.guard ? page_size() : 0;
    if (request.alignment > page_size() || guard > 0) {
        // mmap() aligns to pages only: reserve enough to find an aligned address, map there, give the rest back.
        unit = page_size_of(request);
        const std::uint64_t alignment = std::max<std::uint64_t>(request.alignment, unit);
        // MAP_FIXED replaces what lies there: the whole of the last huge page must be ours.
        const std::uint64_t rounded = request.length + unit - 1;
        reserved_length = (rounded & ~(unit - 1)) + alignment + guard;
        if (rounded < request.length || reserved_length < rounded || reserved_length < alignment)
            return Failure::failure(ENOMEM);
        reserved = ::mmap(nullptr, reserved_length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (reserved == MAP_FAILED)
            return Failure::last_error();
        const auto from = reinterpret_cast<std::uintptr_t>(reserved);
        const auto aligned = (from + alignment - 1) & ~(alignment - 1);
        hint = reinterpret_cast<void*>(aligned);
        flags |= MAP_FIXED;
    }
    void* base =
        ::mmap(hint, request.length, request.protection, flags, request.fd, static_cast<off_t>(request.offset));
    if (base == MAP_FAILED) {
        const int error = errno;
        if (reserved)
            ::munmap(reserved, reserved_length);
        return Failure::failure(error);
    }
    // The kernel maps whole pages; what is owned is what it mapped.
    const std::size_t length = (request.length + unit - 1) & ~(unit - 1);
    if (reserved) {
        auto* begin = static_cast<std::byte*>(reserved);
        auto* end = begin + reserved_length;
        auto* mapped = static_cast<std::byte*>(base);
        auto* kept = mapped + length + guard;
        bool trimmed = mapped == begin || ::munmap(begin, static_cast<std::size_t>(mapped - begin)) == 0;
        if (trimmed) {
            begin = mapped;
            trimmed = end == kept || ::munmap(kept, static_cast<std::size_t>(end - kept)) == 0;
        }
        // Splitting may need a mapping more than the kernel allows; without the split nothing is one too many.
        if (!trimmed) {
            const int error = errno;
            ::munmap(begin, static_cast<std::size_t>(end - begin));
            return Failure::failure(at_step(Step::munmap, error));
        }
    }
    return std::make_shared<Mapping>(std::make_shared<AddressRange>(base, length, guard));
}

Status Mapping::close() {
    if (!range_)
        return 0;
    const auto range = std::move(range_);
    range_.reset();
    if (!range->base())
        return 0;
    if (range->slots == 0 && range->views == 0)
        return range->release();
    const int protection = range->views > 0 ? PROT_READ | PROT_WRITE : PROT_NONE;
    const void* replaced = ::mmap(range->base(), range->length(), protection,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    // Where that fails the memory itself stays until the last user is gone: late, but never unsafe.
    return replaced == MAP_FAILED ? -at_step(Step::mmap, errno) : 0;
}

bool Mapping::contains(std::uint64_t offset, std::uint64_t length) const {
    return offset <= range_->length() && length <= range_->length() - offset;
}

std::size_t Mapping::unsealed(std::uint64_t offset, std::size_t length) const {
    std::uint64_t end = offset + length;
    for (const Sealed& sealed : sealed_) {
        if (sealed.begin < end && offset < sealed.end)
            end = std::max(sealed.begin, offset);
    }
    return static_cast<std::size_t>(end - offset);
}

GuardedOutcome Mapping::read(std::uint64_t offset, void* to, std::size_t length) const {
    const std::size_t allowed = unsealed(offset, length);
    GuardedOutcome outcome = guarded_copy(to, base() + offset, allowed);
    if (allowed < length)
        outcome.faulted = true;
    return outcome;
}

GuardedOutcome Mapping::write(std::uint64_t offset, const void* from, std::size_t length) const {
    const std::size_t allowed = unsealed(offset, length);
    GuardedOutcome outcome = guarded_copy(base() + offset, from, allowed);
    if (allowed < length)
        outcome.faulted = true;
    return outcome;
}

GuardedOutcome Mapping::fill(std::uint64_t offset, std::uint8_t value, std::size_t length) const {
    const std::size_t allowed = unsealed(offset, length);
    GuardedOutcome outcome = guarded_fill(base() + offset, value, allowed);
    if (allowed < length)
        outcome.faulted = true;
    return outcome;
}

GuardedOutcome Mapping::compare(std::uint64_t offset, const void* expected, std::size_t length) const {
    const std::size_t allowed = unsealed(offset, length);
    GuardedOutcome outcome = guarded_compare(base() + offset, expected, allowed);
    if (outcome.equal && allowed < length)
        outcome.faulted = true;
    return outcome;
}

Status Mapping::advise(std::uint64_t offset, std::uint64_t length, int advice) const {
    int result;
    do {
        result = ::madvise(base() + offset, length, advice);
    } while (result < 0 && errno == EINTR);
    return status_of(result);
}

Status Mapping::protect(std::uint64_t offset, std::uint64_t length, int protection) const {
    return status_of(::mprotect(base() + offset, length, protection));
}

Status Mapping::bind(std::uint64_t offset, std::uint64_t length, int mode, const std::vector<std::uint64_t>& nodes,
                     unsigned flags) const {
    // The kernel reads one bit fewer than maxnode says, so the count names one more than there are.
    const unsigned long max_node = nodes.empty() ? 0 : nodes.size() * 64 + 1;
    return status_of(static_cast<int>(::syscall(SYS_mbind, base() + offset, length, static_cast<unsigned long>(mode),
                                                nodes.empty() ? nullptr : nodes.data(), max_node, flags)));
}

Status Mapping::policy(std::uint64_t offset, int& mode, std::vector<std::uint64_t>& nodes) const {
    nodes.assign(max_nodes / 64, 0);
    return status_of(static_cast<int>(
        ::syscall(SYS_get_mempolicy, &mode, nodes.data(), max_nodes + 1, base() + offset, mpol_f_addr)));
}

Status Mapping::residency(std::uint64_t offset, std::uint64_t length, unsigned char* pages) const {
    return status_of(::mincore(base() + offset, length, pages));
}

Status Mapping::nodes(std::uint64_t offset, std::size_t pages, int* nodes) const {
    // As long as the caller's mapping: that there is not enough memory is an answer, and no exception.
    const std::unique_ptr<void*[]> addresses(new (std::nothrow) void*[pages]);
    if (!addresses)
        return -ENOMEM;
    for (std::size_t i = 0; i < pages; i++)
        addresses[i] = base() + offset + i * page_size();
    return status_of(static_cast<int>(::syscall(SYS_move_pages, 0, pages, addresses.get(), nullptr, nodes, 0)));
}

Status Mapping::seal(std::uint64_t offset, std::uint64_t length) {
    const std::uint64_t begin = offset & ~(page_size() - 1);
    const std::uint64_t end =
        std::min<std::uint64_t>(this->length(), (offset + length + page_size() - 1) & ~(page_size() - 1));
    if (begin >= end)
        return 0;
    const void* replaced = ::mmap(base() + begin, end - begin, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (replaced == MAP_FAILED)
        return -errno;
    sealed_.push_back({begin, end});
    return 0;
}

} // namespace gm
