/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/host.h"
#include "diff_open.h"
#include "hostrun.h"
#include "seq.h"

/*
 * The guest's kernel is one table of gates: each vector has an HLT of its own, reached on a stack of its own (IST), so
 * that a run ends with the whole state in registers and in the frame. Two address spaces: user pages for CPL 3,
 * supervisor pages for CPL 0.
 */
#define RAM (16u << 20)
#define TABLES_GPA 0x100000u
#define ROOT_USER TABLES_GPA
#define ROOT_KERNEL (TABLES_GPA + 0x10000)
#define KERNEL_TABLES (TABLES_GPA + 0x20000)
#define KERNEL_GPA 0x180000u
#define KERNEL 0xffffc12345600000ull /* linear */
#define DATA_GPA 0x200000u
#define CODE_GPA 0x400000u
#define K_GDT 0x0000u
#define K_TSS 0x0800u
#define K_IDT 0x1000u
#define K_HALT 0x2000u
#define K_STACK_TOP 0x4000u
#define K_PAGES 4u

/* Linux's own, since sequences push them. */
enum { SELECTOR_KERNEL_CS = 0x08, SELECTOR_KERNEL_SS = 0x10, SELECTOR_USER_SS = 0x2b, SELECTOR_USER_CS = 0x33,
       SELECTOR_TSS = 0x40 };
static const uint64_t gdt[8] = {
	[1] = 0x00af9b000000ffff, [2] = 0x00cf93000000ffff, [5] = 0x00cff3000000ffff, [6] = 0x00affb000000ffff,
};

#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_U 4ull
#define PTE_NX BIT64(63)

static struct guest_memory memory;
static struct cpu *cpu, *peers[1];
static const struct engine_type *engine;
static uint8_t *host_memory; /* writable everywhere: code, data, stack */

/* --- where pages are --- */

#define HOST_SIZE ((SEQ_CODE_PAGES + SEQ_PAGES) * (size_t)GUEST_PAGE_SIZE)

/* Neighbours in linear memory are none in guest memory. */
static uint64_t code_gpa(unsigned n)
{
	return CODE_GPA + (n ^ 0x55) * (uint64_t)GUEST_PAGE_SIZE;
}

static uint64_t data_gpa(unsigned n)
{
	return DATA_GPA + (SEQ_PAGES - 1 - n) * (uint64_t)GUEST_PAGE_SIZE;
}

static uint32_t view_offset(unsigned n)
{
	return n < SEQ_DATA_PAGES ? SEQ_DATA + n * GUEST_PAGE_SIZE : SEQ_STACK + (n - SEQ_DATA_PAGES) * GUEST_PAGE_SIZE;
}

static bool read_only(unsigned n)
{
	return n == SEQ_DATA_PAGES - 1;
}

uint64_t seq_page_address(unsigned n)
{
	return SEQ_VIEW_BASE(0) + view_offset(n);
}

static uint8_t *host_page(unsigned n)
{
	return host_memory + (SEQ_CODE_PAGES + n) * (size_t)GUEST_PAGE_SIZE;
}

static uint8_t *guest_page(uint64_t gpa)
{
	bool writable;
	return memory_page(&memory, gpa, &writable);
}

const uint8_t *seq_host_page(unsigned n)
{
	return host_page(n);
}

const uint8_t *seq_guest_page(unsigned n)
{
	return guest_page(data_gpa(n));
}

void seq_memory_ignore(uint64_t from, unsigned size)
{
	for (uint64_t a = from; a != from + size; a++)
		for (unsigned v = 0; v < SEQ_VIEWS; v++)
			for (unsigned n = 0; n < SEQ_PAGES; n++) {
				uint64_t in_page = a - SEQ_VIEW_BASE(v) - view_offset(n);
				if (in_page < GUEST_PAGE_SIZE)
					guest_page(data_gpa(n))[in_page] = host_page(n)[in_page];
			}
}

/* --- the host's side --- */

static void map_host(int fd, uint64_t at, unsigned page, unsigned pages, int rights)
{
	void *to = (void *)at;
	if (mmap(to, pages * (size_t)GUEST_PAGE_SIZE, rights, MAP_SHARED | MAP_POPULATE | MAP_FIXED_NOREPLACE, fd,
		 (off_t)page * GUEST_PAGE_SIZE) != to) {
		perror("test_sequences: mmap");
		exit(1);
	}
}

