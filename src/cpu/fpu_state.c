/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/fpu.h"

#include "cpu/access.h"

/* The x87 state's own rules, and who may use which registers when. */

void cpu_fpu_reset(struct cpu *c)
{
	memset(c->vec, 0, sizeof c->vec);
	memset(c->k, 0, sizeof c->k);
	memset(c->x87, 0, sizeof c->x87);
	store_le16(c->x87 + X87_FCW, X87_FCW_RESET);
	c->x87[X87_FTW] = 0xff; /* tag word 5555: all zero, none empty */
	c->mxcsr = MXCSR_RESET;
	c->x87_ip = c->x87_dp = 0;
	c->x87_opcode = c->x87_cs = c->x87_ds = 0;
	c->ferr_raised = false;
}

/* FERR# falls when no unmasked exception is left. */
static void update_ferr(struct cpu *c)
{
	if (c->ferr_raised && !(x87_fsw(c) & X87_FSW_ES)) {
		c->ferr_raised = false;
		irq_set(&c->ferr, 0);
	}
}

void x87_set_control(struct cpu *c, uint16_t fcw, uint16_t fsw)
{
	fcw = (fcw & 0x1f7f) | 0x40;
	fsw &= (uint16_t)~(X87_FSW_ES | X87_FSW_B);
	if (fsw & ~fcw & X87_FSW_EXCEPTIONS)
		fsw |= X87_FSW_ES | X87_FSW_B;
	store_le16(c->x87 + X87_FCW, fcw);
	store_le16(c->x87 + X87_FSW, fsw);
	update_ferr(c);
}

/* Registers stand in stack order, tags do not move. */
void x87_set_top(struct cpu *c, unsigned top)
{
	unsigned turn = (top - x87_top(c)) & 7;
	uint8_t old[128];
	if (!turn)
		return;
	memcpy(old, x87_st(c, 0), sizeof old);
	for (unsigned n = 0; n < 8; n++)
		memcpy(x87_st(c, n), old + 16 * ((n + turn) & 7), 16);
	store_le16(c->x87 + X87_FSW, (uint16_t)((x87_fsw(c) & ~0x3800u) | (top & 7) << 11));
}

void x87_init(struct cpu *c)
{
	x87_set_top(c, 0);
	c->x87[X87_FTW] = 0;
	c->x87_ip = c->x87_dp = 0;
	c->x87_opcode = c->x87_cs = c->x87_ds = 0;
	x87_set_control(c, X87_FCW_INIT, 0);
}

