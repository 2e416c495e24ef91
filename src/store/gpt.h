/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_STORE_GPT_H
#define VISOR_STORE_GPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* A partition table (UEFI specification, 5.3) on a disk with sectors of 512 bytes. */
enum gpt_type { GPT_LINUX, GPT_EFI_SYSTEM, GPT_BIOS_BOOT };

struct gpt_partition {
	enum gpt_type type;
	unsigned number;       /* 1 to 128 */
	uint64_t first, last;  /* sectors */
	const char *name;      /* ASCII, up to 36 characters */
};

#define GPT_FIRST 34u          /* sectors before are the table's */
#define GPT_BEHIND 33u         /* so many at the disk's end, too */

/* Writes both copies, and the entries of the protective MBR; what code there is in the MBR stays. */
int gpt_write(int fd, uint64_t sectors, const struct gpt_partition *partitions, unsigned count, struct error *err);

/* A random UUID (RFC 9562, version 4): 16 bytes as they are written as text. */
int gpt_uuid(uint8_t uuid[16], struct error *err);
void gpt_uuid_text(const uint8_t uuid[16], char text[37]);

#endif
