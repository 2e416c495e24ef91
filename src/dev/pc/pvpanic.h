/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_PVPANIC_H
#define VISOR_DEV_PC_PVPANIC_H

#include "base/error.h"
#include "base/lock.h"
#include "bus/space.h"

/* The port by which a guest says that its kernel has panicked ("pvpanic", docs/specs/pvpanic of QEMU; ACPI device QEMU0001). */
#define PVPANIC_PORT 0x505u
#define PVPANIC_PANICKED 1u     /* it stands still, or will */
#define PVPANIC_CRASH_LOADED 2u /* it goes on with a kernel for crashes */

struct pvpanic_config {
	struct lock *lock;
	struct io_space *ports;
	/* events: the bits above. On a vCPU's thread with the lock taken. */
	void (*event)(void *opaque, unsigned events);
	void *opaque;
};

struct pvpanic;

/* The object begins with its struct device. */
struct pvpanic *pvpanic_create(const struct pvpanic_config *config, struct error *err);

#endif
