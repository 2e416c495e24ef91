/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_STATE_FIELD_H
#define VISOR_STATE_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One list of fields per object serves reset, save, load and dump. A list ends
 * with FIELD_END. Values are stored little-endian, each with its name and size,
 * so that a newer program can read an older file: a field that the file does
 * not have keeps its reset value, a field that the program does not know is an
 * error that names it.
 */
enum field_kind {
	FIELD_KIND_END,
	FIELD_KIND_UINT,   /* `width` bytes (1, 2, 4, 8; bool is 1), `count` of them side by side */
	FIELD_KIND_BYTES,  /* `count` opaque bytes */
	FIELD_KIND_STRUCT, /* `count` structs of `width` bytes each described by `sub` */
};

struct field {
	const char *name;
	enum field_kind kind;
	uint32_t offset;
	uint32_t width;
	uint32_t count;
	uint64_t reset; /* value of every element after reset; for BYTES the byte */
	const struct field *sub;
	bool boolean; /* a loaded byte other than 0 and 1 is refused */
	bool keep; /* reset leaves it alone: battery-backed memory, ROM-like contents */
};

#define FIELD_MEMBER_(type, member) (((type *)0)->member)
#define FIELD_IS_BOOL_(expression) _Generic((expression), bool: true, default: false)

/* A scalar member with its value after reset. */
#define FIELD_RESET(type, member, value) \
	{ .name = #member, .kind = FIELD_KIND_UINT, .offset = offsetof(type, member), \
	  .width = sizeof(FIELD_MEMBER_(type, member)), .count = 1, .reset = (value), \
	  .boolean = FIELD_IS_BOOL_(FIELD_MEMBER_(type, member)) }
#define FIELD(type, member) FIELD_RESET(type, member, 0)

/* A scalar in a struct inside, which has no list of its own. */
#define FIELD_INSIDE(type, inside, member) \
	{ .name = #member, .kind = FIELD_KIND_UINT, .offset = offsetof(type, inside.member), \
	  .width = sizeof(FIELD_MEMBER_(type, inside.member)), .count = 1, .boolean = FIELD_IS_BOOL_(FIELD_MEMBER_(type, inside.member)) }
#define FIELD_INSIDE_KEEP(type, inside, member) \
	{ .name = #member, .kind = FIELD_KIND_UINT, .offset = offsetof(type, inside.member), \
	  .width = sizeof(FIELD_MEMBER_(type, inside.member)), .count = 1, .keep = true, .boolean = FIELD_IS_BOOL_(FIELD_MEMBER_(type, inside.member)) }

/* An array member of scalars. */
#define FIELD_ARRAY_RESET(type, member, value) \
	{ .name = #member, .kind = FIELD_KIND_UINT, .offset = offsetof(type, member), \
	  .width = sizeof(FIELD_MEMBER_(type, member)[0]), \
	  .count = sizeof(FIELD_MEMBER_(type, member)) / sizeof(FIELD_MEMBER_(type, member)[0]), \
	  .reset = (value), .boolean = FIELD_IS_BOOL_(FIELD_MEMBER_(type, member)[0]) }
#define FIELD_ARRAY(type, member) FIELD_ARRAY_RESET(type, member, 0)

#define FIELD_BYTES(type, member) \
	{ .name = #member, .kind = FIELD_KIND_BYTES, .offset = offsetof(type, member), \
	  .width = 1, .count = sizeof(FIELD_MEMBER_(type, member)) }

/* The same for what outlives a reset. */
#define FIELD_KEEP(type, member) \
	{ .name = #member, .kind = FIELD_KIND_UINT, .offset = offsetof(type, member), \
	  .width = sizeof(FIELD_MEMBER_(type, member)), .count = 1, .keep = true, \
	  .boolean = FIELD_IS_BOOL_(FIELD_MEMBER_(type, member)) }
#define FIELD_ARRAY_KEEP(type, member) \
	{ .name = #member, .kind = FIELD_KIND_UINT, .offset = offsetof(type, member), \
	  .width = sizeof(FIELD_MEMBER_(type, member)[0]), \
	  .count = sizeof(FIELD_MEMBER_(type, member)) / sizeof(FIELD_MEMBER_(type, member)[0]), .keep = true, \
	  .boolean = FIELD_IS_BOOL_(FIELD_MEMBER_(type, member)[0]) }
#define FIELD_BYTES_KEEP(type, member) \
	{ .name = #member, .kind = FIELD_KIND_BYTES, .offset = offsetof(type, member), \
	  .width = 1, .count = sizeof(FIELD_MEMBER_(type, member)), .keep = true }

/* A member that is one struct, and one that is an array of structs, with their own list. */
#define FIELD_STRUCT(type, member, list) \
	{ .name = #member, .kind = FIELD_KIND_STRUCT, .offset = offsetof(type, member), \
	  .width = sizeof(FIELD_MEMBER_(type, member)), .count = 1, .sub = (list) }
#define FIELD_STRUCT_ARRAY(type, member, list) \
	{ .name = #member, .kind = FIELD_KIND_STRUCT, .offset = offsetof(type, member), \
	  .width = sizeof(FIELD_MEMBER_(type, member)[0]), \
	  .count = sizeof(FIELD_MEMBER_(type, member)) / sizeof(FIELD_MEMBER_(type, member)[0]), \
	  .sub = (list) }

#define FIELD_END { .kind = FIELD_KIND_END }

/* Lays the reset values of `fields` into `object`; other members are untouched. */
void fields_reset(const struct field *fields, void *object);

#endif
