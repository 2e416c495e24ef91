/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code that is changed when it has long been hot: by every kind of store, through the same and another address, in the same block,
 * page and another page, as kernels patch themselves. */
#include "code.h"

#define ALIAS 0x20000000000ull
#define TARGET 0x400 /* in the page: the first bytes of a 64-byte line */
static uint8_t *page, *pages; /* two pages in a row */
static bool has_avx, has_avx512;

/* --- writers: the line at `to` becomes the 64 bytes at `image`, of which the first 16 differ from what is there --- */

typedef void writer_fn(uint8_t *to, const uint8_t *image);

#define IMAGE(type) (*(const type *)image)
static void by_bytes(uint8_t *to, const uint8_t *image)
{
	for (unsigned i = 0; i < 8; i++)
		((volatile uint8_t *)to)[i] = image[i];
}
static void by_dword(uint8_t *to, const uint8_t *image) { *(volatile uint32_t *)(to + 1) = *(const uint32_t *)(image + 1); }
static void by_qword(uint8_t *to, const uint8_t *image) { *(volatile uint64_t *)to = IMAGE(uint64_t); }
static void by_movnti(uint8_t *to, const uint8_t *image)
{
	__asm__ volatile("movntiq %1, (%0); sfence" ::"r"(to), "r"(IMAGE(uint64_t)) : "memory");
}
static void by_rep_movsb(uint8_t *to, const uint8_t *image)
{
	uint64_t n = 64;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(image), "+c"(n)::"memory");
}
static void by_rep_movsq_down(uint8_t *to, const uint8_t *image)
{
	uint64_t n = 8;
	to += 56, image += 56;
	__asm__ volatile("std; rep movsq; cld" : "+D"(to), "+S"(image), "+c"(n)::"memory");
}
static void by_rep_stosd(uint8_t *to, const uint8_t *image)
{
	uint64_t n = 1;
	to++;
	__asm__ volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(*(const uint32_t *)(image + 1)) : "memory");
}
static void by_movsb(uint8_t *to, const uint8_t *image)
{
	__asm__ volatile("movsb; movsb; movsb; movsb; movsb" : "+D"(to), "+S"(image)::"memory");
}
static void by_xchg(uint8_t *to, const uint8_t *image)
{
	uint64_t v = IMAGE(uint64_t);
	__asm__ volatile("xchgq %0, (%1)" : "+r"(v) : "r"(to) : "memory");
}
static void by_cmpxchg(uint8_t *to, const uint8_t *image)
{
	uint64_t old = *(volatile uint64_t *)to;
	__asm__ volatile("lock cmpxchgq %2, (%1)" : "+a"(old) : "r"(to), "r"(IMAGE(uint64_t)) : "memory", "cc");
}
static void by_cmpxchg16b(uint8_t *to, const uint8_t *image)
{
	uint64_t low = ((volatile uint64_t *)to)[0], high = ((volatile uint64_t *)to)[1];
	__asm__ volatile("lock cmpxchg16b (%2)" : "+a"(low), "+d"(high) : "r"(to), "b"(IMAGE(uint64_t)), "c"(((const uint64_t *)image)[1]) : "memory", "cc");
}
static void by_xadd(uint8_t *to, const uint8_t *image)
{
	uint64_t v = IMAGE(uint64_t) - *(volatile uint64_t *)to;
	__asm__ volatile("lock xaddq %0, (%1)" : "+r"(v) : "r"(to) : "memory", "cc");
}
static void by_xor(uint8_t *to, const uint8_t *image)
{
	__asm__ volatile("xorq %0, (%1)" ::"r"(IMAGE(uint64_t) ^ *(volatile uint64_t *)to), "r"(to) : "memory", "cc");
}
static void by_bts(uint8_t *to, const uint8_t *image)
{
	for (uint64_t bit = 8; bit < 40; bit++)
		if ((IMAGE(uint64_t) ^ *(volatile uint64_t *)to) >> bit & 1)
			__asm__ volatile("lock btcq %0, (%1)" ::"r"(bit), "r"(to) : "memory", "cc");
}
static void by_push(uint8_t *to, const uint8_t *image)
{
	__asm__ volatile("movq %%rsp, %%rbx; leaq 8(%0), %%rsp; pushq %1; movq %%rbx, %%rsp" ::"r"(to), "r"(IMAGE(uint64_t)) : "rbx", "memory");
}
static void by_pop(uint8_t *to, const uint8_t *image)
{
	__asm__ volatile("pushq %1; popq (%0)" ::"r"(to), "r"(IMAGE(uint64_t)) : "memory");
}
static void by_setcc(uint8_t *to, const uint8_t *image)
{
	/* Bit 0 of the immediate; the others by AND and OR of a byte. */
	__asm__ volatile("andb $0, 1(%0); testb $1, %1; setnz 1(%0); orb %2, 1(%0)" ::"r"(to), "r"(image[1]), "r"((uint8_t)(image[1] & ~1)) : "memory", "cc");
	by_dword(to + 1, image + 1);
}
static void by_movups(uint8_t *to, const uint8_t *image)
{
	__asm__ volatile("movups (%1), %%xmm3; movups %%xmm3, (%0)" ::"r"(to), "r"(image) : "memory");
}
static void by_movntdq(uint8_t *to, const uint8_t *image)
{
	__asm__ volatile("movups (%1), %%xmm3; movntdq %%xmm3, (%0); sfence" ::"r"(to), "r"(image) : "memory");
}
static void by_maskmovdqu(uint8_t *to, const uint8_t *image)
{
	__asm__ volatile("movups (%1), %%xmm3; pcmpeqb %%xmm4, %%xmm4; psrldq $8, %%xmm4; maskmovdqu %%xmm4, %%xmm3" ::"D"(to), "r"(image) : "memory");
}
static void by_fxsave(uint8_t *to, const uint8_t *image)
{
	/* XMM0 lies at offset 160. */
	__asm__ volatile("movups (%1), %%xmm0; fxsave64 -160(%0)" ::"r"(to), "r"(image) : "memory");
}
static void by_x87(uint8_t *to, const uint8_t *image)
{
	__asm__ volatile("fildll (%1); fistpll (%0)" ::"r"(to), "r"(image) : "memory");
}
static void by_ymm(uint8_t *to, const uint8_t *image)
{
	__asm__ volatile("vmovdqu (%1), %%ymm3; vmovdqu %%ymm3, (%0); vzeroupper" ::"r"(to), "r"(image) : "memory");
}
static void by_vmaskmov(uint8_t *to, const uint8_t *image)
{
	__asm__ volatile("vmovdqu (%1), %%xmm3; vpcmpeqd %%xmm4, %%xmm4, %%xmm4; vmaskmovps %%ymm3, %%ymm4, (%0); vzeroupper" ::"r"(to), "r"(image) : "memory");
}
static void by_zmm(uint8_t *to, const uint8_t *image)
{
	__asm__ volatile("vmovdqu64 (%1), %%zmm3; vmovdqu64 %%zmm3, (%0); vzeroupper" ::"r"(to), "r"(image) : "memory");
}
static void by_zmm_masked(uint8_t *to, const uint8_t *image)
{
	__asm__ volatile("movl $0x1e, %%eax; kmovw %%eax, %%k1; vmovdqu64 (%1), %%zmm3; vmovdqu8 %%zmm3, (%0)%{%%k1%}; vzeroupper"
			 ::"r"(to), "r"(image) : "rax", "memory");
}
static void by_scatter(uint8_t *to, const uint8_t *image)
{
	__asm__ volatile("movl $3, %%eax; kmovw %%eax, %%k1; vpxor %%xmm4, %%xmm4, %%xmm4; movl $1, %%eax; vmovd %%eax, %%xmm5; vpslldq $4, %%xmm5, %%xmm5;"
			 "vmovdqu (%1), %%xmm3; vpscatterdd %%zmm3, (%0,%%zmm5,4)%{%%k1%}; vzeroupper" ::"r"(to), "r"(image) : "rax", "memory");
}

