/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_PREDICT_H
#define VISOR_ENGINE_JIT_PREDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "isa/insn.h"

/*
 * Which window a memory operand will be in, guessed at translation. Code proves the guess with a load that faults where it is
 * wrong: bits 20 to 51 of the address, as an offset of 32 bits, lead to PROOF_PAGE for the window that was guessed, and to nothing for
 * others. That is off the way from the address to the data, which the look at the table of windows is on.
 *
 * Why nothing else is read there: windows that differ by n lead to pages that lie n apart. For canonical addresses n is less than
 * 65536 either way, and so far around the page all is reserved. Addresses that are not canonical may be taken for good; the
 * bias of the window that was guessed makes addresses of them that the host refuses.
 */
struct jit;
struct translator;

#define PROOF_PAGE 0x20000000u /* in the low 2 GiB, apart from the tables of windows */
#define PROOF_SITES 32768u

/* Reserves PROOF_PAGE and what is around it; false: something else is there, and nothing is guessed. */
bool predict_init(void);
/* A proof faulted at this address. */
bool predict_failed(uintptr_t address);
/* The guess for the guest's instruction at this host address was wrong. */
void predict_missed(struct jit *jit, const uint8_t *host);

/* The guest's registers are those that the unit will be entered with; after each instruction. */
void predict_begin(struct translator *t);
void predict_step(struct translator *t);
/* The window (bits 32 to 47) of the memory operand, or of its base register alone; -1: nobody knows. */
int predict_window(const struct translator *t, const struct insn *insn, bool base_only);
/* The instruction under way was guessed wrong before. */
bool predict_missed_before(const struct translator *t);

#endif
