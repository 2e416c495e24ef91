/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A digger's game in mode 13h. Its own handlers of IRQ 1 (port 60h; arrow keys, Esc ends) and of IRQ 0, for which
 * the timer runs at 100 Hz: stones fall a field every four ticks, and a gem makes a tone of the speaker. The number of gems is written to
 * SCORE.DAT at the end.
 */
#include "dos.h"

#define COLUMNS 20
#define ROWS 12
#define FIELD 16		/* pixels */
#define WIDTH 320
#define TICK 11932		/* of 1193182 Hz */
#define FALL_TICKS 4
#define TONE_TICKS 10
#define KEYS 16			/* in the ring */

	.code16
	.globl _start
_start:	cld
	movw $0x0013, %ax
	int $0x10
	movw $0xa000, %ax
	movw %ax, %fs
	call set_colors
	hook 0x08, on_timer, old_timer
	hook 0x09, on_key, old_key
	movw $TICK, %ax
	call set_timer
	call draw_all
	call show_gems

game:	hlt
	movw ticks, %ax
	subw fallen, %ax
	cmpw $FALL_TICKS, %ax
	jb 1f
	movw ticks, %ax
	movw %ax, fallen
	call fall
1:	movw key_out, %bx
	cmpw key_in, %bx
	je game
	movb keys(%bx), %al
	incw %bx
	andw $KEYS - 1, %bx
	movw %bx, key_out
	movw $-COLUMNS, %bx
	cmpb $0x48, %al
	je 2f
	movw $COLUMNS, %bx
	cmpb $0x50, %al
	je 2f
	movw $-1, %bx
	cmpb $0x4b, %al
	je 2f
	movw $1, %bx
	cmpb $0x4d, %al
	je 2f
	cmpb $0x01, %al
	je end
	jmp 1b
2:	call move
	jmp 1b

end:	call silence
	xorw %ax, %ax
	call set_timer
	unhook 0x09, old_key
	unhook 0x08, old_timer
	movw $0x0003, %ax
	int $0x10
	movb gems, %al
	movb %al, score
	put_text score
	movw $file, %dx
	dos DOS_OPEN
	jc 1f
	movw %ax, %bx
	movw $score, %dx
	movw $score_end - score, %cx
	dos DOS_WRITE
	dos DOS_CLOSE
1:	ret			/* to the INT 20h at offset 0 */

/* --- moves --- */

/* The digger by BX. */
move:	movw player, %si
	leaw (%bx,%si), %di
	movb map(%di), %al
	cmpb $' ', %al
	je step
	cmpb $'.', %al
	je step
	cmpb $'*', %al
	je take
	cmpb $'O', %al
	jne 1f
	leaw 1(%bx), %ax	/* stones go to the left and to the right */
	cmpw $2, %ax
	ja 1f
	cmpb $' ', map(%bx,%di)
	jne 1f
	movb $'O', map(%bx,%di)
	pushw %di
	pushw %si
	leaw (%bx,%di), %di
	call draw
	popw %si
	popw %di
	jmp step
1:	ret
take:	incb gems
	pushw %si
	pushw %di
	call show_gems
	call tone
	popw %di
	popw %si
step:	movb $' ', map(%si)
	movb $'@', map(%di)
	movw %di, player
	pushw %di
	movw %si, %di
	call draw
	popw %di
	jmp draw

/* Every stone over an empty field goes down by one. */
fall:	movw $COLUMNS * (ROWS - 1) - 1, %di
1:	cmpb $'O', map(%di)
	jne 2f
	cmpb $' ', map + COLUMNS(%di)
	jne 2f
	movb $' ', map(%di)
	movb $'O', map + COLUMNS(%di)
	pushw %di
	call draw
	popw %di
	pushw %di
	addw $COLUMNS, %di
	call draw
	popw %di
2:	decw %di
	jns 1b
	ret

/* --- pictures --- */

/* Colour n is as bright as its low five bits say, in red, green and blue as its upper three say. */
set_colors:
	movw $0x3c8, %dx
	xorb %al, %al
	outb %al, %dx
	incw %dx
	xorb %bl, %bl
1:	movb $0x20, %bh
2:	movb %bl, %al
	andb $31, %al
	leaw 1(%eax,%eax), %ax
	testb %bh, %bl
	jnz 3f
	xorb %al, %al
3:	outb %al, %dx
	shlb $1, %bh
	jnz 2b
	incb %bl
	jnz 1b
	ret

