/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/util.h"
#include "isa/op.h"
#include "seq_gen.h"

/* Branches of all kinds: what one row alone cannot make. */

#define DEPTH_MAX 3

static int here(const struct seq_gen *g)
{
	return (int)g->p->count;
}

static struct seq_item *branch(struct seq_gen *g, struct seq_item *i, unsigned size, int target)
{
	i->fix = SEQ_FIX_BRANCH;
	i->fix_size = (uint8_t)size;
	i->fix_at = (uint8_t)(i->length - size);
	i->target = (int16_t)target;
	return i;
}

static struct seq_item *jcc(struct seq_gen *g, unsigned condition, int target)
{
	if (diff_chance(60))
		return branch(g, SEQ_ADD(g, (uint8_t)(0x70 | condition), 0), 1, target);
	return branch(g, SEQ_ADD(g, 0x0f, (uint8_t)(0x80 | condition), 0, 0, 0, 0), 4, target);
}

static struct seq_item *jmp(struct seq_gen *g, int target)
{
	struct seq_item *i = diff_chance(60) ? branch(g, SEQ_ADD(g, 0xeb, 0), 1, target) :
			     branch(g, SEQ_ADD(g, 0xe9, 0, 0, 0, 0), 4, target);
	i->stops = true;
	return i;
}

static uint16_t condition_reads(unsigned condition)
{
	static const uint16_t reads[] = { FLAG_OF, FLAG_CF, FLAG_ZF, FLAG_CF | FLAG_ZF, FLAG_SF, FLAG_PF, FLAG_SF | FLAG_OF,
					  FLAG_ZF | FLAG_SF | FLAG_OF };
	return reads[condition >> 1];
}

/* Some units inside an idiom; of what they undefine, half the time, only seq_analyse knows. */
static void body(struct seq_gen *g, unsigned most)
{
	uint32_t group = g->group;
	uint16_t undefined = g->undefined;
	g->depth++;
	for (unsigned n = diff_below(most) + 1; n > 0 && seq_room(g, 12); n--)
		seq_unit(g);
	g->depth--;
	g->group = group;
	if (diff_chance(50))
		g->undefined |= undefined;
}

static void forward(struct seq_gen *g)
{
	unsigned condition = diff_below(16), kind = diff_below(10);
	struct seq_item *i;
	if (kind == 0) {
		if (diff_chance(60) && !(g->reserved >> REG_RCX & 1))
			seq_mov_imm(g, REG_RCX, diff_below(2));
		i = diff_chance(70) ? branch(g, SEQ_ADD(g, 0xe3, 0), 1, -1) : branch(g, SEQ_ADD(g, 0x67, 0xe3, 0), 1, -1);
	} else if (kind == 1) {
		i = jmp(g, -1);
	} else {
		if (g->undefined & condition_reads(condition))
			seq_define_flags(g);
		i = jcc(g, condition, -1);
	}
	int from = (int)(i - g->p->item);
	i->target = (int16_t)(from + 1); /* for the time being */
	body(g, kind == 0 ? 3 : 5);
	g->p->item[from].target = (int16_t)here(g);
}

/* Bytes that nobody executes, though they may decode to anything. */
static void data_among_code(struct seq_gen *g)
{
	int from = (int)(jmp(g, 0) - g->p->item);
	uint8_t junk[8];
	unsigned size = 1 + diff_below(8);
	for (unsigned n = 0; n < size; n++)
		junk[n] = (uint8_t)diff_random();
	uint16_t undefined = g->undefined;
	struct seq_item *i = seq_add(g, junk, size);
	*i = (struct seq_item){ .length = (uint8_t)size, .target = -1, .group = g->group, .unreachable = true };
	memcpy(i->bytes, junk, size);
	g->undefined = undefined;
	g->p->item[from].target = (int16_t)here(g);
}

