/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A processor's state, between the kernel and struct cpu. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "base/util.h"
#include "cpu/fpu.h"
#include "engine/kvm/kvm.h"

static bool failed(struct kvm_vcpu *v, const char *what)
{
	kvm_failed(v, what, errno);
	return false;
}

/* --- general registers --- */

static const unsigned gpr_offsets[16] = {
	offsetof(struct kvm_regs, rax), offsetof(struct kvm_regs, rcx), offsetof(struct kvm_regs, rdx), offsetof(struct kvm_regs, rbx),
	offsetof(struct kvm_regs, rsp), offsetof(struct kvm_regs, rbp), offsetof(struct kvm_regs, rsi), offsetof(struct kvm_regs, rdi),
	offsetof(struct kvm_regs, r8), offsetof(struct kvm_regs, r9), offsetof(struct kvm_regs, r10), offsetof(struct kvm_regs, r11),
	offsetof(struct kvm_regs, r12), offsetof(struct kvm_regs, r13), offsetof(struct kvm_regs, r14), offsetof(struct kvm_regs, r15),
};

static bool take_regs(struct kvm_vcpu *v)
{
	struct kvm_regs regs;
	if (ioctl(v->fd, KVM_GET_REGS, &regs) < 0)
		return failed(v, "KVM_GET_REGS");
	for (unsigned i = 0; i < 16; i++)
		memcpy(&v->cpu->gpr[i], (uint8_t *)&regs + gpr_offsets[i], 8);
	v->cpu->gpr[REG_RIP] = regs.rip;
	cpu_set_rflags(v->cpu, regs.rflags);
	return true;
}

static bool give_regs(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	struct kvm_regs regs = { .rip = cpu_rip(c), .rflags = cpu_get_rflags(c) };
	if (c->rf_clear)
		regs.rflags &= ~FLAG_RF;
	for (unsigned i = 0; i < 16; i++)
		memcpy((uint8_t *)&regs + gpr_offsets[i], &c->gpr[i], 8);
	return ioctl(v->fd, KVM_SET_REGS, &regs) < 0 ? failed(v, "KVM_SET_REGS") : true;
}

/* --- segments and control registers --- */

static struct kvm_segment give_segment(const struct segment *s)
{
	unsigned a = s->attributes;
	return (struct kvm_segment){
		.base = s->base, .limit = s->limit, .selector = s->selector, .type = a & SEGATTR_TYPE, .s = !!(a & SEGATTR_S),
		.dpl = SEGATTR_DPL(a), .present = !!(a & SEGATTR_P), .avl = a >> 12 & 1, .l = !!(a & SEGATTR_L), .db = !!(a & SEGATTR_DB),
		.g = !!(a & SEGATTR_G), .unusable = !(a & SEGATTR_P),
	};
}

static struct segment take_segment(const struct kvm_segment *s)
{
	struct segment out = { .base = s->base, .limit = s->limit, .selector = s->selector };
	if (s->unusable || !s->present)
		return out;
	out.attributes = (uint16_t)(s->type | s->s << 4 | s->dpl << 5 | s->present << 7 | s->avl << 12 | s->l << 13 | s->db << 14 | s->g << 15);
	return out;
}

static struct kvm_segment *segment_of(struct kvm_sregs2 *s, unsigned n)
{
	struct kvm_segment *const list[SEG_COUNT] = {
		[SEG_ES] = &s->es, [SEG_CS] = &s->cs, [SEG_SS] = &s->ss, [SEG_DS] = &s->ds, [SEG_FS] = &s->fs, [SEG_GS] = &s->gs,
		[SEG_LDTR] = &s->ldt, [SEG_TR] = &s->tr,
	};
	return list[n];
}

static bool pae_paging(const struct cpu *c)
{
	return (c->cr0 & CR0_PG) && (c->cr4 & CR4_PAE) && !cpu_long_mode(c);
}

