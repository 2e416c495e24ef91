/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DISPLAY_VNC_H
#define VISOR_DISPLAY_VNC_H

#include <stdbool.h>

#include "display/surface.h"

/*
 * A VNC server (RFB, RFC 6143) that shows a source, on a thread of its own;
 * it draws only while somebody looks.
 */
struct vnc_config {
	const char *address;   /* "[HOST:]PORT", the loopback address without HOST; port 0: one that is free */
	const char *password;  /* NULL: none; of up to 8 characters, which is all that the protocol looks at */
	const char *title;
	struct display_source source;
	/* On the server's thread. code: a Linux input code. */
	void (*key)(void *opaque, unsigned code, bool down);
	/* Movement, the wheel (towards the user), and the buttons held: 1 left, 2 right, 4 middle. */
	void (*mouse)(void *opaque, int dx, int dy, int dz, unsigned buttons);
	/* Where the pointer is on a screen of this size; true: the guest has a pointer that can be told so, and `mouse` is not called. */
	bool (*pointer)(void *opaque, unsigned x, unsigned y, unsigned width, unsigned height, int dz, unsigned buttons);
	/* A viewer wants a screen of this size; true: the guest is asked for it, and may or may not do it later. May be NULL. */
	bool (*resize)(void *opaque, unsigned width, unsigned height);
	void *opaque;
};

struct vnc;

/* Fails when the address cannot be had. */
struct vnc *vnc_create(const struct vnc_config *config, struct error *err);
void vnc_destroy(struct vnc *vnc);
unsigned vnc_port(const struct vnc *vnc);

#endif
