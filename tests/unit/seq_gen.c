/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "seq_gen.h"

#include "base/util.h"
#include "hostrun.h"
#include "isa/op.h"

/* Which instructions there are, where their operands lie, and the state that a sequence starts with. */

static uint16_t *rows[SEQ_CATEGORIES];
static unsigned row_counts[SEQ_CATEGORIES];
static const struct cpu *machine;

/* --- rows --- */

static const char *system_exclusion(const struct isa_row *r)
{
	switch (r->op) {
	case OP_LDMXCSR: case OP_STMXCSR: case OP_VLDMXCSR: case OP_VSTMXCSR: case OP_VZEROUPPER: case OP_VZEROALL:
	case OP_EMMS: case OP_FWAIT: case OP_PUSHF: case OP_POPF: case OP_RDFSBASE: case OP_RDGSBASE: case OP_WRFSBASE: case OP_WRGSBASE:
	case OP_CLI: case OP_STI: case OP_IN: case OP_OUT: case OP_HLT: case OP_INT: case OP_IRET: case OP_RETF:
	case OP_INT3:
		return NULL;
	case OP_MOV_SEG: case OP_PUSH_SEG:
		return r->op == OP_PUSH_SEG || !(r->attributes & ROW_ENDS) ? NULL : "segment registers: guest tests";
	case OP_FXRSTOR:
		return NULL;
	default:
		return r->attributes & ROW_CPL0 ? NULL : "system instruction: guest tests";
	}
}

const char *seq_exclusion(unsigned row)
{
	const struct isa_row *r = &isa_rows[row];
	if (!cpu_has(machine, (enum isa_feature)r->feature))
		return "the host does not have it";
	if (r->attributes & ROW_NO64)
		return "not in 64-bit mode";
	if (r->op == OP_NOP && r->opcode == 0x0d)
		return "0F 0D with a register: AMD's processors refuse it";
	switch (r->op) {
	case OP_INVALID: return "no instruction";
	case OP_RDRAND: case OP_RDSEED: return "random";
	case OP_INT1: return "monitors of other makers report it before itself";
	case OP_SYSEXIT: return "in long mode each maker's own";
	case OP_RDPID: return "the host's processor number";
	case OP_FNSTENV: case OP_FNSAVE: return "stores the x87 pointers, which follow each maker's own rules";
	case OP_SWAPGS: case OP_XSAVES: case OP_XRSTORS: case OP_INVPCID:
		return "privileged: guest tests";
	default: break;
	}
	if (r->op >= OP_JMPF && r->op <= OP_FWAIT)
		return system_exclusion(r);
	return NULL;
}

static int category(unsigned row)
{
	const struct isa_row *r = &isa_rows[row];
	switch (r->op) {
	case OP_JCC: case OP_JMP: case OP_CALL: case OP_RET: case OP_LOOP: case OP_LOOPE: case OP_LOOPNE: case OP_JCXZ:
	case OP_IRET: case OP_RETF: case OP_INT3:
		return -1; /* seq_idiom.c */
	case OP_CLI: case OP_STI: case OP_IN: case OP_OUT: case OP_INS: case OP_OUTS: case OP_HLT: case OP_INT: case OP_UD0:
	case OP_UD1: case OP_UD2:
		return SEQ_SYSTEM;
	default: break;
	}
	if (r->attributes & ROW_CPL0)
		return SEQ_SYSTEM;
	if (r->attributes & (ROW_X87 | ROW_MMX))
		return SEQ_X87;
	if (r->map >= ISA_MAP(ENC_EVEX, 1))
		return SEQ_EVEX;
	if (r->attributes & ROW_AVX)
		return SEQ_AVX;
	return r->attributes & ROW_SSE ? SEQ_SSE : SEQ_INTEGER;
}

/* The same for all sequences but for some lines, so that a seed alone says what a sequence is. */
static uint8_t image[SEQ_PAGES][GUEST_PAGE_SIZE];

static void make_image(void)
{
	diff_seed(0);
	for (unsigned n = 0; n < sizeof image / 64; n++)
		diff_random_bytes((uint8_t *)image + 64 * n, 64);
}

void seq_gen_init(const struct cpu *cpu)
{
	machine = cpu;
	make_image();
	for (unsigned n = 0; n < SEQ_CATEGORIES; n++)
		rows[n] = calloc(isa_row_count, sizeof **rows);
	for (unsigned row = 1; row < isa_row_count; row++)
		if (!seq_exclusion(row) && category(row) >= 0)
			rows[category(row)][row_counts[category(row)]++] = (uint16_t)row;
}

/* --- plain instructions --- */

bool seq_room(const struct seq_gen *g, unsigned items)
{
	return g->p->count + items + 1 < SEQ_MAX;
}

