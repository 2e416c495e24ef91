/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pci/i6300esb.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

/* Configuration space, 16.4. */
#define REG_CONFIG 0x60
#define CONFIG_NO_OUTPUT 0x20u  /* the second stage resets nothing */
#define CONFIG_FAST 0x04u       /* 1 us, else 1 ms, approximately */
#define REG_LOCK 0x68
#define LOCK_FREE_RUNNING 0x4u
#define LOCK_ENABLE 0x2u
#define LOCK_LOCKED 0x1u        /* the register is as it is until a reset */

/* Memory, 16.5. */
#define MEM_SIZE 16
#define MEM_PRELOAD1 0x0
#define MEM_PRELOAD2 0x4
#define MEM_STATUS 0x8
#define MEM_RELOAD 0xc
#define STATUS_EXPIRED 0x1u     /* the first stage, since the bit was last cleared */
#define RELOAD_RELOAD 0x100u
#define RELOAD_TIMEOUT 0x200u   /* the second stage, even before the last reset */
#define PRELOAD_BITS 0xfffffu
#define UNLOCK1 0x80u
#define UNLOCK2 0x86u

#define PCI_HZ 33000000ull

struct i6300esb {
	struct device device;
	struct pci_function function;
	struct lock own_lock;
	struct timer timer;
	void (*expired)(void *opaque);
	void *opaque;
	uint32_t preload[2];
	uint8_t lock;           /* the register */
	uint8_t unlocked;       /* steps of the sequence that lets one write through */
	uint8_t stage;          /* that is running: 0 or 1 */
	uint8_t status;
	bool timed_out;
	bool running;
	uint64_t left;          /* of the stage, in nanoseconds, in a save file */
};

/* Each tick is a clock of the bus divided by 2^15 or 2^5; the counter runs through zero. */
static uint64_t stage_ns(const struct i6300esb *w)
{
	bool fast = w->function.config[REG_CONFIG] & CONFIG_FAST;
	return muldiv64((uint64_t)(w->preload[w->stage] + 1) << (fast ? 5 : 15), NS_PER_SEC, PCI_HZ);
}

static void begin_stage(struct i6300esb *w, uint8_t stage)
{
	w->stage = stage;
	w->running = true;
	timer_arm(&w->timer, vclock_now(w->timer.clock) + stage_ns(w));
}

static void stop(struct i6300esb *w)
{
	w->running = false;
	w->stage = 0;
	timer_cancel(&w->timer);
}

/* In free-running mode the first stage alone counts, over and over (16.4.2). */
static void on_timer(void *opaque)
{
	struct i6300esb *w = opaque;
	if (w->stage == 0) {
		w->status |= STATUS_EXPIRED;
		begin_stage(w, w->lock & LOCK_FREE_RUNNING ? 0 : 1);
		return;
	}
	w->timed_out = true;
	stop(w);
	if (!(w->function.config[REG_CONFIG] & CONFIG_NO_OUTPUT))
		w->expired(w->opaque);
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
	struct i6300esb *w = opaque;
	if (offset > REG_LOCK || offset + size <= REG_LOCK)
		return;
	if (w->lock & LOCK_LOCKED) {
		w->function.config[REG_LOCK] = w->lock;
		return;
	}
	bool was = w->lock & LOCK_ENABLE;
	w->lock = w->function.config[REG_LOCK];
	bool now = w->lock & LOCK_ENABLE;
	if (now && !was)
		begin_stage(w, 0);
	else if (!now)
		stop(w);
}

static const struct pci_function_ops function_ops = { .config_written = config_written };

static uint64_t read_register(const struct i6300esb *w, unsigned offset)
{
	switch (offset) {
	case MEM_PRELOAD1: return w->preload[0];
	case MEM_PRELOAD2: return w->preload[1];
	case MEM_STATUS: return w->status;
	default: return w->timed_out ? RELOAD_TIMEOUT : 0;
	}
}

static uint64_t mem_read(void *opaque, uint64_t offset, unsigned size)
{
	uint64_t value = read_register(opaque, (unsigned)ALIGN_DOWN(offset, 4ull));
	return value >> (8 * (offset & 3)) & size_mask(size);
}

static void write_reload(struct i6300esb *w, uint32_t value)
{
	if (value & RELOAD_TIMEOUT)
		w->timed_out = false;
	if (value & RELOAD_RELOAD && w->lock & LOCK_ENABLE)
		begin_stage(w, 0);
}

