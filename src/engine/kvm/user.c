/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the host's KVM executes kernel code in software, slowly and not always
 * right, it gets user code alone: the processor executes that itself. The kernel is
 * handed over to the interpreter. So KVM holds a guest that cannot enter its kernel:
 * its interrupt table is empty and SYSCALL leads nowhere, so that whatever wants to get in,
 * faults, ends in a triple fault, and KVM comes back with the state of the instruction's start
 * (of SYSCALL: of its end, from which the start follows). The interpreter executes it again, with the
 * guest's own tables. Interrupts wait for that, too.
 */
#include <stdlib.h>

#include "base/util.h"
#include "cpu/system.h"
#include "engine/kvm/kvm.h"

/* Upper half, where no system has anything; looked at before each use. */
#define NOWHERE 0xffffff7000000000ull
#define SYSCALL_LENGTH 2
#define REG_R11 (REG_R8 + 3)

static bool interrupt_due(const struct cpu *c)
{
	uint32_t signals = atomic_load(&c->signals);
	return (signals & ~(uint32_t)ATTN_INTR) || ((signals & ATTN_INTR) && c->intc.ops && c->intc.ops->pending(c->intc.opaque));
}

/* Nobody sets NT in user code, and there is a KVM that loses it. IF tells afterwards if SYSCALL was executed: user code cannot clear it. */
bool kvm_user_may_run(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	uint64_t gpa;
	if (interrupt_due(c))
		return false;
	if (v->in_kernel)
		return true;
	return c->cpl == 3 && c->code_mode == ISA_MODE_64 && (c->rflags & FLAG_IF) && cpu_iopl(c) < 3 && !(c->rflags & (FLAG_TF | FLAG_RF | FLAG_NT)) &&
	       !(c->dr[7] & DR7_ENABLES) && !c->db_pending && !c->step_armed && !c->interrupt_shadow && !c->halted && !c->wait_for_sipi &&
	       !c->shutdown && !mmu_debug_translate(c, NOWHERE, &gpa);
}

/* The processor executes user code with the host's own CR4 and XCR0; KVM need not have what the guest's kernel switched on. */
void kvm_user_hide_kernel(struct kvm_sregs2 *s)
{
	s->idt.base = s->idt.limit = 0;
	s->cr3 &= ~CR3_PCID;
	s->cr4 &= CR4_PSE | CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT;
}

bool kvm_user_only(const struct kvm_probe *probe)
{
	return !probe->hardware && !getenv("VISOR_KVM_KERNEL"); /* for tests: all goes to KVM, as where there is hardware */
}

uint64_t kvm_user_msr(uint32_t msr, uint64_t value)
{
	switch (msr) {
	case 0x174: return 0;                              /* SYSENTER_CS: SYSENTER faults */
	case 0xc0000082: case 0xc0000083: return NOWHERE;  /* LSTAR, CSTAR */
	case 0xc0000084: return RFLAGS_VALID;              /* SFMASK */
	default: return value;
	}
}

/* After the registers have been taken. */
void kvm_user_came_back(struct cpu *c, const struct kvm_vcpu_events *events, const struct segment *code, const struct segment *stack)
{
	bool called = cpu_rip(c) == NOWHERE && !(c->rflags & FLAG_IF);
	if (called) {
		c->gpr[REG_RIP] = c->gpr[REG_RCX] - SYSCALL_LENGTH;
		cpu_set_rflags(c, c->gpr[REG_R11]);
		c->seg[SEG_CS] = *code;
		c->seg[SEG_SS] = *stack;
	}
	/* Of all that ends in a triple fault INT3 alone is left behind. */
	if (events->exception.nr == EXC_BP && !(c->rflags & FLAG_RF))
		c->gpr[REG_RIP]--;
	/* POPF has set TF: the trap behind the next instruction. */
	if (events->exception.nr == EXC_DB && (c->rflags & FLAG_TF))
		c->db_pending = DR6_BS;
	/* A fault's frame has RF, and so has what KVM shows of a fault that never had one. */
	c->rflags &= ~FLAG_RF;
	c->cpl = 3;
}
