/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_HOSTRUN_H
#define VISOR_TESTS_HOSTRUN_H

#include <stdbool.h>
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
	uint64_t error;   /* out, after a signal: the exception's error code */
	uint8_t vector;   /* out, after a signal: the exception; SIGPROF: HOSTRUN_TIMEOUT */
	uint64_t fs_base, gs_base; /* hostrun_at only, and only where hostrun_has_bases */
	void *xsave;      /* 64-byte aligned XSAVE area in standard format, loaded before and stored after; may be NULL */
	uint64_t xsave_mask;
};

/* Where the instruction's first byte lies: fixed, below 2 GiB, with 8 KiB of INT3 before and after it. */
uint64_t hostrun_base(void);

/* Returns 0, or the signal (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP) that the instruction caused; then *state is that
 * of the fault. A branch taken shows as SIGTRAP with rip at its target, or as SIGSEGV when it left the INT3 area. */
int hostrun(const uint8_t *bytes, unsigned length, struct hostrun_state *state);

/*
 * Runs code of any length at `code`, which the caller has put there, until an exception ends it: INT3 if nothing else. The
 * code cannot be left in another way, and a tick (hostrun_ticks) ends it too when it takes longer than some 10 ms.
 * state->rflags is then that of the exception, all bits.
 */
int hostrun_at(uint64_t code, struct hostrun_state *state);
#define HOSTRUN_TIMEOUT 255

/* Whether this process has something mapped there: where a wild address faults in a guest, it may be such on the host. */
bool hostrun_mapped(uint64_t address);

/* The kernel lets user programs set FS and GS bases themselves: hostrun_at then does, and reports them. */
int hostrun_has_bases(void);

/* Whoever installs handlers for the signals above after the first hostrun calls this, so that hostrun's come first again;
 * signals that are none of hostrun's go on to those handlers. */
void hostrun_take_signals(void);

/* Calls `tick` every 8 ms of processor time from a signal handler, unless the host runs test code. */
void hostrun_ticks(void (*tick)(void));

#endif
