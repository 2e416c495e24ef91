/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/util.h"
#include "cpu/access.h"
#include "cpu/flags.h"
#include "system_machine.h"

/* Segment registers and far transfers: the exception conditions of the manual's operation sections, with error codes. */


static int mov_to(unsigned seg, unsigned selector)
{
	m.gpr[REG_RAX] = selector;
	return RUN(0x8e, (uint8_t)(0xc0 | seg << 3));
}

static void mov_data_segment(void **state)
{
	static const struct {
		unsigned cpl, selector;
		int vector;
		unsigned error;
	} cases[] = {
		{ 0, 0, OK, 0 }, { 0, 3, OK, 0 }, { 3, 0, OK, 0 },
		{ 0, DATA32, OK, 0 }, { 0, UDATA32, OK, 0 }, { 0, READ_ONLY, OK, 0 }, { 0, CODE32, OK, 0 },
		{ 0, DATA32 | 1, EXC_GP, DATA32 },       /* RPL > DPL */
		{ 3, DATA32, EXC_GP, DATA32 },           /* CPL > DPL */
		{ 3, CONFORMING | 3, OK, 0 },            /* readable conforming code: any level */
		{ 3, UDATA32 | 3, OK, 0 },
		{ 0, EXECUTE_ONLY, EXC_GP, EXECUTE_ONLY },
		{ 0, TSS2_SEL, EXC_GP, TSS2_SEL },       /* system descriptor */
		{ 0, GDT_SIZE, EXC_GP, GDT_SIZE },       /* beyond the limit */
		{ 0, 0x1000 | 4, EXC_GP, 0x1004 },       /* beyond the LDT */
		{ 0, ABSENT_DATA, EXC_NP, ABSENT_DATA },
		{ 3, ABSENT_DATA | 3, EXC_GP, ABSENT_DATA }, /* the level comes before presence */
	};
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		machine_protected(cases[n].cpl);
		int got = mov_to(SEG_ES, cases[n].selector);
		assert_int_equal(got, cases[n].vector);
		if (got == OK)
			assert_int_equal(m.seg[SEG_ES].selector, cases[n].selector);
		else
			assert_int_equal(LAST_ERROR, cases[n].error);
		assert_int_equal(m.gpr[REG_RIP], got == OK ? CODE + 2 : CODE);
	}
}

static void mov_stack_segment(void **state)
{
	static const struct {
		unsigned cpl, selector;
		int vector;
		unsigned error;
	} cases[] = {
		{ 0, 0, EXC_GP, 0 }, { 0, DATA32, OK, 0 }, { 0, DATA32 | 3, EXC_GP, DATA32 },
		{ 0, UDATA32 | 3, EXC_GP, UDATA32 },
		{ 3, UDATA32 | 3, OK, 0 }, { 3, DATA32 | 3, EXC_GP, DATA32 }, { 0, READ_ONLY, EXC_GP, READ_ONLY },
		{ 0, CODE32, EXC_GP, CODE32 }, { 0, ABSENT_STACK, EXC_SS, ABSENT_STACK }, { 0, EXPAND_DOWN, OK, 0 },
		{ 0, GDT_SIZE + 8, EXC_GP, GDT_SIZE + 8 },
	};
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		machine_protected(cases[n].cpl);
		int got = mov_to(SEG_SS, cases[n].selector);
		assert_int_equal(got, cases[n].vector);
		if (got != OK)
			assert_int_equal(LAST_ERROR, cases[n].error);
		assert_int_equal(m.interrupt_shadow, got == OK);
	}
	machine_protected(0);
	assert_int_equal(RUN(0x8e, 0xc8), EXC_UD); /* MOV CS */
	/* Null SS is for 64-bit code below level 3 with RPL == CPL. */
	machine_long(0);
	expect_ok(mov_to(SEG_SS, 0));
	expect_fault(EXC_GP, 0, mov_to(SEG_SS, 3));
	machine_long(3);
	expect_fault(EXC_GP, 0, mov_to(SEG_SS, 3));
}

