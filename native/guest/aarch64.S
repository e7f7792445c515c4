/* The guest program for arm64: EL1 with the MMU off, so every address is a guest physical one.
 *
 * It executes a list of commands from a mailbox, as x86_64.S does, and tells the host by a store to an address without
 * memslot (KVM_EXIT_MMIO) when it is through. The host enters it with PC at its first byte, which lies at a multiple of
 * 2 KiB, X0 at the mailbox and X1 at the signals, and enters it again for the next list without touching registers. It is
 * position-independent and uses no stack. The command's layout stands in x86_64.S and lib/guest/commands.ts.
 *
 * Signals, 64-bit stores at X1 plus
 *   0   the list is through
 *   8   an exception: X9 its syndrome (ESR), which is also what is stored, X10 the address (FAR), X11 the instruction (ELR)
 *   16  the command "halt": WFI would wait inside the kernel, and PSCI's SYSTEM_OFF cannot be gone on from
 *
 * With the MMU off, data is accessed as Device-nGnRnE: past the caches, and aligned. The host's accesses go through the
 * caches, so (on a processor without FWB) lines are cleaned and invalidated before the guest reads, before it writes, lest
 * the host's older data be written back over its own, and after it has written, for what the host has fetched meanwhile.
 * KVM skips cache maintenance of addresses without memslot. Loads and stores are of the plain form, which the processor
 * describes to KVM, so that they work on devices too.
 */
#if defined(__aarch64__)

    .section .rodata, "a", %progbits
    .balign 16
    .globl gm_guest_begin, gm_guest_end
    .hidden gm_guest_begin
    .hidden gm_guest_end
    .type gm_guest_begin, %object

#define SIGNAL_DONE      0
#define SIGNAL_EXCEPTION 8
#define SIGNAL_HALT      16

/* Where the exception vectors lie in the program, and the one of synchronous exceptions from EL1 itself. */
#define VECTORS     0x800
#define SYNCHRONOUS 0x200

#define OP_END       0
#define OP_LOAD      1
#define OP_STORE     2
#define OP_FILL      3
#define OP_COMPARE   4
#define OP_CHECKSUM  5
#define OP_HYPERCALL 6
#define OP_SPIN      9
#define OP_HALT      10
#define OP_COPY      11

/* Kept over every list, and over a hypercall, which may change X0 to X17. */
#define mailbox x28
#define signals x27
#define line    x26 /* bytes of the smallest cache line */
#define lines   x25 /* the mask that gives the beginning of one */
#define command x24
/* The command's fields and its result. */
#define width w18
#define arg_a x19
#define arg_b x20
#define arg_c x21
#define arg_d x22
#define result x23

gm_guest_begin:
    mov     mailbox, x0
    mov     signals, x1
    adr     x9, gm_guest_begin + VECTORS
    msr     vbar_el1, x9
    isb
    mrs     x9, ctr_el0
    ubfx    x9, x9, #16, #4         /* DminLine: the logarithm of the line's length in words */
    mov     x10, #4
    lsl     line, x10, x9
    neg     lines, line

.Lnext_list:
    mov     command, mailbox
