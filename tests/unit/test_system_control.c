/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/util.h"
#include "cpu/cpuid.h"
#include "cpu/flags.h"
#include "cpu/system.h"
#include "system_machine.h"

/* Control registers, MSRs, CPUID, ports, fast system calls; and the sensitive unprivileged instructions. */


static int mov_cr(unsigned n, uint64_t value)
{
	m.gpr[REG_RAX] = value;
	return RUN(0x0f, 0x22, (uint8_t)(0xc0 | n << 3));
}

static void cr0_rules(void **state)
{
	machine_protected(0);
	expect_fault(EXC_GP, 0, mov_cr(0, CR0_PG));             /* PG without PE */
	expect_fault(EXC_GP, 0, mov_cr(0, CR0_PE | CR0_NW));    /* NW without CD */
	expect_ok(mov_cr(0, CR0_PE | 0x1ffaffc0));              /* bits that do not exist are ignored */
	assert_int_equal(m.cr0, CR0_PE | CR0_ET);
	assert_int_equal(RUN(0x0f, 0x22, 0xc8), EXC_UD);        /* CR1 */
	assert_int_equal(RUN(0x0f, 0x22, 0xe8), EXC_UD);        /* CR5 */
	machine_protected(3);
	expect_fault(EXC_GP, 0, mov_cr(0, CR0_PE));
	machine_long(0);
	expect_fault(EXC_GP, 0, mov_cr(0, m.cr0 | 1ull << 32));
	expect_fault(EXC_GP, 0, mov_cr(0, m.cr0 & ~CR0_PG));    /* not from 64-bit code */
	machine_compat(0);
	expect_ok(mov_cr(0, m.cr0 & ~CR0_PG));
	assert_false(m.efer & EFER_LMA);
	assert_true(m.efer & EFER_LME);
	expect_ok(mov_cr(0, m.cr0 | CR0_PG));
	assert_true(m.efer & EFER_LMA);
	expect_ok(mov_cr(0, m.cr0 & ~CR0_PG));
	m.cr4 &= ~CR4_PAE;
	expect_fault(EXC_GP, 0, mov_cr(0, m.cr0 | CR0_PG));     /* LME without PAE */
	/* LMSW sets PE and does not clear it. */
	machine_real();
	m.gpr[REG_RAX] = CR0_PE | CR0_TS;
	expect_ok(RUN(0x0f, 0x01, 0xf0));
	assert_int_equal(m.cr0 & 0xf, CR0_PE | CR0_TS);
	m.gpr[REG_RAX] = 0;
	expect_ok(RUN(0x0f, 0x01, 0xf0));
	assert_int_equal(m.cr0 & 0xf, CR0_PE);
	m.cr0 |= CR0_TS;
	expect_ok(RUN(0x0f, 0x06));
	assert_int_equal(m.cr0 & CR0_TS, 0);
}

static void cr3_cr4_rules(void **state)
{
	machine_long(0);
	expect_fault(EXC_GP, 0, mov_cr(4, m.cr4 & ~CR4_PAE));
	expect_fault(EXC_GP, 0, mov_cr(4, m.cr4 | 1ull << 13)); /* VMXE */
	expect_fault(EXC_GP, 0, mov_cr(4, m.cr4 | 1ull << 22)); /* PKE: not shown */
	expect_fault(EXC_GP, 0, mov_cr(3, 1ull << 63));         /* without PCIDE */
	expect_fault(EXC_GP, 0, mov_cr(3, 1ull << m.physical_bits));
	m.cr3 |= 0x18;
	expect_fault(EXC_GP, 0, mov_cr(4, m.cr4 | CR4_PCIDE));  /* CR3's low bits must be zero */
	m.cr3 = TABLES;
	expect_ok(mov_cr(4, m.cr4 | CR4_PCIDE));
	uint64_t flushes = m.stats.tlb_flushes;
	expect_ok(mov_cr(3, 1ull << 63 | TABLES));              /* the same PCID, no flush */
	assert_int_equal(m.stats.tlb_flushes, flushes);
	assert_int_equal(m.cr3, TABLES);
	expect_ok(mov_cr(3, TABLES | 5));
	assert_true(m.stats.tlb_flushes > flushes);
	machine_compat(0);
	m.cr4 |= CR4_PCIDE;
	expect_fault(EXC_GP, 0, mov_cr(0, m.cr0 & ~CR0_PG));    /* PCIDE holds paging on */
	/* PAE: the PDPTEs are loaded and checked. */
	machine_protected(0);
	m.cr4 = CR4_PAE;
	for (unsigned n = 0; n < 4; n++)
		poke64(DATA + 8 * n, (TABLES + 0x1000 * n) | 1);
	expect_ok(mov_cr(3, DATA));
	poke64(DATA + 8, 2 | 1);
	expect_fault(EXC_GP, 0, mov_cr(0, m.cr0 | CR0_PG));
	poke64(DATA + 8, 2); /* not present: the rest does not count */
	poke64(TABLES, 0x83 | 4);
	expect_ok(mov_cr(0, m.cr0 | CR0_PG));
	assert_int_equal(m.pdpte[0], TABLES | 1);
}

