/* The place of the aarch64 guest program: the same commands as x86_64.S, with the MMU off, and a store to an address
 * without memslot (KVM_EXIT_MMIO) where x86-64 writes to its I/O port. It comes with the lab, where arm64 kernels run;
 * until then the program is empty, and the guest agent says that this architecture has none.
 */
#if defined(__aarch64__)

    .section .rodata, "a", %progbits
    .balign 16
    .globl gm_guest_begin, gm_guest_end
    .hidden gm_guest_begin
    .hidden gm_guest_end
gm_guest_begin:
gm_guest_end:
#endif

    .section .note.GNU-stack, "", %progbits
