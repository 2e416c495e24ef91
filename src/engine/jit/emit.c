/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/emit.h"

#include <string.h>

enum { RCX = 1 };

void put_bytes(struct emitter *e, const uint8_t *bytes, unsigned count)
{
	if ((uintptr_t)(e->end - e->at) < count) {
		e->full = true;
		return;
	}
	memcpy(e->at, bytes, count);
	e->at += count;
}

void put16(struct emitter *e, unsigned value)
{
	uint16_t v = (uint16_t)value;
	put_bytes(e, (const uint8_t *)&v, 2);
}

void put32(struct emitter *e, uint32_t value)
{
	put_bytes(e, (const uint8_t *)&value, 4);
}

void put64(struct emitter *e, uint64_t value)
{
	put_bytes(e, (const uint8_t *)&value, 8);
}

unsigned emit_rex_xb(const struct host_mem *m)
{
	return (m->index != HOST_NONE ? (m->index & 8) >> 2 : 0) | (m->base != HOST_NONE ? (m->base & 8) >> 3 : 0);
}

/* No base: a SIB byte without one, so that the displacement is absolute and not relative to RIP. */
void emit_modrm(struct emitter *e, unsigned reg, const struct host_mem *m)
{
	unsigned r = (reg & 7) << 3, index = m->index == HOST_NONE ? 4u : m->index & 7u;
	int32_t disp = m->disp + (m->cpu ? e->cpu : 0);
	if (m->base == HOST_NONE) {
		put8(e, r | 4);
		put8(e, (unsigned)m->scale << 6 | index << 3 | 5);
		put32(e, (uint32_t)disp);
		return;
	}
	unsigned base = m->base & 7, mod = disp == 0 && base != 5 ? 0 : disp == (int8_t)disp ? 1 : 2;
	bool sib = m->index != HOST_NONE || base == 4;
	put8(e, mod << 6 | r | (sib ? 4 : base));
	if (sib)
		put8(e, (unsigned)m->scale << 6 | index << 3 | base);
	if (mod == 1)
		put8(e, (uint8_t)disp);
	else if (mod == 2)
		put32(e, (uint32_t)disp);
}

static void emit_opcode(struct emitter *e, unsigned flags, unsigned opcode, unsigned rex, bool need_rex)
{
	if (flags & EMIT_66)
		put8(e, 0x66);
	if (flags & EMIT_F3)
		put8(e, 0xf3);
	if (flags & EMIT_F2)
		put8(e, 0xf2);
	rex |= flags & EMIT_W ? 8 : 0;
	if (rex || need_rex)
		put8(e, 0x40 | rex);
	if (flags & EMIT_0F)
		put8(e, 0x0f);
	put8(e, opcode);
}

void emit_mem(struct emitter *e, unsigned flags, unsigned opcode, unsigned reg, struct host_mem m)
{
	if (m.gs)
		put8(e, 0x65);
	emit_opcode(e, flags, opcode, (reg & 8) >> 1 | emit_rex_xb(&m), (flags & EMIT_BYTE) && reg >= 4);
	emit_modrm(e, reg, &m);
}