static void loop(struct seq_gen *g)
{
	bool by_loop = !(g->reserved & 1u << REG_RCX) && diff_chance(30);
	unsigned r = by_loop ? REG_RCX : seq_scratch(g), kind = diff_below(3);
	uint16_t reserved = g->reserved;
	seq_mov_imm(g, r, 1 + diff_below(6));
	int head = here(g);
	g->reserved |= (uint16_t)(1u << r);
	if (diff_chance(70))
		g->undefined = FLAG_ARITH;
	body(g, by_loop ? 4 : 6);
	g->reserved = reserved;
	if (by_loop) {
		if (kind && g->undefined & FLAG_ZF)
			seq_define_flags(g);
		branch(g, SEQ_ADD(g, (uint8_t)(0xe2 - kind), 0), 1, head);
		return;
	}
	if (kind == 0)
		SEQ_ADD(g, (uint8_t)(0x48 | r >> 3), 0xff, (uint8_t)(0xc8 | (r & 7)));
	else if (kind == 1)
		SEQ_ADD(g, (uint8_t)(0x40 | r >> 3), 0x83, (uint8_t)(0xe8 | (r & 7)), 1);
	else
		SEQ_ADD(g, (uint8_t)(0x48 | r >> 3), 0x83, (uint8_t)(0xc0 | (r & 7)), 0xff);
	jcc(g, 5, head);
}

/* --- calls --- */

static void ret(struct seq_gen *g)
{
	struct seq_item *i = diff_chance(80) ? SEQ_ADD(g, 0xc3) : SEQ_ADD(g, 0xc2, (uint8_t)(diff_below(3) * 8), 0);
	i->is_return = i->stops = true;
}

static void call(struct seq_gen *g, int target)
{
	unsigned kind = diff_below(4), r = seq_scratch(g);
	struct seq_item *i;
	if (kind == 0) {
		seq_lea_item(g, r, target);
		i = r >= 8 ? SEQ_ADD(g, 0x41, 0xff, (uint8_t)(0xd0 | (r & 7))) : SEQ_ADD(g, 0xff, (uint8_t)(0xd0 | r));
		i->target = (int16_t)target;
	} else if (kind == 1) {
		seq_lea_item(g, r, target);
		i = r >= 8 ? SEQ_ADD(g, 0x41, 0x50 | (r & 7)) : SEQ_ADD(g, (uint8_t)(0x50 | r));
		i = SEQ_ADD(g, 0xff, 0x14, 0x24); /* call [rsp] */
		i->target = (int16_t)target;
	} else {
		i = branch(g, SEQ_ADD(g, 0xe8, 0, 0, 0, 0), 4, target);
	}
	i->stops = true; /* what follows is reached by the function's returns */
	i->is_call = true;
}

/* jmp over; f: ...; ret; over: call f, perhaps from two places. */
static void function(struct seq_gen *g)
{
	int from = (int)(jmp(g, 0) - g->p->item), entry = here(g);
	body(g, 4);
	ret(g);
	g->p->item[from].target = (int16_t)here(g);
	call(g, entry);
	if (diff_chance(30)) {
		body(g, 2);
		call(g, entry);
	}
}

/* call f forwards, the rest of the code behind the function. */
static void call_forward(struct seq_gen *g)
{
	struct seq_item *i = branch(g, SEQ_ADD(g, 0xe8, 0, 0, 0, 0), 4, 0);
	int from = (int)(i - g->p->item);
	i->is_call = true;
	i->stops = true;
	int over = (int)(jmp(g, 0) - g->p->item);
	g->p->item[from].target = (int16_t)here(g);
	body(g, 4);
	ret(g);
	g->p->item[over].target = (int16_t)here(g);
}

/* A call whose return address is taken from the stack: position-independent code's way to RIP. */
static void call_pop(struct seq_gen *g)
{
	unsigned r = seq_scratch(g);
	struct seq_item *i = branch(g, SEQ_ADD(g, 0xe8, 0, 0, 0, 0), 4, 0);
	i->target = (int16_t)here(g);
	i->is_call = i->stops = true;
	r >= 8 ? SEQ_ADD(g, 0x41, (uint8_t)(0x58 | (r & 7))) : SEQ_ADD(g, (uint8_t)(0x58 | r));
}

/* --- jumps to addresses in registers and memory --- */

static void push(struct seq_gen *g, unsigned r)
{
	r >= 8 ? SEQ_ADD(g, 0x41, (uint8_t)(0x50 | (r & 7))) : SEQ_ADD(g, (uint8_t)(0x50 | r));
}

