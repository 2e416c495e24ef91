/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_DEBUGPORT_H
#define VISOR_DEV_PC_DEBUGPORT_H

#include "bus/chardev.h"
#include "bus/device.h"
#include "bus/space.h"

/*
 * Ports for firmware and tests: debug output at 0xe9 and 0x402 (a read of
 * either gives 0xe9: there is someone), POST codes at 0x80, and, if wanted, the
 * exit port 0xf4.
 */
struct debugport_config {
	struct lock *lock;
	struct io_space *ports;
	struct char_backend output;
	/* Port 0xf4: the guest wrote v, the code is (v << 1) | 1. NULL: there is no such port. */
	void (*exit_code)(void *opaque, unsigned code);
	void *exit_opaque;
};

struct debugport;

struct debugport *debugport_create(const struct debugport_config *config, struct error *err);

#endif
