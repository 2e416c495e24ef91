/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A game in a boot sector: lights in five rows of five. Arrow keys (INT 16h) move the mark, the space bar turns a light and its
 * neighbours. It draws to the text memory, and clicks by the speaker. The game is won when all are dark.
 */
#define ROW 80			/* bytes of a line of 40 characters */
#define LIT 0x0e
#define DARK 0x08
#define MARK 0x0c

	.code16
	.globl _start
_start:	ljmp $0, $1f
1:	xorw %ax, %ax
	movw %ax, %ss
	movw $0x7c00, %sp
	movw %ax, %ds
	cld
	movw $0x0001, %ax	/* 40 columns, colours */
	int $0x10
	movb $1, %ah		/* no cursor */
	movw $0x2000, %cx
	int $0x10
	movw $title, %si
	call print
	movw $0xb800, %ax
	movw %ax, %es
	movw $presses, %si
1:	lodsb
	cmpb $25, %al
	ja game
	call press
	jmp 1b

game:	call draw
	cmpl $0, lights
	jne key
	movw $won, %si
	call print
key:	xorb %ah, %ah
	int $0x16
	movb place, %bl
	cmpb $0x48, %ah
	je up
	cmpb $0x50, %ah
	je down
	cmpb $0x4b, %ah
	je left
	cmpb $0x4d, %ah
	je right
	cmpb $' ', %al
	jne key
	movb %bl, %al
	call press
	call click
	jmp game
up:	subb $5, %bl
	jmp move
down:	addb $5, %bl
	jmp move
left:	decb %bl
	jmp move
right:	incb %bl
move:	cmpb $25, %bl
	jae key
	movb %bl, place
	jmp game

/* Turns light AL and those beside it. */
press:	movzbw %al, %bx
	call turn
	cmpb $5, %al
	jb 1f
	movb %al, %bl
	subb $5, %bl
	call turn
1:	cmpb $20, %al
	jae 2f
	movb %al, %bl
	addb $5, %bl
	call turn
2:	movb %al, %cl
	aam $5			/* AL: the column */
	xchgb %al, %cl
	testb %cl, %cl
	jz 3f
	movb %al, %bl
	decb %bl
	call turn
3:	cmpb $4, %cl
	je 4f
	movb %al, %bl
	incb %bl
	call turn
4:	ret
turn:	btcw %bx, lights_at
	ret

/* All lights, four characters wide and two lines high, with the mark on both sides of one. */
draw:	xorw %bx, %bx
	movw $4 * ROW + 8, %di
1:	movw $0x00db, %ax
	btw %bx, lights_at
	movb $DARK, %ah
	jnc 2f
	movb $LIT, %ah
2:	call bar
	addw $ROW - 8, %di
	call bar
	subw $ROW, %di
	movw $0x0020, %ax
	movw %ax, %dx
	cmpb place, %bl
	jne 3f
	movw $MARK << 8 | '[', %ax
	movw $MARK << 8 | ']', %dx
3:	movw %ax, %es:-10(%di)
	movw %dx, %es:(%di)
	addw $6, %di
	incw %bx
	movb %bl, %al
	aam $5
	testb %al, %al
	jnz 1b
	addw $4 * ROW - 5 * 14, %di
	cmpb $25, %bl
	jb 1b
	ret
bar:	movw $4, %cx
	rep stosw
	ret

/* A short tone: channel 2 of the timer, and the gate and the speaker's switch in port 61h; port 61h shows the end of 5 ms. */
click:	movb $0xb6, %al
	outb %al, $0x43
	movb $0x98, %al
	outb %al, $0x42
	movb $0x0a, %al
	outb %al, $0x42
	inb $0x61, %al
	orb $3, %al
	outb %al, $0x61
	movw $333, %cx		/* the memory refresh turns bit 4 every 15 us */
1:	inb $0x61, %al
	andb $0x10, %al
	cmpb %al, %ah
	je 1b
	movb %al, %ah
	loop 1b
	inb $0x61, %al
	andb $0xfc, %al
	outb %al, $0x61
	ret

1:	movb $0x0e, %ah
	movw $0x0007, %bx
	int $0x10
print:	lodsb
	testb %al, %al
	jnz 1b
	ret

title:	.asciz "\r\n          L I G H T S"
won:	.asciz "   All dark."
presses: .byte 0, 12, 19, 7, 0xff
place:	.byte 12
	.balign 4
lights:
lights_at: .long 0

	.org 510
	.word 0xaa55