/* Whether reading DATA walks the page tables. */
static bool walks(void)
{
	uint64_t fills = m.stats.tlb_fills;
	m.gpr[REG_RBX] = DATA;
	expect_ok(RUN(0x8a, 0x03));
	return m.stats.tlb_fills != fills;
}

static void load_cr3(uint64_t pcid, bool keep)
{
	expect_ok(mov_cr(3, (keep ? 1ull << 63 : 0) | TABLES | pcid));
}

/* INVPCID of this kind, from a descriptor in the page behind DATA, which is not looked at. */
static void invpcid(uint64_t type, uint64_t pcid)
{
	poke64(DATA + 0x1000, pcid);
	poke64(DATA + 0x1008, DATA);
	m.gpr[REG_RAX] = type;
	m.gpr[REG_RBX] = DATA + 0x1000;
	expect_ok(RUN(0x66, 0x0f, 0x38, 0x82, 0x03));
}

/* What the TLB holds for a PCID stays while another one is current, until it is flushed. */
static void pcids_keep_entries(void **state)
{
	machine_long(0);
	expect_ok(mov_cr(4, m.cr4 | CR4_PCIDE));
	load_cr3(1, false);
	assert_true(walks());
	assert_false(walks());
	load_cr3(2, false);
	assert_true(walks());
	load_cr3(1, true);
	assert_false(walks());
	load_cr3(2, true);
	assert_false(walks());
	load_cr3(1, false);                                     /* this one's go */
	assert_true(walks());
	load_cr3(2, true);
	assert_false(walks());
	for (uint64_t type = 0; type <= 3; type++) {
		load_cr3(1, true);
		walks();
		load_cr3(2, true);
		invpcid(type, 1);
		load_cr3(1, true);
		assert_true(walks());
	}
	load_cr3(2, true);
	load_cr3(1, true);
	assert_false(walks());
	load_cr3(2, true);
	expect_ok(mov_cr(4, m.cr4 | CR4_PGE));
	load_cr3(1, true);
	assert_true(walks());
	/* Code that is found while they are out of use is protected from their stores as well. */
	m.gpr[REG_RBX] = DATA;
	expect_ok(RUN(0x88, 0x03));
	load_cr3(2, true);
	mmu_mark_code(&m, ram.host + DATA, 64);
	load_cr3(1, true);
	expect_ok(RUN(0x88, 0x03));
	assert_false(memory_page_has_code(&ram, DATA));
}

static int wrmsr(uint32_t msr, uint64_t value)
{
	m.gpr[REG_RCX] = msr;
	m.gpr[REG_RAX] = (uint32_t)value;
	m.gpr[REG_RDX] = value >> 32;
	return RUN(0x0f, 0x30);
}

static int rdmsr(uint32_t msr)
{
	m.gpr[REG_RCX] = msr;
	return RUN(0x0f, 0x32);
}

static uint64_t edx_eax(void)
{
	return (uint32_t)m.gpr[REG_RAX] | m.gpr[REG_RDX] << 32;
}

static void msr_rules(void **state)
{
	static const struct {
		uint32_t msr;
		uint64_t value;
		int vector;
	} cases[] = {
		{ 0xc0000080, 0x100000, EXC_GP }, { 0xc0000082, 0xffffffff81000000, OK },
		{ 0xc0000082, 0x0000800000000000, EXC_GP },
		{ 0xc0000100, 0x1234, OK }, { 0xc0000102, 0x8000000000000000, EXC_GP }, { 0xc0000103, 7, OK },
		{ 0xc0000103, 1ull << 32, EXC_GP },
		{ 0x277, 0x0007010600070106, OK }, { 0x277, 2, EXC_GP }, { 0x2ff, 0xc06, OK },
		{ 0x2ff, 0x1000, EXC_GP }, { 0x2ff, 2, EXC_GP },
		{ 0x250, 0x0606060606060606, OK }, { 0x250, 7, EXC_GP }, { 0x200, 0x80000006, OK },
		{ 0x200, 0x106, EXC_GP },
		{ 0x201, 0x800, OK }, { 0x201, 1, EXC_GP }, { 0x20f, 0, OK }, { 0x210, 0, EXC_GP }, { 0x26f, 0, OK },
		{ 0xfe, 0, EXC_GP },
		{ 0x400, ~0ull, OK }, { 0x401, 1, EXC_GP }, { 0x401, 0, OK }, { 0x179, 0, EXC_GP },
		{ 0x48, 0, EXC_GP }, { 0xda0, 1, EXC_GP },
		{ 0x174, 8, OK }, { 0x10, 12345, OK }, { 0x12345, 0, EXC_GP }, { 0x4b564d02, 0, EXC_GP },
		{ 0x1b, 0, EXC_GP },
	};
	machine_long(0);
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		assert_int_equal(wrmsr(cases[n].msr, cases[n].value), cases[n].vector);
		if (cases[n].vector != OK)
			assert_int_equal(LAST_ERROR, 0);
		if (cases[n].vector != OK || cases[n].msr == 0x10)
			continue;
		expect_ok(rdmsr(cases[n].msr));
		assert_true(edx_eax() == cases[n].value);
	}
	expect_ok(wrmsr(0xc0000100, 0x5678));
	assert_int_equal(m.segment_base[SEG_FS], 0x5678);
	expect_fault(EXC_GP, 0, rdmsr(0x12345));
	expect_fault(EXC_GP, 0, wrmsr(0xc0000080, EFER_SCE)); /* LME may not change under paging */
	machine_long(3);
	expect_fault(EXC_GP, 0, rdmsr(0x10));
	expect_fault(EXC_GP, 0, wrmsr(0x10, 0));
}

