/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cpu/host.h"
#include "diff_open.h"
#include "host/time.h"
#include "hostrun.h"
#include "isa/op.h"
#include "seq.h"

/*
 * test_sequences [N [seed [engine [options]]]]: N random instruction sequences, each run by the bare host and some
 * times by the engine. The whole state at the end or at the first fault must agree bit for bit. Sequence n of seed s is the first
 * one of seed s + n. Options, letters: f: the arithmetic flags at a fault need not agree; c: names the rows that no
 * sequence has executed; a: reports all differences.
 */
static const struct {
	const struct engine_type *type;
	unsigned runs;    /* of each sequence, so that it becomes hot */
	bool tested;      /* without a name on the command line */
} engines[] = {
	{ &engine_interp, 2, true },
	{ &engine_jit, 3, true },
	{ &engine_kvm, 1, false },
};

#define ARENA_PERIOD 1000 /* sequences after which the stubs of cpu/host.c are forgotten */
#define REPORTS_MAX 8 /* with option a: all */

static struct {
	const struct engine_type *engine;
	unsigned runs;
	bool fault_flags, all;
	uint64_t failures, timeouts, faults[256];
	bool *covered;
} test;

static struct seq_program program;
static uint32_t code_cursor = 64;

/* What differs, for text and exit code. */
static const char *const vector_names[32] = {
	"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP", "#PF", "15",
	"#MF", "#AC", "#MC", "#XM",
};

static const char *vector_name(unsigned vector)
{
	return vector == EXC_BP ? "end" : vector < 20 ? vector_names[vector] : vector == SEQ_TIMEOUT ? "timeout" : "?";
}

/* --- comparing --- */

/* Flags that need not agree: undefined ones where the sequence stopped; IOPL and IF are the system's. */
static uint64_t flags_to_compare(const struct seq_program *p, const struct seq_result *host)
{
	unsigned at = seq_find(p, host->rip);
	uint64_t mask = FLAG_ARITH | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID | FLAG_RF;
	mask &= ~(uint64_t)(at < SEQ_MAX ? p->item[at].undefined : FLAG_ARITH);
	if (host->vector != EXC_BP && !test.fault_flags)
		mask &= ~FLAG_ARITH;
	return mask;
}

static bool same_number(const char *name, uint64_t host, uint64_t guest, bool print)
{
	if (host != guest && print)
		printf("  %s: host %llx %s %llx\n", name, (unsigned long long)host, test.engine->name, (unsigned long long)guest);
	return host == guest;
}

/* Of faults outside the user's half the host's kernel tells nothing; supervisor pages have no U. */
static uint32_t error_mask(const struct seq_result *host, unsigned cpl)
{
	uint32_t mask = ~0u;
	if (host->vector == EXC_PF && host->cr2 >= 0x7ffffffff000)
		mask &= ~1u;
	if (host->vector == EXC_PF && !cpl)
		mask &= ~4u;
	return mask;
}

/* The host need not go upwards through a large operand: FXRSTOR, FRSTOR. */
static bool same_address(const struct seq_program *p, const struct seq_result *h, const struct seq_result *g)
{
	struct insn insn;
	unsigned at = seq_find(p, h->rip);
	if (h->cr2 == g->cr2 || at == SEQ_MAX || isa_decode(&insn, p->item[at].bytes, p->item[at].length, ISA_MODE_64) < 0)
		return h->cr2 == g->cr2;
	bool large = insn.memory && insn.operand[insn.memory - 1].size == 0;
	return large && h->cr2 - g->cr2 + 512 < 1024;
}

