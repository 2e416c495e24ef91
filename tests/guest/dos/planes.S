/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the planes of a VGA can do: mode 12h with all write modes, the read modes, set/reset, bit mask, rotation and the logical
 * functions; after a key mode 13h made planar ("mode X", 320 x 240), with another start address, panning, and a split screen.
 */
#include "dos.h"

#define SEQ 0x3c4
#define GRAPHICS 0x3ce
#define CRTC 0x3d4
#define LINE 80			/* bytes */

	.code16
	.globl _start
_start:	cld
	movw $0xa000, %ax
	movw %ax, %es
	movw $0x0012, %ax
	int $0x10
	call colors_16
	call bands
	call one_plane
	call curve
	call copy
	call invert
	call pattern
	call compare
	xorb %ah, %ah
	int $0x16
	call mode_x
	xorb %ah, %ah
	int $0x16
	movw $0x0003, %ax
	int $0x10
	ret

/* --- 640 x 480, 16 colours --- */

/* Attribute i is colour 5i + 3 modulo 64, and that is red i, green 63 - i, blue 2i modulo 64. */
colors_16:
	movw $0x3c8, %dx
	xorb %al, %al
	outb %al, %dx
	incw %dx
	xorw %cx, %cx
1:	movb %cl, %al
	outb %al, %dx
	movb $63, %al
	subb %cl, %al
	outb %al, %dx
	movb %cl, %al
	addb %cl, %al
	andb $63, %al
	outb %al, %dx
	incw %cx
	cmpw $64, %cx
	jb 1b
	movw $0x3da, %dx
	inb %dx, %al
	movw $0x3c0, %dx
	xorb %cl, %cl
2:	movb %cl, %al
	outb %al, %dx
	movb $5, %ah
	mulb %ah
	addb $3, %al
	andb $63, %al
	outb %al, %dx
	incb %cl
	cmpb $16, %cl
	jb 2b
	movb $0x20, %al
	outb %al, %dx
	ret

/* Line y in colour y / 32, by set/reset. */
bands:	out_index GRAPHICS, 1, 0x0f
	xorw %di, %di
	xorw %bx, %bx
1:	movw %bx, %ax
	shrw $5, %ax
	movb %al, %ah
	xorb %al, %al
	movw $GRAPHICS, %dx
	outw %ax, %dx
	movw $LINE, %cx
	rep stosb
	incw %bx
	cmpw $480, %bx
	jb 1b
	out_index GRAPHICS, 1, 0
	ret

/* Plane 2 alone: lines 40 to 59, bytes 10 to 19; the processor's byte is rotated by 3. */
one_plane:
	out_index SEQ, 2, 0x04
	out_index GRAPHICS, 3, 0x03
	movw $40 * LINE + 10, %di
	movw $20, %bx
1:	movb $0x2f, %al
	movw $10, %cx
	rep stosb
	addw $LINE - 10, %di
	decw %bx
	jnz 1b
	out_index SEQ, 2, 0x0f
	out_index GRAPHICS, 3, 0
	ret

/* Write mode 2, a pixel at a time: (x, 200 + x x / 4096) in colour x. */
curve:	out_index GRAPHICS, 5, 2
	xorw %bx, %bx
1:	movw %bx, %ax
	mulw %ax
	shrdw $12, %dx, %ax
	addw $200, %ax
	imulw $LINE, %ax, %di
	movw %bx, %ax
	shrw $3, %ax
	addw %ax, %di
	movb %bl, %cl
	andb $7, %cl
	movb $0x80, %ah
	shrb %cl, %ah
	movb $8, %al
	movw $GRAPHICS, %dx
	outw %ax, %dx
	movb %es:(%di), %al	/* into the latches */
	movb %bl, %al
	andb $15, %al
	movb %al, %es:(%di)
	incw %bx
	cmpw $640, %bx
	jb 1b
	out_index GRAPHICS, 8, 0xff
	ret

/* Write mode 1: lines 200 to 263 go to 380 by the latches. */
copy:	out_index GRAPHICS, 5, 1
	pushw %ds
	pushw %es
	popw %ds
	movw $200 * LINE, %si
	movw $380 * LINE, %di
	movw $64 * LINE, %cx
	rep movsb
	popw %ds
	out_index GRAPHICS, 5, 0
	ret

/* Exclusive or, of four bits in each byte: lines 100 to 139, bytes 30 to 59. Then lines 140 to 149 by AND, 150 to 159 by OR of colour 5. */
invert:	out_index GRAPHICS, 1, 0x0f
	out_index GRAPHICS, 8, 0x3c
	out_index GRAPHICS, 0, 0x0f
	out_index GRAPHICS, 3, 0x18
	movw $100 * LINE + 30, %di
	movw $40, %bx
	call 1f
	out_index GRAPHICS, 0, 0x05
	out_index GRAPHICS, 3, 0x08
	movw $10, %bx
	call 1f
	out_index GRAPHICS, 3, 0x10
	movw $10, %bx
	call 1f
	out_index GRAPHICS, 3, 0
	out_index GRAPHICS, 8, 0xff
	out_index GRAPHICS, 1, 0
	ret
1:	movw $30, %cx
2:	xchgb %al, %es:(%di)
	incw %di
	loop 2b
	addw $LINE - 30, %di
	decw %bx
	jnz 1b
	ret