static const struct {
	const char *name;
	writer_fn *write;
	unsigned needs;
} writers[] = {
#define W(name) { #name, name, 0 }
	W(by_bytes), W(by_dword), W(by_qword), W(by_movnti), W(by_rep_movsb), W(by_rep_movsq_down), W(by_rep_stosd), W(by_movsb), W(by_xchg),
	W(by_cmpxchg), W(by_cmpxchg16b), W(by_xadd), W(by_xor), W(by_bts), W(by_push), W(by_pop), W(by_setcc), W(by_movups), W(by_movntdq),
	W(by_maskmovdqu), W(by_fxsave), W(by_x87), { "by_ymm", by_ymm, 1 }, { "by_vmaskmov", by_vmaskmov, 1 }, { "by_zmm", by_zmm, 2 },
	{ "by_zmm_masked", by_zmm_masked, 2 }, { "by_scatter", by_scatter, 2 },
};

static void enable_vectors(void)
{
	if (!(cpuid(1, 0).c >> 28 & 1))
		return;
	WRITE_CR(4, READ_CR(4) | 0x40000);
	uint32_t mask = cpuid(13, 0).a & 0xe7;
	__asm__ volatile("xsetbv" ::"a"(mask), "d"(0), "c"(0));
	has_avx = mask & 4 && cpuid(7, 0).b >> 5 & 1;
	has_avx512 = has_avx && (mask & 0xe0) == 0xe0 && cpuid(7, 0).b >> 30 & 1;
}

