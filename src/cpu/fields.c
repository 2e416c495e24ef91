/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"
#include "base/util.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/system.h"

/* What a saved processor consists of. Reset values are cpu_reset's business (SDM 3A, table 9-1 has two columns). */

static const struct field segment_fields[] = {
	FIELD(struct segment, base),
	FIELD(struct segment, limit),
	FIELD(struct segment, selector),
	FIELD(struct segment, attributes),
	FIELD_END
};

static const struct field table_register_fields[] = {
	FIELD(struct table_register, base),
	FIELD(struct table_register, limit),
	FIELD_END
};

const struct field cpu_fields[] = {
	FIELD_ARRAY(struct cpu, gpr),
	FIELD(struct cpu, cc),
	FIELD(struct cpu, cpl),
	FIELD(struct cpu, rflags),
	FIELD_STRUCT_ARRAY(struct cpu, seg, segment_fields),
	FIELD_STRUCT(struct cpu, gdtr, table_register_fields),
	FIELD_STRUCT(struct cpu, idtr, table_register_fields),
	FIELD(struct cpu, cr0),
	FIELD(struct cpu, cr2),
	FIELD(struct cpu, cr3),
	FIELD(struct cpu, cr4),
	FIELD(struct cpu, efer),
	FIELD(struct cpu, xcr0),
	FIELD_ARRAY(struct cpu, dr),
	FIELD_ARRAY(struct cpu, pdpte),
	FIELD(struct cpu, star),
	FIELD(struct cpu, lstar),
	FIELD(struct cpu, cstar),
	FIELD(struct cpu, sfmask),
	FIELD(struct cpu, kernel_gs_base),
	FIELD(struct cpu, tsc_aux),
	FIELD(struct cpu, sysenter_cs),
	FIELD(struct cpu, sysenter_esp),
	FIELD(struct cpu, sysenter_eip),
	FIELD(struct cpu, pat),
	FIELD(struct cpu, misc_enable),
	FIELD(struct cpu, mtrr_def_type),
	FIELD_ARRAY(struct cpu, mtrr_fixed),
	FIELD_ARRAY(struct cpu, mtrr_variable),
	FIELD(struct cpu, mcg_status),
	FIELD(struct cpu, mcg_ctl),
	FIELD_ARRAY(struct cpu, mc_bank),
	FIELD(struct cpu, xss),
	FIELD(struct cpu, spec_ctrl),
	FIELD(struct cpu, debugctl),
	FIELD_ARRAY(struct cpu, msr_plain),
	FIELD(struct cpu, kvm_wall_clock),
	FIELD(struct cpu, kvm_system_time),
	FIELD(struct cpu, kvm_steal_time),
	FIELD(struct cpu, kvm_async_pf),
	FIELD(struct cpu, kvm_eoi),
	FIELD(struct cpu, kvm_poll_control),
	FIELD(struct cpu, tsc_stopped),
	FIELD(struct cpu, tsc_adjust),
	FIELD_BYTES(struct cpu, vec),
	FIELD_ARRAY(struct cpu, k),
	FIELD(struct cpu, mxcsr),
	FIELD_BYTES(struct cpu, x87),
	FIELD(struct cpu, x87_ip),
	FIELD(struct cpu, x87_dp),
	FIELD(struct cpu, x87_opcode),
	FIELD(struct cpu, x87_cs),
	FIELD(struct cpu, x87_ds),
	FIELD(struct cpu, ferr_raised),
	FIELD_ARRAY(struct cpu, saved_features),
	FIELD(struct cpu, saved_tsc_hz),
	FIELD(struct cpu, halted),
	FIELD(struct cpu, wait_for_sipi),
	FIELD(struct cpu, interrupt_shadow),
	FIELD(struct cpu, mov_ss_shadow),
	FIELD(struct cpu, nmi_blocked),
	FIELD(struct cpu, shutdown),
	FIELD(struct cpu, sipi_vector),
	FIELD(struct cpu, db_pending),
	FIELD(struct cpu, rf_clear),
	FIELD(struct cpu, step_armed),
	FIELD(struct cpu, signals),
	FIELD_END
};

/* What the rest of the program may rely on; values that an instruction could load are not judged again. */
static bool state_valid(const struct cpu *c)
{
	if (c->cpl > 3 || c->gpr[REG_NONE] || !control_registers_valid(c) || (c->mxcsr & ~MXCSR_MASK))
		return false;
	if (c->rflags & ~(RFLAGS_VALID | 2))
		return false;
	if (cpu_v86(c) && (c->cpl != 3 || !cpu_protected(c) || cpu_long_mode(c)))
		return false;
	return cpu_protected(c) || !c->cpl;
}

/* The guest has seen its features and goes on using them. */
static int check_host(const struct cpu *c, struct error *err)
{
	int missing = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(c->features); i++)
		missing += __builtin_popcountll(c->saved_features[i] & ~c->features[i]);
	if (missing)
		return error_set(err, 0, "cpu %u: this host's processor lacks %d of the features that the guest was started with; restore it "
				 "on a host like the first, or start it there with --cpu x86-64-v1 to v4", c->index, missing);
	/* TSC and timers are scaled by the frequency that the guest once measured. */
	uint64_t low = MIN(c->saved_tsc_hz, c->tsc_hz), high = MAX(c->saved_tsc_hz, c->tsc_hz);
	if (low && high - low > high / 1000 && !c->index)
		log_warn("the host's time-stamp counter runs at %llu kHz, where the guest was saved at %llu: its timers will be off",
			 (unsigned long long)c->tsc_hz / 1000, (unsigned long long)c->saved_tsc_hz / 1000);
	return 0;
}

#define SIGNALS (ATTN_INTR | ATTN_NMI | ATTN_INIT | ATTN_SIPI | ATTN_SMI)

int cpu_loaded(struct cpu *c, struct error *err)
{
	if (check_host(c, err) < 0)
		return -1;
	if (!state_valid(c))
		return error_set(err, 0, "cpu %u: the saved registers are none that a processor can hold; the file is damaged, or "
				 "from a machine with another --cpu", c->index);
	memcpy(c->saved_features, c->features, sizeof(c->features));
	c->saved_tsc_hz = c->tsc_hz;
	c->rflags = (c->rflags & ~FLAG_ARITH) | 2;
	c->insn = NULL;
	c->bounce = NULL;
	c->delivering = c->event_ext = c->borrowed_cpl = 0;
	/* The error summary follows from the rest, and the host refuses an image where it does not. */
	x87_set_control(c, x87_fcw(c), x87_fsw(c));
	uint32_t signals = atomic_fetch_and(&c->signals, SIGNALS) & SIGNALS;
	cpu_attention(c, ATTN_INTR | ATTN_NMI | ATTN_STEP | ATTN_SHADOW | signals);
	tlb_flush_all(c);
	cpu_update_mode(c);
	return 0;
}
