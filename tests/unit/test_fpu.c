/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "cpu/access.h"
#include "cpu/cpu.h"
#include "cpu/fpu.h"
#include "cpu/host.h"
#include "diff_machine.h"

/* What the random differential cannot see: system state, pending exceptions, page faults in the middle, old formats. */
#define DATA 0x13002000ul     /* the middle of the machine's memory */
#define DATA_LAST 0x1300d000ul /* its last page; behind it nothing is mapped */
#define NO_FAULT (-1)

static struct cpu *c;
static struct insn insn;

static int run_bytes(const uint8_t *bytes, unsigned size, enum isa_mode mode)
{
	jmp_buf env;
	int length = isa_decode(&insn, bytes, size, mode);
	assert_int_equal(length, size);
	c->insn = &insn;
	c->fault_env = &env;
	c->gpr[REG_RIP] = 0x1000 + (unsigned)length;
	cpu_select(c, &insn);
	if (setjmp(env))
		return c->fault_vector;
	insn.exec(c, &insn);
	return NO_FAULT;
}

#define RUN(...) run_bytes((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), ISA_MODE_64)
#define RUN32(...) run_bytes((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), ISA_MODE_32)

static void write_guest(uint64_t at, const void *bytes, unsigned size)
{
	fpu_write_memory(c, at, bytes, size);
}

static uint64_t peek(uint64_t at, unsigned size)
{
	uint64_t v = 0;
	fpu_read_memory(c, at, &v, size);
	return v;
}

static int fresh(void **state)
{
	if (!c)
		c = diff_machine();
	cpu_fpu_reset(c);
	memset(c->gpr, 0, sizeof c->gpr);
	c->cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_WP | CR0_MP | CR0_ET;
	c->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	c->xcr0 = c->xcr0_allowed;
	c->gpr[REG_RSI] = DATA;
	c->gpr[REG_RIP] = 0x1000;
	c->fault_env = NULL;
	x87_init(c);
	return 0;
}

/* --- who may use what when --- */

static void availability(void **state)
{
	c->cr0 |= CR0_TS;
	assert_int_equal(RUN(0xd9, 0xe8), EXC_NM);                   /* fld1 */
	assert_int_equal(RUN(0x0f, 0x77), EXC_NM);                   /* emms */
	assert_int_equal(RUN(0x0f, 0x58, 0xc1), EXC_NM);             /* addps */
	assert_int_equal(RUN(0xc5, 0xf8, 0x58, 0xc1), EXC_NM);       /* vaddps */
	assert_int_equal(RUN(0x9b), EXC_NM);                         /* fwait with MP */
	c->cr0 &= ~CR0_MP;
	assert_int_equal(RUN(0x9b), NO_FAULT);
	c->cr0 = (c->cr0 & ~CR0_TS) | CR0_EM;
	assert_int_equal(RUN(0xd9, 0xe8), EXC_NM);
	assert_int_equal(RUN(0x0f, 0x77), EXC_UD);
	assert_int_equal(RUN(0x0f, 0x58, 0xc1), EXC_UD);
	assert_int_equal(RUN(0xc5, 0xf8, 0x58, 0xc1), NO_FAULT);     /* EM is not for AVX */
	c->cr0 &= ~CR0_EM;
	c->cr4 &= ~(CR4_OSFXSR | CR4_OSXSAVE);
	assert_int_equal(RUN(0x0f, 0x58, 0xc1), EXC_UD);
	assert_int_equal(RUN(0xc5, 0xf8, 0x58, 0xc1), EXC_UD);
	assert_int_equal(RUN(0x0f, 0xae, 0x26), EXC_UD);             /* xsave [rsi] */
	c->cr4 |= CR4_OSXSAVE;
	c->xcr0 = XCR0_X87 | XCR0_SSE;
	assert_int_equal(RUN(0xc5, 0xf8, 0x58, 0xc1), EXC_UD);
	c->xcr0 |= XCR0_AVX;
	assert_int_equal(RUN(0xc5, 0xf8, 0x58, 0xc1), NO_FAULT);
	if (cpu_has(c, FEATURE_AVX512F))
		assert_int_equal(RUN(0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1), EXC_UD);
}

