/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BASE_JSON_H
#define VISOR_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/*
 * Members of a JSON object that came from outside. The error names the member and
 * what it should be. `object` may be anything, also NULL or no object.
 */

/* The string lives as long as the object. */
int json_get_string(const json_t *object, const char *name, const char **value, struct error *err);
int json_get_uint(const json_t *object, const char *name, uint64_t min, uint64_t max, uint64_t *value, struct error *err);
int json_get_bool(const json_t *object, const char *name, bool *value, struct error *err);

/* The same for members that may be missing; then *value stays as it is. */
int json_get_optional_bool(const json_t *object, const char *name, bool *value, struct error *err);

/* Parses text; what stands wrong where is the error. NULL on failure. */
json_t *json_parse(const char *text, size_t size, struct error *err);

#endif
