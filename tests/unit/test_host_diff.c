/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/access.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "diff_encode.h"
#include "diff_machine.h"
#include "diff_open.h"
#include "hostrun.h"
#include "isa/op.h"

/*
 * test_host_diff [N [seed [row]]]: N random instructions, spread evenly over the rows of the opcode table, each run by
 * visor's functions (64-bit mode, CPL 3, paging) and by the bare host on the same registers, flags, vector and x87
 * state and memory. Everything must agree bit for bit, but for the flags that the row names as undefined.
 */
#define REPORTS_PER_ROW 2
#define REPORTS_MAX 60

struct result {
	int signal;         /* 0, or the signal that the host took or takes for visor's exception */
	uint8_t vector;     /* of that exception */
	uint64_t rip, address;
};

static struct diff_state host, guest, start;
static struct cpu *cpu;
static unsigned reports;

/* --- rows that have no case, and why --- */

static const char *system_exclusion(unsigned op)
{
	switch (op) {
	case OP_LDMXCSR: case OP_STMXCSR: case OP_VLDMXCSR: case OP_VSTMXCSR: case OP_VZEROUPPER: case OP_VZEROALL: case OP_EMMS:
	case OP_FWAIT: case OP_FXSAVE: case OP_FXRSTOR: case OP_XSAVE: case OP_XSAVEOPT: case OP_XSAVEC: case OP_XRSTOR:
		return NULL;
	default:
		return "system instruction: guest tests";
	}
}

static const char *exclusion(unsigned row)
{
	static const struct { unsigned op; const char *reason; } list[] = {
		{ OP_INVALID, "no instruction" },
		{ OP_RDRAND, "random" }, { OP_RDSEED, "random" }, { OP_RDPID, "the host's processor number" },
		{ OP_INS, "port access: guest tests" }, { OP_OUTS, "port access: guest tests" },
	};
	const struct isa_row *r = &isa_rows[row];
	if (!cpu_has(cpu, (enum isa_feature)r->feature))
		return "the host does not have it";
	if (r->attributes & ROW_CPL0)
		return "privileged";
	if (r->op == OP_NOP && r->opcode == 0x0d)
		return "0F 0D with a register: AMD's processors refuse it";
	for (unsigned n = 0; n < ARRAY_SIZE(list); n++)
		if (list[n].op == r->op)
			return list[n].reason;
	if (r->op >= OP_JMPF && r->op <= OP_FWAIT)
		return system_exclusion(r->op);
	return NULL;
}

/* --- running --- */

static int signal_of(uint8_t vector)
{
	switch (vector) {
	case EXC_DE: case EXC_MF: case EXC_XM: return SIGFPE;
	case EXC_UD: return SIGILL;
	case EXC_BP: case EXC_DB: return SIGTRAP;
	case EXC_AC: case EXC_SS: return SIGBUS;
	default: return SIGSEGV;
	}
}

static struct result run_guest(struct encoding *e)
{
	struct result r = { 0 };
	jmp_buf env;
	diff_state_to_cpu(&start, cpu);
	cpu->gpr[REG_RIP] = hostrun_base() + e->length;
	cpu_select(cpu, &e->insn);
	cpu->insn = &e->insn;
	cpu->fault_env = &env;
	atomic_store(&cpu->attention, 0);
	if (setjmp(env) == 0) {
		e->insn.exec(cpu, &e->insn);
	} else {
		r.vector = cpu->fault_vector;
		r.signal = signal_of(r.vector);
		r.address = r.vector == EXC_PF ? cpu->cr2 : 0;
	}
	r.rip = cpu->gpr[REG_RIP];
	diff_state_from_cpu(&guest, cpu);
	return r;
}

static struct result run_host(const struct encoding *e)
{
	struct hostrun_state s = { .rflags = start.rflags };
	struct result r;
	memcpy(s.gpr, start.gpr, sizeof s.gpr);
	s.xsave = diff_state_to_xsave(&start, &s.xsave_mask);
	r.signal = hostrun(e->bytes, e->length, &s);
	r.vector = s.vector;
	r.rip = s.rip;
	r.address = r.signal == SIGSEGV ? s.address : 0;
	memcpy(host.gpr, s.gpr, sizeof s.gpr);
	host.rflags = s.rflags & (FLAG_ARITH | FLAG_DF);
	diff_state_from_xsave(&host, s.xsave);
	/* A taken branch ends in the INT3s around the instruction, or faults where it leads: for visor it has just ended. */
	if ((r.signal == SIGTRAP || r.signal == SIGSEGV) && isa_rows[e->insn.row].attributes & ROW_ENDS && r.rip != hostrun_base())
		r.signal = 0, r.address = 0;
	return r;
}

/* --- comparing --- */

static void print_encoding(const struct encoding *e)
{
	char text[128];
	const struct isa_row *row = &isa_rows[e->insn.row];
	isa_format(text, sizeof text, &e->insn, hostrun_base());
	printf("row %u %s %s: ", e->insn.row, row->mnemonic, row->operands);
	for (unsigned n = 0; n < e->length; n++)
		printf("%02x", e->bytes[n]);
	printf("  %s\n", text);
}

static bool memory_size_unknown(const struct encoding *e)
{
	return e->insn.memory && e->insn.operand[e->insn.memory - 1].size == 0;
}

/* Instruction and data pointers of the x87 follow each maker's own rules (SDM 1, 8.1.8; APM 2, 11.4.4), and MXCSR_MASK
 * shows AMD's bit 17, which visor does not offer. */
