/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vector and x87 state that has to last: over timer interrupts whose handler uses all of it, over page faults, over lazy switching by
 * CR0.TS and #NM, while XCR0 changes. */
#include "apic.h"
#include "code.h"

enum { X87 = 1, SSE = 2, AVX = 4, AVX512 = 0xe0, AREA_SIZE = 4096 };
static uint64_t allowed;
static bool has_xsave;
static uint8_t saved[4][AREA_SIZE] __attribute__((aligned(64)));
static uint8_t pattern[4][32 * 64] __attribute__((aligned(64))), results[4][32 * 64] __attribute__((aligned(64)));

#define EACH16(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
#define EACH32(M) EACH16(M) M(16) M(17) M(18) M(19) M(20) M(21) M(22) M(23) M(24) M(25) M(26) M(27) M(28) M(29) M(30) M(31)
#define EACH_K(M) M(1) M(2) M(3) M(4) M(5) M(6) M(7)
#define LOAD_ZMM(n) "vmovdqu64 64*" #n "(%0), %%zmm" #n ";"
#define LOAD_YMM(n) "vmovdqu 64*" #n "(%0), %%ymm" #n ";"
#define LOAD_XMM(n) "movdqu 64*" #n "(%0), %%xmm" #n ";"
#define STORE_ZMM(n) "vmovdqu64 %%zmm" #n ", 64*" #n "(%0);"
#define STORE_YMM(n) "vmovdqu %%ymm" #n ", 64*" #n "(%0);"
#define STORE_XMM(n) "movdqu %%xmm" #n ", 64*" #n "(%0);"
#define LOAD_K(n) "kmovq 8*" #n "(%0), %%k" #n ";"
#define STORE_K(n) "kmovq %%k" #n ", 8*" #n "(%0);"

static uint64_t masks[4][8], masks_now[4][8];

static void load(unsigned n)
{
	uint32_t mxcsr = 0x1f80 | (n & 3) << 13 | (n & 1);
	uint16_t control = (uint16_t)(0x37f | (n & 3) << 10);
	if ((allowed & AVX512) == AVX512) {
		__asm__ volatile(EACH32(LOAD_ZMM) ::"r"(pattern[n]) : "memory");
		__asm__ volatile(EACH_K(LOAD_K) ::"r"(masks[n]) : "memory");
	} else if (allowed & AVX) {
		__asm__ volatile(EACH16(LOAD_YMM) ::"r"(pattern[n]) : "memory");
	} else {
		__asm__ volatile(EACH16(LOAD_XMM) ::"r"(pattern[n]) : "memory");
	}
	/* n + 1 values on the x87 stack. */
	__asm__ volatile("fninit; fldcw %1; ldmxcsr %0" ::"m"(mxcsr), "m"(control));
	for (unsigned i = 0; i <= n; i++)
		__asm__ volatile("fildll %0" ::"m"(masks[n][i + 1]));
}

/* Nonzero: the state is not that of load(n). */
static unsigned differs(unsigned n)
{
	unsigned wrong = 0, size = 16, count = 16;
	uint8_t *result = results[n]; /* the handlers use other numbers than what they interrupt */
	uint32_t mxcsr;
	uint16_t control, status;
	if ((allowed & AVX512) == AVX512) {
		__asm__ volatile(EACH32(STORE_ZMM) ::"r"(result) : "memory");
		__asm__ volatile(EACH_K(STORE_K) ::"r"(masks_now[n]) : "memory");
		for (unsigned i = 1; i < 8; i++)
			wrong |= masks_now[n][i] != masks[n][i];
		size = 64, count = 32;
	} else if (allowed & AVX) {
		__asm__ volatile(EACH16(STORE_YMM) ::"r"(result) : "memory");
		size = 32;
	} else {
		__asm__ volatile(EACH16(STORE_XMM) ::"r"(result) : "memory");
	}
	for (unsigned i = 0; i < count; i++)
		for (unsigned k = 0; k < size; k += 8)
			wrong |= *(uint64_t *)&result[64 * i + k] != *(uint64_t *)&pattern[n][64 * i + k] ? 2 : 0;
	__asm__ volatile("stmxcsr %0; fnstcw %1; fnstsw %2" : "=m"(mxcsr), "=m"(control), "=m"(status));
	wrong |= mxcsr != (0x1f80 | (n & 3) << 13 | (n & 1)) ? 4 : 0;
	wrong |= control != (0x37f | (n & 3) << 10) ? 8 : 0;
	wrong |= (status >> 11 & 7) != 7 - n ? 16 : 0;
	for (unsigned i = n + 1; i > 0; i--) {
		uint64_t v;
		__asm__ volatile("fistpll %0" : "=m"(v));
		wrong |= v != masks[n][i] ? 32 : 0;
	}
	for (unsigned i = 0; i <= n; i++)
		__asm__ volatile("fildll %0" ::"m"(masks[n][i + 1]));
	return wrong;
}

