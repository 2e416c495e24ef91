/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupt window: STI and MOV SS shadows, HLT wake-up, POPF, and a pending interrupt at each boundary, by self-IPI. */
#include "guest.h"

static uint64_t at_rip;
static unsigned count;

static void eoi(void)
{
	*(volatile uint32_t *)0xfee000b0 = 0;
}

static bool on_ipi(struct frame *frame)
{
	count++;
	at_rip = frame->rip;
	eoi();
	return true;
}

static void self_ipi(void)
{
	*(volatile uint32_t *)0xfee00300 = 0x40000 | 0x51;
	while (*(volatile uint32_t *)0xfee00300 & 0x1000)
		;
	/* Delivery to oneself may take a moment on a real bus. */
	for (volatile int i = 0; i < 1000; i++)
		;
}

static void sti_shadow(void)
{
	uint64_t after_nop;
	self_ipi();
	check_equal(count, 0);
	__asm__ volatile("sti; nop\n1: nop; cli; leaq 1b(%%rip), %0" : "=r"(after_nop)::"memory");
	check_equal(count, 1);
	check_equal(at_rip, after_nop);
	/* STI; CLI leaves no window at all. */
	self_ipi();
	__asm__ volatile("sti; cli; nop; nop" ::: "memory");
	check_equal(count, 1);
	uint64_t expected;
	__asm__ volatile("pushfq; orl $0x200, (%%rsp); popfq\n1: cli; leaq 1b(%%rip), %0" : "=r"(expected)::"memory", "cc");
	check_equal(count, 2);
	check_equal(at_rip, expected);
}

static void mov_ss_shadow(void)
{
	uint64_t expected;
	self_ipi();
	/* POPF opens the window after MOV SS: its own boundary is in the shadow of nothing, so the interrupt comes before CLI. */
	__asm__ volatile("pushfq; orl $0x200, (%%rsp); movw %%ss, %%ax; movw %%ax, %%ss; popfq\n1: cli; leaq 1b(%%rip), %0" : "=r"(expected)::"rax", "memory", "cc");
	check_equal(count, 3);
	check_equal(at_rip, expected);
}

static void hlt_wakes(void)
{
	uint64_t expected;
	self_ipi();
	__asm__ volatile("sti; hlt\n1: cli; leaq 1b(%%rip), %0" : "=r"(expected)::"memory");
	check_equal(count, 4);
	check_equal(at_rip, expected);
}

/* A trap flag set by POPF together with an open window: the single-step trap comes before the interrupt. */
static unsigned debug_traps, order;

static bool on_debug(struct frame *frame)
{
	debug_traps++;
	if (!order)
		order = 1;
	frame->rflags &= ~0x100ull;
	return true;
}

static void trap_and_window(void)
{
	handlers[VEC_DB] = on_debug;
	__asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop" ::: "memory", "cc");
	check_equal(debug_traps, 1);
	handlers[VEC_DB] = NULL;
}

int guest_main(void)
{
	wrmsr(0x1b, rdmsr(0x1b) | 0x800);
	*(volatile uint32_t *)0xfee000f0 = 0x1ff;
	*(volatile uint32_t *)0xfee00080 = 0;
	handlers[0x51] = on_ipi;
	sti_shadow();
	mov_ss_shadow();
	hlt_wakes();
	trap_and_window();
	return failures;
}
