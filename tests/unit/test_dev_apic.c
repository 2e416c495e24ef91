/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev_board.h"

#include <pthread.h>
#include <sched.h>

#include "dev/pc/apic_bus.h"
#include "dev/pc/ioapic.h"
#include "dev/pc/lapic.h"

#define CPUS 3

/* Offsets in the page. */
enum {
	TPR = 0x80, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0, SVR = 0xf0, IRR = 0x200, ESR = 0x280, ICR = 0x300,
	ICR2 = 0x310, LVT_TIMER = 0x320, LVT_LINT0 = 0x350, LVT_ERROR = 0x370, INITIAL = 0x380, CURRENT = 0x390,
	DIVIDE = 0x3e0,
};

static struct board b;
static struct apic_bus bus;
static struct lapic *lapic[CPUS];
static struct ioapic *ioapic;
static struct intc intc[CPUS];
static _Atomic unsigned signals[CPUS][8], argument[CPUS];
static uint64_t tsc_per_ns = 2;
static int pic_vector;

static void on_signal(void *opaque, enum cpu_signal signal, unsigned arg)
{
	unsigned cpu = (unsigned)(uintptr_t)opaque;
	signals[cpu][signal]++;
	argument[cpu] = arg;
}

static uint64_t guest_tsc(void *opaque)
{
	return vclock_now(&b.clock) * tsc_per_ns;
}

static uint64_t tsc_delay(void *opaque, uint64_t tsc)
{
	uint64_t now = guest_tsc(opaque);
	return tsc > now ? (tsc - now - 1) / tsc_per_ns + 1 : 0;
}

static int extint(void *opaque)
{
	return pic_vector;
}

static struct lapic *make_lapic(unsigned id, struct apic_bus *to, struct board *board)
{
	const struct lapic_config config = {
		.id = id, .bsp = id == 0, .x2apic = true, .bus = to, .clock = &board->clock,
		.pins = { on_signal, (void *)(uintptr_t)id }, .extint = extint,
		.tsc_delay = tsc_delay,
	};
	struct lapic *made = lapic_create(&config, NULL);
	assert_non_null(made);
	device_reset((struct device *)made);
	return made;
}

static uint32_t rd(unsigned cpu, unsigned offset)
{
	return (uint32_t)lapic_mmio_read(lapic[cpu], offset, 4);
}

static void wr(unsigned cpu, unsigned offset, uint32_t value)
{
	lapic_mmio_write(lapic[cpu], offset, value, 4);
}

static int setup(void **state)
{
	board_init(&b);
	memset(&bus, 0, sizeof(bus));
	memset(signals, 0, sizeof(signals));
	for (unsigned i = 0; i < CPUS; i++) {
		lapic[i] = make_lapic(i, &bus, &b);
		intc[i] = lapic_intc(lapic[i]);
		wr(i, SVR, 0x1ff);
		wr(i, LDR, 0x01000000u << i);
	}
	const struct ioapic_config config = { .lock = &b.lock, .mmio = &b.mmio, .id = 3, .sink = apic_bus_sink(&bus) };
	ioapic = ioapic_create(&config, NULL);
	assert_non_null(ioapic);
	device_reset((struct device *)ioapic);
	bus.eoi = ioapic_eoi;
	bus.eoi_opaque = ioapic;
	return 0;
}

static int teardown(void **state)
{
	for (unsigned i = 0; i < CPUS; i++)
		board_end(lapic[i]);
	board_end(ioapic);
	board_destroy(&b);
	return 0;
}

static bool pending(unsigned cpu) { return intc[cpu].ops->pending(intc[cpu].opaque); }
static int ack(unsigned cpu) { return intc[cpu].ops->acknowledge(intc[cpu].opaque); }

static int wrmsr(unsigned cpu, uint32_t msr, uint64_t value)
{
	return intc[cpu].ops->write_msr(intc[cpu].opaque, msr, value);
}

static int rdmsr(unsigned cpu, uint32_t msr, uint64_t *value)
{
	return intc[cpu].ops->read_msr(intc[cpu].opaque, msr, value);
}

static void redirect(unsigned pin, uint64_t rte)
{
	io_write(&b.mmio, IOAPIC_BASE, 0x11 + 2 * pin, 4);
	io_write(&b.mmio, IOAPIC_BASE + 0x10, rte >> 32, 4);
	io_write(&b.mmio, IOAPIC_BASE, 0x10 + 2 * pin, 4);
	io_write(&b.mmio, IOAPIC_BASE + 0x10, rte, 4);
}

