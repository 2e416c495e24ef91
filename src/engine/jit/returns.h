/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_RETURNS_H
#define VISOR_ENGINE_JIT_RETURNS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The host predicts the guest's returns: in code that uses windows a CALL calls, and a RET returns, with the host's RSP in a
 * table of translated code's addresses that is ours, at a place that follows from the guest's RSP. What a RET comes to
 * compares the guest's return address, which is read from the guest's stack as ever, with that of its CALL, and polls; where
 * they differ (longjmp, another thread) the branch goes by the space's table of branches.
 *
 * Each space of code (pages.h) has its own table, of constant address in its code. All that is ever in it leads to such places or to
 * `none`, and the index keeps RSP inside it, so that whatever a guest does to its stack the host returns to code of ours.
 */
struct code_space;
struct emitter;
struct jit;
struct translator;

/* Stubs, after branch_miss. */
void returns_make_stubs(struct jit *jit, struct emitter *e);
/* Nothing is matched in this space, whose code has the TLB set (USER, SUPERVISOR). */
void returns_clear(const struct jit *jit, struct code_space *space, unsigned set);
void returns_free(struct code_space *space);

/* Whether the code under way uses a table, which is made when it is first asked for. */
bool returns_used(const struct translator *t);
/* Makes the page's code at `after` what the guest comes back to; then the branch to the callee, in S_A if it is indirect. */
void returns_call(struct translator *t, int64_t after, bool indirect);
/* To the guest's address in S_A. */
void returns_return(struct translator *t);

#endif
