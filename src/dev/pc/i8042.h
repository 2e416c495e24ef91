/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_I8042_H
#define VISOR_DEV_PC_I8042_H

#include <stdbool.h>

#include "bus/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/space.h"

/*
 * 8042 keyboard controller at ports 0x60/0x64 with a PS/2 keyboard and an
 * IntelliMouse Explorer, and the fast A20 and reset port 0x92.
 */
struct i8042_config {
	struct lock *lock;
	struct io_space *ports;
	struct vclock *clock;
	struct irq_line keyboard_irq, mouse_irq; /* IRQ1, IRQ12 */
	/* The processor's reset line was pulsed: a reset of the machine, on the vCPU's thread with the lock taken. */
	void (*reset)(void *opaque);
	/* The A20 gate; may be NULL. */
	void (*a20)(void *opaque, bool enabled);
	/* The keyboard's lights: bit 0 scroll, 1 num, 2 caps lock; may be NULL. */
	void (*leds)(void *opaque, unsigned leds);
	void *opaque;
};

struct i8042;

struct i8042 *i8042_create(const struct i8042_config *config, struct error *err);

/* A key by its Linux input code (KEY_*, 1..127; up to 88 the same as the code in scan code set 1). */
void i8042_key(struct i8042 *i8042, unsigned keycode, bool down);

/* A key pressed now would reach the guest; else it has bytes to read first. True as well while the keyboard is switched off. */
bool i8042_key_room(struct i8042 *i8042);

#define MOUSE_LEFT 1u
#define MOUSE_RIGHT 2u
#define MOUSE_MIDDLE 4u
#define MOUSE_SIDE 8u
#define MOUSE_EXTRA 16u

/* Movement right, down and of the wheel (towards the user), and the buttons that are held. */
void i8042_mouse(struct i8042 *i8042, int dx, int dy, int dz, unsigned buttons);

#endif
