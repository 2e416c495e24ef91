/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_STORE_FETCH_H
#define VISOR_STORE_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct fetch {
	const char *url;   /* http, https or file */
	const char *path;  /* grows there; what is there already is the beginning, from an earlier run */
	bool trusted_part; /* the whole is checked later (by checksum), so a beginning is good without word of the server */
	/* Bytes there and in all; 0: not known. May be NULL. */
	void (*progress)(void *opaque, uint64_t done, uint64_t total);
	void *opaque;
};

bool fetch_is_url(const char *text);

/*
 * Brings the file at the URL to the path. A connection that breaks is made again, and goes on where it broke (RFC 9110, 14.2), as long as
 * the server says by ETag or Last-Modified, kept in PATH.tag, that the file is still the same. On failure what came stays for the next time.
 */
int fetch_file(const struct fetch *fetch, struct error *err);
/* The tag is of no use any more. */
void fetch_forget(const char *path);

#endif
