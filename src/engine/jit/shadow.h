/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_SHADOW_H
#define VISOR_ENGINE_JIT_SHADOW_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Stacks of return addresses that are ours, so that the host predicts the guest's returns: in code that uses windows a CALL calls,
 * and a RET returns, on a stack that holds addresses of translated code, one for user and one for supervisor code. What a RET
 * comes to compares the guest's return address, which is read from the guest's stack as ever, with that of its
 * CALL; where they differ (longjmp, another thread) the branch goes by the space's table.
 *
 * A RET that is matched leads behind a CALL that was executed as often, so loops are still seen to at branches back and in
 * tables. When another address space comes the user's stack is empty; when all code is forgotten both are.
 */
struct jit;
struct emitter;
struct translator;

bool shadow_init(struct jit *jit);
void shadow_destroy(struct jit *jit);
/* Stubs, after branch_miss. */
void shadow_make_stubs(struct jit *jit, struct emitter *e);
/* Empties the stack of user or supervisor code (TLB_USER, TLB_SUPERVISOR). */
void shadow_reset(struct jit *jit, unsigned set);
/* The call at `at` found its stack full, if `address` says so: where to go on; else NULL. */
const uint8_t *shadow_overflow(struct jit *jit, const uint8_t *at, uintptr_t address);

/* Whether the code under way has a stack. */
bool shadow_used(const struct translator *t);
/* Around what leads to the page's code at `after` when the guest comes back: S_A stays. Then the branch to the callee. */
void shadow_call(struct translator *t, int64_t after);
/* To the guest's address in S_A, as exit_by_table, which it ends like. */
void shadow_return(struct translator *t);

#endif