static void make_host_memory(void)
{
	int fd = memfd_create("sequences", MFD_CLOEXEC);
	host_memory = MAP_FAILED;
	if (fd >= 0 && ftruncate(fd, (off_t)HOST_SIZE) == 0)
		host_memory = mmap(NULL, HOST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (host_memory == MAP_FAILED) {
		perror("test_sequences: no memory");
		exit(1);
	}
	memset(host_memory, 0xcc, HOST_SIZE);
	for (unsigned v = 0; v < SEQ_VIEWS; v++) {
		map_host(fd, SEQ_VIEW_BASE(v) + SEQ_CODE, 0, SEQ_CODE_PAGES, PROT_READ | PROT_EXEC);
		for (unsigned n = 0; n < SEQ_PAGES; n++)
			map_host(fd, SEQ_VIEW_BASE(v) + view_offset(n), SEQ_CODE_PAGES + n, 1,
				 read_only(n) ? PROT_READ : PROT_READ | PROT_WRITE);
	}
	close(fd);
}

/* --- the guest's side --- */

static void put_entry(uint64_t table, uint64_t index, uint64_t value)
{
	memory_write(&memory, table + 8 * (index & 511), &value, 8);
}

/* Tables of a root, one page each: PML4, PDPT, PD, and for each view those of its code and of its data. */
static void make_root(uint64_t root, uint64_t user)
{
	const uint64_t table = PTE_P | PTE_W | PTE_U;
	put_entry(root, 0, (root + 0x1000) | table);
	put_entry(root + 0x1000, 0, (root + 0x2000) | table);
	put_entry(root, KERNEL >> 39, KERNEL_TABLES | table);
	for (unsigned v = 0; v < SEQ_VIEWS; v++) {
		uint64_t code = root + 0x3000 + v * 0x2000, data = code + 0x1000, base = SEQ_VIEW_BASE(v);
		put_entry(root + 0x2000, base >> 21, code | table);
		put_entry(root + 0x2000, (base + SEQ_DATA) >> 21, data | table);
		for (unsigned n = 0; n < SEQ_CODE_PAGES; n++)
			put_entry(code, n, code_gpa(n) | PTE_P | user);
		for (unsigned n = 0; n < SEQ_PAGES; n++)
			put_entry(data, (base + view_offset(n)) >> 12,
				  data_gpa(n) | PTE_P | (read_only(n) ? 0 : PTE_W) | user | PTE_NX);
	}
}

static void make_kernel(void)
{
	uint8_t *k = guest_page(KERNEL_GPA), *tss = k + K_TSS;
	for (unsigned n = 0; n < 2; n++)
		put_entry(KERNEL_TABLES + n * 0x1000, KERNEL >> (30 - 9 * n),
			  (KERNEL_TABLES + (n + 1) * 0x1000) | PTE_P | PTE_W);
	for (unsigned n = 0; n < K_PAGES; n++)
		put_entry(KERNEL_TABLES + 0x2000, (KERNEL >> 12) + n, (KERNEL_GPA + n * GUEST_PAGE_SIZE) | PTE_P | PTE_W);
	memcpy(k + K_GDT, gdt, sizeof gdt);
	store_le64(tss + 36, KERNEL + K_STACK_TOP); /* IST1 */
	store_le16(tss + 102, 104);                 /* no I/O permission bitmap */
	for (unsigned n = 0; n < 256; n++) {
		uint64_t to = KERNEL + K_HALT + n, dpl = n == EXC_BP || n == EXC_OF ? 3 : 0;
		store_le64(k + K_IDT + 16 * n, (to & 0xffff) | SELECTOR_KERNEL_CS << 16 | 1ull << 32 | 0x8e00ull << 32 |
			   dpl << 45 | (to >> 16 & 0xffff) << 48);
		store_le64(k + K_IDT + 16 * n + 8, to >> 32);
	}
	memset(k + K_HALT, 0xf4, 256);
}

static void make_cpu(void)
{
	struct error err = { 0 };
	cpu = cpu_new();
	cpu->memory = &memory;
	cpu->count = 1;
	cpu->peers = peers;
	peers[0] = cpu;
	if (cpu_init_cpuid(cpu, CPU_HOST, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	cpu_reset(cpu, true);
	cpu->cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_WP | CR0_MP | CR0_ET | CR0_AM;
	cpu->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
	cpu->cr4 |= cpu_has(cpu, FEATURE_SMEP) ? CR4_SMEP : 0;
	cpu->cr4 |= cpu_has(cpu, FEATURE_SMAP) ? CR4_SMAP : 0;
	cpu->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
	cpu->cr3 = ROOT_USER;
	cpu->xcr0 = diff_components();
	cpu->gdtr = (struct table_register){ KERNEL + K_GDT, sizeof gdt - 1 };
	cpu->idtr = (struct table_register){ KERNEL + K_IDT, 0xfff };
	cpu->seg[SEG_TR] = (struct segment){ KERNEL + K_TSS, 103, SELECTOR_TSS, 0x8b };
	cpu->seg[SEG_LDTR] = (struct segment){ 0 }; /* the host's processes have none */
	tlb_flush_all(cpu);
}

static void code_written(void *opaque)
{
	cpu_attention(cpu, ATTN_CODE);
}

struct cpu *seq_machine(void)
{
	struct error err = { 0 };
	hostrun_has_bases(); /* its signal handlers come first */
	make_host_memory();
	if (memory_init(&memory, RAM, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	memory.code_written = code_written; /* sequences are put into memory as devices do it */
	make_root(ROOT_USER, PTE_U);
	make_root(ROOT_KERNEL, 0);
	make_kernel();
	make_cpu();
	for (unsigned n = 0; n < SEQ_CODE_PAGES; n++)
		memset(guest_page(code_gpa(n)), 0xcc, GUEST_PAGE_SIZE);
	return cpu;
}

static volatile unsigned ticks;
static volatile bool in_engine;

#define TICKS_MAX 40

/* A run that takes longer than some 0.3 s of processor time ends. */
static void on_tick(void)
{
	if (in_engine && ++ticks >= TICKS_MAX)
		engine->kick(cpu);
}

void seq_engine_stop(void)
{
	engine->destroy(cpu);
}

/* --- code --- */

static void write_code(uint32_t at, const uint8_t *bytes, unsigned size)
{
	memcpy(host_memory + at, bytes, size);
	for (unsigned done = 0; done < size;) {
		unsigned page = (at + done) / GUEST_PAGE_SIZE, offset = (at + done) & GUEST_PAGE_MASK;
		unsigned chunk = MIN(size - done, GUEST_PAGE_SIZE - offset);
		memory_write(&memory, code_gpa(page) + offset, bytes + done, chunk);
		done += chunk;
	}
}

void seq_put_code(const struct seq_program *p, const uint8_t *bytes)
{
	write_code(p->code, bytes, p->size);
}

void seq_remove_code(const struct seq_program *p)
{
	static uint8_t fill[SEQ_MAX * 16];
	memset(fill, 0xcc, p->size);
	write_code(p->code, fill, p->size);
}

/* --- running --- */

static struct hostrun_state host_start(const struct seq_program *p)
{
	struct hostrun_state s = { .rflags = p->rflags, .fs_base = p->fs_base, .gs_base = p->gs_base };
	for (unsigned n = 0; n < SEQ_PAGES; n++)
		memcpy(host_page(n), p->memory[n], GUEST_PAGE_SIZE);
	memcpy(s.gpr, p->start.gpr, sizeof s.gpr);
	s.xsave = diff_state_to_xsave(&p->start, &s.xsave_mask);
	return s;
}

void seq_run_host(const struct seq_program *p, unsigned view, struct seq_result *r)
{
	struct hostrun_state s = host_start(p);
	hostrun_at(SEQ_VIEW_BASE(view) + p->code, &s);
	memcpy(r->state.gpr, s.gpr, sizeof s.gpr);
	diff_state_from_xsave(&r->state, s.xsave);
	r->state.rflags = s.rflags & (FLAG_ARITH | FLAG_DF);
	r->rflags = s.rflags;
	r->rip = s.rip;
	r->fs_base = s.fs_base;
	r->gs_base = s.gs_base;
	r->vector = s.vector == HOSTRUN_TIMEOUT ? SEQ_TIMEOUT : s.vector;
	r->error = (uint32_t)s.error;
	r->cr2 = s.vector == EXC_PF ? s.address : 0;
}

static bool open_registers(const struct hostrun_state *s, uint64_t rip)
{
	struct insn insn;
	return isa_decode(&insn, (const uint8_t *)rip, 16, ISA_MODE_64) > 0 && diff_open_gpr(&insn, s->gpr);
}

#define STEPS_MAX 20000

bool seq_trace_host(const struct seq_program *p, unsigned view, uint16_t *undefined)
{
	struct hostrun_state s = host_start(p);
	uint64_t rip = SEQ_VIEW_BASE(view) + p->code;
	*undefined = 0;
	for (unsigned n = 0; n < STEPS_MAX; n++) {
		unsigned at = seq_find(p, rip);
		if (at == p->count - 1)
			return true;
		if (at == SEQ_MAX || p->item[at].unreachable || seq_flags_read(&p->item[at]) & *undefined || open_registers(&s, rip))
			return false;
		s.rflags |= FLAG_TF;
		hostrun_at(rip, &s);
		if (s.vector != EXC_DB)
			return true;
		if (s.rip != rip || isa_rows[p->item[at].row].attributes & ROW_ENDS)
			*undefined = seq_flags_after(&p->item[at], *undefined);
		rip = s.rip;
	}
	return false;
}

static void set_segments(const struct seq_program *p, unsigned cpl)
{
	for (unsigned n = 0; n < 6; n++)
		cpu->seg[n] = (struct segment){ 0 };
	unsigned cs = cpl ? SELECTOR_USER_CS : SELECTOR_KERNEL_CS, ss = cpl ? SELECTOR_USER_SS : SELECTOR_KERNEL_SS;
	cpu->seg[SEG_CS] = cpu_unpack_descriptor((uint16_t)cs, gdt[cs >> 3]);
	cpu->seg[SEG_SS] = cpu_unpack_descriptor((uint16_t)ss, gdt[ss >> 3]);
	cpu->seg[SEG_FS].base = p->fs_base;
	cpu->seg[SEG_GS].base = p->gs_base;
}

static void set_cpu(const struct seq_program *p, unsigned view, unsigned cpl)
{
	uint64_t root = cpl ? ROOT_USER : ROOT_KERNEL;
	diff_state_to_cpu(&p->start, cpu);
	cpu->gpr[REG_RIP] = SEQ_VIEW_BASE(view) + p->code;
	cpu->cpl = (uint8_t)cpl;
	set_segments(p, cpl);
	cpu->halted = cpu->interrupt_shadow = cpu->mov_ss_shadow = cpu->step_armed = cpu->rf_clear = false;
	cpu->db_pending = 0;
	cpu->dr[6] = 0xffff0ff0;
	cpu_set_rflags(cpu, p->rflags | 0x202);
	if (cpu->cr3 != root)
		cpu_set_cr3(cpu, root);
	cpu_update_mode(cpu);
}

static enum exit_reason run_engine(void)
{
	enum exit_reason reason;
	ticks = 0;
	in_engine = true;
	do {
		reason = engine->run(cpu);
		if (reason == EXIT_ENGINE) /* it would rather not, but can */
			cpu->exit_detail[0] = 0;
	} while (reason == EXIT_SPIN || reason == EXIT_ENGINE || (reason == EXIT_KICK && ticks < TICKS_MAX));
	in_engine = false;
	if (engine->get_state)
		engine->get_state(cpu, NULL);
	return reason;
}

static bool has_error_code(unsigned vector)
{
	return vector == EXC_DF || (vector >= EXC_TS && vector <= EXC_PF) || vector == EXC_AC;
}

static void take_frame(struct seq_result *r)
{
	const uint8_t *top = guest_page(KERNEL_GPA + K_STACK_TOP - GUEST_PAGE_SIZE) + GUEST_PAGE_SIZE;
	r->vector = (uint8_t)(cpu->gpr[REG_RIP] - 1 - (KERNEL + K_HALT));
	r->state.gpr[REG_RSP] = load_le64(top - 16);
	r->rflags = load_le64(top - 24);
	r->rip = load_le64(top - 40) - (r->vector == EXC_BP);
	r->error = has_error_code(r->vector) ? load_le32(top - 48) : 0;
	r->cr2 = r->vector == EXC_PF ? cpu->cr2 : 0;
}

void seq_run_guest(const struct seq_program *p, unsigned view, unsigned cpl, struct seq_result *r)
{
	for (unsigned n = 0; n < SEQ_PAGES; n++)
		memcpy(guest_page(data_gpa(n)), p->memory[n], GUEST_PAGE_SIZE);
	set_cpu(p, view, cpl);
	enum exit_reason reason = run_engine();
	diff_state_from_cpu(&r->state, cpu);
	r->fs_base = cpu->seg[SEG_FS].base;
	r->gs_base = cpu->seg[SEG_GS].base;
	uint64_t rip = cpu->gpr[REG_RIP] - 1 - (KERNEL + K_HALT);
	if (reason == EXIT_HALT && rip < 256) {
		take_frame(r);
	} else {
		r->vector = reason == EXIT_KICK ? SEQ_TIMEOUT : (uint8_t)(128 + reason);
		r->rip = cpu->gpr[REG_RIP];
	}
	r->state.rflags = r->rflags & (FLAG_ARITH | FLAG_DF);
}

bool seq_engine_start(const struct engine_type *type)
{
	static const struct seq_program nothing;
	static struct seq_result result;
	struct error err = { 0 };
	engine = type;
	if (engine->create(cpu, &err) < 0) {
		fprintf(stderr, "engine %s: %s\n", engine->name, err.text);
		return false;
	}
	host_vector_size(); /* makes the arena of stubs, which has signal handlers; so may an engine that runs */
	seq_run_guest(&nothing, 0, 3, &result);
	hostrun_take_signals();
	hostrun_ticks(on_tick);
	return true;
}