struct seq_item *seq_add(struct seq_gen *g, const uint8_t *bytes, unsigned length)
{
	struct seq_item *i = &g->p->item[g->p->count++];
	struct insn insn;
	*i = (struct seq_item){ .length = (uint8_t)length, .target = -1, .group = g->group };
	memcpy(i->bytes, bytes, length);
	isa_decode(&insn, i->bytes, length, ISA_MODE_64);
	i->row = insn.row;
	g->undefined = seq_flags_after(i, g->undefined);
	return i;
}

void seq_mov_imm(struct seq_gen *g, unsigned reg, uint64_t value)
{
	uint8_t b[10] = { (uint8_t)(0x48 | reg >> 3), (uint8_t)(0xb8 | (reg & 7)) };
	if (value >> 32) {
		store_le64(b + 2, value);
		seq_add(g, b, 10);
	} else {
		b[0] &= ~8u;
		store_le32(b + 2, (uint32_t)value);
		seq_add(g, b, 6);
	}
}

static struct seq_item *lea_rip(struct seq_gen *g, unsigned reg)
{
	struct seq_item *i = SEQ_ADD(g, (uint8_t)(0x48 | (reg >> 3) << 2), 0x8d, (uint8_t)((reg & 7) << 3 | 5), 0, 0, 0, 0);
	i->fix_at = 3;
	i->fix_size = 4;
	return i;
}

void seq_lea_data(struct seq_gen *g, unsigned reg, uint32_t data)
{
	struct seq_item *i = lea_rip(g, reg);
	i->fix = SEQ_FIX_DATA;
	i->data = data;
}

struct seq_item *seq_lea_item(struct seq_gen *g, unsigned reg, int target)
{
	struct seq_item *i = lea_rip(g, reg);
	i->fix = SEQ_FIX_ITEM;
	i->target = (int16_t)target;
	return i;
}

void seq_push_imm(struct seq_gen *g, uint32_t value)
{
	uint8_t b[5] = { 0x68 };
	store_le32(b + 1, value);
	seq_add(g, b, 5);
}

unsigned seq_scratch(const struct seq_gen *g)
{
	for (;;) {
		unsigned r = diff_below(16);
		if (!(g->reserved >> r & 1))
			return r;
	}
}

void seq_define_flags(struct seq_gen *g)
{
	unsigned r = seq_scratch(g), b = diff_below(16);
	static const uint8_t ops[] = { 0x39, 0x3b, 0x01, 0x29, 0x39 };
	unsigned op = ops[diff_below(ARRAY_SIZE(ops))];
	if (op == 0x3b) /* CMP does not write its first operand */
		SEQ_ADD(g, (uint8_t)(0x48 | (b >> 3) << 2 | r >> 3), (uint8_t)op, (uint8_t)(0xc0 | (b & 7) << 3 | (r & 7)));
	else
		SEQ_ADD(g, (uint8_t)(0x40 | diff_below(2) << 3 | (b >> 3) << 2 | r >> 3), (uint8_t)op,
			(uint8_t)(0xc0 | (b & 7) << 3 | (r & 7)));
}

/* --- where memory operands go --- */

uint32_t seq_target(unsigned size, bool write, bool aligned)
{
	unsigned kind = diff_below(100), step = size & (size - 1) ? 16 : size;
	if (kind < 2)
		return SEQ_DATA_END - diff_below(size + 1);
	if (kind < 10 && !aligned)
		return SEQ_DATA + (1 + diff_below(SEQ_DATA_PAGES - 2)) * GUEST_PAGE_SIZE - diff_below(size + 1);
	if (kind < 11)
		return SEQ_RW_END - (aligned ? 0 : diff_below(size));
	if (kind < (write ? 12 : 22))
		return SEQ_RW_END + diff_below(GUEST_PAGE_SIZE / 64) * 64;
	uint32_t at = diff_below((SEQ_DATA_PAGES - 1) * GUEST_PAGE_SIZE - 256);
	return SEQ_DATA + (aligned || diff_chance(60) ? at / step * step : at);
}

static unsigned pick(uint16_t mask)
{
	for (;;) {
		unsigned r = diff_below(16);
		if (mask >> r & 1)
			return r;
	}
}

struct aim {
	struct diff_memory m;
	uint8_t prefix;
	bool data; /* RIP-relative to `target` */
	uint32_t target;
};

