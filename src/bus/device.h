/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BUS_DEVICE_H
#define VISOR_BUS_DEVICE_H

#include "base/error.h"
#include "base/lock.h"
#include "state/field.h"

/*
 * What the machine knows of every device. A device's struct begins with a
 * `struct device`; its file ends with its `const struct device_type`. A device
 * gets handles (IRQ line, clock, DMA, back end) when it is made and never sees
 * the machine, the engine or Linux.
 */
struct device_type {
	const char *name;
	const struct field *fields; /* reset, save, load, dump */
	/* After the fields took their reset values: lines down, timers off. May be NULL. */
	void (*reset)(void *device);
	/* Before a save: folds what runs (a timer's rest, a count) into fields. May be NULL. */
	void (*saving)(void *device);
	/* After a load: refuses values that cannot be, re-arms timers. May be NULL. Lines are not driven here:
	 * the controllers' own fields hold their levels. */
	int (*loaded)(void *device, struct error *err);
	/* Ends and frees the device. */
	void (*destroy)(void *device);
};

struct device {
	const struct device_type *type;
	char name[24];       /* unique in the machine: "uart0", "virtio-blk1" */
	struct lock *lock;   /* taken around all calls of the type's functions */
	struct device *next; /* the machine's list */
};

/* Fills the header; the machine resets the device before its first use. */
void device_init(struct device *device, const struct device_type *type, const char *name, struct lock *lock);
void device_reset(struct device *device);

#endif