static void accessed_bit_and_bases(void **state)
{
	machine_protected(0);
	gdt_set(SCRATCH, 0x12345678, 0x1234, 0x92, 4);
	expect_ok(mov_to(SEG_FS, SCRATCH));
	assert_int_equal(gdt_get(SCRATCH) >> 40 & 0xff, 0x93);
	assert_int_equal(m.seg[SEG_FS].base, 0x12345678);
	assert_int_equal(m.seg[SEG_FS].limit, 0x1234);
	assert_int_equal(m.segment_base[SEG_FS], 0x12345678);
	/* The LDT. */
	poke64(LDT + 8, gdt_get(UDATA32) & ~BIT64(40));
	expect_ok(mov_to(SEG_GS, 8 | 4));
	assert_int_equal(peek64(LDT + 8) >> 40 & 1, 1);
	/* A null selector makes the segment unusable: #GP(0) on access. */
	expect_ok(mov_to(SEG_GS, 0));
	expect_fault(EXC_GP, 0, RUN(0x65, 0xa1, 0, 0, 0, 0));
	/* Long mode: DS has no base, FS has; a null selector clears it. */
	machine_long(0);
	gdt_set(SCRATCH, 0x1000, 0xfffff, 0x92, 0xc);
	expect_ok(mov_to(SEG_DS, SCRATCH));
	expect_ok(mov_to(SEG_FS, SCRATCH));
	assert_int_equal(m.segment_base[SEG_DS], 0);
	assert_int_equal(m.segment_base[SEG_FS], 0x1000);
	expect_ok(mov_to(SEG_FS, 0));
	assert_int_equal(m.segment_base[SEG_FS], 0);
}

/* A descriptor half below 4 GiB and half above it: the system's addresses do not end there in compatibility mode. */
static void tables_cross_4_gib_in_long_mode(void **state)
{
	const uint32_t low = 0x200000, page_directory = TABLES + 0x10000;
	machine_compat(0);
	poke64(TABLES + 0x1000 + 8 * 3, page_directory | 7);
	poke64(TABLES + 0x1000 + 8 * 4, page_directory | 7);
	poke64(page_directory, low | 0x87);             /* 4 GiB */
	poke64(page_directory + 8 * 511, low | 0x87);   /* 4 GiB - 2 MiB */
	uint64_t descriptor = gdt_get(DATA32) & ~0xff0000ull; /* base 0 */
	poke32(low + 0x1ffffc, (uint32_t)descriptor);
	poke32(low, (uint32_t)(descriptor >> 32));
	m.gdtr = (struct table_register){ 0xfffffffcull - DATA32, GDT_SIZE - 1 };
	expect_ok(mov_to(SEG_ES, DATA32));
	assert_int_equal(m.seg[SEG_ES].limit, 0xffffffff);
	/* What a program of 32 bits computes does end there. */
	poke32(0, 0x44332211);
	poke32(low + 0x1ffffc, 0x88776655);
	expect_ok(RUN(0xa1, 0xfe, 0xff, 0xff, 0xff)); /* mov eax, [0xfffffffe] */
	assert_int_equal(m.gpr[REG_RAX], 0x22118877);
	/* Beyond the canonical half there is nothing. */
	m.gdtr.base = 0x7ffffffffffc - DATA32;
	expect_fault(EXC_GP, 0, mov_to(SEG_ES, DATA32));
}

