/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/host.h"

#include "isa/op.h"
#include "isa/operand.h"
#include "isa/table.h"

/*
 * Writes stubs. The instruction itself is put together again from the decoded
 * fields: registers in their own encoding places, general registers replaced
 * by RAX, RCX, RDX in the order of operands, memory by [rsi].
 */

static const uint8_t method_of[] = {
#define METHOD_ENTRY(name, method, size) [OPERAND_TYPE_##name] = METHOD_##method,
	ISA_OPERAND_TYPES(METHOD_ENTRY)
#undef METHOD_ENTRY
};

#define MXCSR_OFFSET (offsetof(struct cpu, mxcsr))
#define CC_OFFSET (offsetof(struct cpu, cc))
#define GPR_OFFSET(n) (offsetof(struct cpu, gpr) + 8 * (n))
#define MASK_OFFSET(n) (offsetof(struct cpu, k) + 8 * (n))
#define VEC_OFFSET(n) (offsetof(struct cpu, vec) + 64 * (n))
#define MMX_OFFSET(n) (offsetof(struct cpu, x87) + X87_ST + 16 * (n))

static void put(struct host_code *code, unsigned count, const uint8_t *bytes)
{
	if (code->length + count <= HOST_CODE_MAX)
		memcpy(code->bytes + code->length, bytes, count);
	code->length += count;
}

#define PUT(code, ...) put(code, sizeof (const uint8_t[]){ __VA_ARGS__ }, (const uint8_t[]){ __VA_ARGS__ })

static void put32(struct host_code *code, uint32_t v)
{
	put(code, 4, (const uint8_t *)&v);
}

/* ModRM for [rdi + offset]. */
static void put_field(struct host_code *code, unsigned reg, size_t offset)
{
	PUT(code, (uint8_t)(0x87 | (reg & 7) << 3));
	put32(code, (uint32_t)offset);
}

/* --- moves between struct cpu and the host's registers --- */

static void emit_vec(struct host_code *code, unsigned reg, bool store)
{
	uint8_t opcode = store ? 0x7f : 0x6f;
	size_t offset = VEC_OFFSET(reg);
	switch (host_vector_size()) {
	case 64: /* vmovdqu64 zmm; disp8 counts in 64 bytes */
		PUT(code, 0x62, (uint8_t)(0x61 | (~reg & 8) << 4 | (~reg & 16)), 0xfe, 0x48, opcode);
		if (offset % 64 == 0 && offset / 64 < 128)
			PUT(code, (uint8_t)(0x47 | (reg & 7) << 3), (uint8_t)(offset / 64));
		else
			put_field(code, reg, offset);
		break;
	case 32: /* vmovdqu ymm */
		PUT(code, 0xc4, (uint8_t)(0x61 | (~reg & 8) << 4), 0x7e, opcode);
		put_field(code, reg, offset);
		break;
	default: /* movdqu xmm */
		PUT(code, 0xf3, (uint8_t)(0x40 | (reg & 8) >> 1), 0x0f, opcode);
		put_field(code, reg, offset);
		break;
	}
}

/* KMOVQ needs AVX512BW; without it opmasks have 16 bits. */
static void emit_mask(struct host_code *code, unsigned reg, bool store)
{
	static int wide = -1;
	if (wide < 0)
		wide = __builtin_cpu_supports("avx512bw") != 0;
	PUT(code, 0xc4, 0xe1, wide ? 0xf8 : 0x78, store ? 0x91 : 0x90);
	put_field(code, reg, MASK_OFFSET(reg));
}

static void emit_gpr(struct host_code *code, unsigned scratch, unsigned reg, bool store)
{
	PUT(code, 0x48, store ? 0x89 : 0x8b);
	put_field(code, scratch, GPR_OFFSET(reg));
}

static void emit_mmx(struct host_code *code, unsigned reg, bool store)
{
	PUT(code, 0x0f, store ? 0x7f : 0x6f);
	put_field(code, reg, MMX_OFFSET(reg));
	if (store) { /* a write sets sign and exponent to ones (SDM 1, 9.2.2) */
		PUT(code, 0x66, 0xc7);
		put_field(code, 0, MMX_OFFSET(reg) + 8);
		PUT(code, 0xff, 0xff);
	}
}

