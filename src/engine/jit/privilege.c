/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/translator.h"

#include <stddef.h>

#include "base/util.h"
#include "cpu/flags.h"
#include "cpu/system.h"
#include "engine/jit/flags.h"
#include "isa/op.h"

/*
 * SYSCALL, SYSRET and IRETQ between 64-bit code of CPL 3 and CPL 0, without a way through
 * the monitor's loop. One stub each does what the function in cpu/ does in the common
 * case, IRETQ by a function that never faults; all else goes to that function. A site comes there with the record
 * of the function in S_B and, in WORD(branch), the record for a target that is not known yet.
 *
 * The code at the target has another TLB set, other windows, so RSP goes by the table of that level.
 */
#define SYSRET_FLAGS 0x3c7fd7
#define UNUSUAL (FLAG_TF | FLAG_RF | FLAG_VM | FLAG_AC)
#define SEG_FIELD(n, field) CPU_OFFSET(offsetof(struct cpu, seg) + (n) * sizeof(struct segment) + offsetof(struct segment, field))

enum { CODE_ATTRIBUTES = SEGATTR_P | SEGATTR_S | SEG_CODE | SEG_READABLE | SEG_ACCESSED | SEGATTR_G | SEGATTR_L,
       STACK_ATTRIBUTES = SEGATTR_P | SEGATTR_S | SEG_WRITABLE | SEG_ACCESSED | SEGATTR_G | SEGATTR_DB };

/* op reg, imm32; 0 add, 1 or, 4 and */
static void constant(struct emitter *e, unsigned flags, unsigned op, unsigned reg, uint32_t value)
{
	emit_reg(e, flags, 0x81, op, reg);
	put32(e, value);
}

static void shift(struct emitter *e, unsigned flags, unsigned op, unsigned reg, unsigned count)
{
	emit_reg(e, flags, 0xc1, op, reg);
	put8(e, count);
}

static void test_memory(struct emitter *e, struct host_mem m, uint32_t bits)
{
	emit_mem(e, 0, 0xf7, 0, m);
	put32(e, bits);
}

static void test_register(struct emitter *e, unsigned reg, uint32_t bits)
{
	emit_reg(e, 0, 0xf7, 0, reg);
	put32(e, bits);
}

static void store_byte(struct emitter *e, struct host_mem m, unsigned value)
{
	emit_mem(e, 0, 0xc6, 0, m);
	put8(e, value);
}

/* The record in S_B is executed by its function. */
static uint8_t *make_slow(struct jit *jit, struct emitter *e)
{
	uint8_t *slow = emit_here(e);
	emit_move(e, S_A, S_B);
	emit_jump(e, jit->leave_memory_flags);
	return slow;
}

/* RFLAGS in `to`; S_B is lost. */
static void get_rflags(struct emitter *e, unsigned to)
{
	emit_mem(e, EMIT_0F, 0xb7, to, CPU_FIELD(cc));
	emit_reg(e, 0, 0x89, to, S_B);
	shift(e, 0, 5, to, 8);
	constant(e, 0, 4, to, 0xd5);
	constant(e, 0, 4, S_B, 1);
	shift(e, 0, 4, S_B, 11);
	emit_reg(e, 0, 0x09, S_B, to);
	emit_mem(e, EMIT_W, 0x0b, to, CPU_FIELD(rflags));
}

/* cc and rflags from `from`, which is lost, as are S_A and S_B. */
static void set_rflags(struct emitter *e, unsigned from)
{
	emit_reg(e, 0, 0x89, from, S_A);
	constant(e, 0, 4, S_A, 0xd5);
	constant(e, 0, 1, S_A, 2);
	shift(e, 0, 4, S_A, 8);
	emit_reg(e, 0, 0x89, from, S_B);
	shift(e, 0, 5, S_B, 11);
	constant(e, 0, 4, S_B, 1);
	emit_reg(e, 0, 0x09, S_B, S_A);
	emit_mem(e, EMIT_66, 0x89, S_A, CPU_FIELD(cc));
	constant(e, 0, 4, from, (uint32_t)(RFLAGS_VALID & ~FLAG_ARITH));
	constant(e, 0, 1, from, 2);
	emit_store(e, CPU_FIELD(rflags), from);
}

/* A flat segment with the selector in `selector`, which is lost, as is S_B. */
static void set_segment(struct emitter *e, unsigned seg, unsigned selector, unsigned cpl, unsigned attributes)
{
	_Static_assert(offsetof(struct segment, limit) == 8 && offsetof(struct segment, selector) == 12 &&
		       offsetof(struct segment, attributes) == 14, "limit, selector and attributes are written at once");
	constant(e, 0, 4, selector, 0xfffc);
	shift(e, EMIT_W, 4, selector, 32);
	emit_constant(e, S_B, (uint64_t)(attributes | cpl << 5) << 48 | (uint64_t)cpl << 32 | 0xffffffff);
	emit_reg(e, EMIT_W, 0x09, S_B, selector);
	emit_store(e, SEG_FIELD(seg, limit), selector);
	emit_store_constant(e, SEG_FIELD(seg, base), 0);
}