static void aim_pointer(const struct seq_gen *g, struct aim *a, unsigned size, bool aligned)
{
	unsigned base = pick(g->pointers | 1u << REG_RSP);
	uint64_t to = SEQ_VIEW_BASE(0) + a->target, from = g->value[base];
	a->m.base = (uint8_t)base;
	if (g->indices && diff_chance(35)) {
		a->m.index = (uint8_t)pick(g->indices);
		a->m.scale = (uint8_t)diff_below(4);
		from += g->value[a->m.index] << a->m.scale;
	}
	if (a->prefix == 0x65)
		from += g->p->gs_base;
	a->m.disp8 = diff_chance(40);
	if (base == REG_RSP)
		to = from + (uint64_t)(int64_t)((int)diff_below(512) - 256);
	if (a->m.disp8)
		to = from + (uint64_t)(int64_t)((int)diff_below(224) - 112);
	if (aligned)
		to = ALIGN_DOWN(to, size & (size - 1) ? 16ull : size);
	a->m.disp = (int32_t)(to - from);
	a->m.disp8 &= a->m.disp >= -128 && a->m.disp < 128;
}

static struct aim aim(const struct seq_gen *g, const struct encoding *e)
{
	const struct isa_row *row = &isa_rows[e->insn.row];
	const struct operand *o = &e->insn.operand[e->insn.memory - 1];
	unsigned kind = diff_below(100), size = o->size ? o->size : 64;
	bool aligned = row->attributes & ROW_ALIGNED && diff_chance(96), bases = hostrun_has_bases();
	struct aim a = { .m = { .base = REG_NONE, .index = REG_NONE } };
	a.target = seq_target(size, o->access & ACCESS_W, aligned);
	uint64_t to = SEQ_VIEW_BASE(0) + a.target;
	if (kind < 18) {
		a.m.base = REG_RIP;
		a.data = true;
	} else if (kind < 24) {
		a.m.disp = (int32_t)to;
	} else if (kind < 28 && bases) {
		a.prefix = 0x64;
		if (g->indices && diff_chance(50)) {
			a.m.index = (uint8_t)pick(g->indices);
			to -= g->value[a.m.index];
		}
		a.m.disp = (int32_t)(to - g->p->fs_base);
	} else if (kind < 29) {
		a.m.base = (uint8_t)diff_below(16);
		a.m.disp = (int32_t)diff_random();
	} else {
		a.prefix = bases && kind < 33 ? 0x65 : 0;
		aim_pointer(g, &a, size, aligned);
	}
	if (!a.prefix && diff_chance(2))
		a.prefix = (uint8_t[]){ 0x26, 0x2e, 0x36, 0x3e }[diff_below(4)];
	return a;
}

/* Gives the instruction a memory operand; what remains to be done when it has its address is in *item. */
static bool set_memory(const struct seq_gen *g, struct encoding *e, struct seq_item *item)
{
	if (!isa_rows[e->insn.row].modrm) { /* MOV's offset forms */
		diff_set_moffs(e, SEQ_VIEW_BASE(0) + seq_target(e->insn.operand[e->insn.memory - 1].size, true, false));
		return true;
	}
	for (unsigned tries = 0; tries < 8; tries++) {
		struct aim a = aim(g, e);
		if (!diff_set_memory(e, &a.m))
			continue;
		if (a.prefix && e->length < 15)
			diff_add_prefix(e, a.prefix);
		if (a.data) {
			item->fix = SEQ_FIX_DATA;
			item->fix_at = (uint8_t)(e->modrm_at + 1);
			item->fix_size = 4;
			item->data = a.target;
		}
		return e->length != 0;
	}
	return false;
}

/* --- instructions --- */

static bool add_encoding(struct seq_gen *g, const struct encoding *e, const struct seq_item *fix)
{
	if (isa_rows[e->insn.row].flags_read & g->undefined)
		seq_define_flags(g);
	struct seq_item *i = seq_add(g, e->bytes, e->length);
	i->fix = fix->fix;
	i->fix_at = fix->fix_at;
	i->fix_size = fix->fix_size;
	i->data = fix->data;
	return true;
}

/* LEA, hints and the like take any address; VSIB's operand goes through the same way as others. */
static bool has_data(const struct encoding *e)
{
	switch (e->insn.op) {
	case OP_LEA: case OP_NOP: case OP_PREFETCH: case OP_PREFETCHW: case OP_CLDEMOTE:
		return diff_chance(30);
	default:
		return true;
	}
}

/* A processor of the tests (AMD, family 1Ah) gives EVEX instructions RSP as it was before the PUSH, POP or CALL in
 * front. */
static bool host_errs(const struct insn *i)
{
	for (unsigned n = 0; n < 4; n++)
		if (i->encoding == ENC_EVEX && i->operand[n].kind == OPERAND_GPR && i->operand[n].reg == REG_RSP)
			return true;
	return false;
}

