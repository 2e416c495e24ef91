/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CPU_SYSTEM_H
#define VISOR_CPU_SYSTEM_H

#include "base/util.h"
#include "cpu/access.h"
#include "cpu/cpu.h"

/* What the files of the privileged architecture share among themselves. */

/* Bits of struct segment.attributes for code and data (SDM 3A, table 3-1). */
#define SEG_ACCESSED 0x1u
#define SEG_WRITABLE 0x2u /* data */
#define SEG_READABLE 0x2u /* code */
#define SEG_EXPAND_DOWN 0x4u /* data */
#define SEG_CONFORMING 0x4u  /* code */
#define SEG_CODE 0x8u

/* System segment and gate types (SDM 3A, table 3-2). */
enum { SYS_TSS16 = 1, SYS_LDT = 2, SYS_TSS16_BUSY = 3, SYS_CALL_GATE16 = 4, SYS_TASK_GATE = 5, SYS_INT_GATE16 = 6,
       SYS_TRAP_GATE16 = 7, SYS_TSS32 = 9, SYS_TSS32_BUSY = 11, SYS_CALL_GATE32 = 12,
       SYS_INT_GATE32 = 14, SYS_TRAP_GATE32 = 15 };

#define RFLAGS_VALID (FLAG_ARITH | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_VM | FLAG_AC | \
	FLAG_VIF | FLAG_VIP | FLAG_ID)

#define DR6_RESET 0xffff0ff0ull
#define DR6_BD 0x2000ull
#define DR6_BS 0x4000ull
#define DR6_BT 0x8000ull
#define DR7_RESET 0x400ull
#define DR7_ENABLES 0xffull
#define DR7_GD 0x2000ull

/* Fields of a raw 8-byte descriptor. */
static inline unsigned desc_type(uint64_t d) { return d >> 40 & 0xf; }
static inline bool desc_s(uint64_t d) { return d >> 44 & 1; }
static inline unsigned desc_dpl(uint64_t d) { return d >> 45 & 3; }
static inline bool desc_present(uint64_t d) { return d >> 47 & 1; }
static inline bool desc_l(uint64_t d) { return d >> 53 & 1; }
static inline bool desc_db(uint64_t d) { return d >> 54 & 1; }
static inline bool desc_is_code(uint64_t d) { return desc_s(d) && (desc_type(d) & SEG_CODE); }
static inline bool desc_is_conforming(uint64_t d) { return desc_type(d) & SEG_CONFORMING; }

static inline bool desc_is_writable(uint64_t d)
{
	return desc_s(d) && (desc_type(d) & (SEG_CODE | SEG_WRITABLE)) == SEG_WRITABLE;
}

static inline bool desc_is_readable(uint64_t d)
{
	return desc_s(d) && (desc_type(d) & (SEG_CODE | SEG_READABLE)) != SEG_CODE;
}

static inline bool selector_null(uint16_t selector) { return !(selector & 0xfffc); }
static inline unsigned selector_rpl(uint16_t selector) { return selector & 3; }

/* A fault whose error code names a selector; EXT as the event under delivery says. */
static inline _Noreturn void fault_selector(struct cpu *c, enum exception vector, uint16_t selector)
{
	cpu_fault(c, vector, (selector & 0xfffcu) | c->event_ext);
}

/* #GP(0), where EXT may be set. */
static inline _Noreturn void fault_gp0(struct cpu *c)
{
	cpu_fault(c, EXC_GP, c->event_ext);
}

static inline void require_cpl0(struct cpu *c)
{
	if (c->cpl)
		cpu_gp(c, 0);
}

/* LDTR, TR and selector tests exist in protected mode only. */
static inline void require_protected(struct cpu *c)
{
	if (!cpu_protected_segments(c))
		cpu_ud(c);
}

/* --- mode.c --- */
/* The part of cpu_update_mode that a data segment load needs. */
void cpu_update_segment(struct cpu *c, unsigned seg);

/* --- segment.c --- */
/* Reads a descriptor or raises `vector` with the selector when it lies beyond its table. */
uint64_t segment_fetch(struct cpu *c, uint16_t selector, enum exception vector);
/* The upper half of a 16-byte descriptor of long mode: its base or offset bits 63..32. Raises `vector` with the
 * selector when it is beyond the table or when its type field is not zero. */
uint64_t segment_fetch_upper(struct cpu *c, uint16_t selector, enum exception vector);
/* Sets the accessed bit in memory when it is clear and returns the descriptor with it. */
uint64_t segment_mark_accessed(struct cpu *c, uint16_t selector, uint64_t descriptor);
/* True when offset .. offset + size - 1 lies within the limits. */
bool segment_contains(const struct segment *s, uint64_t offset, unsigned size);
/* The stack segment for a privilege level, from a TSS or a stack; `vector` (#TS or #GP) for all but one not present. */
uint64_t segment_check_stack(struct cpu *c, uint16_t selector, unsigned cpl, enum exception vector);
/* A data segment register becomes unusable. */
void segment_clear(struct cpu *c, unsigned seg, uint16_t selector);
/* Loads a flat segment without descriptor, as SYSCALL and SYSENTER do. */
void segment_set_flat_code(struct cpu *c, uint16_t selector, unsigned cpl, bool long_code);
void segment_set_flat_stack(struct cpu *c, uint16_t selector, unsigned cpl);
void segment_load_ldtr(struct cpu *c, uint16_t selector, enum exception vector);
void segment_load_tr(struct cpu *c, uint16_t selector);

