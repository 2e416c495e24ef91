/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/pc/debugport.h"
#include "dev/pc/ferr.h"
#include "dev/pc/fw_cfg.h"
#include "dev/pc/gsi.h"
#include "dev/pc/hpet.h"
#include "dev/pc/i8042.h"
#include "dev/pc/i8237.h"
#include "dev/pc/ioapic.h"
#include "dev/pc/lapic.h"
#include "dev/pc/parallel.h"
#include "dev/pc/pic.h"
#include "dev/pc/pit.h"
#include "dev/pc/pm.h"
#include "dev/pc/rtc.h"
#include "dev/pc/uart.h"
#include "dev/pci/i440fx.h"
#include "dev/pci/piix3.h"
#include "dev/pci/piix4_pm.h"
#include "host/time.h"
#include "vm/machine_parts.h"

/*
 * The parts list of the PC. The order is that of the save file, and the order
 * of gsi_line calls is part of it: new devices come last.
 */

/* Every device's struct begins with its struct device. part: NULL when making it failed. */
static int add(struct machine *m, void *part)
{
	if (!part)
		return -1;
	machine_add_device(m, part);
	return 0;
}

static int acknowledge_pic(void *opaque)
{
	struct machine *m = opaque;
	return pic_acknowledge(m->pic);
}

static uint64_t tsc_delay(void *opaque, uint64_t tsc)
{
	return cpu_tsc_delay(opaque, tsc);
}

static unsigned physical_bits(struct cpu *c)
{
	uint32_t out[4];
	cpu_cpuid(c, 0x80000008, 0, out);
	return out[0] & 0xff;
}

static int add_lapics(struct machine *m, struct error *err)
{
	for (unsigned i = 0; i < m->cpu_count; i++) {
		struct cpu *c = m->cpus[i];
		struct cpu_pins pins = cpu_pins_template;
		pins.opaque = c;
		const struct lapic_config config = {
			.id = i, .bsp = i == 0, .x2apic = cpu_has(c, FEATURE_X2APIC), .phys_bits = physical_bits(c), .bus = &m->apic_bus,
			.clock = &m->clock, .pins = pins, .extint = acknowledge_pic, .extint_opaque = m,
			.tsc_delay = cpu_has(c, FEATURE_TSCDEADLINE) ? tsc_delay : NULL, .tsc_opaque = c,
		};
		m->lapics[i] = lapic_create(&config, err);
		if (add(m, m->lapics[i]) < 0)
			return -1;
		c->intc = lapic_intc(m->lapics[i]);
	}
	return 0;
}

static int add_interrupt_controllers(struct machine *m, struct error *err)
{
	const struct pic_config pic = { .lock = &m->board_lock, .ports = &m->ports, .intr = lapic_lint(m->lapics[0], 0) };
	m->pic = pic_create(&pic, err);
	if (add(m, m->pic) < 0)
		return -1;
	const struct ioapic_config ioapic = { .lock = &m->board_lock, .mmio = &m->mmio, .sink = apic_bus_sink(&m->apic_bus) };
	m->ioapic = ioapic_create(&ioapic, err);
	if (add(m, m->ioapic) < 0)
		return -1;
	m->apic_bus.eoi = ioapic_eoi;
	m->apic_bus.eoi_opaque = m->ioapic;
	struct gsi_config gsi = { .lock = &m->board_lock };
	for (unsigned i = 0; i < ARRAY_SIZE(gsi.pic); i++)
		gsi.pic[i] = pic_line(m->pic, i);
	for (unsigned i = 0; i < ARRAY_SIZE(gsi.ioapic); i++)
		gsi.ioapic[i] = ioapic_line(m->ioapic, i);
	m->gsi = gsi_create(&gsi, err);
	return add(m, m->gsi);
}

