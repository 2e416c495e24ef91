/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/aml.h"

#include "base/util.h"

enum {
	OP_NAME = 0x08, OP_BYTE = 0x0a, OP_WORD = 0x0b, OP_DWORD = 0x0c, OP_STRING = 0x0d, OP_QWORD = 0x0e, OP_SCOPE = 0x10,
	OP_BUFFER = 0x11, OP_PACKAGE = 0x12, OP_METHOD = 0x14, OP_DUAL_NAME = 0x2e, OP_MULTI_NAME = 0x2f, OP_EXT = 0x5b,
	OP_IF = 0xa0, OP_ELSE = 0xa1, EXT_REGION = 0x80, EXT_FIELD = 0x81, EXT_DEVICE = 0x82,
};

/* A package length always takes three bytes: contents of any size can then be written before their length is known. */
#define LENGTH_BYTES 3
#define LENGTH_MAX 0xfffffu
/* Likewise a resource buffer's size: a word constant. */
#define BUFFER_SIZE_BYTES 3

void aml_destroy(struct aml *a)
{
	free(a->data);
	*a = (struct aml){ 0 };
}

void aml_bytes(struct aml *a, const void *data, size_t size)
{
	if (a->failed)
		return;
	if (size > a->room - a->size) {
		size_t room = MAX(a->room * 2, a->size + size + 1024);
		uint8_t *bigger = realloc(a->data, room);
		if (!bigger) {
			a->failed = true;
			return;
		}
		a->data = bigger;
		a->room = room;
	}
	memcpy(a->data + a->size, data, size);
	a->size += size;
}

void aml_byte(struct aml *a, uint8_t value)
{
	aml_bytes(a, &value, 1);
}

void aml_number(struct aml *a, uint64_t value, unsigned size)
{
	uint8_t bytes[8];
	store_le64(bytes, value);
	aml_bytes(a, bytes, size);
}

static const char *segment(struct aml *a, const char *path)
{
	char name[4] = { '_', '_', '_', '_' };
	for (unsigned i = 0; i < 4 && *path && *path != '.'; i++)
		name[i] = *path++;
	aml_bytes(a, name, 4);
	return *path == '.' ? path + 1 : path;
}

void aml_path(struct aml *a, const char *path)
{
	while (*path == '\\' || *path == '^')
		aml_byte(a, (uint8_t)*path++);
	unsigned segments = *path != 0;
	for (const char *p = path; *p; p++)
		segments += *p == '.';
	if (segments == 0)
		aml_byte(a, 0);
	else if (segments == 2)
		aml_byte(a, OP_DUAL_NAME);
	else if (segments > 2) {
		aml_byte(a, OP_MULTI_NAME);
		aml_byte(a, (uint8_t)segments);
	}
	while (*path)
		path = segment(a, path);
}

static void begin(struct aml *a, bool resources)
{
	if (a->depth == AML_MAX_DEPTH) {
		a->failed = true;
		return;
	}
	a->open[a->depth].at = a->size;
	a->open[a->depth].resources = resources;
	a->depth++;
	aml_number(a, 0, LENGTH_BYTES);
}

void aml_scope(struct aml *a, const char *path)
{
	aml_byte(a, OP_SCOPE);
	begin(a, false);
	aml_path(a, path);
}

void aml_device(struct aml *a, const char *name)
{
	aml_byte(a, OP_EXT);
	aml_byte(a, EXT_DEVICE);
	begin(a, false);
	aml_path(a, name);
}

void aml_method(struct aml *a, const char *name, unsigned arguments, bool serialized)
{
	aml_byte(a, OP_METHOD);
	begin(a, false);
	aml_path(a, name);
	aml_byte(a, (uint8_t)(arguments | (serialized ? 8 : 0)));
}

void aml_if(struct aml *a)
{
	aml_byte(a, OP_IF);
	begin(a, false);
}

void aml_else(struct aml *a)
{
	aml_byte(a, OP_ELSE);
	begin(a, false);
}

void aml_package(struct aml *a, unsigned elements)
{
	aml_byte(a, OP_PACKAGE);
	begin(a, false);
	aml_byte(a, (uint8_t)elements);
}

void aml_buffer_resources(struct aml *a)
{
	aml_byte(a, OP_BUFFER);
	begin(a, true);
	aml_byte(a, OP_WORD);
	aml_number(a, 0, 2);
}

void aml_field(struct aml *a, const char *region, uint8_t flags)
{
	aml_byte(a, OP_EXT);
	aml_byte(a, EXT_FIELD);
	begin(a, false);
	aml_path(a, region);
	aml_byte(a, flags);
}