static void save(unsigned n)
{
	if (has_xsave)
		__asm__ volatile("xsave64 (%0)" ::"r"(saved[n]), "a"(-1), "d"(-1) : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" ::"r"(saved[n]) : "memory");
}

static void restore(unsigned n)
{
	if (has_xsave)
		__asm__ volatile("xrstor64 (%0)" ::"r"(saved[n]), "a"(-1), "d"(-1) : "memory");
	else
		__asm__ volatile("fxrstor64 (%0)" ::"r"(saved[n]) : "memory");
}

/* --- interrupts --- */

static volatile uint64_t ticks, handler_wrong;
static bool spoiling;

static bool on_timer(struct frame *frame)
{
	ticks++;
	if (spoiling) { /* saves, uses, restores */
		save(3);
		load(2);
		handler_wrong += differs(2) != 0;
		restore(3);
	}
	apic_eoi();
	timer_once(300 + below(30000));
	return true;
}

/* Computations in the registers themselves, whose result is known. */
static uint64_t work(uint64_t n)
{
	uint64_t got, one = 1;
	double sum, step = 0.5;
	__asm__ volatile("pxor %%xmm5, %%xmm5; movq %2, %%xmm6; fldz; movsd %3, %%xmm7; xorpd %%xmm8, %%xmm8\n"
			 "1: paddq %%xmm6, %%xmm5; pshufd $0x44, %%xmm5, %%xmm5; addsd %%xmm7, %%xmm8; fld1; faddp; decq %4; jnz 1b\n"
			 "   movq %%xmm5, %0; movsd %%xmm8, %1; fistpll 8(%5); addq 8(%5), %0"
			 : "=&r"(got), "=m"(sum) : "r"(one), "m"(step), "r"(n), "r"(results[0]) : "memory", "cc");
	uint64_t bits;
	__asm__("movq %1, %0" : "=r"(bits) : "m"(sum));
	return got + bits;
}

static void over_interrupts(void)
{
	handlers[TIMER_VECTOR] = on_timer;
	for (unsigned how = 0; how < 2; how++) {
		spoiling = how;
		load(0);
		uint64_t wrong = 0, want = work(500);
		ticks = 0;
		timer_once(1000);
		__asm__ volatile("sti");
		while (ticks < 150) {
			unsigned n = ticks & 1;
			load(n);
			for (unsigned i = 0; i < 20; i++)
				wrong += differs(n) != 0;
			load(0);
			wrong += work(500) != want;
		}
		__asm__ volatile("cli");
		timer_off();
		check_equal(wrong, 0);
	}
	check_equal(handler_wrong, 0);
}

/* --- page faults --- */

#define ABSENT 0x30000000000ull
static uint64_t page;
static bool on_page_fault(struct frame *frame)
{
	if (READ_CR(2) >> 12 != ABSENT >> 12)
		return false;
	save(3);
	load(1);
	handler_wrong += differs(1) != 0;
	restore(3);
	map_page(ABSENT, page, PG_P | PG_W);
	return true;
}

static void over_page_faults(void)
{
	handlers[VEC_PF] = on_page_fault;
	uint64_t wrong = 0;
	for (unsigned i = 0; i < 300; i++) {
		map_page(ABSENT, 0, 0);
		load(i % 3);
		switch (i % 5) {
		case 0: __asm__ volatile("movups %%xmm3, (%0)" ::"r"(ABSENT) : "memory"); break;
		case 1: __asm__ volatile("addps (%0), %%xmm3; movups 64*3(%1), %%xmm3" ::"r"(ABSENT), "r"(pattern[i % 3]) : "memory"); break;
		case 2: *(volatile uint64_t *)ABSENT = i; break;
		case 3: __asm__ volatile("fildl (%0); fstp %%st(0)" ::"r"(ABSENT) : "memory"); break;
		default: __asm__ volatile("fistl (%0)" ::"r"(ABSENT + 8) : "memory");
		}
		if (i % 5 == 1) /* a movups leaves the upper parts, an addps may have changed MXCSR */
			load(i % 3);
		wrong += (differs(i % 3) & ~4u) != 0;
	}
	check_equal(wrong, 0);
	check_equal(handler_wrong, 0);
}

/* --- two tasks and CR0.TS --- */

static unsigned owner, running, switches;
static bool on_nm(struct frame *frame)
{
	__asm__ volatile("clts");
	if (owner != running) {
		save(owner);
		restore(running);
		owner = running;
		switches++;
	}
	return true;
}

static void lazily(void)
{
	handlers[VEC_NM] = on_nm;
	for (unsigned n = 0; n < 2; n++) {
		load(n);
		save(n);
	}
	owner = running = 1;
	uint64_t wrong = 0, expected = 0, last = 1;
	for (unsigned i = 0; i < 1500; i++) {
		running = below(2);
		WRITE_CR(0, READ_CR(0) | 8);
		if (below(3)) { /* it uses its registers, or not */
			expected += last != running;
			last = running;
			wrong += differs(running) != 0;
			if (i % 10 == 0)
				load(running);
		}
	}
	WRITE_CR(0, READ_CR(0) & ~8ull);
	check_equal(wrong, 0);
	check_equal(switches, expected);
	/* Hot code, whose TS changes: each first instruction of a kind. */
	uint64_t traps = 0;
	for (unsigned i = 0; i < 2000; i++) {
		switches = 0;
		owner = !running;
		if (i & 1)
			WRITE_CR(0, READ_CR(0) | 8);
		switch (i % 6 / 2) {
		case 0: __asm__ volatile("pxor %xmm9, %xmm9"); break;
		case 1: __asm__ volatile("fnop"); break;
		default: __asm__ volatile("stmxcsr %0" : "=m"(*(uint32_t *)results));
		}
		traps += switches;
	}
	check_equal(traps, 1000);
	handlers[VEC_NM] = NULL;
}

/* --- XCR0: a part that is switched off keeps what it held --- */

static void xsetbv(uint64_t v) { __asm__ volatile("xsetbv" ::"a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(0)); }
static void use_avx(void *p) { __asm__ volatile("vaddps %ymm0, %ymm1, %ymm2"); }
static void use_avx512(void *p) { __asm__ volatile("vaddps %zmm0, %zmm1, %zmm17"); }

static void by_xcr0(void)
{
	if (!(allowed & AVX))
		return;
	uint64_t wrong = 0;
	for (unsigned i = 0; i < 200; i++) {
		load(i % 3);
		xsetbv(X87 | SSE);
		wrong += guarded(use_avx, NULL).frame.vector != VEC_UD;
		if ((allowed & AVX512) == AVX512) {
			xsetbv(X87 | SSE | AVX);
			wrong += guarded(use_avx512, NULL).frame.vector != VEC_UD;
		}
		xsetbv(allowed);
		wrong += differs(i % 3) != 0;
		wrong += guarded(use_avx, NULL).happened;
	}
	check_equal(wrong, 0);
}

/* --- the state passes through other modes and privileges --- */

extern uint8_t user_part[], user_part_end[];
__asm__(".text\nuser_part: movdqu %xmm1, -64(%rsp); movdqu -64(%rsp), %xmm1; fld %st(0); fstp %st(0); pushfq; popfq; int $0x80\nuser_part_end:\n");
static void through_32(void *p)
{
	__asm__ volatile("pushq $0x18; pushq $1f; lretq\n .code32\n 1: .byte 0x0f, 0x28, 0xc0; fld1; fstp %st(0); int $0x81\n .code64");
}

static void other_modes(void)
{
	uint64_t wrong = 0;
	for (unsigned i = 0; i < 200; i++) {
		unsigned n = i % 3;
		load(n);
		wrong += run_user_code(user_part, user_part_end, 0).frame.vector != 0x80;
		/* AVX's upper halves are kept by movdqu to memory and changed by that from memory: not at all, in SSE form. */
		wrong += differs(n) != 0;
		wrong += guarded(through_32, NULL).frame.vector != 0x81;
		wrong += differs(n) != 0;
	}
	check_equal(wrong, 0);
}

int guest_main(void)
{
	WRITE_CR(0, READ_CR(0) | 0x20); /* NE: else x87 instructions are never inline */
	has_xsave = cpuid(1, 0).c >> 26 & 1;
	allowed = X87 | SSE;
	if (has_xsave) {
		WRITE_CR(4, READ_CR(4) | 0x40000);
		allowed = cpuid(13, 0).a & (X87 | SSE | AVX | AVX512);
		if (!(cpuid(7, 0).b >> 30 & 1))
			allowed &= ~(uint64_t)AVX512;
		xsetbv(allowed);
	}
	for (unsigned i = 0; i < sizeof(pattern); i++)
		((uint8_t *)pattern)[i] = (uint8_t)(rnd() >> 40);
	for (unsigned i = 0; i < 32; i++)
		masks[i / 8][i % 8] = rnd() >> 12;
	page = (uint64_t)alloc_page();
	apic_on();
	over_interrupts();
	over_page_faults();
	lazily();
	by_xcr0();
	other_modes();
	return failures;
}
