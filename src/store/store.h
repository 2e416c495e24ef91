/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_STORE_STORE_H
#define VISOR_STORE_STORE_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>

#include "base/error.h"

/*
 * What visor keeps on the disk: images by name, which never change, and the machines made from them. In $XDG_DATA_HOME/visor,
 * /var/lib/visor for root without that variable, else ~/.local/share/visor:
 *
 *	images/NAME.qcow2
 *	machines/NAME/machine.json, disk.qcow2 (what differs from the image), seed.iso, uefi-vars
 *
 * Names are those of machines (rundir_name_ok).
 */
#define STORE_SUFFIX ".qcow2"

/* The path of something in the store, as "images/x"; folders on the way that are missing are made. */
int store_path(char path[PATH_MAX], struct error *err, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Makes a change of the store alone among all processes, until the descriptor is closed. */
int store_lock(struct error *err);

/* An error when that cannot be the name of an image; `what` names the flag or operand. */
int store_check_name(const char *what, const char *name, struct error *err);

/* The path of an image that is there. -1 (ENOENT): there is none of that name. */
int store_image(const char *name, char path[PATH_MAX], struct error *err);
/* The path of an image that is not there yet. -1 (EEXIST): there is one of that name. */
int store_new_image(const char *name, char path[PATH_MAX], struct error *err);
/* Where a process of this host may make an image that is to come into the store. What such processes left that were killed is removed. */
int store_temporary(const char *name, char path[PATH_MAX], struct error *err);
/* A finished image gets its name in the store; EEXIST: there is one of that name. What stood at `from` is gone then. */
int store_add_image(const char *from, const char *name, struct error *err);

/* An array of objects with name, path, size, allocated and machines (names), by name; NULL: an error. */
json_t *store_images(struct error *err);

/* Fails while machines are made from it, and names them. */
int store_remove_image(const char *name, struct error *err);

/* Removes a machine with its disk. -1 (ENOENT): there is none. That it does not run is the caller's care. */
int store_remove_machine(const char *name, struct error *err);

/* The machine's file (machine.json) as JSON; NULL (ENOENT): there is none of that name. */
json_t *store_load_machine(const char *name, struct error *err);

#endif