/*
 * A stack that is being filled: pushes go to memory with the rights of `cpl`
 * and nothing else changes until stack_commit.
 */
struct stack {
	struct segment ss;
	uint64_t rsp, mask;
	uint32_t error;     /* error code of #SS */
	unsigned cpl;
	bool flat;          /* no limits but canonical addresses: target is 64-bit code */
};
struct stack stack_current(struct cpu *c);
struct stack stack_new(struct cpu *c, const struct segment *ss, uint64_t rsp, unsigned cpl, bool flat);
void stack_put(struct cpu *c, struct stack *s, uint64_t value, unsigned size);
/* The value `offset` bytes above RSP of the current stack; #SS(0) by limit or canonical form. */
uint64_t stack_peek(struct cpu *c, unsigned offset, unsigned size);

/* RSP and SS of privilege level `cpl` from the TSS; ss is a null selector in long mode. */
uint64_t task_inner_stack(struct cpu *c, unsigned cpl, uint16_t *ss);
/* RSP of an interrupt stack, 1..7. */
uint64_t task_interrupt_stack(struct cpu *c, unsigned ist);

/* Commits CS and RIP of a far transfer; the caller updates the mode. */
void far_set_cs(struct cpu *c, uint16_t selector, uint64_t descriptor, unsigned cpl, uint64_t rip);
/* #GP(0) when the target lies outside the segment, or is not canonical for 64-bit code. */
void far_check_target(struct cpu *c, uint64_t descriptor, uint64_t rip);

/* Far RET and IRET: the code segment of the frame, checked. */
uint64_t far_check_return_code(struct cpu *c, uint16_t selector);
/* The stack segment of the frame for level `cpl`; 0 for a null one, where code (a descriptor) allows that. */
uint64_t far_check_return_stack(struct cpu *c, uint16_t selector, unsigned cpl, uint64_t code);
void far_commit_return_stack(struct cpu *c, uint16_t selector, uint64_t ss, unsigned cpl, uint64_t rsp, uint64_t code);
/* On the way to an outer level: data segments that it may not see become null. */
void far_drop_inner_segments(struct cpu *c);

/* --- exception.c --- */
/* Writes with the rights of another CPL; a fault puts the CPL back. */
void cpu_write_as(struct cpu *c, unsigned cpl, uint64_t linear, uint64_t value, unsigned size);
/* Raises #DB as a fault with these DR6 bits. */
_Noreturn void cpu_debug_fault(struct cpu *c, uint64_t dr6);

/* --- msr.c, kvm.c, control.c, cpuid.c --- */
void cpu_reset_msrs(struct cpu *c);
void kvm_clock_write(struct cpu *c, bool system_time, uint64_t value);
void kvm_clock_update(struct cpu *c);
uint64_t kvm_hypercall(struct cpu *c, uint64_t number, const uint64_t args[4]);
void cpu_set_xcr0(struct cpu *c, uint64_t value);
bool xcr0_valid(const struct cpu *c, uint64_t value);
/* The guest's count for one of the host's, without the offset. */
uint64_t cpu_scale_tsc(const struct cpu *c, uint64_t host);
/* Keeps of the features those in the mask, and builds the leaves anew. */
void cpuid_keep_features(struct cpu *c, const uint64_t features[2]);
/* After a load: CR0, CR4, EFER, XCR0 and XSS are a set that this processor can hold. */
bool control_registers_valid(const struct cpu *c);
void cpu_set_debug_register(struct cpu *c, unsigned n, uint64_t value);
static inline uint64_t host_tsc(void)
{
	return __builtin_ia32_rdtsc();
}

static inline uint64_t cpu_host_tsc(const struct cpu *c)
{
	return unlikely(c->tsc_source != NULL) ? c->tsc_source(c->tsc_opaque) : host_tsc();
}

/* Operands of 2, 4 or 8 bytes in a register or in memory. */
uint64_t sys_read_operand(struct cpu *c, const struct insn *i, const struct operand *o, unsigned size);
void sys_write_gpr(struct cpu *c, unsigned reg, uint64_t value, unsigned size);
void sys_write_operand(struct cpu *c, const struct insn *i, const struct operand *o, uint64_t value, unsigned size);

/* Execution functions of sys_*.c, chosen by sys_select.c. */
insn_exec *select_far(struct cpu *c, struct insn *insn);
insn_exec *select_flags(struct cpu *c, struct insn *insn);
insn_exec *select_segments(struct cpu *c, struct insn *insn);
insn_exec *select_control(struct cpu *c, struct insn *insn);
insn_exec *select_call(struct cpu *c, struct insn *insn);

#endif
