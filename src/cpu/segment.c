/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/system.h"

/* Where a selector's descriptor lies; false when [size] bytes of it are beyond the table's limit. */
static bool descriptor_address(const struct cpu *c, uint16_t selector, unsigned size, uint64_t *address)
{
	unsigned offset = selector & 0xfff8u;
	if (selector & 4) {
		const struct segment *ldt = &c->seg[SEG_LDTR];
		if (!(ldt->attributes & SEGATTR_P) || offset + size - 1 > ldt->limit)
			return false;
		*address = ldt->base + offset;
	} else {
		if (offset + size - 1 > c->gdtr.limit)
			return false;
		*address = c->gdtr.base + offset;
	}
	if (!cpu_long_mode(c))
		*address = (uint32_t)*address;
	return true;
}

bool cpu_read_descriptor(struct cpu *c, uint16_t selector, uint64_t *descriptor)
{
	uint64_t address;
	if (!descriptor_address(c, selector, 8, &address))
		return false;
	*descriptor = access_read_system(c, address, 8);
	return true;
}

uint64_t segment_fetch(struct cpu *c, uint16_t selector, enum exception vector)
{
	uint64_t descriptor;
	if (!cpu_read_descriptor(c, selector, &descriptor))
		fault_selector(c, vector, selector);
	return descriptor;
}

uint64_t segment_fetch_upper(struct cpu *c, uint16_t selector, enum exception vector)
{
	uint64_t address;
	if (!descriptor_address(c, selector, 16, &address))
		fault_selector(c, vector, selector);
	uint64_t upper = access_read_system(c, address + 8, 8);
	if (upper >> 40 & 0x1f)
		fault_selector(c, vector, selector);
	return upper << 32;
}

uint64_t segment_mark_accessed(struct cpu *c, uint16_t selector, uint64_t descriptor)
{
	uint64_t address;
	if (!(descriptor & BIT64(40)) && descriptor_address(c, selector, 8, &address)) {
		descriptor |= BIT64(40);
		access_write_system(c, address + 5, descriptor >> 40 & 0xff, 1);
	}
	return descriptor;
}

struct segment cpu_unpack_descriptor(uint16_t selector, uint64_t d)
{
	struct segment s = {
		.base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000),
		.limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000)),
		.selector = selector,
		.attributes = (uint16_t)(d >> 40 & 0xf0ff),
	};
	if (s.attributes & SEGATTR_G)
		s.limit = s.limit << 12 | 0xfff;
	return s;
}

bool segment_contains(const struct segment *s, uint64_t offset, unsigned size)
{
	uint64_t last = offset + size - 1;
	if ((s->attributes & (SEG_CODE | SEG_EXPAND_DOWN)) == SEG_EXPAND_DOWN)
		return offset > s->limit && last <= (s->attributes & SEGATTR_DB ? 0xffffffff : 0xffff);
	return last <= s->limit;
}

void segment_clear(struct cpu *c, unsigned seg, uint16_t selector)
{
	c->seg[seg] = (struct segment){ .selector = selector };
	cpu_update_segment(c, seg);
}

void segment_set_flat_code(struct cpu *c, uint16_t selector, unsigned cpl, bool long_code)
{
	c->seg[SEG_CS] = (struct segment){
		.limit = 0xffffffff,
		.selector = (uint16_t)((selector & 0xfffc) | cpl),
		.attributes = (uint16_t)(SEGATTR_P | SEGATTR_S | SEG_CODE | SEG_READABLE | SEG_ACCESSED | SEGATTR_G | cpl << 5 |
					 (long_code ? SEGATTR_L : SEGATTR_DB)),
	};
}

void segment_set_flat_stack(struct cpu *c, uint16_t selector, unsigned cpl)
{
	c->seg[SEG_SS] = (struct segment){
		.limit = 0xffffffff,
		.selector = (uint16_t)((selector & 0xfffc) | cpl),
		.attributes = (uint16_t)(SEGATTR_P | SEGATTR_S | SEG_WRITABLE | SEG_ACCESSED | SEGATTR_G | SEGATTR_DB | cpl << 5),
	};
}

