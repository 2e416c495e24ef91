/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code that several processors run and change: by the hand-shake of the manual (SDM 3A, 8.1.3), by breakpoint and IPI as kernels do it,
 * by one byte without any, each its own in one page, and by changed page tables. Runs with any number of processors. */
#include "code.h"
#include "processors.h"

enum { ROUNDS = 60 };
static volatile uint32_t phase, done, round_now, seen;
static volatile uint32_t wrong, acknowledged, breakpoints;
static volatile bool running;
static uint8_t *page, *pages[2];
#define WINDOW 0x20000000000ull

static void serialize(void)
{
	uint32_t a = 0, b, c = 0, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)::"memory");
}

static void add(volatile uint32_t *word, uint64_t n) { __atomic_fetch_add(word, (uint32_t)n, __ATOMIC_SEQ_CST); }

static bool on_ipi(struct frame *frame)
{
	serialize();
	invlpg(WINDOW);
	apic_eoi();
	add(&acknowledged, 1);
	return true;
}

static bool on_breakpoint(struct frame *frame)
{
	frame->rip += 4; /* in place of a five-byte instruction */
	add(&breakpoints, 1);
	return true;
}

/* All others have taken an interrupt, and serialized. */
static void synchronize(void)
{
	acknowledged = 0;
	if (cpus == 1)
		return;
	send_ipi_to_others();
	wait_for(&acknowledged, cpus - 1);
}

/* --- the hand-shake: hot, changed, hot --- */

static void hand_shake(unsigned index)
{
	for (uint32_t i = 1; i <= ROUNDS; i++) {
		if (!index) {
			put_return(page, i * 0x1111);
			put_return(page + 2048, i); /* another in the same page */
			round_now = i;
		}
		wait_for(&round_now, i);
		serialize();
		add(&wrong, wrong_calls(page, i % 20 ? 100 : HOT, i * 0x1111));
		add(&wrong, wrong_calls(page + 2048, 100, i));
		add(&seen, 1);
		if (!index)
			wait_for(&seen, i * cpus);
	}
}

/* --- breakpoint first, then the tail, then the first byte, with all others interrupted in between --- */

static void poked(unsigned index)
{
	uint8_t *at = page + 256; /* mov eax, edi; add eax, imm32; ret */
	if (index) {
		__asm__ volatile("sti");
		while (running) {
			uint32_t before = round_now;
			uint64_t got = call(at, 0);
			uint32_t after = round_now;
			/* 0 while the breakpoint is there; else one of the numbers that were there meanwhile. */
			if (got && (got < before || got > after + 1))
				add(&wrong, 1);
		}
		__asm__ volatile("cli");
		return;
	}
	for (uint32_t i = 2; i < 160 / cpus; i++) {
		*(volatile uint8_t *)(at + 2) = 0xcc;
		synchronize();
		*(volatile uint32_t *)(at + 3) = i;
		synchronize();
		*(volatile uint8_t *)(at + 2) = 0x05;
		synchronize();
		round_now = i;
		wrong += wrong_calls(at, 20, i);
	}
	running = false;
}

/* --- one byte, without a word: the old or the new, and the new one after a hand-shake --- */

static void one_byte(unsigned index)
{
	uint8_t *at = page + 512;
	if (index) {
		__asm__ volatile("sti");
		uint64_t last = 0;
		while (running) {
			uint64_t got = call(at, 0);
			uint32_t after = round_now;
			if (got < last || got > after + 1)
				add(&wrong, 1);
			last = got;
		}
		__asm__ volatile("cli");
		return;
	}
	for (uint32_t i = 1; i < 120; i++) {
		*(volatile uint8_t *)(at + 1) = (uint8_t)i;
		wrong += wrong_calls(at, 50, i);
		round_now = i;
		for (unsigned n = 0; n < 100; n++)
			__asm__ volatile("pause");
		if (i % 8 == 0)
			synchronize();
	}
	running = false;
}

/* --- each makes its own function again and again, all in one page, beside data that all write --- */

static void own_code(unsigned index)
{
	uint8_t *at = page + 1024 + 64 * index;
	for (uint32_t i = 0; i < 1500; i++) {
		put_return(at, i * (index + 1));
		add(&wrong, wrong_calls(at, i % 100 ? 5 : 1000, i * (index + 1)));
		__atomic_fetch_add((uint64_t *)(page + 3072), 1, __ATOMIC_SEQ_CST);
		((volatile uint64_t *)(page + 3072))[8 + index]++;
	}
}

/* --- the page under hot code changes, with a shoot-down --- */

static void remapped(unsigned index)
{
	if (index) {
		__asm__ volatile("sti");
		while (running) {
			uint32_t before = round_now;
			uint64_t got = call((void *)WINDOW, 0);
			uint32_t after = round_now;
			/* Round n's page gives n; the next one may already be there. */
			if (got < before || got > after + 1)
				add(&wrong, 1);
		}
		__asm__ volatile("cli");
		return;
	}
	for (uint32_t i = 1; i < 300 / cpus; i++) {
		/* Nobody has this page at present: it may be written. */
		put_return(pages[i & 1], i);
		*page_entry(WINDOW) = (uint64_t)pages[i & 1] | PG_P;
		invlpg(WINDOW);
		synchronize();
		round_now = i;
		wrong += wrong_calls((void *)WINDOW, 20, i);
	}
	running = false;
}

static void (*const works[])(unsigned) = { hand_shake, poked, one_byte, own_code, remapped };

static void processor_main(unsigned index)
{
	for (uint32_t n = 0; n < ARRAY_SIZE(works); n++) {
		wait_for(&phase, n + 1);
		works[n](index);
		add(&done, 1);
	}
}

int guest_main(void)
{
	handlers[IPI_VECTOR] = on_ipi;
	handlers[VEC_BP] = on_breakpoint;
	page = alloc_page();
	pages[0] = alloc_page();
	pages[1] = alloc_page();
	map_page(WINDOW, (uint64_t)pages[0], PG_P);
	start_processors();
	for (uint32_t n = 0; n < ARRAY_SIZE(works); n++) {
		uint8_t *p = page + 256;
		PUT(p, 0x89, 0xf8, 0x05, 0x01, 0, 0, 0, 0xc3);
		put_return(page + 512, 0);
		put_return(pages[0], 0);
		done = 0, round_now = works[n] == poked, running = true;
		phase = n + 1;
		works[n](0);
		wait_for(&done, cpus - 1);
		if (wrong)
			print_hex(n);
		check_equal(wrong, 0);
		wrong = 0;
	}
	uint64_t sum = 0;
	for (unsigned i = 0; i < cpus; i++)
		sum += ((uint64_t *)(page + 3072))[8 + i];
	check_equal(sum, cpus * 1500ull);
	check_equal(*(uint64_t *)(page + 3072), cpus * 1500ull);
	return failures;
}
