/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/system.h"

/* Model-specific registers (SDM 4; AMD64 APM 2, appendix A). What is not here raises #GP(0). */

enum {
	MSR_KVM_WALL_CLOCK_OLD = 0x11, MSR_KVM_SYSTEM_TIME_OLD = 0x12,
	MSR_TSC = 0x10, MSR_APIC_BASE = 0x1b, MSR_TSC_ADJUST = 0x3b, MSR_BIOS_UPDT_TRIG = 0x79, MSR_BIOS_SIGN_ID = 0x8b,
	MSR_MTRRCAP = 0xfe, MSR_ARCH_CAPABILITIES = 0x10a, MSR_SYSENTER_CS = 0x174, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_MCG_CAP = 0x179, MSR_MCG_STATUS,
	MSR_MCG_CTL, MSR_MISC_ENABLE = 0x1a0, MSR_DEBUGCTL = 0x1d9, MSR_LBR_FIRST = 0x1db, MSR_LBR_LAST = 0x1de,
	MSR_MTRR_VARIABLE = 0x200, MSR_MTRR_FIX64K = 0x250, MSR_MTRR_FIX16K = 0x258, MSR_MTRR_FIX4K = 0x268, MSR_PAT = 0x277,
	MSR_MTRR_DEF_TYPE = 0x2ff, MSR_MC_BANK = 0x400, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC_FIRST = 0x800,
	MSR_X2APIC_LAST = 0x8ff,
	MSR_XSS = 0xda0, MSR_KVM_WALL_CLOCK = 0x4b564d00, MSR_KVM_SYSTEM_TIME = 0x4b564d01,
};
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u
#define MSR_AMD_PATCH_LOADER 0xc0010020u

#define MTRR_VARIABLE_COUNT 8u
#define MC_BANK_COUNT 10u
#define MCG_CTL_P 0x100u

/* Registers without an effect here: they read as last written. */
struct plain_msr {
	uint32_t msr;
	uint64_t reset;
	uint64_t writable;
	enum { ANY, INTEL, AMD } vendor;
};

static const struct plain_msr plain_msrs[] = {
	{ 0x17, 0, 0, INTEL },                   /* PLATFORM_ID */
	{ 0x2a, 0, ~0ull, INTEL },               /* EBL_CR_POWERON */
	{ 0x34, 0, 0, INTEL },                   /* SMI_COUNT */
	{ 0xcd, 3, 0, INTEL },                   /* FSB_FREQ: 166 MHz, as good as any */
	{ 0xce, 0, 0, INTEL },                   /* PLATFORM_INFO */
	{ 0x140, 0, 0, INTEL },                  /* MISC_FEATURES_ENABLES */
	{ 0x198, 0, 0, INTEL },                  /* PERF_STATUS */
	{ 0x199, 0, ~0ull, INTEL },              /* PERF_CTL */
	{ 0xc0010010, 0, 0x7c0000, AMD },        /* SYSCFG */
	{ 0xc0010015, 0x1000000, 0x41000049, AMD }, /* HWCR: the TSC counts at the P0 frequency */
	{ 0xc001001a, 0, ~0ull, AMD },           /* TOP_MEM */
	{ 0xc001001d, 0, ~0ull, AMD },           /* TOP_MEM2 */
	{ 0xc001001f, 0, ~0ull, AMD },           /* NB_CFG */
	{ 0xc0010055, 0, ~0ull, AMD },           /* Interrupt Pending */
	{ 0xc0010058, 0, ~0ull, AMD },           /* MMIO configuration base */
	{ 0xc0011020, 0, ~0ull, AMD },           /* LS_CFG */
	{ 0xc0011021, 0, ~0ull, AMD },           /* IC_CFG */
	{ 0xc0011022, 0, ~0ull, AMD },           /* DC_CFG */
	{ 0xc0011023, 0, ~0ull, AMD },           /* TW_CFG */
	{ 0xc0011029, 2, ~0ull, AMD },           /* DE_CFG: LFENCE is serializing */
	{ 0xc001102a, 0, ~0ull, AMD },           /* BU_CFG2 */
	{ 0xc001102e, 0, ~0ull, AMD },           /* BP_CFG */
	{ MSR_ARCH_CAPABILITIES, 0, 0, INTEL },  /* cpu->arch_capabilities */
};
_Static_assert(ARRAY_SIZE(plain_msrs) <= ARRAY_SIZE(((struct cpu *)0)->msr_plain), "a place for each");

static int find_plain(const struct cpu *c, uint32_t msr)
{
	for (unsigned i = 0; i < ARRAY_SIZE(plain_msrs); i++)
		if (plain_msrs[i].msr == msr && (plain_msrs[i].vendor == ANY || (plain_msrs[i].vendor == AMD) == c->amd))
			return (int)i;
	return -1;
}