enum { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

static unsigned tag_of(const uint8_t *st)
{
	unsigned exponent = load_le16(st + 8) & 0x7fff;
	uint64_t significand = load_le64(st);
	if (exponent == 0x7fff)
		return TAG_SPECIAL;
	if (exponent == 0)
		return significand ? TAG_SPECIAL : TAG_ZERO;
	return significand >> 63 ? TAG_VALID : TAG_SPECIAL; /* unnormals are unsupported */
}

uint16_t x87_full_tags(const struct cpu *c)
{
	unsigned tags = 0, top = x87_top(c);
	for (unsigned n = 0; n < 8; n++) {
		const uint8_t *st = c->x87 + X87_ST + 16 * ((n - top) & 7);
		tags |= (x87_tags(c) >> n & 1 ? tag_of(st) : TAG_EMPTY) << (2 * n);
	}
	return (uint16_t)tags;
}

void x87_set_full_tags(struct cpu *c, uint16_t tags)
{
	uint8_t abridged = 0;
	for (unsigned n = 0; n < 8; n++)
		abridged |= (uint8_t)(((tags >> 2 * n & 3) != TAG_EMPTY) << n);
	c->x87[X87_FTW] = abridged;
}

void x87_enter_mmx(struct cpu *c)
{
	x87_set_top(c, 0);
	c->x87[X87_FTW] = 0xff;
}

/*
 * CR0.NE = 0 (SDM 1, 8.7.2): FERR# asks the interrupt controller for IRQ13, and the processor waits at this
 * instruction unless IGNNE# is asserted. Going back to it time and again is that wait; the handler clears the exception with an instruction that
 * does not wait.
 */
bool x87_pending(struct cpu *c)
{
	if (c->cr0 & CR0_NE)
		cpu_fault(c, EXC_MF, 0);
	if (atomic_load_explicit(&c->ignne, memory_order_relaxed))
		return true;
	c->gpr[REG_RIP] -= c->insn->length;
	if (!c->ferr_raised) {
		c->ferr_raised = true;
		irq_set(&c->ferr, 1);
	}
	cpu_attention(c, ATTN_INTR);
	return false;
}

static bool check_pending(struct cpu *c)
{
	return likely(!(x87_fsw(c) & X87_FSW_ES)) || x87_pending(c);
}

static void check_sse(struct cpu *c)
{
	if (c->cr0 & CR0_EM || !(c->cr4 & CR4_OSFXSR))
		cpu_ud(c);
	if (c->cr0 & CR0_TS)
		cpu_fault(c, EXC_NM, 0);
}

static void check_avx(struct cpu *c, uint64_t components)
{
	if (!cpu_protected_segments(c) || !(c->cr4 & CR4_OSXSAVE) || ~c->xcr0 & components)
		cpu_ud(c);
	if (c->cr0 & CR0_TS)
		cpu_fault(c, EXC_NM, 0);
}

bool fpu_check_slow(struct cpu *c, enum fpu_class class)
{
	switch (class) {
	case FPU_X87: case FPU_X87_NOWAIT:
		if (c->cr0 & (CR0_EM | CR0_TS))
			cpu_fault(c, EXC_NM, 0);
		return class == FPU_X87_NOWAIT || check_pending(c);
	case FPU_MMX:
		if (c->cr0 & CR0_EM)
			cpu_ud(c);
		if (c->cr0 & CR0_TS)
			cpu_fault(c, EXC_NM, 0);
		return check_pending(c);
	case FPU_SSE:
		check_sse(c);
		return true;
	case FPU_SSE_MMX:
		check_sse(c);
		return check_pending(c);
	case FPU_AVX:
		check_avx(c, XCR0_SSE | XCR0_AVX);
		return true;
	case FPU_AVX512:
		check_avx(c, XCR0_SSE | XCR0_AVX | XCR0_AVX512);
		return true;
	}
	return true;
}

#define CHUNK 64u

static uint64_t linear_wrap(const struct cpu *c, uint64_t linear)
{
	return c->code_mode == ISA_MODE_64 ? linear : (uint32_t)linear;
}

void fpu_read_memory(struct cpu *c, uint64_t linear, void *buffer, unsigned size)
{
	const void *whole = size <= GUEST_PAGE_SIZE ? tlb_lookup_read(c, linear_wrap(c, linear), size) : NULL;
	if (likely(whole)) {
		memcpy(buffer, whole, size);
		return;
	}
	for (unsigned done = 0, part; done < size; done += part) {
		uint64_t at = linear_wrap(c, linear + done);
		part = MIN(size - done, CHUNK);
		const void *host = tlb_lookup_read(c, at, part);
		if (likely(host))
			memcpy((uint8_t *)buffer + done, host, part);
		else
			access_read_slow(c, at, (uint8_t *)buffer + done, part);
	}
}

void fpu_write_memory(struct cpu *c, uint64_t linear, const void *buffer, unsigned size)
{
	void *whole = size <= GUEST_PAGE_SIZE ? tlb_lookup_write(c, linear_wrap(c, linear), size) : NULL;
	if (likely(whole)) {
		memcpy(whole, buffer, size);
		return;
	}
	for (unsigned done = 0, part; done < size; done += part) {
		uint64_t at = linear_wrap(c, linear + done);
		part = MIN(size - done, CHUNK);
		void *host = tlb_lookup_write(c, at, part);
		if (likely(host))
			memcpy(host, (const uint8_t *)buffer + done, part);
		else
			access_write_slow(c, at, (const uint8_t *)buffer + done, part);
	}
}