static bool take_sregs(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	struct kvm_sregs2 s;
	if (ioctl(v->fd, KVM_GET_SREGS2, &s) < 0)
		return failed(v, "KVM_GET_SREGS2");
	for (unsigned i = 0; i < (v->user_only ? SEG_LDTR : SEG_COUNT); i++)
		c->seg[i] = take_segment(segment_of(&s, i));
	if (v->user_only)
		return true;
	c->gdtr = (struct table_register){ s.gdt.base, s.gdt.limit };
	c->idtr = (struct table_register){ s.idt.base, s.idt.limit };
	c->cr0 = s.cr0;
	c->cr2 = s.cr2;
	c->cr3 = s.cr3;
	c->cr4 = s.cr4;
	c->efer = s.efer;
	c->cpl = (uint8_t)s.ss.dpl; /* where the processor keeps it */
	if (pae_paging(c) && (s.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID))
		memcpy(c->pdpte, s.pdptrs, sizeof(c->pdpte));
	return true;
}

static bool give_sregs(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	struct kvm_sregs2 s = {
		.gdt = { .base = c->gdtr.base, .limit = c->gdtr.limit }, .idt = { .base = c->idtr.base, .limit = c->idtr.limit },
		.cr0 = c->cr0, .cr2 = c->cr2, .cr3 = c->cr3, .cr4 = c->cr4, .efer = c->efer,
	};
	for (unsigned i = 0; i < SEG_COUNT; i++)
		*segment_of(&s, i) = give_segment(&c->seg[i]);
	s.ss.dpl = c->cpl;
	if (c->intc.ops) {
		uint64_t base = 0;
		c->intc.ops->read_msr(c->intc.opaque, 0x1b, &base);
		s.apic_base = base;
		s.cr8 = c->intc.ops->get_cr8(c->intc.opaque);
	}
	if (pae_paging(c)) {
		s.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
		memcpy(s.pdptrs, c->pdpte, sizeof(s.pdptrs));
	}
	if (v->user_only)
		kvm_user_hide_kernel(&s);
	return ioctl(v->fd, KVM_SET_SREGS2, &s) < 0 ? failed(v, "KVM_SET_SREGS2") : true;
}

/* --- x87, vectors --- */

static bool take_fpu(struct kvm_vcpu *v)
{
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct cpu *c = v->cpu;
	uint8_t *area = (uint8_t *)xsave.region;
	if (ioctl(v->fd, KVM_GET_XSAVE, &xsave) < 0)
		return failed(v, "KVM_GET_XSAVE");
	fpu_from_area(c, area);
	if (v->user_only || !cpu_has(c, FEATURE_XSAVE))
		return true;
	if (ioctl(v->fd, KVM_GET_XCRS, &xcrs) < 0)
		return failed(v, "KVM_GET_XCRS");
	for (unsigned i = 0; i < xcrs.nr_xcrs; i++)
		if (xcrs.xcrs[i].xcr == 0)
			c->xcr0 = xcrs.xcrs[i].value;
	return true;
}

static bool give_fpu(struct kvm_vcpu *v)
{
	struct kvm_xsave xsave = { 0 };
	struct cpu *c = v->cpu;
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs[0] = { .xcr = 0, .value = c->xcr0 } };
	uint8_t *area = (uint8_t *)xsave.region;
	if (!v->user_only && cpu_has(c, FEATURE_XSAVE) && ioctl(v->fd, KVM_SET_XCRS, &xcrs) < 0)
		return failed(v, "KVM_SET_XCRS");
	fpu_to_area(c, area);
	return ioctl(v->fd, KVM_SET_XSAVE, &xsave) < 0 ? failed(v, "KVM_SET_XSAVE") : true;
}

/* --- MSRs --- */

#define MSR_COUNT 10

