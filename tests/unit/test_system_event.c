/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/util.h"
#include "cpu/flags.h"
#include "system_machine.h"

/* Delivery of exceptions and interrupts, task switches, virtual-8086 mode, and what happens between instructions. */

#define IDT_ERROR(v) ((v) * 8 + 2)

static void at(uint32_t address, const uint8_t *bytes, unsigned length)
{
	lay(address, bytes, length);
}
#define LAY(address, ...) at(address, (const uint8_t[]){ __VA_ARGS__ }, sizeof((uint8_t[]){ __VA_ARGS__ }))

static void int_n_checks(void **state)
{
	machine_protected(3);
	expect_fault(EXC_GP, IDT_ERROR(0x21), RUN(0xcd, 0x21)); /* gate DPL 0 */
	assert_int_equal(m.gpr[REG_RIP], CODE);
	m.idtr.limit = 0x80 * 8 - 1;
	expect_fault(EXC_GP, IDT_ERROR(0x80), RUN(0xcd, 0x80)); /* beyond the IDT */
	m.idtr.limit = 0xfff;
	gate_set(IDT + 0x80 * 8, HANDLER, CODE32, 0xc, 3, 0);
	expect_fault(EXC_GP, IDT_ERROR(0x80), RUN(0xcd, 0x80)); /* a call gate */
	idt_set(0x80, CODE32, 0xe, 3, 0);
	poke64(IDT + 0x80 * 8, peek64(IDT + 0x80 * 8) & ~BIT64(47));
	expect_fault(EXC_NP, IDT_ERROR(0x80), RUN(0xcd, 0x80));
	idt_set(0x80, 0, 0xe, 3, 0);
	expect_fault(EXC_GP, 0, RUN(0xcd, 0x80));
	idt_set(0x80, DATA32, 0xe, 3, 0);
	expect_fault(EXC_GP, DATA32, RUN(0xcd, 0x80));
	idt_set(0x80, GDT_SIZE, 0xe, 3, 0);
	expect_fault(EXC_GP, GDT_SIZE, RUN(0xcd, 0x80));
	idt_set(0x80, ABSENT_CODE, 0xe, 3, 0);
	expect_fault(EXC_NP, ABSENT_CODE, RUN(0xcd, 0x80));
	idt_set(0x80, CODE32, 0xe, 3, 0);
	poke32(TSS + 8, 0);
	expect_fault(EXC_TS, 0, RUN(0xcd, 0x80));
	poke32(TSS + 8, DATA32 | 1);
	expect_fault(EXC_TS, DATA32, RUN(0xcd, 0x80));
	poke32(TSS + 8, ABSENT_STACK);
	expect_fault(EXC_SS, ABSENT_STACK, RUN(0xcd, 0x80));
	assert_int_equal(m.cpl, 3);
	machine_protected(0);
	idt_set(0x80, UCODE32, 0xe, 3, 0); /* outward */
	expect_fault(EXC_GP, UCODE32, RUN(0xcd, 0x80));
}

static void int_from_user_32(void **state)
{
	machine_protected(3);
	cpu_set_rflags(&m, 0x202 | FLAG_CF | FLAG_TF);
	expect_ok(RUN(0xcd, 0x80));
	assert_int_equal(m.cpl, 0);
	assert_int_equal(m.gpr[REG_RIP], HANDLER + 0x80 * 16);
	uint32_t sp = (uint32_t)m.gpr[REG_RSP];
	assert_int_equal(sp, STACK0 - 20);
	assert_int_equal(peek32(sp), CODE + 2);
	assert_int_equal(peek32(sp + 4), UCODE32 | 3);
	assert_int_equal(peek32(sp + 8), 0x303);
	assert_int_equal(peek32(sp + 12), STACK3);
	assert_int_equal(peek32(sp + 16), UDATA32 | 3);
	assert_int_equal(m.rflags & (FLAG_IF | FLAG_TF | FLAG_NT | FLAG_RF), 0);
	/* A trap gate leaves IF. */
	machine_protected(3);
	idt_set(0x80, CODE32, 0xf, 3, 0);
	cpu_set_rflags(&m, 0x202);
	expect_ok(RUN(0xcd, 0x80));
	assert_true(m.rflags & FLAG_IF);
	/* A 16-bit gate pushes words. */
	machine_protected(0);
	gate_set(IDT + 0x80 * 8, 0x5678, CODE32, 6, 3, 0);
	expect_ok(RUN(0xcd, 0x80));
	assert_int_equal(m.gpr[REG_RSP], STACK0 - 0x106);
	assert_int_equal(m.gpr[REG_RIP], 0x5678);
}

