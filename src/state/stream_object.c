/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Objects in the save file: records made from a list of fields, and back.
 */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "state/stream.h"

#define NAME_MAX_LENGTH 64
#define MAX_DEPTH 8

/* --- writing --- */

static void put_records(struct buffer *b, const struct field *fields, const void *object)
{
	for (const struct field *f = fields; f->kind != FIELD_KIND_END; f++) {
		const char *at = (const char *)object + f->offset;
		buffer_put_name(b, f->name);
		buffer_put_number(b, f->kind, 1);
		/* The size of a struct in memory is nothing to a reader. */
		buffer_put_number(b, f->kind == FIELD_KIND_STRUCT ? 0 : f->width, 4);
		buffer_put_number(b, f->count, 4);
		if (f->kind != FIELD_KIND_STRUCT) {
			buffer_put(b, at, (size_t)f->width * f->count);
			continue;
		}
		for (uint32_t i = 0; i < f->count; i++)
			put_records(b, f->sub, at + (size_t)i * f->width);
	}
	buffer_put_number(b, 0, 2);
}

void stream_put_object(struct buffer *b, const char *type, const struct field *fields, const void *object)
{
	buffer_put_name(b, type);
	put_records(b, fields, object);
}

/* --- reading --- */

struct cursor {
	const uint8_t *at, *end;
	const char *object; /* for messages */
	struct error *err;
};

static int bad(struct cursor *c, const char *what)
{
	return error_set(c->err, EINVAL, "object '%s': %s; the file is damaged, or a different visor wrote it", c->object, what);
}

static const uint8_t *take(struct cursor *c, uint64_t size)
{
	if ((uint64_t)(c->end - c->at) < size) {
		bad(c, "its data end too early");
		return NULL;
	}
	c->at += size;
	return c->at - size;
}

static int take_number(struct cursor *c, unsigned size, uint32_t *value)
{
	const uint8_t *p = take(c, size);
	if (!p)
		return -1;
	*value = (uint32_t)load_le(p, size);
	return 0;
}

/* An empty name ends a list of records. */
static int take_name(struct cursor *c, char name[NAME_MAX_LENGTH])
{
	uint32_t size;
	const uint8_t *p;
	if (take_number(c, 2, &size) < 0)
		return -1;
	if (size >= NAME_MAX_LENGTH)
		return bad(c, "a name is too long");
	if (!(p = take(c, size)))
		return -1;
	for (uint32_t i = 0; i < size; i++)
		if (p[i] < 0x20 || p[i] > 0x7e)
			return bad(c, "a name is not text");
	memcpy(name, p, size);
	name[size] = 0;
	return 0;
}

static const struct field *find_field(const struct field *fields, const char *name)
{
	for (const struct field *f = fields; f->kind != FIELD_KIND_END; f++)
		if (!strcmp(f->name, name))
			return f;
	return NULL;
}

static int get_records(struct cursor *c, const struct field *fields, void *object, unsigned depth);

static int get_field(struct cursor *c, const struct field *f, void *object, unsigned depth)
{
	uint32_t kind, width, count;
	if (take_number(c, 1, &kind) < 0 || take_number(c, 4, &width) < 0 || take_number(c, 4, &count) < 0)
		return -1;
	/* Lists may have grown: what the file lacks keeps its reset value. */
	bool shorter = kind != FIELD_KIND_BYTES && count < f->count;
	if (kind != (uint32_t)f->kind || (count != f->count && !shorter) || (kind != FIELD_KIND_STRUCT && width != f->width))
		return error_set(c->err, EINVAL,
				 "object '%s': field '%s' is %u of %u bytes, and this visor has %u of %u; use the visor that wrote it",
				 c->object, f->name, count, width, f->count, f->kind == FIELD_KIND_STRUCT ? 0 : f->width);
	char *at = object ? (char *)object + f->offset : NULL;
	if (kind != FIELD_KIND_STRUCT) {
		const uint8_t *data = take(c, (uint64_t)width * count);
		if (!data)
			return -1;
		for (uint32_t i = 0; f->boolean && i < count; i++)
			if (data[i] > 1)
				return bad(c, "a field that is true or false is neither");
		if (at)
			memcpy(at, data, (size_t)width * count);
		return 0;
	}
	if (depth == MAX_DEPTH)
		return bad(c, "its structs are nested too deeply");
	for (uint32_t i = 0; i < count; i++)
		if (get_records(c, f->sub, at ? at + (size_t)i * f->width : NULL, depth + 1) < 0)
			return -1;
	return 0;
}

static int get_records(struct cursor *c, const struct field *fields, void *object, unsigned depth)
{
	char name[NAME_MAX_LENGTH];
	for (;;) {
		if (take_name(c, name) < 0)
			return -1;
		if (!*name)
			return 0;
		const struct field *f = find_field(fields, name);
		if (!f)
			return error_set(c->err, EINVAL, "object '%s': this visor does not know its field '%s'; use the visor that wrote it",
					 c->object, name);
		if (get_field(c, f, object, depth) < 0)
			return -1;
	}
}

int stream_get_object(const struct stream_section *section, const char *type, const struct field *fields, void *object,
		      struct error *err)
{
	struct cursor c = { section->payload, section->payload + section->size, section->name, err };
	char name[NAME_MAX_LENGTH];
	if (take_name(&c, name) < 0)
		return -1;
	if (strcmp(name, type))
		return error_set(err, EINVAL, "object '%s' is a '%s' in the file and a '%s' here; use the visor that wrote it",
				 section->name, name, type);
	if (get_records(&c, fields, object, 0) < 0)
		return -1;
	return c.at == c.end ? 0 : bad(&c, "there is more after its last field");
}