static void limits_and_types_on_access(void **state)
{
	machine_protected(0);
	expect_ok(mov_to(SEG_ES, READ_ONLY));
	expect_ok(RUN(0x26, 0xa1, 0, 0, 4, 0));
	expect_fault(EXC_GP, 0, RUN(0x26, 0xa3, 0, 0, 4, 0));
	expect_ok(mov_to(SEG_ES, EXPAND_DOWN)); /* valid above 0xffff */
	expect_fault(EXC_GP, 0, RUN(0x26, 0xa1, 0xff, 0xff, 0, 0));
	expect_ok(RUN(0x26, 0xa1, 0, 0, 1, 0));
	expect_ok(mov_to(SEG_ES, DATA16));
	expect_fault(EXC_GP, 0, RUN(0x26, 0xa1, 0xfd, 0xff, 0, 0));
	expect_ok(RUN(0x26, 0xa1, 0xfc, 0xff, 0, 0));
	/* Through SS it is #SS(0). */
	expect_ok(mov_to(SEG_SS, DATA16));
	expect_fault(EXC_SS, 0, RUN(0x36, 0xa1, 0xfd, 0xff, 0, 0));
	/* Real mode has the 64 KiB limit. */
	machine_real();
	assert_int_equal(RUN(0xa1, 0xff, 0xff), EXC_GP);
	/* After protected mode the limit stays ("big real mode"). */
	m.seg[SEG_DS] = (struct segment){ .limit = 0xffffffff, .attributes = 0xc093 };
	expect_ok(RUN(0x31, 0xc0));
	expect_ok(mov_to(SEG_DS, 0x10));
	assert_int_equal(m.seg[SEG_DS].base, 0x100);
	assert_int_equal(m.seg[SEG_DS].limit, 0xffffffff);
	expect_ok(RUN(0x67, 0xa1, 0, 0, 8, 0));
}

static void lds_and_pop(void **state)
{
	machine_protected(0);
	poke32(DATA, 0x11223344);
	poke32(DATA + 4, UDATA32);
	expect_ok(RUN(0xc4, 0x1d, 0, 0, 4, 0)); /* les ebx, [DATA] */
	assert_int_equal(m.gpr[REG_RBX], 0x11223344);
	assert_int_equal(m.seg[SEG_ES].selector, UDATA32);
	poke32(DATA + 4, EXECUTE_ONLY);
	expect_fault(EXC_GP, EXECUTE_ONLY, RUN(0xc4, 0x0d, 0, 0, 4, 0));
	assert_int_equal(m.gpr[REG_RCX], 0);
	/* POP: RSP moves only when the load succeeds. */
	uint64_t rsp = m.gpr[REG_RSP];
	poke32((uint32_t)rsp, ABSENT_DATA);
	expect_fault(EXC_NP, ABSENT_DATA, RUN(0x1f));
	assert_int_equal(m.gpr[REG_RSP], rsp);
	poke32((uint32_t)rsp, UDATA32);
	expect_ok(RUN(0x1f));
	assert_int_equal(m.gpr[REG_RSP], rsp + 4);
	/* PUSH writes two bytes of four. */
	poke32((uint32_t)rsp, 0xaaaaaaaa);
	expect_ok(RUN(0x1e));
	assert_int_equal(peek32((uint32_t)rsp), 0xaaaa0000 | UDATA32);
}

static void lldt_ltr(void **state)
{
	machine_protected(0);
	m.gpr[REG_RAX] = 0;
	expect_ok(RUN(0x0f, 0x00, 0xd0)); /* lldt ax */
	assert_int_equal(m.seg[SEG_LDTR].attributes, 0);
	expect_fault(EXC_GP, 4, mov_to(SEG_ES, 4)); /* no LDT, nothing in it */
	m.gpr[REG_RAX] = DATA32;
	expect_fault(EXC_GP, DATA32, RUN(0x0f, 0x00, 0xd0));
	m.gpr[REG_RAX] = LDT_SEL | 4;
	expect_fault(EXC_GP, LDT_SEL | 4, RUN(0x0f, 0x00, 0xd0));
	gdt_set(SCRATCH, LDT, 0xff, 0x02, 0);
	m.gpr[REG_RAX] = SCRATCH;
	expect_fault(EXC_NP, SCRATCH, RUN(0x0f, 0x00, 0xd0));
	m.gpr[REG_RAX] = LDT_SEL;
	expect_ok(RUN(0x0f, 0x00, 0xd0));
	m.gpr[REG_RAX] = 0;
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x00, 0xd8)); /* ltr 0 */
	m.gpr[REG_RAX] = TSS_SEL; /* busy */
	expect_fault(EXC_GP, TSS_SEL, RUN(0x0f, 0x00, 0xd8));
	m.gpr[REG_RAX] = TSS2_SEL;
	expect_ok(RUN(0x0f, 0x00, 0xd8));
	assert_int_equal(gdt_get(TSS2_SEL) >> 40 & 0xff, 0x8b);
	assert_int_equal(m.seg[SEG_TR].base, TSS2);
	/* Long mode: 16-byte descriptors, with type 0 in the upper half. */
	machine_long(0);
	gdt_set(SCRATCH, LDT, 0xff, 0x82, 0);
	poke64(GDT + SCRATCH + 8, 0xffff8000);
	m.gpr[REG_RAX] = SCRATCH;
	expect_ok(RUN(0x0f, 0x00, 0xd0));
	assert_true(m.seg[SEG_LDTR].base == 0xffff800000000000ull + LDT);
	poke64(GDT + SCRATCH + 8, 0x0000060000000000);
	expect_fault(EXC_GP, SCRATCH, RUN(0x0f, 0x00, 0xd0));
	machine_protected(3);
	expect_fault(EXC_GP, 0, RUN(0x0f, 0x00, 0xd0));
	machine_real();
	assert_int_equal(RUN(0x0f, 0x00, 0xd0), EXC_UD);
}

