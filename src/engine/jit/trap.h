/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_TRAP_H
#define VISOR_ENGINE_JIT_TRAP_H

#include <stdbool.h>
#include <stdint.h>

/* Where to go on after a host exception at `at`, an address in translated code; NULL: it was none that was expected.
 * address: of the access, 0 when the host does not say. */
typedef const uint8_t *trap_resolve(void *opaque, const uint8_t *at, uintptr_t address);

/* On this thread, host exceptions at [start, start + size) go through `resolve` from now on; size 0: no more. Gives the
 * thread a signal stack, since translated code has no stack that signals could use. False: no memory. */
bool trap_enter(const uint8_t *start, uintptr_t size, trap_resolve *resolve, void *opaque);

#endif