static void faults_push_rf_and_error(void **state)
{
	machine_protected(0);
	LAY(CODE, 0x8e, 0xd8); /* mov ds, ax */
	m.gpr[REG_RAX] = ABSENT_DATA;
	step();
	uint32_t sp = (uint32_t)m.gpr[REG_RSP];
	assert_int_equal(m.gpr[REG_RIP], HANDLER + EXC_NP * 16);
	assert_int_equal(peek32(sp), ABSENT_DATA);
	assert_int_equal(peek32(sp + 4), CODE);
	assert_int_equal(peek32(sp + 12), FLAG_RF | 2);
	/* A trap (INT3) does not set RF and has RIP behind it. */
	machine_protected(0);
	m.rflags |= FLAG_RF;
	LAY(CODE, 0xcc);
	step();
	sp = (uint32_t)m.gpr[REG_RSP];
	assert_int_equal(peek32(sp), CODE + 1);
	assert_int_equal(peek32(sp + 8), 2);
}

static void long_mode_frame(void **state)
{
	machine_long(3);
	m.gpr[REG_RSP] = STACK3 - 3;
	expect_ok(RUN(0xcd, 0x80));
	uint32_t sp = (uint32_t)m.gpr[REG_RSP];
	assert_int_equal(sp, STACK0 - 40);
	assert_int_equal(peek64(sp), CODE + 2);
	assert_int_equal(peek64(sp + 8), UCODE64 | 3);
	assert_int_equal(peek64(sp + 24), STACK3 - 3);
	assert_int_equal(peek64(sp + 32), UDATA32 | 3);
	assert_int_equal(m.seg[SEG_SS].selector, 0);
	/* Without a change of level: the stack is aligned to 16, SS stays. */
	machine_long(0);
	m.gpr[REG_RSP] = STACK0 - 0x103;
	expect_ok(RUN(0xcd, 0x80));
	assert_int_equal(m.gpr[REG_RSP], STACK0 - 0x110 - 40);
	assert_int_equal(peek64(STACK0 - 0x110 - 16), STACK0 - 0x103);
	assert_int_equal(m.seg[SEG_SS].selector, DATA32);
	/* IST. */
	machine_long(0);
	idt_set(0x80, CODE64, 0xe, 3, 1);
	expect_ok(RUN(0xcd, 0x80));
	assert_int_equal(m.gpr[REG_RSP], STACK_IST - 40);
	/* From compatibility mode. */
	machine_compat(3);
	expect_ok(RUN(0xcd, 0x80));
	assert_int_equal(m.code_mode, ISA_MODE_64);
	assert_int_equal(peek64(STACK0 - 32), UCODE32 | 3);
	/* 32-bit code, call gates and 16-bit gates are no targets. */
	machine_long(3);
	idt_set(0x80, CODE32, 0xe, 3, 0);
	expect_fault(EXC_GP, CODE32, RUN(0xcd, 0x80));
	idt_set(0x80, CODE64, 0x6, 3, 0);
	expect_fault(EXC_GP, IDT_ERROR(0x80), RUN(0xcd, 0x80));
	idt_set(0x80, CODE64, 0xe, 3, 0);
	poke64(TSS + 4, 0x0000800000000000ull);
	expect_fault(EXC_SS, 0, RUN(0xcd, 0x80));
	idt_set(0x80, CODE64, 0xe, 3, 7);
	m.seg[SEG_TR].limit = 0x40; /* IST 7 is outside */
	expect_fault(EXC_TS, TSS_SEL, RUN(0xcd, 0x80));
}

static void page_fault_pushes_and_cr2(void **state)
{
	machine_long(3);
	poke64(TABLES + 0x3000 + (DATA >> 12) * 8, 0);
	LAY(CODE, 0x8b, 0x00); /* mov eax, [rax] */
	m.gpr[REG_RAX] = DATA + 8;
	step();
	assert_int_equal(m.cr2, DATA + 8);
	assert_int_equal(m.gpr[REG_RIP], HANDLER + EXC_PF * 16);
	assert_int_equal(peek64(STACK0 - 48), 4);
	assert_int_equal(peek64(STACK0 - 40), CODE);
}

