/* SPDX-License-Identifier: GPL-2.0-or-later */
/* INT 21h as far as dos.S has it, for programs: they begin at 100h with all segments the same. */
#define DOS_PUT_CHAR 0x02	/* DL */
#define DOS_PUT_TEXT 0x09	/* DX, up to '$' */
#define DOS_SET_VECTOR 0x25	/* AL, DS:DX */
#define DOS_GET_VECTOR 0x35	/* AL; ES:BX */
#define DOS_OPEN 0x3d		/* DX: name; AX: handle */
#define DOS_CLOSE 0x3e
#define DOS_READ 0x3f		/* CX bytes to DX; AX: how many */
#define DOS_WRITE 0x40		/* CX bytes from DX; AX: how many. A file does not grow */
#define DOS_EXIT 0x4c

	.macro dos function
	movb $\function, %ah
	int $0x21
	.endm

	.macro put_text text
	movw $\text, %dx
	dos DOS_PUT_TEXT
	.endm

	.macro out_port port, value
	movw $\port, %dx
	movb $\value, %al
	outb %al, %dx
	.endm

	/* An index register and the register behind it. */
	.macro out_index port, index, value
	movw $\port, %dx
	movw $(\value) << 8 | (\index), %ax
	outw %ax, %dx
	.endm

	/* Interrupt VECTOR goes to HANDLER; where it went is kept in OLD. */
	.macro hook vector, handler, old
	movb $\vector, %al
	dos DOS_GET_VECTOR
	movw %bx, \old
	movw %es, \old + 2
	movw $\handler, %dx
	movb $\vector, %al
	dos DOS_SET_VECTOR
	.endm

	.macro unhook vector, old
	pushw %ds
	ldsw \old, %dx
	movb $\vector, %al
	dos DOS_SET_VECTOR
	popw %ds
	.endm