static bool same_end(const struct seq_program *p, const struct seq_result *h, const struct seq_result *g, unsigned cpl,
		     bool print)
{
	uint32_t mask = error_mask(h, cpl);
	uint64_t flags = flags_to_compare(p, h);
	if (print)
		printf("  host ends with %s at %llx, %s with %s at %llx\n", vector_name(h->vector), (unsigned long long)h->rip,
		       test.engine->name, vector_name(g->vector), (unsigned long long)g->rip);
	bool same = same_number("vector", h->vector, g->vector, print);
	same &= same_number("rip", h->rip, g->rip, print);
	same &= same_number("error code", h->error & mask, g->error & mask, print);
	same &= same_address(p, h, g) || same_number("cr2", h->cr2, g->cr2, print);
	same &= same_number("rflags", h->rflags & flags, g->rflags & flags, print);
	same &= same_number("fs base", h->fs_base, g->fs_base, print);
	return same_number("gs base", h->gs_base, g->gs_base, print) && same;
}

static bool same_memory(const struct seq_program *p, bool print)
{
	bool same = true;
	for (unsigned n = 0; n < SEQ_PAGES; n++) {
		const uint8_t *h = seq_host_page(n), *g = seq_guest_page(n);
		if (memcmp(h, g, GUEST_PAGE_SIZE) == 0)
			continue;
		same = false;
		for (unsigned i = 0, lines = 0; i < GUEST_PAGE_SIZE && print && lines < 16; i++)
			if (h[i] != g[i] && ++lines)
				printf("  memory %llx: host %02x %s %02x, before %02x\n", (unsigned long long)seq_page_address(n) + i, h[i],
				       test.engine->name, g[i], p->memory[n][i]);
	}
	return same;
}

static bool same(const struct seq_program *p, const struct seq_result *h, const struct seq_result *g, unsigned cpl,
		 bool print)
{
	bool equal = same_end(p, h, g, cpl, print);
	if (!equal && h->vector != g->vector)
		return false; /* what differs besides follows from it */
	equal &= diff_state_equal(&h->state, &g->state, &p->start, FLAG_ARITH | FLAG_DF, print);
	return same_memory(p, print) && equal;
}

/* --- what is open --- */

static struct diff_end end_of(const struct seq_result *r, struct diff_state *state)
{
	return (struct diff_end){ .state = state, .rip = r->rip, .fs_base = r->fs_base, .gs_base = r->gs_base, .address = r->cr2,
				  .error = r->error, .vector = r->vector == EXC_BP ? DIFF_NO_FAULT : r->vector };
}

/* The instruction that one side ended with, as it lies in memory. */
static bool decode_at(const struct seq_program *p, uint64_t rip, struct insn *insn)
{
	return seq_find(p, rip) < SEQ_MAX && isa_decode(insn, (const uint8_t *)rip, 16, ISA_MODE_64) > 0;
}

static void settle(const struct seq_program *p, struct seq_result *h, struct seq_result *g)
{
	const struct diff_end host = end_of(h, &h->state);
	struct diff_end guest = end_of(g, &g->state);
	struct insn insn;
	if (h->rip != g->rip || h->vector == EXC_BP || g->vector == EXC_BP || !decode_at(p, h->rip, &insn))
		return;
	diff_settle(&insn, NULL, &host, &guest, seq_memory_ignore);
	g->vector = guest.vector;
	g->error = guest.error;
	g->cr2 = guest.address;
}

static bool no_access(const struct seq_program *p, const struct seq_result *h, const struct seq_result *g)
{
	struct diff_state state = g->state;
	const struct diff_end guest = end_of(g, &state);
	struct insn insn;
	bool later = h->rip != g->rip || h->vector == EXC_MF; /* a loop comes back to the store that left its exception pending */
	return later && decode_at(p, g->rip, &insn) && diff_no_access(&insn, &h->state, &guest);
}

/* The process has memory of its own where a wild address faults in the guest: engines keep tables in the low 2 GiB, AddressSanitizer
 * has its shadow. */
static bool in_process(const struct seq_result *g)
{
	uint64_t page = ALIGN_DOWN(g->cr2, (uint64_t)GUEST_PAGE_SIZE);
	if (g->vector != EXC_PF || !hostrun_mapped(page))
		return false;
	for (unsigned n = 0; n < SEQ_PAGES; n++)
		if (page - seq_page_address(n) + GUEST_PAGE_SIZE < 3 * GUEST_PAGE_SIZE)
			return false;
	return true;
}

