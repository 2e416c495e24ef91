/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "isa/table.h"

#include "isa/feature.h"
#include "isa/insn.h"
#include "isa/op.h"
#include "isa/operand.h"

/*
 * The rows stand in table_*.h, one line each:
 *
 *   ROW(map, opcode, condition, mnemonic, (operands), access, feature, attributes, flags)
 *   VROW(map, opcode, condition, mnemonic, (operands), access, feature, attributes, tuple)
 *   FVROW(..., tuple, flags)
 *
 * ROW8 is eight rows, of an opcode with a register in its low three bits.
 * Where several rows of an opcode apply to an instruction, the last one counts.
 */

/* map */
#define LEGACY(n) ISA_MAP(ENC_LEGACY, n)
#define VEX(n)    ISA_MAP(ENC_VEX, n)
#define EVEX(n)   ISA_MAP(ENC_EVEX, n)

/* condition: mask and value of the decoder's key, joined by | */
#define WHEN(mask, value) ((uint64_t)(mask) << 32 | (uint64_t)(value))
#define ANY   0ull
#define NP    WHEN(KEY_F3 | KEY_F2 | KEY_66, 0)
#define P66   WHEN(KEY_F3 | KEY_F2 | KEY_66, KEY_66)
#define PF3   WHEN(KEY_F3 | KEY_F2, KEY_F3)
#define PF2   WHEN(KEY_F3 | KEY_F2, KEY_F2)
#define ISF3  PF3
#define ISF2  PF2
#define NOF3  WHEN(KEY_F3, 0)
#define NOREP WHEN(KEY_F3 | KEY_F2, 0) /* 66 is the operand-size prefix */
#define W0    WHEN(KEY_W, 0)
#define W1    WHEN(KEY_W, KEY_W)
#define L0    WHEN(3 << KEY_L_SHIFT, 0)
#define L1    WHEN(3 << KEY_L_SHIFT, 1 << KEY_L_SHIFT)
#define L2    WHEN(3 << KEY_L_SHIFT, 2 << KEY_L_SHIFT)
#define MEM   WHEN(KEY_REG3, 0)
#define REG   WHEN(KEY_REG3, KEY_REG3)
#define I64   WHEN(KEY_64, 0)
#define O64   WHEN(KEY_64, KEY_64)
#define B0    WHEN(KEY_B, 0)
#define B1    WHEN(KEY_B, KEY_B)
#define SLASH(n) WHEN(7 << KEY_REG_SHIFT, (n) << KEY_REG_SHIFT)
#define S0    SLASH(0)
#define S1    SLASH(1)
#define S2    SLASH(2)
#define S3    SLASH(3)
#define S4    SLASH(4)
#define S5    SLASH(5)
#define S6    SLASH(6)
#define S7    SLASH(7)
#define RM(n) WHEN(7 << KEY_RM_SHIFT, (n) << KEY_RM_SHIFT)
#define R0    RM(0)
#define R1    RM(1)
#define R2    RM(2)
#define R3    RM(3)
#define R4    RM(4)
#define R5    RM(5)
#define R6    RM(6)
#define R7    RM(7)
#define USES_MODRM(condition) \
	((((condition) >> 32) & (KEY_REG3 | 7 << KEY_REG_SHIFT | 7 << KEY_RM_SHIFT)) != 0)

/* access */
enum {
	ACCESS_OF_RO   = 0x55, /* all are read */
	ACCESS_OF_WO   = 0x56, /* the first is written */
	ACCESS_OF_RW   = 0x57, /* the first is read and written */
	ACCESS_OF_WW   = 0x5a, /* the first two are written */
	ACCESS_OF_RWRW = 0x5f, /* the first two are read and written */
	ACCESS_OF_GATHER = 0x37, /* destination and mask (third operand) are read and written */
};

/* attributes; constants, not macros, since FEATURE_ and FLAGS_ are pasted before the same words */
enum {
	LOCK = ROW_LOCK,
	ENDS = ROW_ENDS,
	REP = ROW_REP,
	DEF64 = ROW_DEF64,
	FORCE64 = ROW_FORCE64,
	ALIGNED = ROW_ALIGNED,
	SSE = ROW_SSE,
	AVX = (ROW_AVX | ROW_PROT),
	X87 = ROW_X87,
	MMX = ROW_MMX,
	FP = ROW_FP,
	HOST = ROW_HOST,
	CPL0 = ROW_CPL0,
	VSIB = ROW_VSIB,
	PROT = ROW_PROT,
	NOWAIT = ROW_NOWAIT,
	BYTE = ROW_BYTE,
	ANYMOD = ROW_ANYMOD,
	SCALAR = ROW_SCALAR,
	MASK = ROW_MASK,
	KZ = ROW_MASK | ROW_ZERO, /* {k}{z} */
	BCST = ROW_BCST,
	ER = ROW_ER,
	SAE = ROW_SAE,
	NO_ER = ROW_NO_ER,
	MAX32 = ROW_MAX32,
	DISTINCT = ROW_DISTINCT,
};

