/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The XSAVE family: round trips of every component, initial states, the compacted form, what is refused (SDM 1, chapter 13). */
#include "guest.h"

#define AREA_SIZE 4096
static uint8_t area[AREA_SIZE] __attribute__((aligned(64))), again[AREA_SIZE] __attribute__((aligned(64)));
static uint8_t pattern[32 * 64] __attribute__((aligned(64))), result[32 * 64] __attribute__((aligned(64)));
static uint64_t allowed;
enum { X87 = 1, SSE = 2, AVX = 4, AVX512 = 0xe0 };
#define HEADER(a, n) (((uint64_t *)((a) + 512))[n]) /* 0 XSTATE_BV, 1 XCOMP_BV */
#define LOW(x) ((uint32_t)(x))
#define HIGH(x) ((uint32_t)((x) >> 32))

#define SAVE_OP(name, op) \
	static void name(uint8_t *to, uint64_t mask) { __asm__ volatile(op " (%0)" ::"r"(to), "a"(LOW(mask)), "d"(HIGH(mask)) : "memory"); }
SAVE_OP(xsave, "xsave64")
SAVE_OP(xsaveopt, "xsaveopt64")
SAVE_OP(xsavec, "xsavec64")
SAVE_OP(xrstor, "xrstor64")

static uint64_t xgetbv(uint32_t n)
{
	uint32_t lo, hi;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(n));
	return lo | (uint64_t)hi << 32;
}

static uint64_t bad_mask;
static void xsetbv(void *p) { __asm__ volatile("xsetbv" ::"a"(LOW(bad_mask)), "d"(HIGH(bad_mask)), "c"(p)); }
static void xrstor_all(void *p) { xrstor(p, ~0ull); }
static void xsave_all(void *p) { xsave(p, ~0ull); }
static void xgetbv_at(void *p) { xgetbv((uint32_t)(uint64_t)p); }

static void clear(uint8_t *p, size_t size)
{
	for (size_t i = 0; i < size; i++)
		p[i] = 0;
}

/* All vector registers there are, from and to memory. */
static void load_vectors(const uint8_t *from)
{
#define ZMM(n) "vmovdqu64 64*" #n "(%0), %%zmm" #n ";"
#define YMM(n) "vmovdqu 64*" #n "(%0), %%ymm" #n ";"
#define XMM(n) "movdqu 64*" #n "(%0), %%xmm" #n ";"
#define LOW16(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
#define HIGH16(M) M(16) M(17) M(18) M(19) M(20) M(21) M(22) M(23) M(24) M(25) M(26) M(27) M(28) M(29) M(30) M(31)
	if ((allowed & AVX512) == AVX512)
		__asm__ volatile(LOW16(ZMM) HIGH16(ZMM) "kmovw (%0), %%k1; kmovw 4(%0), %%k7" ::"r"(from) : "memory");
	else if (allowed & AVX)
		__asm__ volatile(LOW16(YMM) ::"r"(from) : "memory");
	else
		__asm__ volatile(LOW16(XMM) ::"r"(from) : "memory");
}

static void store_vectors(uint8_t *to)
{
#define ZMM_(n) "vmovdqu64 %%zmm" #n ", 64*" #n "(%0);"
#define YMM_(n) "vmovdqu %%ymm" #n ", 64*" #n "(%0);"
#define XMM_(n) "movdqu %%xmm" #n ", 64*" #n "(%0);"
	if ((allowed & AVX512) == AVX512)
		__asm__ volatile(LOW16(ZMM_) HIGH16(ZMM_) ::"r"(to) : "memory");
	else if (allowed & AVX)
		__asm__ volatile(LOW16(YMM_) ::"r"(to) : "memory");
	else
		__asm__ volatile(LOW16(XMM_) ::"r"(to) : "memory");
}

static unsigned vector_size(void) { return (allowed & AVX512) == AVX512 ? 64 : allowed & AVX ? 32 : 16; }
static unsigned vector_count(void) { return (allowed & AVX512) == AVX512 ? 32 : 16; }

