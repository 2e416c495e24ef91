/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ISA_INSN_H
#define VISOR_ISA_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A decoded instruction, one cache line. The decoder fills everything but
 * `exec` and `aux`, which belong to whoever executes.
 */
struct cpu;
struct insn;
typedef void insn_exec(struct cpu *cpu, const struct insn *insn);

enum isa_mode { ISA_MODE_16, ISA_MODE_32, ISA_MODE_64 }; /* by CS.D and CS.L */

enum operand_kind {
	OPERAND_NONE,
	OPERAND_GPR,  /* reg: 0..15; size 1: 16..19 are AH, CH, DH, BH */
	OPERAND_MEM,  /* address in insn.base/index/scale/disp/seg; moffs has base == index == REG_NONE and its
			 64-bit offset in insn.imm, of which disp is the low half */
	OPERAND_IMM,  /* insn.imm, sign- or zero-extended to 64 bits as the manual says; a second one is insn.imm2 */
	OPERAND_REL,  /* branch displacement in insn.imm, sign-extended, from the end of the instruction */
	OPERAND_FAR,  /* ptr16:16/32: offset in insn.imm, selector in insn.imm2 */
	OPERAND_SEG,  /* segment register, enum isa_seg */
	OPERAND_CR,
	OPERAND_DR,
	OPERAND_ST,   /* x87 stack register 0..7 */
	OPERAND_MMX,
	OPERAND_VEC,  /* xmm/ymm/zmm 0..31 */
	OPERAND_MASK, /* k0..k7 */
};

enum { ACCESS_R = 1, ACCESS_W = 2, ACCESS_RW = 3 };

struct operand {
	uint8_t kind;   /* enum operand_kind */
	uint8_t reg;
	uint8_t size;   /* bytes read or written: for a scalar vector operand the element, for MEM the bytes of memory;
			   0: no data (LEA, INVLPG, NOP Ev, prefetch) or of a size only execution knows (FXSAVE, XSAVE) */
	uint8_t access; /* ACCESS_* */
};

enum isa_seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

/* Register numbers in base and index: 0..15, and two that live behind the 16 in the CPU's array. */
enum { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R15 = 15,
       REG_NONE = 16, /* reads as zero */
       REG_RIP = 17 }; /* the address of the next instruction */

enum { PREFIX_LOCK = 1, PREFIX_REP = 2 /* F3 */, PREFIX_REPNE = 4 /* F2 */, PREFIX_66 = 8, PREFIX_67 = 16,
       PREFIX_REX = 32, PREFIX_REX_W = 64, PREFIX_SEG = 128 };

enum insn_encoding { ENC_LEGACY, ENC_VEX, ENC_EVEX };

struct insn {
	insn_exec *exec;          /* set by the engine */
	uint64_t imm;
	int32_t disp;             /* sign-extended; EVEX disp8 is scaled already */
	uint32_t aux;             /* free for the executor */
	uint16_t row;             /* index into isa_rows */
	uint16_t op;              /* enum isa_op */
	struct operand operand[4]; /* explicit operands, destination first */
	uint8_t length;           /* bytes, 1..15 */
	uint8_t opsize;           /* effective operand size: 2, 4, 8; 1 for byte forms */
	uint8_t adsize;           /* effective address size: 2, 4, 8 */
	uint8_t mode;             /* enum isa_mode */
	uint8_t seg;              /* effective segment of the memory operand, enum isa_seg */
	uint8_t base, index;      /* REG_*; a vector register 0..31 in index for VSIB */
	uint8_t scale;            /* 0..3: index << scale */
	uint8_t prefixes;         /* PREFIX_*: as seen, mandatory ones included */
	uint8_t encoding;         /* enum insn_encoding */
	uint8_t map;              /* 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A, 5, 6: EVEX maps */
	uint8_t opcode;
	uint8_t modrm;            /* raw; 0 when the instruction has none */
	uint8_t pp;               /* mandatory prefix as in VEX.pp: 0 none, 1 66, 2 F3, 3 F2 */
	uint8_t vl;               /* vector length in bytes: 16, 32, 64; 0 for non-vector */
	uint8_t imm2;             /* low byte of the second immediate (ENTER); see also imm2_hi */
	uint8_t imm2_hi;          /* FAR selector is imm2 | imm2_hi << 8 */
	uint8_t mask;             /* EVEX.aaa: opmask register, 0 = none */
	uint8_t evex;             /* EVEX_* */
	uint8_t memory;           /* index of the MEM operand + 1; 0: none */
};

enum { EVEX_Z = 1, EVEX_B = 2 /* broadcast, or rounding/SAE with a register */, EVEX_RC_SHIFT = 4 /* 2 bits, when EVEX_B and register */,
       EVEX_W = 64 /* VEX/EVEX.W, for re-encoding */ };

_Static_assert(sizeof(struct insn) <= 64, "an instruction fits a cache line");

/* isa_decode's results below zero. */
enum { ISA_SHORT = -1,    /* `available` ends inside the instruction: fetch more */
       ISA_INVALID = -2,  /* #UD */
       ISA_TOO_LONG = -3, /* over 15 bytes: #GP(0) */ };

/* Decodes one instruction of at most `available` bytes. Returns its length, or one of the values above. */
int isa_decode(struct insn *insn, const uint8_t *bytes, unsigned available, enum isa_mode mode);

/* Intel syntax: "add dword ptr [rax+rcx*4+0x10], edx". ip: address of the instruction, for branch targets and RIP-relative operands.
 * Returns the length that the text has (as snprintf). */
int isa_format(char *text, size_t size, const struct insn *insn, uint64_t ip);

#endif
