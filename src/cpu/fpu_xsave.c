/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/fpu.h"

#include "cpu/access.h"
#include "isa/op.h"

/*
 * The XSAVE family (SDM 1, chapter 13). Where components lie follows the
 * guest's CPUID leaf 0DH, which is the host's. No supervisor component exists,
 * so XSAVES and XRSTORS differ from XSAVEC and XRSTOR by privilege and form only.
 */
#define LEGACY_SIZE 512u
#define HEADER_SIZE 64u
#define AREA_BASE (LEGACY_SIZE + HEADER_SIZE)
#define AREA_MAX 4096u
#define XCOMP_COMPACTED (1ull << 63)
#define LAST_COMPONENT 7

static const uint64_t supported = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512;

/* --- one component in cpu and in the area --- */

static unsigned component_size(unsigned i)
{
	static const uint16_t sizes[] = { 160, 256, 256, 0, 0, 64, 512, 1024 };
	return sizes[i];
}

static void put_component(const struct cpu *c, unsigned i, uint8_t *to, unsigned vectors)
{
	switch (i) {
	case 1:
		for (unsigned n = 0; n < vectors; n++)
			memcpy(to + 16 * n, c->vec[n], 16);
		break;
	case 2:
		for (unsigned n = 0; n < vectors; n++)
			memcpy(to + 16 * n, c->vec[n] + 16, 16);
		break;
	case 5:
		memcpy(to, c->k, 64);
		break;
	case 6:
		for (unsigned n = 0; n < vectors; n++)
			memcpy(to + 32 * n, c->vec[n] + 32, 32);
		break;
	case 7:
		if (vectors == 16)
			memcpy(to, c->vec[16], 1024);
		break;
	}
}

static void get_component(struct cpu *c, unsigned i, const uint8_t *from, unsigned vectors)
{
	switch (i) {
	case 1:
		for (unsigned n = 0; n < vectors; n++)
			memcpy(c->vec[n], from + 16 * n, 16);
		break;
	case 2:
		for (unsigned n = 0; n < vectors; n++)
			memcpy(c->vec[n] + 16, from + 16 * n, 16);
		break;
	case 5:
		memcpy(c->k, from, 64);
		break;
	case 6:
		for (unsigned n = 0; n < vectors; n++)
			memcpy(c->vec[n] + 32, from + 32 * n, 32);
		break;
	case 7:
		if (vectors == 16)
			memcpy(c->vec[16], from, 1024);
		break;
	}
}

static void init_component(struct cpu *c, unsigned i, unsigned vectors)
{
	static const uint8_t zeros[1024];
	if (i == 0) {
		memset(x87_st(c, 0), 0, 128);
		store_le16(c->x87 + X87_FSW, 0);
		x87_init(c);
	} else {
		get_component(c, i, zeros, vectors);
	}
}

static bool words_zero(const uint8_t *bytes, size_t size)
{
	uint64_t any = 0;
	for (size_t n = 0; n < size; n += 8)
		any |= load_le64(bytes + n);
	return !any;
}

/* XINUSE (SDM 1, 13.6): exact but for x87, which counts as in use unless its control state is that of FNINIT. */
static bool in_use(const struct cpu *c, unsigned i)
{
	switch (i) {
	case 0:
		return x87_fcw(c) != X87_FCW_INIT || x87_fsw(c) || x87_tags(c) || c->x87_ip || c->x87_dp || c->x87_opcode ||
			!words_zero(c->x87 + X87_ST, 128);
	case 5:
		return !words_zero((const uint8_t *)c->k, 64);
	case 7:
		return !words_zero(c->vec[16], 1024);
	default:
		for (unsigned n = 0; n < 16; n++) {
			static const uint8_t start[] = { [1] = 0, [2] = 16, [6] = 32 }, size[] = { [1] = 16, [2] = 16, [6] = 32 };
			if (!words_zero(c->vec[n] + start[i], size[i]))
				return true;
		}
		return i == 1 && c->mxcsr != MXCSR_RESET;
	}
}

uint64_t fpu_xinuse(const struct cpu *c, uint64_t of)
{
	uint64_t result = 0;
	for (unsigned i = 0; i <= LAST_COMPONENT; i++)
		if (of >> i & 1 && in_use(c, i))
			result |= BIT64(i);
	return result;
}

/* --- layout --- */

struct layout {
	unsigned offset[LAST_COMPONENT + 1], size; /* bytes; of the whole area */
};

/* xcomp_bv 0: the standard form, all of XCR0; else the compacted form of these components (SDM 1, 13.4.3). */
static struct layout layout_of(struct cpu *c, uint64_t components, bool compacted)
{
	struct layout l = { .offset = { 0, 160 }, .size = AREA_BASE };
	for (unsigned i = 2; i <= LAST_COMPONENT; i++) {
		if (!(components >> i & 1))
			continue;
		const struct xsave_place *place = &c->xsave_place[i];
		unsigned size = component_size(i);
		if (compacted && place->aligned)
			l.size = ALIGN_UP(l.size, 64u);
		l.offset[i] = compacted ? l.size : place->offset;
		if (l.offset[i] > AREA_MAX - size) /* leaves that no processor has: a saved machine's */
			cpu_ud(c);
		l.size = MAX(l.size, l.offset[i] + size);
	}
	return l;
}

