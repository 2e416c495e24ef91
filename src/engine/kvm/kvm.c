/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine kvm: the host's processor executes the guest, by the kernel's KVM. */
#include "engine/kvm/kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"


void kvm_failed(struct kvm_vcpu *v, const char *what, int code)
{
	snprintf(v->cpu->exit_detail, sizeof(v->cpu->exit_detail), "%s: %s", what, strerror(code));
}

/* --- kicks: from any thread --- */

/* The flag makes the next KVM_RUN come back at once; the signal, the one that is under way. */
static void wake(void *opaque)
{
	struct kvm_vcpu *v = opaque;
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	kvm_kick(&v->kick);
	if (v->wake)
		v->wake(v->wake_opaque);
}

/* --- making and ending --- */

static void destroy(struct cpu *c)
{
	struct kvm_vcpu *v = c->engine;
	if (!v)
		return;
	if (v->in_kernel)
		kvm_settle(v);
	if (v->run) {
		kvm_posted_close(v);
		munmap(v->run, v->run_size);
	}
	if (v->fd >= 0)
		close(v->fd);
	if (v->vm)
		kvm_vm_put(v->vm);
	interpret_destroy(&v->interp);
	c->wake = v->wake;
	c->wake_opaque = v->wake_opaque;
	c->tsc_of_host = false;
	free(v);
	c->engine = NULL;
}

