/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The decoder against Zydis on random bytes, in all modes: length, mnemonic and
 * every visible operand. test_isa_zydis [COUNT [SEED [REPORTS]]]
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <Zydis/Zydis.h>

#include "base/util.h"
#include "isa/insn.h"
#include "isa/op.h"
#include "isa/operand.h"
#include "isa/table.h"

enum { INPUT = 24 };

static unsigned long test_count = 300000, max_reports = 40;
static uint64_t random_state = 0x2545f4914f6cdd1d;

static uint32_t rnd(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 24);
}

/* --- Byte strings --- */

static unsigned put_prefixes(uint8_t *b, enum isa_mode mode)
{
	static const uint8_t legacy[] = { 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0xf2, 0xf3 };
	unsigned n = 0, kind = rnd() % 8;
	if (kind >= 4)
		for (unsigned count = kind == 7 ? rnd() % 4 : 1; count; count--)
			b[n++] = legacy[rnd() % sizeof(legacy)];
	if (mode == ISA_MODE_64 && rnd() % 2)
		b[n++] = (uint8_t)(0x40 | (rnd() & 15));
	if (rnd() % 64 == 0)
		b[n++] = legacy[rnd() % sizeof(legacy)];
	return n;
}

/* VEX and EVEX that are mostly well-formed: random payloads hardly ever are. */
static void bias_vex(uint8_t *b)
{
	b[0] = 0xc4;
	b[1] = (uint8_t)((b[1] & 0xe0) | (1 + rnd() % 3));
	if (rnd() % 2)
		b[2] |= 0x78;
}

static void bias_evex(uint8_t *b)
{
	uint32_t r = rnd();
	b[0] = 0x62;
	b[1] = (uint8_t)((b[1] & 0xf0) | (1 + rnd() % 3));
	b[2] |= 4;
	if (r & 1)
		b[2] |= 0x78;
	if (r & 2)
		b[3] |= 8;
	if (r & 12)
		b[3] &= 0x7f;
	if (r & 0x30)
		b[3] &= (uint8_t)~0x10;
	if (r & 0x40)
		b[3] &= 0xf8;
}

static void make_input(uint8_t *b, enum isa_mode mode)
{
	unsigned n = 0;
	for (unsigned i = 0; i < INPUT; i++)
		b[i] = (uint8_t)rnd();
	switch (rnd() % 10) {
	case 0:
		return;
	case 1: case 2:
		put_prefixes(b, mode);
		return;
	case 3: case 4:
		n = put_prefixes(b, mode);
		b[n] = 0x0f;
		return;
	case 5:
		n = put_prefixes(b, mode);
		b[n] = 0x0f;
		b[n + 1] = rnd() % 2 ? 0x38 : 0x3a;
		return;
	case 6:
		if (rnd() % 16 == 0)
			n = put_prefixes(b, mode);
		b[n] = 0xc5;
		return;
	case 7:
		bias_vex(b);
		break;
	default:
		bias_evex(b);
		break;
	}
	if (mode != ISA_MODE_64 && rnd() % 8)
		b[1] |= 0xc0;
}

/* --- Comparison --- */

