/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_DIFF_OPEN_H
#define VISOR_TESTS_DIFF_OPEN_H

#include "diff_state.h"

/*
 * What the manuals leave open, and processors of different makers do in
 * different ways: visor cannot do it like all of them. Each function is as
 * narrow as what is open, so that the rest is still compared.
 */

/* How an instruction ended on one side. */
struct diff_end {
	struct diff_state *state;
	uint64_t rip;          /* of the instruction */
	uint64_t fs_base, gs_base;
	uint64_t address;      /* of a page fault */
	uint32_t error;
	uint8_t vector;        /* EXC_*, or DIFF_NO_FAULT */
};
#define DIFF_NO_FAULT 255

/* Of an instruction that ended on both sides with a fault, or on both without: makes the guest's end like the host's in what is
 * open. Memory that is open is named by linear addresses to `ignore`. before: the state before it, or NULL when it faulted. */
void diff_settle(const struct insn *insn, const struct diff_state *before, const struct diff_end *host, struct diff_end *guest,
		 void (*ignore)(uint64_t linear, unsigned size));

/* The same of general registers alone. */
void diff_settle_gpr(const struct insn *insn, const uint64_t *before, const uint64_t *host, uint64_t *guest);
/* The instruction, which does not fault, leaves general registers open. */
bool diff_open_gpr(const struct insn *insn, const uint64_t *before);

/* The host had no access to make where the guest's faulted; host: its state then or later. */
bool diff_no_access(const struct insn *insn, const struct diff_state *host, const struct diff_end *guest);

/* ROL and ROR by an immediate other than 1: OF is undefined (SDM 2B), and need not be that of a rotate by CL. */
uint64_t diff_open_flags(const struct insn *insn);

#endif
