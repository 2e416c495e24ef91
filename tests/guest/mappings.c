/* SPDX-License-Identifier: GPL-2.0-or-later */
/* More mappings than a host process may have: tens of thousands of virtual pages in random physical order, no two neighbours
 * together, touched, run over by hot loops and mapped elsewhere again and again. Options: pages=N (70000), passes=N (2). */
#include "code.h"

#define BASE 0x30000000000ull
#define FAR 0x100000000000ull /* and some that are a gigabyte or more from each other */
enum { FRAMES = 4096, FAR_PAGES = 256 };

static uint8_t *frames;
static unsigned pages;
static uint64_t wrong;

static uint64_t frame(unsigned n) { return (uint64_t)frames + (uint64_t)n * 4096; }

/* Bytes of a word that is this page's own as long as not too many share a frame. */
static unsigned slot(unsigned page) { return page * 7 % 511 * 8; }

/* What the virtual page shows is what the frame holds, before and after a store through either. */
static void touch(uint64_t linear, uint64_t physical, unsigned at)
{
	volatile uint64_t *v = (uint64_t *)(linear + at), *p = (uint64_t *)(physical + at);
	uint64_t before = *v;
	wrong += before != *p;
	*v = before + 1;
	wrong += *p != before + 1;
	*p = before + 3;
	wrong += *v != before + 3;
}

static uint64_t entry_frame(uint64_t linear) { return *page_entry(linear) & 0xffffffffff000; }

/* A hot loop that goes round 64 pages, a word of each. */
static void hot_loop(unsigned first)
{
	static uint64_t at[64];
	uint64_t sum = 0, want = 0, n = 64 * 30, index = 0;
	for (unsigned i = 0; i < 64; i++) {
		uint64_t linear = BASE + (uint64_t)((first + i * 1013) % pages) * 4096;
		at[i] = linear + 4088;
		want += 30 * *(volatile uint64_t *)(entry_frame(linear) + 4088);
	}
	__asm__ volatile("1: movq (%3,%2,8), %%rax; addq (%%rax), %0; incq %2; andl $63, %k2; decq %1; jnz 1b"
			 : "+r"(sum), "+r"(n), "+r"(index) : "r"(at) : "rax", "memory", "cc");
	wrong += sum != want;
}

static uint64_t far_page(unsigned i) { return FAR + (uint64_t)i * 0x40000000 + (uint64_t)(i * 37 % 512) * 4096; }

int guest_main(void)
{
	pages = (unsigned)guest_option("pages", 70000);
	unsigned passes = (unsigned)guest_option("passes", 2);
	frames = alloc_page();
	for (unsigned i = 1; i < FRAMES; i++)
		alloc_page();
	for (unsigned i = 0; i < FRAMES; i++)
		*(uint64_t *)(frame(i) + 4088) = rnd();
	for (unsigned i = 0; i < pages; i++)
		*page_entry(BASE + (uint64_t)i * 4096) = frame(below(FRAMES)) | PG_P | PG_W;
	for (unsigned i = 0; i < FAR_PAGES; i++)
		map_page(far_page(i), frame(below(FRAMES)), PG_P | PG_W);
	for (unsigned pass = 0; pass < passes; pass++) {
		for (unsigned i = 0; i < pages; i++) {
			unsigned page = pass & 1 ? (unsigned)((uint64_t)i * 7919 % pages) : i;
			uint64_t linear = BASE + (uint64_t)page * 4096;
			touch(linear, entry_frame(linear), slot(page));
			if (i % 1000 == 0)
				hot_loop(page);
			if (i % 300 == 0)
				touch(far_page(i / 300 % FAR_PAGES), entry_frame(far_page(i / 300 % FAR_PAGES)), 64);
			/* Elsewhere, now and then at once, by INVLPG; the word at the end of the new frame is what is seen next. */
			if (i % 16 == 0) {
				uint64_t to = frame(below(FRAMES));
				map_page(linear, to, PG_P | PG_W);
				wrong += *(volatile uint64_t *)(linear + 4088) != *(volatile uint64_t *)(to + 4088);
			}
		}
		/* Half of them at once, by CR3. */
		for (unsigned i = pass & 1; i < pages; i += 2)
			*page_entry(BASE + (uint64_t)i * 4096) = frame(below(FRAMES)) | PG_P | PG_W;
		WRITE_CR(3, READ_CR(3));
		for (unsigned i = 0; i < 2000; i++) {
			unsigned page = below(pages);
			uint64_t linear = BASE + (uint64_t)page * 4096;
			touch(linear, entry_frame(linear), slot(page));
			if (i % 100 == 0)
				hot_loop(page);
		}
	}
	check_equal(wrong, 0);
	return failures;
}
