/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_DESCRIBE_H
#define VISOR_ENGINE_JIT_DESCRIBE_H

#include "engine/engine.h"

/* Takes some milliseconds. */
void jit_describe(struct engine_report *report);

#endif
