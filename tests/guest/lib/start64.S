/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Multiboot 1 entry in 32-bit protected mode -> 64-bit mode with the low 4 GiB
 * identity-mapped by 2 MiB pages (supervisor, writable), then guest_main. */
	.section .multiboot, "a"
	.align 4
	.long 0x1badb002, 0x00000003, -(0x1badb002 + 0x00000003)

	.section .boot, "ax"
	.code32
	.globl multiboot_entry
multiboot_entry:
	cli
	movl $boot_stack_top, %esp
	movl %ebx, multiboot_info
	/* PML4 -> PDPT -> 4 page directories */
	movl $page_pdpt, %eax
	orl $7, %eax
	movl %eax, page_pml4
	movl $page_directories, %eax
	orl $7, %eax
	movl $page_pdpt, %edi
	movl $4, %ecx
1:	movl %eax, (%edi)
	addl $0x1000, %eax
	addl $8, %edi
	loop 1b
	movl $page_directories, %edi
	movl $0x83, %eax
	movl $2048, %ecx
2:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	loop 2b
	movl %cr4, %eax
	orl $0x620, %eax		/* PAE, OSFXSR, OSXMMEXCPT */
	movl %eax, %cr4
	movl $page_pml4, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x901, %eax		/* NXE, LME, SCE */
	wrmsr
	movl %cr0, %eax
	andl $~0x0c, %eax		/* EM, TS */
	orl $0x80010022, %eax		/* PG, WP, NE, MP */
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $0x08, $entry64

	.code64
entry64:
	movw $0x10, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw %ax, %fs
	movw %ax, %gs
	movabsq $boot_stack_top, %rsp
	movabsq $tss64, %rax
	movq %rax, %rdx
	movw %dx, gdt64 + 0x40 + 2
	shrq $16, %rdx
	movb %dl, gdt64 + 0x40 + 4
	movb %dh, gdt64 + 0x40 + 7
	movabsq $ring0_stack_top, %rax
	movq %rax, tss64 + 4
	movabsq $ist_stack_top, %rax
	movq %rax, tss64 + 36
	movw $0x40, %ax
	ltr %ax
	call idt_setup
	call guest_main
	movl %eax, %edi
	call guest_exit
1:	hlt
	jmp 1b

	.data
	.align 16
	.globl gdt64
gdt64:	.quad 0
	.quad 0x00af9a000000ffff	/* 08 code64 DPL 0 */
	.quad 0x00cf92000000ffff	/* 10 data DPL 0 */
	.quad 0x00cf9a000000ffff	/* 18 code32 DPL 0 */
	.quad 0x00cffa000000ffff	/* 20 code32 DPL 3 */
	.quad 0x00cff2000000ffff	/* 28 data DPL 3 */
	.quad 0x00affa000000ffff	/* 30 code64 DPL 3 */
	.quad 0x00009a000000ffff	/* 38 code16 DPL 0 */
	.quad 0x0000890000000067	/* 40 TSS (base laid at start) */
	.quad 0
	.globl gdt_spare
gdt_spare: .fill 16, 8, 0		/* 50.. for tests */
gdt_end:
gdt_pointer:
	.word gdt_end - gdt64 - 1
	.quad gdt64
	.globl multiboot_info
multiboot_info: .quad 0
	.globl tss64
	.align 16
tss64:	.fill 104, 1, 0

	.bss
	.align 4096
	.globl page_pml4, page_pdpt, page_directories
page_pml4: .skip 4096
page_pdpt: .skip 4096
page_directories: .skip 4 * 4096
	.skip 16384
boot_stack_top:
	.skip 16384
	.globl ring0_stack_top
ring0_stack_top:
	.skip 8192
	.globl ist_stack_top
ist_stack_top:

/* Exceptions and interrupts: 256 stubs push (error code,) vector and go to C. */
	.text
	.globl vector_stubs
	.align 16
vector_stubs:
	.set vector, 0
	.rept 256
	.align 16
	.if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
	.else
	pushq $0
	.endif
	pushq $vector
	jmp vector_common
	.set vector, vector + 1
	.endr

vector_common:
	pushq %r15
	pushq %r14
	pushq %r13
	pushq %r12
	pushq %r11
	pushq %r10
	pushq %r9
	pushq %r8
	pushq %rbp
	pushq %rdi
	pushq %rsi
	pushq %rdx
	pushq %rcx
	pushq %rbx
	pushq %rax
	movq %rsp, %rdi
	cld
	movq %rsp, %rbp
	andq $-16, %rsp
	call vector_handler
	movq %rbp, %rsp
	popq %rax
	popq %rbx
	popq %rcx
	popq %rdx
	popq %rsi
	popq %rdi
	popq %rbp
	popq %r8
	popq %r9
	popq %r10
	popq %r11
	popq %r12
	popq %r13
	popq %r14
	popq %r15
	addq $16, %rsp
	iretq

/* bool guarded_call(void (*fn)(void *), void *arg, struct guard *guard): the handler comes back here on a fault. */
	.globl guarded_call
guarded_call:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdx)
	pushq %rdx
	movq %rdi, %rax
	movq %rsi, %rdi
	call *%rax
	addq $8, %rsp
	xorl %eax, %eax
	jmp 1f
	.globl guarded_resume
guarded_resume:			/* RDI: guard */
	movq (%rdi), %rsp
	movl $1, %eax
1:	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret
	.section .note.GNU-stack, "", @progbits
