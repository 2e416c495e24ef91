/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_STORE_SEED_H
#define VISOR_STORE_SEED_H

#include <jansson.h>

#include "base/error.h"

/*
 * What cloud-init in a guest is told at its first start, by its data source NoCloud: an ISO 9660 image of volume label CIDATA with the
 * files meta-data and user-data.
 */
struct seed {
	const char *machine;  /* its name; a part of the instance's */
	const char *hostname;
	const char *user;     /* NULL: the distribution's usual one */
	const json_t *keys;   /* array of lines as in authorized_keys; NULL: none */
};

int seed_write(const struct seed *seed, const char *path, struct error *err);

/* The texts of the files, to be freed; NULL: out of memory. */
char *seed_user_data(const struct seed *seed);
/* The instance's id changes with the user data, upon which cloud-init does its work again. */
char *seed_meta_data(const struct seed *seed, const char *user_data);

/* Lines of public keys out of a file as authorized_keys or id_ed25519.pub: a JSON array, NULL: the error. */
json_t *seed_keys(const char *path, struct error *err);

int seed_check_user(const char *user, struct error *err);
int seed_check_hostname(const char *name, struct error *err);

#endif