static void arch_capabilities(void **state)
{
	machine_long(0);
	m.amd = true;
	expect_fault(EXC_GP, 0, rdmsr(0x10a));
	m.amd = false;
	m.arch_capabilities = BIT64(62) | 1;
	cpu_reset_msrs(&m);
	expect_ok(rdmsr(0x10a));
	assert_true(edx_eax() == (BIT64(62) | 1));
	expect_fault(EXC_GP, 0, wrmsr(0x10a, 2));
}

static void tsc(void **state)
{
	machine_long(0);
	expect_ok(wrmsr(0x10, 0x1000000000000));
	expect_ok(RUN(0x0f, 0x31));
	assert_true(edx_eax() >= 0x1000000000000 && edx_eax() < 0x1000000000000 + 60 * m.tsc_hz);
	uint64_t adjust = m.tsc_adjust;
	expect_ok(wrmsr(0x3b, adjust + 0x1000000000000));
	expect_ok(rdmsr(0x10));
	assert_true(edx_eax() >= 0x2000000000000);
	m.tsc_aux = 9;
	expect_ok(RUN(0x0f, 0x01, 0xf9));
	assert_int_equal(m.gpr[REG_RCX], 9);
	/* Stopped time does not count. */
	cpu_stop_time(&m, 1000);
	uint64_t then = m.tsc_stopped;
	cpu_start_time(&m, 5000);
	assert_true(5000 + (uint64_t)m.tsc_offset == then);
	machine_long(3);
	expect_ok(RUN(0x0f, 0x31));
	m.cr4 |= CR4_TSD;
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x31));
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x01, 0xf9));
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x33));
}

static uint32_t cpuid(uint32_t leaf, uint32_t subleaf, unsigned reg)
{
	static const uint8_t order[] = { REG_RAX, REG_RBX, REG_RCX, REG_RDX };
	m.gpr[REG_RAX] = leaf;
	m.gpr[REG_RCX] = subleaf;
	expect_ok(RUN(0x0f, 0xa2));
	return (uint32_t)m.gpr[order[reg]];
}

static void cpuid_leaves(void **state)
{
	machine_long(0);
	assert_int_equal(cpuid(1, 0, 2) >> 31, 1);      /* hypervisor */
	assert_int_equal(cpuid(1, 0, 2) >> 3 & 5, 0);   /* MONITOR, VMX */
	assert_int_equal(cpuid(1, 0, 2) >> 27 & 1, 0);  /* OSXSAVE follows CR4 */
	assert_int_equal(cpuid(0x80000001, 0, 2) >> 2 & 1, 0); /* SVM */
	m.cr4 |= CR4_OSXSAVE;
	assert_int_equal(cpuid(1, 0, 2) >> 27 & 1, 1);
	assert_int_equal(cpuid(0x40000000, 0, 1), 0x4b4d564b);
	assert_int_equal(cpuid(0x80000007, 0, 3) >> 8 & 1, 1);
	assert_int_equal(cpuid(0x80000008, 0, 0) & 0xffff, m.physical_bits | 48 << 8);
	assert_true(m.physical_bits <= 46);
	/* XSAVE sizes follow XCR0. */
	assert_int_equal(cpuid(0xd, 0, 1), 576);
	m.xcr0 = m.xcr0_allowed;
	assert_int_equal(cpuid(0xd, 0, 1), cpuid(0xd, 0, 2));
	assert_int_equal(cpuid(0xd, 0, 0), m.xcr0_allowed);
	/* A leaf beyond the last one. */
	assert_int_equal(cpuid(0x50000000, 0, 0), 0);
	/* Topology of four. */
	struct error err;
	m.count = 4;
	m.index = 2;
	assert_int_equal(cpu_init_cpuid(&m, CPU_HOST, &err), 0);
	assert_int_equal(cpuid(1, 0, 1) >> 16, 2 << 8 | 4);
	assert_int_equal(cpuid(0xb, 0, 3), 2);
	assert_int_equal(cpuid(0xb, 0, 1), 1);
	assert_int_equal(cpuid(0xb, 1, 0), 2);
	assert_int_equal(cpuid(0xb, 1, 1), 4);
	assert_int_equal(cpuid(0xb, 2, 2), 2);
}

