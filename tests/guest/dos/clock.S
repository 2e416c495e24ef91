/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Time: the real-time clock by its ports, 64 of its periodic interrupts (IRQ 8), 100 interrupts of the timer at 1 kHz, and a wait by
 * the timer's channel 2, as programs that know no BIOS make it.
 */
#include "dos.h"

#define CMOS 0x70

	.code16
	.globl _start
_start:	cld
	call show_time
	call periodic
	put_text periodic_done
	call timer
	put_text timer_done
	call wait_channel_2
	put_text text_wait
	ret

/* CMOS byte AL to AL. */
cmos:	outb %al, $CMOS
	inb $CMOS + 1, %al
	ret

/* Two equal readings, neither while the clock is being updated. */
show_time:
	call read_time
	movw $fields, %si
	movw $first, %di
	movw $fields_count, %cx
	movw %ds, %ax
	movw %ax, %es
	rep movsb
	call read_time
	movw $fields, %si
	movw $first, %di
	movw $fields_count, %cx
	repe cmpsb
	jne show_time
	movw $fields, %si
	movw $places, %di
	movw $fields_count, %cx
1:	lodsb
	movw (%di), %bx
	addw $2, %di
	movb %al, %ah
	shrb $4, %al
	andb $15, %ah
	addw $'0' << 8 | '0', %ax
	movw %ax, text_time(%bx)
	loop 1b
	put_text text_time
	ret

read_time:
	movb $10, %al
	call cmos
	testb %al, %al
	js read_time
	movw $registers, %si
	movw $fields, %di
	movw $fields_count, %cx
1:	lodsb
	call cmos
	movb %al, (%di)
	incw %di
	loop 1b
	ret

/* Register B has the switch of the interrupt, C is read to allow the next one; IRQ 8 is the second controller's. */
periodic:
	hook 0x70, on_periodic, old_vector
	cli
	movb $11, %al
	call cmos
	movb %al, register_b
	orb $0x40, %al
	movb %al, %ah
	movb $11, %al
	outb %al, $CMOS
	movb %ah, %al
	outb %al, $CMOS + 1
	movb $12, %al
	call cmos
	inb $0xa1, %al
	movb %al, old_mask
	andb $0xfe, %al
	outb %al, $0xa1
	movw $0, count
	sti
1:	hlt
	cmpw $64, count
	jb 1b
	cli
	movb $11, %al
	outb %al, $CMOS
	movb register_b, %al
	outb %al, $CMOS + 1
	movb old_mask, %al
	outb %al, $0xa1
	sti
	unhook 0x70, old_vector
	ret

on_periodic:
	pushw %ax
	incw %cs:count
	movb $12, %al
	call cmos
	movb $0x20, %al
	outb %al, $0xa0
	outb %al, $0x20
	popw %ax
	iret

timer:	hook 0x08, on_timer, old_vector
	movb $0x36, %al
	outb %al, $0x43
	movb $1193 & 0xff, %al
	outb %al, $0x40
	movb $1193 >> 8, %al
	outb %al, $0x40
	movw $0, count
1:	hlt
	cmpw $100, count
	jb 1b
	movb $0x36, %al
	outb %al, $0x43
	xorb %al, %al
	outb %al, $0x40
	outb %al, $0x40
	unhook 0x08, old_vector
	ret

on_timer:
	pushw %ax
	incw %cs:count
	movb $0x20, %al
	outb %al, $0x20
	popw %ax
	iret

/* Mode 0: the output, bit 5 of port 61h, is low until the count is over, which goes on while bit 0 is set. */
wait_channel_2:
	inb $0x61, %al
	andb $0xfc, %al
	outb %al, $0x61
	movb $0xb0, %al
	outb %al, $0x43
	movb $59659 & 0xff, %al
	outb %al, $0x42
	movb $59659 >> 8, %al
	outb %al, $0x42
	inb $0x61, %al
	movb %al, %bl
	orb $1, %al
	outb %al, $0x61
1:	inb $0x61, %al
	testb $0x20, %al
	jz 1b
	andb $0xfe, %al
	outb %al, $0x61
	testb $0x20, %bl
	jz 2f
	movb $'!', low
2:	ret

/* Century, year, month, day, hours, minutes, seconds; where their digits go. */
registers: .byte 0x32, 9, 8, 7, 4, 2, 0
fields_count = . - registers
fields:	.fill fields_count
first:	.fill fields_count
	.balign 2
places:	.word 4, 6, 9, 12, 15, 18, 21
text_time: .ascii "RTC 0000-00-00 00:00:00\r\n$"
periodic_done: .ascii "IRQ 8: 64\r\n$"
timer_done: .ascii "IRQ 0: 100\r\n$"
text_wait: .ascii "Channel 2: 50 ms"
low:	.ascii ".\r\n$"
register_b: .byte 0
old_mask: .byte 0
	.balign 4
count:	.word 0
old_vector: .long 0