/* Arithmetic flags: cc is AX of LAHF and SETO. ADD AL, 0x7f overflows exactly when AL is 1. */
static void emit_flags_load(struct host_code *code)
{
	PUT(code, 0x66, 0x8b);
	put_field(code, 0, CC_OFFSET);
	PUT(code, 0x04, 0x7f, 0x9e);
}

static void emit_flags_store(struct host_code *code)
{
	PUT(code, 0x9f, 0x0f, 0x90, 0xc0, 0x66, 0x89);
	put_field(code, 0, CC_OFFSET);
}

/* The C code's MXCSR, by way of the red zone. */
static void emit_default_mxcsr(struct host_code *code)
{
	PUT(code, 0xc7, 0x44, 0x24, 0xf8);
	put32(code, MXCSR_RESET);
	PUT(code, 0x0f, 0xae, 0x54, 0x24, 0xf8);
}

/* --- the instruction itself --- */

struct fields {
	unsigned reg, rm, vvvv; /* full register numbers in the new encoding */
	bool wide;              /* W */
	unsigned imm_count;
	uint8_t imm[2];
};

/* General registers are renamed to 0, 1, 2 in the order of operands. */
static unsigned scratch_of(const struct insn *insn, unsigned operand)
{
	unsigned n = 0;
	for (unsigned i = 0; i < operand; i++)
		n += insn->operand[i].kind == OPERAND_GPR;
	return n;
}

static void place_operand(struct fields *f, const struct insn *insn, unsigned n, enum operand_method method)
{
	const struct operand *o = &insn->operand[n];
	unsigned reg = o->kind == OPERAND_GPR ? scratch_of(insn, n) : o->reg;
	if (o->kind == OPERAND_IMM) {
		f->imm[f->imm_count] = (uint8_t)(f->imm_count ? insn->imm2 : insn->imm);
		f->imm_count++;
		return;
	}
	switch (method) {
	case METHOD_G: case METHOD_P: case METHOD_V: case METHOD_K:
		f->reg = reg;
		break;
	case METHOD_E: case METHOD_M: case METHOD_R: case METHOD_Q: case METHOD_N: case METHOD_W: case METHOD_U:
	case METHOD_KE: case METHOD_KR:
		f->rm = o->kind == OPERAND_MEM ? REG_RSI : reg;
		break;
	case METHOD_H: case METHOD_B: case METHOD_KV:
		f->vvvv = reg;
		break;
	case METHOD_L:
		f->imm[0] = (uint8_t)(reg << 4);
		f->imm_count = 1;
		break;
	default: /* fixed registers */
		break;
	}
}

/* W chooses the size of a general operand in 64-bit mode only; the stub is always 64-bit code. */
static bool wants_w(const struct insn *insn, const struct isa_row *row)
{
	for (unsigned n = 0; n < 4; n++) {
		switch (row->operand[n]) {
		case OPERAND_TYPE_Ey: case OPERAND_TYPE_Gy: case OPERAND_TYPE_My: case OPERAND_TYPE_Ry: case OPERAND_TYPE_By:
			return insn->operand[n].size == 8;
		default:
			break;
		}
	}
	return insn->encoding == ENC_LEGACY ? insn->prefixes & PREFIX_REX_W : insn->evex & EVEX_W;
}

static struct fields fields_of(const struct insn *insn, const struct isa_row *row)
{
	struct fields f = { .reg = insn->modrm >> 3 & 7, .rm = insn->memory ? REG_RSI : insn->modrm & 7u,
			    .wide = wants_w(insn, row) };
	for (unsigned n = 0; n < 4; n++)
		if (insn->operand[n].kind != OPERAND_NONE)
			place_operand(&f, insn, n, (enum operand_method)method_of[row->operand[n]]);
	return f;
}

static void emit_legacy_opcode(struct host_code *code, const struct insn *insn, const struct fields *f)
{
	static const uint8_t mandatory[] = { 0, 0x66, 0xf3, 0xf2 };
	uint8_t rex = (uint8_t)(f->wide << 3 | (f->reg & 8) >> 1 | (f->rm & 8) >> 3);
	if (insn->pp)
		PUT(code, mandatory[insn->pp & 3]);
	if (rex)
		PUT(code, rex | 0x40);
	if (insn->map)
		PUT(code, 0x0f);
	if (insn->map == 2)
		PUT(code, 0x38);
	if (insn->map == 3)
		PUT(code, 0x3a);
	PUT(code, insn->opcode);
}

