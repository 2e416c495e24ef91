/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reference engine: interpretation and nothing else. */
#include "engine/interp/interp.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/interpret.h"

static int create(struct cpu *c, struct error *err)
{
	struct interp *interp = calloc(1, sizeof(*interp));
	if (!interp)
		return error_set(err, ENOMEM, "no memory for the interpreter of vCPU %u", c->index);
	if (interpret_init(interp, c, err) < 0) {
		free(interp);
		return -1;
	}
	c->engine = interp;
	tlb_flush_all(c);
	return 0;
}

static void destroy(struct cpu *c)
{
	if (c->engine)
		interpret_destroy(c->engine);
	free(c->engine);
	c->engine = NULL;
}

void interp_trace(struct cpu *c, FILE *file)
{
	((struct interp *)c->engine)->cache.trace = file;
	cpu_attention(c, ATTN_STEP);
}

static enum exit_reason loop(struct cpu *c, struct interp *interp)
{
	enum exit_reason reason;
	for (;;) {
		if (!atomic_load_explicit(&c->attention, memory_order_relaxed))
			interpret(c, interp, false);
		atomic_fetch_and(&c->attention, ~(uint32_t)ATTN_CODE); /* blocks look at generations themselves */
		if (interpret_attend(c, interp, &reason) == LEAVE)
			return reason;
	}
}

static enum exit_reason run(struct cpu *c)
{
	struct interp *interp = c->engine;
	jmp_buf env;
	c->fault_env = &env;
	atomic_store(&c->running, true);
	/* A delivery that faults comes back here too; cpu_deliver_fault works out double and triple faults. */
	if (_setjmp(env)) {
		interpret_count_faulted(c, interp);
		cpu_deliver_fault(c);
	} else {
		/* Whatever has changed while we were out is looked at first. */
		cpu_attention(c, ATTN_STEP);
	}
	enum exit_reason reason = loop(c, interp);
	c->insn = NULL;
	c->fault_env = NULL;
	atomic_store(&c->running, false);
	return reason;
}

const struct engine_type engine_interp = {
	.name = "interp",
	.create = create,
	.destroy = destroy,
	.run = run,
	.trace = interp_trace,
	.counts_always = true,
	.kick = engine_kick,
};
