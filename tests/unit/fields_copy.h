/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_FIELDS_COPY_H
#define VISOR_TESTS_FIELDS_COPY_H

#include <string.h>

#include "state/field.h"

/* What a save and a load do to a device, without the file. */
static inline void fields_copy(const struct field *fields, void *to, const void *from)
{
	for (const struct field *f = fields; f->kind != FIELD_KIND_END; f++)
		for (uint32_t i = 0; i < f->count; i++) {
			uint32_t at = f->offset + i * f->width;
			if (f->kind == FIELD_KIND_STRUCT)
				fields_copy(f->sub, (char *)to + at, (const char *)from + at);
			else
				memcpy((char *)to + at, (const char *)from + at, f->width);
		}
}

#endif
