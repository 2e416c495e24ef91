/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "engine/jit/predict.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"
#include "cpu/access.h"
#include "cpu/mmu.h"
#include "engine/jit/blocks.h"
#include "engine/jit/translator.h"
#include "isa/op.h"

/*
 * Code is about to run when it is translated, so that the guest's registers and memory tell which windows its operands will be
 * in. Where that is wrong once, the operand is one of various windows.
 */
#define PEEKS 16 /* for a unit */

/* --- the page that proofs read --- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool there;

/* For shapes: 2^13 pages each, and as many of nothing before and behind. Addresses of 32 bits wrap, so that the last one must
 * not be at the end. */
#define SHAPES_START 0x80000000u
#define SHAPE_PAGES 8192u
#define SHAPE_BYTES (SHAPE_PAGES * GUEST_PAGE_SIZE)
#define SHAPES 31u

static pthread_mutex_t shapes_lock = PTHREAD_MUTEX_INITIALIZER;
static bool shape_taken[SHAPES];
static bool shapes_there;

/* Between proofs for two windows are less than 2^16 pages. */
static void reserve(void)
{
	const size_t half = 65536ull * GUEST_PAGE_SIZE;
	if (!blocks_reserve(PROOF_PAGE - half, 2 * half))
		return;
	there = mprotect((void *)(uintptr_t)PROOF_PAGE, GUEST_PAGE_SIZE, PROT_READ) == 0;
	shapes_there = there && blocks_reserve(SHAPES_START, (1ull << 32) - SHAPES_START);
}

bool predict_init(void)
{
	pthread_once(&once, reserve);
	return there;
}

static bool in_shapes(uintptr_t address)
{
	return shapes_there && address - SHAPES_START < (1ull << 32) - SHAPES_START;
}

static bool in_windows(uintptr_t address)
{
	return there && address - (PROOF_PAGE - 65536ull * GUEST_PAGE_SIZE) < 2 * 65536ull * GUEST_PAGE_SIZE;
}

bool predict_failed(uintptr_t address)
{
	return in_windows(address) || in_shapes(address);
}

uint32_t predict_page(uint16_t window)
{
	return PROOF_PAGE - ((uint32_t)(int32_t)(int16_t)window << GUEST_PAGE_SHIFT);
}

/* --- shapes --- */

static uint32_t shape_at(unsigned n)
{
	return (uint32_t)(SHAPES_START + SHAPE_BYTES + n * 2 * SHAPE_BYTES);
}

uint32_t predict_take(void)
{
	uint32_t proof = 0;
	pthread_mutex_lock(&shapes_lock);
	for (unsigned n = 0; n < SHAPES && shapes_there && !proof; n++)
		if (!shape_taken[n]) {
			shape_taken[n] = true;
			proof = shape_at(n);
		}
	pthread_mutex_unlock(&shapes_lock);
	return proof;
}

void predict_give_back(uint32_t proof)
{
	if (!proof)
		return;
	mprotect((void *)(uintptr_t)proof, SHAPE_BYTES, PROT_NONE);
	pthread_mutex_lock(&shapes_lock);
	shape_taken[(proof - shape_at(0)) / (2 * SHAPE_BYTES)] = false;
	pthread_mutex_unlock(&shapes_lock);
}

static void protect(uint32_t proof, uint16_t zone, int protection)
{
	mprotect((void *)(uintptr_t)(proof + zone * (uint32_t)GUEST_PAGE_SIZE), GUEST_PAGE_SIZE, protection);
}

void predict_show(uint32_t proof, uint16_t zone)
{
	protect(proof, zone, PROT_READ);
}

void predict_hide(uint32_t proof, uint16_t zone)
{
	protect(proof, zone, PROT_NONE);
}

/* --- what faults have told --- */

/* Code that many processes share misses where there is no shape what it hits where there is one: an odd number stands for the latter. */
static uintptr_t site_key(const struct unit *unit, const uint8_t *host)
{
	return (uintptr_t)host << 1 | (unit->shape_bias != 0);
}

/* What was wrong is that one window was guessed, as that of a stack: the shape is guessed next. */
#define ONE_WINDOW (1ull << 63)

static uintptr_t *site_of(const struct jit *jit, uintptr_t key)
{
	return &jit->proof_sites[(key ^ key >> 14 ^ key >> 25) % PROOF_SITES];
}

