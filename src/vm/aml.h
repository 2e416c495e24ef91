/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_AML_H
#define VISOR_VM_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Writes ACPI Machine Language (ACPI 6.4, chapter 20) in the order of the source: aml_device(a,
 * "PCI0"); ... aml_end(a). Running out of memory or nesting too deep is remembered in `failed`, so that the
 * writer need not look after every call.
 */
#define AML_MAX_DEPTH 16

struct aml {
	uint8_t *data;
	size_t size, room;
	bool failed;
	unsigned depth;
	struct {
		size_t at;       /* of the package length */
		bool resources;  /* a resource template: its buffer's length and end tag are still to come */
	} open[AML_MAX_DEPTH];
};

void aml_destroy(struct aml *a);

/* --- bytes --- */
void aml_bytes(struct aml *a, const void *data, size_t size);
void aml_byte(struct aml *a, uint8_t value);
/* `size` bytes, little-endian. */
void aml_number(struct aml *a, uint64_t value, unsigned size);
/* A name path as in ASL: "\\_SB.PCI0", "^ISA", "LNKA"; segments are padded with '_'. */
void aml_path(struct aml *a, const char *path);

/* --- things with contents; each wants its aml_end --- */
void aml_scope(struct aml *a, const char *path);
void aml_device(struct aml *a, const char *name);
void aml_method(struct aml *a, const char *name, unsigned arguments, bool serialized);
void aml_if(struct aml *a);   /* the predicate follows first */
void aml_else(struct aml *a);
void aml_package(struct aml *a, unsigned elements);
void aml_buffer_resources(struct aml *a);
/* access: 1 byte, 2 word, 3 dword; lock and update rules 0 (ACPI 6.4, 20.2.5.2: FieldFlags). */
void aml_field(struct aml *a, const char *region, uint8_t flags);
void aml_end(struct aml *a);

/* --- objects --- */
void aml_name(struct aml *a, const char *name); /* an object follows */
void aml_int(struct aml *a, uint64_t value);
void aml_string(struct aml *a, const char *string);
/* "PNP0A03" as the compressed 32-bit ID (ACPI 6.4, 6.1.5). */
void aml_eisa_id(struct aml *a, const char *id);
void aml_name_int(struct aml *a, const char *name, uint64_t value);
void aml_name_string(struct aml *a, const char *name, const char *string);
void aml_name_eisa_id(struct aml *a, const char *name, const char *id);
enum aml_space { AML_SYSTEM_MEMORY, AML_SYSTEM_IO, AML_PCI_CONFIG };
void aml_region(struct aml *a, const char *name, enum aml_space space, uint64_t offset, uint64_t length);
/* A named piece of a field, bits. */
void aml_field_unit(struct aml *a, const char *name, unsigned bits);

/* --- terms; operands follow, in ASL's order --- */
enum aml_op {
	AML_ZERO = 0x00, AML_LOCAL0 = 0x60, AML_ARG0 = 0x68, AML_STORE = 0x70, AML_AND = 0x7b, AML_OR = 0x7d,
	AML_CREATE_DWORD_FIELD = 0x8a, AML_LNOT = 0x92, AML_LEQUAL = 0x93, AML_RETURN = 0xa4,
};
static inline void aml_op(struct aml *a, enum aml_op op) { aml_byte(a, (uint8_t)op); }

/* --- resource descriptors, inside aml_buffer_resources (ACPI 6.4, 6.4) --- */
void aml_res_io(struct aml *a, uint16_t base, uint8_t alignment, uint8_t length);
void aml_res_irq(struct aml *a, unsigned irq);
/* Extended interrupt, consumer, level, active high, shared. */
void aml_res_interrupts(struct aml *a, const uint32_t *gsi, unsigned count);
void aml_res_memory32(struct aml *a, uint32_t base, uint32_t length, bool writable);
enum aml_range { AML_RANGE_MEMORY, AML_RANGE_IO, AML_RANGE_BUS };
/* An address range that a bridge produces; word or dword descriptor by `size` (2, 4). specific: type-specific flags. */
void aml_res_range(struct aml *a, enum aml_range kind, unsigned size, uint8_t specific, uint64_t first, uint64_t last);

#endif