static void emit_vex_opcode(struct host_code *code, const struct insn *insn, const struct fields *f)
{
	PUT(code, 0xc4, (uint8_t)((~f->reg & 8) << 4 | 0x40 | (~f->rm & 8) << 2 | insn->map),
	    (uint8_t)(f->wide << 7 | (~f->vvvv & 15) << 3 | (insn->vl == 32) << 2 | insn->pp), insn->opcode);
}

static void emit_evex_opcode(struct host_code *code, const struct insn *insn, const struct fields *f)
{
	unsigned length = insn->vl == 64 ? 2 : insn->vl == 32 ? 1 : 0;
	bool b = insn->evex & EVEX_B;
	if (b && !insn->memory)
		length = insn->evex >> EVEX_RC_SHIFT & 3;
	PUT(code, 0x62,
	    (uint8_t)((~f->reg & 8) << 4 | (~f->rm & 16) << 2 | (~f->rm & 8) << 2 | (~f->reg & 16) | insn->map),
	    (uint8_t)(f->wide << 7 | (~f->vvvv & 15) << 3 | 4 | insn->pp),
	    (uint8_t)((insn->evex & EVEX_Z) << 7 | length << 5 | b << 4 | (~f->vvvv & 16) >> 1 | (insn->mask & 7)),
	    insn->opcode);
}

static void emit_insn(struct host_code *code, const struct insn *insn, const struct isa_row *row)
{
	struct fields f = fields_of(insn, row);
	switch (insn->encoding) {
	case ENC_VEX: emit_vex_opcode(code, insn, &f); break;
	case ENC_EVEX: emit_evex_opcode(code, insn, &f); break;
	default: emit_legacy_opcode(code, insn, &f); break;
	}
	PUT(code, (uint8_t)((insn->memory ? 0 : 0xc0) | (f.reg & 7) << 3 | (f.rm & 7)));
	put(code, f.imm_count, f.imm);
}

/* --- registers --- */

/* PCMPESTRx takes its lengths from RAX and RDX; PCMPxSTRI answers in RCX, PCMPxSTRM in XMM0. */
struct implicit {
	bool lengths, index, mask;
};

static struct implicit implicit_of(const struct insn *insn)
{
	struct implicit i = { 0 };
	if (insn->map != 3 || insn->encoding == ENC_EVEX || insn->pp != 1 || insn->opcode < 0x60 || insn->opcode > 0x63)
		return i;
	i.lengths = insn->opcode < 0x62;
	i.index = insn->opcode & 1;
	i.mask = !i.index;
	return i;
}

static void emit_operand(struct host_code *code, const struct insn *insn, unsigned n, bool store)
{
	const struct operand *o = &insn->operand[n];
	switch (o->kind) {
	case OPERAND_VEC:
		emit_vec(code, o->reg, store);
		break;
	case OPERAND_MASK:
		if (insn->op == OP_VP2INTERSECTD || insn->op == OP_VP2INTERSECTQ) /* a pair of mask registers */
			emit_mask(code, o->reg ^ 1, store);
		emit_mask(code, o->reg, store);
		break;
	case OPERAND_MMX:
		emit_mmx(code, o->reg, store);
		break;
	case OPERAND_GPR:
		emit_gpr(code, scratch_of(insn, n), o->reg, store);
		break;
	default:
		break;
	}
}

/* Destinations are loaded too: legacy forms keep upper parts, masked forms keep elements. */
static void emit_loads(struct host_code *code, const struct insn *insn)
{
	struct implicit implicit = implicit_of(insn);
	for (unsigned n = 0; n < 4; n++)
		emit_operand(code, insn, n, false);
	if (insn->mask)
		emit_mask(code, insn->mask, false);
	if (implicit.lengths) {
		emit_gpr(code, REG_RAX, REG_RAX, false);
		emit_gpr(code, REG_RDX, REG_RDX, false);
	}
	if (implicit.mask)
		emit_vec(code, 0, false);
}