static uint32_t redirection(unsigned pin)
{
	io_write(&b.mmio, IOAPIC_BASE, 0x10 + 2 * pin, 4);
	return (uint32_t)io_read(&b.mmio, IOAPIC_BASE + 0x10, 4);
}

static void set_pin(unsigned pin, int level)
{
	struct irq_line line = ioapic_line(ioapic, pin);
	irq_set(&line, level);
}

static void ipi_to_one_and_priorities(void **state)
{
	wr(0, ICR2, 1u << 24);
	wr(0, ICR, 0x4041);
	assert_false(pending(0));
	assert_true(pending(1));
	assert_int_equal(signals[1][CPU_SIGNAL_INTR], 1);
	wr(0, ICR, 0x4052);
	assert_int_equal(rd(1, IRR + 0x20), 1u << 1 | 1u << 18);
	assert_int_equal(ack(1), 0x52);
	assert_false(pending(1)); /* 0x41 is below what is in service */
	assert_int_equal(ack(1), -1);
	assert_int_equal(rd(1, PPR), 0x50);
	wr(1, EOI, 0);
	assert_true(pending(1));
	wr(1, TPR, 0x40);
	assert_false(pending(1));
	intc[1].ops->set_cr8(intc[1].opaque, 3);
	assert_int_equal(rd(1, TPR), 0x30);
	assert_int_equal(intc[1].ops->get_cr8(intc[1].opaque), 3);
	assert_int_equal(ack(1), 0x41);
}

static void ipi_shorthands_and_logical(void **state)
{
	wr(0, ICR, 0x44041); /* self */
	assert_true(pending(0) && !pending(1) && !pending(2));
	assert_int_equal(ack(0), 0x41);
	wr(0, EOI, 0);
	wr(0, ICR, 0xc4042); /* all but self */
	assert_true(!pending(0) && pending(1) && pending(2));
	assert_int_equal(ack(1), 0x42);
	assert_int_equal(ack(2), 0x42);
	wr(1, EOI, 0);
	wr(2, EOI, 0);
	wr(0, ICR, 0x84043); /* all */
	for (unsigned i = 0; i < CPUS; i++) {
		assert_int_equal(ack(i), 0x43);
		wr(i, EOI, 0);
	}
	wr(0, ICR2, 0x05u << 24); /* logical, flat: CPUs 0 and 2 */
	wr(0, ICR, 0x4844);
	assert_true(pending(0) && !pending(1) && pending(2));
	assert_int_equal(ack(0), 0x44);
	assert_int_equal(ack(2), 0x44);
	/* Cluster model: cluster 1, members 1 and 2. */
	for (unsigned i = 0; i < CPUS; i++) {
		wr(i, EOI, 0);
		wr(i, DFR, 0x0fffffff);
		wr(i, LDR, (i < 2 ? 0x10u : 0x20u) << 24 | 0x01000000u << (i & 1));
	}
	wr(0, ICR2, 0x13u << 24);
	wr(0, ICR, 0x4845);
	assert_true(pending(0) && pending(1) && !pending(2));
}

static void lowest_priority_takes_the_idlest(void **state)
{
	wr(0, TPR, 0x20);
	wr(1, TPR, 0x10);
	wr(2, TPR, 0x30);
	wr(0, ICR2, 0x07u << 24);
	wr(0, ICR, 0x4941);
	assert_true(!pending(0) && pending(1) && !pending(2));
	assert_int_equal(ack(1), 0x41);
	wr(0, ICR, 0x4942);
	assert_true(pending(0)); /* CPU 1 is busy now */
	/* Ties go round. */
	for (unsigned i = 0; i < CPUS; i++) {
		while (ack(i) >= 0)
			;
		wr(i, EOI, 0);
		wr(i, EOI, 0);
		wr(i, TPR, 0);
	}
	unsigned got[CPUS] = { 0 };
	for (unsigned n = 0; n < 6; n++) {
		wr(0, ICR, 0x4943);
		for (unsigned i = 0; i < CPUS; i++)
			if (ack(i) >= 0) {
				got[i]++;
				wr(i, EOI, 0);
			}
	}
	assert_true(got[0] == 2 && got[1] == 2 && got[2] == 2);
}

