/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Multiboot 1 entry -> flat 32-bit protected mode without paging, own GDT, IDT and TSS, then guest_main (guest32.h). */
	.section .multiboot, "a"
	.align 4
	.long 0x1badb002, 0x00000003, -(0x1badb002 + 0x00000003)

	.section .boot, "ax"
	.code32
	.globl multiboot_entry
multiboot_entry:
	cli
	movl $stack_top, %esp
	lgdt gdt_pointer
	ljmp $0x08, $1f
1:	movw $0x10, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw %ax, %fs
	movw %ax, %gs
	movl $tss_main, %eax
	movw %ax, gdt + 0x28 + 2
	shrl $16, %eax
	movb %al, gdt + 0x28 + 4
	movb %ah, gdt + 0x28 + 7
	movw $0x28, %ax
	ltr %ax
	call idt_setup
	call guest_main
	pushl %eax
	call guest_exit
1:	hlt
	jmp 1b

	.data
	.align 16
	.globl gdt, tss_main, gdt_pointer
gdt:	.quad 0
	.quad 0x00cf9a000000ffff	/* 08 code32 DPL 0 */
	.quad 0x00cf92000000ffff	/* 10 data DPL 0 */
	.quad 0x00cffa000000ffff	/* 18 code32 DPL 3 */
	.quad 0x00cff2000000ffff	/* 20 data DPL 3 */
	.quad 0x0000890000000088	/* 28 TSS with 33 bytes of I/O bitmap */
	.quad 0x00009a000000ffff	/* 30 code16 base 0 */
	.quad 0x000092000000ffff	/* 38 data16 base 0 */
	.fill 24, 8, 0			/* 40.. for tests */
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt
	.align 16
tss_main:
	.long 0, ring0_stack_top, 0x10
	.fill 22, 4, 0
	.word 0, tss_bitmap - tss_main
tss_bitmap:
	.fill 32, 1, 0
	.byte 0xff

	.bss
	.align 16
	.skip 16384
stack_top:
	.globl ring0_stack_top
	.skip 16384
ring0_stack_top:

	.text
	.globl vector_stubs
	.align 16
vector_stubs:
	.set vector, 0
	.rept 256
	.align 16
	.if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
	.else
	pushl $0
	.endif
	pushl $vector
	jmp vector_common
	.set vector, vector + 1
	.endr

vector_common:
	pushl %gs
	pushl %fs
	pushl %es
	pushl %ds
	pushal
	movw $0x10, %ax
	movw %ax, %ds
	movw %ax, %es
	movl %esp, %eax
	cld
	pushl %eax
	call vector_handler
	addl $4, %esp
	popal
	popl %ds
	popl %es
	popl %fs
	popl %gs
	addl $8, %esp
	iretl

	.globl guarded_call
guarded_call:			/* (fn, arg, guard) */
	pushl %ebx
	pushl %esi
	pushl %edi
	pushl %ebp
	movl 28(%esp), %edx
	movl 24(%esp), %ecx
	movl 20(%esp), %eax
	movl %esp, (%edx)
	pushl %ecx
	call *%eax
	addl $4, %esp
	xorl %eax, %eax
	jmp 1f
	.globl guarded_resume
guarded_resume:
	movl 4(%esp), %edx
	movw $0x10, %ax
	movw %ax, %ss
	movl (%edx), %esp
	movw %ax, %ds
	movw %ax, %es
	movl $1, %eax
1:	popl %ebp
	popl %edi
	popl %esi
	popl %ebx
	ret
	.section .note.GNU-stack, "", @progbits