/* What visor does not show a guest, so that it is #UD: these, and no others, may be invalid here and valid in Zydis. */
static const struct left_out {
	ZydisISASet set;
	const char *reason;
} left_out[] = {
	/* Virtualization in the guest; VMCALL and VMMCALL, which a guest may try, are decoded. */
	{ ZYDIS_ISA_SET_VTX, "VMX is not shown" },
	{ ZYDIS_ISA_SET_VMFUNC, "VMX is not shown" },
	{ ZYDIS_ISA_SET_SVM, "SVM is not shown" },
	{ ZYDIS_ISA_SET_SNP, "SEV-SNP is not shown" },
	{ ZYDIS_ISA_SET_AMD_INVLPGB, "INVLPGB and TLBSYNC are not shown" },
	{ ZYDIS_ISA_SET_TDX, "TDX is not shown" },
	/* Gone from processors. */
	{ ZYDIS_ISA_SET_AMD3DNOW, "3DNow!, until 2010" },
	{ ZYDIS_ISA_SET_SSE4A, "SSE4A is not shown" },
	{ ZYDIS_ISA_SET_FMA4, "AMD family 15h only" },
	{ ZYDIS_ISA_SET_XOP, "AMD family 15h only" },
	{ ZYDIS_ISA_SET_TBM, "AMD family 15h only" },
	{ ZYDIS_ISA_SET_LWP, "AMD family 15h only" },
	{ ZYDIS_ISA_SET_RTM, "transactional memory is not shown" },
	{ ZYDIS_ISA_SET_TSX_LDTRK, "transactional memory is not shown" },
	{ ZYDIS_ISA_SET_KNCE, "Knights Corner" },
	{ ZYDIS_ISA_SET_KNCJKBR, "Knights Corner" },
	{ ZYDIS_ISA_SET_KNCSTREAM, "Knights Corner" },
	{ ZYDIS_ISA_SET_KNCV, "Knights Corner" },
	{ ZYDIS_ISA_SET_KNC_MISC, "Knights Corner" },
	{ ZYDIS_ISA_SET_KNC_PF_HINT, "Knights Corner" },
	{ ZYDIS_ISA_SET_AVX512ER_512, "Xeon Phi" },
	{ ZYDIS_ISA_SET_AVX512ER_SCALAR, "Xeon Phi" },
	{ ZYDIS_ISA_SET_AVX512PF_512, "Xeon Phi" },
	{ ZYDIS_ISA_SET_AVX512_4FMAPS_512, "Xeon Phi" },
	{ ZYDIS_ISA_SET_AVX512_4FMAPS_SCALAR, "Xeon Phi" },
	{ ZYDIS_ISA_SET_AVX512_4VNNIW_512, "Xeon Phi" },
	{ ZYDIS_ISA_SET_PADLOCK_ACE, "VIA" },
	{ ZYDIS_ISA_SET_PADLOCK_PHE, "VIA" },
	{ ZYDIS_ISA_SET_PADLOCK_PMM, "VIA" },
	{ ZYDIS_ISA_SET_PADLOCK_RNG, "VIA" },
	/* Not shown (yet). */
	{ ZYDIS_ISA_SET_AVX512_FP16_128, "AVX512-FP16 is not shown" },
	{ ZYDIS_ISA_SET_AVX512_FP16_128N, "AVX512-FP16 is not shown" },
	{ ZYDIS_ISA_SET_AVX512_FP16_256, "AVX512-FP16 is not shown" },
	{ ZYDIS_ISA_SET_AVX512_FP16_512, "AVX512-FP16 is not shown" },
	{ ZYDIS_ISA_SET_AVX512_FP16_SCALAR, "AVX512-FP16 is not shown" },
	{ ZYDIS_ISA_SET_AMX_BF16, "AMX is not shown" },
	{ ZYDIS_ISA_SET_AMX_INT8, "AMX is not shown" },
	{ ZYDIS_ISA_SET_AMX_TILE, "AMX is not shown" },
	{ ZYDIS_ISA_SET_MPX, "MPX is not shown" },
	{ ZYDIS_ISA_SET_CET, "shadow stacks are not shown" },
	{ ZYDIS_ISA_SET_KEYLOCKER, "Key Locker is not shown" },
	{ ZYDIS_ISA_SET_KEYLOCKER_WIDE, "Key Locker is not shown" },
	{ ZYDIS_ISA_SET_ENQCMD, "ENQCMD is not shown" },
	{ ZYDIS_ISA_SET_PT, "Processor Trace is not shown" },
	{ ZYDIS_ISA_SET_WAITPKG, "WAITPKG is not shown" },
	{ ZYDIS_ISA_SET_PKU, "protection keys are not shown" },
	{ ZYDIS_ISA_SET_SGX, "SGX is not shown" },
	{ ZYDIS_ISA_SET_SGX_ENCLV, "SGX is not shown" },
	{ ZYDIS_ISA_SET_PCONFIG, "PCONFIG is not shown" },
	{ ZYDIS_ISA_SET_UINTR, "user interrupts are not shown" },
	{ ZYDIS_ISA_SET_HRESET, "HRESET is not shown" },
	{ ZYDIS_ISA_SET_RDPRU, "RDPRU is not shown" },
	{ ZYDIS_ISA_SET_MCOMMIT, "MCOMMIT is not shown" },
};

static const char *left_out_reason(const ZydisDecodedInstruction *z)
{
	for (unsigned n = 0; n < ARRAY_SIZE(left_out); n++)
		if (left_out[n].set == z->meta.isa_set)
			return left_out[n].reason;
	return NULL;
}

struct sample {
	const uint8_t *bytes;
	enum isa_mode mode;
	int length;
	struct insn insn;
	bool z_valid;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand zo[ZYDIS_MAX_OPERAND_COUNT];
};