/* All registers but the status take a write only after 80h and 86h were written to the reload register (16.5.4). */
static void mem_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i6300esb *w = opaque;
	if (offset == MEM_STATUS) {
		w->status &= (uint8_t)~value;
		return;
	}
	if (w->unlocked < 2) {
		bool next = offset == MEM_RELOAD && value == (w->unlocked ? UNLOCK2 : UNLOCK1);
		w->unlocked = next ? w->unlocked + 1 : 0;
		return;
	}
	w->unlocked = 0;
	if (offset == MEM_PRELOAD1 || offset == MEM_PRELOAD2)
		w->preload[offset / 4] = value & PRELOAD_BITS;
	else if (offset == MEM_RELOAD)
		write_reload(w, (uint32_t)value);
}

static const struct io_ops mem_ops = { mem_read, mem_write, 4 };

static const struct field fields[] = {
	FIELD_STRUCT(struct i6300esb, function, pci_function_fields),
	FIELD_ARRAY_RESET(struct i6300esb, preload, PRELOAD_BITS),
	FIELD(struct i6300esb, lock),
	FIELD(struct i6300esb, unlocked),
	FIELD(struct i6300esb, stage),
	FIELD(struct i6300esb, status),
	FIELD_KEEP(struct i6300esb, timed_out),
	FIELD(struct i6300esb, running),
	FIELD(struct i6300esb, left),
	FIELD_END
};

static void reset(void *device)
{
	struct i6300esb *w = device;
	pci_function_reset(&w->function);
	lock_take(&w->own_lock);
	timer_cancel(&w->timer);
	lock_release(&w->own_lock);
}

static void saving(void *device)
{
	struct i6300esb *w = device;
	uint64_t now = vclock_now(w->timer.clock);
	w->left = w->running && w->timer.deadline > now ? w->timer.deadline - now : 0;
}

static int loaded(void *device, struct error *err)
{
	struct i6300esb *w = device;
	pci_function_loaded(&w->function);
	w->stage &= 1;
	w->preload[0] &= PRELOAD_BITS;
	w->preload[1] &= PRELOAD_BITS;
	w->unlocked = MIN(w->unlocked, 2);
	if (w->running)
		timer_arm(&w->timer, vclock_now(w->timer.clock) + MIN(w->left, stage_ns(w)));
	return 0;
}

static void destroy(void *device)
{
	struct i6300esb *w = device;
	timer_cancel(&w->timer);
	pci_function_destroy(&w->function);
	lock_destroy(&w->own_lock);
	free(w);
}

static const struct device_type i6300esb_type = {
	.name = "i6300esb",
	.fields = fields,
	.reset = reset,
	.saving = saving,
	.loaded = loaded,
	.destroy = destroy,
};

struct i6300esb *i6300esb_create(const struct i6300esb_config *config, struct error *err)
{
	struct i6300esb *w = calloc(1, sizeof(*w));
	if (!w) {
		error_set(err, ENOMEM, "out of memory for the watchdog");
		return NULL;
	}
	lock_init(&w->own_lock);
	const struct pci_function_config function = {
		.bus = config->bus, .name = "i6300esb", .devfn = config->devfn, .vendor = 0x8086, .device = 0x25ab, .class_code = 0x088000,
		.subsystem_vendor = 0x1af4, .subsystem = 0x1100, .lock = &w->own_lock, .ops = &function_ops, .opaque = w,
	};
	w->expired = config->expired;
	w->opaque = config->opaque;
	device_init(&w->device, &i6300esb_type, "i6300esb", &config->bus->lock);
	timer_init(&w->timer, config->clock, &w->own_lock, on_timer, w);
	if (pci_function_init(&w->function, &function, err) < 0) {
		lock_destroy(&w->own_lock);
		free(w);
		return NULL;
	}
	if (pci_function_add_bar(&w->function, 0, PCI_BAR_MEMORY32, MEM_SIZE, &mem_ops, w, err) < 0) {
		destroy(w);
		return NULL;
	}
	pci_function_set_register(&w->function, REG_CONFIG, 0, 0x27, 2);
	pci_function_set_register(&w->function, REG_LOCK, 0, 0x07, 1);
	return w;
}