static void cpu_models(void **state)
{
	struct error err;
	machine_long(0);
	assert_int_equal(cpu_init_cpuid(&m, CPU_V1, &err), 0);
	assert_true(cpu_has(&m, FEATURE_SSE2));
	assert_false(cpu_has(&m, FEATURE_SSE3));
	assert_false(cpu_has(&m, FEATURE_XSAVE));
	assert_int_equal(m.xcr0_allowed, 1);
	assert_int_equal(cpuid(1, 0, 2) & 1, 0);
	expect_fault(EXC_GP, 0, mov_cr(4, m.cr4 | CR4_OSXSAVE));
	if (cpu_init_cpuid(&m, CPU_V2, &err) < 0)
		skip();
	assert_true(cpu_has(&m, FEATURE_SSE42) && cpu_has(&m, FEATURE_POPCNT) && !cpu_has(&m, FEATURE_AVX));
	if (cpu_init_cpuid(&m, CPU_V3, &err) < 0)
		skip();
	assert_true(cpu_has(&m, FEATURE_AVX2) && cpu_has(&m, FEATURE_MOVBE) && !cpu_has(&m, FEATURE_AVX512F));
	assert_int_equal(m.xcr0_allowed, 7);
}

static int xsetbv(uint64_t value)
{
	m.gpr[REG_RCX] = 0;
	m.gpr[REG_RAX] = (uint32_t)value;
	m.gpr[REG_RDX] = value >> 32;
	return RUN(0x0f, 0x01, 0xd1);
}

static void xcr0_rules(void **state)
{
	machine_long(0);
	if (!cpu_has(&m, FEATURE_AVX))
		skip();
	assert_int_equal(xsetbv(7), EXC_UD); /* CR4.OSXSAVE is clear */
	m.cr4 |= CR4_OSXSAVE;
	expect_ok(xsetbv(7));
	assert_int_equal(m.xcr0, 7);
	expect_fault(EXC_GP, 0, xsetbv(6));      /* x87 is always on */
	expect_fault(EXC_GP, 0, xsetbv(5));      /* AVX without SSE */
	expect_fault(EXC_GP, 0, xsetbv(0x27));   /* part of AVX-512 */
	expect_fault(EXC_GP, 0, xsetbv(1 << 9 | 7)); /* PKRU: not shown */
	m.gpr[REG_RCX] = 0;
	expect_ok(RUN(0x0f, 0x01, 0xd0));
	assert_int_equal(edx_eax(), 7);
	m.gpr[REG_RCX] = 2;
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x01, 0xd0));
	m.cpl = 3;
	expect_fault(EXC_GP, 0, xsetbv(7));
}

static void ports(void **state)
{
	machine_protected(3);
	expect_fault(EXC_GP, 0, RUN(0xe4, 0x60)); /* the bitmap's place is beyond the TSS */
	m.seg[SEG_TR].limit = 0x68 + 0x20;
	expect_ok(RUN(0xe4, 0x60));
	poke32(TSS + 0x68 + 0x60 / 8, 2); /* port 0x61 is closed */
	expect_ok(RUN(0xe4, 0x60));
	expect_fault(EXC_GP, 0, RUN(0xe4, 0x61));
	expect_fault(EXC_GP, 0, RUN(0xe5, 0x5f)); /* four ports, one of them closed */
	m.rflags |= FLAG_IOPL;
	expect_ok(RUN(0xe4, 0x61));
	assert_int_equal(m.gpr[REG_RAX] & 0xff, 0xff); /* nobody there */
	/* V86 asks the bitmap whatever IOPL is. */
	machine_v86(3);
	assert_int_equal(RUN(0xe4, 0x61), EXC_GP);
	m.seg[SEG_TR].limit = 0x68 + 0x20;
	expect_ok(RUN(0xe4, 0x61));
	machine_long(3);
	expect_fault(EXC_GP, 0, RUN(0xee));
}

static void syscall_sysret(void **state)
{
	machine_long(3);
	m.star = (uint64_t)UDATA32 << 48 | (uint64_t)CODE32 << 32 | 0x12345678;
	m.lstar = 0x20000;
	m.cstar = 0x21000;
	m.sfmask = FLAG_IF | FLAG_TF | FLAG_DF;
	cpu_set_rflags(&m, 0x602 | FLAG_CF);
	expect_ok(RUN(0x0f, 0x05));
	assert_int_equal(m.gpr[REG_RCX], CODE + 2);
	assert_int_equal(m.gpr[11], 0x603);
	assert_int_equal(m.gpr[REG_RIP], 0x20000);
	assert_int_equal(m.cpl, 0);
	assert_int_equal(m.seg[SEG_CS].selector, CODE32);
	assert_int_equal(m.seg[SEG_SS].selector, DATA32);
	assert_int_equal(cpu_get_rflags(&m), 3);
	assert_int_equal(m.gpr[REG_RSP], STACK3);
	expect_ok(RUN(0x48, 0x0f, 0x07));
	assert_int_equal(m.cpl, 3);
	assert_int_equal(m.seg[SEG_CS].selector, (UDATA32 + 16) | 3);
	assert_int_equal(m.seg[SEG_SS].selector, (UDATA32 + 8) | 3);
	assert_int_equal(cpu_get_rflags(&m), 0x603);
	assert_int_equal(m.code_mode, ISA_MODE_64);
	expect_fault(EXC_GP, 0, RUN(0x48, 0x0f, 0x07)); /* level 3 */
	machine_long(0);
	m.gpr[11] = 2;
	expect_ok(RUN(0x0f, 0x07));
	assert_int_equal(m.code_mode, ISA_MODE_32);
	machine_long(0);
	m.gpr[REG_RCX] = 0x0000800000000000ull;
	m.amd = false;
	expect_fault(EXC_GP, 0, RUN(0x48, 0x0f, 0x07)); /* Intel checks here */
	machine_long(3);
	m.efer &= ~EFER_SCE;
	assert_int_equal(RUN(0x0f, 0x05), EXC_UD);
	/* Compatibility mode: CSTAR on AMD, #UD on Intel. */
	machine_compat(3);
	m.cstar = 0x21000;
	m.star = (uint64_t)CODE64 << 32;
	m.amd = false;
	assert_int_equal(RUN(0x0f, 0x05), EXC_UD);
	m.amd = true;
	expect_ok(RUN(0x0f, 0x05));
	assert_int_equal(m.gpr[REG_RIP], 0x21000);
	assert_int_equal(m.code_mode, ISA_MODE_64);
}

