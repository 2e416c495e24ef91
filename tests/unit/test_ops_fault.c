/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "base/util.h"
#include "cpu/flags.h"
#include "ops_machine.h"

/*
 * Integer operations that fault: an instruction leaves the state of its start,
 * a repeated string operation that of the failing iteration. And what the
 * comparison with the host cannot cover: other modes, ports, attention.
 */
#define GOOD 0x400000ull
#define BAD 0x401000ull /* not present, or read-only */

#define CODE(...) { __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

struct code {
	const char *text;
	uint8_t bytes[12];
	unsigned length;
};

static struct cpu before;

static void set_up(enum isa_mode mode, unsigned rights)
{
	machine_reset(mode);
	machine_paging();
	machine_set_page(BAD, rights);
	memset(machine.memory->host + GOOD, 0x5a, 0x3000);
	for (unsigned r = 0; r < 16; r++)
		machine.gpr[r] = 0x1111111111111111ull * r;
	machine.cc = CC_CF | CC_SF | CC_OF | 0x200;
	machine.gpr[REG_RSP] = GOOD + 0x800;
}

static int run(const struct code *code)
{
	memcpy(&before, &machine, offsetof(struct cpu, attention));
	before.rflags = machine.rflags;
	return machine_run(code->bytes, code->length);
}

static void assert_unchanged(const char *text)
{
	for (unsigned r = 0; r < 18; r++)
		if (machine.gpr[r] != before.gpr[r])
			fail_msg("%s: register %u was %llx and is %llx", text, r, (unsigned long long)before.gpr[r],
				 (unsigned long long)machine.gpr[r]);
	if (machine.cc != before.cc || machine.rflags != before.rflags)
		fail_msg("%s: flags changed", text);
}

/* Memory operands at [rbx]. */
static const struct code reads_and_writes[] = {
	{ "add [rbx], rax", CODE(0x48, 0x01, 0x03) },
	{ "lock add [rbx], rax", CODE(0xf0, 0x48, 0x01, 0x03) },
	{ "adc dword [rbx], 5", CODE(0x83, 0x13, 0x05) },
	{ "lock sbb dword [rbx], 5", CODE(0xf0, 0x83, 0x1b, 0x05) },
	{ "xchg [rbx], rax", CODE(0x48, 0x87, 0x03) },
	{ "cmpxchg [rbx], rcx", CODE(0x48, 0x0f, 0xb1, 0x0b) },
	{ "lock cmpxchg [rbx], rcx", CODE(0xf0, 0x48, 0x0f, 0xb1, 0x0b) },
	{ "cmpxchg8b [rbx]", CODE(0x0f, 0xc7, 0x0b) },
	{ "lock cmpxchg8b [rbx]", CODE(0xf0, 0x0f, 0xc7, 0x0b) },
	{ "xadd [rbx], rcx", CODE(0x48, 0x0f, 0xc1, 0x0b) },
	{ "lock xadd [rbx], rcx", CODE(0xf0, 0x48, 0x0f, 0xc1, 0x0b) },
	{ "inc dword [rbx]", CODE(0xff, 0x03) },
	{ "lock dec dword [rbx]", CODE(0xf0, 0xff, 0x0b) },
	{ "neg qword [rbx]", CODE(0x48, 0xf7, 0x1b) },
	{ "lock not qword [rbx]", CODE(0xf0, 0x48, 0xf7, 0x13) },
	{ "shl dword [rbx], cl", CODE(0xd3, 0x23) },
	{ "rcr qword [rbx], 3", CODE(0x48, 0xc1, 0x1b, 0x03) },
	{ "shld [rbx], rcx, 3", CODE(0x48, 0x0f, 0xa4, 0x0b, 0x03) },
	{ "bts dword [rbx], 3", CODE(0x0f, 0xba, 0x2b, 0x03) },
	{ "lock btr dword [rbx], 3", CODE(0xf0, 0x0f, 0xba, 0x33, 0x03) },
	{ "mov [rbx], rax", CODE(0x48, 0x89, 0x03) },
	{ "mov dword [rbx], 1", CODE(0xc7, 0x03, 1, 0, 0, 0) },
	{ "movbe [rbx], rax", CODE(0x48, 0x0f, 0x38, 0xf1, 0x03) },
	{ "pop qword [rbx]", CODE(0x8f, 0x03) },
};