bool seq_row(struct seq_gen *g, unsigned row)
{
	for (unsigned tries = 0; tries < 8; tries++) {
		struct encoding e;
		struct seq_item fix = { 0 };
		bool memory = false;
		if (!seq_room(g, 6) || !diff_encode(&e, row))
			return false;
		if (e.insn.op == OP_MOVSXD && e.insn.opsize == 2)
			continue; /* reads 2 bytes (SDM 2B); AMD's read 4 */
		if (host_errs(&e.insn) || seq_writes(&e.insn) & g->reserved)
			continue;
		unsigned count = g->p->count;
		if (!seq_prepare(g, &e, &memory) || (e.insn.memory && !memory && has_data(&e) && !set_memory(g, &e, &fix))) {
			g->p->count = count;
			continue;
		}
		return add_encoding(g, &e, &fix);
	}
	return false;
}

bool seq_any(struct seq_gen *g)
{
	unsigned n = 0, at = diff_below(100);
	while (n < SEQ_CATEGORIES - 1 && at >= g->weights[n])
		at -= g->weights[n++];
	if (!row_counts[n] || (n == SEQ_SYSTEM && diff_chance(80)))
		n = SEQ_INTEGER;
	return seq_row(g, rows[n][diff_below(row_counts[n])]);
}

/* --- the whole --- */

static void choose_registers(struct seq_gen *g)
{
	static const uint8_t favourites[] = { REG_RSI, REG_RDI, REG_RBX, REG_RBP };
	struct seq_program *p = g->p;
	g->reserved = 1u << REG_RSP;
	for (unsigned n = 2 + diff_below(3); n > 0; n--) {
		unsigned r = diff_chance(40) ? favourites[diff_below(4)] : diff_below(16);
		if (r != REG_RSP)
			g->pointers |= (uint16_t)(1u << r);
	}
	for (unsigned n = diff_below(3); n > 0; n--)
		g->indices |= (uint16_t)(1u << seq_scratch(g));
	g->indices &= (uint16_t)~g->pointers;
	g->reserved |= g->pointers | g->indices;
	for (unsigned r = 0; r < 16; r++) {
		if (g->pointers >> r & 1)
			p->start.gpr[r] = SEQ_VIEW_BASE(0) + SEQ_DATA + 0x1000 + diff_below(0x2000);
		if (g->indices >> r & 1)
			p->start.gpr[r] = (uint64_t)(int64_t)((int)diff_below(192) - 64);
	}
	p->start.gpr[REG_RSP] = SEQ_VIEW_BASE(0) + SEQ_STACK + 0x1000 + (diff_chance(85) ? 8u : 1u) * diff_below(100);
	memcpy(g->value, p->start.gpr, sizeof g->value);
}

/* diff_random steps through one cycle: neighbouring seeds must not start a few steps apart. */
static void reseed(uint64_t seed)
{
	diff_seed((seed + 0x51ed27) * 0xd1342543de82ef95ull >> 7);
}

static void fill_memory(struct seq_program *p)
{
	memcpy(p->memory, image, sizeof image);
	for (unsigned n = 0; n < 16; n++)
		diff_random_bytes(p->memory[diff_below(SEQ_PAGES)] + diff_below(GUEST_PAGE_SIZE / 64) * 64, 64);
}

static void start_state(struct seq_program *p)
{
	fill_memory(p);
	diff_state_fill(&p->start, false);
	p->rflags = p->start.rflags = diff_random() & (FLAG_ARITH | FLAG_DF);
	if (diff_chance(70))
		p->rflags = p->start.rflags &= ~FLAG_DF;
	p->fs_base = p->gs_base = 0;
	if (hostrun_has_bases()) {
		p->fs_base = SEQ_VIEW_BASE(0) + SEQ_DATA + diff_below(4096);
		p->gs_base = (uint64_t)(int64_t)((int)diff_below(1024) - 512);
	}
}

void seq_generate(struct seq_program *p, uint64_t seed)
{
	static const uint8_t mixes[][SEQ_CATEGORIES] = {
		{ 95, 1, 1, 1, 1, 1 }, { 70, 8, 8, 8, 5, 1 }, { 25, 20, 25, 25, 4, 1 }, { 88, 2, 2, 2, 2, 4 },
		{ 40, 0, 0, 0, 60, 0 },
	};
	p->seed = seed;
	reseed(seed);
	unsigned mix = diff_below(20);
	struct seq_gen g = { .p = p, .weights = mixes[mix < 10 ? 0 : mix < 14 ? 1 : mix < 17 ? 2 : mix < 19 ? 3 : 4] };
	p->count = 0;
	p->user_only = p->one_view = false;
	start_state(p);
	choose_registers(&g);
	unsigned length = 5 + diff_below(56);
	while (p->count < length && seq_room(&g, 10))
		seq_unit(&g);
	g.group = ++g.groups;
	SEQ_ADD(&g, 0xcc)->stops = true;
	seq_analyse(p);
}
