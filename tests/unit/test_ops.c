/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <sys/mman.h>

#include "base/util.h"
#include "cpu/cpuid.h"
#include "cpu/flags.h"
#include "diff_open.h"
#include "hostrun.h"
#include "isa/op.h"
#include "isa/table.h"
#include "ops_machine.h"

/*
 * Every integer operation that user mode may run on the host, in 64-bit mode:
 * opcodes are enumerated with all prefixes that matter and random ModRM, SIB,
 * registers, flags and memory. Guest and host have their memory at the same
 * addresses; registers, all flags, RIP and memory must agree.
 */
#define WINDOW 0x10000000ull /* four pages of data, on both sides */
#define WINDOW_SIZE 0x4000u

static uint64_t seed = 0x9e3779b97f4a7c15ull;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull;
}

static unsigned below(unsigned n)
{
	return (unsigned)(rnd() >> 33) % n;
}

/* Values in which carries, signs and shift counts have something to bite on. */
static uint64_t value(void)
{
	static const uint64_t edges[] = { 0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
		0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0x100000000 };
	switch (below(6)) {
	case 0: return edges[below(ARRAY_SIZE(edges))];
	case 1: return below(70);
	case 2: return -(uint64_t)below(70);
	case 3: return rnd() >> below(64);
	default: return rnd();
	}
}

static uint8_t *guest_window(void)
{
	return machine.memory->host + WINDOW;
}

static uint64_t window_address(unsigned room)
{
	unsigned at = below(8) ? 0x1800 + below(256) : 0x2000 - below(room + 8);
	return WINDOW + at;
}

static void fill_window(void)
{
	uint8_t *w = guest_window();
	bool alike = !below(4); /* then REPE CMPS and SCAS come far */
	uint64_t fill = value();
	for (unsigned at = 0x1700; at < 0x2200; at += 8)
		store_le64(w + at, alike && at != 0x2008 ? fill & 0x0001000100010001 : value());
	memcpy((void *)WINDOW, w, WINDOW_SIZE);
}

/* --- One case --- */

struct test_case {
	uint8_t bytes[24];
	unsigned length;
	struct insn insn;
};

static bool is_string(unsigned op)
{
	return op >= OP_MOVS && op <= OP_OUTS;
}

static struct cpu *host_cpu; /* its features and its maker */

static bool host_has(const struct isa_row *row)
{
	return cpu_has(host_cpu, (enum isa_feature)row->feature);
}

/* What the host does not have, would not allow, cannot repeat, or has other values for. */
static bool excluded(const struct insn *i)
{
	if (!host_has(&isa_rows[i->row]))
		return true;
	/* SYSCALL and its like must never reach the host. */
	if (i->op < OP_ADD || i->op > OP_CLZERO)
		return true;
	/* AMD gives near branches a 16-bit form in 64-bit mode, Intel does not; F3 E0 is LOOPE on some processors. */
	if ((i->prefixes & (PREFIX_66 | PREFIX_REP | PREFIX_REPNE)) && ((i->op >= OP_JCC && i->op <= OP_JCXZ)))
		return true;
	/* 0F 0D with a register: a NOP on Intel, #UD on AMD. */
	if (i->map == 1 && i->opcode == 0x0d && !i->memory)
		return true;
	switch (i->op) {
	case OP_INS: case OP_OUTS:
	case OP_RDRAND: case OP_RDSEED: case OP_RDPID:
	case OP_SERIALIZE: case OP_MOVDIRI: case OP_MOVDIR64B:
		return true;
	default:
		return i->seg == SEG_FS || i->seg == SEG_GS;
	}
}

/* Relative branches stay inside hostrun's INT3 area, and off the bytes behind the instruction. */
static bool tame_branch(struct test_case *t)
{
	struct insn *i = &t->insn;
	if (i->operand[0].kind != OPERAND_REL)
		return true;
	if (i->map == 1 || (i->opcode & 0xfe) == 0xe8) { /* 32 bits */
		int32_t target = (int32_t)below(7000) + 64;
		store_le32(t->bytes + i->length - 4, (uint32_t)(below(2) ? target : -target));
		isa_decode(i, t->bytes, sizeof t->bytes, ISA_MODE_64);
	}
	return (int64_t)i->imm > 20 || (int64_t)i->imm < -40;
}