static const struct code reads[] = {
	{ "mov rax, [rbx]", CODE(0x48, 0x8b, 0x03) },
	{ "add rax, [rbx]", CODE(0x48, 0x03, 0x03) },
	{ "cmp [rbx], rax", CODE(0x48, 0x39, 0x03) },
	{ "test dword [rbx], 1", CODE(0xf7, 0x03, 1, 0, 0, 0) },
	{ "movsx rax, word [rbx]", CODE(0x48, 0x0f, 0xbf, 0x03) },
	{ "cmovo eax, [rbx]", CODE(0x0f, 0x40, 0x03) },
	{ "cmovno eax, [rbx]", CODE(0x0f, 0x41, 0x03) },
	{ "imul rax, [rbx]", CODE(0x48, 0x0f, 0xaf, 0x03) },
	{ "imul rax, [rbx], 3", CODE(0x48, 0x6b, 0x03, 0x03) },
	{ "mul qword [rbx]", CODE(0x48, 0xf7, 0x23) },
	{ "div qword [rbx]", CODE(0x48, 0xf7, 0x33) },
	{ "bt [rbx], eax", CODE(0x0f, 0xa3, 0x03) },
	{ "bsf rax, [rbx]", CODE(0x48, 0x0f, 0xbc, 0x03) },
	{ "andn rax, rcx, [rbx]", CODE(0xc4, 0xe2, 0xf0, 0xf2, 0x03) },
	{ "push qword [rbx]", CODE(0xff, 0x33) },
	{ "call qword [rbx]", CODE(0xff, 0x13) },
	{ "jmp qword [rbx]", CODE(0xff, 0x23) },
};

static void expect_page_fault(const struct code *code, uint64_t at, uint64_t fault, uint32_t error)
{
	machine.gpr[REG_RBX] = at;
	int vector = run(code);
	if (vector != EXC_PF || machine.cr2 != fault || machine.fault_error != error)
		fail_msg("%s at %llx: vector %d error %x CR2 %llx", code->text, (unsigned long long)at, vector, machine.fault_error,
			 (unsigned long long)machine.cr2);
	assert_unchanged(code->text);
	for (unsigned n = 0; n < 0x1000; n++)
		assert_int_equal(machine.memory->host[GOOD + n], 0x5a);
}

static void memory_operands_restart(void **state)
{
	for (unsigned n = 0; n < ARRAY_SIZE(reads_and_writes); n++) {
		set_up(ISA_MODE_64, 0);
		expect_page_fault(&reads_and_writes[n], BAD + 8, BAD + 8, 2);
		set_up(ISA_MODE_64, 0);
		expect_page_fault(&reads_and_writes[n], BAD - 1, BAD, 2);
		set_up(ISA_MODE_64, MACHINE_PAGE_PRESENT);
		expect_page_fault(&reads_and_writes[n], BAD + 8, BAD + 8, 3);
		set_up(ISA_MODE_64, MACHINE_PAGE_PRESENT);
		expect_page_fault(&reads_and_writes[n], BAD - 1, BAD, 3);
	}
	for (unsigned n = 0; n < ARRAY_SIZE(reads); n++) {
		set_up(ISA_MODE_64, 0);
		machine.gpr[REG_RAX] = 0;
		expect_page_fault(&reads[n], BAD + 8, BAD + 8, 0);
		set_up(ISA_MODE_64, 0);
		machine.gpr[REG_RAX] = 0;
		expect_page_fault(&reads[n], BAD - 1, BAD, 0);
	}
}

/* rsp, rbp: where the stack is when the instruction begins. */
struct stack_code {
	struct code code;
	enum isa_mode mode;
	uint64_t rsp, rbp;
	uint32_t error;
};