/* Which vector operands and images of state EFLAGS.AC speaks of each maker decides. */
static bool maker_aligns(const struct seq_program *p, const struct seq_result *r)
{
	unsigned at = r->vector == EXC_AC ? seq_find(p, r->rip) : SEQ_MAX;
	struct insn insn;
	if (at == SEQ_MAX || isa_decode(&insn, p->item[at].bytes, p->item[at].length, ISA_MODE_64) < 0)
		return false;
	return (insn.memory && insn.operand[insn.memory - 1].size - 1u > 7) ||
	       isa_rows[insn.row].attributes & (ROW_SSE | ROW_AVX | ROW_X87 | ROW_MMX);
}

static uint32_t host_mxcsr_mask(void)
{
	_Alignas(16) uint8_t image[512];
	__asm__ volatile("fxsave %0" : "=m"(image));
	return load_le32(image + 28);
}

/* AMD's processors take MXCSR's bit 17 (MM), which is not offered to guests: the random bytes of an image may have it set. */
static bool loads_other_mxcsr(const struct seq_program *p, const struct seq_result *g)
{
	unsigned at = g->vector == EXC_GP ? seq_find(p, g->rip) : SEQ_MAX;
	struct insn insn;
	if (at == SEQ_MAX || isa_decode(&insn, p->item[at].bytes, p->item[at].length, ISA_MODE_64) < 0)
		return false;
	bool loads = insn.op == OP_FXRSTOR || insn.op == OP_XRSTOR || insn.op == OP_LDMXCSR || insn.op == OP_VLDMXCSR;
	return loads && host_mxcsr_mask() >> 17 & 1;
}

/* --- running --- */

struct variant {
	unsigned view, cpl, runs;
};

enum verdict { SAME, DIFFERENT, UNDECIDED };

/* A difference that counts: none of what the architecture leaves open had a part in it. */
static bool proven(struct seq_program *p, const struct variant *v, const struct seq_result *host,
		   const struct seq_result *guest)
{
	static struct seq_result again;
	uint16_t undefined;
	if (no_access(p, host, guest) || in_process(guest) || maker_aligns(p, host) || maker_aligns(p, guest) || loads_other_mxcsr(p, guest) ||
	    !seq_trace_host(p, v->view, &undefined))
		return false;
	unsigned end = seq_find(p, host->rip);
	if (end < SEQ_MAX)
		p->item[end].undefined |= undefined;
	seq_run_host(p, v->view, &again);
	return !same(p, &again, guest, v->cpl, false);
}

static void note_covered(const struct seq_program *p, const struct seq_result *host)
{
	unsigned end = seq_find(p, host->rip);
	test.faults[host->vector]++;
	for (unsigned n = 0; n < end && n < p->count; n++)
		if (!p->item[n].removed)
			test.covered[p->item[n].row] = true;
}

/* Faults that a KVM of the host makes more of than the processor does: its kernel emulates the instruction, and FXRSTOR without the
 * check of the address, IRET with another error code. */
static bool kvm_emulates(const struct seq_program *p, const struct seq_result *host)
{
	unsigned at = test.engine == &engine_kvm && host->vector == EXC_GP ? seq_find(p, host->rip) : SEQ_MAX;
	const char *mnemonic = at < SEQ_MAX ? isa_rows[p->item[at].row].mnemonic : "";
	return !strncmp(mnemonic, "fxrstor", 7) || !strncmp(mnemonic, "iret", 4);
}

