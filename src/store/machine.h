/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_STORE_MACHINE_H
#define VISOR_STORE_MACHINE_H

#include <limits.h>
#include <stdbool.h>

#include "base/error.h"

/* What the guest is told at its start; NULL: as before, or as usual for a new machine. */
struct store_login {
	const char *user, *key_file, *hostname;
};

/* A machine with a disk of its own over an image of the store. */
struct store_machine {
	char disk[PATH_MAX], seed[PATH_MAX], uefi_vars[PATH_MAX];
	bool made;      /* just now */
	bool has_keys;  /* somebody can log in by SSH */
};

/* Opens the machine of that name, which is made from the image when there is none yet. Fails when it was made from another image. */
int store_machine(const char *name, const char *image, const struct store_login *login, struct store_machine *machine, struct error *err);

#endif
