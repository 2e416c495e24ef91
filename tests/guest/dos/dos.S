/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A system in the manner of DOS, as far as its programs want one: a command line (DIR, TYPE, CLS, VER, and NAME for NAME.COM), files in
 * the root directory of a FAT12 disk by INT 13h, keys by INT 16h, text by INT 10h, and INT 21h (dos.h). One file is open at a time, and none grows.
 */
#include "disk.h"

#define FAT 0x4000
#define ROOT 0x6000
#define BUFFER 0x8000		/* a sector of a file */
#define LINE_MAX 60
#define HANDLE 5

	.code16
	.globl _start
_start:	cli
	movw %cs, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $0xfffe, %sp
	sti
	cld
	movb %dl, drive
	xorw %ax, %ax
	movw %ax, %fs
	movw $terminate, %fs:0x20 * 4
	movw %cs, %fs:0x20 * 4 + 2
	movw $system_call, %fs:0x21 * 4
	movw %cs, %fs:0x21 * 4 + 2
	/* Both tables at once: each is on one track. */
	movw $FAT_SECTOR, %ax
	movw $FAT_SECTORS, %cx
	movw $FAT, %bx
	movb $2, %dh
	call transfer
	jc broken
	movw $ROOT_SECTOR, %ax
	movw $ROOT_SECTORS, %cx
	movw $ROOT, %bx
	movb $2, %dh
	call transfer
	jc broken
	call clear
	movw $banner, %si
	call print
shell:	movw $prompt, %si
	call print
	call read_line
	call run_line
	jmp shell
broken:	movw $disk_error, %si
	call print
1:	hlt
	jmp 1b

/* --- text --- */

put:	pushw %bx
	movb $0x0e, %ah
	movw $7, %bx
	int $0x10
	popw %bx
	ret

print:	lodsb
	testb %al, %al
	jz 1f
	call put
	jmp print
1:	ret

clear:	movw $0x0003, %ax
	int $0x10
	ret

new_line:
	movb $13, %al
	call put
	movb $10, %al
	jmp put

/* A line in capitals, with a zero behind it. */
read_line:
	movw $line, %di
1:	xorb %ah, %ah
	int $0x16
	cmpb $13, %al
	je 4f
	cmpb $8, %al
	je 3f
	cmpb $' ', %al
	jb 1b
	cmpw $line + LINE_MAX, %di
	jae 1b
	call put
	cmpb $'a', %al
	jb 2f
	cmpb $'z', %al
	ja 2f
	subb $32, %al
2:	stosb
	jmp 1b
3:	cmpw $line, %di
	je 1b
	decw %di
	movw $erase, %si
	call print
	jmp 1b
4:	movb $0, (%di)
	jmp new_line

/* DX:AX as a number, at the end of ten places. */
print_number:
	movw $10, %cx
	xorw %bp, %bp
1:	pushw %ax
	movw %dx, %ax
	xorw %dx, %dx
	divw ten
	movw %ax, %bx
	popw %ax
	divw ten
	addb $'0', %dl
	pushw %dx
	incw %bp
	movw %bx, %dx
	movw %ax, %bx
	orw %dx, %bx
	jnz 1b
	subw %bp, %cx
2:	movb $' ', %al
	call put
	loop 2b
3:	popw %ax
	call put
	decw %bp
	jnz 3b
	ret

/* --- commands --- */

run_line:
	movw $line, %si
	cmpb $0, (%si)
	je 9f
	movw $commands, %bx
1:	movw (%bx), %di
	testw %di, %di
	jz run_program
	movw $line, %si
2:	movb (%di), %al
	testb %al, %al
	jz 3f
	cmpb (%si), %al
	jne 4f
	incw %si
	incw %di
	jmp 2b
3:	movb (%si), %al		/* the word ends here in both */
	testb %al, %al
	jz 5f
	cmpb $' ', %al
	jne 4f
	incw %si
5:	jmp *2(%bx)
4:	addw $4, %bx
	jmp 1b
9:	ret

version:
	movw $banner, %si
	jmp print

directory:
	movw $ROOT, %si
1:	cmpb $0, (%si)
	je 3f
	movw $8, %cx
	pushw %si
	call 4f
	movb $' ', %al
	call put
	movw $3, %cx
	call 4f
	popw %si
	movw ENTRY_SIZE(%si), %ax
	movw ENTRY_SIZE + 2(%si), %dx
	call print_number
	call new_line
	addw $ENTRY, %si
	jmp 1b
3:	ret
4:	lodsb
	call put
	loop 4b
	ret

