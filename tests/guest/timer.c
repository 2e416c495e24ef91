/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The local APIC: its timer's modes, priorities, self-IPIs, x2APIC (SDM 3A, chapter 11). */
#include "guest.h"

#define LAPIC(offset) (*(volatile uint32_t *)(0xfee00000ull + (offset)))
enum { ID = 0x20, TPR = 0x80, PPR = 0xa0, EOI = 0xb0, SPURIOUS = 0xf0, ISR = 0x100, IRR = 0x200, ESR = 0x280, ICR = 0x300, LVT_TIMER = 0x320,
       INITIAL = 0x380, CURRENT = 0x390, DIVIDE = 0x3e0 };
enum { ONE_SHOT = 0, PERIODIC = 1u << 17, DEADLINE = 2u << 17, MASKED = 1u << 16 };
enum { VECTOR = 0x51, LOW_VECTOR = 0x31, HIGH_VECTOR = 0x91, MSR_APIC_BASE = 0x1b, MSR_DEADLINE = 0x6e0 };
#define LONG_TIME 20000000000ull /* cycles: some seconds */

static volatile unsigned count;
static volatile uint8_t order[8];
static bool x2apic;

static bool on_interrupt(struct frame *frame)
{
	order[count++ & 7] = (uint8_t)frame->vector;
	if (x2apic)
		wrmsr(0x80b, 0);
	else
		LAPIC(EOI) = 0;
	return true;
}

/* Interrupts on until there are n of them, or a time; then off. */
static unsigned wait(unsigned n, uint64_t cycles)
{
	uint64_t end = rdtsc() + cycles;
	__asm__ volatile("sti");
	while (count < n && rdtsc() < end)
		__asm__ volatile("pause");
	__asm__ volatile("cli");
	return count;
}

static void arm(uint32_t lvt, uint32_t initial)
{
	count = 0;
	LAPIC(DIVIDE) = 0xb; /* by 1 */
	LAPIC(LVT_TIMER) = lvt | VECTOR;
	LAPIC(INITIAL) = initial;
}

static void one_shot(void)
{
	arm(ONE_SHOT, 0xffffffff); /* not over before it is read, whatever the host does meanwhile */
	uint32_t a = LAPIC(CURRENT), b;
	while ((b = LAPIC(CURRENT)) == a)
		;
	check(b < a);
	arm(ONE_SHOT, 1000000);
	check(LAPIC(CURRENT) <= 1000000);
	check_equal(wait(1, LONG_TIME), 1);
	check_equal(LAPIC(CURRENT), 0);
	check_equal(wait(2, 20000000), 1);
	/* Masked: it counts and does not interrupt. */
	arm(ONE_SHOT | MASKED, 10000);
	while (LAPIC(CURRENT))
		;
	check_equal(wait(1, 10000000), 0);
	/* 0 stops it. */
	arm(ONE_SHOT, 0xffffffff);
	LAPIC(INITIAL) = 0;
	check_equal(LAPIC(CURRENT), 0);
	check_equal(wait(1, 10000000), 0);
	/* The handler may be woken from HLT. */
	arm(ONE_SHOT, 1000000);
	while (!count)
		__asm__ volatile("sti; hlt; cli");
	check_equal(count, 1);
}

static void periodic(void)
{
	arm(PERIODIC, 1000000);
	check(wait(5, LONG_TIME) >= 5);
	check(LAPIC(CURRENT) <= 1000000);
	LAPIC(INITIAL) = 0;
	wait(1000, 10000000);
	unsigned n = count;
	check_equal(wait(1000, 20000000), n);
}

/* The timer's count and the time at which it was read; once more when the host took the processor away in between. */
static uint32_t count_at(uint64_t *time)
{
	uint32_t current;
	uint64_t before;
	do {
		before = rdtsc();
		current = LAPIC(CURRENT);
		*time = rdtsc();
	} while (*time - before > 5000000);
	return current;
}