static bool vectors_equal(const uint8_t *want)
{
	store_vectors(result);
	for (unsigned n = 0; n < vector_count(); n++)
		for (unsigned i = 0; i < vector_size(); i++)
			if (result[64 * n + i] != (want ? want[64 * n + i] : 0))
				return false;
	return true;
}

static uint32_t get_mxcsr(void)
{
	uint32_t v;
	__asm__ volatile("stmxcsr %0" : "=m"(v));
	return v;
}

static void load_state(void)
{
	uint32_t mxcsr = 0x1fa5;
	load_vectors(pattern);
	__asm__ volatile("fninit; fldpi; fld1; ldmxcsr %0" ::"m"(mxcsr));
}

static void spoil(void)
{
	static uint8_t ones[32 * 64];
	for (unsigned i = 0; i < sizeof(ones); i++)
		ones[i] = 0xff;
	uint32_t mxcsr = 0x1f80;
	load_vectors(ones);
	__asm__ volatile("fninit; ldmxcsr %0" ::"m"(mxcsr));
}

static void check_restored(int line)
{
	check_equal_(vectors_equal(pattern), 1, "vectors", __FILE_NAME__, line);
	check_equal_(get_mxcsr(), 0x1fa5, "MXCSR", __FILE_NAME__, line);
	uint16_t status;
	uint64_t one;
	__asm__ volatile("fnstsw %%ax" : "=a"(status));
	check_equal_(status >> 11 & 7, 6, "TOP", __FILE_NAME__, line);
	__asm__ volatile("fstpl %0" : "=m"(one));
	check_equal_(one, 0x3ff0000000000000, "ST(0)", __FILE_NAME__, line);
}

static void round_trips(void)
{
	static void (*const saves[])(uint8_t *, uint64_t) = { xsave, xsaveopt, xsavec };
	uint32_t features = cpuid(13, 1).a;
	for (unsigned i = 0; i < 3; i++) {
		if (i && !(features >> (i - 1) & 1)) {
			print(i == 1 ? "no XSAVEOPT\n" : "no XSAVEC\n");
			continue;
		}
		clear(area, AREA_SIZE);
		load_state();
		saves[i](area, ~0ull);
		check_equal(HEADER(area, 0) & allowed, allowed);
		check_equal(HEADER(area, 1), i == 2 ? allowed | 1ull << 63 : 0);
		spoil();
		xrstor(area, ~0ull);
		check_restored(__LINE__);
	}
}

/* A component that is in the mask and not in XSTATE_BV becomes its initial state; one that is not in the mask stays. */
static void partial(void)
{
	clear(area, AREA_SIZE);
	load_state();
	xsave(area, ~0ull);
	HEADER(area, 0) &= ~(uint64_t)X87;
	xrstor(area, X87);
	uint16_t control, status;
	__asm__ volatile("fnstcw %0; fnstsw %1" : "=m"(control), "=m"(status));
	check_equal(control, 0x37f);
	check_equal(status, 0);
	check(vectors_equal(pattern));
	/* Vectors initial, but MXCSR is loaded by either of SSE and AVX, whatever XSTATE_BV says. */
	HEADER(area, 0) = 0;
	spoil();
	xrstor(area, allowed & ~(uint64_t)X87);
	check(vectors_equal(NULL));
	check_equal(get_mxcsr(), 0x1fa5);
	/* XSAVE writes no component that is not asked for. */
	clear(again, AREA_SIZE);
	load_state();
	xsave(again, X87);
	check_equal(HEADER(again, 0), X87);
	check_equal(*(uint64_t *)(again + 160), 0);
	/* XINUSE: initial components are not in use. */
	if (cpuid(13, 1).a >> 2 & 1) {
		HEADER(area, 0) = 0;
		xrstor(area, ~0ull);
		check_equal(xgetbv(1) & ~(uint64_t)SSE, 0); /* MXCSR is not at its initial value */
		load_vectors(pattern);
		check_equal(xgetbv(1) & allowed & ~(uint64_t)X87, allowed & ~(uint64_t)X87);
	}
}

