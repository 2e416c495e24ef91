/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/device.h"

#include <stdio.h>

void device_init(struct device *device, const struct device_type *type, const char *name, struct lock *lock)
{
	device->type = type;
	device->lock = lock;
	device->next = NULL;
	snprintf(device->name, sizeof(device->name), "%s", name);
}

void device_reset(struct device *device)
{
	lock_take(device->lock);
	fields_reset(device->type->fields, device);
	if (device->type->reset)
		device->type->reset(device);
	lock_release(device->lock);
}
