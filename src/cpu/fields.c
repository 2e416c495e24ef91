/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

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
	FIELD(struct cpu, ignne),
	FIELD_ARRAY(struct cpu, saved_features),
	FIELD(struct cpu, saved_amd),
	FIELD(struct cpu, tsc_hz),
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

/* What a later visor knows has no name. */
void cpu_list_features(char *text, size_t size, const uint64_t features[2])
{
	static const char more[] = ", ...";
	size_t at = 0;
	text[0] = 0;
	for (unsigned n = 0; n < 8 * sizeof(((struct cpu *)0)->features); n++) {
		const char *name = n < FEATURE_COUNT ? isa_feature_names[n] : "one that this visor does not know";
		if (!cpu_feature_among(features, n))
			continue;
		bool fits = at + strlen(name) + 2 + sizeof(more) <= size;
		at += (size_t)snprintf(text + at, size - at, "%s%s", fits && at ? ", " : "", fits ? name : more);
		if (!fits)
			return;
	}
}

/* The guest has seen its processor and goes on using what it saw. */
static int keep_processor(struct cpu *c, struct error *err)
{
	uint64_t missing[2];
	char names[160];
	if (c->saved_amd != c->amd)
		return error_set(err, 0, "cpu %u: the guest was started on an %s processor and relies on its ways; restore it on such a "
				 "host", c->index, c->saved_amd ? "AMD" : "Intel");
	for (unsigned i = 0; i < ARRAY_SIZE(missing); i++)
		missing[i] = c->saved_features[i] & ~c->features[i];
	if (missing[0] | missing[1]) {
		cpu_list_features(names, sizeof(names), missing);
		return error_set(err, 0, "cpu %u: this host's processor, or the engine, lacks what the guest was started with: %s; restore it on a host "
				 "that has it, or start it there with --cpu x86-64-v1 to v4", c->index, names);
	}
	cpuid_keep_features(c, c->saved_features);
	return 0;
}

/* A measured frequency is right to so many parts; what differs by less is the same (250 ppm). */
#define TSC_TOLERANCE 4000
#define TSC_MIN_HZ 10000000ull
#define TSC_MAX_HZ 100000000000ull

/* The guest measured its TSC once: it goes on at that rate. */
static int keep_tsc_rate(struct cpu *c, struct error *err)
{
	uint64_t host = c->host_tsc_hz, low = MIN(c->tsc_hz, host), high = MAX(c->tsc_hz, host);
	if (c->tsc_hz < TSC_MIN_HZ || c->tsc_hz > TSC_MAX_HZ)
		return error_set(err, 0, "cpu %u: a time-stamp counter of %llu Hz; the file is damaged", c->index,
				 (unsigned long long)c->tsc_hz);
	bool same = !host || high - low <= high / TSC_TOLERANCE;
	c->tsc_scale = same ? 0 : (uint64_t)(((unsigned __int128)c->tsc_hz << 48) / host);
	if (same && host)
		c->tsc_hz = host;
	return 0;
}

#define SIGNALS (ATTN_INTR | ATTN_NMI | ATTN_INIT | ATTN_SIPI | ATTN_SMI)

int cpu_loaded(struct cpu *c, struct error *err)
{
	if (keep_tsc_rate(c, err) < 0 || keep_processor(c, err) < 0)
		return -1;
	if (!state_valid(c))
		return error_set(err, 0, "cpu %u: the saved registers are none that a processor can hold; the file is damaged, or "
				 "from a machine with another --cpu", c->index);
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