static void init_sipi_nmi(void **state)
{
	wr(0, ICR2, 1u << 24);
	wr(0, ICR, 0xc500); /* INIT, level, assert */
	assert_int_equal(signals[1][CPU_SIGNAL_INIT], 1);
	wr(0, ICR, 0x8500); /* de-assert */
	assert_int_equal(signals[1][CPU_SIGNAL_INIT], 1);
	intc[1].ops->init(intc[1].opaque);
	assert_int_equal(rd(1, SVR), 0xff);
	assert_int_equal(rd(1, LVT_LINT0), 0x10000);
	wr(0, ICR, 0x469a); /* SIPI */
	assert_int_equal(argument[1], 0x9a);
	assert_int_equal(signals[1][CPU_SIGNAL_SIPI], 1);
	wr(0, ICR, 0xc4400); /* NMI to the others */
	assert_int_equal(signals[0][CPU_SIGNAL_NMI], 0);
	assert_int_equal(signals[1][CPU_SIGNAL_NMI], 1);
	assert_int_equal(signals[2][CPU_SIGNAL_NMI], 1);
	wr(0, ICR, 0x4200); /* SMI: ignored */
	assert_int_equal(signals[1][CPU_SIGNAL_SMI], 0);
}

static void errors_are_noted(void **state)
{
	wr(0, LVT_ERROR, 0x0fe);
	wr(0, ICR2, 1u << 24);
	wr(0, ICR, 0x4005);
	assert_false(pending(1));
	assert_int_equal(ack(0), 0xfe);
	assert_int_equal(rd(0, ESR), 0);
	wr(0, ESR, 0);
	assert_int_equal(rd(0, ESR), 0x20);
	wr(0, ESR, 0);
	assert_int_equal(rd(0, ESR), 0);
	rd(0, 0x3f0);
	wr(0, ESR, 0);
	assert_int_equal(rd(0, ESR), 0x80);
	struct msi_sink sink = apic_bus_sink(&bus);
	msi_send(&sink, 0xfee00000, 3);
	wr(0, ESR, 0);
	assert_int_equal(rd(0, ESR), 0x40);
	wr(0, LVT_ERROR, 0x00b); /* an illegal vector for the error itself must not loop */
	wr(0, ICR, 0x4005);
	wr(0, ESR, 0);
	assert_int_equal(rd(0, ESR), 0x60);
}

static void timer_one_shot_and_periodic(void **state)
{
	wr(0, DIVIDE, 0x3); /* by 16 */
	wr(0, LVT_TIMER, 0x40);
	wr(0, INITIAL, 1000);
	board_step(&b, 15999);
	assert_false(pending(0));
	assert_int_equal(rd(0, CURRENT), 1);
	board_step(&b, 1);
	assert_int_equal(ack(0), 0x40);
	wr(0, EOI, 0);
	assert_int_equal(rd(0, CURRENT), 0);
	board_step(&b, 1 * MS);
	assert_false(pending(0));
	wr(0, DIVIDE, 0xb); /* by 1 */
	wr(0, LVT_TIMER, 0x20041);
	wr(0, INITIAL, 100000);
	for (unsigned i = 0; i < 5; i++) {
		board_step(&b, 99999);
		assert_false(pending(0));
		board_step(&b, 1);
		assert_int_equal(ack(0), 0x41);
		wr(0, EOI, 0);
	}
	board_step(&b, 30000);
	assert_int_equal(rd(0, CURRENT), 70000);
	wr(0, DIVIDE, 0x0); /* by 2: what is left takes twice as long */
	assert_int_equal(rd(0, CURRENT), 70000);
	board_step(&b, 139999);
	assert_false(pending(0));
	board_step(&b, 1);
	assert_true(pending(0));
	assert_int_equal(ack(0), 0x41);
	wr(0, EOI, 0);
	wr(0, LVT_TIMER, 0x30041); /* masked: it counts in silence */
	board_step(&b, 1 * MS);
	assert_false(pending(0));
	wr(0, LVT_TIMER, 0x20041);
	board_step(&b, 200000);
	assert_true(pending(0));
	wr(0, INITIAL, 0);
	ack(0);
	wr(0, EOI, 0);
	board_step(&b, 10 * MS);
	assert_false(pending(0));
	wr(0, INITIAL, 10);
	wr(0, LVT_TIMER, 0x60041); /* the reserved mode: nothing counts, nothing fires again and again */
	board_step(&b, 10 * MS);
	assert_false(pending(0));
}

