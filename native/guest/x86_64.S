/* The guest program for x86-64: 64-bit long mode, identity mapping, no IDT (an exception is a triple fault, which the
 * host sees as KVM_EXIT_SHUTDOWN).
 *
 * It executes a list of commands from a mailbox and tells the host over an I/O port when it is through. The host enters
 * it with RIP at its first byte and RDI at the mailbox, and enters it again for the next list without touching registers.
 * It is position-independent and uses no stack, so a guest with nothing but this page, page tables and the mailbox runs.
 *
 * A command is 64 bytes; lib/guest/commands.ts has the same layout:
 *   0  u32 opcode     4  u32 width in bytes (1, 2, 4, 8) where the opcode takes one
 *   8  u64 a         16  u64 b         24  u64 c         32  u64 d
 *   40 u64 result    48  u64 state: 0 not reached, 1 begun, 2 done
 */
#if defined(__x86_64__)

    .section .rodata, "a", %progbits
    .balign 16
    .globl gm_guest_begin, gm_guest_end
    .hidden gm_guest_begin
    .hidden gm_guest_end
    .type gm_guest_begin, %object

#define DONE_PORT 0x600

#define OP_END       0
#define OP_LOAD      1
#define OP_STORE     2
#define OP_FILL      3
#define OP_COMPARE   4
#define OP_CHECKSUM  5
#define OP_HYPERCALL 6
#define OP_PORT_OUT  7
#define OP_PORT_IN   8
#define OP_SPIN      9
#define OP_HALT      10
#define OP_COPY      11

gm_guest_begin:
    mov     %rdi, %r15              /* r15: the mailbox, kept over every list */
.Lnext_list:
    mov     %r15, %r14              /* r14: the command at hand */
.Lnext:
    mov     (%r14), %eax
    mov     4(%r14), %ebp           /* width */
    mov     8(%r14), %rdi           /* a */
    mov     16(%r14), %rsi          /* b */
    mov     24(%r14), %rdx          /* c */
    movq    $1, 48(%r14)
    xor     %r8d, %r8d              /* r8: the result */
    cld
    cmp     $OP_END, %eax
    je      .Lend
    cmp     $OP_LOAD, %eax
    je      .Lload
    cmp     $OP_STORE, %eax
    je      .Lstore
    cmp     $OP_FILL, %eax
    je      .Lfill
    cmp     $OP_COMPARE, %eax
    je      .Lcompare
    cmp     $OP_CHECKSUM, %eax
    je      .Lchecksum
    cmp     $OP_HYPERCALL, %eax
    je      .Lhypercall
    cmp     $OP_PORT_OUT, %eax
    je      .Lport_out
    cmp     $OP_PORT_IN, %eax
    je      .Lport_in
    cmp     $OP_SPIN, %eax
    je      .Lspin
    cmp     $OP_HALT, %eax
    je      .Lhalt
    cmp     $OP_COPY, %eax
    je      .Lcopy
    ud2                             /* an opcode that the host should not have written */

.Ldone:
    mov     %r8, 40(%r14)
    movq    $2, 48(%r14)
    add     $64, %r14
    jmp     .Lnext

.Lend:
    movq    $2, 48(%r14)
    mov     $DONE_PORT, %edx
    xor     %eax, %eax
    outb    %al, %dx
    jmp     .Lnext_list

/* load: a address -> result */
.Lload:
    cmp     $8, %ebp
    je      1f
    cmp     $4, %ebp
    je      2f
    cmp     $2, %ebp
    je      3f
    movzbl  (%rdi), %r8d
    jmp     .Ldone
1:  mov     (%rdi), %r8
    jmp     .Ldone
2:  mov     (%rdi), %r8d
    jmp     .Ldone
3:  movzwl  (%rdi), %r8d
    jmp     .Ldone

/* store: a address, b value */
.Lstore:
    cmp     $8, %ebp
    je      1f
    cmp     $4, %ebp
    je      2f
    cmp     $2, %ebp
    je      3f
    movb    %sil, (%rdi)
    jmp     .Ldone
1:  mov     %rsi, (%rdi)
    jmp     .Ldone
2:  mov     %esi, (%rdi)
    jmp     .Ldone
3:  movw    %si, (%rdi)
    jmp     .Ldone

/* fill: a address, b length, c byte */
.Lfill:
    mov     %rsi, %rcx
    mov     %edx, %eax
    rep stosb
    jmp     .Ldone

/* compare: a address, b length, c byte -> offset of the first other byte, or b */
.Lcompare:
    mov     %rsi, %rcx
    mov     %edx, %eax
    mov     %rdi, %rbx
    mov     %rsi, %r8
    test    %rcx, %rcx
    jz      .Ldone
    repe scasb
    je      .Ldone
    lea     -1(%rdi), %r8
    sub     %rbx, %r8
    jmp     .Ldone

/* checksum: a address, b length (a multiple of 8) -> the 64-bit words, each added after rotating the sum left by one */
.Lchecksum:
    shr     $3, %rsi
    jz      .Ldone
1:  rol     $1, %r8
    add     (%rdi), %r8
    add     $8, %rdi
    dec     %rsi
    jnz     1b
    jmp     .Ldone

/* hypercall: a number, b, c, d arguments -> RAX. width 0: VMCALL (Intel), 1: VMMCALL (AMD) */
.Lhypercall:
    mov     %rdi, %rax
    mov     %rsi, %rbx
    mov     %rdx, %rcx
    mov     32(%r14), %rdx
    test    %ebp, %ebp
    jnz     1f
    vmcall
    jmp     2f
1:  vmmcall
2:  mov     %rax, %r8
    jmp     .Ldone

/* port out: a port, b value */
.Lport_out:
    mov     %edi, %edx
    mov     %esi, %eax
    cmp     $4, %ebp
    je      1f
    cmp     $2, %ebp
    je      2f
    outb    %al, %dx
    jmp     .Ldone
1:  outl    %eax, %dx
    jmp     .Ldone
2:  outw    %ax, %dx
    jmp     .Ldone

/* port in: a port -> result */
.Lport_in:
    mov     %edi, %edx
    xor     %eax, %eax
    cmp     $4, %ebp
    je      1f
    cmp     $2, %ebp
    je      2f
    inb     %dx, %al
    jmp     3f
1:  inl     %dx, %eax
    jmp     3f
2:  inw     %dx, %ax
3:  mov     %eax, %r8d
    jmp     .Ldone

/* spin: until the 64-bit word at a equals b -> how often it was looked at */
.Lspin:
    inc     %r8
    cmp     %rsi, (%rdi)
    je      .Ldone
    pause
    jmp     .Lspin

/* halt: KVM_EXIT_HLT where no interrupt controller is in the kernel */
.Lhalt:
    hlt
    jmp     .Ldone

/* copy: a to, b from, c length */
.Lcopy:
    mov     %rdx, %rcx
    rep movsb
    jmp     .Ldone

gm_guest_end:
    .size gm_guest_begin, . - gm_guest_begin
#endif

    .section .note.GNU-stack, "", %progbits
