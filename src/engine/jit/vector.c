/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <cpuid.h>
#include <stddef.h>

#include "base/util.h"
#include "cpu/fpu.h"
#include "cpu/host.h"
#include "engine/jit/jit.h"

/*
 * The guest's vector state is in the host's registers only from the first vector
 * instruction of a stretch of translated code until that is left: C code uses
 * vector registers too. Kernels, which hardly touch them, and short-lived
 * processes pay nothing until they do.
 */
uint32_t vector_allowed(const struct cpu *c)
{
	const uint64_t avx = XCR0_SSE | XCR0_AVX, avx512 = avx | XCR0_AVX512;
	uint32_t allowed = 0;
	if (c->cr0 & CR0_TS)
		return 0;
	if (!(c->cr0 & CR0_EM) && (c->cr0 & CR0_NE) && !c->ferr_raised)
		allowed |= VECTOR_X87;
	if (!(c->cr0 & CR0_EM) && (c->cr4 & CR4_OSFXSR))
		allowed |= VECTOR_SSE;
	if ((c->cr4 & CR4_OSXSAVE) && !(~c->xcr0 & avx))
		allowed |= VECTOR_AVX;
	if ((c->cr4 & CR4_OSXSAVE) && !(~c->xcr0 & avx512))
		allowed |= VECTOR_AVX512;
	return allowed;
}

void vector_set(struct jit_words *words, uint32_t classes)
{
	words->vector = classes;
	for (unsigned n = 0; n < VECTOR_CLASSES; n++)
		words->lacks[n] = ~classes >> n & 1;
}

/*
 * Most user code that lives on uses SSE every now and then, so where windows are used it has the state loaded all
 * the time, and no checks. C code loads it on the way there, SYSRET and IRETQ (privilege.c) look whether it is. A guest that
 * forbids the use for a while (CR0.TS) is one for which nothing is taken for granted from then on.
 */
static uint8_t assumable(const struct jit *jit, uint32_t classes)
{
	uint32_t allowed = vector_allowed(jit->cpu) & classes;
	return allowed & VECTOR_SSE ? (uint8_t)allowed : 0;
}

uint8_t vector_assumed(struct jit *jit)
{
	struct jit_words *words = jit_words(jit->cpu);
	if (!jit->assumed_known)
		words->assumed = assumable(jit, VECTOR_SSE | VECTOR_AVX);
	jit->assumed_known = true;
	return (uint8_t)words->assumed;
}

bool vector_provide(struct jit *jit)
{
	struct jit_words *words = jit_words(jit->cpu);
	const struct unit *unit = jit->entering;
	if (unit->set != TLB_USER || !unit->window || !(words->assumed & ~words->vector))
		return true;
	uint32_t allowed = vector_allowed(jit->cpu);
	if (words->assumed & ~allowed) {
		words->assumed = assumable(jit, words->assumed);
		jit_flush(jit);
		return false;
	}
	vector_set(words, words->vector | (allowed & (VECTOR_SSE | VECTOR_AVX)));
	jit->stats.vector_loads++;
	return true;
}

/*
 * Registers whose upper parts were once written, even with zeros, make the processor merge in every SSE instruction,
 * which then waits for the one before. So the lower sixteen are loaded as XMM where the rest of them is zero: XINUSE
 * says so when they are stored, else they are looked at. The upper sixteen and the masks are there only for
 * those that use them (VECTOR_AVX512).
 */
enum part { PART_XMM, PART_LOWER, PART_UPPER };

static void emit_vector(struct emitter *e, unsigned reg, bool store, unsigned size)
{
	struct host_mem m = CPU_OFFSET(offsetof(struct cpu, vec) + 64 * reg);
	if (size == 64) { /* vmovdqu64 zmm */
		put8(e, 0x62);
		put8(e, 0x61 | (~reg & 8) << 4 | (~reg & 16));
		put8(e, 0xfe);
		put8(e, 0x48);
		put8(e, store ? 0x7f : 0x6f);
	} else if (size == 32) { /* vmovdqu ymm */
		put8(e, 0xc5);
		put8(e, (~reg & 8) << 4 | 0x7e);
		put8(e, store ? 0x7f : 0x6f);
	} else { /* movups */
		if (reg & 8)
			put8(e, 0x44);
		put8(e, 0x0f);
		put8(e, store ? 0x11 : 0x10);
	}
	emit_modrm(e, reg, &m);
}