static unsigned vector_count(const struct cpu *c)
{
	return c->code_mode == ISA_MODE_64 ? 16 : 8;
}

static uint64_t requested(const struct cpu *c)
{
	return (c->gpr[REG_RAX] & 0xffffffff) | c->gpr[REG_RDX] << 32;
}

/* Checks common to the family; returns the area's linear address. */
static uint64_t begin(struct cpu *c, const struct insn *insn, bool privileged, unsigned access)
{
	if (!(c->cr4 & CR4_OSXSAVE))
		cpu_ud(c);
	if (privileged && c->cpl)
		cpu_gp(c, 0);
	if (c->cr0 & CR0_TS)
		cpu_fault(c, EXC_NM, 0);
	uint64_t linear = operand_linear(c, insn, AREA_BASE, access);
	if (linear & 63)
		cpu_gp(c, 0);
	return linear;
}

/* --- saving --- */

static uint64_t at(const struct cpu *c, uint64_t linear, unsigned offset)
{
	return c->code_mode == ISA_MODE_64 ? linear + offset : (uint32_t)(linear + offset);
}

static void save_mxcsr(struct cpu *c, uint64_t linear)
{
	uint8_t bytes[8];
	store_le32(bytes, c->mxcsr);
	store_le32(bytes + 4, MXCSR_MASK);
	fpu_write_memory(c, at(c, linear, X87_MXCSR), bytes, 8);
}

/* Outside 64-bit mode the parts of registers 8 and up keep what is in memory. */
static void save_component(struct cpu *c, const struct insn *insn, uint64_t linear, unsigned offset, unsigned i)
{
	uint8_t bytes[1024];
	unsigned vectors = vector_count(c), size = component_size(i);
	if (i == 0) {
		x87_to_image(c, bytes, insn->prefixes & PREFIX_REX_W);
		fpu_write_memory(c, linear, bytes, X87_MXCSR);
		fpu_write_memory(c, at(c, linear, X87_ST), bytes + X87_ST, 128);
		return;
	}
	if (vectors == 8 && i != 5)
		size = i == 7 ? 0 : size / 2;
	put_component(c, i, bytes, vectors);
	fpu_write_memory(c, at(c, linear, offset), bytes, size);
}

static void save_components(struct cpu *c, const struct insn *insn, uint64_t linear, uint64_t components,
			    const struct layout *l)
{
	for (unsigned i = 0; i <= LAST_COMPONENT; i++)
		if (components >> i & 1)
			save_component(c, insn, linear, l->offset[i], i);
}

static void exec_xsave(struct cpu *c, const struct insn *insn)
{
	uint64_t linear = begin(c, insn, false, ACCESS_W), rfbm = requested(c) & c->xcr0;
	struct layout l = layout_of(c, c->xcr0, false);
	uint64_t used = fpu_xinuse(c, rfbm), old;
	access_probe(c, at(c, linear, LEGACY_SIZE), HEADER_SIZE, true);
	fpu_read_memory(c, at(c, linear, LEGACY_SIZE), &old, 8);
	save_components(c, insn, linear, insn->op == OP_XSAVEOPT ? used : rfbm, &l);
	if (rfbm & (XCR0_SSE | XCR0_AVX))
		save_mxcsr(c, linear);
	old = (old & ~rfbm) | used;
	fpu_write_memory(c, at(c, linear, LEGACY_SIZE), &old, 8);
}

static void save_compacted(struct cpu *c, const struct insn *insn, uint64_t linear)
{
	uint64_t rfbm = requested(c) & c->xcr0, used = fpu_xinuse(c, rfbm);
	struct layout l = layout_of(c, rfbm, true);
	uint64_t header[2] = { used, rfbm | XCOMP_COMPACTED };
	save_components(c, insn, linear, used, &l);
	if (used & XCR0_SSE)
		save_mxcsr(c, linear);
	fpu_write_memory(c, at(c, linear, LEGACY_SIZE), header, sizeof header);
}

static void exec_xsavec(struct cpu *c, const struct insn *insn)
{
	save_compacted(c, insn, begin(c, insn, false, ACCESS_W));
}

static void exec_xsaves(struct cpu *c, const struct insn *insn)
{
	save_compacted(c, insn, begin(c, insn, true, ACCESS_W));
}

/* --- restoring --- */

struct restore {
	uint64_t rfbm, xstate_bv, components; /* asked for; present; in the area's layout */
	bool compacted;
};

