/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_BELLS_H
#define VISOR_VM_BELLS_H

#include "bus/space.h"
#include "engine/engine.h"
#include "host/loop.h"

/*
 * Doorbells (struct io_bells) under an engine that can have them counted by an eventfd each: then a notification
 * neither ends the guest's turn nor wants the vCPU's thread, and wakes the loop's thread itself. All but
 * start and stop may run on any thread; bells ring on the loop's.
 */
struct bells;

struct bells *bells_create(struct loop *loop, struct io_space *mmio, struct error *err);
/* After stop, and after the loop has run dry. */
void bells_destroy(struct bells *bells);

/* From now on those of regions that are mapped are the engine's, if it has the means; with its processors made. */
void bells_start(struct bells *bells, const struct engine_type *engine, struct cpu *cpu);
/* And no longer: before the engine goes. Does nothing where they were not started. */
void bells_stop(struct bells *bells);

#endif