void cpu_load_segment_real(struct cpu *c, enum isa_seg seg, uint16_t selector)
{
	struct segment *s = &c->seg[seg];
	s->selector = selector;
	s->base = (uint32_t)selector << 4;
	if (cpu_v86(c)) {
		s->limit = 0xffff;
		s->attributes = SEGATTR_P | SEGATTR_S | 3 << 5 | SEG_WRITABLE | SEG_ACCESSED;
	} else {
		/* The limit and the D flag of protected mode stay ("big real mode"); a null segment becomes usable. */
		if (!(s->attributes & SEGATTR_P))
			s->limit = 0xffff;
		s->attributes &= SEGATTR_DB | SEGATTR_G;
		s->attributes |= SEGATTR_P | SEGATTR_S | SEG_WRITABLE | SEG_ACCESSED;
	}
	cpu_update_segment(c, seg);
}

uint64_t segment_check_stack(struct cpu *c, uint16_t selector, unsigned cpl, enum exception vector)
{
	uint64_t d = segment_fetch(c, selector, vector);
	if (selector_rpl(selector) != cpl || desc_dpl(d) != cpl || !desc_is_writable(d))
		fault_selector(c, vector, selector);
	if (!desc_present(d))
		fault_selector(c, EXC_SS, selector);
	return d;
}

static void load_descriptor(struct cpu *c, unsigned seg, uint16_t selector, uint64_t descriptor)
{
	c->seg[seg] = cpu_unpack_descriptor(selector, segment_mark_accessed(c, selector, descriptor));
	cpu_update_segment(c, seg);
}

static void load_stack_segment(struct cpu *c, uint16_t selector)
{
	if (selector_null(selector)) {
		if (c->code_mode != ISA_MODE_64 || c->cpl == 3 || selector_rpl(selector) != c->cpl)
			fault_gp0(c);
		segment_clear(c, SEG_SS, selector);
		c->seg[SEG_SS].attributes = (uint16_t)(c->cpl << 5); /* SS.DPL is the CPL, also when SS is null */
		return;
	}
	load_descriptor(c, SEG_SS, selector, segment_check_stack(c, selector, c->cpl, EXC_GP));
}

void cpu_load_segment(struct cpu *c, enum isa_seg seg, uint16_t selector)
{
	if (!cpu_protected_segments(c)) {
		cpu_load_segment_real(c, seg, selector);
		return;
	}
	if (seg == SEG_SS) {
		load_stack_segment(c, selector);
		return;
	}
	if (selector_null(selector)) {
		segment_clear(c, seg, selector);
		return;
	}
	uint64_t d = segment_fetch(c, selector, EXC_GP);
	if (!desc_is_readable(d))
		fault_selector(c, EXC_GP, selector);
	bool any_level = desc_is_code(d) && desc_is_conforming(d);
	if (!any_level && (selector_rpl(selector) > desc_dpl(d) || c->cpl > desc_dpl(d)))
		fault_selector(c, EXC_GP, selector);
	if (!desc_present(d))
		fault_selector(c, EXC_NP, selector);
	load_descriptor(c, seg, selector, d);
}

void segment_load_ldtr(struct cpu *c, uint16_t selector, enum exception vector)
{
	if (selector_null(selector)) {
		c->seg[SEG_LDTR] = (struct segment){ .selector = selector };
		return;
	}
	if (selector & 4)
		fault_selector(c, vector, selector);
	uint64_t d = segment_fetch(c, selector, vector);
	if (desc_s(d) || desc_type(d) != SYS_LDT)
		fault_selector(c, vector, selector);
	uint64_t upper = cpu_long_mode(c) ? segment_fetch_upper(c, selector, vector) : 0;
	if (!desc_present(d))
		fault_selector(c, vector == EXC_TS ? EXC_TS : EXC_NP, selector);
	c->seg[SEG_LDTR] = cpu_unpack_descriptor(selector, d);
	c->seg[SEG_LDTR].base |= upper;
}

void segment_load_tr(struct cpu *c, uint16_t selector)
{
	if (selector_null(selector))
		cpu_gp(c, 0);
	if (selector & 4)
		fault_selector(c, EXC_GP, selector);
	uint64_t d = segment_fetch(c, selector, EXC_GP);
	bool available = desc_type(d) == SYS_TSS32 || (desc_type(d) == SYS_TSS16 && !cpu_long_mode(c));
	if (desc_s(d) || !available)
		fault_selector(c, EXC_GP, selector);
	uint64_t upper = cpu_long_mode(c) ? segment_fetch_upper(c, selector, EXC_GP) : 0;
	if (!desc_present(d))
		fault_selector(c, EXC_NP, selector);
	d |= BIT64(41); /* busy */
	access_write_system(c, c->gdtr.base + (selector & 0xfff8u) + 5, d >> 40 & 0xff, 1);
	c->seg[SEG_TR] = cpu_unpack_descriptor(selector, d);
	c->seg[SEG_TR].base |= upper;
}