static void sysenter_sysexit(void **state)
{
	machine_protected(3);
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x34));
	m.sysenter_cs = CODE32;
	m.sysenter_esp = 0x9000;
	m.sysenter_eip = 0x20000;
	m.rflags |= FLAG_IF;
	expect_ok(RUN(0x0f, 0x34));
	assert_int_equal(m.cpl, 0);
	assert_int_equal(m.gpr[REG_RIP], 0x20000);
	assert_int_equal(m.gpr[REG_RSP], 0x9000);
	assert_int_equal(m.rflags & FLAG_IF, 0);
	m.gpr[REG_RCX] = 0x7000;
	m.gpr[REG_RDX] = 0x5000;
	expect_ok(RUN(0x0f, 0x35));
	assert_int_equal(m.cpl, 3);
	assert_int_equal(m.seg[SEG_CS].selector, (CODE32 + 16) | 3);
	assert_int_equal(m.seg[SEG_SS].selector, (CODE32 + 24) | 3);
	assert_int_equal(m.gpr[REG_RSP], 0x7000);
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x35));
	machine_long(3);
	m.sysenter_cs = CODE64;
	m.sysenter_eip = 0x20000;
	m.amd = true;
	assert_int_equal(RUN(0x0f, 0x34), EXC_UD);
	m.amd = false;
	expect_ok(RUN(0x0f, 0x34));
	assert_int_equal(m.code_mode, ISA_MODE_64);
	machine_real();
	assert_int_equal(RUN(0x0f, 0x34), EXC_GP);
}

static void gs_bases(void **state)
{
	machine_long(0);
	m.seg[SEG_GS].base = m.segment_base[SEG_GS] = 0x1000;
	m.kernel_gs_base = 0x2000;
	expect_ok(RUN(0x0f, 0x01, 0xf8));
	assert_int_equal(m.segment_base[SEG_GS], 0x2000);
	assert_int_equal(m.kernel_gs_base, 0x1000);
	assert_int_equal(RUN(0xf3, 0x48, 0x0f, 0xae, 0xc8), EXC_UD); /* rdgsbase without CR4.FSGSBASE */
	m.cr4 |= CR4_FSGSBASE;
	expect_ok(RUN(0xf3, 0x48, 0x0f, 0xae, 0xc8));
	assert_int_equal(m.gpr[REG_RAX], 0x2000);
	m.gpr[REG_RAX] = 0x0000800000000000ull;
	expect_fault(EXC_GP, 0, RUN(0xf3, 0x48, 0x0f, 0xae, 0xd0));
	m.gpr[REG_RAX] = 0x3000;
	expect_ok(RUN(0xf3, 0x48, 0x0f, 0xae, 0xd0));
	assert_int_equal(m.segment_base[SEG_FS], 0x3000);
	machine_long(3);
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x01, 0xf8));
}

static void smap_and_invalidation(void **state)
{
	machine_long(0);
	m.cr4 |= CR4_SMAP;
	cpu_update_mode(&m);
	m.gpr[REG_RAX] = DATA;
	expect_fault(EXC_PF, 1, RUN(0x8b, 0x00));
	expect_ok(RUN(0x0f, 0x01, 0xcb)); /* STAC */
	expect_ok(RUN(0x8b, 0x00));
	expect_ok(RUN(0x0f, 0x01, 0xca));
	m.gpr[REG_RAX] = DATA;
	expect_fault(EXC_PF, 1, RUN(0x8b, 0x00));
	machine_long(3);
	assert_int_equal(RUN(0x0f, 0x01, 0xcb), EXC_UD);
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x01, 0x38)); /* INVLPG */
	/* INVPCID: rcx holds the type, [rax] the descriptor. */
	machine_long(0);
	m.gpr[REG_RAX] = DATA;
	m.gpr[REG_RCX] = 4;
	expect_fault(EXC_GP, 0, RUN(0x66, 0x0f, 0x38, 0x82, 0x08));
	m.gpr[REG_RCX] = 0;
	poke64(DATA, 1); /* a PCID without CR4.PCIDE */
	expect_fault(EXC_GP, 0, RUN(0x66, 0x0f, 0x38, 0x82, 0x08));
	poke64(DATA, 0x1000);
	m.gpr[REG_RCX] = 2;
	expect_fault(EXC_GP, 0, RUN(0x66, 0x0f, 0x38, 0x82, 0x08));
	poke64(DATA, 0);
	poke64(DATA + 8, 0x0000800000000000ull);
	m.gpr[REG_RCX] = 0;
	expect_fault(EXC_GP, 0, RUN(0x66, 0x0f, 0x38, 0x82, 0x08));
	poke64(DATA + 8, DATA);
	expect_ok(RUN(0x66, 0x0f, 0x38, 0x82, 0x08));
	m.gpr[REG_RCX] = 3;
	expect_ok(RUN(0x66, 0x0f, 0x38, 0x82, 0x08));
}

