/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_INTERPRET_H
#define VISOR_ENGINE_INTERPRET_H

#include "engine/block.h"
#include "engine/engine.h"

/*
 * Interpretation, for the engine that does nothing else and for engines that
 * leave some code to it. Decoded blocks are executed instruction by instruction
 * through the functions of cpu/; the attention word is looked at after each
 * one. A fault longjmps to cpu->fault_env; the engine delivers it and goes on.
 */
struct interp {
	struct block_cache cache;
	const struct block *current; /* block under way, for counting what a fault cuts short */
	bool stepping;               /* a debugger's step has begun and, but for a fault, would be over */
};

int interpret_init(struct interp *interp, struct cpu *c, struct error *err);
void interpret_destroy(struct interp *interp);

/* Executes block after block until attention is asked for; one_block: at most one of them. */
void interpret(struct cpu *c, struct interp *interp, bool one_block);
/* Executes exactly one instruction. */
void interpret_one(struct cpu *c, struct interp *interp);

/* Between two instructions with something in cpu->attention: takes events, but ATTN_CODE is the engine's to clear; LEAVE: run() is to return *reason. */
enum verdict { GO_ON, LEAVE };
enum verdict interpret_attend(struct cpu *c, struct interp *interp, enum exit_reason *reason);

/* After a fault: what ran before it in its block counts, the faulting instruction does not. */
void interpret_count_faulted(struct cpu *c, struct interp *interp);

#endif
