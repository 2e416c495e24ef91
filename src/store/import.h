/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_STORE_IMPORT_H
#define VISOR_STORE_IMPORT_H

#include <limits.h>

#include "base/error.h"
#include "block/copy.h"

struct store_import {
	const char *source;   /* a file or a URL */
	const char *name;     /* of the image; NULL: after the source */
	const char *sha256;   /* NULL: not checked */
	struct image_progress progress; /* bytes; a total of 0 is not known. `call` may be NULL */
};

/* The name that a source suggests: its last part without what tells the format. */
void store_import_name(const char *source, char name[NAME_MAX + 1]);

/*
 * Brings a disk image of any format into the store, as qcow2 without anything behind it. A download that broke off is gone on with by the next
 * one of the same URL.
 */
int store_import(const struct store_import *import, struct error *err);

#endif