type:	call open
	jc not_found
1:	movw $1, %cx
	movw $one, %di
	call read
	testw %ax, %ax
	jz close
	movb one, %al
	call put
	jmp 1b

not_found:
	movw $no_file, %si
	jmp print

/* NAME: NAME.COM goes to PROGRAM_SEGMENT:100 with what is at its beginning in DOS: INT 20h, to which a RET leads. */
run_program:
	movw $line, %si
	movw $extension, %di
1:	lodsb
	testb %al, %al
	jnz 1b
	decw %si
	xchgw %si, %di
	movw $5, %cx
	rep movsb
	movw $line, %si
	call open
	jc 2f
	movw $PROGRAM_SEGMENT, %ax
	movw %ax, %es
	movw $0x100, %di
	movw $0xf000, %cx
	call read
	movw $0x20cd, %es:0
	call close
	movw %sp, shell_stack
	movw %es, %ax
	cli
	movw %ax, %ss
	movw $0xfffe, %sp
	sti
	movw %ax, %ds
	pushw $0
	ljmp $PROGRAM_SEGMENT, $0x100
2:	movw $no_command, %si
	jmp print

terminate:
	cli
	movw %cs, %ax
	movw %ax, %ss
	movw %cs:shell_stack, %sp
	movw %ax, %ds
	movw %ax, %es
	movw $0, open_file
	cld
	sti
	ret			/* from run_program */

/* --- INT 21h --- */

system_call:
	cld
	pushw %si
	movw $calls, %si
1:	cmpb %cs:(%si), %ah
	je 2f
	addw $3, %si
	cmpw $calls_end, %si
	jb 1b
	popw %si
	movw $1, %ax
	stc
	jmp return
2:	movw %cs:1(%si), %si
	movw %si, %cs:target
	popw %si
	sti
	call *%cs:target
/* The carry flag is that of the function. */
return:	pushw %bp
	movw %sp, %bp
	rcrb $1, 6(%bp)		/* into bit 0 of the flags that IRET restores */
	rolb $1, 6(%bp)
	popw %bp
	iret

call_put_char:
	movb %dl, %al
	call put
	clc
	ret

call_put_text:
	pushw %si
	movw %dx, %si
1:	lodsb
	cmpb $'$', %al
	je 2f
	call put
	jmp 1b
2:	popw %si
	clc
	ret

call_set_vector:
	pushw %bx
	pushw %fs
	call vector
	movw %dx, %fs:(%bx)
	movw %ds, %fs:2(%bx)
	popw %fs
	popw %bx
	clc
	ret

call_get_vector:
	pushw %fs
	call vector
	lesw %fs:(%bx), %bx
	popw %fs
	clc
	ret

vector:	pushw $0
	popw %fs
	movzbw %al, %bx
	shlw $2, %bx
	ret

call_open:
	pushaw
	movw %dx, %si
	call open
	popaw
	movw $2, %ax		/* file not found */
	jc 1f
	movw $HANDLE, %ax
1:	ret

call_close:
	call close
	clc
	ret

call_read:
	movw $read, %cs:target
	jmp 1f
call_write:
	movw $write, %cs:target
1:	pushaw
	pushw %es
	pushw %ds
	popw %es
	movw %dx, %di
	call *%cs:target
	popw %es
	movw %sp, %bp
	movw %ax, 14(%bp)	/* AX of those that are popped */
	popaw
	clc
	ret

/* --- files --- */

/* The file with the name at DS:SI; CF: there is none. */
open:	pushw %ds
	pushw %es
	movw %cs, %ax
	movw %ax, %es
	movw $name, %di
	movw $8, %cx
	call 3f
	movw $3, %cx
	call 3f
	movw %ax, %ds
	movw $ROOT, %bx
1:	movw %bx, %si
	movw $name, %di
	movw $11, %cx
	repe cmpsb
	je 2f
	addw $ENTRY, %bx
	cmpb $1, (%bx)
	jae 1b
	jmp 9f			/* CF is set */
2:	movw %bx, open_file
	movw $0, position
	movw $0xffff, buffered
	clc
9:	popw %es
	popw %ds
	ret
/* CX characters, with blanks behind a point or the end. */
3:	movb (%si), %dl
	cmpb $'.', %dl
	je 4f
	testb %dl, %dl
	jz 4f
	incw %si
	movb %dl, %es:(%di)
	incw %di
	loop 3b
	cmpb $'.', (%si)
	jne 5f
	incw %si
5:	movw %cs, %ax
	ret
