/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_DIFF_STATE_H
#define VISOR_TESTS_DIFF_STATE_H

#include "cpu/cpu.h"
#include "diff_encode.h"

/* What one instruction can see and change, neutral to who runs it. */
struct diff_state {
	uint64_t gpr[16];
	uint64_t rflags; /* arithmetic flags and DF */
	_Alignas(64) uint8_t vec[32][64];
	uint64_t k[8];
	uint32_t mxcsr;
	uint16_t fcw, fsw;
	uint8_t tags;    /* abridged, by physical register */
	uint8_t st[8][10];
};

/* What the host's XCR0 and visor both know: the components of diff_state_to_xsave. */
uint64_t diff_components(void);

/* Random contents that make for interesting results: floating-point numbers of all kinds, small and extreme integers.
 * x87: an x87 instruction follows, so that a pending exception is of interest. */
void diff_state_fill(struct diff_state *s, bool x87);
uint64_t diff_random_gpr(void);
void diff_random_bytes(uint8_t *to, unsigned size);

void diff_state_to_cpu(const struct diff_state *s, struct cpu *c);
void diff_state_from_cpu(struct diff_state *s, const struct cpu *c);
/* A static area in the standard XSAVE format, and the components in it. */
void *diff_state_to_xsave(const struct diff_state *s, uint64_t *mask);
void diff_state_from_xsave(struct diff_state *s, const void *area);

bool diff_state_equal(const struct diff_state *host, const struct diff_state *guest, const struct diff_state *start,
		      uint64_t undefined_flags, bool print);

#endif
