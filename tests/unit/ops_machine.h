/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_OPS_MACHINE_H
#define VISOR_TESTS_OPS_MACHINE_H

#include "cpu/cpu.h"

/* One processor with flat segments over its own memory, without devices, at CPL 0. */
#define MACHINE_RAM (512u << 20)

extern struct cpu machine;
/* Makes the memory once, and puts the processor into `mode` with paging off. */
void machine_reset(enum isa_mode mode);

/* Switches paging on: 4-level tables at 1 MiB map all of RAM one to one with 4 KiB pages. */
void machine_paging(void);
#define MACHINE_PAGE_PRESENT 1u
#define MACHINE_PAGE_WRITABLE 2u
/* Changes the rights of the page of `linear` (MACHINE_PAGE_*), and flushes the TLB. */
void machine_set_page(uint64_t linear, unsigned rights);

enum { RUN_OK = -1, RUN_INVALID = -2 /* does not decode */, RUN_NOT_INTEGER = -3 };
/* Executes one instruction at gpr[REG_RIP]; RUN_* or the vector of the fault it raised. */
int machine_run(const uint8_t *bytes, unsigned length);
int machine_run_decoded(struct insn *insn);

#endif