/* Write mode 3: what the processor writes is the mask, 17 y in lines 300 to 315, bytes 5 to 24, for colour 12. */
pattern:
	out_index GRAPHICS, 5, 3
	out_index GRAPHICS, 0, 12
	movw $300, %bx
1:	imulw $LINE, %bx, %di
	addw $5, %di
	imulw $17, %bx, %si
	movw $20, %cx
2:	movw %si, %ax
	xchgb %al, %es:(%di)
	incw %di
	loop 2b
	incw %bx
	cmpw $316, %bx
	jb 1b
	out_index GRAPHICS, 0, 0
	out_index GRAPHICS, 5, 0
	ret

/* Read mode 1 finds the pixels of colour 12 in line 305: as many bytes of line 470 become colour 3. Read mode 0 shows plane 1 of line 305: it is added to
 * all planes of line 475. */
compare:
	out_index GRAPHICS, 5, 8
	out_index GRAPHICS, 2, 12
	out_index GRAPHICS, 7, 0x0f
	movw $305 * LINE, %di
	xorw %bx, %bx
	movw $LINE, %cx
1:	movb %es:(%di), %al
	incw %di
2:	addb %al, %al
	adcw $0, %bx
	testb %al, %al
	jnz 2b
	loop 1b
	out_index GRAPHICS, 5, 0
	out_index GRAPHICS, 1, 0x0f
	out_index GRAPHICS, 0, 3
	movw $470 * LINE, %di
	movw %bx, %cx
	rep stosb
	out_index GRAPHICS, 1, 0
	out_index GRAPHICS, 4, 1
	out_index GRAPHICS, 3, 0x10
	movw $475 * LINE, %di
	movw $LINE, %cx
3:	movb %es:(305 - 475) * LINE(%di), %ah
	movb %es:(%di), %al
	movb %ah, %es:(%di)
	incw %di
	loop 3b
	out_index GRAPHICS, 4, 0
	out_index GRAPHICS, 3, 0
	ret

/* --- 320 x 240, 256 colours --- */

mode_x:	movw $0x0013, %ax
	int $0x10
	call colors_256
	out_index SEQ, 4, 0x06
	out_index SEQ, 0, 0x01
	out_port 0x3c2, 0xe3
	out_index SEQ, 0, 0x03
	movw $CRTC, %dx
	movb $0x11, %al
	outb %al, %dx
	incw %dx
	inb %dx, %al
	andb $0x7f, %al
	outb %al, %dx
	decw %dx
	movw $timing, %si
	movw $timing_count, %cx
1:	lodsw
	outw %ax, %dx
	loop 1b
	/* Page 0: pixel (x, y) is x + y, of 100 lines. Page 1 behind 240 lines: x ^ y. */
	movw $page_0, method
	xorw %di, %di
	movw $100, %si
	call page
	movw $page_1, method
	movw $240 * LINE, %di
	movw $240, %si
	call page
	/* Shown: page 1 from its line 8 on, one pixel to the left; below line 400 page 0, which stays. */
	movw $0x3da, %dx
2:	inb %dx, %al
	testb $8, %al
	jz 2b
	out_index CRTC, 0x0c, (248 * LINE) >> 8
	out_index CRTC, 0x0d, (248 * LINE) & 0xff
	movw $0x3da, %dx
	inb %dx, %al
	movw $0x3c0, %dx
	movb $0x33, %al
	outb %al, %dx
	movb $2, %al
	outb %al, %dx
	movb $0x30, %al
	outb %al, %dx
	movb $0x61, %al
	outb %al, %dx
	ret

/* SI lines from DI on; each pixel by the method, from x in BX and y in BP to AL. */
page:	xorw %bp, %bp
1:	xorw %bx, %bx
2:	movb %bl, %cl
	andb $3, %cl
	movb $1, %ah
	shlb %cl, %ah
	movb $2, %al
	movw $SEQ, %dx
	outw %ax, %dx
	call *method
	movb %al, %es:(%di)
	incw %bx
	testb $3, %bl
	jnz 2b
	incw %di
	cmpw $320, %bx
	jb 2b
	incw %bp
	cmpw %si, %bp
	jb 1b
	ret
page_0:	leaw (%bx), %ax
	addw %bp, %ax
	ret
page_1:	movw %bp, %ax
	xorw %bx, %ax
	ret

/* Colour n is 3n, 5n, 7n, each modulo 64. */
colors_256:
	movw $0x3c8, %dx
	xorb %al, %al
	outb %al, %dx
	incw %dx
	xorw %bx, %bx
1:	imulw $3, %bx, %ax
	call 2f
	imulw $5, %bx, %ax
	call 2f
	imulw $7, %bx, %ax
	call 2f
	incb %bl
	jnz 1b
	ret
2:	andb $63, %al
	outb %al, %dx
	ret

/* 480 lines, of which two show the same; byte addresses; the screen is split below line 400. */
timing:	.word 0x0d06, 0x3e07, 0x0109, 0xea10, 0xac11, 0xdf12, 0x0014, 0xe715, 0x0616, 0xe317, 0x9018
timing_count = (. - timing) / 2
method:	.word 0