static int open_vcpu(struct kvm_vcpu *v, struct error *err)
{
	struct cpu *c = v->cpu;
	v->vm = kvm_vm_get(c, err);
	if (!v->vm)
		return -1;
	v->fd = ioctl(v->vm->fd, KVM_CREATE_VCPU, (unsigned long)c->index);
	v->run_size = v->vm->host.run_size;
	void *run = v->fd < 0 ? MAP_FAILED : mmap(NULL, v->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (run == MAP_FAILED)
		return error_set(err, errno, "KVM cannot make processor %u: %s; use --engine jit", c->index, strerror(errno));
	v->run = run;
	v->user_only = kvm_user_only(&v->vm->probe);
	kvm_posted_open(v);
	cpu_attention(c, ATTN_FLUSH); /* the memory map was made without it */
	c->tsc_of_host = !v->vm->probe.tsc_offset;
	return v->user_only ? kvm_check_hidden(c, err) : kvm_check_features(&v->vm->host, c, err);
}

static int create(struct cpu *c, struct error *err)
{
	struct kvm_vcpu *v = calloc(1, sizeof(*v));
	if (!v)
		return error_set(err, ENOMEM, "no memory for processor %u", c->index);
	v->cpu = c;
	v->fd = -1;
	v->stretch = 1;
	v->wake = c->wake;
	v->wake_opaque = c->wake_opaque;
	c->engine = v;
	kvm_kick_init();
	if (interpret_init(&v->interp, c, err) < 0 || open_vcpu(v, err) < 0) {
		destroy(c);
		return -1;
	}
	c->wake = wake;
	c->wake_opaque = v;
	return 0;
}

/* --- running --- */

static bool interrupt_waits(const struct cpu *c)
{
	return (atomic_load(&c->signals) & ATTN_INTR) && c->intc.ops && c->intc.ops->pending(c->intc.opaque);
}

/* After HLT. */
static bool wakes(const struct kvm_vcpu *v)
{
	const struct cpu *c = v->cpu;
	return (atomic_load(&c->signals) & ATTN_NMI) || (v->run->if_flag && interrupt_waits(c));
}

/* Gives the kernel what waits and it can take now; it says when it can take what it cannot. */
static bool inject(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	v->run->request_interrupt_window = 0;
	if (atomic_load(&c->signals) & ATTN_NMI) {
		atomic_fetch_and(&c->signals, ~(uint32_t)ATTN_NMI);
		if (ioctl(v->fd, KVM_NMI, 0) < 0) {
			kvm_failed(v, "KVM_NMI", errno);
			return false;
		}
	}
	if (!(atomic_load(&c->signals) & ATTN_INTR))
		return true;
	if (!v->run->ready_for_interrupt_injection || !v->run->if_flag) {
		v->run->request_interrupt_window = interrupt_waits(c);
		return true;
	}
	atomic_fetch_and(&c->signals, ~(uint32_t)ATTN_INTR);
	int vector = c->intc.ops ? c->intc.ops->acknowledge(c->intc.opaque) : -1;
	if (c->intc.ops && c->intc.ops->pending(c->intc.opaque)) {
		atomic_fetch_or(&c->signals, ATTN_INTR);
		v->run->request_interrupt_window = 1;
	}
	if (vector < 0)
		return true;
	struct kvm_interrupt interrupt = { .irq = (uint32_t)vector };
	c->stats.interrupts++;
	if (ioctl(v->fd, KVM_INTERRUPT, &interrupt) < 0) {
		kvm_failed(v, "KVM_INTERRUPT", errno);
		return false;
	}
	return true;
}

/* KVM_RUN once; its errno, or 0. */
static int enter(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	uint64_t cr8 = c->intc.ops ? c->intc.ops->get_cr8(c->intc.opaque) : 0;
	v->run->cr8 = cr8;
	v->counts.runs++;
	v->incomplete = false;
	v->stale = true;
	int result = ioctl(v->fd, KVM_RUN, 0) < 0 ? errno : 0;
	if (c->intc.ops && !v->user_only && v->run->cr8 != cr8)
		c->intc.ops->set_cr8(c->intc.opaque, v->run->cr8);
	return result;
}

static enum verdict stopped(struct kvm_vcpu *v, enum exit_reason why, enum exit_reason *reason)
{
	*reason = why;
	return LEAVE;
}

static enum verdict handle_exit(struct kvm_vcpu *v, enum exit_reason *reason)
{
	struct cpu *c = v->cpu;
	switch (v->run->exit_reason) {
	case KVM_EXIT_IO:
		kvm_exit_io(v);
		return GO_ON;
	case KVM_EXIT_MMIO:
		kvm_exit_mmio(v);
		return GO_ON;
	case KVM_EXIT_X86_RDMSR:
		kvm_exit_msr(v, false);
		return GO_ON;
	case KVM_EXIT_X86_WRMSR:
		kvm_exit_msr(v, true);
		return GO_ON;
	case KVM_EXIT_HLT:
		v->counts.halt++;
		c->stats.halts++;
		c->halted = true;
		return GO_ON;
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		v->counts.window++;
		return GO_ON;
	case KVM_EXIT_INTR:
	case KVM_EXIT_SET_TPR:
		return GO_ON;
	case KVM_EXIT_SHUTDOWN:
		if (v->user_only)
			return kvm_stand_in(v, reason);
		if (!kvm_take_state(v))
			return stopped(v, EXIT_ERROR, reason);
		c->shutdown = true;
		return stopped(v, EXIT_SHUTDOWN, reason);
	case KVM_EXIT_DEBUG:
		v->counts.debug++;
		if (!kvm_settle(v))
			return stopped(v, EXIT_ERROR, reason);
		*reason = EXIT_DEBUG;
		return kvm_debug_hit(v) ? LEAVE : GO_ON;
	case KVM_EXIT_INTERNAL_ERROR:
		return kvm_stand_in(v, reason);
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(c->exit_detail, sizeof(c->exit_detail), "the host's processor refuses the guest's state (0x%llx)",
			 (unsigned long long)v->run->fail_entry.hardware_entry_failure_reason);
		return stopped(v, EXIT_ENGINE, reason);
	default:
		snprintf(c->exit_detail, sizeof(c->exit_detail), "KVM_RUN came back for a reason that visor does not know (%u)",
			 v->run->exit_reason);
		return stopped(v, EXIT_ERROR, reason);
	}
}

/* What waits in cpu->attention. HAND_OVER: the interpreter is to take events that KVM does not know. */
enum attended { ENTER, STAND_STILL, HAND_OVER };

static enum attended attend(struct kvm_vcpu *v, enum exit_reason *reason)
{
	struct cpu *c = v->cpu;
	struct error err;
	uint32_t attention = atomic_fetch_and(&c->attention, ~(uint32_t)(ATTN_KICK | ATTN_INTR | ATTN_NMI | ATTN_CODE | ATTN_EXIT | ATTN_STEP |
									 ATTN_SHADOW | ATTN_INIT | ATTN_SIPI | ATTN_SMI));
	if (attention & ATTN_FLUSH) {
		mmu_answer_flush(c);
		if (kvm_vm_sync_memory(v->vm, &err) < 0)
			snprintf(c->exit_detail, sizeof(c->exit_detail), "%.150s", err.text);
	}
	*reason = c->exit_detail[0] ? EXIT_ENGINE : EXIT_KICK;
	if ((attention & ATTN_KICK) || c->exit_detail[0])
		return STAND_STILL;
	if (kvm_debug_observed(c) && (!kvm_debug_by_hardware(v) || (!v->in_kernel && !v->resumed)))
		return HAND_OVER;
	if (atomic_load(&c->signals) & (ATTN_INIT | ATTN_SIPI | ATTN_SMI))
		return HAND_OVER;
	if (!v->in_kernel && (c->step_armed || c->db_pending || v->exception_due))
		return HAND_OVER;
	*reason = EXIT_HALT;
	if (c->wait_for_sipi || c->shutdown)
		return STAND_STILL;
	if (kvm_priority_raised(v) || (v->user_only && !kvm_user_may_run(v)))
		return HAND_OVER;
	return ENTER;
}

/* One turn: into the guest and back, unless something waits. */
static enum verdict turn(struct kvm_vcpu *v, enum exit_reason *reason)
{
	struct cpu *c = v->cpu;
	atomic_store(&v->kick.inside, true);
	__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	enum attended attended = attend(v, reason);
	if (attended != ENTER) {
		atomic_store(&v->kick.inside, false);
		if (attended == STAND_STILL)
			return LEAVE;
		return v->user_only ? kvm_stand_in(v, reason) : kvm_hand_over(v, reason);
	}
	*reason = EXIT_ENGINE; /* what this kernel refuses is no fault of the guest's */
	if (!kvm_give_state(v) || !kvm_give_tsc(v) || !kvm_debug_apply(v))
		return LEAVE;
	if (c->halted && !wakes(v)) {
		*reason = EXIT_HALT;
		return LEAVE;
	}
	c->halted = false;
	if (!v->user_only && !inject(v)) /* what comes now ends KVM_RUN at once */
		return stopped(v, EXIT_ERROR, reason);
	int code = enter(v);
	atomic_store(&v->kick.inside, false);
	if (code == 0)
		return handle_exit(v, reason);
	v->counts.kicked++;
	if (code == EINTR || code == EAGAIN)
		return GO_ON;
	kvm_failed(v, "KVM_RUN", code);
	return stopped(v, EXIT_ENGINE, reason);
}

static enum exit_reason run(struct cpu *c)
{
	struct kvm_vcpu *v = kvm_of(c);
	enum exit_reason reason;
	kvm_kick_enter(&v->kick);
	while (turn(v, &reason) == GO_ON)
		;
	atomic_store(&v->kick.inside, false);
	return reason;
}

static int get_state(struct cpu *c, struct error *err)
{
	struct kvm_vcpu *v = kvm_of(c);
	return kvm_settle(v) ? 0 : error_set(err, EIO, "%s", c->exit_detail);
}

/* NULL: the engine could not be made anew. */
static bool written(struct cpu *c, const struct memory_aperture *aperture, uint64_t *pages)
{
	struct kvm_vcpu *v = kvm_of(c);
	return v && !v->user_only && kvm_vm_written(v->vm, aperture, pages);
}

static void catch_up(struct cpu *c)
{
	struct kvm_vcpu *v = kvm_of(c);
	if (v)
		kvm_posted_catch_up(v->vm);
}

static bool ring_by(struct cpu *c, uint64_t gpa, int eventfd, bool on)
{
	struct kvm_vcpu *v = kvm_of(c);
	return v && kvm_vm_ring_by(v->vm, gpa, eventfd, on);
}

const struct engine_type engine_kvm = {
	.name = "kvm",
	.examine = kvm_examine,
	.create = create,
	.destroy = destroy,
	.run = run,
	.get_state = get_state,
	.counters = kvm_counters,
	.counts_never = true,
	.own_privilege = true,
	.limit = kvm_limit_features,
	.kick = engine_kick,
	.written = written,
	.catch_up = catch_up,
	.ring_by = ring_by,
};