#define PAT_RESET 0x0007040600070406ull
#define MISC_ENABLE_RESET 0x1801ull /* fast strings; no branch trace, no PEBS */
/* Fast strings, thermal control, xTPR and others that only keep their value. */
#define MISC_ENABLE_WRITABLE 0x40000c9ull

static void set_tsc_offset(struct cpu *c, int64_t offset)
{
	c->tsc_offset = c->tsc_of_host ? 0 : offset;
}

void cpu_reset_msrs(struct cpu *c)
{
	c->star = c->lstar = c->cstar = c->sfmask = c->kernel_gs_base = c->tsc_aux = 0;
	c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = 0;
	c->pat = PAT_RESET;
	c->misc_enable = MISC_ENABLE_RESET;
	c->mtrr_def_type = c->mcg_status = c->debugctl = 0;
	c->mcg_ctl = ~0ull;
	memset(c->mtrr_fixed, 0, sizeof(c->mtrr_fixed));
	memset(c->mtrr_variable, 0, sizeof(c->mtrr_variable));
	memset(c->mc_bank, 0, sizeof(c->mc_bank));
	for (unsigned i = 0; i < MC_BANK_COUNT; i++)
		c->mc_bank[4 * i] = ~0ull;
	for (unsigned i = 0; i < ARRAY_SIZE(plain_msrs); i++)
		c->msr_plain[i] = plain_msrs[i].msr == MSR_ARCH_CAPABILITIES ? c->arch_capabilities : plain_msrs[i].reset;
	c->kvm_wall_clock = c->kvm_system_time = c->kvm_steal_time = c->kvm_async_pf = c->kvm_eoi = c->kvm_poll_control = 0;
	c->kvm_clock_base_tsc = c->kvm_clock_base_ns = 0;
	c->tsc_adjust = 0;
	/* One TSC for all: the first processor's reset starts it. */
	set_tsc_offset(c, c->index && c->peers && c->peers[0] ? c->peers[0]->tsc_offset : -(int64_t)cpu_scale_tsc(c, cpu_host_tsc(c)));
}

uint64_t cpu_scale_tsc(const struct cpu *c, uint64_t host)
{
	return c->tsc_scale ? (uint64_t)((unsigned __int128)host * c->tsc_scale >> 48) : host;
}

uint64_t cpu_read_tsc(const struct cpu *c)
{
	return cpu_scale_tsc(c, cpu_host_tsc(c)) + (uint64_t)c->tsc_offset;
}

uint64_t cpu_tsc_delay(const struct cpu *c, uint64_t tsc)
{
	uint64_t now = cpu_read_tsc(c);
	return tsc > now ? muldiv64_up(tsc - now, NS_PER_SEC, c->tsc_hz) : 0;
}

void cpu_stop_time(struct cpu *c, uint64_t host_now)
{
	c->tsc_stopped = cpu_scale_tsc(c, host_now) + (uint64_t)c->tsc_offset;
}

void cpu_start_time(struct cpu *c, uint64_t host_now)
{
	set_tsc_offset(c, (int64_t)(c->tsc_stopped - cpu_scale_tsc(c, host_now)));
	c->tsc_jump = c->tsc_of_host ? host_now - c->tsc_stopped : 0;
	c->kvm_clock_base_tsc = host_now;
	c->kvm_clock_base_ns = c->clock ? vclock_now(c->clock) : 0;
	kvm_clock_update(c);
}

static void move_tsc(struct cpu *c, uint64_t delta)
{
	set_tsc_offset(c, (int64_t)((uint64_t)c->tsc_offset + delta));
	c->tsc_adjust += delta;
	kvm_clock_update(c);
}

static bool is_intc_msr(uint32_t msr)
{
	return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE || (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST);
}

/* --- MTRR, PAT: types are checked, nothing depends on them (SDM 3A, 12.11, 12.12) --- */

static bool memory_type_valid(unsigned type, bool pat)
{
	return type <= 1 || (type >= 4 && type <= 6) || (pat && type == 7);
}

static bool memory_types_valid(uint64_t value, bool pat)
{
	for (unsigned i = 0; i < 64; i += 8)
		if (!memory_type_valid(value >> i & 0xff, pat))
			return false;
	return true;
}

static uint64_t *fixed_mtrr(struct cpu *c, uint32_t msr)
{
	if (msr == MSR_MTRR_FIX64K)
		return &c->mtrr_fixed[0];
	if (msr == MSR_MTRR_FIX16K || msr == MSR_MTRR_FIX16K + 1)
		return &c->mtrr_fixed[1 + msr - MSR_MTRR_FIX16K];
	if (msr >= MSR_MTRR_FIX4K && msr < MSR_MTRR_FIX4K + 8)
		return &c->mtrr_fixed[3 + msr - MSR_MTRR_FIX4K];
	return NULL;
}