static int far_direct(uint8_t opcode, unsigned selector, uint32_t offset)
{
	uint8_t bytes[7] = { opcode };
	store_le32(bytes + 1, offset);
	store_le16(bytes + 5, (uint16_t)selector);
	return run_bytes(bytes, sizeof(bytes));
}

static int far_jump(unsigned selector, uint32_t offset)
{
	return far_direct(0xea, selector, offset);
}

static int far_call(unsigned selector, uint32_t offset)
{
	return far_direct(0x9a, selector, offset);
}

/* JMP and CALL share the conditions. */
static void jump_and_call_checks(void **state)
{
	static const struct {
		unsigned cpl, selector;
		uint32_t offset;
		int vector;
		unsigned error;
	} cases[] = {
		{ 0, CODE32, 0x100, OK, 0 }, { 0, 0, 0, EXC_GP, 0 }, { 0, GDT_SIZE, 0, EXC_GP, GDT_SIZE },
		{ 0, DATA32, 0, EXC_GP, DATA32 },
		{ 0, LDT_SEL, 0, EXC_GP, LDT_SEL }, { 0, UCODE32, 0, EXC_GP, UCODE32 },
		{ 0, CODE32 | 3, 0, EXC_GP, CODE32 },
		{ 3, CODE32 | 3, 0, EXC_GP, CODE32 }, { 3, UCODE32, 0x100, OK, 0 }, { 3, CONFORMING, 0x100, OK, 0 },
		{ 0, ABSENT_CODE, 0, EXC_NP, ABSENT_CODE }, { 0, CODE16, 0x10000, EXC_GP, 0 },
		{ 0, TSS_SEL, 0, EXC_GP, TSS_SEL },
		{ 3, TSS2_SEL, 0, EXC_GP, TSS2_SEL },
	};
	for (unsigned n = 0; n < 2 * ARRAY_SIZE(cases); n++) {
		unsigned k = n / 2, cpl = cases[k].cpl;
		machine_protected(cpl);
		uint64_t rsp = m.gpr[REG_RSP];
		int got = n & 1 ? far_call(cases[k].selector, cases[k].offset) : far_jump(cases[k].selector, cases[k].offset);
		assert_int_equal(got, cases[k].vector);
		if (got != OK) {
			assert_int_equal(LAST_ERROR, cases[k].error);
			assert_int_equal(m.gpr[REG_RIP], CODE);
			assert_int_equal(m.gpr[REG_RSP], rsp);
			continue;
		}
		assert_int_equal(m.gpr[REG_RIP], cases[k].offset);
		assert_int_equal(m.seg[SEG_CS].selector, (cases[k].selector & ~3u) | cpl);
		assert_int_equal(m.cpl, cpl);
		if (n & 1) {
			assert_int_equal(m.gpr[REG_RSP], rsp - 8);
			assert_int_equal(peek32((uint32_t)rsp - 8), CODE + 7);
			assert_int_equal(peek32((uint32_t)rsp - 4), (cpl == 3 ? UCODE32 : CODE32) | cpl);
		}
	}
}

