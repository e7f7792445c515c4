#include "core/vm.hpp"

#include "core/guest_memfd.hpp"
#include "test/check.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
constexpr std::uint64_t gpa = std::uint64_t{4} << 30;
std::shared_ptr<gm::Kvm> kvm;

std::shared_ptr<gm::Vm> new_vm() {
    auto vm = kvm->create_vm(0);
    CHECK(vm.ok());
    return *vm;
}

bool closes_on_exec(int fd) { return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0; }

void every_descriptor_closes_on_exec() {
    const auto vm = new_vm();
    CHECK(closes_on_exec(kvm->fd()));
    CHECK(closes_on_exec(vm->fd()));
    auto gmem = vm->create_guest_memfd(page, 0);
    CHECK(gmem.ok());
    CHECK(closes_on_exec((*gmem).get()));
    auto vcpu = vm->create_vcpu(0);
    CHECK(vcpu.ok());
    CHECK(closes_on_exec((*vcpu).get()));
}

void errors_are_the_kernels() {
    const auto vm = new_vm();
    CHECK_EQUAL(vm->create_guest_memfd(1, 0).error, EINVAL);
    CHECK_EQUAL(vm->create_guest_memfd(page, std::uint64_t{1} << 63).error, EINVAL);
    CHECK_EQUAL(kvm->create_vm(31).error, EINVAL);
    CHECK_EQUAL(gm::Kvm::open("/nowhere").error, ENOENT);
    CHECK_EQUAL(vm->enable_capability(0xffff, 0, {0, 0, 0, 0}), -EINVAL);
    vm->close();
    CHECK_EQUAL(vm->check_extension(1), -EBADF);
    CHECK_EQUAL(vm->create_guest_memfd(page, 0).error, EBADF);
}

void a_guest_memfd_tells_its_facts() {
    const auto vm = new_vm();
    auto fd = vm->create_guest_memfd(4 * page, 0);
    CHECK(fd.ok());
    gm::GuestMemfd gmem(std::move(*fd));
    auto facts = gmem.facts();
    CHECK(facts.ok());
    CHECK_EQUAL(facts->size, 4 * page);
    CHECK_EQUAL(facts->block_size, page);
    CHECK(facts->close_on_exec);
    CHECK_EQUAL(gmem.fallocate(FALLOC_FL_KEEP_SIZE, 0, page), 0);
    CHECK_EQUAL(gmem.fallocate(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, page), 0);
    CHECK_EQUAL(gmem.fallocate(0, 0, page), -EOPNOTSUPP);
    const gm::Status probe = gmem.probe_memory_attributes();
    CHECK(probe == -ENOTTY || probe == -EFAULT);
}

void a_slot_holds_its_addresses_until_it_goes() {
    const auto vm = new_vm();
    auto mapping = gm::Mapping::map({.fd = -1,
                                     .offset = 0,
                                     .length = page,
                                     .protection = PROT_READ | PROT_WRITE,
                                     .flags = MAP_PRIVATE | MAP_ANONYMOUS,
                                     .alignment = 0});
    CHECK(mapping.ok());
    const auto range = (*mapping)->range();
    gm::uapi::kvm_userspace_memory_region2 region{};
    region.slot = 1;
    region.guest_phys_addr = gpa;
    region.memory_size = page;
    region.userspace_addr = reinterpret_cast<std::uintptr_t>(range->base());
    CHECK_EQUAL(vm->set_user_memory_region(region, false, range), 0);
    CHECK_EQUAL(range->slots, 1);
    region.slot = 2;
    CHECK_EQUAL(vm->set_user_memory_region(region, false, range), -EEXIST);
    CHECK_EQUAL(range->slots, 1);
    region.slot = 1;
    region.flags = 1;
    CHECK_EQUAL(vm->set_user_memory_region(region, true, range), 0);
    CHECK_EQUAL(range->slots, 1);
    region.memory_size = 0;
    CHECK_EQUAL(vm->set_user_memory_region(region, false, nullptr), 0);
    CHECK_EQUAL(range->slots, 0);
}

} // namespace

int main() {
    kvm = require_kvm();
    CHECK_EQUAL(kvm->api_version(), 12);
    RUN(every_descriptor_closes_on_exec);
    RUN(errors_are_the_kernels);
    RUN(a_guest_memfd_tells_its_facts);
    RUN(a_slot_holds_its_addresses_until_it_goes);
    kvm.reset();
}
