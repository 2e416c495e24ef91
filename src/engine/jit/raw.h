/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_RAW_H
#define VISOR_ENGINE_JIT_RAW_H

#include "engine/jit/emit.h"
#include "isa/insn.h"

/* Copies an instruction as it stands in the guest, with its memory operand, if it has one, replaced by *m (no GS). The
 * registers stay. False: it cannot have this operand (a high byte register beside a register that needs REX). */
bool raw_copy(struct emitter *e, const struct insn *insn, const uint8_t *bytes, const struct host_mem *m);

#endif
