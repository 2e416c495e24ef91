/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_CARD_RIG_H
#define VISOR_TESTS_CARD_RIG_H

/* A network card on the PCI bus of virtio_rig.h, on a network whose far end is the test. */
#include "dev_board.h"
#include "virtio_rig.h"

#include <stdlib.h>

#include "bus/clock.h"
#include "net_rig.h"

struct card {
	struct rig rig;
	struct vclock clock;
	uint64_t now;         /* the test's to change */
	struct device *dev;
	struct test_net *net;
	uint64_t bar, io;     /* its registers; 0: it has none there */
	unsigned tx, rx;      /* where the test is in the rings */
	unsigned style;       /* of a PCnet: software style, and registers of 32 bits */
	bool dword;
};

/* The test's: c->net and c->dev, reset. */
static void make_device(struct card *c);

static uint64_t card_now(void *opaque)
{
	return ((struct card *)opaque)->now;
}

/* The card at work; its BARs are the test's to read. */
static inline void card_begin(struct card *c)
{
	const struct vclock_source source = { .now = card_now, .opaque = c };
	const struct pci_windows windows = { 0xc000, 0xd000, 0xe0000000, 0xf0000000, { 10, 10, 11, 11 } };
	memset(c, 0, sizeof(*c));
	rig_init(&c->rig);
	vclock_init(&c->clock, &source);
	vclock_start(&c->clock);
	make_device(c);
	assert_int_equal(pci_bus_assign(c->rig.bus, &windows, NULL), 0);
	cfg_write(&c->rig, RIG_DEVFN, PCI_COMMAND, 7, 2);
}

static inline void end_device(struct card *c)
{
	device_reset(c->dev);
	rig_run(&c->rig, false);
	board_end(c->dev);
	rig_run(&c->rig, false);
}

static inline void card_destroy(struct card *c)
{
	end_device(c);
	vclock_destroy(&c->clock);
	rig_destroy(&c->rig);
}

#endif
