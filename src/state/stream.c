/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/util.h"

static const char magic[8] = "VISORSAV";
#define HEADER_SIZE 16u
#define SECTION_HEADER_SIZE 18u
#define CRC_AT 4u

/* --- bytes that grow --- */

void buffer_put(struct buffer *b, const void *data, size_t size)
{
	if (b->failed || !size)
		return;
	if (b->room - b->size < size) {
		size_t room = MAX(MAX(b->size + size, 2 * b->room), (size_t)256);
		uint8_t *more = realloc(b->data, room);
		if (!more) {
			b->failed = true;
			return;
		}
		b->data = more;
		b->room = room;
	}
	memcpy(b->data + b->size, data, size);
	b->size += size;
}

void buffer_put_number(struct buffer *b, uint64_t value, unsigned size)
{
	uint8_t bytes[8];
	store_le(bytes, value, size);
	buffer_put(b, bytes, size);
}

void buffer_put_name(struct buffer *b, const char *name)
{
	size_t size = strlen(name);
	buffer_put_number(b, size, 2);
	buffer_put(b, name, size);
}

void buffer_free(struct buffer *b)
{
	free(b->data);
	*b = (struct buffer){ 0 };
}

/* --- writing --- */

int stream_write_header(struct stream_writer *w, struct error *err)
{
	uint8_t header[HEADER_SIZE] = { 0 };
	memcpy(header, magic, sizeof(magic));
	store_le32(header + 8, STREAM_VERSION);
	return w->write(w->opaque, header, sizeof(header), err);
}

static uint32_t section_crc(const uint8_t *header, const void *name, size_t name_size, const uint8_t *payload, size_t size)
{
	uLong crc = crc32_z(0, header, CRC_AT);
	crc = crc32_z(crc, header + CRC_AT + 4, SECTION_HEADER_SIZE - CRC_AT - 4);
	crc = crc32_z(crc, name, name_size);
	/* zlib takes a NULL buffer for "start anew" */
	return (uint32_t)(size ? crc32_z(crc, payload, size) : crc);
}

int stream_write_section(struct stream_writer *w, enum stream_kind kind, const char *name, const struct buffer *payload,
			 struct error *err)
{
	uint8_t header[SECTION_HEADER_SIZE];
	size_t name_size = strlen(name);
	if (payload->failed)
		return error_set(err, ENOMEM, "no memory to save '%s'", name);
	if (name_size >= sizeof(((struct stream_section *)0)->name))
		return error_set(err, ENAMETOOLONG, "the object's name '%s' is too long for a save file", name);
	store_le32(header, kind);
	store_le64(header + 8, payload->size);
	store_le16(header + 16, (uint16_t)name_size);
	store_le32(header + CRC_AT, section_crc(header, name, name_size, payload->data, payload->size));
	if (w->write(w->opaque, header, sizeof(header), err) < 0 || w->write(w->opaque, name, name_size, err) < 0)
		return -1;
	w->sections++;
	return w->write(w->opaque, payload->data, payload->size, err);
}

int stream_write_end(struct stream_writer *w, struct error *err)
{
	struct buffer b = { 0 };
	buffer_put_number(&b, w->sections, 8);
	int result = stream_write_section(w, STREAM_END, "end", &b, err);
	buffer_free(&b);
	return result;
}

/* --- reading --- */

int stream_read_header(struct stream_reader *r, const uint8_t *data, size_t size, struct error *err)
{
	if (size < HEADER_SIZE || memcmp(data, magic, sizeof(magic)))
		return error_set(err, EINVAL, "it is not a save file of visor");
	uint32_t version = load_le32(data + 8);
	if (version != STREAM_VERSION)
		return error_set(err, EINVAL, "its format is version %u, and this visor reads version %u; use the visor that wrote it",
				 version, STREAM_VERSION);
	*r = (struct stream_reader){ .data = data, .size = size, .at = HEADER_SIZE };
	return 0;
}

static int damaged(struct error *err, uint64_t offset, const char *what)
{
	return error_set(err, EINVAL, "the file is damaged at byte %llu: %s; use another copy", (unsigned long long)offset, what);
}

static int cut_off(const struct stream_reader *r, struct error *err)
{
	return error_set(err, EINVAL, "the file is cut off after %zu bytes; copy it again", r->size);
}

static int check_end(struct stream_reader *r, const struct stream_section *section, struct error *err)
{
	if (section->size != 8 || load_le64(section->payload) != r->sections)
		return damaged(err, section->offset, "sections are missing");
	if (r->at != r->size)
		return damaged(err, r->at, "there is more after its end");
	r->ended = true;
	return 0;
}

int stream_read_section(struct stream_reader *r, struct stream_section *s, struct error *err)
{
	if (r->ended)
		return 0;
	size_t left = r->size - r->at;
	const uint8_t *header = r->data + r->at;
	if (left < SECTION_HEADER_SIZE)
		return cut_off(r, err);
	uint64_t size = load_le64(header + 8);
	uint16_t name_size = load_le16(header + 16);
	left -= SECTION_HEADER_SIZE;
	if (name_size >= sizeof(s->name))
		return damaged(err, r->at, "a section's name is too long");
	if (left < name_size || left - name_size < size)
		return cut_off(r, err);
	const uint8_t *name = header + SECTION_HEADER_SIZE, *payload = name + name_size;
	if (load_le32(header + CRC_AT) != section_crc(header, name, name_size, payload, (size_t)size))
		return damaged(err, r->at, "a checksum is wrong");
	*s = (struct stream_section){ (enum stream_kind)load_le32(header), "", payload, (size_t)size, r->at };
	memcpy(s->name, name, name_size);
	r->at += SECTION_HEADER_SIZE + name_size + (size_t)size;
	if (s->kind == STREAM_END)
		return check_end(r, s, err);
	r->sections++;
	return 1;
}