/* --- unmasked exceptions --- */

static struct sigaction stub_actions[NSIG];

/* cmocka puts its own handlers before each test. */
static void use_stub_handlers(void)
{
	sigaction(SIGFPE, &stub_actions[SIGFPE], NULL);
	sigaction(SIGSEGV, &stub_actions[SIGSEGV], NULL);
}

static void save_stub_handlers(void)
{
	fresh(NULL);
	RUN(0x0f, 0x58, 0xc1);
	sigaction(SIGFPE, NULL, &stub_actions[SIGFPE]);
	sigaction(SIGSEGV, NULL, &stub_actions[SIGSEGV]);
}

static void simd_exception(void **state)
{
	const float numbers[4] = { 1, 0, 1, 1 };
	use_stub_handlers();
	memcpy(c->vec[0], numbers, 16);
	memset(c->vec[1], 0, 64);
	c->mxcsr = MXCSR_RESET & ~0x200u; /* division by zero */
	assert_int_equal(RUN(0x0f, 0x5e, 0xc1), EXC_XM); /* divps xmm0, xmm1 */
	assert_memory_equal(c->vec[0], numbers, 16);
	assert_int_equal(c->mxcsr & 0x3f, 5); /* invalid (0/0, masked) and division by zero */
	c->cr4 &= ~CR4_OSXMMEXCPT;
	assert_int_equal(RUN(0x0f, 0x5e, 0xc1), EXC_UD);
	c->mxcsr = MXCSR_RESET;
	assert_int_equal(RUN(0x0f, 0x5e, 0xc1), NO_FAULT);
}

static unsigned ferr_level;

static void ferr_set(void *opaque, unsigned pin, int level)
{
	ferr_level = (unsigned)level;
}

/* fld1; fldz; fdivp with the divide exception unmasked */
static void make_pending(void)
{
	x87_set_control(c, X87_FCW_INIT & ~4u, 0);
	assert_int_equal(RUN(0xd9, 0xe8), NO_FAULT);
	assert_int_equal(RUN(0xd9, 0xee), NO_FAULT);
	assert_int_equal(RUN(0xde, 0xf9), NO_FAULT);
	assert_int_equal(x87_fsw(c) & 0x8084, 0x8084);
}

static void x87_exception(void **state)
{
	make_pending();
	assert_int_equal(RUN(0xd9, 0xe8), EXC_MF);
	assert_int_equal(RUN(0x9b), EXC_MF);
	assert_int_equal(RUN(0x0f, 0x77), EXC_MF);       /* emms */
	assert_int_equal(RUN(0xdf, 0xe0), NO_FAULT);     /* fnstsw ax */
	assert_int_equal(c->gpr[REG_RAX] & 0x84, 0x84);
	assert_int_equal(RUN(0xdb, 0xe2), NO_FAULT);     /* fnclex */
	assert_int_equal(RUN(0xd9, 0xe8), NO_FAULT);
	assert_int_equal(c->x87_opcode, 0x1e8);
	assert_int_equal(c->x87_ip, 0x1000);
}