.Lnext:
    mov     x16, command
    mov     x17, #64
    bl      .Lsync
    ldr     w9, [command]
    ldr     width, [command, #4]
    ldr     arg_a, [command, #8]
    ldr     arg_b, [command, #16]
    ldr     arg_c, [command, #24]
    ldr     arg_d, [command, #32]
    mov     x10, #1
    str     x10, [command, #48]
    mov     result, #0
    cmp     w9, #OP_END
    b.eq    .Lend
    cmp     w9, #OP_LOAD
    b.eq    .Lload
    cmp     w9, #OP_STORE
    b.eq    .Lstore
    cmp     w9, #OP_FILL
    b.eq    .Lfill
    cmp     w9, #OP_COMPARE
    b.eq    .Lcompare
    cmp     w9, #OP_CHECKSUM
    b.eq    .Lchecksum
    cmp     w9, #OP_HYPERCALL
    b.eq    .Lhypercall
    cmp     w9, #OP_SPIN
    b.eq    .Lspin
    cmp     w9, #OP_HALT
    b.eq    .Lhalt
    cmp     w9, #OP_COPY
    b.eq    .Lcopy
    udf     #0                      /* an opcode that the host should not have written */

/* sync: makes x17 bytes from x16 the same in memory and for the host; changes x16 and x17 */
.Lsync:
    cbz     x17, 2f
    add     x17, x16, x17
1:  dc      civac, x16
    add     x16, x16, line
    and     x16, x16, lines
    cmp     x16, x17
    b.lo    1b
2:  dsb     sy
    ret

/* done: x16 and x17 as for sync, what the command has written */
.Lwritten:
    dsb     sy
    bl      .Lsync
.Ldone:
    str     result, [command, #40]
    mov     x10, #2
    str     x10, [command, #48]
    dsb     sy
    mov     x16, command
    mov     x17, #64
    bl      .Lsync
    add     command, command, #64
    b       .Lnext

.Lend:
    mov     x10, #2
    str     x10, [command, #48]
    dsb     sy
    mov     x16, command
    mov     x17, #64
    bl      .Lsync
    str     xzr, [signals, #SIGNAL_DONE]
    b       .Lnext_list

/* load: a address -> result */
.Lload:
    mov     x16, arg_a
    mov     x17, #1                 /* an aligned word lies in one line */
    bl      .Lsync
    cmp     width, #8
    b.eq    1f
    cmp     width, #4
    b.eq    2f
    cmp     width, #2
    b.eq    3f
    ldrb    w23, [arg_a]
    b       .Ldone
1:  ldr     result, [arg_a]
    b       .Ldone
2:  ldr     w23, [arg_a]
    b       .Ldone
3:  ldrh    w23, [arg_a]
    b       .Ldone

/* store: a address, b value */
.Lstore:
    mov     x16, arg_a
    mov     x17, #1
    bl      .Lsync
    mov     x16, arg_a
    mov     x17, #1
    cmp     width, #8
    b.eq    1f
    cmp     width, #4
    b.eq    2f
    cmp     width, #2
    b.eq    3f
    strb    w20, [arg_a]
    b       .Lwritten
1:  str     arg_b, [arg_a]
    b       .Lwritten
2:  str     w20, [arg_a]
    b       .Lwritten
3:  strh    w20, [arg_a]
    b       .Lwritten

/* fill: a address, b length, c byte */
.Lfill:
    mov     x16, arg_a
    mov     x17, arg_b
    bl      .Lsync
    mov     x16, arg_a
    mov     x17, arg_b
    add     arg_b, arg_a, arg_b                 /* the end */
    and     arg_c, arg_c, #0xff
    mov     x9, #0x0101010101010101
    mul     arg_c, arg_c, x9
1:  cmp     arg_a, arg_b
    b.hs    .Lwritten
    tst     arg_a, #7
    b.ne    2f
    sub     x9, arg_b, arg_a
    cmp     x9, #8
    b.lo    2f
    str     arg_c, [arg_a]
    add     arg_a, arg_a, #8
    b       1b
2:  strb    w21, [arg_a]
    add     arg_a, arg_a, #1
    b       1b

/* compare: a address, b length, c byte -> offset of the first other byte, or b */
.Lcompare:
    mov     x16, arg_a
    mov     x17, arg_b
    bl      .Lsync
    and     arg_c, arg_c, #0xff
    mov     x9, #0x0101010101010101
    mul     arg_c, arg_c, x9
    and     w11, w21, #0xff
1:  cmp     result, arg_b
    b.hs    .Ldone
    add     x9, arg_a, result
    tst     x9, #7
    b.ne    2f
    sub     x10, arg_b, result
    cmp     x10, #8
    b.lo    2f
    ldr     x10, [x9]
    cmp     x10, arg_c
    b.ne    2f                      /* which byte of them, the next steps tell */
    add     result, result, #8
    b       1b
2:  ldrb    w10, [x9]
    cmp     w10, w11
    b.ne    .Ldone
    add     result, result, #1
    b       1b

/* checksum: a address, b length (a multiple of 8) -> the 64-bit words, each added after rotating the sum left by one */
.Lchecksum:
    mov     x16, arg_a
    mov     x17, arg_b
    bl      .Lsync
    lsr     arg_b, arg_b, #3
1:  cbz     arg_b, .Ldone
    ldr     x9, [arg_a]
    ror     result, result, #63
    add     result, result, x9
    add     arg_a, arg_a, #8
    sub     arg_b, arg_b, #1
    b       1b

/* hypercall: HVC as the SMC calling convention has it: a function, b, c, d arguments -> X0 */
.Lhypercall:
    mov     x0, arg_a
    mov     x1, arg_b
    mov     x2, arg_c
    mov     x3, arg_d
    hvc     #0
    mov     result, x0
    b       .Ldone

/* spin: until the 64-bit word at a equals b -> how often it was looked at */
.Lspin:
    mov     x16, arg_a
    mov     x17, #1
    bl      .Lsync
    add     result, result, #1
    ldr     x9, [arg_a]
    cmp     x9, arg_b
    b.eq    .Ldone
    yield
    b       .Lspin

.Lhalt:
    str     xzr, [signals, #SIGNAL_HALT]
    b       .Ldone

/* copy: a to, b from, c length */
.Lcopy:
    mov     x16, arg_b
    mov     x17, arg_c
    bl      .Lsync
    mov     x16, arg_a
    mov     x17, arg_c
    bl      .Lsync
    mov     x16, arg_a
    mov     x17, arg_c
1:  cbz     arg_c, .Lwritten
    orr     x9, arg_a, arg_b
    tst     x9, #7
    b.ne    2f
    cmp     arg_c, #8
    b.lo    2f
    ldr     x9, [arg_b]
    str     x9, [arg_a]
    add     arg_a, arg_a, #8
    add     arg_b, arg_b, #8
    sub     arg_c, arg_c, #8
    b       1b
2:  ldrb    w9, [arg_b]
    strb    w9, [arg_a]
    add     arg_a, arg_a, #1
    add     arg_b, arg_b, #1
    sub     arg_c, arg_c, #1
    b       1b

    /* Only the one vector: interrupts are masked, and the others cannot be taken from where this runs. */
    .space  VECTORS + SYNCHRONOUS - (. - gm_guest_begin)
    mrs     x9, esr_el1
    mrs     x10, far_el1
    mrs     x11, elr_el1
1:  str     x9, [signals, #SIGNAL_EXCEPTION]
    b       1b

gm_guest_end:
    .size gm_guest_begin, . - gm_guest_begin
#endif

    .section .note.GNU-stack, "", %progbits
