/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_STORE_BUILD_BOOT_H
#define VISOR_STORE_BUILD_BOOT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Where things are on the disk, in sectors. The last one may grow. */
#define BUILD_BIOS_FIRST 2048u
#define BUILD_EFI_FIRST 8192u
#define BUILD_ROOT_FIRST 73728u

/* What is made of host's packages on the way, below the folder `work`. */
struct build_boot {
	const char *work, *log;
	int disk;               /* the raw image */
	uint64_t sectors;
	char root_uuid[37];     /* of the file system */
};

/* What is missing on the host, with the package to install. */
int build_boot_check(struct error *err);
/* Whether the host has what EFI wants. */
bool build_boot_has_efi(void);

/* Partition table, GRUB for the BIOS and, where the host has it, for EFI in the removable path. */
int build_boot_write(const struct build_boot *boot, struct error *err);

#endif