static void stack_operations_restart(void **state)
{
	static const struct stack_code codes[] = {
		{ { "push rax", CODE(0x50) }, ISA_MODE_64, BAD + 0x1000, 0, 2 },
		{ { "push 5", CODE(0x6a, 5) }, ISA_MODE_64, BAD + 0x1000, 0, 2 },
		{ { "push rax, crossing", CODE(0x50) }, ISA_MODE_64, BAD + 4, 0, 2 },
		{ { "call rel", CODE(0xe8, 0, 1, 0, 0) }, ISA_MODE_64, BAD + 0x1000, 0, 2 },
		{ { "call rcx", CODE(0xff, 0xd1) }, ISA_MODE_64, BAD + 0x1000, 0, 2 },
		{ { "pop rax", CODE(0x58) }, ISA_MODE_64, BAD, 0, 0 },
		{ { "pop [rsp]", CODE(0x8f, 0x04, 0x24) }, ISA_MODE_64, BAD - 8, 0, 2 },
		{ { "ret", CODE(0xc3) }, ISA_MODE_64, BAD, 0, 0 },
		{ { "ret 8", CODE(0xc2, 8, 0) }, ISA_MODE_64, BAD, 0, 0 },
		{ { "leave", CODE(0xc9) }, ISA_MODE_64, GOOD, BAD, 0 },
		{ { "enter 16, 0", CODE(0xc8, 16, 0, 0) }, ISA_MODE_64, BAD + 0x1000, GOOD, 2 },
		{ { "enter 0, 4: a push", CODE(0xc8, 0, 0, 4) }, ISA_MODE_64, BAD + 0x1000 + 16, GOOD + 0x100, 2 },
		{ { "enter 0, 4: a frame", CODE(0xc8, 0, 0, 4) }, ISA_MODE_64, GOOD + 0x800, BAD + 0x18, 0 },
		{ { "enter 4096, 0: the new top", CODE(0xc8, 0, 0x10, 0) }, ISA_MODE_64, BAD + 0x1800, GOOD, 2 },
		{ { "pusha", CODE(0x60) }, ISA_MODE_32, BAD + 0x1000 + 16, 0, 2 },
		{ { "popa", CODE(0x61) }, ISA_MODE_32, BAD - 16, 0, 0 },
		{ { "pop [esp]", CODE(0x8f, 0x04, 0x24) }, ISA_MODE_32, BAD - 4, 0, 2 },
	};
	for (unsigned n = 0; n < ARRAY_SIZE(codes); n++) {
		set_up(codes[n].mode, 0);
		machine.gpr[REG_RCX] = 0x5000;
		machine.gpr[REG_RSP] = codes[n].rsp;
		machine.gpr[REG_RBP] = codes[n].rbp;
		int vector = run(&codes[n].code);
		if (vector != EXC_PF || machine.fault_error != codes[n].error)
			fail_msg("%s: vector %d error %x", codes[n].code.text, vector, machine.fault_error);
		assert_unchanged(codes[n].code.text);
	}
}

/* --- Strings --- */

struct string_code {
	struct code code;
	uint64_t rsi, rdi;
	bool down;
	unsigned done; /* iterations before the fault */
	int rsi_step, rdi_step;
};