static void call_gate_inner(void **state)
{
	machine_protected(3);
	gate_set(GDT + GATE, 0x20000, CODE32, 0xc, 3, 2); /* two parameters */
	poke32(STACK3, 0x11);
	poke32(STACK3 + 4, 0x22);
	expect_ok(far_call(GATE | 3, 0xdead));
	assert_int_equal(m.cpl, 0);
	assert_int_equal(m.seg[SEG_SS].selector, DATA32);
	assert_int_equal(m.gpr[REG_RIP], 0x20000);
	uint32_t sp = STACK0 - 24;
	assert_int_equal(m.gpr[REG_RSP], sp);
	assert_int_equal(peek32(sp), CODE + 7);
	assert_int_equal(peek32(sp + 4), UCODE32 | 3);
	assert_int_equal(peek32(sp + 8), 0x11);
	assert_int_equal(peek32(sp + 12), 0x22);
	assert_int_equal(peek32(sp + 16), STACK3);
	assert_int_equal(peek32(sp + 20), UDATA32 | 3);
	/* RETF 8 goes back and drops the parameters on both stacks; DS of level 0 becomes null. */
	expect_ok(mov_to(SEG_DS, DATA32));
	expect_ok(mov_to(SEG_ES, CONFORMING));
	expect_ok(RUN(0xca, 8, 0));
	assert_int_equal(m.cpl, 3);
	assert_int_equal(m.gpr[REG_RSP], STACK3 + 8);
	assert_int_equal(m.gpr[REG_RIP], CODE + 7);
	assert_int_equal(m.seg[SEG_DS].selector, 0);
	assert_int_equal(m.seg[SEG_DS].attributes, 0);
	assert_int_equal(m.seg[SEG_ES].selector, CONFORMING);
}

static void call_gate_checks(void **state)
{
	machine_protected(3);
	gate_set(GDT + GATE, 0x20000, CODE32, 0xc, 0, 0);
	expect_fault(EXC_GP, GATE, far_call(GATE | 3, 0)); /* gate DPL < CPL */
	gate_set(GDT + GATE, 0x20000, CODE32, 0xc, 3, 0);
	gdt_raw(GATE, gdt_get(GATE) & ~BIT64(47));
	expect_fault(EXC_NP, GATE, far_call(GATE | 3, 0));
	gate_set(GDT + GATE, 0x20000, 0, 0xc, 3, 0);
	expect_fault(EXC_GP, 0, far_call(GATE | 3, 0));
	gate_set(GDT + GATE, 0x20000, DATA32, 0xc, 3, 0);
	expect_fault(EXC_GP, DATA32, far_call(GATE | 3, 0));
	gate_set(GDT + GATE, 0x20000, ABSENT_CODE, 0xc, 3, 0);
	expect_fault(EXC_NP, ABSENT_CODE, far_call(GATE | 3, 0));
	gate_set(GDT + GATE, 0x20000, CODE32, 0xc, 3, 0);
	expect_fault(EXC_GP, CODE32, far_jump(GATE | 3, 0)); /* JMP may not change the level */
	/* Bad inner stacks: #TS with the SS selector, #SS when not present. */
	poke32(TSS + 8, 0);
	expect_fault(EXC_TS, 0, far_call(GATE | 3, 0));
	poke32(TSS + 8, READ_ONLY);
	expect_fault(EXC_TS, READ_ONLY, far_call(GATE | 3, 0));
	poke32(TSS + 8, DATA32 | 3);
	expect_fault(EXC_TS, DATA32, far_call(GATE | 3, 0));
	poke32(TSS + 8, GDT_SIZE);
	expect_fault(EXC_TS, GDT_SIZE, far_call(GATE | 3, 0));
	poke32(TSS + 8, ABSENT_STACK);
	expect_fault(EXC_SS, ABSENT_STACK, far_call(GATE | 3, 0));
	poke32(TSS + 8, DATA16);
	poke32(TSS + 4, 4); /* wraps below zero: 16-bit stack of 64 KiB holds it */
	expect_ok(far_call(GATE | 3, 0));
	machine_protected(3);
	gate_set(GDT + GATE, 0x20000, CODE32, 0xc, 3, 0);
	gdt_set(SCRATCH, 0, 0xff, 0x93, 4);
	poke32(TSS + 8, SCRATCH);
	poke32(TSS + 4, 0x200); /* beyond the limit of the new stack */
	expect_fault(EXC_SS, SCRATCH, far_call(GATE | 3, 0));
	m.seg[SEG_TR].limit = 8; /* SS0 is outside the TSS */
	expect_fault(EXC_TS, TSS_SEL, far_call(GATE | 3, 0));
	assert_int_equal(m.cpl, 3);
	assert_int_equal(m.gpr[REG_RSP], STACK3);
}

