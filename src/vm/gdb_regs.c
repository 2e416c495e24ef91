/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/gdb_regs.h"

#include "base/util.h"

#define REG64(name) "<reg name=\"" name "\" bitsize=\"64\" type=\"int64\"/>"
#define REG32(name) "<reg name=\"" name "\" bitsize=\"32\" type=\"int32\"/>"
#define ST(n) "<reg name=\"st" #n "\" bitsize=\"80\" type=\"i387_ext\"/>"
#define FCTL(name) "<reg name=\"" name "\" bitsize=\"32\" type=\"int\" group=\"float\"/>"
#define XMM(n) "<reg name=\"xmm" #n "\" bitsize=\"128\" type=\"vec128\"/>"

const char gdb_target_xml[] =
	"<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target><architecture>i386:x86-64</architecture>"
	"<feature name=\"org.gnu.gdb.i386.core\">"
	REG64("rax") REG64("rbx") REG64("rcx") REG64("rdx") REG64("rsi") REG64("rdi")
	"<reg name=\"rbp\" bitsize=\"64\" type=\"data_ptr\"/><reg name=\"rsp\" bitsize=\"64\" type=\"data_ptr\"/>"
	REG64("r8") REG64("r9") REG64("r10") REG64("r11") REG64("r12") REG64("r13") REG64("r14") REG64("r15")
	"<reg name=\"rip\" bitsize=\"64\" type=\"code_ptr\"/>" REG32("eflags")
	REG32("cs") REG32("ss") REG32("ds") REG32("es") REG32("fs") REG32("gs")
	ST(0) ST(1) ST(2) ST(3) ST(4) ST(5) ST(6) ST(7)
	FCTL("fctrl") FCTL("fstat") FCTL("ftag") FCTL("fiseg") FCTL("fioff") FCTL("foseg") FCTL("fooff") FCTL("fop")
	"</feature><feature name=\"org.gnu.gdb.i386.sse\">"
	"<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
	"<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
	"<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
	"<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v4_int32\" type=\"v4i32\"/></union>"
	XMM(0) XMM(1) XMM(2) XMM(3) XMM(4) XMM(5) XMM(6) XMM(7)
	XMM(8) XMM(9) XMM(10) XMM(11) XMM(12) XMM(13) XMM(14) XMM(15) REG32("mxcsr")
	"</feature><feature name=\"org.gnu.gdb.i386.segments\">" REG64("fs_base") REG64("gs_base") "</feature>"
	"<feature name=\"org.visor.control\">" REG64("cr0") REG64("cr2") REG64("cr3") REG64("cr4") REG64("efer")
	"</feature></target>";

enum { NUM_RIP = 16, NUM_EFLAGS, NUM_CS, NUM_ST0 = 24, NUM_FCTRL = 32, NUM_XMM0 = 40, NUM_MXCSR = 56, NUM_FS_BASE, NUM_GS_BASE,
       NUM_CR0, NUM_CR2, NUM_CR3, NUM_CR4, NUM_EFER, NUM_COUNT };

unsigned gdb_reg_count(void)
{
	return NUM_COUNT;
}

unsigned gdb_reg_size(unsigned n)
{
	if (n <= NUM_RIP || (n >= NUM_FS_BASE && n < NUM_COUNT))
		return 8;
	if (n < NUM_ST0 || (n >= NUM_FCTRL && n < NUM_XMM0) || n == NUM_MXCSR)
		return 4;
	if (n < NUM_FCTRL)
		return 10;
	return n < NUM_MXCSR ? 16 : 0;
}

/* GDB's order of the first eight is not the encoding's. */
static unsigned gpr_number(unsigned n)
{
	static const uint8_t order[8] = { REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RDI, REG_RBP, REG_RSP };
	return n < 8 ? order[n] : n;
}

static const uint8_t segment_order[6] = { SEG_CS, SEG_SS, SEG_DS, SEG_ES, SEG_FS, SEG_GS };

/* The FXSAVE tag byte (1: in use) in the two-bit form of FSTENV; "in use" is shown as valid. */
static uint32_t full_tag(uint8_t abridged)
{
	uint32_t tag = 0;
	for (unsigned i = 0; i < 8; i++)
		if (!(abridged >> i & 1))
			tag |= 3u << (2 * i);
	return tag;
}

static uint32_t x87_control(const struct cpu *c, unsigned n)
{
	switch (n - NUM_FCTRL) {
	case 0: return load_le16(c->x87);
	case 1: return load_le16(c->x87 + 2);
	case 2: return full_tag(c->x87[4]);
	case 3: return c->x87_cs;
	case 4: return (uint32_t)c->x87_ip;
	case 5: return c->x87_ds;
	case 6: return (uint32_t)c->x87_dp;
	default: return c->x87_opcode;
	}
}

static uint64_t *wide_register(struct cpu *c, unsigned n)
{
	if (n <= 15)
		return &c->gpr[gpr_number(n)];
	switch (n) {
	case NUM_RIP: return &c->gpr[REG_RIP];
	case NUM_FS_BASE: return &c->seg[SEG_FS].base;
	case NUM_GS_BASE: return &c->seg[SEG_GS].base;
	case NUM_CR0: return &c->cr0;
	case NUM_CR2: return &c->cr2;
	case NUM_CR3: return &c->cr3;
	case NUM_CR4: return &c->cr4;
	case NUM_EFER: return &c->efer;
	default: return NULL;
	}
}

void gdb_reg_read(struct cpu *c, unsigned n, uint8_t *to)
{
	const uint64_t *wide = wide_register(c, n);
	if (wide)
		store_le64(to, *wide);
	else if (n == NUM_EFLAGS)
		store_le32(to, (uint32_t)cpu_get_rflags(c));
	else if (n < NUM_ST0)
		store_le32(to, c->seg[segment_order[n - NUM_CS]].selector);
	else if (n < NUM_FCTRL)
		memcpy(to, c->x87 + 32 + 16 * (n - NUM_ST0), 10);
	else if (n < NUM_XMM0)
		store_le32(to, x87_control(c, n));
	else if (n < NUM_MXCSR)
		memcpy(to, c->vec[n - NUM_XMM0], 16);
	else
		store_le32(to, c->mxcsr);
}

bool gdb_reg_write(struct cpu *c, unsigned n, const uint8_t *from)
{
	uint64_t *wide = wide_register(c, n);
	if (wide && n >= NUM_CR0)
		return load_le64(from) == *wide; /* a control register's effects belong to the guest's own instructions */
	if (wide) {
		*wide = load_le64(from);
		cpu_update_mode(c);
	} else if (n == NUM_EFLAGS) {
		uint64_t fixed = FLAG_VM | FLAG_RF;
		cpu_set_rflags(c, (cpu_get_rflags(c) & ~0xffffffffull) | (load_le32(from) & ~fixed) | (c->rflags & fixed) | 2);
	} else if (n < NUM_ST0) {
		return load_le32(from) == c->seg[segment_order[n - NUM_CS]].selector;
	} else if (n < NUM_FCTRL) {
		memcpy(c->x87 + 32 + 16 * (n - NUM_ST0), from, 10);
	} else if (n < NUM_XMM0) {
		return load_le32(from) == x87_control(c, n);
	} else if (n < NUM_MXCSR) {
		memcpy(c->vec[n - NUM_XMM0], from, 16);
	} else if (n == NUM_MXCSR) {
		c->mxcsr = load_le32(from) & 0xffff;
	} else {
		return false;
	}
	return true;
}
