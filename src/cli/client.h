/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CLI_CLIENT_H
#define VISOR_CLI_CLIENT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * One request to a machine's control socket (vm/control.h). `body` (may be NULL) is taken over. Returns the answer's JSON,
 * the caller's to release. NULL: no such machine (ENOENT), it does not answer, or the answer is an error, with its text.
 */
json_t *client_request(const char *machine, const char *method, const char *path, json_t *body, struct error *err);

/* A GET whose answer is a file: its bytes, to be freed; NULL as above. */
uint8_t *client_fetch(const char *machine, const char *path, size_t *size, struct error *err);

#endif
