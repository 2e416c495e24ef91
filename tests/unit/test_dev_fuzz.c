/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole legacy board under random accesses and random saved states. What
 * it checks: nothing crashes or loops (the sanitizers and the test's time limit
 * see to it), and a reset leads from anywhere back to the fresh state.
 */
#include "dev_board.h"

#include <stdlib.h>

#include "dev/pc/apic_bus.h"
#include "dev/pc/debugport.h"
#include "dev/pc/fw_cfg.h"
#include "dev/pc/gsi.h"
#include "dev/pc/hpet.h"
#include "dev/pc/i8042.h"
#include "dev/pc/ioapic.h"
#include "dev/pc/lapic.h"
#include "dev/pc/pic.h"
#include "dev/pc/pit.h"
#include "dev/pc/pm.h"
#include "dev/pc/rtc.h"
#include "dev/pc/uart.h"
#include "mem/memory.h"

#define CPUS 2
#define DEVICES 16

static struct board b;
static struct guest_memory memory;
static struct apic_bus bus;
static struct lapic *lapic[CPUS];
static struct audio *audio;
static struct pic *pic;
static struct i8042 *i8042;
static struct uart *uart;
static struct pm *pm;
static struct device *devices[DEVICES];
static unsigned device_count;
static uint64_t seed;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull >> 8;
}

static unsigned below(unsigned n)
{
	return (unsigned)(rnd() % n);
}

static uint64_t tsc_delay(void *opaque, uint64_t tsc)
{
	uint64_t now = vclock_now(&b.clock) * 3;
	return tsc > now ? (tsc - now) / 3 + 1 : 0;
}

static int extint(void *opaque)
{
	return pic_acknowledge(pic);
}

static void on_write(void *opaque, const uint8_t *data, size_t length)
{
}

static void *keep(void *device)
{
	assert_non_null(device);
	devices[device_count++] = device;
	return device;
}

static void make_interrupts(void)
{
	for (unsigned i = 0; i < CPUS; i++) {
		const struct lapic_config config = {
			.id = i, .bsp = !i, .x2apic = true, .bus = &bus, .clock = &b.clock, .extint = extint,
			.tsc_delay = tsc_delay,
		};
		lapic[i] = keep(lapic_create(&config, NULL));
	}
	const struct pic_config pic_config = { .lock = &b.lock, .ports = &b.ports, .intr = lapic_lint(lapic[0], 0) };
	pic = keep(pic_create(&pic_config, NULL));
	const struct ioapic_config config = { .lock = &b.lock, .mmio = &b.mmio, .sink = apic_bus_sink(&bus) };
	struct ioapic *ioapic = keep(ioapic_create(&config, NULL));
	bus.eoi = ioapic_eoi;
	bus.eoi_opaque = ioapic;
	struct gsi_config wires = { .lock = &b.lock };
	for (unsigned i = 0; i < 16; i++)
		wires.pic[i] = pic_line(pic, i);
	for (unsigned i = 0; i < GSI_COUNT; i++)
		wires.ioapic[i] = ioapic_line(ioapic, i);
	keep(gsi_create(&wires, NULL));
}