static void kvm_interface(void **state)
{
	machine_long(0);
	m.gpr[REG_RAX] = 99;
	expect_ok(RUN(0x0f, 0x01, 0xd9));
	assert_true(m.gpr[REG_RAX] == (uint64_t)-1000);
	expect_ok(wrmsr(0x4b564d01, DATA | 1));
	uint32_t mul = peek32(DATA + 24);
	int8_t shift = (int8_t)ram.host[DATA + 28];
	uint64_t ticks = m.tsc_hz; /* one second */
	ticks = shift < 0 ? ticks >> -shift : ticks << shift;
	uint64_t ns = (uint64_t)((unsigned __int128)ticks * mul >> 32);
	assert_in_range(ns, 999999000, 1000001000);
	assert_int_equal(peek32(DATA) & 1, 0);
	assert_int_equal(ram.host[DATA + 29], 1);
	assert_true(peek64(DATA + 8) <= cpu_read_tsc(&m));
	expect_ok(wrmsr(0x4b564d00, DATA + 0x40));
	assert_true(peek32(DATA + 0x44) > 1600000000);
	expect_ok(wrmsr(0x4b564d01, 0xfffff000000001));  /* an address outside memory harms nobody */
}

/* SYSTEMS.md: the sensitive instructions of level 3 give the guest's values. */

static void sensitive_store_tables(void **state)
{
	machine_protected(3);
	m.gdtr = (struct table_register){ 0x11223344, 0x5566 };
	expect_ok(RUN(0x0f, 0x01, 0x05, 0, 0, 4, 0)); /* sgdt [DATA] */
	assert_int_equal(peek32(DATA), 0x33445566);
	assert_int_equal(peek32(DATA + 4), 0x1122);
	expect_ok(RUN(0x0f, 0x01, 0x0d, 0, 0, 4, 0)); /* sidt */
	assert_int_equal(peek32(DATA), (IDT & 0xffff) << 16 | 0xfff);
	machine_long(3);
	m.gdtr.base = 0xfffffe0000001000ull;
	m.gpr[REG_RAX] = DATA;
	expect_ok(RUN(0x0f, 0x01, 0x00));
	assert_true(peek64(DATA + 2) == 0xfffffe0000001000ull);
	machine_protected(3);
	expect_ok(RUN(0x0f, 0x00, 0xc0)); /* sldt eax */
	assert_int_equal(m.gpr[REG_RAX], LDT_SEL);
	expect_ok(RUN(0x0f, 0x00, 0xc8)); /* str eax */
	assert_int_equal(m.gpr[REG_RAX], TSS_SEL);
	expect_ok(RUN(0x0f, 0x01, 0xe0)); /* smsw eax */
	assert_int_equal(m.gpr[REG_RAX], m.cr0);
	m.cr4 |= CR4_UMIP;
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x01, 0x05, 0, 0, 4, 0));
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x01, 0x0d, 0, 0, 4, 0));
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x00, 0xc0));
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x00, 0xc8));
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x01, 0xe0));
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x01, 0x15, 0, 0, 4, 0)); /* lgdt */
}

static void sensitive_flags(void **state)
{
	machine_protected(3);
	m.rflags |= FLAG_IF | FLAG_RF;
	expect_ok(RUN(0x9c));
	assert_int_equal(peek32((uint32_t)m.gpr[REG_RSP]), 0x202); /* the guest's IF; never RF or VM */
	poke32((uint32_t)m.gpr[REG_RSP], 0x3002 | FLAG_DF | FLAG_ID | FLAG_VM | FLAG_RF);
	expect_ok(RUN(0x9d));
	assert_int_equal(cpu_get_rflags(&m) & ~FLAG_RF, 0x202 | FLAG_DF | FLAG_ID); /* IF and IOPL unchanged, silently */
	expect_fault(EXC_GP, 0, RUN(0xfa));
	m.rflags |= FLAG_IOPL;
	expect_ok(RUN(0xfa));
	assert_int_equal(m.rflags & FLAG_IF, 0);
	poke32((uint32_t)m.gpr[REG_RSP], 0x202);
	expect_ok(RUN(0x9d));
	assert_int_equal(cpu_get_rflags(&m) & (FLAG_IF | FLAG_IOPL), FLAG_IF | FLAG_IOPL);
}