void predict_missed(struct jit *jit, const struct unit *unit, const uint8_t *host)
{
	struct code_space *space = pages_space(jit, unit);
	uintptr_t key = site_key(unit, host);
	bool one = unit->shape_bias && in_windows(jit->fault_address);
	*site_of(jit, key) = !one || *site_of(jit, key) == (key | ONE_WINDOW) ? key : key | ONE_WINDOW;
	*site_filter_word(&jit->proof_filter, host) |= site_filter_bit(host);
	if (space)
		space->missed++;
	jit->stats.mispredicted++;
}

/* --- values --- */

static bool known(const struct translator *t, unsigned reg)
{
	return reg < 16 && (t->known >> reg & 1);
}

static void learn(struct translator *t, unsigned reg, bool is_known, uint64_t value)
{
	t->known &= ~(1u << reg);
	t->known |= (uint32_t)is_known << reg;
	t->value[reg] = value;
}

void predict_begin(struct translator *t)
{
	memcpy(t->value, t->c->gpr, sizeof(t->value));
	t->known = t->window && t->jit->proof_sites ? 0xffff : 0;
	t->peeks = 0;
	struct code_space *space = t->known && t->set == TLB_USER ? pages_space(t->jit, t->unit) : NULL;
	t->shape = space ? space->shape : (struct window_shape){ 0 };
	t->unit->shape_bias = t->shape.bias;
	if (t->shape.id && !windows_astray(t->jit->space)) /* whatever a register holds, it is guessed to be in the shape */
		t->known = 0;
}

static bool address(const struct translator *t, const struct insn *i, uint64_t *linear)
{
	*linear = (uint64_t)(int64_t)i->disp;
	if (i->adsize != 8)
		return false;
	if (i->base == REG_RIP)
		*linear += t->unit->page + t->at[t->now] + i->length;
	else if (i->base != REG_NONE && !known(t, i->base))
		return false;
	else if (i->base != REG_NONE)
		*linear += t->value[i->base];
	if (i->index != REG_NONE && !known(t, i->index))
		return false;
	if (i->index != REG_NONE)
		*linear += t->value[i->index] << i->scale;
	if (i->seg == SEG_FS || i->seg == SEG_GS)
		*linear += t->c->segment_base[i->seg];
	return true;
}

static bool peek(struct translator *t, uint64_t linear, unsigned size, uint64_t *value)
{
	struct page_rights page;
	unsigned at = (unsigned)(linear & GUEST_PAGE_MASK);
	*value = 0;
	if (t->peeks == PEEKS || at + size > GUEST_PAGE_SIZE)
		return false;
	t->peeks++;
	if (!mmu_peek(t->c, t->set, linear - at, &page))
		return false;
	memcpy(value, page.host + at, size);
	return true;
}

static uint64_t extend(uint64_t value, unsigned size, bool sign)
{
	unsigned shift = 64 - 8 * size;
	return sign ? (uint64_t)((int64_t)(value << shift) >> shift) : value << shift >> shift;
}

static bool source(struct translator *t, const struct insn *i, unsigned n, uint64_t *value)
{
	const struct operand *o = &i->operand[n];
	uint64_t linear;
	switch (o->kind) {
	case OPERAND_IMM:
		*value = (uint64_t)i->imm;
		return true;
	case OPERAND_GPR:
		*value = o->reg < 16 ? extend(t->value[o->reg], o->size, false) : 0;
		return known(t, o->reg) && o->size;
	case OPERAND_MEM:
		return o->size && o->size <= 8 && address(t, i, &linear) && peek(t, linear, o->size, value);
	default:
		return false;
	}
}