/* SDM 1, 13.8 and 13.12: the header's conditions. */
static struct restore check_header(struct cpu *c, const uint8_t *header, bool supervisor)
{
	struct restore r = { .rfbm = requested(c) & c->xcr0, .xstate_bv = load_le64(header) };
	uint64_t xcomp_bv = load_le64(header + 8);
	r.compacted = xcomp_bv >> 63 && (supervisor || cpu_has(c, FEATURE_XSAVEC));
	if (r.compacted) {
		r.components = xcomp_bv & ~XCOMP_COMPACTED;
		if (r.components & ~c->xcr0 || r.xstate_bv & ~r.components || !words_zero(header + 16, HEADER_SIZE - 16))
			cpu_gp(c, 0);
	} else {
		r.components = c->xcr0;
		if (supervisor || r.xstate_bv & ~c->xcr0 || xcomp_bv || load_le64(header + 16))
			cpu_gp(c, 0);
	}
	return r;
}

/* MXCSR is part of component 1 in the compacted form; in the standard form it comes with SSE or AVX, whatever
 * XSTATE_BV. */
static bool restore_mxcsr(struct cpu *c, const struct restore *r, const uint8_t *area, uint32_t *mxcsr)
{
	uint64_t with = r->compacted ? XCR0_SSE : XCR0_SSE | XCR0_AVX;
	if (!(r->rfbm & with))
		return false;
	*mxcsr = MXCSR_RESET;
	if (!r->compacted || r->xstate_bv & XCR0_SSE)
		*mxcsr = load_le32(area + X87_MXCSR);
	if (*mxcsr & ~MXCSR_MASK)
		cpu_gp(c, 0);
	return true;
}

static void restore_components(struct cpu *c, const struct insn *insn, const struct restore *r, const uint8_t *area,
			       const struct layout *l)
{
	unsigned vectors = vector_count(c);
	for (unsigned i = 0; i <= LAST_COMPONENT; i++) {
		if (!(r->rfbm & supported & BIT64(i)))
			continue;
		if (!(r->xstate_bv >> i & 1))
			init_component(c, i, vectors);
		else if (i == 0)
			x87_from_image(c, area, insn->prefixes & PREFIX_REX_W);
		else
			get_component(c, i, area + l->offset[i], vectors);
	}
}

/* All of the area is read before anything is changed. */
static void restore(struct cpu *c, const struct insn *insn, bool supervisor)
{
	uint8_t area[AREA_MAX];
	uint64_t linear = begin(c, insn, supervisor, ACCESS_R);
	uint32_t mxcsr = 0;
	fpu_read_memory(c, linear, area, AREA_BASE);
	struct restore r = check_header(c, area + LEGACY_SIZE, supervisor);
	struct layout l = layout_of(c, r.components, r.compacted);
	for (unsigned i = 2; i <= LAST_COMPONENT; i++)
		if (r.rfbm & r.xstate_bv & BIT64(i))
			fpu_read_memory(c, at(c, linear, l.offset[i]), area + l.offset[i], component_size(i));
	bool with_mxcsr = restore_mxcsr(c, &r, area, &mxcsr);
	restore_components(c, insn, &r, area, &l);
	if (with_mxcsr)
		c->mxcsr = mxcsr;
}

static void exec_xrstor(struct cpu *c, const struct insn *insn)
{
	restore(c, insn, false);
}

static void exec_xrstors(struct cpu *c, const struct insn *insn)
{
	restore(c, insn, true);
}

/* --- for engines --- */

void fpu_to_area(struct cpu *c, uint8_t *area)
{
	const uint64_t has = (c->xcr0_allowed | XCR0_SSE) & supported;
	const struct layout l = layout_of(c, has, false);
	store_le64(area + LEGACY_SIZE, (load_le64(area + LEGACY_SIZE) & ~supported) | fpu_xinuse(c, has));
	x87_to_image(c, area, true);
	store_le32(area + X87_MXCSR, c->mxcsr);
	store_le32(area + X87_MXCSR_MASK, MXCSR_MASK);
	for (unsigned i = 1; i <= LAST_COMPONENT; i++)
		if (has >> i & 1)
			put_component(c, i, area + l.offset[i], 16);
}

void fpu_from_area(struct cpu *c, const uint8_t *area)
{
	const uint64_t has = (c->xcr0_allowed | XCR0_SSE) & supported, used = load_le64(area + LEGACY_SIZE);
	const struct layout l = layout_of(c, has, false);
	c->mxcsr = load_le32(area + X87_MXCSR) & MXCSR_MASK;
	if (used & XCR0_X87)
		x87_from_image(c, area, true);
	else
		init_component(c, 0, 16);
	for (unsigned i = 1; i <= LAST_COMPONENT; i++)
		if (used & has & BIT64(i))
			get_component(c, i, area + l.offset[i], 16);
		else if (has >> i & 1)
			init_component(c, i, 16);
}

insn_exec *select_xsave(struct cpu *c, struct insn *insn)
{
	switch (insn->op) {
	case OP_XSAVE: case OP_XSAVEOPT: return exec_xsave;
	case OP_XSAVEC: return exec_xsavec;
	case OP_XSAVES: return exec_xsaves;
	case OP_XRSTOR: return exec_xrstor;
	case OP_XRSTORS: return exec_xrstors;
	default: return NULL;
	}
}
