/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stddef.h>

#include "cpu/fpu.h"
#include "cpu/host.h"
#include "engine/jit/jit.h"

/*
 * The guest's vector state is in the host's registers only from the first vector
 * instruction of a stretch of translated code until that is left: C code uses
 * vector registers too. Code that never touches them pays nothing.
 */
uint32_t vector_allowed(const struct cpu *c)
{
	const uint64_t avx = XCR0_SSE | XCR0_AVX, avx512 = avx | XCR0_AVX512;
	uint32_t allowed = 0;
	if (c->cr0 & CR0_TS)
		return 0;
	if (!(c->cr0 & CR0_EM) && (c->cr4 & CR4_OSFXSR))
		allowed |= VECTOR_SSE;
	if ((c->cr4 & CR4_OSXSAVE) && !(~c->xcr0 & avx))
		allowed |= VECTOR_AVX;
	if ((c->cr4 & CR4_OSXSAVE) && !(~c->xcr0 & avx512))
		allowed |= VECTOR_AVX512;
	return allowed;
}

static void emit_vector(struct emitter *e, unsigned reg, bool store)
{
	struct host_mem m = GS_OFFSET(offsetof(struct cpu, vec) + 64 * reg);
	put8(e, 0x65);
	if (host_vector_size() == 64) { /* vmovdqu64 zmm */
		put8(e, 0x62);
		put8(e, 0x61 | (~reg & 8) << 4 | (~reg & 16));
		put8(e, 0xfe);
		put8(e, 0x48);
		put8(e, store ? 0x7f : 0x6f);
	} else if (host_vector_size() == 32) { /* vmovdqu ymm */
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
	for (unsigned k = 0; k < 8 && host_vector_size() == 64; k++) {
		struct host_mem m = GS_FIELD(k[k]);
		put8(e, 0x65);
		put8(e, 0xc4);
		put8(e, 0xe1);
		put8(e, 0xf8);
		put8(e, store ? 0x91 : 0x90);
		emit_modrm(e, k, &m);
	}
}

static void emit_vectors(struct emitter *e, bool store)
{
	for (unsigned r = 0; r < (host_vector_size() == 64 ? 32 : 16); r++)
		emit_vector(e, r, store);
	emit_masks(e, store);
}

/* LDMXCSR is 0F AE /2, STMXCSR /3. */
void vector_emit_load(struct emitter *e)
{
	emit_mem(e, EMIT_0F, 0xae, 3, WORD(host_mxcsr));
	emit_vectors(e, false);
	emit_mem(e, EMIT_0F, 0xae, 2, GS_FIELD(mxcsr));
}

void vector_emit_save(struct emitter *e)
{
	emit_mem(e, EMIT_0F, 0xae, 3, GS_FIELD(mxcsr));
	emit_vectors(e, true);
	emit_mem(e, EMIT_0F, 0xae, 2, WORD(host_mxcsr));
	if (host_vector_size() > 16) { /* vzeroupper */
		put8(e, 0xc5);
		put8(e, 0xf8);
		put8(e, 0x77);
	}
	emit_mem(e, 0, 0xc7, 0, WORD(vector));
	put32(e, 0);
}
