/* The instructions with which guest memory is touched, and the only ones at which a fault is forgiven
 * (guarded_memory.cpp). The registers say how far the operation came, so the recovery code only has to return the
 * count that is left.
 */
    .text
    .hidden gm_guarded_begin
    .hidden gm_guarded_end
    .hidden gm_guarded_fault
    .hidden gm_guarded_copy
    .hidden gm_guarded_fill
    .globl gm_guarded_begin, gm_guarded_end, gm_guarded_fault, gm_guarded_copy, gm_guarded_fill
    .type gm_guarded_copy, %function
    .type gm_guarded_fill, %function

#if defined(__x86_64__)

/* size_t gm_guarded_copy(void* to = rdi, const void* from = rsi, size_t length = rdx)
 * Up to 256 bytes go 16 at a time, because rep movsb takes that long to start; rcx counts down only after a store, so at
 * a fault it is what is left, counted from the start of a step.
 */
gm_guarded_copy:
    .cfi_startproc
    endbr64
    mov     %rdx, %rcx
    jmp     gm_guarded_begin
    .cfi_endproc
    .size gm_guarded_copy, . - gm_guarded_copy

/* size_t gm_guarded_fill(void* to = rdi, uint8_t value = rsi, size_t length = rdx) */
gm_guarded_fill:
    .cfi_startproc
    endbr64
    mov     %rdx, %rcx
    mov     %esi, %eax
    jmp     .Lfill
    .cfi_endproc
    .size gm_guarded_fill, . - gm_guarded_fill

    .cfi_startproc
gm_guarded_begin:
    cmp     $256, %rcx
    ja      2f
1:  cmp     $16, %rcx
    jb      2f
    movups  (%rsi), %xmm0
    movups  %xmm0, (%rdi)
    add     $16, %rsi
    add     $16, %rdi
    sub     $16, %rcx
    jmp     1b
2:  rep movsb
    jmp     gm_guarded_fault
.Lfill:
    rep stosb
gm_guarded_end:
gm_guarded_fault:
    mov     %rcx, %rax
    ret
    .cfi_endproc

#elif defined(__aarch64__)

/* size_t gm_guarded_copy(void* to = x0, const void* from = x1, size_t length = x2)
 * x2 counts down only after a store, so at a fault it is what is left, counted from the start of a step of 16 bytes.
 */
gm_guarded_copy:
    .cfi_startproc
    hint    #34
    b       gm_guarded_begin
    .cfi_endproc
    .size gm_guarded_copy, . - gm_guarded_copy

/* size_t gm_guarded_fill(void* to = x0, uint8_t value = w1, size_t length = x2) */
gm_guarded_fill:
    .cfi_startproc
    hint    #34
    and     x1, x1, #0xff
    mov     x3, #0x0101010101010101
    mul     x3, x1, x3
    b       .Lfill
    .cfi_endproc
    .size gm_guarded_fill, . - gm_guarded_fill

    .cfi_startproc
gm_guarded_begin:
    cmp     x2, #16
    b.lo    2f
1:  ldp     x3, x4, [x1]
    stp     x3, x4, [x0]
    add     x1, x1, #16
    add     x0, x0, #16
    sub     x2, x2, #16
    cmp     x2, #16
    b.hs    1b
2:  cbz     x2, gm_guarded_fault
3:  ldrb    w3, [x1], #1
    strb    w3, [x0], #1
    subs    x2, x2, #1
    b.ne    3b
    b       gm_guarded_fault
.Lfill:
    cmp     x2, #16
    b.lo    5f
4:  stp     x3, x3, [x0]
    add     x0, x0, #16
    sub     x2, x2, #16
    cmp     x2, #16
    b.hs    4b
5:  cbz     x2, gm_guarded_fault
6:  strb    w3, [x0], #1
    subs    x2, x2, #1
    b.ne    6b
gm_guarded_end:
gm_guarded_fault:
    mov     x0, x2
    ret
    .cfi_endproc

#else
#error "no guarded access for this architecture yet"
#endif

    .section .note.GNU-stack, "", %progbits