4:	movb $' ', %es:(%di)
	incw %di
	loop 4b
	cmpb $'.', (%si)
	jne 5b
	incw %si
	jmp 5b

close:	movw $0, %cs:open_file
	ret

/* CX bytes to or from ES:DI; AX: how many. */
read:	movb $0, %cs:writing
	jmp 1f
write:	movb $1, %cs:writing
1:	pushw %ds
	movw %cs, %ax
	movw %ax, %ds
	xorw %ax, %ax
	movw %ax, moved
	movw open_file, %si
	testw %si, %si
	jz 9f
	movw ENTRY_SIZE(%si), %dx
	subw position, %dx
	cmpw %dx, %cx
	jbe 2f
	movw %dx, %cx
2:	jcxz 9f
	call find_sector
	jc 9f
	movw position, %si
	andw $SECTOR - 1, %si
	movw $SECTOR, %ax
	subw %si, %ax
	cmpw %cx, %ax
	jbe 3f
	movw %cx, %ax
3:	addw %ax, moved
	addw %ax, position
	subw %ax, %cx
	addw $BUFFER, %si
	pushw %cx
	movw %ax, %cx
	cmpb $0, writing
	jne 4f
	rep movsb
	popw %cx
	jmp 2b
4:	xchgw %si, %di		/* from ES:DI to DS:SI: the other way */
	pushw %ds
	pushw %es
	popw %ds
	popw %es
	rep movsb
	pushw %ds
	pushw %es
	popw %ds
	popw %es
	movw %si, %di
	movb $3, %dh
	call transfer_buffer
	popw %cx
	jnc 2b
9:	movw moved, %ax
	popw %ds
	ret

/* Makes the buffer hold the sector at the open file's position; CF: it cannot be read. */
find_sector:
	pushaw
	movw position, %cx
	shrw $9, %cx
	cmpw buffered, %cx
	je 8f
	movw %cx, buffered
	movw open_file, %si
	movw ENTRY_CLUSTER(%si), %ax
	jcxz 3f
1:	movw %ax, %si
	shrw $1, %si
	addw %ax, %si
	testb $1, %al
	movw FAT(%si), %ax
	jz 2f
	shrw $4, %ax
2:	andw $0xfff, %ax
	loop 1b
3:	addw $CLUSTER_SECTOR, %ax
	movw %ax, buffer_sector
	movb $2, %dh
	call transfer_buffer
	jmp 9f
8:	clc
9:	popaw
	ret

transfer_buffer:
	pushaw
	pushw %es
	pushw %ds
	popw %es
	movw buffer_sector, %ax
	movw $1, %cx
	movw $BUFFER, %bx
	call transfer
	popw %es
	popaw
	ret

/* CL sectors of one track from AX on, to or from ES:BX. DH: the function of INT 13h. CF: it failed three times. */
transfer:
	movb %dh, operation
	movb %cl, count
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
1:	movb operation, %ah
	movb count, %al
	int $0x13
	jnc 2f
	xorw %ax, %ax
	int $0x13
	decw %bp
	jnz 1b
	stc
2:	ret

/* --- data --- */

banner:	.asciz "visor's little DOS. Programs: DIG, PLANES, SOUND, MUSIC, CLOCK\r\n"
prompt:	.asciz "A>"
erase:	.asciz "\b \b"
no_file: .asciz "File not found\r\n"
no_command: .asciz "Bad command or file name\r\n"
disk_error: .asciz "The disk cannot be read\r\n"
extension: .asciz ".COM"

commands:
	.word 1f, directory, 2f, type, 3f, clear, 4f, version, 0
1:	.asciz "DIR"
2:	.asciz "TYPE"
3:	.asciz "CLS"
4:	.asciz "VER"

	.macro on number, function
	.byte \number
	.word \function
	.endm
calls:	on 0x02, call_put_char
	on 0x09, call_put_text
	on 0x25, call_set_vector
	on 0x35, call_get_vector
	on 0x3d, call_open
	on 0x3e, call_close
	on 0x3f, call_read
	on 0x40, call_write
	on 0x4c, terminate
calls_end:

ten:	.word 10
drive:	.byte 0
operation: .byte 0
count:	.byte 0
writing: .byte 0
one:	.byte 0
name:	.fill 11
	.balign 2
target:	.word 0
shell_stack: .word 0
open_file: .word 0		/* its directory entry */
position: .word 0
buffered: .word 0		/* number of the file's sector in the buffer */
buffer_sector: .word 0		/* where on the disk it is */
moved:	.word 0
line:	.fill LINE_MAX + 8
