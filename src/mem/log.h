/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_MEM_LOG_H
#define VISOR_MEM_LOG_H

#include "mem/memory.h"

/*
 * Which pages of an aperture have changed since somebody looked last: for displays. Devices' writes
 * are marked (memory_note_write_slow). What processors wrote the engine knows, or else a copy tells.
 */

/* Sets bit n of `changed`, which has one for each page of the aperture, if page n has something of [from, from + size) and may be
 * another than when this was called last; the first time all are. Whatever is read of them afterwards is at least as new as
 * what the next call compares with. One thread at a time for each aperture. False: out of memory, and nothing is known. */
bool memory_log_take(struct guest_memory *memory, struct memory_aperture *aperture, uint64_t from, uint64_t size, uint64_t *changed);

/* For memory.c. */
void memory_log_note(const struct guest_memory *memory, uint64_t offset, uint64_t length);
void memory_log_end(struct guest_memory *memory);

#endif