static void strings_stop_at_the_failing_iteration(void **state)
{
	static const struct string_code codes[] = {
		{ { "rep movsb", CODE(0xf3, 0xa4) }, GOOD, BAD - 10, false, 10, 1, 1 },
		{ { "rep movsb, source", CODE(0xf3, 0xa4) }, BAD - 10, GOOD, false, 10, 1, 1 },
		{ { "rep movsd, crossing", CODE(0xf3, 0xa5) }, GOOD, BAD - 10, false, 2, 4, 4 },
		{ { "rep movsq down", CODE(0xf3, 0x48, 0xa5) }, GOOD + 0x800, BAD + 0x1018, true, 4, -8, -8 },
		{ { "rep stosb", CODE(0xf3, 0xaa) }, 0, BAD - 7, false, 7, 0, 1 },
		{ { "rep stosq, crossing", CODE(0xf3, 0x48, 0xab) }, 0, BAD - 20, false, 2, 0, 8 },
		{ { "rep lodsw", CODE(0x66, 0xf3, 0xad) }, BAD - 6, 0, false, 3, 2, 0 },
		{ { "repe cmpsb", CODE(0xf3, 0xa6) }, GOOD, BAD - 5, false, 5, 1, 1 },
		{ { "repne scasb", CODE(0xf2, 0xae) }, 0, BAD - 9, false, 9, 0, 1 },
	};
	for (unsigned n = 0; n < ARRAY_SIZE(codes); n++) {
		const struct string_code *s = &codes[n];
		set_up(ISA_MODE_64, 0);
		machine.gpr[REG_RAX] = 0;
		machine.gpr[REG_RSI] = s->rsi;
		machine.gpr[REG_RDI] = s->rdi;
		machine.gpr[REG_RCX] = 100;
		machine.rflags |= s->down ? FLAG_DF : 0;
		int vector = run(&s->code);
		if (vector != EXC_PF || machine.gpr[REG_RCX] != 100 - s->done || machine.gpr[REG_RIP] != before.gpr[REG_RIP] ||
		    machine.gpr[REG_RSI] != s->rsi + (uint64_t)(s->rsi_step * (int)s->done) ||
		    machine.gpr[REG_RDI] != s->rdi + (uint64_t)(s->rdi_step * (int)s->done))
			fail_msg("%s: vector %d rcx %llu rsi %llx rdi %llx", s->code.text, vector, (unsigned long long)machine.gpr[REG_RCX],
				 (unsigned long long)machine.gpr[REG_RSI], (unsigned long long)machine.gpr[REG_RDI]);
	}
}

static void strings_give_way_to_attention(void **state)
{
	static const struct code code = { "rep lodsb", CODE(0xf3, 0xac) };
	set_up(ISA_MODE_64, 0);
	machine.memory->host[GOOD + 6] = 3;
	machine.gpr[REG_RSI] = GOOD;
	machine.gpr[REG_RCX] = 7;
	machine.attention = ATTN_KICK;
	for (unsigned n = 1; n < 7; n++) {
		assert_int_equal(run(&code), RUN_OK);
		assert_int_equal(machine.gpr[REG_RCX], 7 - n);
		assert_int_equal(machine.gpr[REG_RIP], before.gpr[REG_RIP]);
	}
	assert_int_equal(run(&code), RUN_OK);
	assert_int_equal(machine.gpr[REG_RIP], before.gpr[REG_RIP] + 2);
	assert_int_equal(machine.gpr[REG_RSI], GOOD + 7);
	assert_int_equal(machine.gpr[REG_RAX] & 0xff, 3);
}

/* Overlapping forward copies spread the first elements, over page borders and in chunks alike. */
static void movs_overlaps_as_bytes(void **state)
{
	static const struct code code = { "rep movsb", CODE(0xf3, 0xa4) };
	set_up(ISA_MODE_64, MACHINE_PAGE_PRESENT | MACHINE_PAGE_WRITABLE);
	uint8_t *ram = machine.memory->host;
	memcpy(ram + GOOD + 0xf00, "abc", 3);
	machine.gpr[REG_RSI] = GOOD + 0xf00;
	machine.gpr[REG_RDI] = GOOD + 0xf03;
	machine.gpr[REG_RCX] = 0x600;
	assert_int_equal(run(&code), RUN_OK);
	assert_int_equal(machine.gpr[REG_RCX], 0);
	for (unsigned n = 0; n < 0x603; n++)
		assert_int_equal(ram[GOOD + 0xf00 + n], "abc"[n % 3]);
	assert_int_equal(ram[GOOD + 0xf00 + 0x603], 0x5a);
}

/* With 16-bit addresses SI, DI and CX wrap and the rest of the registers stays. */
static void movs_wraps_at_the_address_size(void **state)
{
	static const struct code code = { "rep movsb, 16-bit addresses", CODE(0x67, 0xf3, 0xa4) };
	set_up(ISA_MODE_32, 0);
	uint8_t *ram = machine.memory->host;
	memcpy(ram + 0xfffe, "xy", 2);
	memcpy(ram, "zw", 2);
	machine.gpr[REG_RSI] = 0x12340000 + 0xfffe;
	machine.gpr[REG_RDI] = 0x56780000 + 0x8000;
	machine.gpr[REG_RCX] = 0x9abc0004;
	assert_int_equal(run(&code), RUN_OK);
	assert_memory_equal(ram + 0x8000, "xyzw", 4);
	assert_int_equal(machine.gpr[REG_RSI], 0x12340002);
	assert_int_equal(machine.gpr[REG_RDI], 0x56788004);
	assert_int_equal(machine.gpr[REG_RCX], 0x9abc0000);
}

