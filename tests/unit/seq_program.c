/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "isa/op.h"
#include "seq.h"

/* --- addresses --- */

static unsigned live(const struct seq_program *p, unsigned n)
{
	while (n < p->count - 1 && p->item[n].removed)
		n++;
	return n;
}

static bool reaches(const struct seq_program *p, const struct seq_item *i)
{
	int64_t distance = (int64_t)p->item[live(p, (unsigned)i->target)].at - (i->at + i->length);
	return i->fix != SEQ_FIX_BRANCH || i->fix_size == 4 || (distance >= -128 && distance < 128);
}

/* The long form of a short branch; LOOP and JRCXZ have none. */
static bool lengthen(struct seq_item *i)
{
	unsigned op = i->bytes[i->fix_at - 1];
	if (op == 0xeb) {
		i->bytes[i->fix_at - 1] = 0xe9;
	} else if (op >> 4 == 7) {
		i->bytes[i->fix_at - 1] = 0x0f;
		i->bytes[i->fix_at++] = (uint8_t)(0x80 | (op & 15));
	} else {
		return false;
	}
	i->fix_size = 4;
	i->length = (uint8_t)(i->fix_at + 4);
	struct insn insn;
	isa_decode(&insn, i->bytes, 15, ISA_MODE_64);
	i->row = insn.row;
	return true;
}

static void place(struct seq_program *p)
{
	p->size = 0;
	for (unsigned n = 0; n < p->count; n++) {
		p->item[n].at = p->size;
		if (!p->item[n].removed)
			p->size += p->item[n].length;
	}
}

static void fill_in(const struct seq_program *p, const struct seq_item *i, uint8_t *bytes)
{
	uint64_t end = p->code + i->at + i->length, to = 0;
	switch (i->fix) {
	case SEQ_FIX_NONE: return;
	case SEQ_FIX_DATA: to = i->data - end; break;
	case SEQ_FIX_ABS: to = SEQ_VIEW_BASE(0) + p->code + p->item[live(p, (unsigned)i->target)].at; break;
	default: to = p->code + p->item[live(p, (unsigned)i->target)].at - end; break;
	}
	memcpy(bytes + i->at + i->fix_at, &to, i->fix_size);
}

bool seq_layout(struct seq_program *p, uint8_t *bytes)
{
	bool changed;
	do {
		changed = false;
		place(p);
		for (unsigned n = 0; n < p->count; n++) {
			struct seq_item *i = &p->item[n];
			if (i->removed || i->fix != SEQ_FIX_BRANCH || reaches(p, i))
				continue;
			if (!lengthen(i))
				return false;
			changed = true;
		}
	} while (changed);
	for (unsigned n = 0; n < p->count; n++)
		if (!p->item[n].removed) {
			memcpy(bytes + p->item[n].at, p->item[n].bytes, p->item[n].length);
			fill_in(p, &p->item[n], bytes);
		}
	return true;
}

unsigned seq_find(const struct seq_program *p, uint64_t rip)
{
	for (unsigned v = 0; v < SEQ_VIEWS; v++)
		for (unsigned n = 0; n < p->count; n++)
			if (!p->item[n].removed && rip == SEQ_VIEW_BASE(v) + p->code + p->item[n].at)
				return n;
	return SEQ_MAX;
}

/* --- flags --- */

/* Those that leave the flags alone when their count is zero: what was undefined then stays so. */
static bool may_keep_flags(const struct isa_row *row, const struct seq_item *i)
{
	switch (row->op) {
	case OP_SHL: case OP_SHR: case OP_SAR: case OP_SHLD: case OP_SHRD: case OP_ROL: case OP_ROR:
		return row->flags_read != 0;
	case OP_CMPS: case OP_SCAS:
		for (unsigned n = 0; n < i->length; n++)
			if (i->bytes[n] == 0xf2 || i->bytes[n] == 0xf3)
				return true;
		return false;
	case OP_RCL: case OP_RCR:
		return true;
	default:
		return false;
	}
}

