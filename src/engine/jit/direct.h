/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_DIRECT_H
#define VISOR_ENGINE_JIT_DIRECT_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/cpu.h"

/*
 * Direct execution: user code of the guest is executed by the host's processor as it is, in a process of the host's that
 * has nothing but this guest process's memory, at the guest's own addresses (host/tracee.h). Whatever the code cannot do there
 * stops it: system calls, exceptions, pages that are not mapped yet, instructions that would show the host's state. The vCPU
 * then executes that one instruction by its function, and the guest's kernel by translation.
 *
 * A stop costs as much as thousands of instructions, so that a guest process is executed this way while it computes, and
 * translated while it keeps calling its kernel. What the tracee shows is, like a window, a TLB: it is compared with the page tables after
 * flushes, and pages with translated code are never writable in it.
 *
 * All of it belongs to one vCPU and its thread.
 */
struct jit;
struct direct;

/* NULL: this host has none. */
struct direct *direct_new(struct jit *jit);
void direct_free(struct direct *d);
/* The guest flushed TLB entries; event NULL: more than were noted. */
void direct_flushed(struct jit *jit, const struct tlb_event *event);
/* Code was written. */
void direct_written(struct direct *d);
/* Whether user code of the current space is to be executed directly from now on. Now and then, and when the space has changed. */
bool direct_wanted(struct jit *jit);
/* Code at RIP, of user mode, may be executed this way, as far as the state says, and that page of code. */
bool direct_fits(const struct jit *jit);
/* Executes user code until something else is to be done, and the instruction that stopped it. May fault. */
void direct_run(struct jit *jit);
/* The thread leaves for a while. */
void direct_rest(struct jit *jit);
/* Ends direct_run if it is under way. From any thread, after cpu->attention was set. */
void direct_wake(struct direct *d);

#endif