/* --- Ports --- */

static unsigned port_reads;

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
	return 0x10 + port_reads++;
}

static uint64_t port_written;

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	port_written = port_written << 8 | value;
}

static struct io_space ports;

static void set_up_port(void)
{
	static const struct io_ops ops = { port_read, port_write, 1 };
	static struct io_region region = { .name = "port", .ops = &ops, .base = 0x77, .size = 1 };
	struct error err;
	if (!ports.limit) {
		assert_int_equal(io_space_init(&ports, 0x10000, &err), 0);
		assert_int_equal(io_space_map(&ports, &region, &err), 0);
	}
	machine.pio = &ports;
	machine.gpr[REG_RDX] = 0x77;
	port_reads = 0;
	port_written = 0;
}

static void port_strings(void **state)
{
	static const struct code ins = { "rep insb", CODE(0xf3, 0x6c) }, outs = { "rep outsb", CODE(0xf3, 0x6e) };
	set_up(ISA_MODE_64, 0);
	set_up_port();
	machine.gpr[REG_RDI] = BAD - 3;
	machine.gpr[REG_RCX] = 9;
	assert_int_equal(run(&ins), EXC_PF);
	assert_int_equal(machine.gpr[REG_RCX], 6);
	assert_int_equal(port_reads, 3); /* nothing is lost to the fault */
	assert_memory_equal(machine.memory->host + BAD - 3, "\x10\x11\x12", 3);
	machine.gpr[REG_RSI] = BAD - 3;
	machine.gpr[REG_RCX] = 3;
	assert_int_equal(run(&outs), RUN_OK);
	assert_int_equal(port_written, 0x101112);
	machine.cpl = 3;
	machine.gpr[REG_RCX] = 1;
	assert_int_equal(run(&outs), EXC_GP);
	assert_unchanged(outs.text);
	assert_int_equal(port_written, 0x101112);
}

/* --- Other faults --- */

struct fault_code {
	struct code code;
	enum isa_mode mode;
	uint64_t rbx;
	int vector;
};

static void other_faults_restart(void **state)
{
	static const struct fault_code codes[] = {
		{ { "mov rax, [non-canonical]", CODE(0x48, 0x8b, 0x03) }, ISA_MODE_64, 0x800000000000, EXC_GP },
		{ { "mov [non-canonical], rax", CODE(0x48, 0x89, 0x03) }, ISA_MODE_64, 0x7ffffffffffc, EXC_GP },
		{ { "jmp rbx", CODE(0xff, 0xe3) }, ISA_MODE_64, 0x800000000000, EXC_GP },
		{ { "call rbx", CODE(0xff, 0xd3) }, ISA_MODE_64, 0xffff000000000000, EXC_GP },
		{ { "cmpxchg16b, misaligned", CODE(0x48, 0x0f, 0xc7, 0x0b) }, ISA_MODE_64, GOOD + 8, EXC_GP },
		{ { "lock cmpxchg16b, misaligned", CODE(0xf0, 0x48, 0x0f, 0xc7, 0x0b) }, ISA_MODE_64, BAD + 8, EXC_GP },
		{ { "div rbx by 0", CODE(0x48, 0xf7, 0xf3) }, ISA_MODE_64, 0, EXC_DE },
		{ { "div ebx, overflow", CODE(0xf7, 0xf3) }, ISA_MODE_64, 1, EXC_DE },
		{ { "idiv bl by 0", CODE(0xf6, 0xfb) }, ISA_MODE_64, 0, EXC_DE },
		{ { "idiv rbx, overflow", CODE(0x48, 0xf7, 0xfb) }, ISA_MODE_64, 1, EXC_DE },
		{ { "ud2", CODE(0x0f, 0x0b) }, ISA_MODE_64, 0, EXC_UD },
		{ { "aam 0", CODE(0xd4, 0) }, ISA_MODE_32, 0, EXC_DE },
		{ { "bound eax, [ebx]", CODE(0x62, 0x03) }, ISA_MODE_32, GOOD, EXC_BR },
		{ { "jmp ebx beyond CS", CODE(0xff, 0xe3) }, ISA_MODE_32, 0x20000, EXC_GP },
		{ { "jmp rel beyond CS", CODE(0xe9, 0, 0, 1, 0) }, ISA_MODE_32, 0, EXC_GP },
		{ { "loop beyond CS", CODE(0xe2, 0x80) }, ISA_MODE_32, 0, EXC_GP },
	};
	for (unsigned n = 0; n < ARRAY_SIZE(codes); n++) {
		set_up(codes[n].mode, 0);
		machine.seg[SEG_CS].limit = 0xffff;
		machine.gpr[REG_RIP] = n + 1 == ARRAY_SIZE(codes) ? 0x10 : 0x1000;
		machine.gpr[REG_RAX] = 0;
		machine.gpr[REG_RBX] = codes[n].rbx;
		int vector = run(&codes[n].code);
		if (vector != codes[n].vector || machine.fault_error)
			fail_msg("%s: vector %d error %x", codes[n].code.text, vector, machine.fault_error);
		assert_unchanged(codes[n].code.text);
	}
}