static unsigned list_msrs(struct cpu *c, uint32_t number[MSR_COUNT], uint64_t *value[MSR_COUNT])
{
	const struct {
		uint32_t number;
		uint64_t *value;
	} all[MSR_COUNT] = {
		{ 0x174, &c->sysenter_cs }, { 0x175, &c->sysenter_esp }, { 0x176, &c->sysenter_eip }, { 0x277, &c->pat },
		{ 0xc0000081, &c->star }, { 0xc0000082, &c->lstar }, { 0xc0000083, &c->cstar }, { 0xc0000084, &c->sfmask },
		{ 0xc0000102, &c->kernel_gs_base }, { 0xc0000103, &c->tsc_aux },
	};
	bool aux = cpu_has(c, FEATURE_RDTSCP) || cpu_has(c, FEATURE_RDPID);
	for (unsigned i = 0; i < MSR_COUNT; i++) {
		number[i] = all[i].number;
		value[i] = all[i].value;
	}
	return aux ? MSR_COUNT : MSR_COUNT - 1;
}

static bool move_msrs(struct kvm_vcpu *v, bool give)
{
	uint32_t number[MSR_COUNT];
	uint64_t *value[MSR_COUNT];
	_Alignas(struct kvm_msrs) uint8_t room[sizeof(struct kvm_msrs) + MSR_COUNT * sizeof(struct kvm_msr_entry)];
	struct kvm_msrs *list = (struct kvm_msrs *)room;
	memset(room, 0, sizeof(room));
	list->nmsrs = list_msrs(v->cpu, number, value);
	for (unsigned i = 0; i < list->nmsrs; i++)
		list->entries[i] = (struct kvm_msr_entry){ .index = number[i], .data = !give ? 0 : v->user_only ? kvm_user_msr(number[i], *value[i]) : *value[i] };
	int done = ioctl(v->fd, give ? KVM_SET_MSRS : KVM_GET_MSRS, list);
	if (done < 0)
		return failed(v, give ? "KVM_SET_MSRS" : "KVM_GET_MSRS");
	if (done != (int)list->nmsrs) {
		snprintf(v->cpu->exit_detail, sizeof(v->cpu->exit_detail), "KVM refuses MSR 0x%x", number[done]);
		return false;
	}
	for (unsigned i = 0; !give && i < list->nmsrs; i++)
		*value[i] = list->entries[i].data;
	return true;
}

bool kvm_give_tsc(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	struct kvm_device_attr attr = { .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&c->tsc_offset };
	if (v->tsc_known && v->tsc_offset == c->tsc_offset)
		return true;
	if (!v->tsc_known && !c->index && c->tsc_hz && c->tsc_jump > c->tsc_hz)
		log_warn("the host's KVM shows guests the host's time-stamp counter, so the guest's jumps forward by %llu s; a guest that is "
			 "started with --engine kvm is spared that", (unsigned long long)(c->tsc_jump / c->tsc_hz));
	if (c->tsc_scale && ioctl(v->fd, KVM_SET_TSC_KHZ, (unsigned long)(c->tsc_hz / 1000)) < 0)
		return failed(v, "KVM_SET_TSC_KHZ (the guest was started on a host with another clock)");
	if (ioctl(v->fd, KVM_SET_DEVICE_ATTR, &attr) < 0)
		return failed(v, "KVM_VCPU_TSC_OFFSET");
	v->tsc_offset = c->tsc_offset;
	v->tsc_known = true;
	return true;
}

/* --- debug registers, events --- */

static bool take_debug(struct kvm_vcpu *v)
{
	struct kvm_debugregs d;
	if (ioctl(v->fd, KVM_GET_DEBUGREGS, &d) < 0)
		return failed(v, "KVM_GET_DEBUGREGS");
	memcpy(v->cpu->dr, d.db, sizeof(d.db));
	v->cpu->dr[6] = d.dr6;
	v->cpu->dr[7] = d.dr7;
	return true;
}

static bool give_debug(struct kvm_vcpu *v)
{
	struct kvm_debugregs d = { .dr6 = v->cpu->dr[6], .dr7 = v->cpu->dr[7] };
	memcpy(d.db, v->cpu->dr, sizeof(d.db));
	return ioctl(v->fd, KVM_SET_DEBUGREGS, &d) < 0 ? failed(v, "KVM_SET_DEBUGREGS") : true;
}