/* Sets base or index so that the operand lies in the window; false when no choice does that. */
static bool aim(struct cpu *c, const struct insn *i)
{
	if (!i->memory)
		return true;
	unsigned size = i->operand[i->memory - 1].size ? i->operand[i->memory - 1].size : 8;
	uint64_t target = window_address(size), index = 0;
	if (i->op == OP_CMPXCHG16B && below(8))
		target &= ~15ull;
	if (i->op == OP_MOV && i->map == 0 && (i->opcode & 0xfc) == 0xa0)
		return i->imm >= WINDOW + 0x1000 && i->imm < WINDOW + 0x3000;
	if (i->base == REG_RIP || i->base == i->index)
		return false;
	if (i->index != REG_NONE)
		index = c->gpr[i->index] << i->scale;
	uint64_t disp = (uint64_t)(int64_t)i->disp;
	if (i->base == REG_NONE) {
		uint64_t a = (index + disp) & size_mask(i->adsize);
		return a >= WINDOW + 0x1000 && a < WINDOW + 0x3000;
	}
	c->gpr[i->base] = target - index - disp;
	if (i->adsize == 4)
		c->gpr[i->base] = (uint32_t)c->gpr[i->base] | rnd() << 32;
	return true;
}

/* Registers with a meaning of their own. */
static bool prepare_implicit(struct cpu *c, const struct insn *i)
{
	uint64_t high = i->adsize == 4 ? rnd() << 32 : 0;
	if (is_string(i->op) || i->op == OP_CLZERO) {
		c->gpr[REG_RSI] = window_address(64) | high;
		c->gpr[REG_RDI] = (below(4) ? window_address(64) : c->gpr[REG_RSI] + below(32)) | high;
		c->gpr[REG_RCX] = below(40) | high;
		if (i->op == OP_CLZERO)
			c->gpr[REG_RAX] = window_address(64) | high;
		if (below(2))
			c->rflags |= FLAG_DF;
	}
	if (i->op == OP_XLAT)
		c->gpr[REG_RBX] = window_address(256) | high;
	if (i->op == OP_LEAVE || i->op == OP_ENTER)
		c->gpr[REG_RBP] = window_address(8);
	if (i->op >= OP_LOOP && i->op <= OP_JCXZ && below(2))
		c->gpr[REG_RCX] = below(3) | high;
	if ((i->op == OP_DIV || i->op == OP_IDIV) && below(4))
		c->gpr[REG_RDX] = below(2) ? 0 : (uint64_t)((int64_t)(c->gpr[REG_RAX] << (64 - 8 * MAX(i->opsize, 2))) >> 63);
	if (i->op >= OP_BT && i->op <= OP_BTC && i->memory && i->operand[1].kind == OPERAND_GPR) {
		unsigned r = i->operand[1].reg;
		if (r == i->base || r == i->index)
			return false;
		int64_t bit = (int64_t)below(4096) - 2048;
		c->gpr[r] = i->opsize == 8 ? (uint64_t)bit : ((uint64_t)bit & size_mask(i->opsize)) | rnd() << (i->opsize * 8);
	}
	return true;
}

/* Indirect branches and RET go to the INT3 area. */
static void prepare_target(struct cpu *c, const struct insn *i)
{
	uint64_t target = hostrun_base() + 64 + below(4096);
	if (i->op == OP_RET)
		store_le64(guest_window() + (c->gpr[REG_RSP] - WINDOW), target);
	if ((i->op != OP_JMP && i->op != OP_CALL) || i->operand[0].kind == OPERAND_REL)
		return;
	if (i->memory)
		store_le64(guest_window() + ((c->gpr[i->base] + (c->gpr[i->index] << i->scale) + (uint64_t)(int64_t)i->disp) &
					     size_mask(i->adsize)) - WINDOW, target);
	else
		c->gpr[i->operand[0].reg] = target;
}

