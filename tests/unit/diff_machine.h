/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_DIFF_MACHINE_H
#define VISOR_TESTS_DIFF_MACHINE_H

#include "diff_state.h"

/* A processor in 64-bit mode at CPL 3, with the test's memory mapped where it is in this process, pages shuffled. */
struct cpu *diff_machine(void);

/* A random state in which the instruction's memory operand (patched if need be) lies in the test's memory, mostly. */
void diff_state_random(struct diff_state *s, struct encoding *e);

/* The test's memory on both sides; _align makes the guest's like the host's. */
bool diff_memory_equal(bool print);
void diff_memory_align(void);
bool diff_memory_has(uint64_t address);
/* Makes the guest's bytes like the host's where a difference is known. */
void diff_memory_ignore(uint64_t from, unsigned size);

#endif