static void ferr(void **state)
{
	c->ferr = (struct irq_line){ .set = ferr_set };
	c->cr0 &= ~CR0_NE;
	make_pending();
	assert_int_equal(ferr_level, 0);
	assert_int_equal(RUN(0xd9, 0xe8), NO_FAULT);
	assert_int_equal(ferr_level, 1);
	assert_int_equal(c->gpr[REG_RIP], 0x1000);       /* waits */
	const struct irq_line ignne = cpu_ignne(c);
	irq_set(&ignne, 1);
	assert_int_equal(RUN(0xd9, 0xe8), NO_FAULT);     /* fld1 goes on */
	assert_int_equal(c->gpr[REG_RIP], 0x1002);
	assert_int_equal(RUN(0x9b), NO_FAULT);
	assert_int_equal(c->gpr[REG_RIP], 0x1001);
	c->cr0 |= CR0_NE;
	assert_int_equal(RUN(0x9b), EXC_MF);             /* IGNNE# counts with NE = 0 alone */
	c->cr0 &= ~CR0_NE;
	irq_set(&ignne, 0);
	assert_int_equal(RUN(0x9b), NO_FAULT);
	assert_int_equal(c->gpr[REG_RIP], 0x1000);
	assert_int_equal(RUN(0xdb, 0xe2), NO_FAULT);
	assert_int_equal(ferr_level, 0);
	assert_int_equal(RUN(0xd9, 0xe8), NO_FAULT);
	assert_int_equal(c->gpr[REG_RIP], 0x1002);
}

/* --- MMX and x87 share registers --- */

static void mmx_aliasing(void **state)
{
	const uint64_t value = 0x1122334455667788;
	write_guest(DATA, &value, 8);
	assert_int_equal(RUN(0xd9, 0xe8), NO_FAULT); /* fld1: TOP = 7 */
	assert_int_equal(x87_top(c), 7);
	assert_int_equal(RUN(0x0f, 0x6f, 0x16), NO_FAULT); /* movq mm2, [rsi] */
	assert_int_equal(x87_top(c), 0);
	assert_int_equal(x87_tags(c), 0xff);
	assert_true(load_le64(x87_st(c, 2)) == value);
	assert_int_equal(load_le16(x87_st(c, 2) + 8), 0xffff);
	assert_int_equal(load_le16(x87_st(c, 7) + 8), 0x3fff); /* the 1 is still there */
	assert_int_equal(RUN(0x0f, 0x77), NO_FAULT);
	assert_int_equal(x87_tags(c), 0);
	assert_int_equal(RUN(0x0f, 0x6f, 0x14, 0x25, 0, 0, 0, 0), EXC_PF); /* [0] */
	assert_int_equal(x87_tags(c), 0);
}

/* --- environments --- */

static void environment_formats(void **state)
{
	RUN(0xd9, 0xe8); /* fld1 */
	RUN(0xd9, 0x06); /* fld dword [rsi] */
	uint64_t ip = c->x87_ip, dp = c->x87_dp;
	assert_int_equal(dp, DATA);
	assert_int_equal(RUN(0xd9, 0x36), NO_FAULT); /* fnstenv [rsi] */
	assert_int_equal(peek(DATA, 4), 0xffff037f);
	assert_int_equal(peek(DATA + 12, 4), (uint32_t)ip);
	assert_int_equal(peek(DATA + 16, 4), 0x01060033);
	assert_int_equal(peek(DATA + 20, 4), (uint32_t)dp);
	x87_init(c);
	assert_int_equal(RUN(0xd9, 0x26), NO_FAULT); /* fldenv [rsi] */
	assert_int_equal(x87_tags(c), 0xc0);
	assert_int_equal(x87_top(c), 6);
	assert_int_equal(c->x87_opcode, 0x106);
	assert_int_equal(RUN(0x66, 0xdd, 0x36), NO_FAULT); /* fnsave, 16-bit: 94 bytes */
	assert_int_equal(peek(DATA + 6, 2), (uint16_t)ip);
	assert_int_equal(peek(DATA + 14 + 18, 2), 0x3fff); /* ST(1) is 1 */
	assert_int_equal(x87_tags(c), 0);
	assert_int_equal(RUN(0x66, 0xdd, 0x26), NO_FAULT); /* frstor */
	assert_int_equal(load_le16(x87_st(c, 1) + 8), 0x3fff);
}