/* Counts in a time by two dividers are as the dividers are. */
static void divider(void)
{
	uint64_t ticks[2];
	for (unsigned i = 0; i < 2; i++) {
		LAPIC(LVT_TIMER) = ONE_SHOT | MASKED | VECTOR;
		LAPIC(DIVIDE) = i ? 0x3 : 0x1; /* by 16, by 4 */
		LAPIC(INITIAL) = 0xffffffff;
		uint64_t start, now;
		uint32_t first = count_at(&start);
		while (rdtsc() < start + 200000000)
			;
		uint32_t last = count_at(&now);
		ticks[i] = (uint64_t)(first - last) * 1000000 / ((now - start) / 1000);
	}
	LAPIC(INITIAL) = 0;
	check(ticks[1] * 3 < ticks[0] && ticks[0] < ticks[1] * 5);
}

static void tsc_deadline(void)
{
	if (!(cpuid(1, 0).c >> 24 & 1)) {
		print("no TSC deadline\n");
		return;
	}
	LAPIC(LVT_TIMER) = ONE_SHOT | VECTOR;
	wrmsr(MSR_DEADLINE, rdtsc() + 100000000); /* ignored in the other modes */
	check_equal(rdmsr(MSR_DEADLINE), 0);
	count = 0;
	LAPIC(LVT_TIMER) = DEADLINE | VECTOR;
	LAPIC(INITIAL) = 1000;
	check_equal(LAPIC(CURRENT), 0);
	check_equal(wait(1, 10000000), 0);
	uint64_t deadline = rdtsc() + 3000000;
	wrmsr(MSR_DEADLINE, deadline);
	check_equal(wait(1, LONG_TIME), 1);
	check(rdtsc() >= deadline);
	check_equal(rdmsr(MSR_DEADLINE), 0);
	check_equal(wait(2, 10000000), 1);
	/* In the past: at once. Far: it reads back; 0 disarms. */
	count = 0;
	wrmsr(MSR_DEADLINE, 1);
	check_equal(wait(1, LONG_TIME), 1);
	deadline = rdtsc() + LONG_TIME * 100;
	wrmsr(MSR_DEADLINE, deadline);
	check_equal(rdmsr(MSR_DEADLINE), deadline);
	do {
		wait(1, 0);
		count = 0;
		deadline = rdtsc() + 50000000;
		wrmsr(MSR_DEADLINE, deadline);
		wrmsr(MSR_DEADLINE, 0);
	} while (rdtsc() >= deadline); /* too late: it may have come */
	check_equal(wait(1, 100000000), 0);
	LAPIC(LVT_TIMER) = ONE_SHOT | MASKED | VECTOR;
}

static void self_ipi(uint32_t vector)
{
	if (x2apic)
		wrmsr(0x83f, vector);
	else
		LAPIC(ICR) = 0x40000 | vector;
	for (volatile int i = 0; i < 1000; i++)
		;
}

static bool requested(unsigned vector)
{
	return LAPIC(IRR + vector / 32 * 16) >> (vector & 31) & 1;
}

static volatile unsigned nested_isr;
static bool on_low(struct frame *frame)
{
	/* In service; a higher class gets through, the same does not. */
	nested_isr = LAPIC(ISR + LOW_VECTOR / 32 * 16) >> (LOW_VECTOR & 31) & 1;
	self_ipi(HIGH_VECTOR);
	self_ipi(LOW_VECTOR + 1);
	__asm__ volatile("sti; nop; nop; cli" ::: "memory");
	return on_interrupt(frame);
}

