/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Page faults in the middle of wide operands: the XSAVE family over a page border, masked moves, gathers and scatters, where
 * elements that are masked off touch nothing and a fault keeps what was done; and string I/O in 64-bit code. */
#include "guest.h"

#define AREA 0x30000000000ull
#define BORDER (AREA + 4096)
static uint64_t pages[4];
static unsigned faults;
static struct frame first;
static uint64_t first_at;

static bool on_page_fault(struct frame *frame)
{
	uint64_t at = READ_CR(2);
	if (at < AREA || at >= AREA + sizeof(pages) / 8 * 4096)
		return false;
	if (!faults++) {
		first = *frame;
		first_at = at;
	}
	map_page(at & ~4095ull, pages[(at - AREA) >> 12], PG_P | PG_W);
	return true;
}

static void unmap_all(void)
{
	for (unsigned i = 0; i < 4; i++)
		map_page(AREA + i * 4096, 0, 0);
	faults = 0;
}

static void *direct(uint64_t at) { return (void *)(pages[(at - AREA) >> 12] + (at & 4095)); }
static uint32_t word(uint64_t at) { return *(uint32_t *)direct(at); }

static void fill(uint8_t byte)
{
	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 0; j < 4096; j++)
			((uint8_t *)pages[i])[j] = byte;
}

static uint64_t xcr0;

static bool enable_vectors(void)
{
	if (!(cpuid(1, 0).c >> 26 & 1))
		return false;
	WRITE_CR(4, READ_CR(4) | 1u << 18);
	xcr0 = cpuid(0xd, 0).a & 0xe7;
	__asm__ volatile("xsetbv" ::"a"((uint32_t)xcr0), "d"(0), "c"(0));
	return true;
}

/* --- state images --- */

static void state_images(void)
{
	static uint32_t in[4] = { 1, 2, 3, 4 }, out[4];
	uint64_t at = BORDER - 512 - 64; /* the header and all behind it lie on the second page */
	fill(0);
	unmap_all();
	__asm__ volatile("movdqu (%0), %%xmm5; fninit; fldpi" ::"r"(in));
	__asm__ volatile("xsave64 (%0)" ::"r"(at + 64), "a"(3), "d"(0) : "memory");
	check_equal(faults, 2);
	check_equal(*(uint64_t *)direct(BORDER) & 3, 3);
	check_equal(*(uint16_t *)((uint8_t *)direct(at + 64) + 32 + 8), 0x4000); /* pi's exponent */
	unmap_all();
	__asm__ volatile("pxor %%xmm5, %%xmm5; fninit; xrstor64 (%0)" ::"r"(at + 64), "a"(3), "d"(0) : "memory");
	check_equal(faults, 2);
	__asm__ volatile("movdqu %%xmm5, (%0)" ::"r"(out) : "memory");
	check(out[0] == 1 && out[1] == 2 && out[2] == 3 && out[3] == 4);
	uint16_t status;
	__asm__ volatile("fnstsw %0" : "=a"(status));
	check_equal(status & 0x3800, 0x3800);
	/* What is asked for and in its initial state is not written: one page is enough. */
	if (cpuid(0xd, 1).a & 1) {
		unmap_all();
		__asm__ volatile("fninit; xsaveopt64 (%0)" ::"r"(BORDER + 64), "a"(1), "d"(0) : "memory");
		check_equal(faults, 1);
	}
	at = BORDER - 256;
	unmap_all();
	__asm__ volatile("fxsave64 (%0)" ::"r"(at) : "memory");
	check_equal(faults, 2);
	unmap_all();
	__asm__ volatile("pxor %%xmm5, %%xmm5; fxrstor64 (%0); movdqu %%xmm5, (%1)" ::"r"(at), "r"(out) : "memory");
	check_equal(faults, 2);
	check(out[0] == 1 && out[3] == 4);
	uint32_t mxcsr = 0;
	unmap_all();
	__asm__ volatile("stmxcsr (%0)" ::"r"(BORDER - 2) : "memory");
	check_equal(faults, 2);
	unmap_all();
	__asm__ volatile("ldmxcsr (%1); stmxcsr %0" : "=m"(mxcsr) : "r"(BORDER - 2));
	check_equal(faults, 2);
	check_equal(mxcsr, 0x1f80);
}