static bool variable_mtrr_valid(const struct cpu *c, uint32_t msr, uint64_t value)
{
	if (value >> c->physical_bits)
		return false;
	return msr & 1 ? !(value & 0x7ff) : !(value & 0xf00) && memory_type_valid(value & 0xff, false);
}

/* NULL when the MSR is none of these, or the value (unless NULL) may not be written. */
static uint64_t *memory_type_msr(struct cpu *c, uint32_t msr, const uint64_t *value)
{
	uint64_t *fixed = fixed_mtrr(c, msr);
	if (fixed)
		return !value || memory_types_valid(*value, false) ? fixed : NULL;
	if (msr >= MSR_MTRR_VARIABLE && msr < MSR_MTRR_VARIABLE + 2 * MTRR_VARIABLE_COUNT)
		return !value || variable_mtrr_valid(c, msr, *value) ? &c->mtrr_variable[msr - MSR_MTRR_VARIABLE] : NULL;
	if (msr == MSR_MTRR_DEF_TYPE)
		return !value || (!(*value & ~0xcffull) && memory_type_valid(*value & 0xff, false)) ? &c->mtrr_def_type : NULL;
	if (msr == MSR_PAT)
		return !value || memory_types_valid(*value, true) ? &c->pat : NULL;
	return NULL;
}

/* --- registers that are simply a member of struct cpu --- */

enum value_rule { RULE_ANY, RULE_CANONICAL, RULE_32BIT };

static uint64_t *member_msr(struct cpu *c, uint32_t msr, enum value_rule *rule)
{
	*rule = RULE_ANY;
	switch (msr) {
	case MSR_SYSENTER_CS: return &c->sysenter_cs;
	case MSR_SYSENTER_ESP: *rule = c->amd ? RULE_ANY : RULE_CANONICAL; return &c->sysenter_esp;
	case MSR_SYSENTER_EIP: *rule = c->amd ? RULE_ANY : RULE_CANONICAL; return &c->sysenter_eip;
	case MSR_MCG_STATUS: return &c->mcg_status;
	case MSR_MCG_CTL: return &c->mcg_ctl;
	case MSR_STAR: return &c->star;
	case MSR_LSTAR: *rule = RULE_CANONICAL; return &c->lstar;
	case MSR_CSTAR: *rule = RULE_CANONICAL; return &c->cstar;
	case MSR_SFMASK: return &c->sfmask;
	case MSR_FS_BASE: *rule = RULE_CANONICAL; return &c->seg[SEG_FS].base;
	case MSR_GS_BASE: *rule = RULE_CANONICAL; return &c->seg[SEG_GS].base;
	case MSR_KERNEL_GS_BASE: *rule = RULE_CANONICAL; return &c->kernel_gs_base;
	case MSR_TSC_AUX:
		*rule = RULE_32BIT;
		return cpu_has(c, FEATURE_RDTSCP) || cpu_has(c, FEATURE_RDPID) ? &c->tsc_aux : NULL;
	default: return NULL;
	}
}

static bool value_allowed(enum value_rule rule, uint64_t value)
{
	return rule == RULE_CANONICAL ? is_canonical(value) : rule == RULE_32BIT ? !(value >> 32) : true;
}

/* --- registers with a meaning of their own --- */

/* The revision that KVM shows: newer than any that a guest asks for by name. */
static uint64_t microcode_revision(const struct cpu *c)
{
	return c->amd ? 0x1000065 : 0x100000000;
}

static bool read_special(struct cpu *c, uint32_t msr, uint64_t *value)
{
	switch (msr) {
	case MSR_TSC: *value = cpu_read_tsc(c); return true;
	case MSR_TSC_ADJUST: *value = c->tsc_adjust; return true;
	case MSR_BIOS_SIGN_ID: *value = microcode_revision(c); return true;
	case MSR_MTRRCAP: *value = MTRR_VARIABLE_COUNT | 0x500; return true; /* fixed ranges, write combining */
	case MSR_MCG_CAP: *value = MC_BANK_COUNT | MCG_CTL_P; return true;
	case MSR_MISC_ENABLE: *value = c->misc_enable; return !c->amd;
	case MSR_DEBUGCTL: *value = c->debugctl; return true;
	case MSR_XSS: *value = c->xss; return cpu_has(c, FEATURE_XSAVES);
	case MSR_EFER: *value = c->efer; return true;
	case MSR_KVM_WALL_CLOCK: case MSR_KVM_WALL_CLOCK_OLD: *value = c->kvm_wall_clock; return true;
	case MSR_KVM_SYSTEM_TIME: case MSR_KVM_SYSTEM_TIME_OLD: *value = c->kvm_system_time; return true;
	default:
		*value = 0;
		return msr >= MSR_LBR_FIRST && msr <= MSR_LBR_LAST;
	}
}

