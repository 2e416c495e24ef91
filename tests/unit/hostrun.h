/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_HOSTRUN_H
#define VISOR_TESTS_HOSTRUN_H

#include <stdint.h>

/*
 * Runs one user-mode instruction on the bare host processor with every general
 * register, RSP included, and the flags given: the oracle of the instruction
 * tests. Memory operands point at the test's own buffers. One thread only.
 */
struct hostrun_state {
	uint64_t gpr[16]; /* by REG_* */
	uint64_t rflags;  /* in: arithmetic flags, DF and AC count; out: all */
	uint64_t rip;     /* out: address after the instruction, or of the one that faulted */
	uint64_t address; /* out, after SIGSEGV or SIGBUS: what the kernel reports as the faulting address */
	void *xsave;      /* 64-byte aligned XSAVE area in standard format, loaded before and stored after; may be NULL */
	uint64_t xsave_mask;
};

/* Where the instruction's first byte lies: fixed, below 2 GiB, with 8 KiB of INT3 before and after it. */
uint64_t hostrun_base(void);

/* Returns 0, or the signal (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP) that the instruction caused; then *state is that
 * of the fault. A branch taken shows as SIGTRAP with rip at its target, or as SIGSEGV when it left the INT3 area. */
int hostrun(const uint8_t *bytes, unsigned length, struct hostrun_state *state);

#endif