/* Every writer, directly and through an alias; the code runs through either address. */
static void every_writer(void)
{
	static uint8_t image[64] __attribute__((aligned(64)));
	uint8_t *code = page + TARGET, *alias = (uint8_t *)ALIAS + TARGET;
	map_page(ALIAS, (uint64_t)page, PG_P | PG_W);
	uint32_t value = 0;
	for (unsigned w = 0; w < ARRAY_SIZE(writers); w++) {
		if ((writers[w].needs >= 1 && !has_avx) || (writers[w].needs == 2 && !has_avx512))
			continue;
		uint64_t wrong = 0;
		for (unsigned round = 0; round < 6; round++) {
			put_bytes(image, code, 64);
			put_return(image, ++value * 0x10203);
			writers[w].write(round & 1 ? alias : code, image);
			wrong += wrong_calls(round & 2 ? alias : code, round < 4 ? HOT / 4 : HOT, value * 0x10203);
		}
		if (wrong)
			print(writers[w].name), print("\n");
		check_equal(wrong, 0);
	}
}

/* --- in one block: the store is followed by what it changes --- */

/* Adds `step` to the number that it stores into the next instruction in each turn; step 0 writes the same bytes again. */
static uint64_t store_ahead(uint8_t *at, uint32_t turns, uint32_t first, uint32_t step, bool jump)
{
	uint8_t *p = at;
	uint64_t sum = 0;
	PUT(p, 0x89, 0x35); /* mov [rip + imm], esi */
	uint8_t *field = p;
	p = put32(p, 0);
	if (jump)
		PUT(p, 0xeb, 0x00); /* ends the block */
	PUT(p, 0x81, 0xc0); /* add eax, imm */
	put32(field, (uint64_t)(p - (field + 4)));
	p = put32(p, 0);
	PUT(p, 0x01, 0xd6, 0xff, 0xc9, 0x75); /* add esi, edx; dec ecx; jnz */
	*p = (uint8_t)(at - (p + 1));
	p++;
	PUT(p, 0xc3);
	__asm__ volatile("call *%5" : "+a"(sum), "+c"(turns), "+S"(first) : "d"(step), "D"(0), "r"(at) : "memory", "cc");
	return (uint32_t)sum;
}

static uint32_t series(uint32_t turns, uint32_t first, uint32_t step)
{
	return turns * first + (uint32_t)((uint64_t)turns * (turns - 1) / 2) * step;
}

static void same_block(void)
{
	for (unsigned jump = 0; jump < 2; jump++) {
		check_equal(store_ahead(page + 0x600, HOT, 5, 0, jump), series(HOT, 5, 0));
		check_equal(store_ahead(page + 0x600, 3000, 7, 3, jump), series(3000, 7, 3));
		check_equal(store_ahead(page + 0x600, HOT, 9, 0, jump), series(HOT, 9, 0));
	}
}