static enum verdict run_variant(struct seq_program *p, const struct variant *v, bool print)
{
	static struct seq_result host, guest;
	seq_run_host(p, v->view, &host);
	if (host.vector == SEQ_TIMEOUT || kvm_emulates(p, &host))
		return UNDECIDED;
	for (unsigned n = 0; n < v->runs; n++) {
		seq_run_guest(p, v->view, v->cpl, &guest);
		settle(p, &host, &guest);
		if (same(p, &host, &guest, v->cpl, false))
			continue;
		if (!proven(p, v, &host, &guest))
			return UNDECIDED;
		if (print) {
			printf("view %u, CPL %u, run %u:\n", v->view, v->cpl, n + 1);
			same(p, &host, &guest, v->cpl, true);
		}
		return DIFFERENT;
	}
	if (!print)
		note_covered(p, &host);
	return SAME;
}

static enum verdict run_once(struct seq_program *p, const struct variant *v, bool print)
{
	static uint8_t bytes[SEQ_MAX * 16];
	if (!seq_layout(p, bytes))
		return UNDECIDED;
	seq_put_code(p, bytes);
	enum verdict verdict = run_variant(p, v, print);
	seq_remove_code(p);
	return verdict;
}

/* --- a failing sequence made smaller --- */

/* A copy without a group of items, or without one item. True: it still fails. */
static bool without(const struct seq_program *p, const struct variant *v, uint32_t group, unsigned item,
		    struct seq_program *to)
{
	bool changed = false;
	*to = *p;
	for (unsigned n = 0; n < to->count - 1; n++)
		if (!to->item[n].removed && (item < SEQ_MAX ? n == item : to->item[n].group == group))
			to->item[n].removed = changed = true;
	if (!changed)
		return false;
	seq_analyse(to);
	return run_once(to, v, false) == DIFFERENT;
}

static void shrink(struct seq_program *p, const struct variant *v)
{
	static struct seq_program smaller;
	bool progress;
	do {
		progress = false;
		for (unsigned n = p->count - 1; n-- > 0;)
			if (!p->item[n].removed &&
			    (without(p, v, p->item[n].group, SEQ_MAX, &smaller) || without(p, v, 0, n, &smaller))) {
				*p = smaller;
				progress = true;
			}
	} while (progress);
}

static void print_state(const struct seq_program *p)
{
	static const char *const names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					       "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
	printf("  before:");
	for (unsigned n = 0; n < 16; n++)
		printf("%s%s %llx", n % 8 ? ", " : "\n    ", names[n], (unsigned long long)p->start.gpr[n]);
	printf("\n    rflags %llx, fs base %llx, gs base %llx, mxcsr %x\n", (unsigned long long)p->rflags,
	       (unsigned long long)p->fs_base, (unsigned long long)p->gs_base, p->start.mxcsr);
}

static void report(struct seq_program *p, const struct variant *v)
{
	if (test.failures++ >= REPORTS_MAX && !test.all)
		return;
	bool again = run_once(p, v, false) == DIFFERENT;
	printf("sequence of seed %llu differs%s: view %u, CPL %u\n", (unsigned long long)p->seed,
	       again ? "" : " (not when run again, so not made smaller)", v->view, v->cpl);
	if (again)
		shrink(p, v);
	uint8_t bytes[SEQ_MAX * 16];
	seq_layout(p, bytes);
	seq_print(p);
	print_state(p);
	if (again)
		run_once(p, v, true);
	fflush(stdout);
}

/* --- all --- */

/* Each sequence lies behind the one before, so that a page is not rewritten all the time. */
static void choose_place(struct seq_program *p)
{
	code_cursor += 16 + diff_below(200);
	if (code_cursor + SEQ_MAX * 16 > SEQ_CODE_PAGES * GUEST_PAGE_SIZE)
		code_cursor = 64 + diff_below(4096);
	p->code = code_cursor;
}