/* CS and SS from the selector in bits star_shift.. of STAR, + add. All scratch registers are lost. */
static void set_segments(struct emitter *e, unsigned star_shift, unsigned cs_add, unsigned cpl)
{
	emit_load(e, S_C, CPU_FIELD(star));
	shift(e, EMIT_W, 5, S_C, star_shift);
	emit_lea(e, S_A, MEM_BASE(S_C, cs_add));
	set_segment(e, SEG_CS, S_A, cpl, CODE_ATTRIBUTES);
	if (!cpl)
		constant(e, 0, 4, S_C, 0xfffc);
	emit_lea(e, S_A, MEM_BASE(S_C, 8));
	set_segment(e, SEG_SS, S_A, cpl, STACK_ATTRIBUTES);
	store_byte(e, CPU_FIELD(cpl), cpl);
}

/* cmp byte [m], 0 */
static void compare_byte(struct emitter *e, struct host_mem m)
{
	emit_mem(e, 0, 0x80, 7, m);
	put8(e, 0);
}

/* RSP, whatever it is relative to, becomes that of the level. */
static void move_stack(struct jit *jit, struct emitter *e, unsigned set)
{
	struct host_mem bias = { .base = HOST_NONE, .index = S_C, .scale = 3, .disp = (int32_t)(uintptr_t)mirror_table(jit, set) };
	emit_load(e, S_B, WORD(stack));
	emit_lea(e, S_B, (struct host_mem){ .base = REG_RSP, .index = S_B, .disp = 1 });
	emit_move(e, S_C, S_B);
	shift(e, EMIT_W, 5, S_C, 32);
	emit_reg(e, EMIT_0F, 0xb7, S_C, S_C);
	emit_load(e, S_C, bias);
	emit_lea(e, REG_RSP, (struct host_mem){ .base = S_B, .index = S_C });
	emit_reg(e, EMIT_W, 0xf7, 2, S_C); /* not */
	emit_store(e, WORD(stack), S_C);
}

/* By the space's table of branches. */
static void go_by_table(struct jit *jit, struct emitter *e, unsigned set)
{
	move_stack(jit, e, set);
	emit_move(e, S_B, REG_RAX);
	flags_emit_load(e, REG_RAX);
	emit_move(e, REG_RAX, S_B);
	if (set == TLB_USER)
		emit_load(e, S_C, WORD(bias));
	emit_branch_by_table(e, set);
}

/* Leaves for the address in S_A. */
static void leave_for(struct jit *jit, struct emitter *e)
{
	emit_store(e, CPU_FIELD(gpr[REG_RIP]), S_A);
	emit_mem(e, 0, 0x8b, S_A, WORD(branch));
	emit_address(e, S_B, jit->data);
	emit_lea(e, S_A, (struct host_mem){ .base = S_A, .index = S_B });
	emit_jump(e, jit->leave_memory_flags);
}

/* Where user code that uses windows takes vector state for granted that is not loaded (vector.c), the engine sees to it. */
static void check_vectors(struct jit *jit, struct emitter *e)
{
	emit_mem(e, 0, 0x8b, S_C, WORD(vector));
	emit_reg(e, 0, 0xf7, 2, S_C); /* not */
	emit_mem(e, 0, 0x85, S_C, WORD(assumed));
	uint8_t *loaded = emit_short(e, COND_E);
	leave_for(jit, e);
	emit_over(e, loaded);
}

/* The tag of the level's code. */
static void load_tag(struct emitter *e, unsigned set)
{
	if (set == TLB_USER) {
		emit_mem(e, 0, 0x8b, S_C, WORD(tag[TLB_USER]));
		return;
	}
	test_memory(e, CPU_FIELD(cr4), CR4_SMAP);
	emit_mem(e, 0, 0x8b, S_C, WORD(tag[TLB_SUPERVISOR]));
	emit_mem(e, EMIT_0F, 0x44, S_C, WORD(tag[TLB_SUPERVISOR_AC])); /* cmovz */
}