static void call_gate_16_and_same_level(void **state)
{
	machine_protected(0);
	gate_set(GDT + GATE, 0xabcd1234, CODE16, 4, 0, 0);
	uint32_t sp = (uint32_t)m.gpr[REG_RSP];
	expect_ok(far_call(GATE, 0));
	assert_int_equal(m.gpr[REG_RIP], 0x1234);
	assert_int_equal(m.gpr[REG_RSP], sp - 4);
	assert_int_equal(peek32(sp - 4), (CODE + 7) % 0x10000 | CODE32 << 16);
	assert_int_equal(m.code_mode, ISA_MODE_16);
	/* In a JMP through a gate nothing is pushed. */
	machine_protected(0);
	gate_set(GDT + GATE, 0x5678, CODE32, 0xc, 0, 0);
	expect_ok(far_jump(GATE, 0));
	assert_int_equal(m.gpr[REG_RIP], 0x5678);
	assert_int_equal(m.gpr[REG_RSP], STACK0 - 0x100);
}

static void call_gate_long(void **state)
{
	machine_long(3);
	gate_set(GDT + GATE, 0x20000, CODE64, 0xc, 3, 0);
	poke32(DATA, 0);
	poke32(DATA + 4, GATE | 3);
	m.gpr[REG_RAX] = DATA;
	expect_ok(RUN(0xff, 0x18)); /* call far [rax] */
	assert_int_equal(m.cpl, 0);
	assert_int_equal(m.code_mode, ISA_MODE_64);
	assert_int_equal(m.gpr[REG_RSP], STACK0 - 32);
	assert_int_equal(peek64(STACK0 - 32), CODE + 2);
	assert_int_equal(peek64(STACK0 - 24), UCODE64 | 3);
	assert_int_equal(peek64(STACK0 - 16), STACK3);
	assert_int_equal(peek64(STACK0 - 8), UDATA32 | 3);
	assert_int_equal(m.seg[SEG_SS].selector, 0);
	expect_ok(RUN(0x48, 0xcb)); /* retfq */
	assert_int_equal(m.cpl, 3);
	assert_int_equal(m.gpr[REG_RSP], STACK3);
	/* The target must be 64-bit code, the upper half's type zero, TSS descriptors do not work. */
	gate_set(GDT + GATE, 0x20000, CODE32, 0xc, 3, 0);
	m.gpr[REG_RAX] = DATA;
	expect_fault(EXC_GP, CODE32, RUN(0xff, 0x18));
	gate_set(GDT + GATE, 0x20000, CODE64, 0xc, 3, 0);
	poke64(GDT + GATE + 8, 0x0000010000000000);
	expect_fault(EXC_GP, GATE, RUN(0xff, 0x18));
	poke32(DATA + 4, TSS2_SEL);
	expect_fault(EXC_GP, TSS2_SEL, RUN(0xff, 0x18));
	gate_set(GDT + GATE, 0x0001000000000000ull, CODE64, 0xc, 3, 0);
	poke32(DATA + 4, GATE);
	expect_fault(EXC_GP, 0, RUN(0xff, 0x18)); /* not canonical */
}

static void push_frame32(const uint32_t *values, unsigned count)
{
	m.gpr[REG_RSP] -= 4 * count;
	for (unsigned n = 0; n < count; n++)
		poke32((uint32_t)m.gpr[REG_RSP] + 4 * n, values[n]);
}

#define PUSH32(...) push_frame32((const uint32_t[]){ __VA_ARGS__ }, sizeof((uint32_t[]){ __VA_ARGS__ }) / 4)