/* --- masked moves: 8 dwords, four of them on either page --- */

static void masked_moves(void)
{
	static const uint32_t low[8] = { -1u, -1u, -1u, -1u }, both[8] = { 0, 0, -1u, -1u, -1u, -1u }, none[8];
	static uint32_t out[8];
	const struct { const uint32_t *mask; unsigned faults; } all[] = { { low, 1 }, { both, 2 }, { none, 0 } };
	if (!(xcr0 & 4) || !(cpuid(7, 0).b >> 5 & 1)) {
		print("no AVX2: masked moves not tested\n");
		return;
	}
	for (unsigned n = 0; n < 3; n++) {
		fill(0x11);
		unmap_all();
		__asm__ volatile("vmovdqu (%0), %%ymm3; vpcmpeqd %%ymm4, %%ymm4, %%ymm4; vpmaskmovd %%ymm4, %%ymm3, (%1)" ::"r"(all[n].mask), "r"(BORDER - 16) : "memory");
		check_equal(faults, all[n].faults);
		for (unsigned i = 0; i < 8; i++)
			check_equal(word(BORDER - 16 + 4 * i), all[n].mask[i] ? -1u : 0x11111111);
		unmap_all();
		__asm__ volatile("vmovdqu (%0), %%ymm3; vpcmpeqd %%ymm4, %%ymm4, %%ymm4; vpmaskmovd (%1), %%ymm3, %%ymm4; vmovdqu %%ymm4, (%2)"
				 ::"r"(all[n].mask), "r"(BORDER - 16), "r"(out) : "memory");
		check_equal(faults, all[n].faults);
		for (unsigned i = 0; i < 8; i++)
			check_equal(out[i], all[n].mask[i] ? -1u : 0);
	}
	/* MASKMOVDQU stores bytes at RDI. */
	fill(0);
	unmap_all();
	__asm__ volatile("pcmpeqd %%xmm1, %%xmm1; movdqa %%xmm1, %%xmm2; maskmovdqu %%xmm1, %%xmm2" ::"D"(BORDER - 8) : "memory");
	check_equal(faults, 2);
	check_equal(word(BORDER - 8), -1u);
	check_equal(word(BORDER + 4), -1u);
	check_equal(word(BORDER + 8), 0);
}

/* --- AVX-512: masks in k registers, scatter, compression --- */

