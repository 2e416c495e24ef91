/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_STORE_DIGEST_H
#define VISOR_STORE_DIGEST_H

#include <stddef.h>

#include "base/error.h"

/* SHA-256 (FIPS 180-4) as 64 small hexadecimal digits. */
#define DIGEST_TEXT 65

void digest_text(const void *data, size_t size, char text[DIGEST_TEXT]);
int digest_file(const char *path, char text[DIGEST_TEXT], struct error *err);

/* Whether that is a checksum as a user writes it: 64 digits of any case. */
int digest_check(const char *text, struct error *err);

#endif
