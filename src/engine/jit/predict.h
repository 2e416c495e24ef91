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
 *
 * For a space that has a shape (windows.h) the proof is that the address's zone is one of the shape: bits 22 to 53 lead to 2^13 pages, of
 * which those of such zones are readable. Addresses of the upper half, and the first 2^47 that are not canonical, lead to
 * 2^13 pages before them and behind them, where nothing is; with other addresses that are not canonical
 * the bias of user windows, less than 2^47 either way, makes addresses that the host refuses.
 */
struct jit;
struct translator;
struct unit;

#define PROOF_PAGE 0x20000000u /* in the low 2 GiB, apart from the tables of windows */
#define PROOF_SITES 32768u
#define WINDOW_SHAPED 0x10000  /* not one window, but all with the bias of the space's shape */

/* Reserves PROOF_PAGE and what is around it; false: something else is there, and nothing is guessed. */
bool predict_init(void);
/* The page for a window alone, as what is added to those bits. */
uint32_t predict_page(uint16_t window);
/* The pages for a shape, the same way; none is readable yet. 0: there are no more. */
uint32_t predict_take(void);
void predict_give_back(uint32_t proof);
/* The zone is one of that shape; it is no more. */
void predict_show(uint32_t proof, uint16_t zone);
void predict_hide(uint32_t proof, uint16_t zone);
/* A proof faulted at this address. */
bool predict_failed(uintptr_t address);
/* The guess for the guest's instruction at this host address, in that unit, was wrong. Where that is so too often nothing is guessed. */
void predict_missed(struct jit *jit, const struct unit *unit, const uint8_t *host);

/* The guest's registers are those that the unit will be entered with; after each instruction. */
void predict_begin(struct translator *t);
void predict_step(struct translator *t);
/* The window (bits 32 to 47) of the memory operand, or of its base register alone, or WINDOW_SHAPED; -1: nobody knows. */
int predict_window(const struct translator *t, const struct insn *insn, bool base_only);
/* The instruction under way was guessed wrong before. */
bool predict_missed_before(const struct translator *t);
/* The register is guessed to be in the shape. */
bool predict_shaped(const struct translator *t, unsigned reg);

#endif