static void non_canonical_stack_is_ss(void **state)
{
	static const struct code codes[] = { { "push rax", CODE(0x50) }, { "pop rax", CODE(0x58) }, { "ret", CODE(0xc3) },
					     { "call rel", CODE(0xe8, 0, 0, 0, 0) } };
	for (unsigned n = 0; n < ARRAY_SIZE(codes); n++) {
		set_up(ISA_MODE_64, 0);
		machine.gpr[REG_RSP] = 0x900000000000;
		assert_int_equal(run(&codes[n]), EXC_SS);
		assert_unchanged(codes[n].text);
	}
}

/* A locked access that faulted has let the bus lock go; one that crosses a page is done under it. */
static void locked_access_over_a_page_border(void **state)
{
	static const struct code add = { "lock add [rbx], rax", CODE(0xf0, 0x48, 0x01, 0x03) },
				 xchg = { "xchg [rbx], rax", CODE(0x48, 0x87, 0x03) };
	set_up(ISA_MODE_64, MACHINE_PAGE_PRESENT | MACHINE_PAGE_WRITABLE);
	uint8_t *at = machine.memory->host + BAD - 3;
	alarm(20); /* a lock kept would hang */
	store_le64(at, 5);
	machine.gpr[REG_RBX] = BAD - 3;
	machine.gpr[REG_RAX] = 0x100000000000;
	assert_int_equal(run(&add), RUN_OK);
	assert_int_equal(load_le64(at), 0x100000000005);
	machine.gpr[REG_RAX] = 9;
	assert_int_equal(run(&xchg), RUN_OK);
	assert_int_equal(machine.gpr[REG_RAX], 0x100000000005);
	assert_int_equal(load_le64(at), 9);
	assert_false(machine.bus_lock_held);
	alarm(0);
}

/* --- What 64-bit mode does not have --- */

