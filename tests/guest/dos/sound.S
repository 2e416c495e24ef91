/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Sound Blaster 16 as games drive it: reset, version, mixer; blocks of 8 bits by single-cycle DMA, each begun by the program
 * when the interrupt of the one before has come; then 16 bits in stereo by auto-initialized DMA, ended after its first round. Samples are
 * x' = 25173 x + 13849 modulo 65536, from 1 on: the high byte, then the word.
 */
#include "dos.h"

#define BASE 0x220
#define RATE 22050
#define BLOCK 2048
#define BLOCKS 4
#define WORDS 8192

	.code16
	.globl _start
_start:	cld
	call reset
	jc none
	movb $0xe1, %al
	call write
	call read
	movb %al, %bh
	call read
	movb %al, %bl
	movw %bx, %ax
	aam
	xchgb %al, %ah
	addw $'0' << 8 | '0', %ax
	movw %ax, minor
	addb $'0', %bh
	movb %bh, major
	put_text version
	/* All volumes at their most: samples are heard as they are. Then interrupt 5, channels 1 and 5. */
	movw $mixer, %si
	movw $mixer_count, %cx
1:	lodsw
	movw $BASE + 4, %dx
	outb %al, %dx
	incw %dx
	movb %ah, %al
	outb %al, %dx
	loop 1b
	hook 0x0d, on_interrupt, old_vector
	inb $0x21, %al
	movb %al, old_mask
	andb $0xdf, %al
	outb %al, $0x21
	movb $0xd1, %al		/* speaker on */
	call write
	movb $0x41, %al		/* the rate, high byte first */
	call write
	movb $RATE >> 8, %al
	call write
	movb $RATE & 0xff, %al
	call write
	call play_bytes
	put_text bytes_done
	call play_words
	put_text words_done
	movb old_mask, %al
	outb %al, $0x21
	unhook 0x0d, old_vector
	ret
none:	put_text no_card
	ret

/* --- the DSP --- */

reset:	movw $BASE + 6, %dx
	movb $1, %al
	outb %al, %dx
	movw $10, %cx
1:	inb $0x84, %al
	loop 1b
	xorb %al, %al
	outb %al, %dx
	movw $1000, %cx
2:	movw $BASE + 14, %dx
	inb %dx, %al
	testb %al, %al
	js 3f
	loop 2b
	stc
	ret
3:	movw $BASE + 10, %dx
	inb %dx, %al
	cmpb $0xaa, %al
	je 4f
	stc
4:	ret

write:	pushw %ax
	movw $BASE + 12, %dx
1:	inb %dx, %al
	testb %al, %al
	js 1b
	popw %ax
	outb %al, %dx
	ret

read:	movw $BASE + 14, %dx
1:	inb %dx, %al
	testb %al, %al
	jns 1b
	movw $BASE + 10, %dx
	inb %dx, %al
	ret

/* The next sample's value in AX. */
next:	movw $25173, %ax
	mulw value
	addw $13849, %ax
	movw %ax, value
	ret

/* Sleeps until the interrupt has come. */
wait:	cli
	cmpb $0, interrupts
	jne 1f
	sti
	hlt
	jmp wait
1:	decb interrupts
	sti
	ret

/* --- 8 bits, by channel 1 --- */

play_bytes:
	movw $BLOCKS, %bp
1:	movw $buffer, %di
	movw $BLOCK, %cx
2:	call next
	movb %ah, (%di)
	incw %di
	loop 2b
	movb $5, %al		/* masked while it is set up */
	outb %al, $0x0a
	outb %al, $0x0c
	movb $0x49, %al		/* single, from memory */
	outb %al, $0x0b
	movw %ds, %ax
	shlw $4, %ax
	addw $buffer, %ax
	outb %al, $0x02
	movb %ah, %al
	outb %al, $0x02
	movw %ds, %ax
	shrw $12, %ax
	outb %al, $0x83
	movw $BLOCK - 1, %ax
	outb %al, $0x03
	movb %ah, %al
	outb %al, $0x03
	movb $1, %al
	outb %al, $0x0a
	movb $0x14, %al
	call write
	movb $(BLOCK - 1) & 0xff, %al
	call write
	movb $(BLOCK - 1) >> 8, %al
	call write
	call wait
	decw %bp
	jnz 1b
	ret

/* --- 16 bits, by channel 5, which counts words --- */

play_words:
	movw $buffer, %di
	movw $WORDS, %cx
1:	call next
	movw %ax, (%di)
	addw $2, %di
	loop 1b
	movb $5, %al
	outb %al, $0xd4
	outb %al, $0xd8
	movb $0x59, %al		/* single, auto-initialized, from memory */
	outb %al, $0xd6
	movw %ds, %ax
	movzwl %ax, %eax
	shll $4, %eax
	addl $buffer, %eax
	movl %eax, %ebx
	shrl $1, %eax
	outb %al, $0xc4
	movb %ah, %al
	outb %al, $0xc4
	shrl $16, %ebx
	movb %bl, %al
	outb %al, $0x8b
	movw $WORDS - 1, %ax
	outb %al, $0xc6
	movb %ah, %al
	outb %al, $0xc6
	movb $1, %al
	outb %al, $0xd4
	movb $0xb6, %al		/* 16 bits, output, auto-initialize, FIFO */
	call write
	movb $0x30, %al		/* stereo, signed */
	call write
	movb $(WORDS - 1) & 0xff, %al
	call write
	movb $(WORDS - 1) >> 8, %al
	call write
	call wait
	movb $0xd5, %al		/* stop at once, then leave it for good */
	call write
	movb $0xd9, %al
	jmp write

/* Interrupt 5: the mixer tells which of the two it is. */
on_interrupt:
	pushw %ax
	pushw %dx
	movw $BASE + 4, %dx
	movb $0x82, %al
	outb %al, %dx
	incw %dx
	inb %dx, %al
	movw $BASE + 14, %dx
	testb $1, %al
	jnz 1f
	incw %dx
	testb $2, %al
	jz 2f
1:	inb %dx, %al
	incb %cs:interrupts
2:	movb $0x20, %al
	outb %al, $0x20
	popw %dx
	popw %ax
	iret

mixer:	.word 0xf830, 0xf831, 0xf832, 0xf833, 0x0041, 0x0042, 0x0280, 0x2281
mixer_count = (. - mixer) / 2
version: .ascii "DSP "
major:	.ascii "0."
minor:	.ascii "00\r\n$"
bytes_done: .ascii "8 bits: played\r\n$"
words_done: .ascii "16 bits: played\r\n$"
no_card: .ascii "There is no Sound Blaster\r\n$"
old_mask: .byte 0
interrupts: .byte 0
	.balign 4
value:	.word 1
old_vector: .long 0
	.balign 16
buffer:
