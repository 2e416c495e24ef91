/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hot code whose page table entries change: other pages, other rights, other address spaces; by each way of invalidating, and without,
 * where both the old and the new is right (SDM 3A, 4.10). */
#include "code.h"

#define WINDOW 0x20000000000ull /* two pages here differ between address spaces */
#define CR4_PCIDE 0x20000ull
#define CR4_SMEP 0x100000ull
#define NO_FLUSH (1ull << 63)

static uint8_t *page[8];
static bool has_pcid, has_invpcid;

struct invpcid { uint64_t pcid, linear; };
static void invpcid(uint64_t type, uint64_t pcid, uint64_t linear)
{
	struct invpcid d = { pcid, linear };
	__asm__ volatile("invpcid (%0), %1" ::"r"(&d), "r"(type) : "memory");
}

static void set_entry(uint64_t value) { *(volatile uint64_t *)page_entry(WINDOW) = value; }

/* --- one page, exchanged --- */

static void flush_invlpg(void) { invlpg(WINDOW); }
static void flush_invlpg_inside(void) { invlpg(WINDOW + 0x7ff); }
static void flush_cr3(void) { WRITE_CR(3, READ_CR(3)); }
static void flush_pge(void) { WRITE_CR(4, READ_CR(4) ^ CR4_PGE); WRITE_CR(4, READ_CR(4) ^ CR4_PGE); }
static void flush_invpcid_address(void) { invpcid(0, READ_CR(3) & 0xfff, WINDOW); }
static void flush_invpcid_single(void) { invpcid(1, READ_CR(3) & 0xfff, 0); }
static void flush_invpcid_all(void) { invpcid(2, 0, 0); }
static void flush_invpcid_local(void) { invpcid(3, 0, 0); }
static void flush_paging(void)
{
	/* A round trip through another root with the same contents. */
	uint64_t cr3 = READ_CR(3);
	static uint64_t *copy;
	if (!copy)
		copy = alloc_page();
	for (unsigned i = 0; i < 512; i++)
		copy[i] = ((uint64_t *)(cr3 & ~0xfffull))[i];
	WRITE_CR(3, (uint64_t)copy);
	WRITE_CR(3, cr3);
}

static const struct {
	void (*flush)(void);
	uint64_t bits;
	bool needs_invpcid;
} flushes[] = {
	{ flush_invlpg, 0, false }, { flush_invlpg_inside, 0, false }, { flush_cr3, 0, false }, { flush_pge, 0, false }, { flush_paging, 0, false },
	{ flush_invlpg, PG_G, false }, { flush_pge, PG_G, false },
	{ flush_invpcid_address, 0, true }, { flush_invpcid_single, 0, true }, { flush_invpcid_all, PG_G, true }, { flush_invpcid_local, 0, true },
};

static void exchanged(void)
{
	for (unsigned i = 0; i < 4; i++)
		put_return(page[i], 100 + i);
	WRITE_CR(4, READ_CR(4) | CR4_PGE);
	for (unsigned k = 0; k < ARRAY_SIZE(flushes); k++) {
		if (flushes[k].needs_invpcid && !has_invpcid)
			continue;
		set_entry(0);
		flush_pge();
		uint64_t wrong = 0, unflushed = 0;
		for (unsigned i = 0; i < 60; i++) {
			uint64_t old = 100 + ((i - 1) & 3), now = 100 + (i & 3);
			set_entry((uint64_t)page[i & 3] | PG_P | flushes[k].bits);
			/* Until the flush: the old or the new one. */
			for (unsigned n = 0; i && n < 3; n++) {
				uint64_t got = call((void *)WINDOW, 0);
				unflushed += got != old && got != now;
			}
			flushes[k].flush();
			wrong += wrong_calls((void *)WINDOW, i % 20 ? 200 : HOT, now);
		}
		if (wrong + unflushed)
			print_hex(k);
		check_equal(wrong, 0);
		check_equal(unflushed, 0);
	}
	WRITE_CR(4, READ_CR(4) & ~CR4_PGE);
}

/* The page that went away is then rewritten: this must not matter to what runs at the address, nor be forgotten when it comes back. */
static void written_while_away(void)
{
	uint64_t wrong = 0;
	for (uint32_t i = 0; i < 60; i++) {
		uint8_t *here = page[i & 1], *away = page[~i & 1];
		put_return(here, i);
		map_page(WINDOW, (uint64_t)here, PG_P);
		wrong += wrong_calls((void *)WINDOW, i % 20 ? 200 : HOT, i);
		put_return(away, i + 1000);
		wrong += wrong_calls((void *)WINDOW, 200, i);
		map_page(WINDOW, (uint64_t)away, PG_P);
		wrong += wrong_calls((void *)WINDOW, 200, i + 1000);
	}
	check_equal(wrong, 0);
}

/* --- two pages in a row: control passes from the first to the second in every way --- */

/* In the first page: crossing number `kind`. Adds 1 there; the second page's code adds its own number and returns. */
static uint8_t *put_first(uint8_t *first, unsigned kind)
{
	uint8_t *p = first + 4096 - 64, *start = p, *second = first + 4096;
	PUT(p, 0xb8, 1, 0, 0, 0); /* mov eax, 1 */
	switch (kind) {
	case 0: while (p < second) *p++ = 0x90; break;                     /* falls through */
	case 1: p = put_near(p, 0xe9, second); break;
	case 2: PUT(p, 0x31, 0xc9, 0x0f, 0x84); p = put32(p, (uint64_t)(second - (p + 4))); *p = 0x0f, p[1] = 0x0b; break; /* xor ecx, ecx; jz */
	case 3: p = put_near(p, 0xe8, second); *p++ = 0xc3; break;         /* call; ret */
	case 4: PUT(p, 0x48, 0x8d, 0x0d); p = put32(p, (uint64_t)(second - (p + 4))); PUT(p, 0x51, 0xc3); break; /* lea rcx; push; ret */
	case 5: PUT(p, 0x48, 0x8d, 0x0d); p = put32(p, (uint64_t)(second - (p + 4))); PUT(p, 0xff, 0xe1); break; /* lea rcx; jmp rcx */
	case 6: while (p < second - 2) *p++ = 0x90; PUT(p, 0xeb, 0x00); break; /* a jump in the last two bytes, to its own end */
	case 7: while (p < second - 3) *p++ = 0x90; PUT(p, 0x05, 5, 0); break; /* add eax, imm32 over the border */
	default: while (p < second - 1) *p++ = 0x90; *p = 0xe9;            /* jmp rel32 whose offset is in the second page */
	}
	return start;
}
enum { CROSSINGS = 9 };

/* In the second page, at its beginning, behind what belongs to the last two crossings' instructions. */
static void put_second(uint8_t *second, unsigned kind, uint32_t number)
{
	uint8_t *p = second;
	if (kind == 7)
		PUT(p, 0, 0); /* the upper half of an imm32 */
	if (kind == 8) {
		PUT(p, 0x10, 0, 0, 0); /* to second + 4 + 16 */
		p = second + 20;
	}
	PUT(p, 0x05);                        /* add eax, number */
	p = put32(p, number);
	*p++ = 0xc3;
}

static uint32_t expected(unsigned kind, uint32_t number)
{
	return 1 + number + (kind == 7 ? 5 : 0);
}

static void second_exchanged(void)
{
	for (unsigned kind = 0; kind < CROSSINGS; kind++) {
		map_page(WINDOW, (uint64_t)page[0], PG_P | PG_W);
		for (unsigned i = 1; i < 4; i++)
			put_second(page[i], kind, i * 10);
		uint8_t *start = put_first((uint8_t *)WINDOW, kind);
		uint64_t wrong = 0;
		for (unsigned i = 0; i < 30; i++) {
			unsigned which = 1 + i % 3;
			map_page(WINDOW + 4096, (uint64_t)page[which], PG_P);
			wrong += wrong_calls(start, i % 10 ? 100 : HOT, expected(kind, which * 10));
		}
		if (wrong)
			print_hex(kind);
		check_equal(wrong, 0);
	}
}

/* --- address spaces: both pages of WINDOW in any combination, changed by CR3, in hot loops --- */

static uint64_t roots[4];

/* A root that differs from the present one in WINDOW's two pages. */
static uint64_t make_root(uint64_t first, uint64_t second)
{
	uint64_t *root = alloc_page(), *now = (uint64_t *)(READ_CR(3) & ~0xfffull);
	for (unsigned i = 0; i < 512; i++)
		root[i] = now[i];
	uint64_t *pdpt = alloc_page(), *pd = alloc_page(), *pt = alloc_page();
	root[WINDOW >> 39] = (uint64_t)pdpt | 7;
	pdpt[WINDOW >> 30 & 511] = (uint64_t)pd | 7;
	pd[WINDOW >> 21 & 511] = (uint64_t)pt | 7;
	pt[0] = first | PG_P | PG_U;
	pt[1] = second | PG_P | PG_U;
	return (uint64_t)root;
}

static void address_spaces(void)
{
	uint64_t cr3 = READ_CR(3);
	for (unsigned kind = 0; kind < CROSSINGS; kind++) {
		uint8_t *start = NULL;
		map_page(WINDOW + 4096, (uint64_t)page[2], PG_P | PG_W);
		for (unsigned i = 0; i < 2; i++) {
			map_page(WINDOW, (uint64_t)page[i], PG_P | PG_W);
			start = put_first((uint8_t *)WINDOW, kind);
			start[1] = (uint8_t)(1 + i * 100); /* mov eax, 1 or 101 */
			put_second(page[2 + i], kind, 10 + i);
		}
		for (unsigned i = 0; i < 4; i++)
			roots[i] = make_root((uint64_t)page[i & 1], (uint64_t)page[2 + (i >> 1)]);
		uint64_t wrong = 0;
		if (has_pcid)
			WRITE_CR(4, READ_CR(4) | CR4_PCIDE);
		for (unsigned i = 0; i < 400; i++) {
			unsigned space = below(4);
			uint64_t flush = has_pcid ? (space + 1) | (i > 100 && below(4) ? NO_FLUSH : 0) : 0;
			WRITE_CR(3, roots[space] | flush);
			wrong += wrong_calls(start, i % 100 < 4 ? HOT / 4 : 20, 1 + (space & 1) * 100 + 10 + (space >> 1) + (kind == 7 ? 5 : 0));
		}
		WRITE_CR(3, cr3);
		WRITE_CR(4, READ_CR(4) & ~CR4_PCIDE);
		if (wrong)
			print_hex(kind);
		check_equal(wrong, 0);
	}
}

/* The code that loads CR3 is itself followed by other code in the new address space. */
static void switch_under_itself(void)
{
	uint64_t cr3 = READ_CR(3);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *p = page[i];
		PUT(p, 0x0f, 0x22, 0xdf, 0xb8); /* mov cr3, rdi; mov eax, i + 1 */
		p = put32(p, i + 1);
		PUT(p, 0x0f, 0x22, 0xde, 0xc3); /* mov cr3, rsi; ret: there is a RET in either */
		roots[i] = make_root((uint64_t)page[i], (uint64_t)page[2]);
	}
	uint64_t wrong = 0, got;
	for (unsigned i = 0; i < 2000; i++) {
		/* Begins in one, goes on in the other. */
		unsigned from = i & 1, to = i >> 1 & 1;
		WRITE_CR(3, roots[from]);
		__asm__ volatile("call *%1" : "=a"(got) : "r"(WINDOW), "D"(roots[to]), "S"(cr3) : "memory");
		wrong += got != to + 1;
	}
	check_equal(wrong, 0);
}

/* --- rights: NX, U/S, P, with the fault that a fetch gives --- */

static void call_window(void *at) { call(at, 0); }

static uint64_t bad_faults;
static void expect_fault(struct fault f, uint64_t at, uint64_t error)
{
	bool ok = f.happened && f.frame.vector == VEC_PF && f.frame.error == error && f.cr2 == at && f.frame.rip == at;
	if (!ok && !bad_faults++) {
		check_equal(f.frame.vector, VEC_PF);
		check_equal(f.frame.error, error);
		check_equal(f.cr2, at);
		check_equal(f.frame.rip, at);
	}
}

static void rights_changed(void)
{
	uint64_t at = (uint64_t)page[0], wrong = 0;
	put_return(page[0], 77);
	uint8_t *user = page[0] + 64;
	PUT(user, 0xb8, 77, 0, 0, 0, 0xcd, 0x80);
	map_page(USER_STACK, (uint64_t)alloc_page(), PG_P | PG_W | PG_U);
	bool smep = cpuid(7, 0).b >> 7 & 1;
	for (unsigned i = 0; i < 40; i++) {
		unsigned n = i % 10 ? 50 : HOT;
		map_page(WINDOW, at, PG_P);
		wrong += wrong_calls((void *)WINDOW, n, 77);
		map_page(WINDOW, at, PG_P | PG_NX);
		expect_fault(guarded(call_window, (void *)WINDOW), WINDOW, 0x11);
		map_page(WINDOW, at, 0);
		expect_fault(guarded(call_window, (void *)WINDOW), WINDOW, 0x10);
		expect_fault(guarded(call_window, (void *)(WINDOW + 3)), WINDOW + 3, 0x10);
		map_page(WINDOW, at | 1ull << 51, PG_P);
		expect_fault(guarded(call_window, (void *)WINDOW), WINDOW, 0x19); /* QEMU 7.2 leaves P out */
		/* The user. */
		map_page(WINDOW, at, PG_P | PG_U);
		struct fault f = run_user(WINDOW + 64, USER_STACK_TOP, 0);
		wrong += f.frame.vector != 0x80 || f.frame.rax != 77;
		wrong += wrong_calls((void *)WINDOW, n, 77);
		if (smep) {
			WRITE_CR(4, READ_CR(4) | CR4_SMEP);
			expect_fault(guarded(call_window, (void *)WINDOW), WINDOW, 0x11);
			wrong += run_user(WINDOW + 64, USER_STACK_TOP, 0).frame.rax != 77;
			WRITE_CR(4, READ_CR(4) & ~CR4_SMEP);
			wrong += wrong_calls((void *)WINDOW, 50, 77);
		}
		map_page(WINDOW, at, PG_P);
		expect_fault(run_user(WINDOW + 64, USER_STACK_TOP, 0), WINDOW + 64, 0x15);
		map_page(WINDOW, at, PG_P | PG_U | PG_NX);
		expect_fault(run_user(WINDOW + 64, USER_STACK_TOP, 0), WINDOW + 64, 0x15);
		/* At the upper levels. */
		map_page(WINDOW, at, PG_P | PG_U);
		for (int level = 2; level <= 4; level++) {
			uint64_t *entry = table_entry(WINDOW, level), saved = *entry;
			*entry = saved | PG_NX;
			WRITE_CR(3, READ_CR(3));
			expect_fault(guarded(call_window, (void *)WINDOW), WINDOW, 0x11);
			*entry = saved & ~(uint64_t)PG_P;
			WRITE_CR(3, READ_CR(3));
			expect_fault(guarded(call_window, (void *)WINDOW), WINDOW, 0x10);
			*entry = saved & ~(uint64_t)PG_U;
			WRITE_CR(3, READ_CR(3));
			expect_fault(run_user(WINDOW + 64, USER_STACK_TOP, 0), WINDOW + 64, 0x15);
			wrong += wrong_calls((void *)WINDOW, 50, 77);
			*entry = saved;
			WRITE_CR(3, READ_CR(3));
			wrong += wrong_calls((void *)WINDOW, 50, 77);
		}
	}
	check_equal(wrong, 0);
	check_equal(bad_faults, 0);
}

/* The second page of a hot path loses its rights: the fault is at its first byte, whatever way leads there. */
static void second_taken_away(void)
{
	for (unsigned kind = 0; kind < 7; kind++) {
		uint64_t wrong = 0;
		map_page(WINDOW, (uint64_t)page[0], PG_P | PG_W);
		put_second(page[1], kind, 10);
		uint8_t *start = put_first((uint8_t *)WINDOW, kind);
		for (unsigned i = 0; i < 12; i++) {
			map_page(WINDOW + 4096, (uint64_t)page[1], PG_P);
			wrong += wrong_calls(start, i % 6 ? 100 : HOT, 11);
			map_page(WINDOW + 4096, (uint64_t)page[1], i % 3 ? PG_P | PG_NX : 0);
			struct fault f = guarded(call_window, start);
			expect_fault(f, WINDOW + 4096, i % 3 ? 0x11 : 0x10);
			wrong += (uint32_t)f.frame.rax != 1;
		}
		if (wrong)
			print_hex(kind);
		check_equal(wrong, 0);
	}
	check_equal(bad_faults, 0);
}

/* A large page is split, a table is exchanged as a whole, an entry two levels up moves many pages at once. */
static void tables_exchanged(void)
{
	uint64_t big = WINDOW + 0x40000000, wrong = 0, offset = (uint64_t)page[0] & 0x1fffff;
	uint64_t *pde = table_entry(big, 2), *pt[2] = { alloc_page(), alloc_page() };
	put_return(page[0], 1);
	put_return(page[1], 2);
	for (unsigned i = 0; i < 512; i++) {
		pt[0][i] = (((uint64_t)page[0] & ~0x1fffffull) + 4096 * i) | PG_P;
		pt[1][i] = (uint64_t)page[1] | PG_P;
	}
	for (unsigned i = 0; i < 60; i++) {
		unsigned n = i % 12 ? 100 : HOT / 2;
		*pde = ((uint64_t)page[0] & ~0x1fffffull) | PG_P | PG_PS;
		invlpg(big + offset);
		wrong += wrong_calls((void *)(big + offset), n, 1);
		*pde = (uint64_t)pt[1] | PG_P;
		if (i & 1)
			invlpg(big + offset);
		else
			WRITE_CR(3, READ_CR(3));
		wrong += wrong_calls((void *)(big + offset), n, 2);
		*pde = (uint64_t)pt[0] | PG_P;
		invlpg(big + offset);
		wrong += wrong_calls((void *)(big + offset), n, 1);
	}
	check_equal(wrong, 0);
}

/* Code that changes its own page's entry and flushes it: the next instruction is the new page's. */
static void flushed_under_itself(void)
{
	typedef uint64_t change_fn(volatile uint64_t *entry, uint64_t value, uint64_t linear);
	uint64_t wrong = 0;
	for (unsigned way = 0; way < 2; way++) {
		for (unsigned i = 0; i < 2; i++) {
			uint8_t *p = page[i];
			PUT(p, 0x48, 0x89, 0x37);             /* mov [rdi], rsi */
			if (way)
				PUT(p, 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8); /* mov rax, cr3; mov cr3, rax */
			else
				PUT(p, 0x0f, 0x01, 0x3a);     /* invlpg [rdx] */
			put_return(p, 200 + i);
		}
		set_entry((uint64_t)page[0] | PG_P);
		invlpg(WINDOW);
		for (unsigned n = 1; n < HOT; n++) {
			change_fn *code = (change_fn *)WINDOW;
			wrong += code(page_entry(WINDOW), (uint64_t)page[n & 1] | PG_P, WINDOW) != 200 + (n & 1);
		}
	}
	check_equal(wrong, 0);
}

int guest_main(void)
{
	has_pcid = cpuid(1, 0).c >> 17 & 1;
	has_invpcid = cpuid(7, 0).b >> 10 & 1;
	for (unsigned i = 0; i < ARRAY_SIZE(page); i++)
		page[i] = alloc_page();
	exchanged();
	written_while_away();
	second_exchanged();
	address_spaces();
	switch_under_itself();
	flushed_under_itself();
	rights_changed();
	second_taken_away();
	tables_exchanged();
	return failures;
}
