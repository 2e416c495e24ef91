/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "state/stream.h"

struct inner {
	uint16_t a;
	bool b;
};

struct object {
	uint64_t number;
	uint32_t array[3];
	uint8_t bytes[5];
	struct inner inner[2];
	uint8_t not_saved;
};

static const struct field inner_fields[] = { FIELD(struct inner, a), FIELD(struct inner, b), FIELD_END };
static const struct field fields[] = {
	FIELD(struct object, number), FIELD_ARRAY_RESET(struct object, array, 9), FIELD_BYTES(struct object, bytes),
	FIELD_STRUCT_ARRAY(struct object, inner, inner_fields), FIELD_END
};
/* What a newer and an older program has. */
static const struct field more_fields[] = {
	FIELD(struct object, number), FIELD_ARRAY_RESET(struct object, array, 9), FIELD_BYTES(struct object, bytes),
	FIELD_STRUCT_ARRAY(struct object, inner, inner_fields), FIELD_RESET(struct object, not_saved, 77), FIELD_END
};
static const struct field fewer_fields[] = { FIELD(struct object, number), FIELD_END };

static const struct object sample = {
	.number = 0x1122334455667788, .array = { 1, 2, 3 }, .bytes = "abcd", .inner = { { 5, true }, { 6, false } }, .not_saved = 1,
};

static struct error err;

static int write_to_buffer(void *opaque, const void *data, size_t size, struct error *e)
{
	buffer_put(opaque, data, size);
	return 0;
}

static struct buffer make_file(void)
{
	struct buffer file = { 0 }, b = { 0 };
	struct stream_writer w = { .write = write_to_buffer, .opaque = &file };
	assert_int_equal(stream_write_header(&w, &err), 0);
	stream_put_object(&b, "type", fields, &sample);
	assert_int_equal(stream_write_section(&w, STREAM_OBJECT, "object0", &b, &err), 0);
	assert_int_equal(stream_write_end(&w, &err), 0);
	buffer_free(&b);
	return file;
}

/* All sections; 0, or negative for a file that is refused. */
static int walk(const uint8_t *data, size_t size, const struct field *list, struct object *object)
{
	struct stream_reader r;
	struct stream_section s;
	int more;
	if (stream_read_header(&r, data, size, &err) < 0)
		return -1;
	while ((more = stream_read_section(&r, &s, &err)) > 0)
		if (s.kind == STREAM_OBJECT && stream_get_object(&s, "type", list, object, &err) < 0)
			return -1;
	return more;
}

static void objects_come_back(void **state)
{
	struct buffer file = make_file();
	struct object o = { 0 };
	assert_int_equal(walk(file.data, file.size, fields, &o), 0);
	assert_int_equal(o.number, sample.number);
	assert_memory_equal(o.array, sample.array, sizeof(o.array));
	assert_memory_equal(o.bytes, sample.bytes, sizeof(o.bytes));
	assert_int_equal(o.inner[1].a, 6);
	assert_true(o.inner[0].b);
	assert_int_equal(o.not_saved, 0);
	buffer_free(&file);
}

static void other_programs_fields(void **state)
{
	struct buffer file = make_file();
	struct object o;
	fields_reset(more_fields, &o);
	assert_int_equal(walk(file.data, file.size, more_fields, &o), 0);
	assert_int_equal(o.not_saved, 77); /* the file lacks it: its reset value */
	assert_int_equal(walk(file.data, file.size, fewer_fields, &o), -1);
	assert_non_null(strstr(err.text, "'array'"));
	assert_non_null(strstr(err.text, "'object0'"));
	buffer_free(&file);
}

/* A newer program has longer lists; an older one cannot take what it has no place for. */
static void lists_may_have_grown(void **state)
{
	struct grown {
		uint64_t number;
		uint32_t array[4];
		uint8_t bytes[5];
		struct inner inner[3];
	} o;
	static const struct field sevens[] = { FIELD_RESET(struct inner, a, 7), FIELD(struct inner, b), FIELD_END };
	static const struct field grown_fields[] = {
		FIELD(struct grown, number), FIELD_ARRAY_RESET(struct grown, array, 9), FIELD_BYTES(struct grown, bytes),
		FIELD_STRUCT_ARRAY(struct grown, inner, sevens), FIELD_END
	};
	struct buffer file = make_file(), b = { 0 };
	fields_reset(grown_fields, &o);
	assert_int_equal(walk(file.data, file.size, grown_fields, (struct object *)&o), 0);
	assert_memory_equal(o.array, sample.array, sizeof(sample.array));
	assert_int_equal(o.array[3], 9);
	assert_int_equal(o.inner[1].a, 6);
	assert_int_equal(o.inner[2].a, 7);
	stream_put_object(&b, "type", grown_fields, &o);
	const struct stream_section s = { STREAM_OBJECT, "object0", b.data, b.size, 0 };
	assert_int_equal(stream_get_object(&s, "type", fields, NULL, &err), -1);
	assert_non_null(strstr(err.text, "'array'"));
	buffer_free(&file);
	buffer_free(&b);
}