static void timer_tsc_deadline(void **state)
{
	uint64_t value;
	board_step(&b, 1000);
	assert_int_equal(wrmsr(0, 0x6e0, 1), 0); /* not in this mode: ignored */
	assert_int_equal(rdmsr(0, 0x6e0, &value), 0);
	assert_int_equal(value, 0);
	wr(0, LVT_TIMER, 0x40040);
	wr(0, INITIAL, 50); /* ignored in this mode */
	assert_int_equal(rd(0, INITIAL), 0);
	wrmsr(0, 0x6e0, 3001); /* at 1500.5 ns */
	rdmsr(0, 0x6e0, &value);
	assert_int_equal(value, 3001);
	board_step(&b, 500);
	assert_false(pending(0));
	board_step(&b, 1);
	assert_int_equal(ack(0), 0x40);
	wr(0, EOI, 0);
	rdmsr(0, 0x6e0, &value);
	assert_int_equal(value, 0);
	wrmsr(0, 0x6e0, 5); /* the past: at once */
	assert_int_equal(ack(0), 0x40);
	wr(0, EOI, 0);
	wrmsr(0, 0x6e0, UINT64_MAX);
	board_step(&b, 1000 * MS);
	assert_false(pending(0));
	wrmsr(0, 0x6e0, guest_tsc(NULL) + 100);
	wr(0, LVT_TIMER, 0x40); /* leaving the mode disarms */
	board_step(&b, 1 * MS);
	assert_false(pending(0));
}

static void x2apic_mode(void **state)
{
	uint64_t value;
	assert_int_equal(rdmsr(1, 0x802, &value), -1); /* xAPIC mode */
	assert_int_equal(intc[1].ops->mmio_base(intc[1].opaque), LAPIC_BASE);
	assert_int_equal(wrmsr(1, 0x1b, LAPIC_BASE | 0x400), -1); /* EXTD without EN */
	assert_int_equal(wrmsr(1, 0x1b, LAPIC_BASE | 0xc01), -1); /* reserved bit */
	assert_int_equal(wrmsr(1, 0x1b, LAPIC_BASE | 0xc00), 0);
	assert_true(intc[1].ops->mmio_base(intc[1].opaque) == UINT64_MAX);
	assert_int_equal(wrmsr(1, 0x1b, LAPIC_BASE | 0x800), -1); /* no way back but through disabled */
	assert_int_equal(rdmsr(1, 0x802, &value), 0);
	assert_int_equal(value, 1);
	assert_int_equal(rdmsr(1, 0x80d, &value), 0);
	assert_int_equal(value, 2);
	assert_int_equal(wrmsr(1, 0x80d, 0), -1);
	assert_int_equal(rdmsr(1, 0x80e, &value), -1);
	assert_int_equal(rdmsr(1, 0x80b, &value), -1);
	assert_int_equal(wrmsr(1, 0x80b, 1), -1);
	assert_int_equal(wrmsr(1, 0x808, 0x100), -1);
	assert_int_equal(wrmsr(1, 0x80f, 0x1ff), 0);
	assert_int_equal(wrmsr(1, 0x83f, 0x55), 0); /* self IPI */
	assert_int_equal(ack(1), 0x55);
	assert_int_equal(wrmsr(1, 0x80b, 0), 0);
	assert_int_equal(wrmsr(1, 0x830, 2ull << 32 | 0x4056), 0);
	assert_int_equal(ack(2), 0x56);
	assert_int_equal(wrmsr(1, 0x830, 0x3ull << 32 | 0x4857), 0); /* logical, cluster 0: itself by its bit */
	assert_int_equal(ack(1), 0x57);
	assert_int_equal(rdmsr(1, 0x830, &value), 0);
	assert_int_equal(value, 0x3ull << 32 | 0x4857);
	assert_int_equal(wrmsr(1, 0x1b, LAPIC_BASE), 0);
	assert_false(lapic_enabled(lapic[1]));
	assert_int_equal(wrmsr(1, 0x1b, LAPIC_BASE | 0xc00), -1); /* not from disabled */
	assert_int_equal(wrmsr(1, 0x1b, 0xfe000000ull | 0x800), 0);
	assert_int_equal(intc[1].ops->mmio_base(intc[1].opaque), 0xfe000000);
	assert_int_equal(rd(1, SVR), 0xff);
}

