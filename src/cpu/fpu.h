/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CPU_FPU_H
#define VISOR_CPU_FPU_H

#include "base/util.h"
#include "cpu/cpu.h"

/*
 * x87, MMX and SSE state. cpu->x87 has the layout of FXSAVE's first 160 bytes:
 * registers stand in stack order, ST(0) first, tags are abridged and by physical
 * register. FOP, FIP, FDP and MXCSR in it are not used: they have their own fields.
 */
enum {
	X87_FCW = 0, X87_FSW = 2, X87_FTW = 4, X87_FOP = 6, X87_FIP = 8, X87_FCS = 12, X87_FDP = 16, X87_FDS = 20,
	X87_MXCSR = 24, X87_MXCSR_MASK = 28, X87_ST = 32,
};

#define X87_FSW_ES 0x0080u
#define X87_FSW_B 0x8000u
#define X87_FSW_EXCEPTIONS 0x003fu
#define X87_FCW_RESET 0x0040u
#define X87_FCW_INIT 0x037fu

#define MXCSR_RESET 0x1f80u
#define MXCSR_MASK 0xffffu     /* shown to the guest: AMD's misaligned-exception mask (bit 17) is not offered */
#define MXCSR_MASKS 0x1f80u    /* the six exception masks */

/* XCR0 and XSTATE_BV bits (SDM 1, 13.1). */
#define XCR0_X87 0x1ull
#define XCR0_SSE 0x2ull
#define XCR0_AVX 0x4ull
#define XCR0_OPMASK 0x20ull
#define XCR0_ZMM_HI256 0x40ull
#define XCR0_HI16_ZMM 0x80ull
#define XCR0_AVX512 (XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)

static inline uint16_t x87_fcw(const struct cpu *c) { return load_le16(c->x87 + X87_FCW); }
static inline uint16_t x87_fsw(const struct cpu *c) { return load_le16(c->x87 + X87_FSW); }
static inline uint8_t x87_tags(const struct cpu *c) { return c->x87[X87_FTW]; }
static inline unsigned x87_top(const struct cpu *c) { return x87_fsw(c) >> 11 & 7; }
static inline uint8_t *x87_st(struct cpu *c, unsigned n) { return c->x87 + X87_ST + 16 * n; }

/* The state after power-on or RESET (SDM 3A, table 10-1); INIT leaves it alone. */
void cpu_fpu_reset(struct cpu *c);

/* XINUSE (SDM 1, 13.6): which of these state components are not in their initial state. */
uint64_t fpu_xinuse(const struct cpu *c, uint64_t of);

/* --- fpu_state.c --- */
/* FCW and FSW as a load of them leaves them: reserved bits forced, ES and B following the unmasked exceptions. */
void x87_set_control(struct cpu *c, uint16_t fcw, uint16_t fsw);
/* Renames the stack: physical registers keep their contents. */
void x87_set_top(struct cpu *c, unsigned top);
/* FNINIT. */
void x87_init(struct cpu *c);
/* The 16-bit tag word of FNSTENV (SDM 1, 8.1.7), and its setting. */
uint16_t x87_full_tags(const struct cpu *c);
void x87_set_full_tags(struct cpu *c, uint16_t tags);
/* What every MMX instruction but EMMS does to the x87 state (SDM 1, 9.5.1). */
void x87_enter_mmx(struct cpu *c);
/* An unmasked exception is pending: raises #MF; with CR0.NE = 0 returns true when IGNNE# lets the instruction go on, else
 * signals FERR# and rewinds to wait for the interrupt. */
bool x87_pending(struct cpu *c);

/*
 * What must hold before an instruction of a class may execute; the manual's order of #UD, #NM and #MF (SDM 2A, 2.4;
 * 3A, 2.5). False: the instruction must not be executed now, but again when the engine comes back to it.
 */
enum fpu_class {
	FPU_X87, FPU_X87_NOWAIT, FPU_MMX, FPU_SSE, FPU_SSE_MMX, FPU_AVX, FPU_AVX512,
};
bool fpu_check_slow(struct cpu *c, enum fpu_class class);

static inline bool fpu_check(struct cpu *c, enum fpu_class class)
{
	bool good;
	switch (class) {
	case FPU_SSE:
		good = !(c->cr0 & (CR0_EM | CR0_TS)) && (c->cr4 & CR4_OSFXSR);
		break;
	case FPU_AVX: case FPU_AVX512:
		good = !(c->cr0 & CR0_TS) && (c->cr4 & CR4_OSXSAVE) && c->code_mode == ISA_MODE_64 &&
			!(~c->xcr0 & (XCR0_SSE | XCR0_AVX | (class == FPU_AVX512 ? XCR0_AVX512 : 0)));
		break;
	default:
		good = false;
		break;
	}
	return likely(good) || fpu_check_slow(c, class);
}

/* Guest memory of any size: chunks in ascending order; may fault in between. */
void fpu_read_memory(struct cpu *c, uint64_t linear, void *buffer, unsigned size);
void fpu_write_memory(struct cpu *c, uint64_t linear, const void *buffer, unsigned size);

/* --- fpu_x87.c, fpu_save.c, fpu_xsave.c: the function for an instruction of the group, or NULL --- */
insn_exec *select_x87(struct cpu *c, struct insn *insn);
insn_exec *select_fpu_save(struct cpu *c, struct insn *insn);
insn_exec *select_xsave(struct cpu *c, struct insn *insn);

/* The legacy region's x87 part: to and from a 160-byte image. wide: 64-bit FIP and FDP (REX.W). */
void x87_to_image(const struct cpu *c, uint8_t *image, bool wide);
void x87_from_image(struct cpu *c, const uint8_t *image, bool wide);

/* All x87 and vector state to and from an XSAVE area of the standard form (SDM 1, 13.4), as 64-bit code has it; other components of
 * the area stay as they are. */
void fpu_to_area(struct cpu *c, uint8_t *area);
void fpu_from_area(struct cpu *c, const uint8_t *area);

/* The x87 instruction pointer registers after an instruction that is not a control instruction (SDM 1, 8.1.8). */
void x87_note_instruction(struct cpu *c, const struct insn *insn);

#endif
