/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/fpu.h"
#include "cpu/system.h"

/* Control registers, EFER and XCR0 (SDM 3A, 2.5, 2.6; 4.10.4 for what a write invalidates). */

static bool pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

/* Reads the four PDPTEs of PAE paging; #GP(0) when a present one has reserved bits set (SDM 3A, 4.4.1). */
static void load_pdptes(struct cpu *c, uint64_t cr3)
{
	uint64_t pdpte[4];
	uint64_t reserved = (~0ull << c->physical_bits) | 0x1e6;
	if (!memory_read(c->memory, cr3 & 0xffffffe0, pdpte, sizeof(pdpte)))
		memset(pdpte, 0, sizeof(pdpte));
	for (unsigned i = 0; i < 4; i++)
		if ((pdpte[i] & 1) && (pdpte[i] & reserved))
			cpu_gp(c, 0);
	memcpy(c->pdpte, pdpte, sizeof(pdpte));
}

#define CR0_VALID (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

/* The EFER that a CR0 write leads to, after the checks of entering and leaving IA-32e mode (SDM 3A, 10.8.5). */
static uint64_t efer_for_cr0(struct cpu *c, uint64_t cr0)
{
	uint64_t changed = c->cr0 ^ cr0;
	if (!(changed & CR0_PG))
		return c->efer;
	if (!(cr0 & CR0_PG)) {
		if (c->code_mode == ISA_MODE_64 || (c->cr4 & CR4_PCIDE))
			cpu_gp(c, 0);
		return c->efer & ~EFER_LMA;
	}
	if (!(c->efer & EFER_LME))
		return c->efer;
	bool tss16 = (c->seg[SEG_TR].attributes & (SEGATTR_P | 0xf)) == (SEGATTR_P | SYS_TSS16_BUSY);
	if (!(c->cr4 & CR4_PAE) || (c->seg[SEG_CS].attributes & SEGATTR_L) || tss16)
		cpu_gp(c, 0);
	return c->efer | EFER_LMA;
}

void cpu_set_cr0(struct cpu *c, uint64_t value)
{
	if (value >> 32 || ((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD)))
		cpu_gp(c, 0);
	value = (value & CR0_VALID) | CR0_ET;
	uint64_t changed = c->cr0 ^ value, efer = efer_for_cr0(c, value);
	if ((changed & (CR0_PG | CR0_CD | CR0_NW)) && pae_paging(value, c->cr4, efer))
		load_pdptes(c, c->cr3);
	c->cr0 = value;
	c->efer = efer;
	if (changed & (CR0_PG | CR0_PE | CR0_WP))
		tlb_flush_all(c);
	cpu_update_mode(c);
}

void cpu_set_cr3(struct cpu *c, uint64_t value)
{
	bool pcids = cpu_long_mode(c) && (c->cr4 & CR4_PCIDE), flush = !pcids || !(value >> 63);
	if (pcids)
		value &= ~BIT64(63);
	if (cpu_long_mode(c)) {
		if (value >> c->physical_bits)
			cpu_gp(c, 0);
	} else {
		value = (uint32_t)value;
		if (pae_paging(c->cr0, c->cr4, c->efer))
			load_pdptes(c, value);
	}
	/* What the TLB holds is the same address space already. */
	bool keep = !flush && c->cr3 == value;
	c->cr3 = value;
	if (!pcids)
		tlb_flush_non_global(c);
	else if (!keep)
		tlb_switch(c, flush);
}

static uint64_t cr4_valid(const struct cpu *c)
{
	uint64_t valid = CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	static const struct {
		uint8_t feature;
		uint64_t bit;
	} optional[] = {
		{ FEATURE_PGE, CR4_PGE }, { FEATURE_UMIP, CR4_UMIP }, { FEATURE_FSGSBASE, CR4_FSGSBASE },
		{ FEATURE_PCID, CR4_PCIDE }, { FEATURE_XSAVE, CR4_OSXSAVE }, { FEATURE_SMEP, CR4_SMEP }, { FEATURE_SMAP, CR4_SMAP },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(optional); i++)
		if (cpu_has(c, optional[i].feature))
			valid |= optional[i].bit;
	return valid;
}

void cpu_set_cr4(struct cpu *c, uint64_t value)
{
	uint64_t changed = c->cr4 ^ value;
	if (value & ~cr4_valid(c))
		cpu_gp(c, 0);
	if (cpu_long_mode(c) && !(value & CR4_PAE))
		cpu_gp(c, 0);
	if ((changed & value & CR4_PCIDE) && (!cpu_long_mode(c) || (c->cr3 & 0xfff)))
		cpu_gp(c, 0);
	if ((changed & (CR4_PGE | CR4_PSE | CR4_PAE | CR4_SMEP)) && pae_paging(c->cr0, value, c->efer))
		load_pdptes(c, c->cr3);
	c->cr4 = value;
	if (changed & (CR4_PGE | CR4_PSE | CR4_PAE | CR4_PCIDE | CR4_SMEP | CR4_SMAP))
		tlb_flush_all(c);
	cpu_update_mode(c);
}

static uint64_t efer_valid(const struct cpu *c)
{
	uint64_t valid = EFER_LMA;
	if (cpu_has(c, FEATURE_SYSCALL))
		valid |= EFER_SCE;
	if (cpu_has(c, FEATURE_LM))
		valid |= EFER_LME;
	if (cpu_has(c, FEATURE_NX))
		valid |= EFER_NXE;
	return valid;
}

void cpu_set_efer(struct cpu *c, uint64_t value)
{
	if (value & ~efer_valid(c))
		cpu_gp(c, 0);
	uint64_t changed = c->efer ^ value;
	if ((changed & EFER_LME) && (c->cr0 & CR0_PG))
		cpu_gp(c, 0);
	c->efer = (value & ~EFER_LMA) | (c->efer & EFER_LMA);
	if (changed & EFER_NXE)
		tlb_flush_all(c);
	cpu_update_mode(c);
}

/* SDM 1, 13.3. */
bool xcr0_valid(const struct cpu *c, uint64_t value)
{
	if ((value & ~c->xcr0_allowed) || !(value & XCR0_X87))
		return false;
	if ((value & XCR0_AVX) && !(value & XCR0_SSE))
		return false;
	uint64_t wide = value & XCR0_AVX512;
	return !wide || (wide == XCR0_AVX512 && (value & XCR0_AVX));
}

void cpu_set_xcr0(struct cpu *c, uint64_t value)
{
	if (!xcr0_valid(c, value))
		cpu_gp(c, 0);
	c->xcr0 = value;
}

bool control_registers_valid(const struct cpu *c)
{
	if ((c->cr0 & ~CR0_VALID) || ((c->cr0 & CR0_PG) && !(c->cr0 & CR0_PE)) || ((c->cr0 & CR0_NW) && !(c->cr0 & CR0_CD)))
		return false;
	if ((c->cr4 & ~cr4_valid(c)) || (c->efer & ~efer_valid(c)) || c->xss || !xcr0_valid(c, c->xcr0))
		return false;
	if ((c->cr4 & CR4_PCIDE) && !cpu_long_mode(c))
		return false;
	bool long_mode = (c->cr0 & CR0_PG) && (c->efer & EFER_LME);
	return cpu_long_mode(c) == long_mode && (!long_mode || (c->cr4 & CR4_PAE));
}