static void return_checks(void **state)
{
	static const struct {
		unsigned cpl;
		uint32_t eip, cs, esp, ss;
		int vector;
		unsigned error;
	} cases[] = {
		{ 0, 0x500, CODE32, 0, 0, OK, 0 }, { 0, 0, 0, 0, 0, EXC_GP, 0 },
		{ 0, 0, GDT_SIZE, 0, 0, EXC_GP, GDT_SIZE },
		{ 0, 0, DATA32, 0, 0, EXC_GP, DATA32 }, { 3, 0, CODE32, 0, 0, EXC_GP, CODE32 },
		{ 0, 0, CODE32 | 3, 0, 0, EXC_GP, CODE32 },
		{ 0, 0, UCODE32, 0, 0, EXC_GP, UCODE32 }, { 0, 0, ABSENT_CODE, 0, 0, EXC_NP, ABSENT_CODE },
		{ 0, 0x10000, CODE16, 0, 0, EXC_GP, 0 }, { 0, 0x500, UCODE32 | 3, 0x700, UDATA32 | 3, OK, 0 },
		{ 0, 0x500, UCODE32 | 3, 0x700, 0, EXC_GP, 0 },
		{ 0, 0x500, UCODE32 | 3, 0x700, DATA32 | 3, EXC_GP, DATA32 },
		{ 0, 0x500, UCODE32 | 3, 0x700, UDATA32, EXC_GP, UDATA32 },
		{ 0, 0x500, UCODE32 | 3, 0x700, UCODE32 | 3, EXC_GP, UCODE32 },
		{ 0, 0x500, CONFORMING | 3, 0x700, UDATA32 | 3, OK, 0 },
		{ 0, 0x500, UCODE32 | 3, 0x700, ABSENT_STACK | 3, EXC_GP, ABSENT_STACK },
	};
	for (unsigned n = 0; n < 2 * ARRAY_SIZE(cases); n++) {
		unsigned k = n / 2;
		machine_protected(cases[k].cpl);
		if (n & 1)
			PUSH32(cases[k].eip, cases[k].cs, 0x202, cases[k].esp, cases[k].ss);
		else
			PUSH32(cases[k].eip, cases[k].cs, cases[k].esp, cases[k].ss);
		uint64_t rsp = m.gpr[REG_RSP];
		int got = n & 1 ? RUN(0xcf) : RUN(0xcb);
		assert_int_equal(got, cases[k].vector);
		if (got != OK) {
			assert_int_equal(LAST_ERROR, cases[k].error);
			assert_int_equal(m.gpr[REG_RSP], rsp);
			continue;
		}
		assert_int_equal(m.seg[SEG_CS].selector, cases[k].cs);
		assert_int_equal(m.gpr[REG_RIP], cases[k].eip);
		assert_int_equal(m.cpl, cases[k].cs & 3);
		assert_int_equal(m.gpr[REG_RSP], cases[k].ss ? cases[k].esp : rsp + (n & 1 ? 12 : 8));
	}
}

static void iret_flags_by_privilege(void **state)
{
	machine_protected(0);
	PUSH32(0x500, UCODE32 | 3, 0x3202 | FLAG_CF | FLAG_AC | FLAG_ID, 0x700, UDATA32 | 3);
	expect_ok(RUN(0xcf));
	assert_int_equal(cpu_get_rflags(&m), 0x3203 | FLAG_AC | FLAG_ID);
	/* At level 3 with IOPL 0 neither IF nor IOPL changes. */
	machine_protected(3);
	m.rflags |= FLAG_IF;
	PUSH32(0x500, UCODE32 | 3, 0x3002 | FLAG_DF);
	expect_ok(RUN(0xcf));
	assert_int_equal(cpu_get_rflags(&m), 0x202 | FLAG_DF);
	/* VM in the image counts at level 0 only. */
	machine_protected(3);
	PUSH32(0x500, UCODE32 | 3, 0x2 | FLAG_VM);
	expect_ok(RUN(0xcf));
	assert_false(cpu_v86(&m));
}

