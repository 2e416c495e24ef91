/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x87 errors as DOS programs get them: CR0.NE = 0, FERR# through the 8259 pair as IRQ13, port 0xf0 (SDM 1, appendix D). */
#include "guest32.h"

#define CR0_EM 4u
#define CR0_TS 8u
#define CR0_NE 0x20u
#define VECTOR_PIC 0x20u
#define IRQ 13u

static unsigned interrupts;
static uint16_t status_in_handler;
static bool write_f0;

static void start_pics(void)
{
	static const uint8_t words[][2] = { { 0x11, 0x11 }, { VECTOR_PIC, VECTOR_PIC + 8 }, { 4, 2 }, { 1, 1 }, { 0xfb, 0xdf } };
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		outb(i ? 0x21 : 0x20, words[i][0]);
		outb(i ? 0xa1 : 0xa0, words[i][1]);
	}
}

static unsigned pending(void)
{
	outb(0xa0, 0x0a); /* OCW3: read the request register */
	return inb(0xa0) >> (IRQ - 8) & 1;
}

static bool on_irq13(struct frame *frame)
{
	interrupts++;
	__asm__ volatile("fnstsw %0" : "=m"(status_in_handler));
	if (write_f0) {
		outb(0xf0, 0);
		__asm__ volatile("fwait; fld1; fstp %st(0)"); /* IGNNE#: would wait for ever otherwise */
	}
	__asm__ volatile("fnclex");
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	return true;
}

/* 1/0 with the divide exception unmasked: the error is pending afterwards. */
static void divide_by_zero(void)
{
	const uint16_t control = 0x037b;
	__asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp" ::"m"(control));
}

static void error_comes_as_irq13(void)
{
	interrupts = 0;
	write_f0 = true;
	divide_by_zero();
	check_equal(interrupts, 0); /* at the next instruction that waits */
	__asm__ volatile("fwait");
	check_equal(interrupts, 1);
	check_equal(status_in_handler & 0x84, 0x84);
	__asm__ volatile("fwait");
	check_equal(interrupts, 1);
	check_equal(pending(), 0);
	/* And once more: IGNNE# has gone with the error. */
	divide_by_zero();
	__asm__ volatile("fld1");
	check_equal(interrupts, 2);
	__asm__ volatile("fninit");
}

/* The latch keeps IRQ13 up until port 0xf0 is written, whatever becomes of the error. */
static void latch_lasts_until_port_f0(void)
{
	interrupts = 0;
	write_f0 = false;
	divide_by_zero();
	__asm__ volatile("fwait");
	check_equal(interrupts, 1);
	divide_by_zero();
	outb(0xf0, 0); /* no edge can come before this */
	check_equal(pending(), 0);
	__asm__ volatile("fninit");
	write_f0 = true;
	divide_by_zero();
	__asm__ volatile("fwait");
	check_equal(interrupts, 2);
}

static void divide_and_wait(void *p)
{
	divide_by_zero();
	__asm__ volatile("fwait");
}

static void with_ne_it_is_a_fault(void)
{
	interrupts = 0;
	WRITE_CR(0, READ_CR(0) | CR0_NE);
	check_fault(guarded(divide_and_wait, 0), 16, 0);
	__asm__ volatile("fninit");
	check_equal(interrupts, 0);
	WRITE_CR(0, READ_CR(0) & ~CR0_NE);
}

int guest_main(void)
{
	WRITE_CR(0, READ_CR(0) & ~(CR0_EM | CR0_TS | CR0_NE));
	handlers[VECTOR_PIC + IRQ] = on_irq13;
	start_pics();
	__asm__ volatile("sti");
	error_comes_as_irq13();
	latch_lasts_until_port_f0();
	with_ne_it_is_a_fault();
	return failures;
}