static void supervisor_stack_pushes(void **state)
{
	/* The frame is written with the rights of the new level: a supervisor page takes it, a missing one faults so. */
	machine_long(3);
	uint32_t pte = TABLES + 0x3000 + ((STACK0 - 8) >> 12) * 8;
	poke64(pte, ((STACK0 - 8) & ~0xfffu) | 3);
	expect_ok(RUN(0xcd, 0x80));
	machine_long(3);
	poke64(pte, 0);
	expect_fault(EXC_PF, 2, RUN(0xcd, 0x80)); /* write, not present, supervisor */
	assert_int_equal(m.cpl, 3);
	assert_ptr_equal(m.tlb, m.tlbs[TLB_USER]);
	assert_int_equal(m.gpr[REG_RIP], CODE);
	assert_int_equal(m.gpr[REG_RSP], STACK3);
}

static void double_and_triple_fault(void **state)
{
	/* #NP whose delivery raises #GP is contributory on contributory: #DF, error 0. */
	machine_protected(0);
	LAY(CODE, 0x8e, 0xd8);
	m.gpr[REG_RAX] = ABSENT_DATA;
	idt_set(EXC_NP, DATA32, 0xe, 0, 0);
	step();
	assert_int_equal(m.gpr[REG_RIP], HANDLER + EXC_DF * 16);
	assert_int_equal(peek32((uint32_t)m.gpr[REG_RSP]), 0);
	assert_int_equal(peek32((uint32_t)m.gpr[REG_RSP] + 4), CODE);
	/* And when #DF cannot be delivered either: shutdown. */
	machine_protected(0);
	LAY(CODE, 0x8e, 0xd8);
	m.gpr[REG_RAX] = ABSENT_DATA;
	m.idtr.limit = 0;
	step();
	assert_true(m.shutdown);
	assert_int_equal(m.gpr[REG_RIP], CODE);
	/* #UD is benign: a fault in its delivery is handled serially, with EXT set. */
	machine_protected(0);
	LAY(CODE, 0x0f, 0x0b);
	idt_set(EXC_UD, DATA32, 0xe, 0, 0);
	step();
	assert_int_equal(m.gpr[REG_RIP], HANDLER + EXC_GP * 16);
	assert_int_equal(peek32((uint32_t)m.gpr[REG_RSP]), DATA32 | 1);
	/* #PF during #PF: #DF; CR2 is the second address. */
	machine_long(3);
	poke64(TABLES + 0x3000 + (DATA >> 12) * 8, 0);
	poke64(TABLES + 0x3000 + ((STACK0 - 8) >> 12) * 8, 0);
	idt_set(EXC_DF, CODE64, 0xe, 0, 1);
	LAY(CODE, 0x8b, 0x00);
	m.gpr[REG_RAX] = DATA;
	step();
	assert_int_equal(m.gpr[REG_RIP], HANDLER + EXC_DF * 16);
	assert_int_equal(m.gpr[REG_RSP], STACK_IST - 48);
	assert_int_equal(m.cr2, STACK0 - 8);
}

static void real_mode_interrupt(void **state)
{
	machine_real();
	poke32(0x21 * 4, 0x2000 << 16 | 0x345);
	cpu_set_rflags(&m, 0x202 | FLAG_TF | FLAG_AC);
	expect_ok(RUN(0xcd, 0x21));
	assert_int_equal(m.seg[SEG_CS].base, 0x20000);
	assert_int_equal(m.gpr[REG_RIP], 0x345);
	assert_int_equal(m.rflags & (FLAG_IF | FLAG_TF | FLAG_AC), 0);
	assert_int_equal(peek32(0x8000 - 6), 2 | (CODE >> 4) << 16);
	assert_int_equal(peek32(0x8000 - 2) & 0xffff, 0x302);
	expect_ok(RUN(0xcf));
	assert_int_equal(m.gpr[REG_RIP], 2);
	m.idtr.limit = 0x21 * 4 + 2;
	assert_int_equal(RUN(0xcd, 0x21), EXC_GP);
}

