/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_INTERP_INTERP_H
#define VISOR_ENGINE_INTERP_INTERP_H

#include <stdio.h>

#include "engine/engine.h"

/* Logs every instruction of this vCPU, with a disassembly, until interp_trace(cpu, NULL). The file stays the caller's. The
 * vCPU must not be running. */
void interp_trace(struct cpu *cpu, FILE *file);

#endif