static void one_sequence(uint64_t seed)
{
	static uint8_t bytes[SEQ_MAX * 16];
	struct seq_program *p = &program;
	seq_generate(p, seed);
	choose_place(p);
	if (!seq_layout(p, bytes))
		return;
	const struct variant variants[] = {
		{ 0, 3, test.runs }, { 0, 0, 1 + diff_below(2) }, { 1, diff_below(2) ? 3 : 0, 1 },
	};
	seq_put_code(p, bytes);
	for (unsigned n = 0; n < ARRAY_SIZE(variants); n++) {
		if ((!variants[n].cpl && p->user_only) || (variants[n].view && p->one_view) || (n && diff_chance(50)))
			continue;
		enum verdict verdict = run_variant(p, &variants[n], false);
		test.timeouts += verdict == UNDECIDED;
		if (verdict != DIFFERENT)
			continue;
		report(p, &variants[n]);
		return;
	}
	seq_remove_code(p);
	code_cursor += p->size;
}

static bool renew_engine(void)
{
	seq_engine_stop();
	host_arena_forget();
	return seq_engine_start(test.engine);
}

static unsigned print_coverage(bool all)
{
	unsigned rows = 0, covered = 0;
	for (unsigned row = 1; row < isa_row_count; row++) {
		if (seq_exclusion(row))
			continue;
		rows++;
		covered += test.covered[row];
		if (all && !test.covered[row])
			printf("row %u %s %s: in no sequence\n", row, isa_rows[row].mnemonic, isa_rows[row].operands);
	}
	printf("  %u of %u rows executed; ends:", covered, rows);
	for (unsigned n = 0; n < 256; n++)
		if (test.faults[n])
			printf(" %s %llu", vector_name(n), (unsigned long long)test.faults[n]);
	printf("\n");
	return rows - covered;
}

static bool test_engine(unsigned index, uint64_t count, uint64_t seed, bool coverage)
{
	uint64_t begin = host_time_ns();
	test.engine = engines[index].type;
	test.runs = engines[index].runs;
	test.failures = test.timeouts = 0;
	memset(test.faults, 0, sizeof test.faults);
	memset(test.covered, 0, isa_row_count * sizeof *test.covered);
	if (!seq_engine_start(test.engine))
		return false;
	for (uint64_t n = 0; n < count; n++) {
		if (n % ARENA_PERIOD == ARENA_PERIOD - 1 && !renew_engine())
			return false;
		one_sequence(seed + n);
	}
	seq_engine_stop();
	double seconds = (double)(host_time_ns() - begin) / 1e9;
	printf("%s: %llu sequences from seed %llu, %llu differ, %llu undecided; %.0f in a second\n", test.engine->name,
	       (unsigned long long)count, (unsigned long long)seed, (unsigned long long)test.failures,
	       (unsigned long long)test.timeouts, (double)count / seconds);
	print_coverage(coverage);
	return !test.failures;
}

/* Of five million, what the first rules of diff_open.c were too narrow for. */
static const uint64_t once_differed[] = { 20261313779, 20261550893, 20263411164, 20263450380, 20265292173 };

int main(int argc, char **argv)
{
	uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 0) : 30000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	const char *name = argc > 3 ? argv[3] : NULL;
	bool good = true, found = false;
	test.fault_flags = !(argc > 4 && strchr(argv[4], 'f'));
	test.all = argc > 4 && strchr(argv[4], 'a');
	test.covered = calloc(isa_row_count, sizeof *test.covered);
	seq_gen_init(seq_machine());
	for (unsigned n = 0; n < ARRAY_SIZE(engines); n++) {
		if (name ? strcmp(name, engines[n].type->name) != 0 : !engines[n].tested)
			continue;
		found = true;
		struct engine_report works = { .works = true };
		if (engines[n].type->examine)
			engines[n].type->examine(&works);
		if (!works.works) {
			printf("engine %s: %s\n", engines[n].type->name, works.text);
			return 77;
		}
		good &= test_engine(n, count, seed, argc > 4 && strchr(argv[4], 'c'));
		for (unsigned k = 0; argc == 1 && k < ARRAY_SIZE(once_differed); k++)
			good &= test_engine(n, 1, once_differed[k], false);
	}
	if (!found)
		fprintf(stderr, "test_sequences: no engine is called '%s'\n", name ? name : "");
	return !good || !found;
}