static void v86_round_trip(void **state)
{
	machine_v86(0);
	m.seg[SEG_GS].selector = 0x4444;
	assert_int_equal(RUN(0xcd, 0x21), EXC_GP); /* INT n needs IOPL 3 */
	LAST_ERROR = 0;
	assert_int_equal(RUN(0xfa), EXC_GP);
	assert_int_equal(RUN(0x9c), EXC_GP);
	assert_int_equal(RUN(0x9d), EXC_GP);
	assert_int_equal(RUN(0xcf), EXC_GP);
	assert_int_equal(RUN(0x0f, 0x00, 0xc0), EXC_UD); /* SLDT */
	expect_ok(RUN(0xcc)); /* INT3 does not ask */
	assert_int_equal(m.cpl, 0);
	assert_false(cpu_v86(&m));
	uint32_t sp = (uint32_t)m.gpr[REG_RSP];
	assert_int_equal(sp, STACK0 - 36);
	assert_int_equal(peek32(sp + 4), CODE >> 4);
	assert_int_equal(peek32(sp + 8), FLAG_VM | 2);
	assert_int_equal(peek32(sp + 12), 0x1000);
	assert_int_equal(peek32(sp + 16), DATA >> 4);
	assert_int_equal(peek32(sp + 20), DATA >> 4); /* ES */
	assert_int_equal(peek32(sp + 32), 0x4444);    /* GS */
	assert_int_equal(m.seg[SEG_DS].attributes, 0);
	expect_ok(RUN(0xcf));
	assert_true(cpu_v86(&m));
	assert_int_equal(m.cpl, 3);
	assert_int_equal(m.seg[SEG_CS].base, CODE);
	assert_int_equal(m.seg[SEG_GS].base, 0x44440);
	assert_int_equal(m.seg[SEG_SS].limit, 0xffff);
	assert_int_equal(m.gpr[REG_RSP], 0x1000);
	assert_int_equal(m.code_mode, ISA_MODE_16);
	/* With IOPL 3 the flags instructions and INT n work; the handler must be at level 0. */
	machine_v86(3);
	expect_ok(RUN(0xfb));
	expect_ok(RUN(0x9c));
	expect_ok(RUN(0x9d));
	expect_ok(RUN(0xcd, 0x80));
	assert_int_equal(m.cpl, 0);
	machine_v86(3);
	idt_set(0x80, CONFORMING, 0xe, 3, 0);
	expect_fault(EXC_GP, CONFORMING, RUN(0xcd, 0x80));
	idt_set(0x80, CODE1, 0xe, 3, 0);
	expect_fault(EXC_GP, CODE1, RUN(0xcd, 0x80));
	/* IRET inside V86 leaves IOPL. */
	machine_v86(3);
	poke32(DATA + 0x1000, 0x500 | (CODE >> 4) << 16);
	poke32(DATA + 0x1004, 0x0202);
	expect_ok(RUN(0xcf));
	assert_int_equal(m.rflags & (FLAG_IOPL | FLAG_IF | FLAG_VM), 0x3000 | FLAG_IF | FLAG_VM);
	assert_int_equal(m.gpr[REG_RIP], 0x500);
}

static void fill_task2(uint32_t eflags)
{
	static const uint16_t segments[6] = { UDATA32 | 3, UCODE32 | 3, UDATA32 | 3, UDATA32 | 3, 0, 0 };
	poke32(TSS2 + 0x1c, m.cr3);
	poke32(TSS2 + 0x20, 0x12345);
	poke32(TSS2 + 0x24, eflags);
	for (unsigned n = 0; n < 8; n++)
		poke32(TSS2 + 0x28 + 4 * n, 0x1000 * (n + 1));
	for (unsigned n = 0; n < 6; n++)
		poke32(TSS2 + 0x48 + 4 * n, segments[n]);
	poke32(TSS2 + 0x60, LDT_SEL);
}