static bool in_window(uint64_t a)
{
	return a >= WINDOW + 0x800 && a < WINDOW + WINDOW_SIZE - 0x800;
}

static bool prepare(struct test_case *t)
{
	struct cpu *c = &machine;
	struct insn *i = &t->insn;
	fill_window();
	for (unsigned r = 0; r < 16; r++)
		c->gpr[r] = value();
	if (is_string(i->op) && below(2))
		c->gpr[REG_RAX] = load_le64(guest_window() + 0x1f00);
	c->gpr[REG_RSP] = window_address(8);
	c->gpr[REG_RIP] = hostrun_base();
	c->cc = cc_from_rflags(rnd());
	c->rflags = 2;
	if ((i->op == OP_CMPXCHG) && below(2) && !i->memory)
		c->gpr[REG_RAX] = c->gpr[i->operand[0].reg & 15];
	if (!prepare_implicit(c, i) || !aim(c, i))
		return false;
	if (!tame_branch(t))
		return false;
	/* An operand's base or a target may be RSP itself. */
	bool stack = (i->op >= OP_PUSH && i->op <= OP_LEAVE) || i->op == OP_CALL || i->op == OP_RET;
	if ((i->op == OP_LEAVE || i->op == OP_ENTER) && !in_window(c->gpr[REG_RBP]))
		return false;
	if (i->op == OP_CMPXCHG && i->memory && below(2))
		memcpy(guest_window() + ((c->gpr[i->base] + (c->gpr[i->index] << i->scale) + (uint64_t)(int64_t)i->disp) &
					 size_mask(i->adsize)) - WINDOW, &c->gpr[REG_RAX], i->operand[0].size);
	prepare_target(c, i);
	if (stack && !in_window(c->gpr[REG_RSP]))
		return false;
	memcpy((void *)WINDOW, guest_window(), WINDOW_SIZE);
	return true;
}

static unsigned covered[OP_COUNT], faulted, compared, failures;

static void describe(const struct test_case *t, const struct hostrun_state *before)
{
	char text[128];
	isa_format(text, sizeof text, &t->insn, hostrun_base());
	printf("%s  [", text);
	for (unsigned n = 0; n < t->insn.length; n++)
		printf("%02x ", t->bytes[n]);
	printf("]\n before:");
	for (unsigned r = 0; r < 16; r++)
		printf(" %llx", (unsigned long long)before->gpr[r]);
	printf(" flags %llx\n", (unsigned long long)before->rflags);
}

static int expected_vector(int signal)
{
	switch (signal) {
	case 8: return EXC_DE;
	case 4: return EXC_UD;
	default: return RUN_OK;
	}
}

/* Compares everything with the host; true when equal. */
static bool agrees(const struct test_case *t, const struct hostrun_state *before, const struct hostrun_state *host, int guest,
		   int signal)
{
	struct cpu *c = &machine;
	bool equal = guest == expected_vector(signal);
	diff_settle_gpr(&t->insn, before->gpr, host->gpr, c->gpr);
	for (unsigned r = 0; r < 16; r++)
		if (c->gpr[r] != host->gpr[r]) {
			printf("r%u: guest %llx host %llx\n", r, (unsigned long long)c->gpr[r], (unsigned long long)host->gpr[r]);
			equal = false;
		}
	uint64_t flags = cc_to_rflags(c->cc) | (c->rflags & FLAG_DF);
	uint64_t compared = (FLAG_ARITH | FLAG_DF) & ~diff_open_flags(&t->insn);
	if (c->gpr[REG_RIP] != host->rip || (flags ^ host->rflags) & compared) {
		printf("rip: guest %llx host %llx flags: guest %llx host %llx\n", (unsigned long long)c->gpr[REG_RIP],
		       (unsigned long long)host->rip, (unsigned long long)flags, (unsigned long long)host->rflags);
		equal = false;
	}
	if (memcmp(guest_window(), (void *)WINDOW, WINDOW_SIZE)) {
		printf("memory differs\n");
		equal = false;
	}
	if (!equal) {
		printf("vector %d signal %d\n", guest, signal);
		describe(t, before);
	}
	return equal;
}

