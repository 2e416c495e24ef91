/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The boot sector: loads DOS.SYS, sector by sector, and goes there with the drive's number in DL. */
#include "disk.h"

#define FAT 0x8000
#define ROOT 0xa000

	.code16
	.globl _start
_start:
	jmp start
	nop
	.ascii "VISORDOS"
	.word SECTOR
	.byte 1
	.word 1
	.byte 2
	.word ROOT_ENTRIES, SECTORS
	.byte 0xf0
	.word FAT_SECTORS, TRACK, 2
	.long 0, 0
	.byte 0, 0, 0x29
	.long 0x12345678
	.ascii "VISOR      FAT12   "

start:	cli
	xorw %ax, %ax
	movw %ax, %ss
	movw $0x7c00, %sp
	movw %ax, %ds
	movw %ax, %es
	sti
	cld
	movb %dl, drive
	movw $FAT_SECTOR, %ax
	movw $FAT, %bx
	movw $FAT_SECTORS, %cx
	call read
	movw $ROOT_SECTOR, %ax
	movw $ROOT, %bx
	movw $ROOT_SECTORS, %cx
	call read
	movw $ROOT, %di
find:	movw $name, %si
	movw $11, %cx
	pushw %di
	repe cmpsb
	popw %di
	je load
	addw $ENTRY, %di
	cmpb $0, (%di)
	jne find
	movw $missing, %si
	jmp fail

load:	movw ENTRY_CLUSTER(%di), %ax
	movw $SYSTEM_SEGMENT, %dx
	movw %dx, %es
	xorw %bx, %bx
next:	pushw %ax
	addw $CLUSTER_SECTOR, %ax
	movw $1, %cx
	call read
	popw %ax
	movw %ax, %si
	shrw $1, %si
	addw %ax, %si
	testb $1, %al
	movw FAT(%si), %ax
	jz even
	shrw $4, %ax
even:	andw $0xfff, %ax
	cmpw $LAST_CLUSTER, %ax
	jb next
	movb drive, %dl
	ljmp $SYSTEM_SEGMENT, $0

/* CX sectors from AX to ES:BX, which moves on. */
read:	pushw %ax
	pushw %cx
	xorw %dx, %dx
	movw $TRACK, %cx
	divw %cx
	movb %dl, %cl
	incb %cl
	movb %al, %dh
	andb $1, %dh
	shrb $1, %al
	movb %al, %ch
	movb drive, %dl
	movw $3, %bp
1:	movw $0x0201, %ax
	int $0x13
	jnc 2f
	xorw %ax, %ax
	int $0x13
	decw %bp
	jnz 1b
	movw $unreadable, %si
	jmp fail
2:	popw %cx
	popw %ax
	incw %ax
	addw $SECTOR, %bx
	loop read
	ret

1:	movb $0x0e, %ah
	movw $7, %bx
	int $0x10
fail:	lodsb
	testb %al, %al
	jnz 1b
2:	hlt
	jmp 2b

name:	.ascii "DOS     SYS"
missing: .asciz "There is no DOS.SYS on this disk"
unreadable: .asciz "This disk cannot be read"
drive:	.byte 0

	.org 510
	.word 0xaa55