static void make_others(struct gsi *gsi)
{
	struct hpet_config hpet_config = {
		.lock = &b.lock, .mmio = &b.mmio, .clock = &b.clock, .irq0 = gsi_line(gsi, 0), .irq8 = gsi_line(gsi, 8),
	};
	for (unsigned i = 20; i < 24; i++)
		hpet_config.pins[i] = gsi_line(gsi, i);
	struct hpet *hpet = keep(hpet_create(&hpet_config, NULL));
	const struct pit_config pit_config = {
		.lock = &b.lock, .ports = &b.ports, .clock = &b.clock, .irq = hpet_legacy_input(hpet, HPET_LEGACY_PIT),
		.audio = audio,
	};
	keep(pit_create(&pit_config, NULL));
	const struct rtc_config rtc_config = {
		.lock = &b.lock, .ports = &b.ports, .clock = &b.clock, .irq = hpet_legacy_input(hpet, HPET_LEGACY_RTC),
		.epoch = 1700000000,
	};
	keep(rtc_create(&rtc_config, NULL));
	const struct pm_config pm_config = {
		.lock = &b.lock, .ports = &b.ports, .sci = gsi_line(gsi, 9), .clock = &b.clock,
	};
	pm = keep(pm_create(&pm_config, NULL));
	const struct i8042_config i8042_config = {
		.lock = &b.lock, .ports = &b.ports, .clock = &b.clock, .keyboard_irq = gsi_line(gsi, 1),
		.mouse_irq = gsi_line(gsi, 12),
	};
	i8042 = keep(i8042_create(&i8042_config, NULL));
	const struct uart_config uart_config = {
		.name = "uart0", .lock = &b.lock, .ports = &b.ports, .base = 0x3f8, .irq = gsi_line(gsi, 4),
		.clock = &b.clock, .output = { on_write, NULL },
	};
	uart = keep(uart_create(&uart_config, NULL));
	const struct fw_cfg_config fw_config = { .lock = &b.lock, .ports = &b.ports, .memory = &memory };
	struct fw_cfg *fw_cfg = keep(fw_cfg_create(&fw_config, NULL));
	assert_int_equal(fw_cfg_add_file(fw_cfg, "a", "b", 1, NULL), 0);
	const struct debugport_config debug_config = { .lock = &b.lock, .ports = &b.ports };
	keep(debugport_create(&debug_config, NULL));
}

static int setup(void **state)
{
	board_init(&b);
	audio = audio_open("wav:/dev/null", NULL);
	assert_non_null(audio);
	assert_int_equal(memory_init(&memory, 2 << 20, NULL), 0);
	bus.count = device_count = 0;
	seed = 0x9e3779b97f4a7c15ull;
	make_interrupts();
	make_others((struct gsi *)devices[device_count - 1]);
	for (unsigned i = 0; i < device_count; i++)
		device_reset(devices[i]);
	return 0;
}

static int teardown(void **state)
{
	while (device_count)
		board_end(devices[--device_count]);
	audio_close(audio, NULL);
	memory_destroy(&memory);
	board_destroy(&b);
	return 0;
}

static const uint16_t ports[] = {
	0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x60, 0x64, 0x92, 0x70, 0x71, 0x72, 0x73,
	0xb2, 0xb3, 0x600, 0x601, 0x602, 0x604, 0x605, 0x608, 0x60c, 0x60e, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd,
	0x3fe, 0x3ff, 0x510, 0x511, 0x514, 0x518, 0xe9, 0x402, 0x80, 0xf4,
};

static uint64_t value(void)
{
	return below(2) ? rnd() : BIT64(below(64));
}

static void access_device(void)
{
	static const uint64_t bases[] = { IOAPIC_BASE, HPET_BASE, HPET_BASE + 0x100 };
	unsigned size = 1u << below(4), cpu = below(CPUS);
	uint64_t out, at = bases[below(3)] + (below(4) ? below(0x50) & ~3u : below(0x200));
	struct intc intc = lapic_intc(lapic[cpu]);
	switch (below(8)) {
	case 0: io_read(&b.ports, ports[below(ARRAY_SIZE(ports))], MIN(size, 4u)); break;
	case 1: case 2: io_write(&b.ports, ports[below(ARRAY_SIZE(ports))], value(), MIN(size, 4u)); break;
	case 3: io_read(&b.mmio, at, size); break;
	case 4: io_write(&b.mmio, at, value(), size); break;
	case 5: lapic_mmio_read(lapic[cpu], below(0x1000), size); break;
	case 6: lapic_mmio_write(lapic[cpu], below(0x40) << 4, value(), 4); break;
	default:
		if (below(2))
			intc.ops->read_msr(intc.opaque, 0x800 + below(0x40), &out);
		else
			intc.ops->write_msr(intc.opaque, below(8) ? 0x800 + below(0x40) : below(2) ? 0x1b : 0x6e0, value());
	}
}