static void task_call_and_iret(void **state)
{
	machine_protected(0);
	fill_task2(2 | FLAG_CF);
	m.gpr[REG_RBX] = 0xb0b0;
	poke32(CODE, 0);
	expect_ok(RUN(0x9a, 0, 0, 0, 0, TSS2_SEL, 0));
	assert_int_equal(m.cpl, 3);
	assert_int_equal(m.gpr[REG_RIP], 0x12345);
	assert_int_equal(m.gpr[REG_RBX], 0x4000);
	assert_int_equal(m.seg[SEG_CS].selector, UCODE32 | 3);
	assert_int_equal(m.seg[SEG_FS].attributes, 0);
	assert_int_equal(m.seg[SEG_TR].selector, TSS2_SEL);
	assert_true(m.rflags & FLAG_NT);
	assert_true(m.cr0 & CR0_TS);
	assert_int_equal(peek32(TSS2) & 0xffff, TSS_SEL); /* back link */
	assert_int_equal(gdt_get(TSS2_SEL) >> 40 & 0xf, 0xb);
	assert_int_equal(gdt_get(TSS_SEL) >> 40 & 0xf, 0xb);
	assert_int_equal(peek32(TSS + 0x20), CODE + 7);
	assert_int_equal(peek32(TSS + 0x34), 0xb0b0);
	assert_int_equal(peek32(TSS + 0x4c) & 0xffff, CODE32);
	/* IRET with NT goes back. */
	poke32(TSS + 0x1c, m.cr3);
	expect_ok(RUN(0xcf));
	assert_int_equal(m.cpl, 0);
	assert_int_equal(m.gpr[REG_RIP], CODE + 7);
	assert_int_equal(m.gpr[REG_RBX], 0xb0b0);
	assert_int_equal(gdt_get(TSS2_SEL) >> 40 & 0xf, 9);
	assert_int_equal(peek32(TSS2 + 0x24) & FLAG_NT, 0);
	assert_false(m.rflags & FLAG_NT);
}

static void task_jump_and_gate(void **state)
{
	machine_protected(0);
	fill_task2(2);
	poke32(TSS2 + 0x64, 1); /* T: debug trap on arrival */
	expect_ok(RUN(0xea, 0, 0, 0, 0, TSS2_SEL, 0));
	assert_int_equal(gdt_get(TSS_SEL) >> 40 & 0xf, 9);
	assert_false(m.rflags & FLAG_NT);
	assert_int_equal(m.db_pending, 0x8000);
	/* Through a task gate, by an exception with an error code: it lands on the new stack. */
	machine_protected(0);
	fill_task2(2);
	gate_set(IDT + EXC_NP * 8, 0, TSS2_SEL, 5, 0, 0);
	LAY(CODE, 0x8e, 0xd8);
	m.gpr[REG_RAX] = ABSENT_DATA;
	step();
	assert_int_equal(m.gpr[REG_RIP], 0x12345);
	assert_int_equal(m.gpr[REG_RSP], 0x5000 - 4);
	assert_int_equal(peek32(0x5000 - 4), ABSENT_DATA);
	assert_int_equal(peek32(TSS + 0x20), CODE);
	assert_true(m.rflags & FLAG_NT);
	/* From a virtual-8086 task and to one. */
	machine_protected(0);
	fill_task2(FLAG_VM | 2);
	poke32(TSS2 + 0x20, 0x1234);
	expect_ok(RUN(0xea, 0, 0, 0, 0, TSS2_SEL, 0));
	assert_true(cpu_v86(&m));
	assert_int_equal(m.seg[SEG_CS].base, (UCODE32 | 3) << 4);
}