/* By the table of all branches: see exit_by_tag in branch.c. */
static void go_by_tag(struct jit *jit, struct emitter *e, unsigned set)
{
	emit_load(e, S_B, WORD(stack));
	emit_lea(e, REG_RSP, (struct host_mem){ .base = REG_RSP, .index = S_B, .disp = 1 });
	emit_store_constant(e, WORD(stack), -1);
	load_tag(e, set);
	emit_reg(e, EMIT_0F, 0xb7, S_B, S_A);
	shift(e, 0, 4, S_B, 5);
	emit_mem(e, EMIT_W, 0x03, S_B, WORD(jumps));
	emit_mem(e, EMIT_W, 0x3b, S_A, MEM_BASE(S_B, offsetof(struct jump, va)));
	uint8_t *other = emit_short(e, COND_NE);
	emit_mem(e, 0, 0x3b, S_C, MEM_BASE(S_B, offsetof(struct jump, tag)));
	uint8_t *stale = emit_short(e, COND_NE);
	emit_mem(e, 0, 0x83, 7, CPU_FIELD(attention));
	put8(e, 0);
	uint8_t *wanted = emit_short(e, COND_NE);
	constant(e, EMIT_W, 4, S_A, (uint32_t)-GUEST_PAGE_SIZE);
	if (set == TLB_USER)
		emit_store(e, WORD(code_page), S_A);
	emit_mem(e, 0, 0xff, 4, MEM_BASE(S_B, offsetof(struct jump, code)));
	emit_over(e, other);
	emit_over(e, stale);
	emit_over(e, wanted);
	leave_for(jit, e);
}

/* To the address in S_A, code of the level of `set`; flags are in cpu->cc. */
static void go(struct jit *jit, struct emitter *e, unsigned set)
{
	if (!jit->windows) {
		go_by_tag(jit, e, set);
		return;
	}
	compare_byte(e, set == TLB_USER ? WORD(user_table) : WORD(kernel_window));
	uint8_t *cold = emit_jump_if(e, COND_E, emit_here(e)), *no_smap = NULL;
	if (set != TLB_USER) { /* the table is for code without AC */
		test_memory(e, CPU_FIELD(cr4), CR4_SMAP);
		no_smap = emit_jump_if(e, COND_E, emit_here(e));
	}
	if (set == TLB_USER)
		check_vectors(jit, e);
	go_by_table(jit, e, set);
	if (!e->full)
		emit_patch(cold, e->delta, emit_here(e));
	if (!e->full && no_smap)
		emit_patch(no_smap, e->delta, emit_here(e));
	go_by_tag(jit, e, set);
}

/* cpu/sys_call.c has the function, and the same order. S_A: the address behind the instruction. */
static void make_syscall(struct jit *jit, struct emitter *e)
{
	uint8_t *slow = make_slow(jit, e);
	jit->syscall = emit_here(e);
	test_memory(e, CPU_FIELD(efer), EFER_SCE);
	emit_jump_if(e, COND_E, slow);
	test_memory(e, CPU_FIELD(rflags), UNUSUAL);
	emit_jump_if(e, COND_NE, slow);
	emit_move(e, REG_RCX, S_A);
	get_rflags(e, S_C);
	emit_store(e, CPU_FIELD(gpr[REG_R8 + 3]), S_C);
	emit_mem(e, 0, 0x8b, S_A, CPU_FIELD(sfmask));
	emit_reg(e, 0, 0xf7, 2, S_A); /* not */
	emit_reg(e, 0, 0x21, S_A, S_C);
	set_rflags(e, S_C);
	set_segments(e, 32, 0, 0);
	emit_constant(e, S_A, (uintptr_t)jit->cpu->tlbs[TLB_SUPERVISOR]);
	emit_constant(e, S_B, (uintptr_t)jit->cpu->tlbs[TLB_SUPERVISOR_AC]);
	test_memory(e, CPU_FIELD(cr4), CR4_SMAP);
	emit_reg(e, EMIT_W | EMIT_0F, 0x44, S_A, S_B); /* cmovz */
	emit_store(e, CPU_FIELD(tlb), S_A);
	emit_load(e, S_A, CPU_FIELD(lstar));
	jit->go_kernel = emit_here(e);
	go(jit, e, TLB_SUPERVISOR);
}