static int lar(unsigned op, unsigned selector)
{
	m.gpr[REG_RCX] = selector;
	m.gpr[REG_RAX] = 0x99;
	return RUN(0x0f, (uint8_t)op, 0xc1);
}

static void sensitive_descriptor_queries(void **state)
{
	machine_protected(3);
	expect_ok(lar(2, UCODE32));
	assert_true(m.cc & CC_ZF);
	assert_int_equal(m.gpr[REG_RAX], 0xcffb00);
	expect_ok(lar(3, UCODE32));
	assert_int_equal(m.gpr[REG_RAX], 0xffffffff);
	expect_ok(lar(2, CODE32)); /* DPL 0 is not visible */
	assert_false(m.cc & CC_ZF);
	assert_int_equal(m.gpr[REG_RAX], 0x99);
	expect_ok(lar(2, CONFORMING));
	assert_true(m.cc & CC_ZF);
	expect_ok(lar(2, 0));
	assert_false(m.cc & CC_ZF);
	expect_ok(lar(2, GDT_SIZE));
	assert_false(m.cc & CC_ZF);
	machine_protected(0);
	expect_ok(lar(2, TSS_SEL));
	assert_int_equal(m.gpr[REG_RAX], 0x8b00);
	expect_ok(lar(3, TSS_SEL));
	assert_int_equal(m.gpr[REG_RAX], 0x67);
	gate_set(GDT + GATE, 0x20000, CODE32, 0xc, 3, 0);
	expect_ok(lar(2, GATE));
	assert_true(m.cc & CC_ZF);
	expect_ok(lar(3, GATE)); /* a gate has no limit */
	assert_false(m.cc & CC_ZF);
	/* VERR, VERW. */
	static const struct {
		unsigned selector;
		bool read, write;
	} cases[] = {
		{ DATA32, true, true }, { READ_ONLY, true, false }, { CODE32, true, false },
		{ EXECUTE_ONLY, false, false },
		{ TSS_SEL, false, false }, { 0, false, false }, { DATA32 | 3, false, false },
	};
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		m.gpr[REG_RAX] = cases[n].selector;
		expect_ok(RUN(0x0f, 0x00, 0xe0));
		assert_int_equal(!!(m.cc & CC_ZF), cases[n].read);
		expect_ok(RUN(0x0f, 0x00, 0xe8));
		assert_int_equal(!!(m.cc & CC_ZF), cases[n].write);
	}
	/* ARPL. */
	m.gpr[REG_RAX] = UDATA32;
	m.gpr[REG_RCX] = 3;
	expect_ok(RUN(0x63, 0xc8));
	assert_int_equal(m.gpr[REG_RAX], UDATA32 | 3);
	assert_true(m.cc & CC_ZF);
	expect_ok(RUN(0x63, 0xc8));
	assert_false(m.cc & CC_ZF);
	machine_v86(3);
	assert_int_equal(RUN(0x0f, 0x02, 0xc1), EXC_UD);
	assert_int_equal(RUN(0x63, 0xc8), EXC_UD);
}

static void sensitive_selectors(void **state)
{
	machine_protected(3);
	expect_ok(RUN(0x8c, 0xc8)); /* mov eax, cs: the guest's selector with its RPL */
	assert_int_equal(m.gpr[REG_RAX], UCODE32 | 3);
	expect_ok(RUN(0x8c, 0x15, 0, 0, 4, 0)); /* mov [DATA], ss */
	assert_int_equal(peek32(DATA), UDATA32 | 3);
	expect_ok(RUN(0x0e)); /* push cs */
	assert_int_equal(peek32((uint32_t)m.gpr[REG_RSP]) & 0xffff, UCODE32 | 3);
	machine_long(3);
	expect_ok(RUN(0x48, 0x8c, 0xd8));
	assert_int_equal(m.gpr[REG_RAX], UDATA32 | 3);
	expect_ok(RUN(0x0f, 0xa0)); /* push fs: 8 bytes */
	assert_int_equal(m.gpr[REG_RSP], STACK3 - 8);
	assert_true(peek64(STACK3 - 8) == (UDATA32 | 3));
}

static void saved_state_is_checked(void **state)
{
	struct error err;
	machine_long(3);
	assert_int_equal(cpu_loaded(&m, &err), 0);
	m.xcr0 = 0x1000;
	assert_int_equal(cpu_loaded(&m, &err), -1);
	machine_long(3);
	m.cpl = 4;
	assert_int_equal(cpu_loaded(&m, &err), -1);
	machine_long(3);
	m.cr0 &= ~CR0_PG;
	assert_int_equal(cpu_loaded(&m, &err), -1);
}