static void task_checks(void **state)
{
	machine_protected(0);
	fill_task2(2);
	gdt_set(TSS2_SEL, TSS2, 0x66, 0x89, 0);
	expect_fault(EXC_TS, TSS2_SEL, RUN(0xea, 0, 0, 0, 0, TSS2_SEL, 0)); /* too short */
	gdt_set(TSS2_SEL, TSS2, 0x67, 0x09, 0);
	expect_fault(EXC_NP, TSS2_SEL, RUN(0xea, 0, 0, 0, 0, TSS2_SEL, 0));
	gdt_set(TSS2_SEL, TSS2, 0x67, 0x8b, 0);
	expect_fault(EXC_GP, TSS2_SEL, RUN(0xea, 0, 0, 0, 0, TSS2_SEL, 0)); /* busy */
	gate_set(GDT + TASK_GATE_SEL, 0, TSS2_SEL, 5, 0, 0);
	expect_fault(EXC_GP, TSS2_SEL, RUN(0x9a, 0, 0, 0, 0, TASK_GATE_SEL, 0));
	m.rflags |= FLAG_NT;
	poke32(TSS, TSS2_SEL);
	gdt_set(TSS2_SEL, TSS2, 0x67, 0x89, 0);
	expect_fault(EXC_TS, TSS2_SEL, RUN(0xcf)); /* the back link must be busy */
	assert_int_equal(m.gpr[REG_RIP], CODE);
	/* A bad segment faults in the new task, with #TS. */
	machine_protected(0);
	fill_task2(2);
	poke32(TSS2 + 0x54, DATA32);
	expect_fault(EXC_TS, DATA32, RUN(0xea, 0, 0, 0, 0, TSS2_SEL, 0));
	assert_int_equal(m.gpr[REG_RIP], 0x12345);
	assert_int_equal(m.seg[SEG_TR].selector, TSS2_SEL);
	machine_protected(0);
	fill_task2(2);
	poke32(TSS2 + 0x4c, 0);
	expect_fault(EXC_TS, 0, RUN(0xea, 0, 0, 0, 0, TSS2_SEL, 0));
}

static void task_16bit(void **state)
{
	machine_protected(0);
	gdt_set(TSS2_SEL, TSS2, 0x2b, 0x81, 0);
	poke32(TSS2 + 0x0e, 0x1234 | 2 << 16);
	poke32(TSS2 + 0x12, 0xaaaa);
	poke32(TSS2 + 0x1a, 0x7000);
	poke32(TSS2 + 0x22, DATA16 | CODE16 << 16);
	poke32(TSS2 + 0x26, DATA16 | DATA16 << 16);
	expect_ok(RUN(0x9a, 0, 0, 0, 0, TSS2_SEL, 0));
	assert_int_equal(m.gpr[REG_RIP], 0x1234);
	assert_int_equal(m.gpr[REG_RAX] & 0xffff, 0xaaaa);
	assert_int_equal(m.gpr[REG_RSP] & 0xffff, 0x7000);
	assert_int_equal(m.code_mode, ISA_MODE_16);
	expect_ok(RUN(0xcf)); /* and back to the 32-bit task */
	assert_int_equal(m.gpr[REG_RIP], CODE + 7);
}

/* --- Between instructions --- */

static int pending_vector;

static bool fake_pending(void *opaque)
{
	return pending_vector >= 0;
}

static int fake_acknowledge(void *opaque)
{
	int v = pending_vector;
	pending_vector = -1;
	return v;
}

static uint64_t fake_get_cr8(void *opaque)
{
	return 5;
}

static void fake_set_cr8(void *opaque, uint64_t value)
{
}

static int fake_msr(void *opaque, uint32_t msr, uint64_t *value)
{
	return -1;
}

static int fake_write_msr(void *opaque, uint32_t msr, uint64_t value)
{
	return -1;
}

static void fake_init(void *opaque)
{
}

static const struct intc_ops fake_ops = {
	.pending = fake_pending, .acknowledge = fake_acknowledge, .get_cr8 = fake_get_cr8, .set_cr8 = fake_set_cr8,
	.read_msr = fake_msr, .write_msr = fake_write_msr, .init = fake_init,
};

static void interrupt(int vector)
{
	m.intc.ops = &fake_ops;
	pending_vector = vector;
	cpu_pins_template.signal(&m, CPU_SIGNAL_INTR, 0);
}