/* An interrupt that waits for IF is the function's. */
static void make_sysret(struct jit *jit, struct emitter *e)
{
	uint8_t *slow = make_slow(jit, e);
	jit->sysret = emit_here(e);
	test_memory(e, CPU_FIELD(efer), EFER_SCE);
	emit_jump_if(e, COND_E, slow);
	test_memory(e, CPU_FIELD(rflags), UNUSUAL);
	emit_jump_if(e, COND_NE, slow);
	test_memory(e, CPU_FIELD(signals), ATTN_INTR);
	emit_jump_if(e, COND_NE, slow);
	emit_move(e, S_A, REG_RCX);
	shift(e, EMIT_W, 4, S_A, 16);
	shift(e, EMIT_W, 7, S_A, 16);
	emit_reg(e, EMIT_W, 0x39, S_A, REG_RCX);
	emit_jump_if(e, COND_NE, slow);
	emit_mem(e, 0, 0x8b, S_C, CPU_FIELD(gpr[REG_R8 + 3]));
	constant(e, 0, 4, S_C, SYSRET_FLAGS);
	test_register(e, S_C, UNUSUAL);
	emit_jump_if(e, COND_NE, slow);
	set_rflags(e, S_C);
	set_segments(e, 48, 16, 3);
	emit_constant(e, S_A, (uintptr_t)jit->cpu->tlbs[TLB_USER]);
	emit_store(e, CPU_FIELD(tlb), S_A);
	emit_move(e, S_A, REG_RCX);
	jit->go_user = emit_here(e);
	go(jit, e, TLB_USER);
}

/* The registers that a function of C changes; RSP is the guest's value in memory. */
static void move_changed(struct emitter *e, bool store)
{
	static const uint8_t changed[] = { REG_RAX, REG_RCX, REG_RDX, REG_RSI, REG_RDI, REG_R8 };
	for (unsigned i = 0; i < ARRAY_SIZE(changed); i++)
		emit_mem(e, EMIT_W, store ? 0x89 : 0x8b, changed[i], CPU_FIELD(gpr[changed[i]]));
}

/* By cpu_iret_common, which may change vector registers: not while they hold the guest's. */
static void make_iret(struct jit *jit, struct emitter *e)
{
	uint8_t *slow = make_slow(jit, e);
	jit->iret = emit_here(e);
	emit_mem(e, 0, 0x83, 7, WORD(vector));
	put8(e, 0);
	emit_jump_if(e, COND_NE, slow);
	move_changed(e, true);
	emit_load(e, REG_RAX, WORD(stack));
	emit_lea(e, REG_RAX, (struct host_mem){ .base = REG_RSP, .index = REG_RAX, .disp = 1 });
	emit_store(e, CPU_FIELD(gpr[REG_RSP]), REG_RAX);
	emit_load(e, REG_RSP, WORD(host_rsp));
	put8(e, 0x41); /* push S_B: the stack is aligned then */
	put8(e, 0x50 | (S_B & 7));
	emit_constant(e, REG_RDI, (uintptr_t)jit->cpu);
	emit_constant(e, REG_RAX, (uintptr_t)cpu_iret_common);
	emit_reg(e, 0, 0xff, 2, REG_RAX);
	put8(e, 0x41);
	put8(e, 0x58 | (S_B & 7));
	emit_reg(e, EMIT_0F, 0xb6, S_C, REG_RAX); /* movzx, from AL */
	move_changed(e, false);
	emit_load(e, REG_RSP, CPU_FIELD(gpr[REG_RSP]));
	emit_store_constant(e, WORD(stack), -1);
	emit_reg(e, 0, 0x85, S_C, S_C);
	emit_jump_if(e, COND_E, slow);
	emit_load(e, S_A, CPU_FIELD(gpr[REG_RIP]));
	emit_mem(e, 0, 0x80, 7, CPU_FIELD(cpl));
	put8(e, 0);
	emit_jump_if(e, COND_E, jit->go_kernel);
	emit_jump(e, jit->go_user);
}

void jit_make_privilege_stubs(struct jit *jit, struct emitter *e)
{
	make_syscall(jit, e);
	make_sysret(jit, e);
	make_iret(jit, e);
}

bool translate_privilege(struct translator *t)
{
	struct emitter *e = &t->e;
	const struct insn *i = &t->insn[t->now];
	if (i->op != OP_SYSCALL && i->op != OP_SYSRET && i->op != OP_IRET)
		return false;
	bool enters = i->op == OP_SYSCALL;
	uint8_t *stub = enters ? t->jit->syscall : i->op == OP_SYSRET ? t->jit->sysret : t->jit->iret;
	if (enters != (t->set == TLB_USER) || (!enters && i->opsize != 8))
		return false;
	flags_to_memory(t, FLAG_ARITH);
	struct record *miss = new_record(t, RECORD_FAR);
	struct record *slow = new_record(t, RECORD_END);
	slow->insn = keep_insn(t, i);
	slow->target = t->at[t->now] + i->length;
	slow->executed = 0;
	emit_count(t);
	emit_mem(e, 0, 0xc7, 0, WORD(branch));
	put32(e, (uint32_t)((uint8_t *)miss - t->jit->data));
	if (enters)
		emit_guest_address(t, S_A, slow->target);
	emit_address(e, S_B, slow);
	emit_jump(e, stub);
	return true;
}
