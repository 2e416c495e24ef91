/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/pm.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

/* Registers at the base (82371AB, 7.2). */
#define PM1_STATUS 0x00u
#define PM1_ENABLE 0x02u
#define PM1_CONTROL 0x04u
#define PM_TIMER 0x08u
#define GPE0_STATUS 0x0cu
#define GPE0_ENABLE 0x0eu

#define STATUS_TIMER BIT(0)
#define STATUS_GLOBAL BIT(5)
#define STATUS_POWER_BUTTON BIT(8)
#define STATUS_RTC BIT(10)
#define STATUS_WAKE BIT(15)
#define STATUS_BITS (STATUS_TIMER | BIT(4) | STATUS_GLOBAL | STATUS_POWER_BUTTON | STATUS_RTC | STATUS_WAKE)
#define ENABLE_BITS (STATUS_TIMER | STATUS_GLOBAL | STATUS_POWER_BUTTON | STATUS_RTC)
#define CONTROL_SCI_EN BIT(0)
#define CONTROL_BITS 0x1c07u
#define CONTROL_SLP_TYP(control) ((control) >> 10 & 7)
#define CONTROL_SLP_EN BIT(13)

struct pm {
	struct device device;
	uint16_t status, enable, control;
	uint16_t gpe_status, gpe_enable;
	uint8_t smi_command, smi_status;
	uint16_t base;
	uint64_t overflow_tick;   /* the timer's top bit changes at this tick; the status bit is not yet set */
	struct pm_config config;
	struct timer timer;
	struct io_region region, smi_region;
};

static uint64_t now_tick(const struct pm *pm)
{
	return muldiv64(vclock_now(pm->config.clock), PM_TIMER_HZ, NS_PER_SEC);
}

/* TMR_STS: every change of the top bit (ACPI 6.4, 4.8.3.3). */
static uint64_t next_overflow(const struct pm *pm, uint64_t tick)
{
	uint64_t half = BIT64(pm->config.timer_32bit ? 31 : 23);
	return (tick / half + 1) * half;
}

static void check_overflow(struct pm *pm)
{
	uint64_t now = now_tick(pm);
	if (now < pm->overflow_tick)
		return;
	pm->status |= STATUS_TIMER;
	pm->overflow_tick = next_overflow(pm, now);
}

static bool sci_wanted(const struct pm *pm)
{
	return pm->control & CONTROL_SCI_EN &&
	       ((pm->status & pm->enable & ENABLE_BITS) | (pm->gpe_status & pm->gpe_enable));
}

static void arm(struct pm *pm)
{
	if (pm->enable & STATUS_TIMER && !(pm->status & STATUS_TIMER))
		timer_arm(&pm->timer, muldiv64_up(pm->overflow_tick, NS_PER_SEC, PM_TIMER_HZ));
	else
		timer_cancel(&pm->timer);
}

static void update(struct pm *pm)
{
	check_overflow(pm);
	irq_set(&pm->config.sci, sci_wanted(pm));
	arm(pm);
}

static void on_timer(void *opaque)
{
	update(opaque);
}

static void write_control(struct pm *pm, uint16_t value)
{
	pm->control = (value & CONTROL_BITS & ~CONTROL_SCI_EN) | (pm->control & CONTROL_SCI_EN);
	if (value & CONTROL_SLP_EN && CONTROL_SLP_TYP(value) == PM_SLP_TYP_S5 && pm->config.power_off)
		pm->config.power_off(pm->config.power_off_opaque);
}

static uint16_t read_word(struct pm *pm, unsigned reg)
{
	switch (reg) {
	case PM1_STATUS: return pm->status;
	case PM1_ENABLE: return pm->enable;
	case PM1_CONTROL: return pm->control;
	case PM_TIMER: return (uint16_t)now_tick(pm);
	case PM_TIMER + 2: return (uint16_t)(now_tick(pm) >> 16) & (pm->config.timer_32bit ? 0xffff : 0xff);
	case GPE0_STATUS: return pm->gpe_status;
	case GPE0_ENABLE: return pm->gpe_enable;
	default: return 0;
	}
}

/* `mask` has ones for the bytes that are written: a status byte that is not must not be cleared. */
static void write_word(struct pm *pm, unsigned reg, uint16_t value, uint16_t mask)
{
	uint16_t merged = (read_word(pm, reg) & ~mask) | (value & mask);
	switch (reg) {
	case PM1_STATUS: pm->status &= ~(value & mask & STATUS_BITS); break;
	case PM1_ENABLE: pm->enable = merged & ENABLE_BITS; break;
	case PM1_CONTROL: write_control(pm, merged); break;
	case GPE0_STATUS: pm->gpe_status &= ~(value & mask); break;
	case GPE0_ENABLE: pm->gpe_enable = merged; break;
	}
}

