/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_FLAGS_H
#define VISOR_ENGINE_JIT_FLAGS_H

#include "cpu/cpu.h"
#include "engine/jit/emit.h"

/* Arithmetic flags: which are live, and their way between the host's flags and cpu->cc. */

/* Flags that the instruction reads, and those it sets for sure (undefined ones count as set). */
uint16_t flags_read(const struct insn *insn);
uint16_t flags_killed(const struct insn *insn);
/* Whether it may raise an exception where it stands in the middle of a unit: the frame shows all flags. */
bool flags_shown(const struct insn *insn);
/* Flags that the code at `bytes` may read before it sets them, or show in a frame; `room` bytes are left in the page. */
uint16_t flags_live_at(const uint8_t *bytes, unsigned room, unsigned mode);

/* Host's flags -> cpu->cc: RAX is lost. cpu->cc -> host's flags: likewise. */
void flags_emit_save(struct emitter *e, unsigned rax);
void flags_emit_load(struct emitter *e, unsigned rax);

#endif