/* flags: read, written, undefined. Shifts by a count that may be zero keep the flags then, so they read them. */
#define CF_ 0x1
#define PF_ 0x4
#define AF_ 0x10
#define ZF_ 0x40
#define SF_ 0x80
#define DF_ 0x400
#define OF_ 0x800
#define ALL_ (OF_ | SF_ | ZF_ | AF_ | PF_ | CF_)
#define FLAGS(r, w, u) .flags_read = (r), .flags_written = (w), .flags_undefined = (u)
#define FLAGS_NONE           FLAGS(0, 0, 0)
#define FLAGS_ARITH          FLAGS(0, ALL_, 0)
#define FLAGS_CARRY          FLAGS(CF_, ALL_, 0)
#define FLAGS_LOGIC          FLAGS(0, ALL_ & ~AF_, AF_)
#define FLAGS_INCDEC         FLAGS(0, ALL_ & ~CF_, 0)
#define FLAGS_MULTIPLY       FLAGS(0, CF_ | OF_, SF_ | ZF_ | AF_ | PF_)
#define FLAGS_DIVIDE         FLAGS(0, 0, ALL_)
#define FLAGS_SHIFT_1        FLAGS(0, ALL_ & ~AF_, AF_)
#define FLAGS_SHIFT_N        FLAGS(ALL_, ALL_ & ~AF_, AF_ | OF_ | CF_)
#define FLAGS_SHIFT_DOUBLE   FLAGS(ALL_, ALL_ & ~AF_, ALL_) /* a 16-bit one by more than 16 */
#define FLAGS_ROTATE_1       FLAGS(0, CF_ | OF_, 0)
#define FLAGS_ROTATE_N       FLAGS(CF_ | OF_, CF_ | OF_, OF_)
#define FLAGS_ROTATE_CF_1    FLAGS(CF_, CF_ | OF_, 0)
#define FLAGS_ROTATE_CF_N    FLAGS(CF_ | OF_, CF_ | OF_, OF_)
#define FLAGS_BIT_TEST       FLAGS(0, CF_, OF_ | SF_ | AF_ | PF_)
#define FLAGS_BIT_SCAN       FLAGS(0, ZF_, ALL_ & ~ZF_)
#define FLAGS_COUNT_ZEROS    FLAGS(0, CF_ | ZF_, OF_ | SF_ | AF_ | PF_)
#define FLAGS_POPCNT         FLAGS(0, ALL_, 0)
#define FLAGS_RANDOM         FLAGS(0, ALL_, 0)
#define FLAGS_ADCX           FLAGS(CF_, CF_, 0)
#define FLAGS_ADOX           FLAGS(OF_, OF_, 0)
#define FLAGS_DECIMAL        FLAGS(AF_ | CF_, ALL_ & ~OF_, OF_)
#define FLAGS_ASCII          FLAGS(AF_, AF_ | CF_, OF_ | SF_ | ZF_ | PF_)
#define FLAGS_AAM            FLAGS(0, SF_ | ZF_ | PF_, OF_ | AF_ | CF_)
#define FLAGS_ZERO           FLAGS(0, ZF_, 0)
#define FLAGS_CMC            FLAGS(CF_, CF_, 0)
#define FLAGS_WRITE_CF       FLAGS(0, CF_, 0)
#define FLAGS_WRITE_DF       FLAGS(0, DF_, 0)
#define FLAGS_SAHF           FLAGS(0, ALL_ & ~OF_, 0)
#define FLAGS_LAHF           FLAGS(ALL_ & ~OF_, 0, 0)
#define FLAGS_READ_ALL       FLAGS(ALL_ | DF_, 0, 0)
#define FLAGS_WRITE_ALL      FLAGS(0, ALL_ | DF_, 0)
#define FLAGS_SYSCALL        FLAGS(ALL_ | DF_, ALL_ | DF_, 0) /* into R11, and masked */
#define FLAGS_DIRECTION      FLAGS(DF_, 0, 0)
#define FLAGS_COMPARE_STRING FLAGS(DF_ | ALL_, ALL_, 0) /* REP with a count of 0 keeps them */
#define FLAGS_FCOMI          FLAGS(0, ALL_, 0)
#define FLAGS_UNDEFINED      FLAGS(0, 0, ALL_)
#define FLAGS_COND_O         FLAGS(OF_, 0, 0)
#define FLAGS_COND_C         FLAGS(CF_, 0, 0)
#define FLAGS_COND_Z         FLAGS(ZF_, 0, 0)
#define FLAGS_COND_BE        FLAGS(CF_ | ZF_, 0, 0)
#define FLAGS_COND_S         FLAGS(SF_, 0, 0)
#define FLAGS_COND_P         FLAGS(PF_, 0, 0)
#define FLAGS_COND_L         FLAGS(SF_ | OF_, 0, 0)
#define FLAGS_COND_LE        FLAGS(ZF_ | SF_ | OF_, 0, 0)
#define FLAGS_ANDN           FLAGS(0, ALL_ & ~(AF_ | PF_), AF_ | PF_)
#define FLAGS_BEXTR          FLAGS(0, ZF_ | CF_ | OF_, AF_ | SF_ | PF_)