/* Zydis' name of our instruction. */
static void expected_mnemonic(const struct insn *i, char *out, size_t size)
{
	static const char *const conditions[16] = {
		"o", "no", "b", "nb", "z", "nz", "be", "nbe", "s", "ns", "p", "np", "l", "nl", "le", "nle",
	};
	static const char *const prefixes[] = { "lock ", "repe ", "repne ", "rep " };
	char text[160], *t = text;
	const char *name;
	if (i->op == OP_JCC || i->op == OP_SETCC || i->op == OP_CMOVCC) {
		snprintf(out, size, "%s%s", isa_rows[i->row].mnemonic, conditions[i->opcode & 15]);
		return;
	}
	isa_format(text, sizeof(text), i, 0);
	for (unsigned n = 0; n < ARRAY_SIZE(prefixes); n++)
		if (strncmp(t, prefixes[n], strlen(prefixes[n])) == 0)
			t += strlen(prefixes[n]);
	name = strncmp(t, "retf", 4) == 0 ? "ret" : t;
	snprintf(out, size, "%.*s", (int)strcspn(name, " "), name);
}

static bool same_gpr(const struct operand *o, ZydisRegister r, unsigned size)
{
	int id = ZydisRegisterGetId(r);
	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_GPR8: /* al cl dl bl ah ch dh bh spl bpl sil dil r8b ... */
		return size == 1 && o->reg == (id < 4 ? id : id < 8 ? id + 12 : id - 4);
	case ZYDIS_REGCLASS_GPR16: return size == 2 && o->reg == id;
	case ZYDIS_REGCLASS_GPR32: return size == 4 && o->reg == id;
	case ZYDIS_REGCLASS_GPR64: return size == 8 && o->reg == id;
	default: return false;
	}
}

static bool same_register(const struct operand *o, ZydisRegister r)
{
	ZydisRegisterClass class = ZydisRegisterGetClass(r);
	int id = ZydisRegisterGetId(r);
	switch (o->kind) {
	case OPERAND_GPR: return same_gpr(o, r, o->size);
	case OPERAND_SEG: return class == ZYDIS_REGCLASS_SEGMENT && id == o->reg;
	case OPERAND_CR: return class == ZYDIS_REGCLASS_CONTROL && id == o->reg;
	case OPERAND_DR: return class == ZYDIS_REGCLASS_DEBUG && id == o->reg;
	case OPERAND_ST: return class == ZYDIS_REGCLASS_X87 && id == o->reg;
	case OPERAND_MMX: return class == ZYDIS_REGCLASS_MMX && id == o->reg;
	case OPERAND_MASK: return class == ZYDIS_REGCLASS_MASK && id == o->reg;
	case OPERAND_VEC:
		return id == o->reg && class == (o->size == 64 ? ZYDIS_REGCLASS_ZMM : o->size == 32 ? ZYDIS_REGCLASS_YMM :
			ZYDIS_REGCLASS_XMM);
	default: return false;
	}
}

static bool same_address_register(unsigned reg, unsigned size, ZydisRegister r)
{
	if (reg == REG_NONE)
		return r == ZYDIS_REGISTER_NONE;
	if (reg == REG_RIP)
		return r == (size == 8 ? ZYDIS_REGISTER_RIP : ZYDIS_REGISTER_EIP);
	struct operand o = { .kind = OPERAND_GPR, .reg = (uint8_t)reg, .size = (uint8_t)size };
	return same_gpr(&o, r, size);
}

static bool same_memory(const struct insn *i, const struct operand *o, const ZydisDecodedOperand *z)
{
	uint64_t mask = size_mask(i->adsize);
	bool moffs = i->map == 0 && i->encoding == ENC_LEGACY && (i->opcode & 0xfc) == 0xa0;
	uint64_t disp = moffs ? i->imm : (uint64_t)(int64_t)i->disp;
	if (o->size && o->size * 8u != z->size)
		return false;
	if (i->adsize == 4 && i->base == REG_NONE && (i->modrm & 0xc7) == 4 && z->mem.base == ZYDIS_REGISTER_R13D)
		return true; /* mod 0 and base 101 is a displacement alone, whatever REX.B says (2A, table 2-5) */
	if (i->op != OP_LEA && ZydisRegisterGetId(z->mem.segment) != i->seg) /* LEA has no segment */
		return false;
	if (!same_address_register(i->base, i->adsize, z->mem.base))
		return false;
	if (isa_rows[i->row].attributes & ROW_VSIB) {
		struct operand index = { .kind = OPERAND_VEC, .reg = i->index, .size = (uint8_t)isa_vsib_index_size(i) };
		if (!same_register(&index, z->mem.index))
			return false;
	} else if (!same_address_register(i->index, i->adsize, z->mem.index))
		return false;
	if (i->index != REG_NONE && z->mem.scale != 1u << i->scale)
		return false;
	return ((disp ^ (uint64_t)z->mem.disp.value) & mask) == 0;
}