void aml_end(struct aml *a)
{
	if (a->failed || !a->depth) {
		a->failed = true;
		return;
	}
	a->depth--;
	size_t at = a->open[a->depth].at;
	if (a->open[a->depth].resources) {
		aml_number(a, 0x0079, 2); /* end tag, checksum not used */
		if (a->failed)
			return;
		size_t start = at + LENGTH_BYTES + BUFFER_SIZE_BYTES;
		store_le16(a->data + start - 2, (uint16_t)(a->size - start));
	}
	size_t length = a->size - at;
	if (length > LENGTH_MAX) {
		a->failed = true;
		return;
	}
	/* Two bytes follow the lead byte, which has the low four bits (ACPI 6.4, 20.2.4). */
	a->data[at] = (uint8_t)(0x80 | (length & 0xf));
	a->data[at + 1] = (uint8_t)(length >> 4);
	a->data[at + 2] = (uint8_t)(length >> 12);
}

void aml_name(struct aml *a, const char *name)
{
	aml_byte(a, OP_NAME);
	aml_path(a, name);
}

void aml_int(struct aml *a, uint64_t value)
{
	if (value <= 1) {
		aml_byte(a, (uint8_t)value);
		return;
	}
	unsigned size = value <= 0xff ? 1 : value <= 0xffff ? 2 : value <= 0xffffffff ? 4 : 8;
	aml_byte(a, size == 1 ? OP_BYTE : size == 2 ? OP_WORD : size == 4 ? OP_DWORD : OP_QWORD);
	aml_number(a, value, size);
}

void aml_string(struct aml *a, const char *string)
{
	aml_byte(a, OP_STRING);
	aml_bytes(a, string, strlen(string) + 1);
}

static uint8_t hex_digit(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'A' + 10);
}

void aml_eisa_id(struct aml *a, const char *id)
{
	const uint8_t bytes[4] = {
		(uint8_t)((id[0] - '@') << 2 | (id[1] - '@') >> 3), (uint8_t)((id[1] - '@') << 5 | (id[2] - '@')),
		(uint8_t)(hex_digit(id[3]) << 4 | hex_digit(id[4])), (uint8_t)(hex_digit(id[5]) << 4 | hex_digit(id[6])),
	};
	aml_byte(a, OP_DWORD);
	aml_bytes(a, bytes, 4);
}

void aml_name_int(struct aml *a, const char *name, uint64_t value)
{
	aml_name(a, name);
	aml_int(a, value);
}

void aml_name_string(struct aml *a, const char *name, const char *string)
{
	aml_name(a, name);
	aml_string(a, string);
}

void aml_name_eisa_id(struct aml *a, const char *name, const char *id)
{
	aml_name(a, name);
	aml_eisa_id(a, id);
}

void aml_region(struct aml *a, const char *name, enum aml_space space, uint64_t offset, uint64_t length)
{
	aml_byte(a, OP_EXT);
	aml_byte(a, EXT_REGION);
	aml_path(a, name);
	aml_byte(a, (uint8_t)space);
	aml_int(a, offset);
	aml_int(a, length);
}

void aml_field_unit(struct aml *a, const char *name, unsigned bits)
{
	segment(a, name);
	if (bits < 0x40) {
		aml_byte(a, (uint8_t)bits);
		return;
	}
	aml_byte(a, (uint8_t)(0x40 | (bits & 0xf)));
	aml_byte(a, (uint8_t)(bits >> 4));
}

void aml_res_io(struct aml *a, uint16_t base, uint8_t alignment, uint8_t length)
{
	aml_byte(a, 0x47);
	aml_byte(a, 1); /* decodes 16 bits */
	aml_number(a, base, 2);
	aml_number(a, base, 2);
	aml_byte(a, alignment);
	aml_byte(a, length);
}

void aml_res_irq(struct aml *a, unsigned irq)
{
	aml_byte(a, 0x22);
	aml_number(a, 1u << irq, 2);
}

void aml_res_interrupts(struct aml *a, const uint32_t *gsi, unsigned count)
{
	aml_byte(a, 0x89);
	aml_number(a, 2 + 4 * count, 2);
	aml_byte(a, 0x09); /* consumer, level, active high, shared */
	aml_byte(a, (uint8_t)count);
	for (unsigned i = 0; i < count; i++)
		aml_number(a, gsi[i], 4);
}

void aml_res_memory32(struct aml *a, uint32_t base, uint32_t length, bool writable)
{
	aml_byte(a, 0x86);
	aml_number(a, 9, 2);
	aml_byte(a, writable);
	aml_number(a, base, 4);
	aml_number(a, length, 4);
}

void aml_res_range(struct aml *a, enum aml_range kind, unsigned size, uint8_t specific, uint64_t first, uint64_t last)
{
	aml_byte(a, size == 2 ? 0x88 : 0x87);
	aml_number(a, 3 + 5 * size, 2);
	aml_byte(a, (uint8_t)kind);
	aml_byte(a, 0x0c); /* producer, positive decode, both ends fixed */
	aml_byte(a, specific);
	aml_number(a, 0, size); /* granularity */
	aml_number(a, first, size);
	aml_number(a, last, size);
	aml_number(a, 0, size); /* translation */
	aml_number(a, last - first + 1, size);
}