static void refused(void)
{
	clear(area, AREA_SIZE);
	load_state();
	xsave(area, ~0ull);
	check_fault(guarded(xsave_all, area + 32), VEC_GP, 0);
	check_fault(guarded(xrstor_all, area + 32), VEC_GP, 0);
	*(uint32_t *)(area + 24) = 0x10000; /* MXCSR */
	check_fault(guarded(xrstor_all, area), VEC_GP, 0);
	*(uint32_t *)(area + 24) = 0x1f80;
	HEADER(area, 0) |= 1ull << 62;
	check_fault(guarded(xrstor_all, area), VEC_GP, 0);
	HEADER(area, 0) &= allowed;
	HEADER(area, 2) = 1;
	check_fault(guarded(xrstor_all, area), VEC_GP, 0);
	HEADER(area, 2) = 0;
	HEADER(area, 1) = 1; /* a component without the compacted form's bit 63 */
	check_fault(guarded(xrstor_all, area), VEC_GP, 0);
	HEADER(area, 1) = 0;
	check(!guarded(xrstor_all, area).happened);
	/* XCR0. */
	bad_mask = allowed & ~(uint64_t)X87;
	check_fault(guarded(xsetbv, 0), VEC_GP, 0);
	bad_mask = X87 | AVX;
	check_fault(guarded(xsetbv, 0), VEC_GP, 0);
	bad_mask = X87 | SSE | 1ull << 62;
	check_fault(guarded(xsetbv, 0), VEC_GP, 0);
	bad_mask = X87 | SSE;
	check_fault(guarded(xsetbv, (void *)5), VEC_GP, 0);
	check_fault(guarded(xgetbv_at, (void *)5), VEC_GP, 0);
	WRITE_CR(0, READ_CR(0) | 8);
	check_fault(guarded(xsave_all, area), VEC_NM, 0);
	WRITE_CR(0, READ_CR(0) & ~8ull);
	uint64_t cr4 = READ_CR(4);
	WRITE_CR(4, cr4 & ~0x40000ull);
	check_fault(guarded(xsave_all, area), VEC_UD, 0);
	check_fault(guarded(xgetbv_at, 0), VEC_UD, 0);
	check(!(cpuid(1, 0).c >> 27 & 1)); /* OSXSAVE follows CR4 */
	WRITE_CR(4, cr4);
	check(cpuid(1, 0).c >> 27 & 1);
}

static void use_avx(void *p) { __asm__ volatile("vpxor %ymm0, %ymm0, %ymm0"); }

/* Instructions need their state in XCR0; CPUID(0DH) gives the size for it. */
static void enabled_state(void)
{
	if (!(allowed & AVX))
		return;
	bad_mask = X87 | SSE;
	xsetbv(0);
	check_fault(guarded(use_avx, 0), VEC_UD, 0);
	check_equal(cpuid(13, 0).b, 576);
	bad_mask = X87 | SSE | AVX;
	xsetbv(0);
	check(!guarded(use_avx, 0).happened);
	check_equal(cpuid(13, 0).b, 832);
	bad_mask = allowed;
	xsetbv(0);
	check_equal(cpuid(13, 0).b, cpuid(13, 0).c);
}

int guest_main(void)
{
	if (!(cpuid(1, 0).c >> 26 & 1)) {
		print("no XSAVE\n");
		return failures;
	}
	struct cpuid leaf = cpuid(13, 0);
	check(leaf.c <= AREA_SIZE);
	WRITE_CR(4, READ_CR(4) | 0x40000);
	allowed = (leaf.a | (uint64_t)leaf.d << 32) & (X87 | SSE | AVX | AVX512);
	bad_mask = allowed;
	xsetbv(0);
	check_equal(xgetbv(0), allowed);
	for (unsigned i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + i / 64 + 1);
	round_trips();
	partial();
	refused();
	enabled_state();
	return failures;
}