static void every_cut_is_refused(void **state)
{
	struct buffer file = make_file();
	for (size_t size = 0; size < file.size; size++) {
		uint8_t *copy = malloc(size ? size : 1); /* so that a sanitizer sees reads behind it */
		memcpy(copy, file.data, size);
		assert_int_equal(walk(copy, size, fields, NULL), -1);
		free(copy);
	}
	buffer_put(&file, "x", 1);
	assert_int_equal(walk(file.data, file.size, fields, NULL), -1);
	buffer_free(&file);
}

static void every_flipped_bit_is_refused(void **state)
{
	struct buffer file = make_file();
	for (size_t bit = 0; bit < file.size * 8; bit++) {
		if (bit / 8 >= 12 && bit / 8 < 16)
			continue; /* the header's spare word */
		file.data[bit / 8] ^= (uint8_t)BIT(bit % 8);
		assert_int_equal(walk(file.data, file.size, fields, NULL), -1);
		file.data[bit / 8] ^= (uint8_t)BIT(bit % 8);
	}
	buffer_free(&file);
}

/* Payloads with a right checksum and wrong contents: bytes changed behind the checksum's back. */
static void wrong_payloads_are_refused_or_harmless(void **state)
{
	struct buffer b = { 0 };
	stream_put_object(&b, "type", fields, &sample);
	for (size_t i = 0; i < b.size; i++) {
		for (unsigned v = 0; v < 256; v++) {
			uint8_t *copy = malloc(b.size);
			struct object o;
			memcpy(copy, b.data, b.size);
			copy[i] = (uint8_t)v;
			struct stream_section s = { STREAM_OBJECT, "object0", copy, b.size, 0 };
			stream_get_object(&s, "type", fields, &o, NULL);
			free(copy);
		}
	}
	buffer_free(&b);
}

static void memory_comes_back(void **state)
{
	enum { PAGES = 5 };
	static uint8_t memory[PAGES * STREAM_PAGE_SIZE], back[PAGES * STREAM_PAGE_SIZE];
	struct stream_packer *p = stream_packer_create(&err);
	struct buffer b = { 0 };
	memset(memory + STREAM_PAGE_SIZE, 0x5a, STREAM_PAGE_SIZE);
	memory[4 * STREAM_PAGE_SIZE + 77] = 1;
	assert_int_equal(stream_put_memory(p, &b, 0, memory, PAGES, &err), 2);
	struct stream_section s = { STREAM_MEMORY, "ram", b.data, b.size, 0 };
	assert_int_equal(stream_get_memory(p, &s, NULL, sizeof(back), &err), 0);
	assert_int_equal(stream_get_memory(p, &s, back, sizeof(back), &err), 0);
	assert_memory_equal(memory, back, sizeof(memory));
	/* One page less than the chunk wants. */
	assert_int_equal(stream_get_memory(p, &s, back, sizeof(back) - STREAM_PAGE_SIZE, &err), -1);
	for (size_t size = 0; size < b.size; size++) {
		struct stream_section cut = { STREAM_MEMORY, "ram", b.data, size, 0 };
		assert_int_equal(stream_get_memory(p, &cut, back, sizeof(back), &err), -1);
	}
	store_le64(b.data, 1ull << 63);
	assert_int_equal(stream_get_memory(p, &s, back, sizeof(back), &err), -1);
	store_le64(b.data, 1);
	assert_int_equal(stream_get_memory(p, &s, back, sizeof(back), &err), -1);
	b.size = 0;
	assert_int_equal(stream_put_memory(p, &b, 0, memory, 1, &err), 0); /* zero */
	buffer_free(&b);
	stream_packer_destroy(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_come_back),
		cmocka_unit_test(other_programs_fields),
		cmocka_unit_test(lists_may_have_grown),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(every_flipped_bit_is_refused),
		cmocka_unit_test(wrong_payloads_are_refused_or_harmless),
		cmocka_unit_test(memory_comes_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
