#include "core/page_pin.hpp"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace gm {
namespace {

using Pin = Result<std::shared_ptr<PagePin>>;

Pin pin_for_ring(const iovec& range) {
    io_uring_params parameters{};
    Fd ring(static_cast<int>(::syscall(SYS_io_uring_setup, 1, &parameters)));
    if (ring.get() < 0)
        return Pin::last_error();
    if (::syscall(SYS_io_uring_register, ring.get(), IORING_REGISTER_BUFFERS, &range, 1) < 0)
        return Pin::last_error();
    return std::make_shared<PagePin>(PagePin::Kind::registered_buffer, std::move(ring));
}

Pin pin_in_pipe(const iovec& range) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return Pin::last_error(Step::pipe2);
    Fd reader(ends[0]), writer(ends[1]);
    // A pipe holds a page in each of its slots.
    if (::fcntl(writer.get(), F_SETPIPE_SZ, range.iov_len) < 0)
        return Pin::last_error(Step::set_pipe_size);
    iovec left = range;
    while (left.iov_len > 0) {
        const ssize_t taken = ::vmsplice(writer.get(), &left, 1, SPLICE_F_NONBLOCK);
        if (taken < 0)
            return Pin::last_error(Step::vmsplice);
        left.iov_base = static_cast<std::byte*>(left.iov_base) + taken;
        left.iov_len -= static_cast<std::size_t>(taken);
    }
    return std::make_shared<PagePin>(PagePin::Kind::pipe, std::move(reader), std::move(writer));
}

} // namespace

Pin PagePin::pin(const Mapping& mapping, std::uint64_t offset, std::uint64_t length) {
    const iovec range{mapping.base() + offset, length};
    Pin pin = pin_for_ring(range);
    // The pages are at fault, not the way to pin them.
    if (pin.ok() || pin.error == EFAULT)
        return pin;
    return pin_in_pipe(range);
}

void PagePin::close() {
    // Closing the ring alone would let go of the pages some time later.
    if (kind_ == Kind::registered_buffer && fd_.get() >= 0)
        ::syscall(SYS_io_uring_register, fd_.get(), IORING_UNREGISTER_BUFFERS, nullptr, 0);
    fd_.close();
    other_.close();
}

} // namespace gm
