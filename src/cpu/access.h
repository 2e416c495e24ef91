/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CPU_ACCESS_H
#define VISOR_CPU_ACCESS_H

#include "base/util.h"
#include "cpu/cpu.h"

/*
 * Guest memory as instructions see it: effective address, segment, linear
 * address, software TLB, and behind it the page walk, MMIO, watchpoints and
 * decoded code. Everything here may end in cpu_fault.
 */

/* Slow paths (cpu/access.c): page-crossing, TLB miss, MMIO, code pages, watchpoints. size 1..64. */
void access_read_slow(struct cpu *c, uint64_t linear, void *buffer, unsigned size);
void access_write_slow(struct cpu *c, uint64_t linear, const void *buffer, unsigned size);
/* As if by the system itself (descriptor tables, TSS, interrupt stacks are not among them): supervisor rights, SMAP in force
 * for implicit accesses (SDM 3A, 4.6.1). */
uint64_t access_read_system(struct cpu *c, uint64_t linear, unsigned size);
void access_write_system(struct cpu *c, uint64_t linear, uint64_t value, unsigned size);
/* The host address for a read-modify-write of size bytes, after all checks for writing; a bounce buffer where no host
 * address serves (page-crossing, MMIO, ROM, code pages). access_rmw_end must follow and writes the bounce buffer back. */
void *access_rmw_slow(struct cpu *c, uint64_t linear, unsigned size);
void access_rmw_end_slow(struct cpu *c);
/* Raises the fault that a write (or read) of these bytes would raise, without doing it. */
void access_probe(struct cpu *c, uint64_t linear, unsigned size, bool write);
/* For string instructions, where the TLB misses: the host address from which they may work through the rest of the page,
 * after all checks for its first byte; NULL where every access needs a look of its own (device space, ROM, watchpoints,
 * alignment). access_page_written must follow what was written there. */
void *access_page(struct cpu *c, uint64_t linear, bool write);
void access_page_written(struct cpu *c, const void *host, uint64_t size);
/* A global lock around locked accesses that no host instruction can make atomic (page-crossing, MMIO). */
void access_bus_lock(void);
void access_bus_unlock(void);

/* Segment checks outside 64-bit mode: limit, type, and #SS or #GP. write: ACCESS_* of the access. */
void segment_check_slow(struct cpu *c, enum isa_seg seg, uint64_t offset, unsigned size, unsigned access);
/* #GP(0), or #SS(0) for the stack segment: a non-canonical address. */
_Noreturn void access_non_canonical(struct cpu *c, enum isa_seg seg);

static inline bool is_canonical(uint64_t linear)
{
	return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}

/* The offset within the segment. */
static inline uint64_t effective_address(const struct cpu *c, const struct insn *i)
{
	uint64_t a = c->gpr[i->base] + (c->gpr[i->index] << i->scale) + (uint64_t)(int64_t)i->disp;
	return i->adsize == 8 ? a : i->adsize == 4 ? (uint32_t)a : (uint16_t)a;
}

/* Segment + offset -> linear, checked. 64-bit mode: a non-canonical address misses the TLB and faults in the slow path,
 * which finds the segment in c->insn. */
static inline uint64_t linear_address(struct cpu *c, enum isa_seg seg, uint64_t offset, unsigned size, unsigned access)
{
	if (unlikely(c->segment_check[seg]))
		segment_check_slow(c, seg, offset, size, access);
	uint64_t linear = c->segment_base[seg] + offset;
	return c->code_mode == ISA_MODE_64 ? linear : (uint32_t)linear;
}

static inline uint64_t operand_linear(struct cpu *c, const struct insn *i, unsigned size, unsigned access)
{
	return linear_address(c, (enum isa_seg)i->seg, effective_address(c, i), size, access);
}

static inline struct tlb_entry *tlb_slot(struct cpu *c, uint64_t linear)
{
	return &c->tlb[(linear >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1)];
}

/* One comparison finds misses and page-crossings: the page of the last byte against the entry of the first. */
static inline void *tlb_lookup_read(struct cpu *c, uint64_t linear, unsigned size)
{
	struct tlb_entry *e = tlb_slot(c, linear);
	return likely(e->read == ((linear + size - 1) & ~(uint64_t)GUEST_PAGE_MASK)) ? (void *)(linear + e->addend) : NULL;
}

