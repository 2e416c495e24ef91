/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mode pages (SPC-2, 8.3; SBC-2, 6.3): what can be changed is the write cache's enable bit. */
#include "dev/scsi/disk.h"

#include <string.h>

#include "base/util.h"

#define REPLY 128u
#define PARAMETERS 512u
#define WCE 0x04u

enum control { CURRENT, CHANGEABLE, DEFAULTS, SAVED };

/* A page's body for one kind of values; the body is zero before. */
static void error_recovery(const struct scsi_disk *disk, enum control control, uint8_t *body)
{
	if (control != CHANGEABLE) {
		body[0] = 0xc0; /* reallocates by itself */
		body[1] = 8;    /* retries */
		body[6] = 8;
	}
}

/* What a disk of this size can be said to look like, as the int 13h geometry of 255 heads and 63 sectors. */
static void geometry(const struct scsi_disk *disk, enum control control, uint8_t *body)
{
	if (control == CHANGEABLE)
		return;
	store_be(body, MIN(scsi_blocks(disk) / (255 * 63), (uint64_t)0xffffff), 3);
	body[3] = 255;
	store_be(body + 18, 7200, 2);
}

static void format_device(const struct scsi_disk *disk, enum control control, uint8_t *body)
{
	if (control == CHANGEABLE)
		return;
	store_be(body + 8, 63, 2);
	store_be(body + 10, BLOCK_SECTOR, 2);
	body[18] = 0x40; /* hard sectors */
}

static void caching(const struct scsi_disk *disk, enum control control, uint8_t *body)
{
	if (control == CHANGEABLE || control == DEFAULTS || disk->write_cache)
		body[0] = WCE;
}

static void control_mode(const struct scsi_disk *disk, enum control control, uint8_t *body)
{
	if (control != CHANGEABLE)
		body[1] = 0x10; /* tagged commands may be reordered */
}

static const struct mode_page {
	uint8_t code, length; /* of the body */
	void (*fill)(const struct scsi_disk *disk, enum control control, uint8_t *body);
} pages[] = {
	{ 0x01, 10, error_recovery }, { 0x03, 22, format_device }, { 0x04, 22, geometry }, { 0x08, 18, caching },
	{ 0x0a, 10, control_mode },
};

static unsigned put_pages(const struct scsi_disk *disk, unsigned code, enum control control, uint8_t *at)
{
	unsigned size = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++) {
		if (code != 0x3f && code != pages[i].code)
			continue;
		at[size] = pages[i].code;
		at[size + 1] = pages[i].length;
		pages[i].fill(disk, control, at + size + 2);
		size += 2u + pages[i].length;
	}
	return size;
}

static void put_block_descriptor(const struct scsi_disk *disk, uint8_t *at)
{
	store_be(at, MIN(scsi_blocks(disk), (uint64_t)0xffffff), 4);
	store_be(at + 4, BLOCK_SECTOR, 4);
}

void scsi_mode_sense(struct scsi_request *request)
{
	const struct scsi_disk *disk = request->disk;
	const uint8_t *cdb = request->cdb;
	bool long_form = cdb[0] == 0x5a;
	enum control control = (enum control)(cdb[2] >> 6);
	uint8_t data[REPLY] = { 0 };
	unsigned header = long_form ? 8 : 4, descriptor = cdb[1] & 8 ? 0 : 8;
	if (control == SAVED) {
		scsi_illegal(request, 0x39); /* saving parameters not supported */
		return;
	}
	unsigned body = put_pages(disk, cdb[2] & 0x3f, control, data + header + descriptor);
	if (!body || (cdb[3] && cdb[3] != 0xff)) {
		scsi_illegal(request, ASC_INVALID_FIELD);
		return;
	}
	unsigned size = header + descriptor + body;
	uint8_t specific = (uint8_t)(0x10 | (disk->block->read_only ? 0x80 : 0)); /* DPO and FUA are taken */
	if (descriptor)
		put_block_descriptor(disk, data + header);
	if (long_form) {
		store_be(data, size - 2, 2);
		data[3] = specific;
		data[7] = (uint8_t)descriptor;
	} else {
		data[0] = (uint8_t)(size - 1);
		data[2] = specific;
		data[3] = (uint8_t)descriptor;
	}
	scsi_reply(request, data, size, long_form ? load_be(cdb + 7, 2) : cdb[4]);
}

/* A page may say what it says anyhow, but for bits that can be changed. */
static bool page_agrees(const struct scsi_disk *disk, const struct mode_page *page, const uint8_t *body)
{
	uint8_t now[32] = { 0 }, mask[32] = { 0 };
	page->fill(disk, CURRENT, now);
	page->fill(disk, CHANGEABLE, mask);
	for (unsigned i = 0; i < page->length; i++)
		if ((now[i] ^ body[i]) & ~mask[i])
			return false;
	return true;
}

/* The pages of a parameter list; their sense code, 0: all are taken. */
static uint8_t take_pages(struct scsi_disk *disk, const uint8_t *at, const uint8_t *end, bool apply)
{
	while (at < end) {
		const struct mode_page *page = NULL;
		for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
			if (pages[i].code == (at[0] & 0x3f))
				page = &pages[i];
		if (!page || end - at < 2 || at[1] != page->length)
			return ASC_INVALID_PARAMETER;
		if (end - at < 2 + page->length)
			return ASC_PARAMETER_LENGTH;
		if (!page_agrees(disk, page, at + 2))
			return ASC_INVALID_PARAMETER;
		if (apply && page->code == 0x08)
			disk->write_cache = at[2] & WCE;
		at += 2 + page->length;
	}
	return 0;
}

void scsi_mode_select(struct scsi_request *request)
{
	const uint8_t *cdb = request->cdb;
	bool long_form = cdb[0] == 0x55;
	uint8_t data[PARAMETERS];
	uint32_t length = long_form ? load_be(cdb + 7, 2) : cdb[4], header = long_form ? 8 : 4;
	/* PF, and nothing is saved. */
	if ((cdb[1] & 0x11) != 0x10 || length > sizeof(data)) {
		scsi_illegal(request, ASC_INVALID_FIELD);
		return;
	}
	length = scsi_parameters(request, data, length);
	if (!length) {
		scsi_good(request);
		return;
	}
	uint32_t descriptor = length < header ? 0 : long_form ? load_be(data + 6, 2) : data[3];
	if (length < header || length - header < descriptor) {
		scsi_illegal(request, ASC_PARAMETER_LENGTH);
		return;
	}
	const uint8_t *from = data + header + descriptor, *end = data + length;
	uint8_t wrong = descriptor % 8 ? ASC_INVALID_PARAMETER : take_pages(request->disk, from, end, false);
	if (wrong) {
		scsi_illegal(request, wrong);
		return;
	}
	take_pages(request->disk, from, end, true);
	scsi_good(request);
}