static void ignore_pointers(const struct encoding *e)
{
	const struct insn *i = &e->insn;
	cpu->gpr[REG_RIP] = hostrun_base() + e->length;
	memcpy(cpu->gpr, start.gpr, sizeof start.gpr);
	uint64_t at = i->memory && !(isa_rows[i->row].attributes & ROW_VSIB) ? effective_address(cpu, i) : 0;
	switch (i->op) {
	case OP_FXSAVE: case OP_XSAVE: case OP_XSAVEOPT: case OP_XSAVEC:
		diff_memory_ignore(at + X87_FOP, 18);
		diff_memory_ignore(at + X87_MXCSR_MASK, 4);
		break;
	case OP_FNSTENV: case OP_FNSAVE:
		diff_memory_ignore(at + (i->opsize == 2 ? 6 : 12), i->opsize == 2 ? 8 : 16);
		break;
	default:
		break;
	}
}

static struct diff_end end_of(const struct result *r, struct diff_state *state)
{
	return (struct diff_end){ .state = state, .rip = hostrun_base(), .address = r->address,
				  .vector = r->signal ? r->vector : DIFF_NO_FAULT };
}

/* What is open is no difference. */
static void settle(const struct encoding *e, const struct result *h, struct result *g)
{
	const struct diff_end host_end = end_of(h, &host);
	struct diff_end guest_end = end_of(g, &guest);
	diff_settle(&e->insn, h->signal ? NULL : &start, &host_end, &guest_end, diff_memory_ignore);
	if (h->signal && g->signal) {
		g->signal = signal_of(guest_end.vector);
		g->address = guest_end.address;
	}
}

static bool no_access(const struct encoding *e, const struct result *h, const struct result *g)
{
	const struct diff_end guest_end = end_of(g, &guest);
	return !h->signal && g->signal && diff_no_access(&e->insn, &host, &guest_end);
}

static bool equal(const struct encoding *e, const struct result *h, const struct result *g, bool print)
{
	const struct isa_row *row = &isa_rows[e->insn.row];
	bool same = true;
	uint64_t address_mask = memory_size_unknown(e) ? ~4095ull : ~0ull; /* the host need not go upwards */
	if (h->signal != g->signal || h->rip != g->rip ||
	    (h->signal == SIGSEGV && (h->address ^ g->address) & address_mask)) {
		same = false;
		if (print)
			printf("  signal host %d visor %d (vector %u); rip %llx %llx; address %llx %llx\n", h->signal, g->signal,
			       cpu->fault_vector, (unsigned long long)h->rip, (unsigned long long)g->rip,
			       (unsigned long long)h->address, (unsigned long long)g->address);
	}
	uint64_t undefined = h->signal ? 0 : row->flags_undefined;
	same &= diff_state_equal(&host, &guest, &start, undefined, print);
	return diff_memory_equal(print) && same;
}

/* The process's own memory, such as AddressSanitizer's, answers the host where a wild address faults in the guest. */
static bool in_process(const struct result *h, const struct result *g)
{
	return !h->signal && g->signal == SIGSEGV && g->vector == EXC_PF && hostrun_mapped(g->address) && !diff_memory_has(g->address);
}

static bool one_case(struct encoding *e, bool print)
{
	struct result h = run_host(e);
	struct result g = run_guest(e);
	ignore_pointers(e);
	settle(e, &h, &g);
	if (equal(e, &h, &g, false))
		return true;
	if (no_access(e, &h, &g) || in_process(&h, &g)) {
		diff_memory_align();
		return true;
	}
	if (print && reports < REPORTS_MAX) {
		reports++;
		print_encoding(e);
		equal(e, &h, &g, true);
	}
	diff_memory_align();
	return false;
}

/* Cases of one row; returns how many disagreed. */
static unsigned run_row(unsigned row, unsigned cases, bool *covered)
{
	unsigned bad = 0;
	for (unsigned n = 0; n < cases; n++) {
		struct encoding e;
		if (!diff_encode(&e, row))
			return bad;
		if (e.insn.op == OP_MOVSXD && e.insn.opsize == 2)
			continue; /* reads 2 bytes (SDM 2B); AMD's read 4 */
		*covered = true;
		diff_state_random(&start, &e);
		if (!one_case(&e, bad < REPORTS_PER_ROW))
			bad++;
	}
	return bad;
}

int main(int argc, char **argv)
{
	unsigned long cases = argc > 1 ? strtoul(argv[1], NULL, 0) : 200000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	unsigned only = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : 0;
	unsigned executable = 0, covered = 0, excluded = 0, bad_rows = 0, missing = 0;
	cpu = diff_machine();
	for (unsigned row = 0; row < isa_row_count; row++)
		executable += !exclusion(row);
	unsigned each = only ? (unsigned)cases : (unsigned)(cases / executable) + 1;
	for (unsigned row = 0; row < isa_row_count; row++) {
		bool has_case = false;
		if (exclusion(row)) {
			excluded++;
			continue;
		}
		if (only && row != only)
			continue;
		diff_seed(seed * 100003 + row);
		unsigned bad = run_row(row, each, &has_case);
		covered += has_case;
		if (bad) {
			bad_rows++;
			printf("row %u %s %s: %u of %u differ\n", row, isa_rows[row].mnemonic, isa_rows[row].operands, bad, each);
		}
		if (!has_case && !(isa_rows[row].attributes & ROW_NO64) && !only) {
			missing++;
			printf("row %u %s %s: no case\n", row, isa_rows[row].mnemonic, isa_rows[row].operands);
		}
	}
	printf("%u cases on each of %u rows; %u rows excluded, %u without a case, %u differ (seed %llu)\n", each, covered, excluded,
	       missing, bad_rows, (unsigned long long)seed);
	return bad_rows || missing;
}