draw_all:
	movw $COLUMNS * ROWS - 1, %di
1:	pushw %di
	call draw
	popw %di
	decw %di
	jns 1b
	ret

/* Field DI. Pixel (x, y) of the kind of field t has colour 32 t + ((x t ^ 3 y) & 31). */
draw:	movb map(%di), %al
	pushw %ds
	popw %es
	pushw %di
	movw $kinds, %di
	movw $6, %cx
	repne scasb
	subw $kinds + 1, %di
	movw %di, %bp		/* t */
	popw %ax
	xorw %dx, %dx
	movw $COLUMNS, %cx
	divw %cx
	imulw $FIELD * WIDTH, %ax, %di
	imulw $FIELD, %dx, %dx
	addw %dx, %di
	xorw %bx, %bx		/* 3 y */
1:	xorw %dx, %dx		/* x t */
	movw $FIELD, %cx
	pushw %bp
	shlw $5, %bp
2:	movw %dx, %ax
	xorw %bx, %ax
	andw $31, %ax
	addw %bp, %ax
	movb %al, %fs:(%di)
	incw %di
	popw %ax
	pushw %ax
	addw %ax, %dx
	decw %cx
	jnz 2b
	popw %bp
	addw $WIDTH - FIELD, %di
	addw $3, %bx
	cmpw $3 * FIELD, %bx
	jb 1b
	ret

/* The BIOS draws characters in graphics modes, too. */
show_gems:
	movb $2, %ah
	xorb %bh, %bh
	movw $24 << 8, %dx
	int $0x10
	movb gems, %al
	movb %al, count
	movw $line, %si
1:	lodsb
	testb %al, %al
	jz 2f
	movb $0x0e, %ah
	movw $0x7f, %bx
	int $0x10
	jmp 1b
2:	ret

/* --- timer, speaker, keys --- */

/* The count AX for channel 0, in mode 2; 0: that of the BIOS. */
set_timer:
	pushw %ax
	movb $0x34, %al
	outb %al, $0x43
	popw %ax
	outb %al, $0x40
	movb %ah, %al
	outb %al, $0x40
	ret

tone:	movb $0xb6, %al
	outb %al, $0x43
	movw $1193, %ax
	outb %al, $0x42
	movb %ah, %al
	outb %al, $0x42
	movb $TONE_TICKS, toned
	inb $0x61, %al
	orb $3, %al
	outb %al, $0x61
	ret

silence:
	inb $0x61, %al
	andb $0xfc, %al
	outb %al, $0x61
	ret

/* As often as without us the BIOS's handler runs, which tells the interrupt controller. */
on_timer:
	pushw %ax
	pushw %ds
	pushw %cs
	popw %ds
	incw ticks
	cmpb $0, toned
	je 1f
	decb toned
	jnz 1f
	call silence
1:	addw $TICK, bios_time
	popw %ds
	jc 2f
	movb $0x20, %al
	outb %al, $0x20
	popw %ax
	iret
2:	popw %ax
	ljmp *%cs:old_timer

on_key:	pushw %ax
	pushw %bx
	pushw %ds
	pushw %cs
	popw %ds
	inb $0x60, %al
	testb $0x80, %al
	jnz 1f
	movw key_in, %bx
	movb %al, keys(%bx)
	incw %bx
	andw $KEYS - 1, %bx
	cmpw key_out, %bx
	je 1f			/* full */
	movw %bx, key_in
1:	inb $0x61, %al		/* as the first PCs wanted it */
	movb %al, %ah
	orb $0x80, %al
	outb %al, $0x61
	movb %ah, %al
	outb %al, $0x61
	movb $0x20, %al
	outb %al, $0x20
	popw %ds
	popw %bx
	popw %ax
	iret

/* --- data --- */

kinds:	.ascii " #.O*@"
map:	.incbin "map.txt"
player:	.word COLUMNS + 1
gems:	.byte '0'
toned:	.byte 0
line:	.ascii "Gems "
count:	.asciz "0"
score:	.ascii "0 gems. \r\n"
score_end: .ascii "$"
file:	.asciz "SCORE.DAT"
	.balign 2
ticks:	.word 0
fallen:	.word 0
bios_time: .word 0
key_in:	.word 0
key_out: .word 0
keys:	.fill KEYS
	.balign 2
old_timer: .long 0
old_key: .long 0
