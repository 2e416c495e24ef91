/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system_machine.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "cpu/access.h"

struct cpu m;
struct guest_memory ram;
static struct io_space mmio; /* nobody answers */

uint32_t peek32(uint32_t address)
{
	return load_le32(ram.host + address);
}

uint64_t peek64(uint32_t address)
{
	return load_le64(ram.host + address);
}

void poke32(uint32_t address, uint32_t value)
{
	store_le32(ram.host + address, value);
}

void poke64(uint32_t address, uint64_t value)
{
	store_le64(ram.host + address, value);
}

void gdt_raw(unsigned selector, uint64_t descriptor)
{
	poke64(GDT + (selector & 0xfff8), descriptor);
}

uint64_t gdt_get(unsigned selector)
{
	return peek64(GDT + (selector & 0xfff8));
}

void gdt_set(unsigned selector, uint32_t base, uint32_t limit, unsigned access, unsigned flags)
{
	gdt_raw(selector, (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
		(uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)flags << 52 | (uint64_t)(base >> 24) << 56);
}

void gate_set(uint32_t address, uint64_t offset, unsigned selector, unsigned type, unsigned dpl, unsigned low)
{
	poke64(address, (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)low << 32 |
	       (uint64_t)(type | dpl << 5 | 0x80) << 40 | (offset >> 16 & 0xffff) << 48);
	if (m.efer & EFER_LMA)
		poke64(address + 8, offset >> 32);
}

void idt_set(unsigned vector, unsigned selector, unsigned type, unsigned dpl, unsigned ist)
{
	gate_set(IDT + vector * (m.efer & EFER_LMA ? 16 : 8), HANDLER + vector * 16, selector, type, dpl, ist);
}

static void make_ram(void)
{
	struct error err;
	if (!ram.host && memory_init(&ram, 4 << 20, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	memset(ram.host, 0, 4 << 20);
	if (!mmio.limit)
		io_space_init(&mmio, 1ull << 46, NULL);
}

void machine_real(void)
{
	struct error err;
	make_ram();
	cpu_free_cpuid(&m);
	memset(&m, 0, sizeof(m));
	m.memory = &ram;
	m.mmio = &mmio;
	m.count = 1;
	m.tsc_hz = m.host_tsc_hz = 2000000000;
	if (cpu_init_cpuid(&m, CPU_HOST, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	cpu_reset(&m, true);
	cpu_load_segment_real(&m, SEG_CS, CODE >> 4);
	m.gpr[REG_RIP] = 0;
	m.gpr[REG_RSP] = 0x8000;
	cpu_update_mode(&m);
}

static void fill_gdt(void)
{
	unsigned code = ACC_PRESENT | ACC_CODE, data = ACC_PRESENT | ACC_DATA;
	gdt_set(CODE32, 0, 0xfffff, code, 0xc);
	gdt_set(DATA32, 0, 0xfffff, data, 0xc);
	gdt_set(UCODE32, 0, 0xfffff, code | 0x60, 0xc);
	gdt_set(UDATA32, 0, 0xfffff, data | 0x60, 0xc);
	gdt_set(CODE64, 0, 0, code, 0x2);
	gdt_set(UCODE64, 0, 0, code | 0x60, 0x2);
	gdt_set(CONFORMING, 0, 0xfffff, code | 4, 0xc);
	gdt_set(ABSENT_DATA, 0, 0xfffff, ACC_DATA, 0xc);
	gdt_set(EXECUTE_ONLY, 0, 0xfffff, 0x99, 0xc);
	gdt_set(READ_ONLY, 0, 0xfffff, 0x91, 0xc);
	gdt_set(EXPAND_DOWN, 0, 0xf, 0x97, 0xc);
	gdt_set(CODE16, 0, 0xffff, code, 0);
	gdt_set(DATA16, 0, 0xffff, data, 0);
	gdt_set(CODE1, 0, 0xfffff, code | 0x20, 0xc);
	gdt_set(DATA1, 0, 0xfffff, data | 0x20, 0xc);
	gdt_set(ABSENT_CODE, 0, 0xfffff, ACC_CODE, 0xc);
	gdt_set(ABSENT_STACK, 0, 0xfffff, ACC_DATA, 0xc);
	gdt_set(TSS_SEL, TSS, 0x67, 0x8b, 0);
	gdt_set(TSS2_SEL, TSS2, 0x67, 0x89, 0);
	gdt_set(LDT_SEL, LDT, 0xff, 0x82, 0);
	m.gdtr = (struct table_register){ GDT, GDT_SIZE - 1 };
	m.idtr = (struct table_register){ IDT, 0xfff };
}

static void load(unsigned seg, unsigned selector)
{
	m.seg[seg] = cpu_unpack_descriptor((uint16_t)selector, gdt_get(selector));
}

static void enter(unsigned cpl, unsigned code, unsigned data)
{
	m.cpl = (uint8_t)cpl;
	load(SEG_CS, code | cpl);
	for (unsigned s = SEG_ES; s <= SEG_GS; s++)
		if (s != SEG_CS)
			load(s, data | cpl);
	load(SEG_TR, TSS_SEL);
	load(SEG_LDTR, LDT_SEL);
	m.gpr[REG_RIP] = CODE;
	m.gpr[REG_RSP] = cpl == 3 ? STACK3 : cpl == 1 ? STACK1 - 0x100 : STACK0 - 0x100;
	cpu_update_mode(&m);
}

static void fill_tss32(void)
{
	poke32(TSS + 4, STACK0);
	poke32(TSS + 8, DATA32);
	poke32(TSS + 12, STACK1);
	poke32(TSS + 16, DATA1 | 1);
	poke32(TSS + 0x64, 0x68 << 16);
}

void machine_protected(unsigned cpl)
{
	machine_real();
	fill_gdt();
	m.cr0 |= CR0_PE;
	fill_tss32();
	enter(cpl, cpl == 3 ? UCODE32 : cpl == 1 ? CODE1 : CODE32, cpl == 3 ? UDATA32 : cpl == 1 ? DATA1 : DATA32);
	for (unsigned v = 0; v < 256; v++)
		idt_set(v, CODE32, 0xe, v == 3 || v == 4 || v == 0x80 ? 3 : 0, 0);
}

void machine_paging32(void)
{
	for (uint32_t i = 0; i < 4; i++)
		poke32(TABLES + 4 * i, (TABLES + 0x1000) | 7);
	for (uint32_t i = 0; i < 1024; i++)
		poke32(TABLES + 0x1000 + 4 * i, i << 12 | 7);
	m.cr3 = TABLES;
	m.cr0 |= CR0_PG;
	tlb_flush_all(&m);
}

static void machine_wide(unsigned cpl, unsigned code)
{
	machine_real();
	fill_gdt();
	poke64(TABLES, (TABLES + 0x1000) | 7);
	poke64(TABLES + 0x1000, (TABLES + 0x2000) | 7);
	for (uint32_t i = 0; i < 2; i++)
		poke64(TABLES + 0x2000 + 8 * i, (TABLES + 0x3000 + i * 0x1000) | 7);
	for (uint32_t i = 0; i < 1024; i++)
		poke64(TABLES + 0x3000 + 8 * i, i << 12 | 7);
	m.cr3 = TABLES;
	m.cr4 = CR4_PAE;
	m.efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
	m.cr0 |= CR0_PE | CR0_PG | CR0_WP;
	poke64(TSS + 4, STACK0);
	poke64(TSS + 12, STACK1);
	poke64(TSS + 0x24, STACK_IST);
	poke32(TSS + 0x64, 0x68 << 16);
	enter(cpl, code, cpl == 3 ? UDATA32 : DATA32);
	for (unsigned v = 0; v < 256; v++)
		idt_set(v, CODE64, 0xe, v == 3 || v == 4 || v == 0x80 ? 3 : 0, 0);
	tlb_flush_all(&m);
}

void machine_long(unsigned cpl)
{
	machine_wide(cpl, cpl == 3 ? UCODE64 : CODE64);
}

void machine_compat(unsigned cpl)
{
	machine_wide(cpl, cpl == 3 ? UCODE32 : CODE32);
}

void machine_v86(unsigned iopl)
{
	machine_protected(0);
	m.rflags |= FLAG_VM | (uint64_t)iopl << 12;
	m.cpl = 3;
	for (unsigned s = SEG_ES; s <= SEG_GS; s++)
		cpu_load_segment_real(&m, s, s == SEG_CS ? CODE >> 4 : DATA >> 4);
	m.gpr[REG_RIP] = 0;
	m.gpr[REG_RSP] = 0x1000;
	cpu_update_mode(&m);
}

void lay(uint32_t address, const uint8_t *bytes, unsigned length)
{
	memcpy(ram.host + address, bytes, length);
}

int catching(void (*fn)(void))
{
	jmp_buf env;
	m.fault_env = &env;
	if (_setjmp(env))
		return m.fault_vector;
	fn();
	return OK;
}

static uint64_t code_linear(void)
{
	uint64_t linear = m.segment_base[SEG_CS] + m.gpr[REG_RIP];
	return m.code_mode == ISA_MODE_64 ? linear : (uint32_t)linear;
}

static struct insn insn;

static void execute(void)
{
	m.insn = &insn;
	m.gpr[REG_RIP] += insn.length;
	insn.exec(&m, &insn);
	m.insn = NULL;
}

static bool decode(const uint8_t *bytes, unsigned available)
{
	m.insn = NULL;
	if (isa_decode(&insn, bytes, available, (enum isa_mode)m.code_mode) < 0)
		return false;
	cpu_select(&m, &insn);
	return true;
}

int run_bytes(const uint8_t *bytes, unsigned length)
{
	uint32_t linear = (uint32_t)code_linear();
	lay(linear, bytes, length);
	return decode(ram.host + linear, 15) ? catching(execute) : EXC_UD;
}

static void step_events(void)
{
	uint64_t gpa;
	if (!cpu_take_events(&m))
		return;
	uint64_t linear = code_linear();
	if (m.code_mode == ISA_MODE_64 && !is_canonical(linear))
		cpu_gp(&m, 0);
	const uint8_t *host = mmu_fetch(&m, linear, &gpa);
	if (!host)
		return;
	if (!decode(host, MIN(15u, GUEST_PAGE_SIZE - (unsigned)(linear & GUEST_PAGE_MASK))))
		cpu_ud(&m);
	execute();
}

static void deliver(void)
{
	cpu_deliver_fault(&m);
}

void step(void)
{
	int vector = catching(step_events);
	while (vector != OK && !m.shutdown)
		vector = catching(deliver);
}