/* Real mode: linear addresses, the opcode in the 16-bit form too. */
static void environment_real(void **state)
{
	c->x87_ip = 0x1234;
	c->x87_cs = 0xf000;
	c->x87_opcode = 0x345;
	c->cr0 &= ~CR0_PE;
	assert_int_equal(RUN(0x66, 0xd9, 0x36), NO_FAULT);
	assert_int_equal(peek(DATA + 6, 2), 0x1234);
	assert_int_equal(peek(DATA + 8, 2), 0xf345);
	x87_init(c);
	assert_int_equal(RUN(0x66, 0xd9, 0x26), NO_FAULT);
	assert_int_equal(c->x87_ip, 0xf1234);
	assert_int_equal(c->x87_opcode, 0x345);
}

/* --- FXSAVE and XSAVE --- */

static struct diff_state before, after;

static void random_state(void)
{
	struct encoding e = { 0 };
	diff_state_random(&before, &e);
	before.gpr[REG_RSI] = DATA;
	before.gpr[REG_RAX] = 0xffffffff;
	before.gpr[REG_RDX] = 0;
	diff_state_to_cpu(&before, c);
}

/* Save with one instruction, lose everything, restore with the other; saving leaves the state alone. */
static void round_trip(uint8_t save_opcode, uint8_t save_modrm, uint8_t modrm, uint8_t opcode)
{
	random_state();
	c->x87_ip = 0x123456789abc;
	c->x87_opcode = 0x123;
	assert_int_equal(RUN(0x48, 0x0f, save_opcode, save_modrm), NO_FAULT);
	diff_state_from_cpu(&after, c);
	assert_true(diff_state_equal(&before, &after, &before, ~0ull, true));
	cpu_fpu_reset(c);
	assert_int_equal(RUN(0x48, 0x0f, opcode, modrm), NO_FAULT);
	diff_state_from_cpu(&after, c);
	assert_true(diff_state_equal(&before, &after, &before, ~0ull, true));
	assert_true(c->x87_ip == 0x123456789abc);
	assert_int_equal(c->x87_opcode, 0x123);
}

static void clear_area(void)
{
	static const uint8_t zeros[4096];
	write_guest(DATA, zeros, 4096);
}

static void xsave_round_trips(void **state)
{
	for (unsigned n = 0; n < 50; n++) {
		clear_area();
		round_trip(0xae, 0x26, 0x2e, 0xae); /* xsave64, xrstor64 */
		clear_area();
		round_trip(0xae, 0x36, 0x2e, 0xae); /* xsaveopt64 */
		round_trip(0xc7, 0x26, 0x2e, 0xae); /* xsavec64 */
		c->cpl = 0;
		round_trip(0xc7, 0x2e, 0x1e, 0xc7); /* xsaves64, xrstors64 */
		c->cpl = 3;
	}
	assert_int_equal(RUN(0x0f, 0xc7, 0x2e), EXC_GP); /* xsaves at CPL 3 */
}

static void xsave_init(void **state)
{
	clear_area();
	x87_init(c);
	c->gpr[REG_RAX] = 0xffffffff;
	assert_int_equal(RUN(0x0f, 0xc7, 0x26), NO_FAULT); /* xsavec: all initial */
	assert_int_equal(peek(DATA + 512, 8), 0);
	assert_true(peek(DATA + 520, 8) == (c->xcr0 | 1ull << 63));
	memset(c->vec[3], 0x55, 64);
	c->mxcsr = 0x1fa0;
	assert_int_equal(RUN(0x0f, 0xae, 0x2e), NO_FAULT); /* xrstor: everything becomes initial */
	assert_int_equal(c->vec[3][0] | c->vec[3][40], 0);
	assert_int_equal(c->mxcsr, MXCSR_RESET);
	c->mxcsr = 0x1fa0;
	clear_area();
	assert_int_equal(RUN(0x0f, 0xae, 0x26), NO_FAULT); /* xsave: MXCSR counts as SSE in use */
	assert_int_equal(peek(DATA + 512, 8), 2);
}