static void emit_stores(struct host_code *code, const struct insn *insn)
{
	struct implicit implicit = implicit_of(insn);
	for (unsigned n = 0; n < 4; n++)
		if (insn->operand[n].access & ACCESS_W)
			emit_operand(code, insn, n, true);
	if (implicit.index)
		emit_gpr(code, REG_RCX, REG_RCX, true);
	if (implicit.mask)
		emit_vec(code, 0, true);
}

/* --- stubs --- */

/* lea r11, [rip + fault path]: where the signal handler goes on. */
static unsigned emit_fault_pointer(struct host_code *code)
{
	PUT(code, 0x4c, 0x8d, 0x1d, 0, 0, 0, 0);
	return code->length;
}

static void set_fault_path(struct host_code *code, unsigned after_lea)
{
	code->fault = code->length;
	uint32_t distance = code->length - after_lea;
	memcpy(code->bytes + after_lea - 4, &distance, 4);
}

static bool uses_kind(const struct insn *insn, enum operand_kind kind)
{
	for (unsigned n = 0; n < 4; n++)
		if (insn->operand[n].kind == kind)
			return true;
	return false;
}

/* Leaves no state behind that would slow down or disturb the C code. */
static void emit_clean(struct host_code *code, const struct insn *insn, uint32_t attributes)
{
	if (attributes & ROW_MMX)
		PUT(code, 0x0f, 0x77);
	if (host_vector_size() > 16 && (uses_kind(insn, OPERAND_VEC) || implicit_of(insn).mask))
		PUT(code, 0xc5, 0xf8, 0x77);
}

static void emit_vector_stub(struct host_code *code, const struct insn *insn, const struct isa_row *row)
{
	unsigned lea = emit_fault_pointer(code);
	bool flags = row->flags_read | row->flags_written | row->flags_undefined;
	if (flags)
		emit_flags_load(code);
	emit_loads(code, insn);
	if (row->attributes & ROW_FP) {
		PUT(code, 0x0f, 0xae);
		put_field(code, 2, MXCSR_OFFSET);
	}
	emit_insn(code, insn, row);
	emit_stores(code, insn);
	if (flags)
		emit_flags_store(code);
	if (row->attributes & ROW_FP) {
		PUT(code, 0x0f, 0xae);
		put_field(code, 3, MXCSR_OFFSET);
		emit_default_mxcsr(code);
	}
	emit_clean(code, insn, row->attributes);
	PUT(code, 0x31, 0xc0, 0xc3); /* xor eax, eax; ret */

	set_fault_path(code, lea); /* the signal handler has set RAX */
	if (row->attributes & ROW_FP) {
		PUT(code, 0x0f, 0xae, 0x5c, 0x24, 0xf8, 0x8b, 0x54, 0x24, 0xf8); /* stmxcsr [rsp-8]; mov edx, [rsp-8] */
		emit_default_mxcsr(code);
	}
	emit_clean(code, insn, row->attributes);
	PUT(code, 0xc3);
}

/* FXRSTOR64, the instruction, FXSAVE64; FNINIT, so that no exception stays pending on the host. */
static void emit_x87_stub(struct host_code *code, const struct insn *insn, const struct isa_row *row)
{
	unsigned lea = emit_fault_pointer(code);
	bool flags = row->flags_read | row->flags_written | row->flags_undefined;
	PUT(code, 0x48, 0x0f, 0xae, 0x0a);
	if (flags)
		emit_flags_load(code);
	PUT(code, insn->opcode, insn->memory ? (uint8_t)((insn->modrm & 0x38) | REG_RSI) : insn->modrm);
	if (flags)
		emit_flags_store(code);
	PUT(code, 0x48, 0x0f, 0xae, 0x02, 0xdb, 0xe3, 0x31, 0xc0, 0xc3);
	set_fault_path(code, lea);
	PUT(code, 0xdb, 0xe3, 0xc3);
}

bool host_emit(struct host_code *code, const struct insn *insn)
{
	const struct isa_row *row = &isa_rows[insn->row];
	code->length = 0;
	if (row->attributes & ROW_X87)
		emit_x87_stub(code, insn, row);
	else
		emit_vector_stub(code, insn, row);
	return code->length <= HOST_CODE_MAX;
}