static void run_case(struct test_case *t)
{
	struct cpu *c = &machine;
	struct hostrun_state host = { 0 }, before;
	if (!prepare(t))
		return;
	memcpy(host.gpr, c->gpr, sizeof host.gpr);
	host.rflags = cc_to_rflags(c->cc) | c->rflags;
	before = host;
	int signal = hostrun(t->bytes, t->insn.length, &host);
	if (signal == 11 || signal == 7) {
		faulted++;
		return;
	}
	int guest = machine_run_decoded(&t->insn);
	if (guest == RUN_NOT_INTEGER)
		return;
	if (failures < 20 && !agrees(t, &before, &host, guest, signal))
		failures++;
	covered[t->insn.op]++;
	compared++;
}

/* --- Generation --- */

enum { LEAD_66 = 1, LEAD_67 = 2, LEAD_F2 = 4, LEAD_F3 = 8, LEAD_LOCK = 16, LEAD_REX = 32, LEAD_W = 64 };

static void generate(struct test_case *t, unsigned map, unsigned opcode, unsigned lead)
{
	uint8_t *p = t->bytes;
	memset(t, 0, sizeof *t);
	if (lead & LEAD_66)
		*p++ = 0x66;
	if (lead & LEAD_67)
		*p++ = 0x67;
	if (lead & (LEAD_F2 | LEAD_F3))
		*p++ = lead & LEAD_F2 ? 0xf2 : 0xf3;
	if (lead & LEAD_LOCK)
		*p++ = 0xf0;
	if (lead & (LEAD_REX | LEAD_W))
		*p++ = (uint8_t)(0x40 | (lead & LEAD_W ? 8 : 0) | (lead & LEAD_REX ? below(8) : 0));
	if (map)
		*p++ = 0x0f;
	if (map == 2)
		*p++ = 0x38;
	*p++ = (uint8_t)opcode;
	while (p < t->bytes + sizeof t->bytes)
		*p++ = (uint8_t)rnd();
	/* Half of the time a displacement or offset that may be an address of the window by itself. */
	if (below(2)) {
		unsigned at = 2u + below(5);
		store_le64(t->bytes + at, WINDOW + 0x1800 + below(256));
	}
}

/* VEX-coded instructions of general registers: maps 2 and 3. */
static void generate_vex(struct test_case *t, unsigned map, unsigned opcode, unsigned pp)
{
	for (unsigned n = 0; n < sizeof t->bytes; n++)
		t->bytes[n] = (uint8_t)rnd();
	t->bytes[0] = 0xc4;
	t->bytes[1] = (uint8_t)((t->bytes[1] & 0xe0) | map);
	t->bytes[2] = (uint8_t)((t->bytes[2] & 0xf8) | pp);
	t->bytes[3] = (uint8_t)opcode;
}

static void try_case(struct test_case *t)
{
	if (isa_decode(&t->insn, t->bytes, sizeof t->bytes, ISA_MODE_64) < 0 || excluded(&t->insn))
		return;
	t->length = t->insn.length;
	run_case(t);
}

