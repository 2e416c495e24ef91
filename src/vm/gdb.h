/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_GDB_H
#define VISOR_VM_GDB_H

#include "base/error.h"
#include "vm/machine.h"

/*
 * The GDB remote serial protocol (GDB manual, appendix E) over the machine's
 * event loop: all vCPUs are threads of one process, memory is by the current
 * vCPU's linear address.
 */
struct gdb;

/* address: "PORT", ":PORT", "HOST:PORT" (TCP) or "unix:PATH". Listens and pauses the machine, which waits there for the
 * debugger's first "continue". */
struct gdb *gdb_create(struct machine *machine, const char *address, struct error *err);
void gdb_destroy(struct gdb *gdb);

#endif