static void restored_guest_keeps_its_features(void **state)
{
	struct error err;
	machine_long(3);
	m.saved_features[FEATURE_NEVER >> 6] |= BIT64(FEATURE_NEVER & 63);
	m.saved_features[1] |= BIT64(63);
	assert_int_equal(cpu_loaded(&m, &err), -1);
	assert_non_null(strstr(err.text, "NEVER, one that this visor does not know;"));
	machine_long(3);
	m.saved_amd = !m.amd;
	assert_int_equal(cpu_loaded(&m, &err), -1);
	assert_non_null(strstr(err.text, m.saved_amd ? "AMD" : "Intel"));
	/* What this host has more than the first stays hidden, with what needs it. */
	machine_long(0);
	assert_int_equal(cpuid(7, 0, 1) & BIT(20), BIT(20)); /* SMAP */
	m.saved_features[FEATURE_SMAP >> 6] &= ~BIT64(FEATURE_SMAP & 63);
	m.saved_features[FEATURE_XSAVE >> 6] &= ~BIT64(FEATURE_XSAVE & 63);
	assert_int_equal(cpu_loaded(&m, &err), 0);
	assert_int_equal(cpuid(7, 0, 1) & (BIT(20) | BIT(5)), 0);
	assert_int_equal(cpuid(1, 0, 2) & (BIT(26) | BIT(28)), 0);
	assert_int_equal(m.xcr0_allowed, 1);
	assert_false(cpu_has(&m, FEATURE_SMAP) || cpu_has(&m, FEATURE_AVX));
	assert_true(cpuid(0x80000002, 0, 0));
	assert_int_equal(RUN(0x0f, 0x01, 0xca), EXC_UD); /* clac */
}

/* A second of virtual time is a second's worth of the rate that the guest measured, on a host of another rate too. */
static void restored_guest_keeps_its_tsc_rate(void **state)
{
	struct error err;
	machine_long(0);
	const uint64_t base = cpu_host_tsc(&m);
	cpu_stop_time(&m, base);
	uint64_t then = m.tsc_stopped;
	m.host_tsc_hz = 3100000000; /* where it was 2 GHz */
	assert_int_equal(cpu_loaded(&m, &err), 0);
	assert_int_equal(m.tsc_hz, 2000000000);
	cpu_start_time(&m, base);
	cpu_stop_time(&m, base + 10 * m.host_tsc_hz);
	assert_in_range(m.tsc_stopped - then, 10 * m.tsc_hz - 1, 10 * m.tsc_hz + 1);
	expect_ok(wrmsr(0x4b564d01, DATA | 1));
	assert_int_equal(m.tsc_hz >> 1, 1000000000); /* so the clock page multiplies by 1/2 */
	assert_int_equal(peek32(DATA + 24), 0x80000000);
	assert_int_equal((int8_t)ram.host[DATA + 28], 0);
	uint64_t ahead = cpu_read_tsc(&m) + 60 * m.tsc_hz;
	assert_in_range(cpu_tsc_delay(&m, ahead), 50 * NS_PER_SEC, 60 * NS_PER_SEC);
	assert_int_equal(cpu_tsc_delay(&m, 0), 0);
	/* A measurement that differs a little is of the same rate; none at all is nonsense. */
	m.host_tsc_hz = 2000100000;
	assert_int_equal(cpu_loaded(&m, &err), 0);
	assert_int_equal(m.tsc_scale, 0);
	m.tsc_hz = 0;
	assert_int_equal(cpu_loaded(&m, &err), -1);
}

static void absent_instructions(void **state)
{
	machine_long(0);
	assert_int_equal(RUN(0x0f, 0x01, 0xc8), EXC_UD); /* monitor */
	assert_int_equal(RUN(0x0f, 0x01, 0xc9), EXC_UD); /* mwait */
	assert_int_equal(RUN(0xf2, 0x0f, 0x01, 0xfc), EXC_UD); /* CLZERO with F2, F3 is none */
	assert_int_equal(RUN(0xf3, 0x0f, 0x01, 0xfc), EXC_UD);
	assert_int_equal(RUN(0x0f, 0xaa), EXC_UD);       /* rsm */
	assert_int_equal(RUN(0x0f, 0x37), EXC_UD);       /* getsec */
	expect_ok(RUN(0x0f, 0x09));
	expect_ok(RUN(0x0f, 0x08));
	machine_long(3);
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x09));
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x06));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cr0_rules),
		cmocka_unit_test(cr3_cr4_rules),
		cmocka_unit_test(pcids_keep_entries),
		cmocka_unit_test(msr_rules),
		cmocka_unit_test(arch_capabilities), cmocka_unit_test(tsc),
		cmocka_unit_test(cpuid_leaves),
		cmocka_unit_test(cpu_models),
		cmocka_unit_test(xcr0_rules),
		cmocka_unit_test(ports),
		cmocka_unit_test(syscall_sysret),
		cmocka_unit_test(sysenter_sysexit),
		cmocka_unit_test(gs_bases),
		cmocka_unit_test(smap_and_invalidation),
		cmocka_unit_test(kvm_interface),
		cmocka_unit_test(sensitive_store_tables),
		cmocka_unit_test(sensitive_flags),
		cmocka_unit_test(sensitive_descriptor_queries),
		cmocka_unit_test(sensitive_selectors),
		cmocka_unit_test(saved_state_is_checked),
		cmocka_unit_test(restored_guest_keeps_its_features),
		cmocka_unit_test(restored_guest_keeps_its_tsc_rate),
		cmocka_unit_test(absent_instructions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
