/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The FM synthesizer as games drive it: looked for by its timers at the AdLib's ports, told apart from an OPL2 by its status; then a tone of
 * 440 Hz on the left, by the first array of registers, and one of 880 Hz on the right by the second, both at full level. The
 * time is the first timer's, which is looked at as players without interrupts do it. Then 1000 Hz by the loudspeaker.
 */
#include "dos.h"

#define ADLIB 0x388
#define MIXER 0x224
#define LOOKS 200		/* of some µs altogether, as the AdLib's manual waits */
#define ROUNDS 12		/* of 20.48 ms */
#define DIVISOR 1193

	.code16
	.globl _start
_start:	cld
	call detect
	jc none
	testb $0x06, %al
	jnz old
	put_text found
	movw $mixer, %si
	movw $MIXER, %dx
	call write_all
	movw $settings, %si
	movw $ADLIB, %dx
	call write_all
	movw $right_settings, %si
	movw $ADLIB + 2, %dx
	call write_all
	movw $0x32b0, %ax	/* key on, block 4 */
	movw $ADLIB, %dx
	call play
	movw $0x36b0, %ax	/* block 5 */
	movw $ADLIB + 2, %dx
	call play
	put_text played
	call beep
	put_text beeped
	ret
none:	put_text no_card
	ret
old:	put_text old_chip
	ret

/* Register AL at port DX becomes AH. What the chip wants between: 6 and 35 looks at the status. */
write:	pushw %cx
	pushw %ax
	outb %al, %dx
	movw $6, %cx
1:	inb %dx, %al
	loop 1b
	popw %ax
	pushw %ax
	xchgb %al, %ah
	incw %dx
	outb %al, %dx
	decw %dx
	movw $35, %cx
2:	inb %dx, %al
	loop 2b
	popw %ax
	popw %cx
	ret

/* Pairs of register and value from SI on, up to register 0. */
write_all:
	lodsw
	testb %al, %al
	jz 1f
	call write
	jmp write_all
1:	ret

/* AL: the status at rest; carry: no timer runs over. */
detect:	movw $ADLIB, %dx
	movw $0x6004, %ax
	call write
	movw $0x8004, %ax
	call write
	inb %dx, %al
	movb %al, %bl
	movw $0xff02, %ax
	call write
	movw $0x2104, %ax
	call write
	movw $LOOKS, %cx
1:	inb %dx, %al
	loop 1b
	movb %al, %bh
	movw $0x6004, %ax
	call write
	movw $0x8004, %ax
	call write
	andb $0xe0, %bh
	cmpb $0xc0, %bh
	jne 2f
	testb $0xe0, %bl
	jnz 2f
	movb %bl, %al
	clc
	ret
2:	stc
	ret

beep:	movb $0xb6, %al		/* channel 2, mode 3 */
	outb %al, $0x43
	movb $DIVISOR & 0xff, %al
	outb %al, $0x42
	movb $DIVISOR >> 8, %al
	outb %al, $0x42
	inb $0x61, %al
	orb $3, %al
	outb %al, $0x61
	call wait
	inb $0x61, %al
	andb $0xfc, %al
	outb %al, $0x61
	ret

/* The key of channel 0 of the array at port DX, for ROUNDS of the timer. */
play:	call write
	call wait
	andb $0xdf, %ah
	jmp write

/* ROUNDS of the timer; keeps AX and DX. */
wait:	pushw %ax
	pushw %dx
	movw $ADLIB, %dx
	movw $0x0002, %ax
	call write
	movw $0x2104, %ax
	call write
	movw $ROUNDS, %cx
1:	inb %dx, %al
	testb $0x40, %al
	jz 1b
	movw $0x8004, %ax
	call write
	loop 1b
	movw $0x6004, %ax
	call write
	popw %dx
	popw %ax
	ret

mixer:	.word 0xf830, 0xf831, 0xf834, 0xf835, 0x0041, 0x0042, 0
/* The carrier alone: sine, held, attack and release at once. The F-number of 440 Hz in block 4. */
settings:
	.word 0x0105		/* taken for array 0 and without meaning there, as long as it is an OPL2 */
	.word 0x2123, 0x3f40, 0x0043, 0xf063, 0x0f83, 0x00e3, 0x10c0, 0x44a0, 0
right_settings:
	.word 0x0105, 0x2123, 0x3f40, 0x0043, 0xf063, 0x0f83, 0x00e3, 0x20c0, 0x44a0, 0
found:	.ascii "OPL3: found\r\n$"
played:	.ascii "FM: played\r\n$"
beeped:	.ascii "Loudspeaker: played\r\n$"
no_card: .ascii "There is no AdLib\r\n$"
old_chip: .ascii "There is an OPL2\r\n$"