static bool same_operand(const struct insn *i, const struct operand *o, const ZydisDecodedOperand *z, bool second)
{
	switch (z->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		if ((i->op == OP_LAR || i->op == OP_LSL) && o->size == 2) /* the source is Ew (2D, table A-3) */
			return o->kind == OPERAND_GPR && o->reg == ZydisRegisterGetId(z->reg.value);
		return same_register(o, z->reg.value);
	case ZYDIS_OPERAND_TYPE_MEMORY:
		return o->kind == OPERAND_MEM && same_memory(i, o, z);
	case ZYDIS_OPERAND_TYPE_POINTER:
		return o->kind == OPERAND_FAR && z->ptr.segment == (i->imm2 | i->imm2_hi << 8) && z->ptr.offset == i->imm;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		if (z->imm.is_relative)
			return o->kind == OPERAND_REL && i->imm == z->imm.value.u;
		/* What is not to be extended has no sign: compare as many bytes as the operation has. */
		return o->kind == OPERAND_IMM && (((second ? i->imm2 : i->imm) ^ z->imm.value.u) &
			size_mask(MAX(o->size, i->opsize))) == 0;
	default:
		return false;
	}
}

/* Where visor decodes otherwise than Zydis, with the manual. */
enum deviation { AGREES, OPERANDS_DEVIATE, MNEMONIC_DEVIATES };

static enum deviation deviation(const struct insn *i)
{
	switch (i->op) {
	case OP_NOP: case OP_ENDBR: /* what a reserved NOP names has no meaning (2D, table A-3, 0F 18 to 0F 1F) */
		return i->map ? MNEMONIC_DEVIATES : AGREES;
	case OP_MOVSXD: /* 66 63 /r is MOVSXD r16, r/m16 (2B, MOVSXD) */
	case OP_FUCOMP: /* DD E8+i is FUCOMP ST(i), as DD E0+i is FUCOM ST(i) (2A, FUCOM) */
	case OP_CLZERO: /* no operand in the encoding (AMD 24594, CLZERO) */
		return OPERANDS_DEVIATE;
	case OP_WBNOINVD: /* F3 0F 09 (2C, WBNOINVD) */
		return MNEMONIC_DEVIATES;
	case OP_XCHG: /* F3 41 90: PAUSE is F3 90 alone; REX.B makes it an exchange, as processors do (2B, NOP) */
		return i->opcode == 0x90 && (i->prefixes & PREFIX_REP) ? MNEMONIC_DEVIATES : AGREES;
	default:
		return AGREES;
	}
}

/* What Zydis calls invalid and the manual does not. */
static bool valid_by_manual(const struct insn *i)
{
	/* Outside 64-bit mode EVEX.W counts for nothing here, and EVEX.b as with W0 (2A, CVTSI2SD; 2C, VCVTUSI2SD). */
	return (i->op == OP_VCVTSI2SD || i->op == OP_VCVTUSI2SD) && i->mode != ISA_MODE_64 && (i->evex & EVEX_W) &&
		(i->evex & EVEX_B);
}

/* Operands of Zydis that are none here, or the other way: the opmask is a field of its own, <XMM0> is written out. */
static unsigned count_operands(const struct insn *i)
{
	unsigned n = 0;
	while (n < 4 && i->operand[n].kind && isa_rows[i->row].operand[n] != OPERAND_TYPE_XMM0)
		n++;
	return n;
}

static bool same_evex(const struct insn *i, const ZydisDecodedInstruction *z)
{
	uint32_t attributes = isa_rows[i->row].attributes;
	bool zeroing = z->avx.mask.mode == ZYDIS_MASK_MODE_ZEROING || z->avx.mask.mode == ZYDIS_MASK_MODE_CONTROL_ZEROING;
	bool broadcast = z->avx.broadcast.mode && !z->avx.broadcast.is_static;
	bool with_register = (i->evex & EVEX_B) && !i->memory;
	unsigned rounding = with_register && (attributes & ROW_ER) ? 1u + (i->evex >> EVEX_RC_SHIFT & 3) : 0;
	/* Zydis calls what writes an opmask zeroing: EVEX.z must be 0 there. */
	if (i->operand[0].kind != OPERAND_MASK && zeroing != !!(i->evex & EVEX_Z))
		return false;
	if (broadcast != ((i->evex & EVEX_B) && i->memory))
		return false;
	if (z->avx.has_sae != (with_register && (attributes & (ROW_ER | ROW_SAE))) || z->avx.rounding.mode != rounding)
		return false;
	return (attributes & ROW_SCALAR) || z->avx.vector_length == i->vl * 8;
}

