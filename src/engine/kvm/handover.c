/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hand-over: the interpreter goes on where KVM cannot. The other processors stay in
 * KVM, which notes no writes to code and no changes of page tables; so nothing that was
 * decoded or looked up is kept from one hand-over to the next.
 */
#include <errno.h>

#include "base/util.h"
#include "engine/kvm/kvm.h"
#include "host/time.h"

#define SOON_NS 200000u           /* KVM has hardly run between two: the next stretch is longer */
#define LONGEST 4096u
#define WINDOW_NS 2000000000u
#define LONG_WINDOW_NS 8000000000u /* where the kernel is handed over: a boot goes on longer than it lasts */
#define TOO_MANY 200u
#define TOO_MUCH_PERCENT 10u
#define MOST_PERCENT 60u         /* where the kernel is handed over */
#define TURNS_TO_TIME 4096u

/* Events are on their way that KVM does not know: those of the instruction just done, and what waits for the next one. */
static bool undecided(const struct cpu *c)
{
	return c->step_armed || c->db_pending || (c->rflags & FLAG_RF) || (atomic_load(&c->signals) & (ATTN_INIT | ATTN_SIPI | ATTN_SMI));
}

/* Everything has to be interpreted. */
static bool observed(const struct kvm_vcpu *v)
{
	return kvm_debug_observed(v->cpu) && !kvm_debug_by_hardware(v);
}

/* `instructions`: the count from which on. */
static bool may_go_back(struct kvm_vcpu *v, uint64_t instructions)
{
	const struct cpu *c = v->cpu;
	if (observed(v) || undecided(c) || c->stats.instructions < instructions)
		return false;
	return !v->user_only || (c->cpl == 3 && kvm_user_may_run(v));
}

static enum verdict interpret_stretch(struct kvm_vcpu *v, uint64_t instructions, enum exit_reason *reason)
{
	struct cpu *c = v->cpu;
	uint64_t turns = 0, start = v->user_only ? host_time_ns() : 0;
	for (;;) {
		atomic_fetch_and(&c->attention, ~(uint32_t)ATTN_CODE);
		if (!atomic_load_explicit(&c->attention, memory_order_relaxed))
			interpret(c, &v->interp, true);
		else if (interpret_attend(c, &v->interp, reason) == LEAVE)
			return LEAVE;
		if (may_go_back(v, instructions))
			return GO_ON;
		if (v->user_only && ++turns % TURNS_TO_TIME == 0 && host_time_ns() - start > WINDOW_NS)
			return GO_ON; /* for somebody to see that it takes long */
	}
}

static void deliver_due(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	if (!v->exception_due)
		return;
	v->exception_due = false;
	cpu_deliver(c, v->exception_external ? EVENT_EXTERNAL : EVENT_EXCEPTION, v->exception_vector, v->exception_error);
}

bool kvm_settle(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	jmp_buf env;
	if (!kvm_take_state(v))
		return false;
	c->fault_env = &env;
	if (_setjmp(env))
		cpu_deliver_fault(c);
	else
		deliver_due(v);
	c->insn = NULL;
	c->fault_env = NULL;
	v->resumed = false;
	atomic_store(&v->vm->interpreted, true);
	return true;
}

/* Blocks are kept while nobody but interpreters runs, as under a debugger. */
static void prepare_blocks(struct kvm_vcpu *v)
{
	v->interp.cache.keeping = observed(v) ? BLOCKS_KEPT : v->user_only ? BLOCKS_NOT_OF_USER : BLOCKS_NOT_KEPT;
	if (observed(v) && v->stale) {
		block_cache_clear(&v->interp.cache);
		v->stale = false;
	}
}

enum verdict kvm_hand_over(struct kvm_vcpu *v, enum exit_reason *reason)
{
	struct cpu *c = v->cpu;
	uint64_t before = c->stats.instructions;
	jmp_buf env;
	if (!kvm_take_state(v)) {
		*reason = EXIT_ERROR;
		return LEAVE;
	}
	kvm_posted_catch_up(v->vm); /* to the interpreter all memory is shown */
	prepare_blocks(v);
	atomic_fetch_add(&v->vm->interpreting, 1);
	c->stats.handovers++;
	c->fault_env = &env;
	atomic_store(&c->running, true);
	if (_setjmp(env)) {
		interpret_count_faulted(c, &v->interp);
		cpu_deliver_fault(c);
	} else {
		deliver_due(v);
		cpu_attention(c, ATTN_STEP);
	}
	enum verdict verdict = interpret_stretch(v, before + v->stretch, reason);
	c->insn = NULL;
	c->fault_env = NULL;
	atomic_store(&c->running, false);
	atomic_store(&v->vm->interpreted, true);
	atomic_fetch_sub(&v->vm->interpreting, 1);
	v->resumed = true;
	bool flushed = c->tlb_event_count || !v->user_only;
	c->tlb_event_count = 0;
	if (flushed && kvm_vm_drop_shadows(v->vm) < 0) {
		kvm_failed(v, "KVM_SET_USER_MEMORY_REGION", errno);
		*reason = EXIT_ENGINE;
		return LEAVE;
	}
	c->stats.handed_over += c->stats.instructions - before;
	return verdict;
}

/* --- how often --- */

static void adapt_stretch(struct kvm_vcpu *v, uint64_t since)
{
	if (since < SOON_NS)
		v->stretch = MIN(v->stretch * 2, LONGEST);
	else
		v->stretch = MAX(v->stretch / 2, 1u);
}

/* Over a second in which there were many hand-overs. */
static bool too_often(struct kvm_vcpu *v, uint64_t start, uint64_t end)
{
	v->window_busy_ns += end - start;
	v->window_count++;
	if (end - v->window_ns < (v->user_only ? LONG_WINDOW_NS : WINDOW_NS) && (v->user_only || v->window_count < TOO_MANY))
		return false;
	v->share = (unsigned)(v->window_busy_ns * 100 / (end - v->window_ns + 1));
	bool result = v->user_only ? v->share > MOST_PERCENT : v->window_count >= TOO_MANY && v->share > TOO_MUCH_PERCENT;
	v->window_ns = end;
	v->window_busy_ns = v->window_count = 0;
	return result;
}

enum verdict kvm_stand_in(struct kvm_vcpu *v, enum exit_reason *reason)
{
	uint64_t start = host_time_ns();
	adapt_stretch(v, start - v->last_handover_ns);
	enum verdict verdict = kvm_hand_over(v, reason);
	uint64_t end = v->last_handover_ns = host_time_ns();
	if (!v->window_ns)
		v->window_ns = start;
	if (!too_often(v, start, end) || verdict == LEAVE)
		return verdict;
	snprintf(v->cpu->exit_detail, sizeof(v->cpu->exit_detail), "%s, and %u %% of the time went into what it handed over",
		 v->user_only ? "the host's KVM executes guests' kernels in software" : "the host's KVM does not execute all that this guest does", v->share);
	*reason = EXIT_ENGINE;
	return LEAVE;
}