/* The examples of the manual (SDM 2A, DAA and DAS), and each branch of the others. */
static void decimal_adjustments(void **state)
{
	static const struct {
		uint8_t bytes[2];
		uint16_t ax, cc, ax_after, cc_after;
	} cases[] = {
		{ { 0x27 }, 0xae, 0, 0x14, CC_CF | CC_AF | CC_PF },
		{ { 0x27 }, 0x09, CC_CF, 0x69, CC_CF | CC_PF },
		{ { 0x2f }, 0xee, CC_CF | CC_AF, 0x88, CC_CF | CC_AF | CC_SF | CC_PF },
		{ { 0x2f }, 0x03, CC_AF, 0xfd, CC_CF | CC_AF | CC_SF },
		{ { 0x37 }, 0x010b, 0, 0x0201, CC_CF | CC_AF },
		{ { 0x37 }, 0x01f5, 0, 0x0105, CC_PF },
		{ { 0x3f }, 0x020b, 0, 0x0105, CC_CF | CC_AF | CC_PF },
		{ { 0x3f }, 0x0003, CC_AF, 0xfe0d, CC_CF | CC_AF },
		{ { 0xd4, 10 }, 0x1263, 0, 0x0909, CC_PF },
		{ { 0xd5, 10 }, 0x0203, 0, 0x0017, CC_PF },
		{ { 0xd6 }, 0x1200, CC_CF, 0x12ff, CC_CF },
	};
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		set_up(ISA_MODE_32, 0);
		machine.gpr[REG_RAX] = 0x76540000u | cases[n].ax;
		machine.cc = cases[n].cc | 0x200;
		assert_int_equal(machine_run(cases[n].bytes, 2), RUN_OK);
		assert_int_equal(machine.gpr[REG_RAX], 0x76540000u | cases[n].ax_after);
		assert_int_equal(machine.cc & ~0x200, cases[n].cc_after);
	}
}

static void pusha_and_popa(void **state)
{
	static const struct code pusha = { "pusha", CODE(0x60) }, popa = { "popa", CODE(0x61) };
	set_up(ISA_MODE_32, 0);
	for (unsigned r = 0; r < 8; r++)
		machine.gpr[r] = r == REG_RSP ? GOOD + 0x100 : 0xa0000000u + r;
	assert_int_equal(run(&pusha), RUN_OK);
	assert_int_equal(machine.gpr[REG_RSP], GOOD + 0x100 - 32);
	assert_int_equal(load_le32(machine.memory->host + GOOD + 0x100 - 20), GOOD + 0x100); /* ESP as it was */
	for (unsigned r = 0; r < 8; r++)
		machine.gpr[r] = r == REG_RSP ? machine.gpr[r] : 0;
	assert_int_equal(run(&popa), RUN_OK);
	for (unsigned r = 0; r < 8; r++)
		assert_int_equal(machine.gpr[r], r == REG_RSP ? GOOD + 0x100 : 0xa0000000u + r);
}

/* A 16-bit stack wraps within 64 KiB and leaves the upper half of ESP alone. */
static void sixteen_bit_stack(void **state)
{
	static const struct code push = { "push eax", CODE(0x66, 0x50) }, pop = { "pop cx", CODE(0x59) },
				 jmp = { "jmp short", CODE(0xeb, 0x10) };
	set_up(ISA_MODE_16, 0);
	machine.seg[SEG_SS].base = machine.segment_base[SEG_SS] = GOOD;
	machine.gpr[REG_RSP] = 0x12340000;
	machine.gpr[REG_RAX] = 0x89abcdef;
	assert_int_equal(run(&push), RUN_OK);
	assert_int_equal(machine.gpr[REG_RSP], 0x1234fffc);
	assert_int_equal(load_le32(machine.memory->host + GOOD + 0xfffc), 0x89abcdef);
	machine.gpr[REG_RCX] = 0;
	assert_int_equal(run(&pop), RUN_OK);
	assert_int_equal(machine.gpr[REG_RCX], 0xcdef);
	assert_int_equal(machine.gpr[REG_RSP], 0x1234fffe);
	machine.gpr[REG_RIP] = 0xfff8;
	assert_int_equal(run(&jmp), RUN_OK);
	assert_int_equal(machine.gpr[REG_RIP], 0xa); /* IP wraps */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_operands_restart),
		cmocka_unit_test(stack_operations_restart),
		cmocka_unit_test(strings_stop_at_the_failing_iteration),
		cmocka_unit_test(strings_give_way_to_attention),
		cmocka_unit_test(movs_overlaps_as_bytes),
		cmocka_unit_test(movs_wraps_at_the_address_size),
		cmocka_unit_test(port_strings),
		cmocka_unit_test(other_faults_restart),
		cmocka_unit_test(non_canonical_stack_is_ss),
		cmocka_unit_test(locked_access_over_a_page_border),
		cmocka_unit_test(decimal_adjustments),
		cmocka_unit_test(pusha_and_popa),
		cmocka_unit_test(sixteen_bit_stack),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