static void xrstor_faults(void **state)
{
	uint64_t word = BIT64(9);
	clear_area();
	c->gpr[REG_RAX] = 0xffffffff;
	assert_int_equal(RUN(0x0f, 0xae, 0x6e, 0x01), EXC_GP);  /* misaligned */
	write_guest(DATA + 512, &word, 8);                       /* a component that XCR0 lacks */
	assert_int_equal(RUN(0x0f, 0xae, 0x2e), EXC_GP);
	clear_area();
	word = 1;
	write_guest(DATA + 520, &word, 8);                       /* XCOMP_BV without bit 63 */
	assert_int_equal(RUN(0x0f, 0xae, 0x2e), EXC_GP);
	clear_area();
	word = 0x10000;
	write_guest(DATA + 24, &word, 8);                        /* MXCSR */
	assert_int_equal(RUN(0x0f, 0xae, 0x2e), EXC_GP);
	assert_int_equal(RUN(0x0f, 0xae, 0x0e), EXC_GP);         /* fxrstor */
	c->cpl = 0;
	clear_area();
	assert_int_equal(RUN(0x0f, 0xc7, 0x1e), EXC_GP);         /* xrstors wants the compacted form */
	c->cpl = 3;
}

static void fxsave_forms(void **state)
{
	clear_area();
	memset(c->vec[9], 0x77, 16);
	c->x87_ip = 0x1122334455667788;
	c->x87_cs = 0x99aa;
	assert_int_equal(RUN(0x0f, 0xae, 0x06), NO_FAULT);
	assert_true(peek(DATA + 8, 8) == 0x000099aa55667788);
	assert_int_equal(RUN(0x48, 0x0f, 0xae, 0x06), NO_FAULT);
	assert_true(peek(DATA + 8, 8) == 0x1122334455667788);
	assert_int_equal(peek(DATA + 160 + 144, 1), 0x77);
	clear_area();
	c->code_mode = ISA_MODE_32;
	assert_int_equal(RUN32(0x0f, 0xae, 0x06), NO_FAULT);
	c->code_mode = ISA_MODE_64;
	assert_int_equal(peek(DATA + 160 + 144, 1), 0);
	assert_int_equal(RUN(0x0f, 0xae, 0x46, 0x08), EXC_GP); /* misaligned */
}

/* --- masks and faults --- */