/* A locked increment of an immediate that this very loop executes, before and behind the increment. */
static void own_immediate(void)
{
	uint8_t *at = page + 0x680, *p = at;
	uint64_t sum = 0;
	uint32_t turns = 4000;
	PUT(p, 0x05, 0, 0, 0, 0);                         /* add eax, imm32 */
	PUT(p, 0xf0, 0xff, 0x05, 0xf5, 0xff, 0xff, 0xff); /* lock inc dword [rip - 11] */
	PUT(p, 0x05, 0, 0, 0, 0);
	PUT(p, 0xf0, 0xff, 0x05, 0xf5, 0xff, 0xff, 0xff);
	PUT(p, 0xff, 0xc9, 0x75, 0xe4, 0xc3); /* dec ecx; jnz; ret */
	__asm__ volatile("call *%2" : "+a"(sum), "+c"(turns) : "r"(at) : "memory", "cc");
	check_equal(turns, 0);
	check_equal((uint32_t)sum, 2 * series(4000, 0, 1));
}

/* REP STOS that writes the immediate of the instruction right behind it. */
static void string_ahead(void)
{
	uint8_t *at = page + 0x700;
	for (uint32_t i = 0; i < 3000; i++) {
		uint8_t *p = at;
		PUT(p, 0xf3, 0xab, 0xb8, 0, 0, 0, 0, 0x90); /* rep stosd; mov eax, imm32; nop */
		PUT(p, 0x90, 0x90, 0xc3);
		uint64_t di = (uint64_t)(at + 3), cx = 1, ax = i * 77;
		__asm__ volatile("call *%3" : "+D"(di), "+c"(cx), "+a"(ax) : "r"(at) : "memory");
		if (ax != i * 77) {
			check_equal(ax, i * 77);
			return;
		}
	}
}

/* --- the changed instruction's length and kind: jump labels, static calls, breakpoints --- */

static void patch_sites(void)
{
	/* mov eax, edi; [5 bytes]; add eax, 1; ret; ...; target: add eax, 100; ret */
	static const uint8_t nop5[] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };
	uint8_t *at = page + 0x780, *p = at, *site;
	PUT(p, 0x89, 0xf8);
	site = p;
	p += 5;
	PUT(p, 0x83, 0xc0, 0x01, 0xc3);
	uint8_t *target = p;
	PUT(p, 0x83, 0xc0, 0x64, 0xc3);
	uint8_t *other = pages + 0x100;
	p = other;
	PUT(p, 0x05, 0, 0, 1, 0, 0xc3); /* add eax, 0x10000; ret */
	uint64_t wrong = 0;
	for (unsigned round = 0; round < 24; round++) {
		uint64_t want;
		switch (round % 6) {
		case 0: put_bytes(site, nop5, 5), want = 1; break;
		case 1: put_near(site, 0xe9, target), want = 100; break;
		case 2: put_near(site, 0xe8, target), want = 101; break;
		case 3: put_near(site, 0xe8, other), want = 0x10001; break;
		case 4: put_near(site, 0xe9, other), want = 0x10000; break;
		default: *site = 0xc3, want = 0; /* RET; four bytes of rubbish behind it */
		}
		for (unsigned i = 0; i < HOT / 8; i++)
			wrong += call(at, i) != i + want;
	}
	check_equal(wrong, 0);
}

static unsigned breakpoints;
static bool on_breakpoint(struct frame *frame)
{
	breakpoints++;
	frame->rip += 4; /* as if there were a NOP of 5 bytes */
	return true;
}

static void int3_poke(void)
{
	uint8_t *at = page + 0x800, *p = at;
	PUT(p, 0x89, 0xf8, 0x05, 0x01, 0x00, 0x00, 0x00, 0xc3);
	handlers[VEC_BP] = on_breakpoint;
	uint64_t wrong = wrong_calls(at, HOT, 1);
	for (uint32_t i = 2; i < 20; i++) {
		at[2] = 0xcc;
		wrong += wrong_calls(at, 50, 0);
		put32(at + 3, i);
		wrong += wrong_calls(at, 50, 0);
		at[2] = 0x05;
		wrong += wrong_calls(at, 1000, i);
	}
	check_equal(wrong, 0);
	check_equal(breakpoints, 18 * 100);
	handlers[VEC_BP] = NULL;
}