static inline void *tlb_lookup_write(struct cpu *c, uint64_t linear, unsigned size)
{
	struct tlb_entry *e = tlb_slot(c, linear);
	return likely(e->write == ((linear + size - 1) & ~(uint64_t)GUEST_PAGE_MASK)) ? (void *)(linear + e->addend) : NULL;
}

/* Loads and stores of 1, 2, 4, 8 bytes, atomic when aligned. */
#define ACCESS_DEFINE(bits) \
static inline uint##bits##_t access_read##bits(struct cpu *c, uint64_t linear) \
{ \
	void *host = tlb_lookup_read(c, linear, bits / 8); \
	uint##bits##_t v; \
	if (likely(host)) { \
		__asm__ volatile("mov %1, %0" : "=r"(v) : "m"(*(uint##bits##_t *)host)); \
		return v; \
	} \
	access_read_slow(c, linear, &v, bits / 8); \
	return v; \
} \
static inline void access_write##bits(struct cpu *c, uint64_t linear, uint##bits##_t v) \
{ \
	void *host = tlb_lookup_write(c, linear, bits / 8); \
	if (likely(host)) \
		__asm__ volatile("mov %1, %0" : "=m"(*(uint##bits##_t *)host) : "r"(v)); \
	else \
		access_write_slow(c, linear, &v, bits / 8); \
}
ACCESS_DEFINE(8)
ACCESS_DEFINE(16)
ACCESS_DEFINE(32)
ACCESS_DEFINE(64)
#undef ACCESS_DEFINE

static inline uint64_t access_read(struct cpu *c, uint64_t linear, unsigned size)
{
	switch (size) {
	case 1: return access_read8(c, linear);
	case 2: return access_read16(c, linear);
	case 4: return access_read32(c, linear);
	default: return access_read64(c, linear);
	}
}

static inline void access_write(struct cpu *c, uint64_t linear, uint64_t v, unsigned size)
{
	switch (size) {
	case 1: access_write8(c, linear, (uint8_t)v); break;
	case 2: access_write16(c, linear, (uint16_t)v); break;
	case 4: access_write32(c, linear, (uint32_t)v); break;
	default: access_write64(c, linear, v); break;
	}
}

/* Read-modify-write of 1..16 bytes in place. */
static inline void *access_rmw(struct cpu *c, uint64_t linear, unsigned size)
{
	void *host = tlb_lookup_write(c, linear, size);
	return likely(host) ? host : access_rmw_slow(c, linear, size);
}

static inline void access_rmw_end(struct cpu *c)
{
	if (unlikely(c->bounce))
		access_rmw_end_slow(c);
}

/* Stack. size 2, 4 or 8. RSP is committed after the access; nested pushes of one instruction use an explicit rsp. */
static inline uint64_t stack_merge(const struct cpu *c, uint64_t rsp)
{
	uint64_t mask = c->stack_mask;
	if (mask == 0xffffffff)
		return (uint32_t)rsp;
	return (c->gpr[REG_RSP] & ~mask) | (rsp & mask);
}

static inline uint64_t stack_linear(struct cpu *c, uint64_t rsp, unsigned size, unsigned access)
{
	return linear_address(c, SEG_SS, rsp & c->stack_mask, size, access);
}

static inline void cpu_push(struct cpu *c, uint64_t value, unsigned size)
{
	uint64_t rsp = c->gpr[REG_RSP] - size;
	access_write(c, stack_linear(c, rsp, size, ACCESS_W), value, size);
	c->gpr[REG_RSP] = stack_merge(c, rsp);
}

/* The value at the top of the stack; the caller adds `size` to RSP by stack_merge when nothing can fault any more. */
static inline uint64_t cpu_peek(struct cpu *c, unsigned offset, unsigned size)
{
	return access_read(c, stack_linear(c, c->gpr[REG_RSP] + offset, size, ACCESS_R), size);
}

/* Ports, with the I/O permission check (IOPL, TSS bitmap; SDM 1, 18.5). */
void cpu_check_io(struct cpu *c, uint16_t port, unsigned size);
uint64_t cpu_io_read(struct cpu *c, uint16_t port, unsigned size);
void cpu_io_write(struct cpu *c, uint16_t port, uint64_t value, unsigned size);

#endif
