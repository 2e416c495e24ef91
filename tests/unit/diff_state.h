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

/* A processor in 64-bit mode at CPL 3, with the test's memory mapped where it is in this process, pages shuffled. */
struct cpu *diff_machine(void);

/* A random state in which the instruction's memory operand (patched if need be) lies in the test's memory, mostly. */
void diff_state_random(struct diff_state *s, struct encoding *e);

void diff_state_to_cpu(const struct diff_state *s, struct cpu *c);
void diff_state_from_cpu(struct diff_state *s, const struct cpu *c);
/* A static area in the standard XSAVE format, and the components in it. */
void *diff_state_to_xsave(const struct diff_state *s, uint64_t *mask);
void diff_state_from_xsave(struct diff_state *s, const void *area);

bool diff_state_equal(const struct diff_state *host, const struct diff_state *guest, const struct diff_state *start,
		      uint64_t undefined_flags, bool print);
/* The test's memory on both sides; _align makes the guest's like the host's. */
bool diff_memory_equal(bool print);
void diff_memory_align(void);
/* Makes the guest's bytes like the host's where a difference is known. */
void diff_memory_ignore(uint64_t from, unsigned size);

#endif
