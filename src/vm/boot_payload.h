/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_BOOT_PAYLOAD_H
#define VISOR_VM_BOOT_PAYLOAD_H

#include "vm/boot.h"

/*
 * A bzImage's payload: the kernel proper, an ELF file for x86-64, packed, and its length in the last four bytes. Unpacks it into
 * [base, base+room) of guest RAM, where its segments must lie, and returns its physical 64-bit entry; 0: it cannot be done, err
 * says why. What was in that room may be gone then.
 */
uint64_t boot_load_payload(const struct boot_image *payload, struct guest_memory *memory, uint64_t base, uint64_t room, struct error *err);

#endif