/* What raises its event again when it is executed again, at the instruction's start: INT n, INT3, INTO. */
static bool is_soft(const struct kvm_vcpu_events *e)
{
	return e->interrupt.injected ? e->interrupt.soft : e->exception.nr == EXC_BP || e->exception.nr == EXC_OF;
}

static bool take_events(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	struct kvm_vcpu_events e;
	if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &e) < 0)
		return failed(v, "KVM_GET_VCPU_EVENTS");
	bool exception = e.exception.injected || ((e.flags & KVM_VCPUEVENT_VALID_PAYLOAD) && e.exception.pending);
	c->interrupt_shadow = e.interrupt.shadow != 0;
	c->mov_ss_shadow = e.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS;
	c->nmi_blocked = e.nmi.masked;
	if (e.nmi.pending || e.nmi.injected)
		atomic_fetch_or(&c->signals, ATTN_NMI);
	if (e.nmi.injected)
		c->nmi_blocked = false;
	v->exception_due = (exception || e.interrupt.injected) && !is_soft(&e);
	v->exception_external = !exception;
	v->exception_vector = exception ? e.exception.nr : e.interrupt.nr;
	v->exception_error = exception && e.exception.has_error_code ? e.exception.error_code : 0;
	cpu_attention(c, ATTN_STEP | ATTN_SHADOW | ATTN_INTR | ATTN_NMI);
	return true;
}

static bool give_events(struct kvm_vcpu *v)
{
	const struct cpu *c = v->cpu;
	struct kvm_vcpu_events e = {
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
		.interrupt.shadow = c->mov_ss_shadow ? KVM_X86_SHADOW_INT_MOV_SS : c->interrupt_shadow ? KVM_X86_SHADOW_INT_STI : 0,
		.nmi.masked = c->nmi_blocked,
	};
	return ioctl(v->fd, KVM_SET_VCPU_EVENTS, &e) < 0 ? failed(v, "KVM_SET_VCPU_EVENTS") : true;
}

/* --- all of it --- */

/* What user code cannot change has stayed. */
static bool take_user(struct kvm_vcpu *v)
{
	const struct segment code = v->cpu->seg[SEG_CS], stack = v->cpu->seg[SEG_SS];
	struct kvm_vcpu_events events;
	if (!take_sregs(v) || !take_regs(v) || !take_fpu(v))
		return false;
	if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &events) < 0)
		return failed(v, "KVM_GET_VCPU_EVENTS");
	kvm_user_came_back(v->cpu, &events, &code, &stack);
	return true;
}

static bool take_all(struct kvm_vcpu *v)
{
	return take_sregs(v) && take_regs(v) && take_fpu(v) && move_msrs(v, false) && take_debug(v) && take_events(v);
}

bool kvm_take_state(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	if (!v->in_kernel)
		return true;
	c->rf_clear = c->step_armed = false;
	c->db_pending = 0;
	if (!kvm_complete(v) || !(v->user_only ? take_user(v) : take_all(v)))
		return false;
	c->insn = NULL;
	c->bounce = NULL;
	c->delivering = c->event_ext = c->borrowed_cpl = 0;
	if (!v->user_only)
		tlb_flush_all(c); /* the guest may have changed its tables */
	cpu_update_mode(c);
	v->in_kernel = false;
	v->counts.state_out++;
	return true;
}

bool kvm_give_state(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	if (v->in_kernel)
		return true;
	if (!v->cpuid_given && !kvm_give_cpuid(v))
		return false;
	if (!give_sregs(v) || !give_regs(v) || !give_fpu(v) || !move_msrs(v, true) || !give_debug(v) || !give_events(v))
		return false;
	c->rf_clear = false;
	v->in_kernel = true;
	v->incomplete = false;
	v->run->if_flag = !!(c->rflags & FLAG_IF);
	v->run->ready_for_interrupt_injection = v->run->if_flag && !c->interrupt_shadow;
	v->counts.state_in++;
	return true;
}
