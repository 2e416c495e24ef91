/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_DUMP_H
#define VISOR_ENGINE_JIT_DUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * Names of translated code for perf(1): /tmp/perf-PID.map, a line for each
 * stretch of code (address, size, name), which `perf report` reads. One file for
 * the process; all functions may be called from any thread.
 *
 * Not jitdump, the other format that perf knows: its time stamps keep names
 * apart when code memory is used again, but `perf inject` makes a file for each
 * of the units, which are a hundred thousand after a boot, and a map can be read while
 * the guest runs. Code memory is used again after an eviction alone: then the names that were there go, and samples from
 * before get the new ones. Statistics say whether that happened.
 */

/* Begins the file, once. symbols: names of the guest kernel's functions, in the format of System.map or /proc/kallsyms,
 * or "". Errors: a file that cannot be read, has no symbols or no addresses; a map that cannot be written. */
int dump_open(const char *symbols, struct error *err);
/* What stands at code, `size` bytes. No-op without dump_open, as all that follows. */
void dump_stub(const char *name, const uint8_t *code, size_t size);
/* Code for `bytes` of the guest's at `linear`. window: it reaches memory by windows. */
void dump_unit(uint64_t linear, unsigned bytes, bool user, bool window, const uint8_t *code, size_t size);
/* Names in [code, code + size) are void. */
void dump_forget(const uint8_t *code, size_t size);

#endif
