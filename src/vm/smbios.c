/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/smbios.h"

#include <errno.h>

#include "base/util.h"

#define VENDOR "visor"
#define PRODUCT "visor PC"

/* Counts what the anchor must say. */
struct writer {
	struct aml *out;
	size_t start, largest;
	unsigned count;
};

static void begin(struct writer *w, uint8_t type, uint8_t length)
{
	w->start = w->out->size;
	aml_byte(w->out, type);
	aml_byte(w->out, length);
	aml_number(w->out, w->count++, 2); /* handle */
}

/* The strings that the structure's fields number from 1; NULL ends the list. */
static void end(struct writer *w, const char *const *strings)
{
	if (!strings || !strings[0])
		aml_byte(w->out, 0);
	for (; strings && *strings; strings++)
		aml_bytes(w->out, *strings, strlen(*strings) + 1);
	aml_byte(w->out, 0);
	w->largest = MAX(w->largest, w->out->size - w->start);
}

static void zeros(struct writer *w, unsigned count)
{
	while (count--)
		aml_byte(w->out, 0);
}

static void write_bios(struct writer *w)
{
	static const char *const strings[] = { VENDOR, VISOR_VERSION, "01/01/2024", NULL };
	begin(w, 0, 24);
	aml_byte(w->out, 1);
	aml_byte(w->out, 2);
	aml_number(w->out, 0xe800, 2); /* segment */
	aml_byte(w->out, 3);
	aml_byte(w->out, 0);           /* ROM of 64 KiB */
	aml_number(w->out, 8, 8);      /* characteristics: not supported */
	aml_byte(w->out, 0);
	aml_byte(w->out, 0x10);        /* this is a virtual machine */
	zeros(w, 2);
	aml_number(w->out, 0xffff, 2); /* no embedded controller */
	end(w, strings);
}

static void write_system(struct writer *w)
{
	static const char *const strings[] = { VENDOR, PRODUCT, VISOR_VERSION, NULL };
	begin(w, 1, 27);
	aml_byte(w->out, 1);
	aml_byte(w->out, 2);
	aml_byte(w->out, 3);
	aml_byte(w->out, 0);
	zeros(w, 16);        /* UUID: not present */
	aml_byte(w->out, 6); /* power switch */
	zeros(w, 2);
	end(w, strings);
}

static void write_chassis(struct writer *w)
{
	static const char *const strings[] = { VENDOR, NULL };
	begin(w, 3, 22);
	aml_byte(w->out, 1);
	aml_byte(w->out, 1); /* other */
	zeros(w, 3);
	for (unsigned i = 0; i < 4; i++)
		aml_byte(w->out, i < 3 ? 3 : 2); /* safe; security unknown */
	zeros(w, 9);
	end(w, strings);
}

static void write_processor(struct writer *w, unsigned cpus)
{
	static const char *const strings[] = { "CPU", VENDOR, NULL };
	begin(w, 4, 42);
	aml_byte(w->out, 1);
	aml_byte(w->out, 3);    /* central processor */
	aml_byte(w->out, 1);    /* family: other */
	aml_byte(w->out, 2);
	zeros(w, 8 + 1 + 1 + 2 + 2 + 2);
	aml_byte(w->out, 0x41); /* socket populated, enabled */
	aml_byte(w->out, 1);    /* upgrade: other */
	for (unsigned i = 0; i < 3; i++)
		aml_number(w->out, 0xffff, 2); /* no caches described */
	zeros(w, 3);
	aml_byte(w->out, (uint8_t)cpus);
	aml_byte(w->out, (uint8_t)cpus);
	aml_byte(w->out, (uint8_t)cpus);
	aml_number(w->out, 4, 2); /* 64 bits */
	aml_number(w->out, 1, 2);
	end(w, strings);
}

static void write_memory(struct writer *w, uint64_t memory)
{
	static const char *const strings[] = { "DIMM 0", NULL };
	uint64_t mib = memory >> 20;
	begin(w, 16, 23);
	aml_byte(w->out, 1); /* location: other */
	aml_byte(w->out, 3); /* system memory */
	aml_byte(w->out, 3); /* no error correction */
	aml_number(w->out, MIN(memory >> 10, 0x80000000ull), 4);
	aml_number(w->out, 0xfffe, 2);
	aml_number(w->out, 1, 2);
	aml_number(w->out, memory >> 10 >= 0x80000000ull ? memory : 0, 8);
	end(w, NULL);
	begin(w, 17, 40);
	aml_number(w->out, w->count - 2, 2); /* the array above */
	aml_number(w->out, 0xfffe, 2);
	aml_number(w->out, 0xffff, 2);
	aml_number(w->out, 0xffff, 2);
	aml_number(w->out, MIN(mib, 0x7fffull), 2);
	aml_byte(w->out, 9); /* DIMM */
	aml_byte(w->out, 0);
	aml_byte(w->out, 1);
	aml_byte(w->out, 0);
	aml_byte(w->out, 7); /* RAM */
	aml_number(w->out, 2, 2);
	zeros(w, 2 + 4 + 1);
	aml_number(w->out, mib >= 0x7fff ? mib : 0, 4);
	zeros(w, 2 + 6);
	end(w, strings);
	begin(w, 19, 31);
	aml_number(w->out, 0, 4);
	aml_number(w->out, MIN((memory >> 10) - 1, 0xfffffffeull), 4);
	aml_number(w->out, w->count - 3, 2);
	aml_byte(w->out, 1);
	zeros(w, 16);
	end(w, NULL);
}

static void write_end(struct writer *w)
{
	begin(w, 32, 11);
	zeros(w, 7); /* no boot errors */
	end(w, NULL);
	begin(w, 127, 4);
	end(w, NULL);
}

int smbios_build(struct smbios *smbios, unsigned cpus, uint64_t memory, struct error *err)
{
	*smbios = (struct smbios){ 0 };
	struct writer w = { .out = &smbios->tables };
	write_bios(&w);
	write_system(&w);
	write_chassis(&w);
	write_processor(&w, cpus);
	write_memory(&w, memory);
	write_end(&w);
	if (smbios->tables.failed) {
		smbios_destroy(smbios);
		return error_set(err, ENOMEM, "out of memory for the SMBIOS tables");
	}
	uint8_t *a = smbios->anchor;
	memcpy(a, "_SM_", 4);
	a[5] = SMBIOS_ANCHOR_SIZE;
	a[6] = 2;
	a[7] = 8;
	store_le16(a + 8, (uint16_t)w.largest);
	memcpy(a + 16, "_DMI_", 5);
	store_le16(a + 22, (uint16_t)smbios->tables.size);
	store_le16(a + 28, (uint16_t)w.count);
	a[30] = 0x28;
	smbios_relocate(smbios, 0);
	return 0;
}

void smbios_destroy(struct smbios *smbios)
{
	aml_destroy(&smbios->tables);
}

static uint8_t negative_sum(const uint8_t *data, unsigned size)
{
	uint8_t sum = 0;
	for (unsigned i = 0; i < size; i++)
		sum += data[i];
	return (uint8_t)-sum;
}

void smbios_relocate(struct smbios *smbios, uint32_t address)
{
	uint8_t *a = smbios->anchor;
	store_le32(a + 24, address);
	a[4] = a[21] = 0;
	a[21] = negative_sum(a + 16, 15); /* the intermediate anchor */
	a[4] = negative_sum(a, SMBIOS_ANCHOR_SIZE);
}