/* kmovq k, m64 and back */
static void emit_masks(struct emitter *e, bool store)
{
	for (unsigned k = 0; k < 8; k++) {
		struct host_mem m = CPU_FIELD(k[k]);
		put8(e, 0xc4);
		put8(e, 0xe1);
		put8(e, 0xf8);
		put8(e, store ? 0x91 : 0x90);
		emit_modrm(e, k, &m);
	}
}

static void emit_part(struct emitter *e, enum part part, bool store)
{
	unsigned first = part == PART_UPPER ? 16 : 0;
	for (unsigned r = first; r < first + 16; r++)
		emit_vector(e, r, store, part == PART_XMM ? 16 : host_vector_size());
	if (part == PART_UPPER)
		emit_masks(e, store);
}

static bool zero(const void *p, size_t size)
{
	const uint64_t *q = p;
	uint64_t any = 0;
	for (size_t i = 0; i < size / sizeof(*q); i++)
		any |= q[i];
	return !any;
}

bool vector_lower_used(struct cpu *c)
{
	if (!(jit_words(c)->vector_used & XINUSE_LOWER))
		return false;
	for (unsigned r = 0; r < 16; r++)
		if (!zero(c->vec[r] + 16, 48))
			return true;
	return false;
}

/* LDMXCSR is 0F AE /2, STMXCSR /3, FXSAVE /0, FXRSTOR /1. They take XMM and MXCSR along, but for that one subset of
 * state are faster than XSAVE and XRSTOR are. */
static void emit_x87(struct emitter *e, unsigned reg, const uint8_t *image)
{
	emit_constant(e, REG_RAX, (uintptr_t)image);
	emit_mem(e, EMIT_W | EMIT_0F, 0xae, reg, MEM_BASE(REG_RAX, 0));
}

void vector_emit_load(struct emitter *e, bool lower, bool upper, const uint8_t *x87)
{
	emit_mem(e, EMIT_0F, 0xae, 3, WORD(host_mxcsr));
	if (x87)
		emit_x87(e, 1, x87);
	emit_part(e, lower ? PART_LOWER : PART_XMM, false);
	if (upper && host_vector_size() == 64)
		emit_part(e, PART_UPPER, false);
	emit_mem(e, EMIT_0F, 0xae, 2, CPU_FIELD(mxcsr));
}

/* XGETBV with ECX 1 (SDM 1, 13.1). */
static bool host_has_xinuse(void)
{
	unsigned a, b, c, d;
	return __get_cpuid_count(0xd, 1, &a, &b, &c, &d) && (a & 4);
}

/* RAX, RCX and RDX are free. */
void vector_emit_save(struct emitter *e, uint8_t *x87)
{
	emit_mem(e, EMIT_0F, 0xae, 3, CPU_FIELD(mxcsr));
	emit_mem(e, 0, 0xf6, 0, WORD(vector));
	put8(e, VECTOR_X87);
	uint8_t *without = emit_jump_if(e, COND_E, emit_here(e));
	emit_x87(e, 0, x87);
	put_bytes(e, (const uint8_t[]){ 0xdb, 0xe3 }, 2); /* fninit: what the ABI wants */
	emit_patch(without, e->delta, emit_here(e));
	emit_part(e, PART_LOWER, true);
	emit_constant(e, REG_RAX, ~0ull);
	if (host_has_xinuse()) {
		emit_constant(e, REG_RCX, 1);
		put_bytes(e, (const uint8_t[]){ 0x0f, 0x01, 0xd0 }, 3); /* xgetbv */
	}
	emit_mem(e, 0, 0x89, REG_RAX, WORD(vector_used));
	if (host_vector_size() == 64) {
		emit_mem(e, 0, 0xf6, 0, WORD(vector));
		put8(e, VECTOR_AVX512);
		uint8_t *none = emit_jump_if(e, COND_E, emit_here(e));
		emit_part(e, PART_UPPER, true);
		emit_patch(none, e->delta, emit_here(e));
	}
	emit_mem(e, EMIT_0F, 0xae, 2, WORD(host_mxcsr));
	if (host_vector_size() > 16) { /* vzeroupper */
		put8(e, 0xc5);
		put8(e, 0xf8);
		put8(e, 0x77);
	}
	emit_mem(e, 0, 0xc7, 0, WORD(vector));
	put32(e, 0);
	for (unsigned n = 0; n < VECTOR_CLASSES; n += 2)
		emit_store_constant(e, WORD(lacks[n]), -1);
}