/* (operands): how many, then each by its name */
#define COUNT_(dummy, a, b, c, d, n, ...) n
#define COUNT(...) COUNT_(0, ##__VA_ARGS__, 4, 3, 2, 1, 0)
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define OPERANDS_0()
#define OPERANDS_1(a)          OPERAND_TYPE_##a
#define OPERANDS_2(a, b)       OPERAND_TYPE_##a, OPERAND_TYPE_##b
#define OPERANDS_3(a, b, c)    OPERAND_TYPE_##a, OPERAND_TYPE_##b, OPERAND_TYPE_##c
#define OPERANDS_4(a, b, c, d) OPERAND_TYPE_##a, OPERAND_TYPE_##b, OPERAND_TYPE_##c, OPERAND_TYPE_##d
#define OPERANDS(...) JOIN(OPERANDS_, COUNT(__VA_ARGS__))(__VA_ARGS__)
#define MODRM(t) ((int)METHOD_OF_##t <= (int)METHOD_LAST_MODRM)
#define HAS_MODRM_0()          0
#define HAS_MODRM_1(a)         MODRM(a)
#define HAS_MODRM_2(a, b)      (MODRM(a) || MODRM(b))
#define HAS_MODRM_3(a, b, c)   (MODRM(a) || MODRM(b) || MODRM(c))
#define HAS_MODRM_4(a, b, c, d) (MODRM(a) || MODRM(b) || MODRM(c) || MODRM(d))
#define HAS_MODRM(...) JOIN(HAS_MODRM_, COUNT(__VA_ARGS__))(__VA_ARGS__)
#define TEXT(...) #__VA_ARGS__

/* Each mnemonic's text, so that rows name the operation alone. */
#define MNEMONIC(name, text) static const char mnemonic_##name[] = text;
ISA_OPS_INTEGER(MNEMONIC)
ISA_OPS_SYSTEM(MNEMONIC)
ISA_OPS_X87(MNEMONIC)
ISA_OPS_VECTOR(MNEMONIC)

#define ANY_ROW(map_, opcode_, when, name, operands_, access_, feature_, attributes_) \
	.mnemonic = mnemonic_##name, .operands = TEXT operands_, .op = OP_##name, .feature = FEATURE_##feature_, \
	.attributes = (attributes_) | ((when) >> 32 & KEY_64 ? (when) & KEY_64 ? ROW_ONLY64 : ROW_NO64 : 0), \
	.map = (map_), .opcode = (opcode_), .access = ACCESS_OF_##access_, \
	.match_mask = (uint32_t)((when) >> 32), .match_value = (uint32_t)(when), \
	.operand = { OPERANDS operands_ }, .modrm = USES_MODRM(when) || HAS_MODRM operands_

#define ROW(map, opcode, when, name, operands, access, feature, attributes, flags) \
	{ ANY_ROW(map, opcode, when, name, operands, access, feature, attributes), FLAGS_##flags },
#define VROW(map, opcode, when, name, operands, access, feature, attributes, tuple_) \
	{ ANY_ROW(map, opcode, when, name, operands, access, feature, attributes), .tuple = TUPLE_##tuple_ },
#define FVROW(map, opcode, when, name, operands, access, feature, attributes, tuple_, flags) \
	{ ANY_ROW(map, opcode, when, name, operands, access, feature, attributes), .tuple = TUPLE_##tuple_, FLAGS_##flags },
#define ROW8(map, opcode, ...) \
	ROW(map, (opcode), __VA_ARGS__) ROW(map, (opcode) + 1, __VA_ARGS__) \
	ROW(map, (opcode) + 2, __VA_ARGS__) ROW(map, (opcode) + 3, __VA_ARGS__) \
	ROW(map, (opcode) + 4, __VA_ARGS__) ROW(map, (opcode) + 5, __VA_ARGS__) \
	ROW(map, (opcode) + 6, __VA_ARGS__) ROW(map, (opcode) + 7, __VA_ARGS__)

const struct isa_row isa_rows[] = {
	{ .mnemonic = "(bad)", .operands = "" },
#include "isa/table_all.h"
};
#define FEATURE_NAME(name) #name,
const char *const isa_feature_names[] = { ISA_FEATURES(FEATURE_NAME) };

const unsigned isa_row_count = sizeof(isa_rows) / sizeof(isa_rows[0]);

/* The index: every row writes its number under its map and opcode, and the last one stays. */
#undef ROW
#undef VROW
#undef FVROW
#define ROW(map, opcode, ...)  [map][opcode] = __COUNTER__ - FIRST_COUNT,
#define FVROW(map, opcode, ...) [map][opcode] = __COUNTER__ - FIRST_COUNT,
#define VROW(map, opcode, ...) [map][opcode] = __COUNTER__ - FIRST_COUNT,
enum { FIRST_COUNT = __COUNTER__ };

#pragma GCC diagnostic ignored "-Woverride-init"
const uint16_t isa_last_row[ISA_MAP_COUNT][256] = {
#include "isa/table_all.h"
};
