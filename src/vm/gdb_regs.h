/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_GDB_REGS_H
#define VISOR_VM_GDB_REGS_H

#include <stdbool.h>
#include <stddef.h>

#include "cpu/cpu.h"

/* The registers in the order of gdb_target_xml, which is that of GDB's own x86-64 description. */
extern const char gdb_target_xml[];
unsigned gdb_reg_count(void);
/* Size in bytes; 0: no such register. */
unsigned gdb_reg_size(unsigned number);
void gdb_reg_read(struct cpu *c, unsigned number, uint8_t *to);
/* False when the register cannot be written (or not with this value). */
bool gdb_reg_write(struct cpu *c, unsigned number, const uint8_t *from);

#endif