static uint64_t pm_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pm *pm = opaque;
	check_overflow(pm);
	if ((offset & ~3ull) == PM_TIMER) { /* one look at the clock for all its bytes */
		uint32_t count = (uint32_t)now_tick(pm) & (pm->config.timer_32bit ? 0xffffffff : 0xffffff);
		return count >> (offset & 3) * 8;
	}
	uint64_t value = read_word(pm, (unsigned)offset & ~1u) >> (offset & 1) * 8;
	if (size == 4)
		value |= (uint64_t)read_word(pm, (unsigned)offset + 2) << 16;
	return value;
}

static void pm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pm *pm = opaque;
	check_overflow(pm);
	for (unsigned done = 0; done < size;) {
		unsigned at = (unsigned)offset + done, shift = (at & 1) * 8;
		unsigned bytes = at & 1 || size - done < 2 ? 1 : 2;
		write_word(pm, at & ~1u, (uint16_t)((value >> 8 * done & size_mask(bytes)) << shift),
			   (uint16_t)(size_mask(bytes) << shift));
		done += bytes;
	}
	update(pm);
}

/* 0xb2: the FADT's SMI_CMD; a write would enter SMM, whose only task here is to hand ACPI over. */
static void smi_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pm *pm = opaque;
	if (offset == 1) {
		pm->smi_status = (uint8_t)value;
		return;
	}
	pm->smi_command = (uint8_t)value;
	if (value == PM_ACPI_ENABLE)
		pm->control |= CONTROL_SCI_EN;
	else if (value == PM_ACPI_DISABLE)
		pm->control &= ~CONTROL_SCI_EN;
	update(pm);
}

static uint64_t smi_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pm *pm = opaque;
	return offset ? pm->smi_status : pm->smi_command;
}

static const struct io_ops pm_ops = { pm_read, pm_write, 4 };
static const struct io_ops smi_ops = { smi_read, smi_write, 1 };

int pm_map(struct pm *pm, uint16_t base, struct error *err)
{
	int rc = 0;
	lock_take(pm->device.lock);
	io_space_unmap(pm->config.ports, &pm->region);
	pm->region.base = pm->base = base;
	if (base)
		rc = io_space_map(pm->config.ports, &pm->region, err);
	lock_release(pm->device.lock);
	return rc;
}

void pm_power_button(struct pm *pm)
{
	lock_take(pm->device.lock);
	pm->status |= STATUS_POWER_BUTTON;
	update(pm);
	lock_release(pm->device.lock);
}

void pm_gpe(struct pm *pm, unsigned bit)
{
	lock_take(pm->device.lock);
	pm->gpe_status |= BIT(bit & 15);
	update(pm);
	lock_release(pm->device.lock);
}

static const struct field pm_fields[] = {
	FIELD(struct pm, status),
	FIELD(struct pm, enable),
	FIELD(struct pm, control),
	FIELD(struct pm, gpe_status),
	FIELD(struct pm, gpe_enable),
	FIELD(struct pm, smi_command),
	FIELD(struct pm, smi_status),
	FIELD_RESET(struct pm, base, PM_BASE),
	FIELD(struct pm, overflow_tick),
	FIELD_END
};

static void pm_reset(void *device)
{
	struct pm *pm = device;
	if (pm->config.acpi_at_reset)
		pm->control |= CONTROL_SCI_EN;
	pm->overflow_tick = next_overflow(pm, now_tick(pm));
	pm_map(pm, PM_BASE, NULL);
	update(pm);
}

static int pm_loaded(void *device, struct error *err)
{
	struct pm *pm = device;
	if (pm_map(pm, pm->base, err) < 0)
		return error_prefix(err, "pm: the base in the saved machine cannot be mapped");
	arm(pm);
	return 0;
}

static void pm_destroy(void *device)
{
	struct pm *pm = device;
	timer_cancel(&pm->timer);
	io_space_unmap(pm->config.ports, &pm->region);
	io_space_unmap(pm->config.ports, &pm->smi_region);
	free(pm);
}

static const struct device_type pm_type = {
	.name = "pm",
	.fields = pm_fields,
	.reset = pm_reset,
	.loaded = pm_loaded,
	.destroy = pm_destroy,
};

struct pm *pm_create(const struct pm_config *config, struct error *err)
{
	struct pm *pm = calloc(1, sizeof(*pm));
	if (!pm) {
		error_set(err, ENOMEM, "pm: out of memory");
		return NULL;
	}
	device_init(&pm->device, &pm_type, "pm", config->lock);
	pm->config = *config;
	timer_init(&pm->timer, config->clock, config->lock, on_timer, pm);
	pm->region = (struct io_region){ "pm", &pm_ops, pm, config->lock, .size = PM_SIZE };
	pm->smi_region = (struct io_region){ "smi command", &smi_ops, pm, config->lock, .base = 0xb2, .size = 2 };
	if (pm_map(pm, PM_BASE, err) < 0 || io_space_map(config->ports, &pm->smi_region, err) < 0) {
		pm_destroy(pm);
		return NULL;
	}
	return pm;
}