static void wide(void)
{
	static uint32_t out[16];
	static int32_t index[16] = { 0, 1024, 1, 1025, 2, 2048, 3, 2049, 4, 3072, 5, 3073, 6, 7, 8, 9 };
	static uint32_t values[16];
	if ((xcr0 & 0xe0) != 0xe0) {
		print("no AVX-512: scatters not tested\n");
		return;
	}
	for (unsigned i = 0; i < 16; i++)
		values[i] = 1000 + i;
	fill(0);
	unmap_all();
	uint32_t mask = 0xffff;
	__asm__ volatile("kmovw %0, %%k1; vmovdqu32 (%1), %%zmm1; vmovdqu32 (%2), %%zmm2; vpscatterdd %%zmm2, (%3,%%zmm1,4)%{%%k1%}; kmovw %%k1, %0"
			 : "+r"(mask) : "r"(index), "r"(values), "r"(AREA) : "memory");
	check_equal(faults, 4);
	check_equal(mask, 0);
	for (unsigned i = 0; i < 16; i++)
		check_equal(word(AREA + 4u * (unsigned)index[i]), 1000 + i);
	unmap_all();
	mask = 0x0f0f;
	__asm__ volatile("kmovw %0, %%k1; vmovdqu32 (%1), %%zmm1; vpxord %%zmm2, %%zmm2, %%zmm2; vpgatherdd (%3,%%zmm1,4), %%zmm2%{%%k1%};"
			 "vmovdqu32 %%zmm2, (%2); kmovw %%k1, %0" : "+r"(mask) : "r"(index), "r"(out), "r"(AREA) : "memory");
	check_equal(faults, 3); /* elements 0 to 3 and 8 to 11: pages 0, 1 and 3 */
	check_equal(mask, 0);
	for (unsigned i = 0; i < 16; i++)
		check_equal(out[i], 0x0f0f >> i & 1 ? 1000 + i : 0);
	fill(0x22);
	for (unsigned half = 0; half < 3; half++) {
		static const struct { uint32_t mask; unsigned faults; } all[] = { { 0x00ff, 1 }, { 0xff00, 1 }, { 0x0180, 2 } };
		fill(0x22);
		unmap_all();
		__asm__ volatile("kmovw %0, %%k1; vpternlogd $255, %%zmm3, %%zmm3, %%zmm3; vmovdqu32 %%zmm3, (%1)%{%%k1%}" ::"r"(all[half].mask), "r"(BORDER - 32) : "memory");
		check_equal(faults, all[half].faults);
		for (unsigned i = 0; i < 16; i++)
			check_equal(word(BORDER - 32 + 4 * i), all[half].mask >> i & 1 ? -1u : 0x22222222);
	}
	/* Compressed: two elements are stored, next to each other. */
	fill(0);
	unmap_all();
	__asm__ volatile("kmovw %0, %%k1; vmovdqu32 (%1), %%zmm3; vpcompressd %%zmm3, (%2)%{%%k1%}" ::"r"(0x8001), "r"(values), "r"(BORDER - 4) : "memory");
	check_equal(word(BORDER - 4), 1000);
	check_equal(word(BORDER), 1015);
	check_equal(word(BORDER + 4), 0);
	check_equal(faults, 2);
}

/* --- string I/O, and operands of 16 bytes --- */

static void string_io(void)
{
	fill(0);
	*(uint32_t *)direct(BORDER) = 0;
	unmap_all();
	uint64_t di = BORDER - 6, cx = 6;
	__asm__ volatile("rep insw" : "+D"(di), "+c"(cx) : "d"(0x92) : "memory");
	check_equal(faults, 2);
	check_equal(first.rcx, 6);
	check_equal(first.rdi, BORDER - 6);
	check_equal(di, BORDER + 6);
	check_equal(cx, 0);
	uint64_t si = BORDER - 3;
	cx = 6;
	unmap_all();
	__asm__ volatile("rep outsb" : "+S"(si), "+c"(cx) : "d"(0x80) : "memory");
	check_equal(faults, 2);
	check_equal(si, BORDER + 3);
	unmap_all();
	uint64_t lo = 0, hi = 0;
	fill(0);
	__asm__ volatile("lock cmpxchg16b (%2)" : "+a"(lo), "+d"(hi) : "r"(BORDER + 16), "b"(5ull), "c"(6ull) : "memory", "cc");
	check_equal(faults, 1);
	check_equal(first.error, 2); /* a write, whatever the comparison says */
	check_equal(*(uint64_t *)direct(BORDER + 16), 5);
	check_equal(*(uint64_t *)direct(BORDER + 24), 6);
	/* Not equal: nothing changes, and the page must be writable all the same. */
	unmap_all();
	lo = 1;
	__asm__ volatile("lock cmpxchg16b (%2)" : "+a"(lo), "+d"(hi) : "r"(BORDER + 16), "b"(7ull), "c"(8ull) : "memory", "cc");
	check_equal(first.error, 2);
	check_equal(lo, 5);
	check_equal(hi, 6);
	unmap_all();
	uint64_t got;
	__asm__ volatile("movbe (%1), %0" : "=r"(got) : "r"(BORDER + 16));
	check_equal(got, 5ull << 56);
	check_equal(faults, 1);
}

int guest_main(void)
{
	for (unsigned i = 0; i < 4; i++)
		pages[i] = (uint64_t)alloc_page();
	handlers[VEC_PF] = on_page_fault;
	if (enable_vectors()) {
		state_images();
		masked_moves();
		wide();
	}
	string_io();
	return failures;
}