uint16_t seq_flags_after(const struct seq_item *i, uint16_t undefined)
{
	const struct isa_row *row = &isa_rows[i->row];
	if (!may_keep_flags(row, i))
		undefined &= (uint16_t)~row->flags_written;
	return (undefined | row->flags_undefined) & FLAG_ARITH;
}

uint16_t seq_flags_read(const struct seq_item *i)
{
	const struct isa_row *row = &isa_rows[i->row];
	if (row->op == OP_RCL || row->op == OP_RCR)
		return FLAG_CF;
	return may_keep_flags(row, i) || row->op == OP_CMPS || row->op == OP_SCAS ? 0 : row->flags_read & FLAG_ARITH;
}

struct flow {
	struct seq_program *p;
	uint16_t in[SEQ_MAX];
	bool reached[SEQ_MAX];
	bool taken[SEQ_MAX]; /* its address may be in a register or on the stack */
	bool changed;
};

static void flow_to(struct flow *f, unsigned n, uint16_t undefined)
{
	n = live(f->p, n);
	if (f->reached[n] && (f->in[n] | undefined) == f->in[n])
		return;
	f->reached[n] = true;
	f->in[n] |= undefined;
	f->changed = true;
}

static void flow_from(struct flow *f, unsigned n)
{
	const struct seq_item *i = &f->p->item[n];
	uint16_t out = seq_flags_after(i, f->in[n]);
	if (i->target >= 0 && i->fix != SEQ_FIX_ITEM && i->fix != SEQ_FIX_ABS)
		flow_to(f, (unsigned)i->target, out);
	if (!i->stops)
		flow_to(f, n + 1, out);
	bool indirect = i->is_return || (i->stops && i->fix == SEQ_FIX_NONE);
	for (unsigned c = 0; indirect && c < f->p->count; c++)
		if (f->taken[c])
			flow_to(f, c, out);
}

/* Where an indirect branch may lead, whatever it was made for: stacks get out of step. */
static void find_taken(struct flow *f)
{
	for (unsigned n = 0; n < f->p->count - 1; n++) {
		const struct seq_item *i = &f->p->item[n];
		if (i->fix == SEQ_FIX_ITEM || i->fix == SEQ_FIX_ABS)
			f->taken[live(f->p, (unsigned)i->target)] = true;
		if (i->is_call)
			f->taken[live(f->p, n + 1)] = true;
	}
}

/* One pass per item that is taken out, since what it wrote is then not written. */
static bool analyse_once(struct seq_program *p)
{
	struct flow f = { .p = p };
	find_taken(&f);
	flow_to(&f, 0, 0);
	while (f.changed) {
		f.changed = false;
		for (unsigned n = 0; n < p->count - 1; n++)
			if (f.reached[n] && !p->item[n].removed)
				flow_from(&f, n);
	}
	for (unsigned n = 0; n < p->count; n++) {
		p->item[n].undefined = f.reached[n] ? f.in[n] : FLAG_ARITH;
		if (f.reached[n] && !p->item[n].removed && f.in[n] & seq_flags_read(&p->item[n])) {
			p->item[n].removed = true;
			return false;
		}
	}
	return true;
}

void seq_analyse(struct seq_program *p)
{
	while (!analyse_once(p))
		;
}

/* --- text --- */

void seq_print(const struct seq_program *p)
{
	static uint8_t bytes[SEQ_MAX * 16];
	for (unsigned n = 0; n < p->count; n++) {
		const struct seq_item *i = &p->item[n];
		uint64_t at = SEQ_VIEW_BASE(0) + p->code + i->at;
		struct insn insn;
		char text[128] = "(data)";
		if (i->removed)
			continue;
		memcpy(bytes + i->at, i->bytes, i->length);
		fill_in(p, i, bytes);
		if (!i->unreachable && isa_decode(&insn, bytes + i->at, i->length, ISA_MODE_64) > 0)
			isa_format(text, sizeof text, &insn, at);
		printf("    %llx  ", (unsigned long long)at);
		for (unsigned b = 0; b < 12 || b < i->length; b++)
			b < i->length ? printf("%02x", bytes[i->at + b]) : printf("  ");
		printf("  %s", text);
		if (i->undefined)
			printf("  ; flags %x undefined before", i->undefined);
		printf("\n");
	}
}