static void local_inputs(void **state)
{
	struct irq_line lint0 = lapic_lint(lapic[0], 0), lint1 = lapic_lint(lapic[0], 1);
	pic_vector = 0x31;
	irq_set(&lint0, 1);
	assert_false(pending(0)); /* masked */
	lapic_virtual_wire(lapic[0]);
	assert_true(pending(0));
	assert_int_equal(ack(0), 0x31);
	irq_set(&lint0, 0);
	assert_false(pending(0));
	irq_set(&lint1, 1);
	assert_int_equal(signals[0][CPU_SIGNAL_NMI], 1);
	irq_set(&lint1, 0);
	/* Level-triggered fixed: again after its EOI. */
	wr(0, LVT_LINT0, 0x8060);
	irq_set(&lint0, 1);
	assert_int_equal(rd(0, LVT_LINT0), 0xc060);
	assert_int_equal(ack(0), 0x60);
	assert_false(pending(0));
	wr(0, EOI, 0);
	assert_int_equal(ack(0), 0x60);
	irq_set(&lint0, 0);
	wr(0, EOI, 0);
	assert_false(pending(0));
	assert_int_equal(rd(0, LVT_LINT0), 0x8060);
	/* With the APIC disabled the pins are INTR and NMI. */
	assert_int_equal(wrmsr(0, 0x1b, LAPIC_BASE | 0x100), 0);
	irq_set(&lint0, 1);
	assert_int_equal(ack(0), 0x31);
	irq_set(&lint1, 1);
	assert_int_equal(signals[0][CPU_SIGNAL_NMI], 2);
}

static void software_disable_masks(void **state)
{
	wr(0, LVT_TIMER, 0x40);
	wr(0, SVR, 0xff);
	assert_int_equal(rd(0, LVT_TIMER), 0x10040);
	wr(0, LVT_TIMER, 0x41);
	assert_int_equal(rd(0, LVT_TIMER), 0x10041);
	wr(1, ICR2, 0);
	wr(1, ICR, 0x4045);
	assert_false(pending(0));
	wr(1, ICR, 0x4400);
	assert_int_equal(signals[0][CPU_SIGNAL_NMI], 1); /* NMI still comes */
}

static void ioapic_edge(void **state)
{
	redirect(4, 1ull << 56 | 0x34);
	set_pin(4, 1);
	assert_int_equal(ack(1), 0x34);
	set_pin(4, 1);
	assert_false(pending(1));
	set_pin(4, 0);
	set_pin(4, 1);
	assert_false(pending(1)); /* its vector is in service */
	wr(1, EOI, 0);
	assert_int_equal(ack(1), 0x34);
	wr(1, EOI, 0);
	redirect(4, 1ull << 56 | 0x10034);
	set_pin(4, 0);
	set_pin(4, 1);
	redirect(4, 1ull << 56 | 0x34); /* an edge on a masked pin is lost */
	assert_false(pending(1));
}

static void ioapic_level_comes_again_after_eoi(void **state)
{
	redirect(16, 2ull << 56 | 0x8051);
	set_pin(16, 1);
	assert_int_equal(redirection(16), 0xc051);
	assert_int_equal(ack(2), 0x51);
	wr(2, EOI, 0);
	assert_int_equal(redirection(16), 0xc051); /* sent again */
	assert_int_equal(ack(2), 0x51);
	set_pin(16, 0);
	wr(2, EOI, 0);
	assert_int_equal(redirection(16), 0x8051);
	assert_false(pending(2));
	set_pin(16, 1);
	assert_int_equal(ack(2), 0x51);
	redirect(16, 2ull << 56 | 0x18051);
	set_pin(16, 0);
	wr(2, EOI, 0);
	/* The EOI register does the same without a local APIC. */
	redirect(16, 2ull << 56 | 0x8051);
	set_pin(16, 1);
	set_pin(16, 0);
	io_write(&b.mmio, IOAPIC_BASE + 0x40, 0x51, 4);
	assert_int_equal(redirection(16), 0x8051);
	io_write(&b.mmio, IOAPIC_BASE, 1, 4);
	assert_int_equal(io_read(&b.mmio, IOAPIC_BASE + 0x10, 4), 0x170020);
	io_write(&b.mmio, IOAPIC_BASE, 0, 4);
	assert_int_equal(io_read(&b.mmio, IOAPIC_BASE + 0x10, 4), 3u << 24);
}

static void ioapic_other_modes(void **state)
{
	redirect(5, 0x06ull << 56 | 0x0952); /* lowest priority among CPUs 1 and 2, logical */
	wr(1, TPR, 0x20);
	set_pin(5, 1);
	assert_true(!pending(0) && !pending(1) && pending(2));
	redirect(6, 0x400); /* NMI to CPU 0 */
	set_pin(6, 1);
	assert_int_equal(signals[0][CPU_SIGNAL_NMI], 1);
	redirect(0, 0x700); /* ExtINT to CPU 0 */
	pic_vector = 0x77;
	set_pin(0, 1);
	assert_true(pending(0));
	assert_int_equal(ack(0), 0x77);
	assert_false(pending(0));
}

