/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ISA_TABLE_H
#define VISOR_ISA_TABLE_H

#include <stdint.h>

struct insn;

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
	ROW_HOST     = 1 << 13, /* executed by the host processor itself (cpu/host.c): registers, one memory operand */
	ROW_CPL0     = 1 << 14, /* #GP(0) unless CPL is 0 */
	ROW_VSIB     = 1 << 15, /* gather or scatter */
	ROW_PROT     = 1 << 16, /* #UD in real and virtual-8086 mode (LAR, LSL, VERR, SLDT, ...) */
	ROW_NOWAIT   = 1 << 17, /* x87 control instruction that does not report pending exceptions */
	ROW_BYTE     = 1 << 18, /* byte form that no explicit operand shows: string instructions, IN, OUT */
	ROW_ANYMOD   = 1 << 19, /* ModRM.mod is ignored and taken for 3: MOV CR, MOV DR */
	ROW_SCALAR   = 1 << 20, /* VEX.L or EVEX.L'L is ignored: `vl` is 16 */
	/* EVEX only. */
	ROW_MASK     = 1 << 21, /* takes an opmask in EVEX.aaa */
	ROW_ZERO     = 1 << 22, /* EVEX.z is allowed, but not with a memory destination */
	ROW_BCST     = 1 << 23, /* EVEX.b broadcasts an element of 4 bytes (W0) or 8 (W1) from memory */
	ROW_ER       = 1 << 24, /* EVEX.b with a register: rounding control in L'L; no vector length but 64 (or scalar) then */
	ROW_SAE      = 1 << 25, /* EVEX.b with a register: exceptions are suppressed */
	ROW_NO_ER    = 1 << 27, /* EVEX.b with a register counts for the vector length alone */
	ROW_MAX32    = 1 << 28, /* REX.W does not make the operand size 64: ports */
	ROW_DISTINCT = 1 << 26, /* #UD unless destination, index and mask registers all differ (gathers) */
};

/*
 * When a row applies: (key & match_mask) == match_value, where the decoder
 * makes the key of one instruction from these fields.
 */
enum {
	KEY_F3       = 1 << 0,  /* the last of F2 and F3 is F3; VEX.pp = 2 */
	KEY_F2       = 1 << 1,  /* the last of F2 and F3 is F2; VEX.pp = 3 */
	KEY_66       = 1 << 2,  /* VEX.pp = 1 */
	KEY_W        = 1 << 3,  /* REX.W, VEX.W */
	KEY_L_SHIFT  = 4,       /* 2 bits: VEX.L, EVEX.L'L */
	KEY_REG3     = 1 << 6,  /* ModRM.mod is 3 */
	KEY_REG_SHIFT = 7,      /* ModRM.reg */
	KEY_RM_SHIFT = 10,      /* ModRM.rm */
	KEY_64       = 1 << 13, /* 64-bit mode */
	KEY_B        = 1 << 14, /* REX.B */
};

/* EVEX tuple types (SDM 2A, 2.7.5) as far as disp8*N tells them apart: N is the size of the memory access, broadcast
 * counted, except where one element of many is addressed (gather, scatter, compress, expand). */
enum isa_tuple { TUPLE_NONE, TUPLE_MEM, TUPLE_ELEMENT /* 4 with W0, 8 with W1 */, TUPLE_BYTE, TUPLE_WORD };

struct isa_row {
	const char *mnemonic;   /* lower case: "add", "vaddps" */
	const char *operands;   /* manual notation: "Ev,Gv", "Vx,Hx,Wx" */
	uint16_t op;            /* enum isa_op */
	uint8_t feature;        /* enum isa_feature that CPUID must show; EVEX, vl < 64, not ROW_SCALAR: AVX512VL too */
	uint8_t tuple;          /* EVEX tuple type, for disp8*N */
	uint32_t attributes;    /* ROW_* */
	uint16_t flags_read;    /* in RFLAGS positions: CF 1, PF 4, AF 0x10, ZF 0x40, SF 0x80, DF 0x400, OF 0x800 */
	uint16_t flags_written; /* defined results */
	uint16_t flags_undefined; /* may be undefined; for shifts by a variable count in some cases only */
	/* What the decoder needs. */
	uint8_t map;            /* ISA_MAP() */
	uint8_t opcode;
	uint8_t modrm;          /* has a ModRM byte */
	uint8_t access;         /* ACCESS_* of operand n in bits 2n and 2n + 1 */
	uint8_t operand[4];     /* enum isa_operand_type (isa/operand.h) */
	uint32_t match_mask, match_value;
};

/* Rows are grouped by encoding and opcode map: legacy 0..3, VEX 1..3, EVEX 1..3. */
#define ISA_MAP(encoding, map) ((encoding) * 3 + (map))
enum { ISA_MAP_COUNT = ISA_MAP(2, 3) + 1 };

extern const struct isa_row isa_rows[];
extern const unsigned isa_row_count;
/* The last row of an opcode, 0 if there is none; its other rows stand right before it. Row 0 is the invalid one. */
extern const uint16_t isa_last_row[ISA_MAP_COUNT][256];

/* Bytes of the vector register in insn->index of a gather or scatter. */
unsigned isa_vsib_index_size(const struct insn *insn);
/* How many elements EVEX.b makes of the one in memory; the instruction must have EVEX_B and a memory operand. */
unsigned isa_broadcast_count(const struct insn *insn);

#endif