static void priorities(void)
{
	handlers[LOW_VECTOR + 1] = handlers[HIGH_VECTOR] = on_interrupt;
	handlers[LOW_VECTOR] = on_low;
	count = 0;
	self_ipi(LOW_VECTOR);
	check(requested(LOW_VECTOR));
	check_equal(wait(3, LONG_TIME), 3);
	check_equal(nested_isr, 1);
	check_equal(order[0], HIGH_VECTOR);
	check_equal(order[1], LOW_VECTOR);
	check_equal(order[2], LOW_VECTOR + 1);
	/* The higher of two that wait comes first. */
	handlers[LOW_VECTOR] = on_interrupt;
	count = 0;
	self_ipi(LOW_VECTOR);
	self_ipi(HIGH_VECTOR);
	check_equal(wait(2, LONG_TIME), 2);
	check_equal(order[0], HIGH_VECTOR);
	/* TPR, and CR8 as its other name. */
	count = 0;
	LAPIC(TPR) = 0x50;
	uint64_t cr8;
	__asm__ volatile("movq %%cr8, %0" : "=r"(cr8));
	check_equal(cr8, 5);
	check_equal(LAPIC(PPR), 0x50);
	self_ipi(LOW_VECTOR);
	check_equal(wait(1, 10000000), 0);
	check(requested(LOW_VECTOR));
	self_ipi(HIGH_VECTOR);
	check_equal(wait(1, LONG_TIME), 1);
	__asm__ volatile("movq %0, %%cr8" ::"r"(0ull));
	check_equal(LAPIC(TPR), 0);
	check_equal(wait(2, LONG_TIME), 2);
	check_equal(order[1], LOW_VECTOR);
	/* A vector below 16 is an error. */
	LAPIC(ESR) = 0;
	self_ipi(5);
	LAPIC(ESR) = 0;
	check_equal(LAPIC(ESR) & 0x20, 0x20);
}

static void write_base(void *p) { wrmsr(MSR_APIC_BASE, (uint64_t)p); }
static void read_msr(void *p) { rdmsr((uint32_t)(uint64_t)p); }
static void write_msr(void *p) { wrmsr((uint32_t)(uint64_t)p, ~0ull); }

static void x2apic_mode(void)
{
	if (!(cpuid(1, 0).c >> 21 & 1)) {
		print("no x2APIC\n");
		return;
	}
	uint64_t base = rdmsr(MSR_APIC_BASE);
	check_fault(guarded(read_msr, (void *)0x802), VEC_GP, 0); /* not in xAPIC mode */
	check_fault(guarded(write_base, (void *)((base | 0x400) & ~0x800ull)), VEC_GP, 0);
	uint32_t id = LAPIC(ID) >> 24;
	wrmsr(MSR_APIC_BASE, base | 0xc00);
	x2apic = true;
	check_equal(rdmsr(0x802), id);
	count = 0;
	self_ipi(VECTOR);
	check_equal(wait(1, LONG_TIME), 1);
	wrmsr(0x830, (uint64_t)id << 32 | VECTOR); /* ICR, in one piece */
	check_equal(wait(2, LONG_TIME), 2);
	check_equal(rdmsr(0x80d), (id & ~0xfull) << 12 | 1u << (id & 15));
	wrmsr(0x832, VECTOR);
	wrmsr(0x83e, 0xb);
	wrmsr(0x838, 100000);
	check_equal(wait(3, LONG_TIME), 3);
	check_fault(guarded(write_msr, (void *)0x802), VEC_GP, 0);
	check_fault(guarded(write_msr, (void *)0x808), VEC_GP, 0);
	check_fault(guarded(write_msr, (void *)0x80b), VEC_GP, 0);
	check_fault(guarded(read_msr, (void *)0x80e), VEC_GP, 0);
	check_fault(guarded(read_msr, (void *)0x831), VEC_GP, 0);
	check_fault(guarded(write_base, (void *)base), VEC_GP, 0); /* not back to xAPIC in one step */
	wrmsr(MSR_APIC_BASE, base & ~0x800ull);
	wrmsr(MSR_APIC_BASE, base);
	x2apic = false;
	check_equal(LAPIC(ID) >> 24, id);
	check_equal(LAPIC(SPURIOUS) & 0x100, 0); /* disabled: as after a reset */
}

int guest_main(void)
{
	handlers[VECTOR] = on_interrupt;
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 0x800);
	LAPIC(SPURIOUS) = 0x1ff;
	LAPIC(TPR) = 0;
	one_shot();
	periodic();
	divider();
	tsc_deadline();
	priorities();
	x2apic_mode();
	return failures;
}
