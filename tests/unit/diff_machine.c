/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "diff_machine.h"

#include <stdio.h>
#include <sys/mman.h>

#include "cpu/fpu.h"
#include "hostrun.h"
#include "isa/op.h"

/* The test's memory: DATA_PAGES pages between two that are not mapped; in the guest's RAM in reverse order. */
#define DATA_BASE 0x13000000ul
#define DATA_PAGES 14u
#define DATA_SIZE (DATA_PAGES * GUEST_PAGE_SIZE)
#define DATA_END (DATA_BASE + DATA_SIZE)
#define TABLES_GPA 0x100000ull
#define DATA_GPA 0x200000ull

static uint8_t *const data = (uint8_t *)DATA_BASE;
static struct guest_memory memory;

/* --- the machine --- */

static uint8_t *guest_page(unsigned n)
{
	bool writable;
	return memory_page(&memory, DATA_GPA + (DATA_PAGES - 1 - n) * GUEST_PAGE_SIZE, &writable);
}

static void put_entry(uint64_t table, unsigned index, uint64_t value)
{
	memory_write(&memory, table + 8 * index, &value, 8);
}

static void make_tables(void)
{
	uint64_t pml4 = TABLES_GPA, pdpt = pml4 + 0x1000, pd = pml4 + 0x2000, pt = pml4 + 0x3000;
	put_entry(pml4, 0, pdpt | 7);
	put_entry(pdpt, 0, pd | 7);
	put_entry(pd, DATA_BASE >> 21, pt | 7);
	for (unsigned n = 0; n < DATA_PAGES; n++)
		put_entry(pt, (DATA_BASE >> 12 & 511) + n, (DATA_GPA + (DATA_PAGES - 1 - n) * GUEST_PAGE_SIZE) | 7);
}

static void set_segment(struct cpu *c, unsigned n, uint16_t selector, uint16_t attributes)
{
	c->seg[n] = (struct segment){ .limit = 0xffffffff, .selector = selector, .attributes = attributes };
}

