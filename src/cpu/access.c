/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The slow side of every memory access (cpu/access.h): TLB misses, page
 * crossings, device space, pages with decoded code, watchpoints, and the
 * segment checks outside 64-bit mode.
 */
#include "cpu/access.h"

#include <pthread.h>

#include "cpu/mmu.h"
#include "cpu/system.h"
#include "isa/op.h"
#include "isa/table.h"

void access_non_canonical(struct cpu *c, enum isa_seg seg)
{
	cpu_fault(c, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}

/* The segment of an access at `linear`: the stack where the instruction names SS, has no memory operand, or has one
 * elsewhere and pushes or pops. */
static enum isa_seg fault_segment(const struct cpu *c, uint64_t linear)
{
	const struct insn *i = c->insn;
	if (!i)
		return SEG_DS;
	bool both = i->op == OP_PUSH || i->op == OP_POP || i->op == OP_CALL || i->op == OP_CALLF;
	if (i->memory && both && effective_address(c, i) + c->segment_base[i->seg] != linear)
		return SEG_SS;
	if (i->memory)
		return (enum isa_seg)i->seg;
	bool data = isa_rows[i->row].attributes & (ROW_REP | ROW_MMX | ROW_SSE | ROW_AVX);
	return data || i->op == OP_XLAT || i->op == OP_CLZERO ? SEG_DS : SEG_SS;
}

static void check_linear(struct cpu *c, uint64_t linear, unsigned size)
{
	if (c->code_mode == ISA_MODE_64 && unlikely(!is_canonical(linear) || !is_canonical(linear + size - 1)))
		access_non_canonical(c, fault_segment(c, linear));
	if (unlikely(c->tlb == c->tlbs[TLB_USER_ALIGN]) && size <= 8 && (linear & (size - 1)))
		cpu_fault(c, EXC_AC, 0);
}

static uint64_t device_read(struct cpu *c, uint64_t gpa, unsigned size)
{
	c->stats.mmio_reads++;
	if (ALIGN_DOWN(gpa, GUEST_PAGE_SIZE) == c->intc_page)
		return c->intc.ops->mmio_read(c->intc.opaque, gpa & GUEST_PAGE_MASK, size);
	return io_read(c->mmio, gpa, size);
}

static void device_write(struct cpu *c, uint64_t gpa, uint64_t value, unsigned size)
{
	c->stats.mmio_writes++;
	if (ALIGN_DOWN(gpa, GUEST_PAGE_SIZE) == c->intc_page)
		c->intc.ops->mmio_write(c->intc.opaque, gpa & GUEST_PAGE_MASK, value, size);
	else
		io_write(c->mmio, gpa, value, size);
}

/* The largest power of two of at most 8 that fits. */
static unsigned piece(unsigned size)
{
	return size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
}

/* Aligned pieces of up to 8 bytes go in one access, so that a peer never sees half of one; they need not be aligned. */
typedef uint16_t __attribute__((aligned(1), may_alias)) any16;
typedef uint32_t __attribute__((aligned(1), may_alias)) any32;
typedef uint64_t __attribute__((aligned(1), may_alias)) any64;

static void copy_from_guest(void *to, const uint8_t *from, unsigned size)
{
	switch (size) {
	case 2: store_le16(to, *(const volatile any16 *)from); break;
	case 4: store_le32(to, *(const volatile any32 *)from); break;
	case 8: store_le64(to, *(const volatile any64 *)from); break;
	default: memcpy(to, from, size);
	}
}

static void copy_to_guest(uint8_t *to, const void *from, unsigned size)
{
	switch (size) {
	case 2: *(volatile any16 *)to = load_le16(from); break;
	case 4: *(volatile any32 *)to = load_le32(from); break;
	case 8: *(volatile any64 *)to = load_le64(from); break;
	default: memcpy(to, from, size);
	}
}

static void read_page(struct cpu *c, const struct page *page, uint64_t linear, void *buffer, unsigned size)
{
	unsigned at = linear & GUEST_PAGE_MASK;
	if (page->host) {
		copy_from_guest(buffer, page->host + at, size);
		return;
	}
	for (uint8_t *to = buffer; size;) {
		unsigned n = piece(size);
		store_le(to, device_read(c, page->gpa + at, n), n);
		to += n;
		at += n;
		size -= n;
	}
}

static void write_page(struct cpu *c, const struct page *page, uint64_t linear, const void *buffer, unsigned size)
{
	unsigned at = linear & GUEST_PAGE_MASK;
	/* What is written to ROM is seen by its device alone, if it has one: flash memory. */
	if (page->host && !page->rom) {
		copy_to_guest(page->host + at, buffer, size);
		if (memory_note_write_slow(c->memory, memory_offset(c->memory, page->host) + at, size))
			cpu_attention(c, ATTN_CODE);
		return;
	}
	for (const uint8_t *from = buffer; size;) {
		unsigned n = piece(size);
		device_write(c, page->gpa + at, load_le(from, n), n);
		from += n;
		at += n;
		size -= n;
	}
}

static void watch(struct cpu *c, uint64_t linear, unsigned size, unsigned access)
{
	if (unlikely(c->dr[7] & 0xff))
		cpu_debug_data(c, linear, size, access);
	if (unlikely(c->debug_watchpoints) && c->debug_check)
		c->debug_check(c->debug_opaque, c, linear, size, access);
}

static unsigned first_part(uint64_t linear, unsigned size)
{
	return MIN(size, GUEST_PAGE_SIZE - (unsigned)(linear & GUEST_PAGE_MASK));
}

/*
 * The one or two pages of an access, translated before a byte moves. The segments of legacy and compatibility mode end
 * at 4 GiB and go on at 0; the system's tables in IA-32e mode do not, nor what lies higher (a 64-bit handler's stack).
 */
struct span {
	struct page page[2];
	uint64_t linear[2];
	unsigned size[2];
};

static struct span translate(struct cpu *c, unsigned set, uint64_t linear, unsigned size, enum access_kind kind, bool wide)
{
	unsigned first = first_part(linear, size);
	struct span s = { .linear = { linear, linear + first }, .size = { first, size - first } };
	s.page[0] = mmu_translate(c, set, linear, kind);
	if (first == size)
		return s;
	if (!wide && !(linear >> 32))
		s.linear[1] = (uint32_t)s.linear[1];
	s.page[1] = mmu_translate(c, set, s.linear[1], kind);
	return s;
}

static bool wide_code(const struct cpu *c)
{
	return c->code_mode == ISA_MODE_64;
}

static void read_span(struct cpu *c, const struct span *s, void *buffer)
{
	read_page(c, &s->page[0], s->linear[0], buffer, s->size[0]);
	if (s->size[1])
		read_page(c, &s->page[1], s->linear[1], (uint8_t *)buffer + s->size[0], s->size[1]);
}

static void write_span(struct cpu *c, const struct span *s, const void *buffer)
{
	write_page(c, &s->page[0], s->linear[0], buffer, s->size[0]);
	if (s->size[1])
		write_page(c, &s->page[1], s->linear[1], (const uint8_t *)buffer + s->size[0], s->size[1]);
}

void access_read_slow(struct cpu *c, uint64_t linear, void *buffer, unsigned size)
{
	check_linear(c, linear, size);
	struct span s = translate(c, current_tlb_set(c), linear, size, KIND_READ, wide_code(c));
	read_span(c, &s, buffer);
	watch(c, linear, size, ACCESS_R);
}

void access_write_slow(struct cpu *c, uint64_t linear, const void *buffer, unsigned size)
{
	check_linear(c, linear, size);
	struct span s = translate(c, current_tlb_set(c), linear, size, KIND_WRITE, wide_code(c));
	write_span(c, &s, buffer);
	watch(c, linear, size, ACCESS_W);
}

static struct span translate_system(struct cpu *c, uint64_t linear, unsigned size, enum access_kind kind)
{
	bool wide = cpu_long_mode(c);
	if (wide && (!is_canonical(linear) || !is_canonical(linear + size - 1)))
		cpu_gp(c, 0);
	return translate(c, TLB_SUPERVISOR, linear, size, kind, wide);
}

/* Where the TLB says so, an access within a page; the page walk and what else may be due otherwise. */
static void *system_host(struct cpu *c, uint64_t linear, unsigned size, bool write)
{
	const struct tlb_entry *e = &c->tlbs[TLB_SUPERVISOR][(linear >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1)];
	uint64_t page = (linear + size - 1) & ~(uint64_t)GUEST_PAGE_MASK;
	return likely((write ? e->write : e->read) == page) ? (void *)(linear + e->addend) : NULL;
}

uint64_t access_read_system(struct cpu *c, uint64_t linear, unsigned size)
{
	uint64_t value = 0;
	const void *host = system_host(c, linear, size, false);
	if (host) {
		copy_from_guest(&value, host, size);
		return value;
	}
	struct span s = translate_system(c, linear, size, KIND_READ);
	read_span(c, &s, &value);
	return value;
}

void access_write_system(struct cpu *c, uint64_t linear, uint64_t value, unsigned size)
{
	void *host = system_host(c, linear, size, true);
	if (host) {
		copy_to_guest(host, &value, size);
		return;
	}
	struct span s = translate_system(c, linear, size, KIND_WRITE);
	write_span(c, &s, &value);
}

void *access_page(struct cpu *c, uint64_t linear, bool write)
{
	check_linear(c, linear, 1);
	if (c->tlb == c->tlbs[TLB_USER_ALIGN] || (c->dr[7] & 0xff) || c->debug_watchpoints)
		return NULL;
	struct page page = mmu_translate(c, current_tlb_set(c), linear, write ? KIND_WRITE : KIND_READ);
	return page.host && !(write && page.rom) ? page.host + (linear & GUEST_PAGE_MASK) : NULL;
}

void access_page_written(struct cpu *c, const void *host, uint64_t size)
{
	if (memory_note_write_slow(c->memory, memory_offset(c->memory, host), size))
		cpu_attention(c, ATTN_CODE);
}

void access_probe(struct cpu *c, uint64_t linear, unsigned size, bool write)
{
	check_linear(c, linear, size);
	translate(c, current_tlb_set(c), linear, size, write ? KIND_WRITE : KIND_READ, wide_code(c));
}

void *access_rmw_slow(struct cpu *c, uint64_t linear, unsigned size)
{
	check_linear(c, linear, size);
	struct span s = translate(c, current_tlb_set(c), linear, size, KIND_WRITE, wide_code(c));
	c->bounce_linear = linear;
	c->bounce_size = size;
	/* In place even where code was decoded or a watchpoint set, so that locked operations stay atomic; what else a
	 * write needs is done in access_rmw_end_slow. */
	if (!s.size[1] && s.page[0].host && !s.page[0].rom) {
		c->bounce = s.page[0].host + (linear & GUEST_PAGE_MASK);
		return c->bounce;
	}
	read_span(c, &s, c->bounce_buffer);
	c->bounce = c->bounce_buffer;
	return c->bounce;
}

void access_rmw_end_slow(struct cpu *c)
{
	uint8_t *at = c->bounce;
	c->bounce = NULL;
	if (at == c->bounce_buffer) {
		struct span s = translate(c, current_tlb_set(c), c->bounce_linear, c->bounce_size, KIND_WRITE, wide_code(c));
		write_span(c, &s, at);
	} else if (memory_note_write_slow(c->memory, memory_offset(c->memory, at), c->bounce_size)) {
		cpu_attention(c, ATTN_CODE);
	}
	watch(c, c->bounce_linear, c->bounce_size, ACCESS_RW);
}

/* For the whole process: vCPUs of several machines wait for one another, which costs time and changes nothing, and only
 * where a locked access crosses a page or goes to a device. */
static pthread_mutex_t bus_mutex = PTHREAD_MUTEX_INITIALIZER;

void access_bus_lock(void)
{
	pthread_mutex_lock(&bus_mutex);
}

void access_bus_unlock(void)
{
	pthread_mutex_unlock(&bus_mutex);
}

/* --- segments outside 64-bit mode (SDM 3A, 5.3 to 5.5) --- */

static bool type_allows(const struct segment *s, unsigned access)
{
	if (!(s->attributes & SEGATTR_P))
		return false; /* null selector: unusable */
	if (s->attributes & 8) /* code */
		return !(access & ACCESS_W) && (s->attributes & 2);
	return !(access & ACCESS_W) || (s->attributes & 2);
}

void segment_check_slow(struct cpu *c, enum isa_seg seg, uint64_t offset, unsigned size, unsigned access)
{
	const struct segment *s = &c->seg[seg];
	bool ok = (!cpu_protected_segments(c) || type_allows(s, access)) && segment_contains(s, offset, size ? size : 1);
	if (!ok)
		cpu_fault(c, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}