static int add_timers(struct machine *m, struct error *err)
{
	struct hpet_config hpet = {
		.lock = &m->board_lock, .mmio = &m->mmio, .clock = &m->clock, .irq0 = gsi_line(m->gsi, 0), .irq8 = gsi_line(m->gsi, 8),
	};
	for (unsigned i = 20; i < GSI_COUNT; i++)
		hpet.pins[i] = gsi_line(m->gsi, i);
	m->hpet = hpet_create(&hpet, err);
	if (add(m, m->hpet) < 0)
		return -1;
	const struct pit_config pit = {
		.lock = &m->board_lock, .ports = &m->ports, .clock = &m->clock, .irq = hpet_legacy_input(m->hpet, HPET_LEGACY_PIT),
		.audio = m->audio,
	};
	m->pit = pit_create(&pit, err);
	if (add(m, m->pit) < 0)
		return -1;
	const struct rtc_config rtc = {
		.lock = &m->board_lock, .ports = &m->ports, .irq = hpet_legacy_input(m->hpet, HPET_LEGACY_RTC), .clock = &m->clock,
		.epoch = host_wall_seconds(),
	};
	m->rtc = rtc_create(&rtc, err);
	return add(m, m->rtc);
}

static void power_off(void *opaque)
{
	machine_request_power_off(opaque);
}

static void reset_requested(void *opaque)
{
	machine_request_reset(opaque);
}

static int add_pm(struct machine *m, struct error *err)
{
	const struct pm_config pm = {
		.lock = &m->board_lock, .ports = &m->ports, .sci = gsi_line(m->gsi, 9), .clock = &m->clock, .timer_32bit = true,
		.acpi_at_reset = machine_direct_boot(m), .power_off = power_off, .power_off_opaque = m,
	};
	m->pm = pm_create(&pm, err);
	return add(m, m->pm);
}

static void serial_output(void *opaque, const uint8_t *data, size_t length)
{
	const struct machine_console *console = opaque;
	if (console->output)
		console->output(console->opaque, data, length);
}

static void serial_room(void *opaque)
{
	const struct machine_console *console = opaque;
	if (console->input_ready)
		console->input_ready(console->opaque);
}