static void outside_event(void)
{
	struct intc intc = lapic_intc(lapic[below(CPUS)]);
	switch (below(6)) {
	case 0: i8042_key(i8042, below(300), below(2)); break;
	case 1: i8042_mouse(i8042, (int)rnd(), (int)rnd(), (int)rnd(), (unsigned)rnd()); break;
	case 2: uart_receive(uart, (const uint8_t *)"paste", 5); break;
	case 3: pm_power_button(pm); break;
	case 4: pm_gpe(pm, below(64)); break;
	default:
		if (intc.ops->pending(intc.opaque))
			intc.ops->acknowledge(intc.opaque);
	}
}

static void run(unsigned steps)
{
	for (unsigned i = 0; i < steps; i++) {
		access_device();
		if (!below(4))
			outside_event();
		if (!below(8))
			board_step(&b, below(64) ? below(20000) : rnd() % NS_PER_SEC / 50);
	}
}

static void lines_down(void)
{
	for (unsigned i = 0; i < device_count; i++)
		device_reset(devices[i]);
}

static bool is_time(const char *name)
{
	return !strcmp(name, "overflow_tick");
}

/* All but what is kept, and what depends on the time. */
static void compare(const struct field *fields, const char *device, const void *a, const void *c)
{
	for (const struct field *f = fields; f->kind != FIELD_KIND_END; f++)
		for (uint32_t i = 0; !f->keep && !is_time(f->name) && i < f->count; i++) {
			uint32_t at = f->offset + i * f->width;
			if (f->kind == FIELD_KIND_STRUCT)
				compare(f->sub, device, (const char *)a + at, (const char *)c + at);
			else if (memcmp((const char *)a + at, (const char *)c + at, f->width))
				fail_msg("%s: %s is not what it is after a reset", device, f->name);
		}
}

/* Large enough for any device here. */
static char fresh[DEVICES][8192];

static void remember(const struct field *fields, void *to, const void *from)
{
	for (const struct field *f = fields; f->kind != FIELD_KIND_END; f++)
		assert_true(f->offset + f->count * f->width <= sizeof(fresh[0]));
	fields_copy(fields, to, from);
}

static void reset_leads_back(void **state)
{
	lines_down();
	for (unsigned i = 0; i < device_count; i++)
		remember(devices[i]->type->fields, fresh[i], devices[i]);
	for (unsigned round = 0; round < 30; round++) {
		run(5000);
		lines_down();
		lines_down(); /* the first may have left edges of falling and rising lines */
		for (unsigned i = 0; i < device_count; i++)
			compare(devices[i]->type->fields, devices[i]->name, fresh[i], devices[i]);
	}
}

static void scramble(const struct field *fields, void *object)
{
	for (const struct field *f = fields; f->kind != FIELD_KIND_END; f++)
		for (uint32_t i = 0; i < f->count; i++) {
			char *at = (char *)object + f->offset + i * f->width;
			uint64_t random = f->boolean ? below(2) : value();
			if (f->kind == FIELD_KIND_STRUCT)
				scramble(f->sub, at);
			else if (!below(24))
				memcpy(at, &random, f->width);
		}
}

static void loads_of_damaged_states(void **state)
{
	unsigned refused = 0, taken = 0;
	for (unsigned round = 0; round < 400; round++) {
		for (unsigned i = 0; i < device_count; i++) {
			struct device *device = devices[i];
			scramble(device->type->fields, device);
			if (!device->type->loaded)
				continue;
			int rc = device->type->loaded(device, NULL);
			refused += rc < 0;
			taken += rc == 0;
			if (rc < 0)
				device_reset(device);
		}
		run(100);
		lines_down();
	}
	assert_true(refused > 100 && taken > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reset_leads_back, setup, teardown),
		cmocka_unit_test_setup_teardown(loads_of_damaged_states, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