static void interrupts_and_shadows(void **state)
{
	machine_protected(0);
	LAY(CODE, 0x90, 0xfb, 0x90, 0x90);
	interrupt(0x30);
	step(); /* NOP: IF is clear */
	assert_int_equal(m.gpr[REG_RIP], CODE + 1);
	step(); /* STI */
	step(); /* the instruction in its shadow */
	assert_int_equal(m.gpr[REG_RIP], CODE + 3);
	step();
	assert_int_equal(peek32((uint32_t)m.gpr[REG_RSP]), CODE + 3);
	assert_in_range(m.gpr[REG_RIP], HANDLER + 0x300, HANDLER + 0x30f);
	/* MOV SS holds back NMIs too. */
	machine_protected(0);
	LAY(CODE, 0x8e, 0xd0, 0x90, 0x90);
	m.gpr[REG_RAX] = DATA32;
	step();
	cpu_pins_template.signal(&m, CPU_SIGNAL_NMI, 0);
	step();
	assert_int_equal(m.gpr[REG_RIP], CODE + 3);
	step();
	assert_int_equal(peek32((uint32_t)m.gpr[REG_RSP]), CODE + 3);
	assert_true(m.nmi_blocked);
	/* A second NMI waits for IRET. */
	cpu_pins_template.signal(&m, CPU_SIGNAL_NMI, 0);
	LAY((uint32_t)m.gpr[REG_RIP], 0x90, 0xcf);
	step();
	step();
	assert_int_equal(m.gpr[REG_RIP], CODE + 3);
	step();
	assert_true(m.nmi_blocked);
}

static void halt_and_wake(void **state)
{
	machine_protected(0);
	LAY(CODE, 0xfb, 0xf4, 0x90);
	interrupt(-1);
	step();
	step();
	assert_true(m.halted);
	step(); /* nothing: stays */
	assert_int_equal(m.gpr[REG_RIP], CODE + 2);
	interrupt(0x31);
	step();
	assert_false(m.halted);
	assert_int_equal(peek32((uint32_t)m.gpr[REG_RSP]), CODE + 2);
	machine_protected(3);
	expect_fault(EXC_GP, 0, RUN(0xf4));
}

static void init_and_sipi(void **state)
{
	machine_protected(0);
	m.index = 1;
	m.lstar = 0x1234;
	m.cr0 = (m.cr0 | CR0_CD) & ~CR0_NW;
	cpu_pins_template.signal(&m, CPU_SIGNAL_INIT, 0);
	step();
	assert_true(m.wait_for_sipi);
	assert_int_equal(m.cr0, CR0_CD | CR0_ET);
	assert_int_equal(m.lstar, 0x1234);
	assert_int_equal(m.seg[SEG_CS].base, 0xffff0000);
	cpu_pins_template.signal(&m, CPU_SIGNAL_SIPI, 0x12);
	LAY(0x12000, 0x90);
	step();
	assert_false(m.wait_for_sipi);
	assert_int_equal(m.seg[SEG_CS].selector, 0x1200);
	assert_int_equal(m.gpr[REG_RIP], 1);
	cpu_pins_template.signal(&m, CPU_SIGNAL_SIPI, 0x34);
	step(); /* a running processor ignores it */
	assert_int_equal(m.seg[SEG_CS].selector, 0x1200);
}

static void single_step(void **state)
{
	machine_protected(0);
	LAY(CODE, 0x9d, 0x90, 0x90); /* popf that sets TF: the trap follows the next instruction */
	poke32((uint32_t)m.gpr[REG_RSP], 2 | FLAG_TF);
	step();
	step();
	assert_int_equal(m.gpr[REG_RIP], CODE + 2);
	LAY(HANDLER + EXC_DB * 16, 0x90);
	step();
	assert_int_equal(m.gpr[REG_RIP], HANDLER + EXC_DB * 16 + 1);
	assert_int_equal(peek32((uint32_t)m.gpr[REG_RSP]), CODE + 2);
	assert_int_equal(peek32((uint32_t)m.gpr[REG_RSP] + 8), 2 | FLAG_TF);
	assert_int_equal(m.dr[6] & 0x4000, 0x4000);
	assert_false(m.rflags & FLAG_TF);
}

static void code_breakpoint(void **state)
{
	machine_protected(0);
	LAY(CODE, 0x90, 0x90, 0x90);
	m.dr[0] = CODE + 1;
	cpu_set_rflags(&m, 2);
	m.gpr[REG_RAX] = 0x401;
	m.gpr[REG_RIP] = 0x11000;
	expect_ok(RUN(0x0f, 0x23, 0xf8)); /* mov dr7, eax: L0 */
	m.gpr[REG_RIP] = CODE;
	step();
	assert_int_equal(m.gpr[REG_RIP], CODE + 1);
	LAY(HANDLER + EXC_DB * 16, 0x90);
	step();
	assert_int_equal(peek32((uint32_t)m.gpr[REG_RSP]), CODE + 1);
	assert_int_equal(m.dr[6] & 0xf, 1);
	/* With RF set by IRET the instruction runs, and RF goes. */
	poke32((uint32_t)m.gpr[REG_RSP] + 8, 2 | FLAG_RF);
	LAY((uint32_t)m.gpr[REG_RIP], 0xcf);
	step();
	assert_int_equal(m.gpr[REG_RIP], CODE + 1);
	assert_true(m.rflags & FLAG_RF);
	step();
	assert_int_equal(m.gpr[REG_RIP], CODE + 2);
	step();
	assert_int_equal(m.gpr[REG_RIP], CODE + 3);
	assert_false(m.rflags & FLAG_RF);
}