/* What the first operand, a whole register, becomes. */
static bool result(struct translator *t, const struct insn *i, uint64_t *value)
{
	uint64_t a = 0, b = 0;
	const struct operand *from = &i->operand[1];
	switch (i->op) {
	case OP_LEA:
		return i->seg != SEG_FS && i->seg != SEG_GS ? address(t, i, value) : false;
	case OP_MOV:
		return from->kind <= OPERAND_MEM && source(t, i, 1, value);
	case OP_MOVZX:
		return source(t, i, 1, value);
	case OP_MOVSX: case OP_MOVSXD:
		if (!source(t, i, 1, &a))
			return false;
		*value = extend(a, from->size, true);
		return true;
	case OP_INC: case OP_DEC:
		*value = t->value[i->operand[0].reg] + (i->op == OP_INC ? 1 : -1ull);
		return known(t, i->operand[0].reg);
	case OP_XOR:
		if (from->kind == OPERAND_GPR && from->reg == i->operand[0].reg)
			return true;
		break;
	case OP_ADD: case OP_SUB: case OP_AND: case OP_OR: case OP_SHL: case OP_SHR:
		break;
	default:
		return false;
	}
	if (!source(t, i, 0, &a) || !source(t, i, 1, &b))
		return false;
	switch (i->op) {
	case OP_ADD: *value = a + b; break;
	case OP_SUB: *value = a - b; break;
	case OP_AND: *value = a & b; break;
	case OP_OR: *value = a | b; break;
	case OP_XOR: *value = a ^ b; break;
	case OP_SHL: *value = a << (b & (i->opsize == 8 ? 63 : 31)); break;
	default: *value = a >> (b & (i->opsize == 8 ? 63 : 31)); break;
	}
	return true;
}

static void stack(struct translator *t, const struct insn *i)
{
	uint64_t value = 0;
	if (i->op == OP_POP) {
		bool good = known(t, REG_RSP) && peek(t, t->value[REG_RSP], 8, &value);
		t->value[REG_RSP] += 8;
		if (i->operand[0].kind == OPERAND_GPR)
			learn(t, i->operand[0].reg, good, value);
		return;
	}
	t->value[REG_RSP] -= 8;
}

void predict_step(struct translator *t)
{
	const struct insn *i = &t->insn[t->now];
	const struct operand *to = &i->operand[0];
	uint64_t value = 0;
	if (!t->known)
		return;
	if (i->op == OP_PUSH || i->op == OP_POP) {
		stack(t, i);
		return;
	}
	bool whole = to->kind == OPERAND_GPR && to->size >= 4 && (to->access & ACCESS_W);
	bool good = whole && result(t, i, &value);
	for (unsigned n = 0; n < 4; n++)
		if (i->operand[n].kind == OPERAND_GPR && (i->operand[n].access & ACCESS_W))
			learn(t, whole_register(i->operand[n].reg), false, 0);
	if (good)
		learn(t, to->reg, true, extend(value, to->size, false));
}

/* A miss costs as much as hundreds of looks at the table of windows, and another translation. Units go on being made where nothing
 * is guessed any more, so that bad luck at a program's start does not last. */
#define MISSES_FREE 256
#define UNITS_FOR_MISS 8

static bool good_guesser(const struct code_space *space)
{
	return space && space->missed < MISSES_FREE + space->units / UNITS_FOR_MISS;
}

static bool missed(const struct translator *t, uintptr_t what)
{
	const uint8_t *host = t->page + t->at[t->now];
	uintptr_t key = site_key(t->unit, host);
	return unlikely(*site_filter_word(&t->jit->proof_filter, host) & site_filter_bit(host)) && *site_of(t->jit, key) == (key | what);
}

bool predict_missed_before(const struct translator *t)
{
	return missed(t, 0);
}

bool predict_shaped(const struct translator *t, unsigned reg)
{
	uint16_t window = (uint16_t)(t->value[reg] >> WINDOW_SHIFT);
	return good_guesser(pages_space(t->jit, t->unit)) && (!known(t, reg) || windows_place(t->jit->windows, t->jit->space, window) != WINDOW_ASTRAY);
}

/* A program at the lowest addresses has heirs, whose stacks, which are not in the shape, are in other windows. */
static bool heirs_differ(const struct translator *t)
{
	return t->shape.id && windows_place(t->jit->windows, t->jit->space, 0) == WINDOW_IN_SHAPE;
}

int predict_window(const struct translator *t, const struct insn *i, bool base_only)
{
	struct code_space *space = pages_space(t->jit, t->unit);
	uint64_t linear = base_only ? t->value[i->base] : 0;
	bool is_known = base_only ? known(t, i->base) : address(t, i, &linear);
	if (predict_missed_before(t) || !good_guesser(space))
		return -1;
	int window = (int)(linear >> WINDOW_SHIFT & 0xffff);
	if (t->shape.id && (!is_known || missed(t, ONE_WINDOW) || windows_place(t->jit->windows, t->jit->space, window) != WINDOW_ASTRAY))
		window = WINDOW_SHAPED;
	else if (!is_known || !is_canonical(linear) || heirs_differ(t))
		return -1;
	return window;
}
