/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_SMBIOS_H
#define VISOR_VM_SMBIOS_H

#include <stdint.h>

#include "base/error.h"
#include "vm/aml.h"

/* System management BIOS tables (DMTF DSP0134, 2.8): what dmidecode shows. */
#define SMBIOS_ANCHOR_SIZE 31u

struct smbios {
	uint8_t anchor[SMBIOS_ANCHOR_SIZE]; /* 32-bit entry point; the tables' address is 0 until smbios_relocate */
	struct aml tables;                  /* a plain byte buffer */
};

int smbios_build(struct smbios *smbios, unsigned cpus, uint64_t memory, struct error *err);
void smbios_destroy(struct smbios *smbios);
/* Says where the tables lie, and makes the anchor's checksums right. */
void smbios_relocate(struct smbios *smbios, uint32_t address);

#endif