struct cpu *diff_machine(void)
{
	struct error err = { 0 };
	struct cpu *c = cpu_new();
	struct hostrun_state first = { 0 };
	if (memory_init(&memory, 4 << 20, &err) < 0 || mmap(data, DATA_SIZE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != data) {
		fprintf(stderr, "no memory for the test at 0x%lx: %s\n", DATA_BASE, err.text);
		exit(1);
	}
	hostrun((const uint8_t *)"\x90", 1, &first); /* its signal handlers come first: visor's pass on to them */
	make_tables();
	c->memory = &memory;
	c->count = 1;
	if (cpu_init_cpuid(c, CPU_HOST, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	cpu_reset(c, true);
	c->cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_WP | CR0_MP | CR0_ET;
	c->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
	c->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
	c->cr3 = TABLES_GPA;
	c->xcr0 = diff_components();
	c->cpl = 3;
	c->rflags = 0x202;
	set_segment(c, SEG_CS, 0x33, 0xa0fb);
	for (unsigned n = 0; n < 6; n++)
		if (n != SEG_CS)
			set_segment(c, n, 0x2b, 0xc0f3);
	tlb_flush_all(c);
	cpu_update_mode(c);
	return c;
}
/* --- where memory operands go --- */

static uint64_t random_target(unsigned size)
{
	unsigned kind = diff_below(100);
	if (kind < 3)
		return DATA_END - 1 - diff_below(size + 1);
	if (kind < 5)
		return DATA_BASE - 1 - diff_below(size + 1) + 1;
	if (kind < 12)
		return DATA_BASE + (1 + diff_below(DATA_PAGES - 1)) * GUEST_PAGE_SIZE - diff_below(size + 1);
	if (kind < 13)
		return diff_random();
	uint64_t target = DATA_BASE + 4096 + diff_below(DATA_SIZE - 8192);
	return diff_chance(70) ? ALIGN_DOWN(target, 64ul) : target;
}

static bool is_bit_test(unsigned op)
{
	return op == OP_BT || op == OP_BTS || op == OP_BTR || op == OP_BTC;
}

/* A vector of indices for VSIB: small ones, so that elements stay in the data, but for some. */
static void set_indices(struct diff_state *s, const struct insn *i)
{
	unsigned size = i->opcode & 1 ? 8 : 4;
	for (unsigned n = 0; n < 64; n += size) {
		int64_t index = (int64_t)diff_below(1024) - 512;
		store_le(s->vec[i->index] + n, (uint64_t)(diff_chance(2) ? (int64_t)diff_random() : index), size);
	}
}

/* Chooses base and index so that the operand lies at target; returns where it lies, which may be some bytes lower. */
static uint64_t aim(struct diff_state *s, struct encoding *e, uint64_t target)
{
	struct insn *i = &e->insn;
	bool vsib = isa_rows[i->row].attributes & ROW_VSIB;
	if (!isa_rows[i->row].modrm) {
		diff_set_moffs(e, target);
		return target;
	}
	if (vsib)
		set_indices(s, i);
	if (i->base == REG_RIP || (i->base == REG_NONE && (vsib || i->index == REG_NONE))) {
		uint64_t from = i->base == REG_RIP ? hostrun_base() + e->length : 0;
		if (e->disp_at)
			diff_set_disp(e, (int32_t)((target < 1ul << 31 ? target : DATA_BASE) - from));
		return target;
	}
	if (vsib || i->index == REG_NONE) {
		s->gpr[i->base] = target - (uint64_t)(int64_t)i->disp;
	} else if (i->base == REG_NONE) {
		s->gpr[i->index] = diff_below(256);
		if (e->disp_at)
			diff_set_disp(e, (int32_t)((target < 1ul << 31 ? target : DATA_BASE) - (s->gpr[i->index] << i->scale)));
	} else if (i->base == i->index) {
		unsigned times = 1 + (1u << i->scale);
		s->gpr[i->base] = (target - (uint64_t)(int64_t)i->disp) / times;
		target = s->gpr[i->base] * times + (uint64_t)(int64_t)i->disp;
	} else {
		s->gpr[i->index] = diff_chance(50) ? diff_below(64) : diff_random_gpr();
		s->gpr[i->base] = target - (uint64_t)(int64_t)i->disp - (s->gpr[i->index] << i->scale);
	}
	if (i->adsize == 4 && i->base != REG_NONE && i->base != REG_RIP && i->base != i->index)
		s->gpr[i->base] += diff_random() << 32; /* must not count */
	return target;
}

static void fill_target(uint64_t target, unsigned size)
{
	uint8_t bytes[256];
	if (target < DATA_BASE || target >= DATA_END)
		target = DATA_BASE + 4096;
	uint64_t from = MAX(DATA_BASE, ALIGN_DOWN(target, 8ul) - 64), to = MIN(DATA_END, ALIGN_DOWN(target, 8ul) + size + 64);
	diff_random_bytes(bytes, sizeof bytes);
	for (uint64_t a = from; a < to; a++) {
		data[a - DATA_BASE] = bytes[(a - from) % sizeof bytes];
		guest_page((unsigned)((a - DATA_BASE) / GUEST_PAGE_SIZE))[a % GUEST_PAGE_SIZE] = bytes[(a - from) % sizeof bytes];
	}
}

static void store_both(uint64_t at, uint64_t value)
{
	for (unsigned n = 0; n < 8; n++, value >>= 8) {
		if (at + n < DATA_BASE || at + n >= DATA_END)
			continue;
		data[at + n - DATA_BASE] = (uint8_t)value;
		guest_page((unsigned)((at + n - DATA_BASE) / GUEST_PAGE_SIZE))[(at + n) % GUEST_PAGE_SIZE] = (uint8_t)value;
	}
}

/* --- instructions that need more than a memory operand --- */

static uint64_t landing(void)
{
	return hostrun_base() + 64 + diff_below(4096);
}

static void prepare_branch(struct diff_state *s, const struct encoding *e, uint64_t target)
{
	const struct insn *i = &e->insn;
	if (i->op == OP_RET)
		store_both(s->gpr[REG_RSP], landing());
	if ((i->op == OP_JMP || i->op == OP_CALL) && i->operand[0].kind == OPERAND_MEM)
		store_both(target, landing());
	if ((i->op == OP_JMP || i->op == OP_CALL) && i->operand[0].kind == OPERAND_GPR && i->operand[0].reg != REG_RSP)
		s->gpr[i->operand[0].reg & 15] = landing();
}

static void prepare_implicit(struct diff_state *s, const struct encoding *e)
{
	const struct insn *i = &e->insn;
	const struct isa_row *row = &isa_rows[i->row];
	static const uint8_t pointers[] = { REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI };
	for (unsigned n = 0; n < ARRAY_SIZE(pointers); n++)
		if (diff_chance(70) || row->attributes & ROW_REP)
			s->gpr[pointers[n]] = DATA_BASE + 8192 + diff_below(DATA_SIZE - 16384);
	if (row->attributes & ROW_REP)
		s->gpr[REG_RCX] = (diff_chance(10) ? diff_random() << 32 : 0) | diff_below(40);
	if (row->attributes & ROW_REP && s->gpr[REG_RCX] >> 32 && i->adsize == 8)
		s->gpr[REG_RCX] &= 31;
	switch (i->op) {
	case OP_PUSH: case OP_POP: case OP_CALL: case OP_RET: case OP_ENTER: case OP_PUSHF: case OP_POPF:
		s->gpr[REG_RSP] = DATA_BASE + 8192 + diff_below(DATA_SIZE - 16384);
		break;
	case OP_LEAVE:
		s->gpr[REG_RBP] = DATA_BASE + 8192 + diff_below(DATA_SIZE - 16384);
		break;
	case OP_CLZERO:
		s->gpr[REG_RAX] = random_target(64);
		break;
	case OP_XLAT:
		s->gpr[REG_RBX] = DATA_BASE + 4096 + diff_below(DATA_SIZE - 8192);
		break;
	case OP_MASKMOVQ: case OP_MASKMOVDQU: case OP_VMASKMOVDQU:
		s->gpr[REG_RDI] = random_target(16);
		break;
	default:
		break;
	}
}

/* Comparisons with memory succeed half the time; bit offsets reach only the neighbourhood. */
static void prepare_memory(struct diff_state *s, const struct encoding *e, uint64_t target)
{
	const struct insn *i = &e->insn;
	bool compare = i->op == OP_CMPXCHG || i->op == OP_CMPXCHG8B || i->op == OP_CMPXCHG16B;
	if (compare && diff_chance(50) && target >= DATA_BASE && target < DATA_END - 16) {
		unsigned size = i->op == OP_CMPXCHG ? i->operand[0].size : i->op == OP_CMPXCHG8B ? 4 : 8;
		if (i->base != REG_RAX && i->index != REG_RAX)
			s->gpr[REG_RAX] = load_le(data + (target - DATA_BASE), size);
		if (i->op != OP_CMPXCHG && i->base != REG_RDX && i->index != REG_RDX)
			s->gpr[REG_RDX] = load_le(data + (target - DATA_BASE) + size, size);
	}
}

/* FXRSTOR's and XRSTOR's images: mostly well-formed. */
static void prepare_image(struct diff_state *s, const struct encoding *e, uint64_t at)
{
	unsigned op = e->insn.op;
	if (op == OP_LDMXCSR || op == OP_VLDMXCSR) /* AMD's bit 17 is not offered to guests */
		store_both(at, diff_chance(60) ? diff_random() & 0xffff : diff_random() & ~0x20000ull);
	if (op != OP_FXRSTOR && op != OP_XRSTOR && op != OP_XSAVE && op != OP_XSAVEOPT && op != OP_XSAVEC)
		return;
	if (diff_chance(80) && e->insn.base != REG_RAX && e->insn.index != REG_RAX)
		s->gpr[REG_RAX] |= 0xe7;
	if (op != OP_FXRSTOR && op != OP_XRSTOR)
		return;
	uint64_t mxcsr = diff_chance(95) ? diff_random() & 0xffff : diff_random() >> 32 & ~0x20000ull;
	store_both(at + X87_MXCSR, mxcsr | 0xffffull << 32);
	uint64_t compacted = op == OP_XRSTOR && diff_chance(40) ? BIT64(63) | (diff_random() & diff_components()) : 0;
	uint64_t present = diff_random() & (compacted ? compacted & diff_components() : diff_components());
	store_both(at + 512, diff_chance(95) ? present : diff_random());
	store_both(at + 520, diff_chance(95) ? compacted : diff_random());
	for (unsigned n = 16; n < 64; n += 8)
		store_both(at + 512 + n, diff_chance(99) ? 0 : diff_random());
}
void diff_state_random(struct diff_state *s, struct encoding *e)
{
	const struct isa_row *row = &isa_rows[e->insn.row];
	diff_state_fill(s, row->attributes & (ROW_X87 | ROW_MMX));
	for (unsigned n = 0; n < 16; n++)
		if (diff_chance(20))
			s->gpr[n] = DATA_BASE + diff_below(DATA_SIZE);
	prepare_implicit(s, e);
	uint64_t target = DATA_BASE + 8192;
	if (e->insn.memory) {
		unsigned size = e->insn.operand[e->insn.memory - 1].size;
		const struct operand *source = &e->insn.operand[1];
		target = random_target(MAX(size, 1u));
		if (is_bit_test(e->insn.op) && source->kind == OPERAND_GPR)
			s->gpr[source->reg] = (s->gpr[source->reg] & ~size_mask(source->size)) |
				((uint64_t)(int64_t)((int)diff_below(40000) - 20000) & size_mask(source->size));
		target = aim(s, e, target);
		fill_target(target, size);
		prepare_memory(s, e, target);
		prepare_image(s, e, target);
	}
	prepare_branch(s, e, target);
}
bool diff_memory_equal(bool print)
{
	for (unsigned n = 0; n < DATA_PAGES; n++) {
		const uint8_t *h = data + n * GUEST_PAGE_SIZE, *g = guest_page(n);
		if (memcmp(h, g, GUEST_PAGE_SIZE) == 0)
			continue;
		for (unsigned i = 0; i < GUEST_PAGE_SIZE && print; i++)
			if (h[i] != g[i])
				printf("  memory %lx: host %02x visor %02x\n", DATA_BASE + n * GUEST_PAGE_SIZE + i, h[i], g[i]);
		return false;
	}
	return true;
}

void diff_memory_ignore(uint64_t from, unsigned size)
{
	for (uint64_t a = MAX(from, DATA_BASE); a < MIN(from + size, DATA_END); a++)
		guest_page((unsigned)((a - DATA_BASE) / GUEST_PAGE_SIZE))[a % GUEST_PAGE_SIZE] = data[a - DATA_BASE];
}

bool diff_memory_has(uint64_t address)
{
	return address - DATA_BASE < DATA_SIZE;
}

void diff_memory_align(void)
{
	for (unsigned n = 0; n < DATA_PAGES; n++)
		memcpy(guest_page(n), data + n * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE);
}