/* NULL, or what differs. */
static const char *differs(const struct sample *s)
{
	const struct insn *i = &s->insn;
	char name[64];
	bool second = false;
	if (s->length != s->z.length)
		return "length";
	enum deviation d = deviation(i);
	if (d == MNEMONIC_DEVIATES)
		return NULL;
	expected_mnemonic(i, name, sizeof(name));
	if (strcmp(name, ZydisMnemonicGetString(s->z.mnemonic)) != 0)
		return "mnemonic";
	if (d == OPERANDS_DEVIATE)
		return NULL;
	unsigned ours = count_operands(i);
	unsigned zn = 0;
	for (unsigned n = 0; n < s->z.operand_count_visible; n++) {
		const ZydisDecodedOperand *z = &s->zo[n];
		if (i->encoding == ENC_EVEX && z->encoding == ZYDIS_OPERAND_ENCODING_MASK) {
			if (ZydisRegisterGetId(z->reg.value) != i->mask)
				return "opmask";
			continue;
		}
		if (zn >= ours)
			return "number of operands";
		if (!same_operand(i, &i->operand[zn], z, second))
			return "operand";
		second |= i->operand[zn].kind == OPERAND_IMM;
		zn++;
	}
	if (zn != ours)
		return "number of operands";
	return i->encoding == ENC_EVEX && !same_evex(i, &s->z) ? "EVEX field" : NULL;
}

static void report(const struct sample *s, const char *what)
{
	static const char *const modes[] = { "16", "32", "64" };
	char text[160] = "invalid", ztext[160] = "invalid";
	ZydisFormatter f;
	ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
	if (s->length > 0)
		isa_format(text, sizeof(text), &s->insn, 0);
	if (s->z_valid)
		ZydisFormatterFormatInstruction(&f, &s->z, s->zo, s->z.operand_count_visible, ztext, sizeof(ztext), 0, NULL);
	printf("%s-bit ", modes[s->mode]);
	for (unsigned n = 0; n < 15 && (int)n < (s->z_valid ? s->z.length : s->length > 0 ? s->length : 15); n++)
		printf("%02x", s->bytes[n]);
	printf(": %s: visor %d \"%s\", Zydis %d \"%s\" %s\n", what, s->length, text, s->z_valid ? s->z.length : -1, ztext,
		s->z_valid ? ZydisISASetGetString(s->z.meta.isa_set) : "");
}

static ZydisDecoder decoders[3];

static void init_decoders(void)
{
	ZydisDecoderInit(&decoders[ISA_MODE_16], ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
	ZydisDecoderInit(&decoders[ISA_MODE_32], ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&decoders[ISA_MODE_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (unsigned m = 0; m < 3; m++) {
		/* Without these extensions their opcodes are NOPs, as a guest sees them. */
		ZydisDecoderEnableMode(&decoders[m], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(&decoders[m], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		ZydisDecoderEnableMode(&decoders[m], ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_TRUE);
	}
}

static bool agrees(struct sample *s)
{
	const char *what = NULL;
	s->length = isa_decode(&s->insn, s->bytes, INPUT, s->mode);
	s->z_valid = ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoders[s->mode], s->bytes, INPUT, &s->z, s->zo));
	if (s->length <= 0 && s->z_valid)
		what = left_out_reason(&s->z) ? NULL : "invalid here";
	else if (s->length > 0 && !s->z_valid)
		what = valid_by_manual(&s->insn) ? NULL : "valid here";
	else if (s->length > 0)
		what = differs(s);
	if (what)
		report(s, what);
	return !what;
}

static void random_bytes_agree(void **state)
{
	unsigned long valid = 0, reports = 0;
	uint8_t bytes[INPUT];
	init_decoders();
	for (unsigned long n = 0; n < test_count && reports < max_reports; n++) {
		struct sample s = { .bytes = bytes, .mode = (enum isa_mode)(n % 3) };
		make_input(bytes, s.mode);
		if (!agrees(&s))
			reports++;
		valid += s.length > 0;
	}
	printf("%lu strings, %lu valid instructions\n", test_count, valid);
	assert_int_equal(reports, 0);
	assert_true(valid > test_count / 4);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		test_count = strtoul(argv[1], NULL, 0);
	if (argc > 2)
		random_state ^= strtoull(argv[2], NULL, 0) * 0x9e3779b97f4a7c15;
	if (argc > 3)
		max_reports = strtoul(argv[3], NULL, 0);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_bytes_agree),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