static void push_frame(struct seq_gen *g, unsigned kind, unsigned r)
{
	if (kind == 4) { /* IRET: SS, RSP, RFLAGS, CS, RIP; RSP as it is below the frame's end */
		unsigned s = seq_scratch(g);
		while (s == r)
			s = seq_scratch(g);
		SEQ_ADD(g, (uint8_t)(0x48 | (s >> 3) << 2), 0x8d, (uint8_t)(0x44 | (s & 7) << 3), 0x24,
			(uint8_t)(diff_below(4) * 8));
		SEQ_ADD(g, 0x6a, 0x2b);
		push(g, s);
		seq_push_imm(g, (uint32_t)(diff_random() & (FLAG_ARITH | FLAG_DF)) | FLAG_IF | 2);
	}
	SEQ_ADD(g, 0x6a, 0x33);
	push(g, r);
	g->p->user_only = true;
}

static void indirect(struct seq_gen *g)
{
	unsigned kind = diff_below(6), r = seq_scratch(g);
	int lea = here(g);
	struct seq_item *i;
	if (diff_chance(70)) {
		seq_lea_item(g, r, 0);
	} else { /* an address of view 0 even when the code runs in view 1 */
		i = SEQ_ADD(g, (uint8_t)(0x48 | r >> 3), (uint8_t)(0xb8 | (r & 7)), 0, 0, 0, 0, 0, 0, 0, 0);
		i->fix = SEQ_FIX_ABS;
		i->fix_at = 2;
		i->fix_size = 8;
	}
	switch (kind) {
	case 0: case 1: /* jmp r */
		i = r >= 8 ? SEQ_ADD(g, 0x41, 0xff, (uint8_t)(0xe0 | (r & 7))) : SEQ_ADD(g, 0xff, (uint8_t)(0xe0 | r));
		break;
	case 2: /* push r; ret */
		push(g, r);
		i = diff_chance(70) ? SEQ_ADD(g, 0xc3) : SEQ_ADD(g, 0xc2, 8, 0);
		break;
	case 3: /* push r; jmp [rsp] */
		push(g, r);
		i = SEQ_ADD(g, 0xff, 0x24, 0x24);
		break;
	default: /* IRETQ, RETFQ */
		push_frame(g, kind, r);
		i = kind == 4 ? SEQ_ADD(g, 0x48, 0xcf) :
		    diff_chance(70) ? SEQ_ADD(g, 0x48, 0xcb) : SEQ_ADD(g, 0x48, 0xca, 8, 0);
		break;
	}
	i->stops = true;
	int jump = (int)(i - g->p->item);
	if (diff_chance(50)) {
		g->p->item[lea].target = g->p->item[jump].target = (int16_t)here(g);
		body(g, 3);
	}
	g->p->item[lea].target = g->p->item[jump].target = (int16_t)here(g);
}

/* Somewhere else: no code, no memory, no address. */
static void wild(struct seq_gen *g)
{
	unsigned r = seq_scratch(g);
	static const uint64_t to[] = { SEQ_DATA + 64, SEQ_DATA - 32, 0x10000, 1ull << 47, SEQ_STACK_END,
				       SEQ_CODE_PAGES * 4096ull };
	unsigned n = diff_below(ARRAY_SIZE(to));
	seq_mov_imm(g, r, to[n] + (n == 2 || n == 3 ? 0 : SEQ_VIEW_BASE(0)));
	if (diff_chance(50)) {
		push(g, r);
		SEQ_ADD(g, 0xc3)->stops = true;
	} else {
		uint8_t modrm = (uint8_t)((diff_chance(50) ? 0xe0 : 0xd0) | (r & 7)); /* JMP or CALL */
		SEQ_ADD(g, (uint8_t)(0x40 | r >> 3), 0xff, modrm)->stops = true;
	}
}

void seq_unit(struct seq_gen *g)
{
	unsigned kind = diff_below(1000);
	bool deep = g->depth >= DEPTH_MAX || !seq_room(g, 30);
	g->group = ++g->groups;
	if (deep || kind >= 190) {
		seq_any(g);
		return;
	}
	if (kind < 90)
		forward(g);
	else if (kind < 115)
		loop(g);
	else if (kind < 130)
		function(g);
	else if (kind < 140)
		call_forward(g);
	else if (kind < 147)
		call_pop(g);
	else if (kind < 170)
		indirect(g);
	else if (kind < 185)
		data_among_code(g);
	else if (kind < 187)
		wild(g);
	else
		seq_any(g);
}