static bool write_special(struct cpu *c, uint32_t msr, uint64_t value)
{
	switch (msr) {
	case MSR_TSC: move_tsc(c, value - cpu_read_tsc(c)); return true;
	case MSR_TSC_ADJUST: move_tsc(c, value - c->tsc_adjust); return true;
	case MSR_BIOS_SIGN_ID: return true;
	case MSR_BIOS_UPDT_TRIG: return !c->amd; /* no microcode to load */
	case MSR_AMD_PATCH_LOADER: return c->amd;
	case MSR_MISC_ENABLE:
		c->misc_enable = (value & MISC_ENABLE_WRITABLE) | (MISC_ENABLE_RESET & ~MISC_ENABLE_WRITABLE);
		return !c->amd;
	case MSR_DEBUGCTL:
		if (value & ~3ull) /* LBR, BTF */
			return false;
		c->debugctl = value;
		return true;
	case MSR_XSS: return cpu_has(c, FEATURE_XSAVES) && !value;
	case MSR_EFER: cpu_set_efer(c, value); return true;
	case MSR_KVM_WALL_CLOCK: case MSR_KVM_WALL_CLOCK_OLD: kvm_clock_write(c, false, value); return true;
	case MSR_KVM_SYSTEM_TIME: case MSR_KVM_SYSTEM_TIME_OLD: kvm_clock_write(c, true, value); return true;
	default: return false;
	}
}

static bool is_mc_bank(uint32_t msr)
{
	return msr >= MSR_MC_BANK && msr < MSR_MC_BANK + 4 * MC_BANK_COUNT;
}

void cpu_read_msr(struct cpu *c, uint32_t msr, uint64_t *value)
{
	enum value_rule rule;
	uint64_t *member = member_msr(c, msr, &rule);
	if (!member)
		member = memory_type_msr(c, msr, NULL);
	if (!member && is_mc_bank(msr))
		member = &c->mc_bank[msr - MSR_MC_BANK];
	if (!member && find_plain(c, msr) >= 0)
		member = &c->msr_plain[find_plain(c, msr)];
	if (member) {
		*value = *member;
		return;
	}
	if (is_intc_msr(msr) && c->intc.ops && c->intc.ops->read_msr(c->intc.opaque, msr, value) >= 0)
		return;
	if (is_intc_msr(msr) || !read_special(c, msr, value))
		cpu_gp(c, 0);
}

static bool write_plain(struct cpu *c, uint32_t msr, uint64_t value)
{
	int n = find_plain(c, msr);
	if (n < 0 || (value & ~plain_msrs[n].writable & ~c->msr_plain[n]))
		return false;
	c->msr_plain[n] = (c->msr_plain[n] & ~plain_msrs[n].writable) | (value & plain_msrs[n].writable);
	return true;
}

/* SDM 3B, 16.3.2: a status register takes only zero. */
static bool write_mc_bank(struct cpu *c, uint32_t msr, uint64_t value)
{
	if ((msr & 3) && value)
		return false;
	c->mc_bank[msr - MSR_MC_BANK] = value;
	return true;
}

void cpu_write_msr(struct cpu *c, uint32_t msr, uint64_t value)
{
	enum value_rule rule;
	uint64_t *member = member_msr(c, msr, &rule);
	bool ok;
	if (member) {
		ok = value_allowed(rule, value);
		if (ok)
			*member = msr == MSR_SFMASK ? (uint32_t)value : value;
		if (ok && (msr == MSR_FS_BASE || msr == MSR_GS_BASE))
			cpu_update_segment(c, msr == MSR_FS_BASE ? SEG_FS : SEG_GS);
	} else if ((member = memory_type_msr(c, msr, &value))) {
		*member = value;
		ok = true;
	} else if (is_mc_bank(msr)) {
		ok = write_mc_bank(c, msr, value);
	} else if (is_intc_msr(msr)) {
		ok = c->intc.ops && c->intc.ops->write_msr(c->intc.opaque, msr, value) >= 0;
		if (ok && msr == MSR_APIC_BASE)
			tlb_flush_all(c); /* its page may have moved */
	} else {
		ok = write_special(c, msr, value) || write_plain(c, msr, value);
	}
	if (!ok)
		cpu_gp(c, 0);
}
