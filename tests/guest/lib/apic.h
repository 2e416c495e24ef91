/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef APIC_H
#define APIC_H

/* The local APIC in xAPIC mode: its timer as a source of interrupts at any point, and IPIs (SDM 3A, chapter 11). */
#include <stdint.h>

#define LAPIC(offset) (*(volatile uint32_t *)(uintptr_t)(0xfee00000u + (offset)))
enum { TIMER_VECTOR = 0x51, IPI_VECTOR = 0x60 };

static inline void apic_on(void)
{
	uint32_t lo, hi;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(0x1b));
	__asm__ volatile("wrmsr" ::"c"(0x1b), "a"(lo | 0x800), "d"(hi));
	LAPIC(0xf0) = 0x1ff;
	LAPIC(0x80) = 0;
	LAPIC(0x3e0) = 0xb; /* divide by 1 */
	LAPIC(0x320) = TIMER_VECTOR;
}

static inline void apic_eoi(void)
{
	LAPIC(0xb0) = 0;
}

/* One interrupt after this many ticks of the timer (a nanosecond each, about). */
static inline void timer_once(uint32_t ticks)
{
	LAPIC(0x380) = ticks;
}

static inline void timer_off(void)
{
	LAPIC(0x380) = 0;
}

#endif