/* --- two pages --- */

/* One store that changes the end of a page and the beginning of the next: a function in each, and one over the border. */
static void store_across(void)
{
	uint8_t *border = pages + 4096;
	uint64_t wrong = 0;
	uint8_t *first = border - 6, *second = border;
	for (uint32_t i = 0; i < 40; i++) {
		/* In the first page: mov eax, imm (4 bytes before the border -5..-2), ret at -1. */
		put_return(first, i);
		put_return(second, i * 3);
		wrong += wrong_calls(first, 500, i) + wrong_calls(second, 500, i * 3);
		/* bytes -2, -1 | 0 ... 5: high immediate byte, RET | B8 imm RET */
		uint64_t v = 0x5a | 0xc3 << 8 | 0xb8ull << 16 | (uint64_t)(i * 7) << 24 | 0xc3ull << 56;
		*(volatile uint64_t *)(border - 2) = v;
		wrong += wrong_calls(first, 500, i | 0x5a000000) + wrong_calls(second, 500, i * 7);
	}
	check_equal(wrong, 0);
	uint8_t *over = border - 3;
	for (uint32_t i = 0; i < 40; i++) {
		put_return(over, i * 0x01010101);
		wrong += wrong_calls(over, 500, i * 0x01010101);
		border[-1] ^= 0x40;
		wrong += wrong_calls(over, 500, (i * 0x01010101) ^ 0x4000);
		border[1] ^= 0x40;
		wrong += wrong_calls(over, 500, (i * 0x01010101) ^ 0x40004000);
	}
	check_equal(wrong, 0);
}

/* A hot loop in one page that calls, and changes, a function in the next; then its own page is changed by a callee. */
static void other_page(void)
{
	uint8_t *p = pages + 0x200, *loop, *callee = pages + 4096 + 0x300;
	uint64_t sum = 0;
	uint32_t turns = 5000;
	put_return(callee, 0);
	PUT(p, 0x31, 0xdb); /* xor ebx, ebx */
	loop = p;
	PUT(p, 0x89, 0x0d); /* mov [rip + immediate of the callee], ecx */
	p = put32(p, (uint64_t)(callee + 1 - (p + 4)));
	p = put_near(p, 0xe8, callee);
	PUT(p, 0x01, 0xc3, 0xff, 0xc9, 0x75); /* add ebx, eax; dec ecx; jnz */
	*p = (uint8_t)(loop - (p + 1));
	p++;
	PUT(p, 0xc3);
	__asm__ volatile("call *%2" : "=b"(sum), "+c"(turns) : "r"(pages + 0x200) : "rax", "memory", "cc");
	check_equal((uint32_t)sum, series(5000, 1, 1));
}

/* The function on whose return address one stands is overwritten. */
static void caller_changed(void)
{
	uint8_t *caller = pages + 0x400, *callee = pages + 0x480, *p;
	uint64_t wrong = 0;
	for (uint32_t i = 0; i < 3000; i++) {
		p = caller;
		p = put_near(p, 0xe8, callee);
		uint8_t *field = p + 1;
		p = put_return(p, 1);
		p = callee;
		PUT(p, 0x89, 0x3d); /* mov [rip + field], edi */
		p = put32(p, (uint64_t)(field - (p + 4)));
		PUT(p, 0xc3);
		wrong += call(caller, i) != i;
	}
	check_equal(wrong, 0);
}

int guest_main(void)
{
	page = alloc_page();
	pages = alloc_page();
	alloc_page();
	enable_vectors();
	__asm__ volatile("fninit");
	every_writer();
	same_block();
	own_immediate();
	string_ahead();
	patch_sites();
	int3_poke();
	store_across();
	other_page();
	caller_changed();
	return failures;
}
