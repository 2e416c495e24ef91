/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ISA_TABLE_H
#define VISOR_ISA_TABLE_H

#include <stdint.h>

/*
 * The opcode table: one row per opcode in the notation of the manual's opcode
 * map (SDM 2D, appendix A). Decoder, disassembler, execution and test
 * generators all come from it.
 *
 * enum isa_op has one value per mnemonic: OP_ADD, OP_VADDPS, ... (isa/op.h,
 * made from the same rows, so that a mnemonic is written once).
 */

/* Attributes of a row. */
enum {
	ROW_LOCK     = 1 << 0,  /* LOCK allowed with a memory destination */
	ROW_ENDS     = 1 << 1,  /* ends a block: changes RIP, mode, the address space, or the interrupt window */
	ROW_REP      = 1 << 2,  /* string instruction: REP counts */
	ROW_NO64     = 1 << 3,  /* #UD in 64-bit mode */
	ROW_ONLY64   = 1 << 4,  /* #UD outside 64-bit mode */
	ROW_DEF64    = 1 << 5,  /* operand size 64 by default in 64-bit mode */
	ROW_FORCE64  = 1 << 6,  /* operand size 64 in 64-bit mode whatever the prefixes (near branches, MOV CR) */
	ROW_ALIGNED  = 1 << 7,  /* memory operand must be aligned to its size, else #GP(0) */
	ROW_SSE      = 1 << 8,  /* legacy SSE: CR0.EM -> #UD, CR4.OSFXSR, CR0.TS -> #NM */
	ROW_AVX      = 1 << 9,  /* VEX/EVEX: CR4.OSXSAVE and XCR0, CR0.TS -> #NM */
	ROW_X87      = 1 << 10, /* CR0.EM or CR0.TS -> #NM; pending #MF unless a no-wait form */
	ROW_MMX      = 1 << 11, /* CR0.EM -> #UD, CR0.TS -> #NM, pending #MF; enters MMX state */
	ROW_FP       = 1 << 12, /* reads or writes MXCSR: SIMD floating-point exceptions are possible */
	ROW_HOST     = 1 << 13, /* executed by the host processor itself (cpu/host.c): registers, vectors, one memory operand */
	ROW_CPL0     = 1 << 14, /* #GP(0) unless CPL is 0 */
	ROW_VSIB     = 1 << 15, /* gather or scatter */
	ROW_PROT     = 1 << 16, /* #UD in real and virtual-8086 mode (LAR, LSL, VERR, SLDT, ...) */
	ROW_NOWAIT   = 1 << 17, /* x87 control instruction that does not report pending exceptions */
};

struct isa_row {
	const char *mnemonic;   /* lower case: "add", "vaddps" */
	const char *operands;   /* manual notation: "Ev,Gv", "Vx,Hx,Wx" */
	uint16_t op;            /* enum isa_op */
	uint8_t feature;        /* enum isa_feature that CPUID must show */
	uint8_t tuple;          /* EVEX tuple type, for disp8*N */
	uint32_t attributes;    /* ROW_* */
	uint16_t flags_read;    /* in RFLAGS positions: CF 1, PF 4, AF 0x10, ZF 0x40, SF 0x80, DF 0x400, OF 0x800 */
	uint16_t flags_written; /* defined results */
	uint16_t flags_undefined;
};

extern const struct isa_row isa_rows[];
extern const unsigned isa_row_count;

#endif