void emit_reg(struct emitter *e, unsigned flags, unsigned opcode, unsigned reg, unsigned rm)
{
	emit_opcode(e, flags, opcode, (reg & 8) >> 1 | (rm & 8) >> 3, (flags & EMIT_BYTE) && (reg >= 4 || rm >= 4));
	put8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

void emit_constant(struct emitter *e, unsigned reg, uint64_t value)
{
	if (value == (uint32_t)value) {
		if (reg & 8)
			put8(e, 0x41);
		put8(e, 0xb8 | (reg & 7));
		put32(e, (uint32_t)value);
	} else if (value == (uint64_t)(int32_t)value) {
		emit_reg(e, EMIT_W, 0xc7, 0, reg);
		put32(e, (uint32_t)value);
	} else {
		put8(e, 0x48 | (reg & 8) >> 3);
		put8(e, 0xb8 | (reg & 7));
		put64(e, value);
	}
}

void emit_store_constant(struct emitter *e, struct host_mem m, int32_t value)
{
	emit_mem(e, EMIT_W, 0xc7, 0, m);
	put32(e, (uint32_t)value);
}

static uint8_t *put_rel32(struct emitter *e, const uint8_t *target)
{
	uint8_t *site = e->at;
	put32(e, (uint32_t)(target - (emit_here(e) + 4)));
	return site;
}

uint8_t *emit_jump(struct emitter *e, const uint8_t *target)
{
	put8(e, 0xe9);
	return put_rel32(e, target);
}

uint8_t *emit_jump_if(struct emitter *e, unsigned condition, const uint8_t *target)
{
	put8(e, 0x0f);
	put8(e, 0x80 | condition);
	return put_rel32(e, target);
}

void emit_near(struct emitter *e, unsigned flags, unsigned opcode, unsigned reg, const void *target)
{
	emit_opcode(e, flags, opcode, (reg & 8) >> 1, false);
	put8(e, (reg & 7) << 3 | 5);
	put_rel32(e, target);
}

uint8_t *emit_short(struct emitter *e, unsigned condition)
{
	put8(e, 0x70 | condition);
	put8(e, 0);
	return e->at;
}

uint8_t *emit_jrcxz(struct emitter *e)
{
	put8(e, 0xe3);
	put8(e, 0);
	return e->at;
}

uint8_t *emit_skip(struct emitter *e)
{
	put8(e, 0xeb);
	put8(e, 0);
	return e->at;
}

void emit_over(struct emitter *e, uint8_t *from)
{
	if (!e->full)
		from[-1] = (uint8_t)(e->at - from);
}

void emit_patch(uint8_t *site, intptr_t delta, const uint8_t *target)
{
	int32_t distance = (int32_t)(target - (site + delta + 4));
	__atomic_store_n((int32_t *)site, distance, __ATOMIC_RELEASE);
}

void emit_shift_quietly(struct emitter *e, unsigned pp, unsigned to, unsigned from, unsigned count)
{
	put8(e, 0xc4);
	put8(e, (~to & 8) << 4 | 0x40 | (~from & 8) << 2 | 2);
	put8(e, 0x80 | (~count & 15) << 3 | pp);
	put8(e, 0xf7);
	put8(e, 0xc0 | (to & 7) << 3 | (from & 7));
}

void emit_rotate_quietly(struct emitter *e, unsigned to, unsigned from, unsigned count)
{
	put8(e, 0xc4);
	put8(e, (~to & 8) << 4 | 0x40 | (~from & 8) << 2 | 3);
	put8(e, 0xfb);
	put8(e, 0xf0);
	put8(e, 0xc0 | (to & 7) << 3 | (from & 7));
	put8(e, count);
}

uint8_t *emit_compare_target(struct emitter *e, uint64_t target, const uint8_t *other)
{
	emit_move(e, S_B, RCX);
	if (-target == (uint64_t)(int32_t)-target) { /* kernels, and programs that are not position-independent */
		emit_lea(e, RCX, MEM_BASE(S_A, (int32_t)-target));
	} else {
		emit_constant(e, RCX, -target);
		emit_lea(e, RCX, (struct host_mem){ .base = RCX, .index = S_A });
	}
	uint8_t *equal = emit_jrcxz(e);
	emit_move(e, RCX, S_B);
	uint8_t *site = emit_jump(e, other);
	emit_over(e, equal);
	emit_move(e, RCX, S_B);
	return site;
}

/* mov r11, rcx; mov ecx, [m]; jrcxz */
uint8_t *emit_check_quietly(struct emitter *e, struct host_mem m)
{
	emit_move(e, S_A, RCX);
	emit_mem(e, 0, 0x8b, RCX, m);
	uint8_t *quiet = emit_jrcxz(e);
	emit_move(e, RCX, S_A);
	return quiet;
}

void emit_quiet(struct emitter *e, uint8_t *quiet)
{
	emit_over(e, quiet);
	emit_move(e, RCX, S_A);
}