static void iretq(void **state)
{
	machine_long(0);
	uint32_t sp = STACK0 - 0x200;
	const uint64_t frame[] = { 0x5000, UCODE64 | 3, 0x202, 0x123456789abcull, UDATA32 | 3 };
	for (unsigned n = 0; n < 5; n++)
		poke64(sp + 8 * n, frame[n]);
	m.gpr[REG_RSP] = sp;
	expect_ok(RUN(0x48, 0xcf));
	assert_int_equal(m.cpl, 3);
	assert_true(m.gpr[REG_RSP] == 0x123456789abcull);
	assert_int_equal(m.gpr[REG_RIP], 0x5000);
	/* To the same level it pops SS:RSP too. */
	machine_long(0);
	poke64(sp + 8, CODE64);
	poke64(sp + 24, 0x7000);
	poke64(sp + 32, 0);
	m.gpr[REG_RSP] = sp;
	expect_ok(RUN(0x48, 0xcf));
	assert_int_equal(m.gpr[REG_RSP], 0x7000);
	assert_int_equal(m.seg[SEG_SS].selector, 0);
	/* Not canonical: #GP(0) before anything changes; NT: #GP(0). */
	machine_long(0);
	poke64(sp, 0x0000900000000000ull);
	m.gpr[REG_RSP] = sp;
	expect_fault(EXC_GP, 0, RUN(0x48, 0xcf));
	assert_int_equal(m.gpr[REG_RSP], sp);
	m.rflags |= FLAG_NT;
	expect_fault(EXC_GP, 0, RUN(0x48, 0xcf));
	/* To compatibility mode. */
	machine_long(0);
	poke64(sp, 0x5000);
	poke64(sp + 8, UCODE32 | 3);
	poke64(sp + 24, 0x7000);
	poke64(sp + 32, UDATA32 | 3);
	m.gpr[REG_RSP] = sp;
	expect_ok(RUN(0x48, 0xcf));
	assert_int_equal(m.code_mode, ISA_MODE_32);
	/* A stack pointer that is not canonical: #SS(0). */
	machine_long(0);
	m.gpr[REG_RSP] = 0x0000800000000000ull;
	expect_fault(EXC_SS, 0, RUN(0x48, 0xcf));
}

static void nmi_block_ends_with_iret(void **state)
{
	machine_protected(0);
	m.nmi_blocked = true;
	PUSH32(0, 0, 2);
	expect_fault(EXC_GP, 0, RUN(0xcf));
	assert_false(m.nmi_blocked); /* even a faulting one */
}

static void real_mode_transfers(void **state)
{
	machine_real();
	m.gpr[REG_RSP] = 0x100;
	expect_ok(RUN(0x9a, 0x34, 0x12, 0x00, 0x20)); /* call 2000:1234 */
	assert_int_equal(m.seg[SEG_CS].base, 0x20000);
	assert_int_equal(m.gpr[REG_RIP], 0x1234);
	assert_int_equal(m.gpr[REG_RSP], 0xfc);
	expect_ok(RUN(0xcb));
	assert_int_equal(m.seg[SEG_CS].selector, CODE >> 4);
	assert_int_equal(m.gpr[REG_RIP], 5);
	expect_ok(RUN(0xea, 0, 0, 0xff, 0xff));
	assert_int_equal(m.seg[SEG_CS].base, 0xffff0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mov_data_segment),
		cmocka_unit_test(mov_stack_segment),
		cmocka_unit_test(accessed_bit_and_bases),
		cmocka_unit_test(tables_cross_4_gib_in_long_mode),
		cmocka_unit_test(limits_and_types_on_access),
		cmocka_unit_test(lds_and_pop),
		cmocka_unit_test(lldt_ltr),
		cmocka_unit_test(jump_and_call_checks),
		cmocka_unit_test(call_gate_inner),
		cmocka_unit_test(call_gate_checks),
		cmocka_unit_test(call_gate_16_and_same_level),
		cmocka_unit_test(call_gate_long),
		cmocka_unit_test(return_checks),
		cmocka_unit_test(iret_flags_by_privilege),
		cmocka_unit_test(iretq),
		cmocka_unit_test(nmi_block_ends_with_iret),
		cmocka_unit_test(real_mode_transfers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