static int add_serial(struct machine *m, struct error *err)
{
	static const struct { const char *name; uint16_t base; uint8_t irq; } ports[] = {
		{ "uart0", 0x3f8, 4 }, { "uart1", 0x2f8, 3 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) {
		struct machine_console *console = &m->config.console[MACHINE_SERIAL0 + i];
		const struct uart_config uart = {
			.name = ports[i].name, .lock = &m->board_lock, .ports = &m->ports, .base = ports[i].base,
			.irq = gsi_line(m->gsi, ports[i].irq), .clock = &m->clock,
			.output = { serial_output, console }, .room = { serial_room, console },
		};
		m->uart[i] = uart_create(&uart, err);
		if (add(m, m->uart[i]) < 0)
			return -1;
	}
	return 0;
}

/* Firmware's debug messages; by the line in the log too, for whoever looks for the reason of a boot that does not go on. */
static void debug_output(void *opaque, const uint8_t *data, size_t length)
{
	struct machine *m = opaque;
	const struct machine_console *console = &m->config.console[MACHINE_DEBUGCON];
	if (console->output)
		console->output(console->opaque, data, length);
	for (size_t i = 0; i < length; i++) {
		if (data[i] != '\n' && m->debug_length < sizeof(m->debug_line) - 1) {
			m->debug_line[m->debug_length++] = (char)data[i];
			continue;
		}
		m->debug_line[m->debug_length] = 0;
		log_debug("firmware: %s", m->debug_line);
		m->debug_length = 0;
	}
}

static void debug_exit(void *opaque, unsigned code)
{
	struct machine *m = opaque;
	char text[64];
	snprintf(text, sizeof(text), "the guest ended the machine with status %u", code);
	atomic_store(&m->asked_status, (int)code);
	machine_request(m, REQUEST_DEBUG_EXIT, text);
}

static int add_small_devices(struct machine *m, struct error *err)
{
	const struct i8042_config i8042 = {
		.lock = &m->board_lock, .ports = &m->ports, .clock = &m->clock, .keyboard_irq = gsi_line(m->gsi, 1),
		.mouse_irq = gsi_line(m->gsi, 12), .reset = reset_requested, .opaque = m,
	};
	m->i8042 = i8042_create(&i8042, err);
	if (add(m, m->i8042) < 0)
		return -1;
	const struct debugport_config debugport = {
		.lock = &m->board_lock, .ports = &m->ports, .output = { debug_output, m },
		.exit_code = m->config.debug_exit ? debug_exit : NULL, .exit_opaque = m,
	};
	m->debugport = debugport_create(&debugport, err);
	if (add(m, m->debugport) < 0)
		return -1;
	const struct fw_cfg_config fw_cfg = { .lock = &m->board_lock, .ports = &m->ports, .memory = &m->memory };
	m->fw_cfg = fw_cfg_create(&fw_cfg, err);
	return add(m, m->fw_cfg);
}

static void map_pm(void *opaque, bool enabled, uint16_t base)
{
	struct machine *m = opaque;
	struct error err;
	if (pm_map(m->pm, enabled ? base : 0, &err) < 0)
		log_warn_once("the ACPI registers cannot move to port 0x%x: %s", base, err.text);
}

static int add_pci(struct machine *m, struct error *err)
{
	const struct pci_bus_config bus = { .io = &m->ports, .mmio = &m->mmio, .msi = apic_bus_sink(&m->apic_bus) };
	m->pci = pci_bus_create(&bus, err);
	if (add(m, m->pci) < 0)
		return -1;
	const struct i440fx_config host_bridge = { .bus = m->pci, .memory = &m->memory };
	if (add(m, i440fx_create(&host_bridge, err)) < 0)
		return -1;
	struct piix3_config isa = { .bus = m->pci, .reset_request = reset_requested, .opaque = m };
	for (unsigned i = 0; i < ARRAY_SIZE(isa.irq); i++)
		isa.irq[i] = gsi_line(m->gsi, i);
	if (add(m, piix3_create(&isa, err)) < 0)
		return -1;
	const struct piix4_pm_config pm = {
		.bus = m->pci, .map = map_pm, .opaque = m, .base = machine_direct_boot(m) ? PM_BASE : 0,
	};
	return add(m, piix4_pm_create(&pm, err));
}

/* As on every board, that of the first processor alone. */
static int add_ferr(struct machine *m, struct error *err)
{
	struct cpu *c = m->cpus[0];
	const struct ferr_config config = {
		.lock = &m->board_lock, .ports = &m->ports, .irq = gsi_line(m->gsi, 13), .ignne = cpu_ignne(c),
	};
	struct ferr *ferr = ferr_create(&config, err);
	if (add(m, ferr) < 0)
		return -1;
	c->ferr = ferr_input(ferr);
	return 0;
}

static int add_dma(struct machine *m, struct error *err)
{
	const struct i8237_config config = { .lock = &m->board_lock, .ports = &m->ports, .dma = { &m->memory } };
	m->i8237 = i8237_create(&config, err);
	return add(m, m->i8237);
}

static void printer_output(void *opaque, const uint8_t *data, size_t length)
{
	const struct machine_console *console = opaque;
	if (console->output)
		console->output(console->opaque, data, length);
}

static int add_parallel(struct machine *m, struct error *err)
{
	struct machine_console *console = &m->config.console[MACHINE_PARALLEL0];
	if (!console->output && m->config.profile != MACHINE_CLASSIC)
		return 0;
	const struct parallel_config config = {
		.lock = &m->board_lock, .ports = &m->ports, .base = 0x378, .irq = gsi_line(m->gsi, 7), .output = { printer_output, console },
	};
	return add(m, parallel_create(&config, err));
}

/* What only firmware, old systems and people at a screen want. */
static int add_legacy(struct machine *m, struct error *err)
{
	static int (*const parts[])(struct machine *, struct error *) = {
		machine_add_ide, machine_add_screen, add_dma, machine_add_floppy, add_parallel, machine_add_uefi,
		machine_add_scsi, machine_add_sb16,
	};
	if (m->config.profile == MACHINE_MICRO)
		return machine_check_drives(m, err) < 0 ? -1 : machine_add_screen(m, err);
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
		if (parts[i](m, err) < 0)
			return -1;
	return 0;
}

int machine_add_board(struct machine *m, struct error *err)
{
	static int (*const parts[])(struct machine *, struct error *) = {
		machine_open_audio, add_lapics, add_interrupt_controllers, add_timers, add_pm, add_serial, add_small_devices, add_pci,
		add_ferr, add_legacy,
	};
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
		if (parts[i](m, err) < 0)
			return -1;
	return 0;
}