static void masked_load_at_edge(void **state)
{
	uint8_t bytes[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	if (!cpu_has(c, FEATURE_AVX512BW))
		skip();
	use_stub_handlers();
	write_guest(DATA_LAST + 0xff8, bytes, 8);
	c->gpr[REG_RSI] = DATA_LAST + 0xff8;
	c->k[1] = 0xff;
	/* vmovdqu8 zmm0{k1}{z}, [rsi] */
	assert_int_equal(RUN(0x62, 0xf1, 0x7f, 0xc9, 0x6f, 0x06), NO_FAULT);
	assert_true(load_le64(c->vec[0]) == 0x0807060504030201 && !load_le64(c->vec[0] + 8));
	c->k[1] = 0x1ff;
	assert_int_equal(RUN(0x62, 0xf1, 0x7f, 0xc9, 0x6f, 0x06), EXC_PF);
	assert_true(c->cr2 == DATA_LAST + 0x1000);
	c->k[1] = 0x3f;
	memset(c->vec[0], 0x99, 64);
	/* vmovdqu8 [rsi]{k1}, zmm0 */
	assert_int_equal(RUN(0x62, 0xf1, 0x7f, 0x49, 0x7f, 0x06), NO_FAULT);
	assert_true(peek(DATA_LAST + 0xff8, 8) == 0x0807999999999999);
	c->gpr[REG_RSI] = DATA_LAST + 0x1000;
	c->k[1] = 0;
	assert_int_equal(RUN(0x62, 0xf1, 0x7f, 0x49, 0x7f, 0x06), NO_FAULT);
	c->k[1] = 4;
	assert_int_equal(RUN(0x62, 0xf1, 0x7f, 0x49, 0x7f, 0x06), EXC_PF);
	assert_true(c->cr2 == DATA_LAST + 0x1002);
}

/* vpgatherdd xmm0, [rsi + xmm1*4], xmm2: a page fault at element 2, then again from there. */
static void gather_restart(void **state)
{
	const uint32_t index[4] = { 0, 1, 0x1000000, 3 }, value[4] = { 10, 11, 12, 13 };
	if (!cpu_has(c, FEATURE_AVX2))
		skip();
	write_guest(DATA, value, 16);
	memcpy(c->vec[1], index, 16);
	memset(c->vec[2], 0xff, 16);
	assert_int_equal(RUN(0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8e), EXC_PF);
	assert_true(c->cr2 == DATA + 0x4000000);
	assert_true(load_le64(c->vec[2]) == 0 && load_le64(c->vec[2] + 8) == ~0ull);
	assert_int_equal(load_le32(c->vec[0] + 4), 11);
	store_le32(c->vec[1] + 8, 2);
	store_le32(c->vec[1], 3); /* not read again */
	assert_int_equal(RUN(0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8e), NO_FAULT);
	assert_memory_equal(c->vec[0], value, 16);
	assert_true(load_le64(c->vec[2]) == 0 && load_le64(c->vec[2] + 8) == 0);
}

/* An arena without room must not change results. */
static void full_arena(void **state)
{
	const float numbers[4] = { 1, 2, 3, 4 }, sums[4] = { 2, 4, 6, 8 };
	host_arena_limit(0);
	memcpy(c->vec[13], numbers, 16);
	memcpy(c->vec[14], numbers, 16);
	assert_int_equal(RUN(0x45, 0x0f, 0x58, 0xee), NO_FAULT); /* addps xmm13, xmm14 */
	assert_int_equal(insn.aux & HOST_AUX_STUB, 0);
	assert_memory_equal(c->vec[13], sums, 16);
	assert_int_equal(RUN(0xd9, 0xe9), NO_FAULT); /* fldl2t */
	host_arena_limit(~0u);
}

/* --- cost --- */

static double nanoseconds(const uint8_t *bytes, unsigned size)
{
	struct timespec a, b;
	const unsigned count = 200000;
	assert_int_equal(run_bytes(bytes, size, ISA_MODE_64), NO_FAULT);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (unsigned n = 0; n < count; n++)
		insn.exec(c, &insn);
	clock_gettime(CLOCK_MONOTONIC, &b);
	return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / count;
}

#define TIME(text, ...) \
	print_message("%-28s %6.1f ns\n", text, nanoseconds((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })))

static void cost(void **state)
{
	RUN(0xd9, 0xe8);
	RUN(0xd9, 0xe8);
	TIME("fadd st, st1", 0xd8, 0xc1);
	TIME("fld st0; never popped", 0xd9, 0xc0);
	TIME("movups xmm0, [rsi]", 0x0f, 0x10, 0x06);
	TIME("pxor xmm0, xmm1", 0x66, 0x0f, 0xef, 0xc1);
	TIME("addsd xmm0, xmm1", 0xf2, 0x0f, 0x58, 0xc1);
	TIME("movq mm0, [rsi]", 0x0f, 0x6f, 0x06);
	TIME("xsave [rsi]", 0x0f, 0xae, 0x26);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(availability, fresh),
		cmocka_unit_test_setup(simd_exception, fresh),
		cmocka_unit_test_setup(x87_exception, fresh),
		cmocka_unit_test_setup(ferr, fresh),
		cmocka_unit_test_setup(mmx_aliasing, fresh),
		cmocka_unit_test_setup(environment_formats, fresh),
		cmocka_unit_test_setup(environment_real, fresh),
		cmocka_unit_test_setup(xsave_round_trips, fresh),
		cmocka_unit_test_setup(xsave_init, fresh),
		cmocka_unit_test_setup(xrstor_faults, fresh),
		cmocka_unit_test_setup(fxsave_forms, fresh),
		cmocka_unit_test_setup(masked_load_at_edge, fresh),
		cmocka_unit_test_setup(gather_restart, fresh),
		cmocka_unit_test_setup(full_arena, fresh),
		cmocka_unit_test_setup(cost, fresh),
	};
	save_stub_handlers();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