static void set_up(void)
{
	struct error err = { 0 };
	host_cpu = cpu_new();
	if (cpu_init_cpuid(host_cpu, CPU_HOST, &err) < 0)
		fail_msg("%s", err.text);
	machine_reset(ISA_MODE_64);
	machine.amd = host_cpu->amd;
	if (mmap((void *)WINDOW, WINDOW_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
	    MAP_FAILED)
		fail_msg("the window's addresses are taken");
}

/* x ranges over prefixes; each opcode gets `rounds` tries for each combination. */
static void all_operations_agree_with_the_host(void **state)
{
	enum { ROUNDS = 24 };
	static const unsigned leads[] = { 0, LEAD_66, LEAD_W, LEAD_REX, LEAD_REX | LEAD_W, LEAD_REX | LEAD_66, LEAD_67,
		LEAD_67 | LEAD_W, LEAD_F2, LEAD_F3, LEAD_F3 | LEAD_66, LEAD_F3 | LEAD_W, LEAD_F2 | LEAD_W, LEAD_F2 | LEAD_66, LEAD_F3 | LEAD_67,
		LEAD_LOCK, LEAD_LOCK | LEAD_66, LEAD_LOCK | LEAD_W, LEAD_LOCK | LEAD_REX };
	struct test_case t;
	set_up();
	for (unsigned round = 0; round < ROUNDS; round++)
		for (unsigned map = 0; map < 3; map++)
			for (unsigned opcode = 0; opcode < 256; opcode++)
				for (unsigned l = 0; l < ARRAY_SIZE(leads); l++) {
					generate(&t, map, opcode, leads[l]);
					try_case(&t);
				}
	/* Groups in which ModRM says what the instruction is. */
	static const uint8_t groups[] = { 0x01, 0x0d, 0x18, 0x1c, 0x1e, 0xae, 0xba, 0xc7 };
	for (unsigned round = 0; round < ROUNDS * 100; round++)
		for (unsigned n = 0; n < ARRAY_SIZE(groups); n++) {
			generate(&t, 1, groups[n], leads[below(ARRAY_SIZE(leads))]);
			try_case(&t);
		}
	static const uint8_t exact[][5] = {
		{ 0xf3, 0x0f, 0x1e, 0xfa }, { 0xf3, 0x0f, 0x1e, 0xfb }, { 0x0f, 0x01, 0xfc }, { 0x67, 0x0f, 0x01, 0xfc },
		{ 0xf2, 0x0f, 0x01, 0xfc },
		{ 0x0f, 0xae, 0xe8 }, { 0x0f, 0xae, 0xf0 }, { 0x0f, 0xae, 0xf8 },
	};
	for (unsigned round = 0; round < 100; round++) {
		unsigned n = below(ARRAY_SIZE(exact));
		memcpy(t.bytes, exact[n], sizeof exact[n]);
		try_case(&t);
	}
	for (unsigned round = 0; round < ROUNDS * 16; round++)
		for (unsigned map = 2; map < 4; map++)
			for (unsigned opcode = 0xf0; opcode < 256; opcode++)
				for (unsigned pp = 0; pp < 4; pp++) {
					generate_vex(&t, map, opcode, pp);
					try_case(&t);
				}
	printf("%u cases compared, %u skipped for a fault on the host\n", compared, faulted);
	assert_int_equal(failures, 0);
}

/* Operations that 64-bit mode on the host cannot cover. */
static bool elsewhere(unsigned op)
{
	switch (op) {
	case OP_PUSHA: case OP_POPA: case OP_BOUND: case OP_SALC:
	case OP_AAA: case OP_AAS: case OP_AAM: case OP_AAD: case OP_DAA: case OP_DAS:
	case OP_INS: case OP_OUTS: case OP_RDRAND: case OP_RDSEED: case OP_RDPID:
	case OP_MOVDIRI: case OP_MOVDIR64B: case OP_SERIALIZE:
		return true;
	default:
		return false;
	}
}

static bool host_has_operation(unsigned op)
{
	for (unsigned row = 0; row < isa_row_count; row++)
		if (isa_rows[row].op == op && host_has(&isa_rows[row]))
			return true;
	return false;
}

static void every_operation_was_covered(void **state)
{
#define NAME(name, text) #name,
	static const char *const names[] = { ISA_OPS_INTEGER(NAME) };
	unsigned missing = 0;
	for (unsigned n = 0; n < ARRAY_SIZE(names); n++)
		if (!elsewhere(OP_ADD + n) && host_has_operation(OP_ADD + n) && covered[OP_ADD + n] < 10) {
			printf("%s: only %u cases\n", names[n], covered[OP_ADD + n]);
			missing++;
		}
	assert_int_equal(missing, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_operations_agree_with_the_host),
		cmocka_unit_test(every_operation_was_covered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
