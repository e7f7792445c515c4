#pragma once

#include "core/guarded_memory.hpp"
#include "core/result.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace gm {

/// A range of this process's addresses. It is given back to the kernel with the last reference, so that nothing else
/// can come to lie at an address that a memslot or a JavaScript view still leads to.
class AddressRange {
  public:
    /// `guard` bytes behind the range are inaccessible and belong to it.
    AddressRange(void* base, std::size_t length, std::size_t guard = 0)
        : base_(static_cast<std::byte*>(base)), length_(length), guard_(guard) {}
    AddressRange(const AddressRange&) = delete;
    AddressRange& operator=(const AddressRange&) = delete;
    ~AddressRange();

    [[nodiscard]] std::byte* base() const { return base_; }
    [[nodiscard]] std::size_t length() const { return length_; }
    /// Unmaps now, for when nobody else can reach it any more.
    [[nodiscard]] Status release();

    int slots = 0; ///< memslots that lead here
    int views = 0; ///< ArrayBuffers that can still be read

  private:
    std::byte* base_;
    std::size_t length_;
    std::size_t guard_;
};

/// A memslot's hold on the addresses behind it.
class SlotPin {
  public:
    explicit SlotPin(std::shared_ptr<AddressRange> range) : range_(std::move(range)) { range_->slots++; }
    SlotPin(SlotPin&&) = default;
    SlotPin& operator=(SlotPin&& other) noexcept {
        drop();
        range_ = std::move(other.range_);
        return *this;
    }
    ~SlotPin() { drop(); }

  private:
    void drop() {
        if (range_)
            range_->slots--;
        range_.reset();
    }
    std::shared_ptr<AddressRange> range_;
};

struct MapRequest {
    int fd; ///< -1 for anonymous memory
    std::uint64_t offset;
    std::uint64_t length;
    int protection;
    int flags;
    std::uint64_t alignment; ///< of the address; a power of two, or 0
    bool guard = false;      ///< keep an inaccessible page behind it, so that what runs over the end faults
};

/// A mapping of a guest_memfd, another file or anonymous memory into this process.
class Mapping {
  public:
    static Result<std::shared_ptr<Mapping>> map(const MapRequest& request);
    explicit Mapping(std::shared_ptr<AddressRange> range) : range_(std::move(range)) {}
    ~Mapping() { (void)close(); }

    [[nodiscard]] std::byte* base() const { return range_->base(); }
    [[nodiscard]] std::size_t length() const { return range_->length(); }
    [[nodiscard]] const std::shared_ptr<AddressRange>& range() const { return range_; }
    /// True when [offset, offset + length) lies inside.
    [[nodiscard]] bool contains(std::uint64_t offset, std::uint64_t length) const;

    /// Gives the memory back. Addresses that a memslot still uses become inaccessible, those of a view that could not
    /// be detached become zero pages, until the last of them is gone.
    Status close();

    [[nodiscard]] GuardedOutcome read(std::uint64_t offset, void* to, std::size_t length) const;
    [[nodiscard]] GuardedOutcome write(std::uint64_t offset, const void* from, std::size_t length) const;
    [[nodiscard]] GuardedOutcome fill(std::uint64_t offset, std::uint8_t value, std::size_t length) const;
    [[nodiscard]] GuardedOutcome compare(std::uint64_t offset, const void* expected, std::size_t length) const;

    [[nodiscard]] Status advise(std::uint64_t offset, std::uint64_t length, int advice) const;
    [[nodiscard]] Status protect(std::uint64_t offset, std::uint64_t length, int protection) const;
    /// mbind(); `nodes` is a bit mask of 64-bit words.
    [[nodiscard]] Status bind(std::uint64_t offset, std::uint64_t length, int mode,
                              const std::vector<std::uint64_t>& nodes, unsigned flags) const;
    /// get_mempolicy() of one address with MPOL_F_ADDR.
    [[nodiscard]] Status policy(std::uint64_t offset, int& mode, std::vector<std::uint64_t>& nodes) const;
    /// mincore(): one byte a page, bit 0 set where the page is in memory.
    [[nodiscard]] Status residency(std::uint64_t offset, std::uint64_t length, unsigned char* pages) const;
    /// move_pages() without moving: the NUMA node of each page, or a negative errno (-ENOENT: not mapped by this
    /// process).
    [[nodiscard]] Status nodes(std::uint64_t offset, std::size_t pages, int* nodes) const;

    /// Puts zero pages over a range whose view could not be detached before the memory under it became inaccessible.
    /// Guarded access refuses the range from then on, rather than tell of memory that is no longer the guest's.
    [[nodiscard]] Status seal(std::uint64_t offset, std::uint64_t length);

  private:
    struct Sealed {
        std::uint64_t begin, end;
    };
    /// How many bytes from `offset` on can be accessed before a sealed page.
    [[nodiscard]] std::size_t unsealed(std::uint64_t offset, std::size_t length) const;

    std::shared_ptr<AddressRange> range_;
    std::vector<Sealed> sealed_;
};

} // namespace gm
