#pragma once
#include <cstddef>
#include <cstdint>
// TEMPORARY until native/uapi is finished by its author
namespace gm::uapi {
constexpr unsigned long io(unsigned long d, unsigned long nr, unsigned long size){ return (d<<30)|(size<<16)|(0xaeUL<<8)|nr; }
struct kvm_userspace_memory_region2 { uint32_t slot, flags; uint64_t guest_phys_addr, memory_size, userspace_addr, guest_memfd_offset; uint32_t guest_memfd, pad1; uint64_t pad2[14]; };
struct kvm_memory_attributes { uint64_t address, size, attributes, flags; };
struct kvm_memory_attributes2 { uint64_t address, size, attributes, flags, error_offset, reserved[11]; };
struct kvm_create_guest_memfd { uint64_t size, flags, reserved[6]; };
struct kvm_pre_fault_memory { uint64_t gpa, size, flags, padding[5]; };
struct kvm_enable_cap { uint32_t cap, flags; uint64_t args[4]; uint8_t pad[64]; };
struct kvm_regs { uint64_t r[18]; };
struct kvm_sregs { uint8_t b[312]; };
struct kvm_run { uint8_t request_interrupt_window, immediate_exit, padding1[6]; uint32_t exit_reason; uint8_t ready, if_flag; uint16_t flags; uint64_t cr8, apic_base; union { struct { uint8_t direction, size; uint16_t port; uint32_t count; uint64_t data_offset; } io; char padding[256]; }; };
constexpr unsigned long KVM_GET_API_VERSION=io(0,0,0), KVM_CREATE_VM=io(0,1,0), KVM_CHECK_EXTENSION=io(0,3,0), KVM_GET_VCPU_MMAP_SIZE=io(0,4,0), KVM_CREATE_VCPU=io(0,0x41,0), KVM_SET_TSS_ADDR=io(0,0x47,0), KVM_SET_IDENTITY_MAP_ADDR=io(1,0x48,8), KVM_SET_USER_MEMORY_REGION=io(1,0x46,32), KVM_SET_USER_MEMORY_REGION2=io(1,0x49,160), KVM_SET_MEMORY_ATTRIBUTES=io(1,0xd2,32), KVM_CREATE_GUEST_MEMFD=io(3,0xd4,64), KVM_PRE_FAULT_MEMORY=io(3,0xd5,64), KVM_SET_MEMORY_ATTRIBUTES2=io(3,0xd2,128), KVM_ENABLE_CAP=io(1,0xa3,104), KVM_RUN=io(0,0x80,0), KVM_GET_REGS=io(2,0x81,144), KVM_SET_REGS=io(1,0x82,144), KVM_GET_SREGS=io(2,0x83,312), KVM_SET_SREGS=io(1,0x84,312);
constexpr uint32_t KVM_EXIT_UNKNOWN=0, KVM_EXIT_IO=2, KVM_EXIT_MEMORY_FAULT=39;
}