static void msi(void **state)
{
	struct msi_sink sink = apic_bus_sink(&bus);
	msi_send(&sink, 0xfee01000, 0x61);
	assert_int_equal(ack(1), 0x61);
	msi_send(&sink, 0xfee06004, 0x4062); /* logical: CPUs 1 and 2; 1 has 0x61 in service */
	assert_true(!pending(0) && pending(2));
	msi_send(&sink, 0xfeeff000, 0x71); /* physical broadcast */
	assert_true(pending(0) && pending(1) && pending(2));
	unsigned before = signals[0][CPU_SIGNAL_INTR];
	msi_send(&sink, 0xfed00000, 0x71); /* not ours */
	assert_int_equal(signals[0][CPU_SIGNAL_INTR], before);
}

#define ROUNDS 20000

/* Waits for the vector's turn, ends it, answers with an IPI; the level-triggered pin goes up and down between. */
static void *player(void *opaque)
{
	unsigned cpu = (unsigned)(uintptr_t)opaque, seen = 0;
	while (seen < ROUNDS) {
		int vector = pending(cpu) ? ack(cpu) : -1;
		if (vector < 0) {
			sched_yield();
			continue;
		}
		if (vector == 0x51)
			set_pin(16, 0);
		wr(cpu, EOI, 0);
		if (vector != 0x60)
			continue;
		seen++;
		if (cpu == 1)
			set_pin(16, 1);
		wr(cpu, ICR2, (1 - cpu) << 24);
		wr(cpu, ICR, 0x4060);
	}
	return NULL;
}

static void no_interrupt_is_lost_between_threads(void **state)
{
	pthread_t thread[2];
	redirect(16, 0x8051); /* level, to CPU 0 */
	wr(1, ICR2, 0);
	wr(1, ICR, 0x4060);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, player, (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_true(signals[0][CPU_SIGNAL_INTR] >= ROUNDS);
	assert_true(pending(0)); /* the last answer */
}

static void state_survives_a_restore(void **state)
{
	struct board other;
	struct apic_bus elsewhere = { .count = 0 };
	board_init(&other);
	struct lapic *copy = make_lapic(0, &elsewhere, &other);
	struct intc i = lapic_intc(copy);
	wr(0, DIVIDE, 0xb);
	wr(0, LVT_TIMER, 0x20041);
	wr(0, INITIAL, 100000);
	wr(0, ICR, 0x44052);
	assert_int_equal(ack(0), 0x52);
	board_step(&b, 50000);
	other.now = b.now;
	assert_int_equal(board_restore(copy, lapic[0]), 0);
	assert_int_equal(lapic_mmio_read(copy, CURRENT, 4), 50000);
	board_step(&other, 50000);
	assert_int_equal(lapic_mmio_read(copy, IRR + 0x20, 4), 2);
	assert_false(i.ops->pending(i.opaque));
	lapic_mmio_write(copy, EOI, 0, 4);
	assert_int_equal(i.ops->acknowledge(i.opaque), 0x41);
	board_end(copy);
	board_destroy(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ipi_to_one_and_priorities, setup, teardown),
		cmocka_unit_test_setup_teardown(ipi_shorthands_and_logical, setup, teardown),
		cmocka_unit_test_setup_teardown(lowest_priority_takes_the_idlest, setup, teardown),
		cmocka_unit_test_setup_teardown(init_sipi_nmi, setup, teardown),
		cmocka_unit_test_setup_teardown(errors_are_noted, setup, teardown),
		cmocka_unit_test_setup_teardown(timer_one_shot_and_periodic, setup, teardown),
		cmocka_unit_test_setup_teardown(timer_tsc_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(x2apic_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(local_inputs, setup, teardown),
		cmocka_unit_test_setup_teardown(software_disable_masks, setup, teardown),
		cmocka_unit_test_setup_teardown(ioapic_edge, setup, teardown),
		cmocka_unit_test_setup_teardown(ioapic_level_comes_again_after_eoi, setup, teardown),
		cmocka_unit_test_setup_teardown(ioapic_other_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(msi, setup, teardown),
		cmocka_unit_test_setup_teardown(no_interrupt_is_lost_between_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(state_survives_a_restore, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
