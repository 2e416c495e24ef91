/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/field.h"

#include <string.h>

void fields_reset(const struct field *fields, void *object)
{
	for (const struct field *f = fields; f->kind != FIELD_KIND_END; f++) {
		char *at = (char *)object + f->offset;
		if (f->keep)
			continue;
		if (f->kind == FIELD_KIND_BYTES) {
			memset(at, (int)f->reset, f->count);
			continue;
		}
		for (uint32_t i = 0; i < f->count; i++, at += f->width) {
			if (f->kind == FIELD_KIND_STRUCT)
				fields_reset(f->sub, at);
			else
				memcpy(at, &f->reset, f->width);
		}
	}
}