static void data_and_io_breakpoints(void **state)
{
	machine_protected(0);
	m.cr4 |= CR4_DE;
	m.dr[1] = DATA + 4;
	m.gpr[REG_RAX] = 0x400 | 0x4 | 0x1u << 20 | 0x3u << 22; /* L1, write, 4 bytes */
	expect_ok(RUN(0x0f, 0x23, 0xf8));
	m.gpr[REG_RIP] = CODE;
	LAY(CODE, 0xa1, 4, 0, 4, 0, 0xa2, 7, 0, 4, 0, 0x90); /* read; write of the last byte */
	step();
	assert_int_equal(m.db_pending, 0);
	step();
	assert_int_equal(m.db_pending, 2);
	step();
	assert_int_equal(peek32((uint32_t)m.gpr[REG_RSP]), CODE + 10); /* a trap: after the instruction */
	assert_int_equal(m.dr[6] & 0xf, 2);
	/* Port 0x60. */
	machine_protected(0);
	m.cr4 |= CR4_DE;
	m.dr[2] = 0x60;
	m.dr[7] = 0x400 | 0x10 | 0x2u << 24;
	expect_ok(RUN(0xe4, 0x61));
	assert_int_equal(m.db_pending, 0);
	expect_ok(RUN(0xe4, 0x60));
	assert_int_equal(m.db_pending, 4);
}

static void debug_register_access(void **state)
{
	machine_protected(0);
	m.dr[7] |= 0x2000; /* GD */
	expect_fault(EXC_DB, 0, RUN(0x0f, 0x21, 0xc0));
	assert_int_equal(m.db_pending, 0x2000);
	machine_protected(0);
	LAY(CODE, 0x0f, 0x21, 0xc0);
	m.dr[7] |= 0x2000;
	step();
	assert_int_equal(m.dr[7] & 0x2000, 0); /* delivery clears GD */
	assert_int_equal(m.dr[6] & 0x2000, 0x2000);
	machine_protected(0);
	m.gpr[REG_RAX] = 0xffffffff;
	expect_ok(RUN(0x0f, 0x23, 0xe0)); /* DR4 is DR6 */
	assert_int_equal(m.dr[6], 0xffffeff0 | 0xf);
	m.cr4 |= CR4_DE;
	assert_int_equal(RUN(0x0f, 0x23, 0xe0), EXC_UD);
	machine_protected(3);
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x23, 0xf8));
	machine_long(0);
	m.gpr[REG_RAX] = 1ull << 32;
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x23, 0xf8));
	expect_ok(RUN(0x0f, 0x23, 0xc0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(int_n_checks),
		cmocka_unit_test(int_from_user_32),
		cmocka_unit_test(faults_push_rf_and_error),
		cmocka_unit_test(long_mode_frame),
		cmocka_unit_test(page_fault_pushes_and_cr2),
		cmocka_unit_test(supervisor_stack_pushes),
		cmocka_unit_test(double_and_triple_fault),
		cmocka_unit_test(real_mode_interrupt),
		cmocka_unit_test(v86_round_trip),
		cmocka_unit_test(task_call_and_iret),
		cmocka_unit_test(task_jump_and_gate),
		cmocka_unit_test(task_checks),
		cmocka_unit_test(task_16bit),
		cmocka_unit_test(interrupts_and_shadows),
		cmocka_unit_test(halt_and_wake),
		cmocka_unit_test(init_and_sipi),
		cmocka_unit_test(single_step),
		cmocka_unit_test(code_breakpoint),
		cmocka_unit_test(data_and_io_breakpoints),
		cmocka_unit_test(debug_register_access),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
