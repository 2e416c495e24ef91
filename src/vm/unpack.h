/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_UNPACK_H
#define VISOR_VM_UNPACK_H

#include "vm/boot.h"

/*
 * What a Linux kernel's build packs: gzip, bzip2, LZMA, XZ, LZO, LZ4 (the legacy frame) or Zstandard, told apart by how they begin
 * (Documentation/arch/x86/boot.rst, payload_offset). The packed bytes are hostile.
 */

/* Takes a piece of what comes out, which begins at `offset` of it. */
typedef void unpack_sink(void *opaque, uint64_t offset, const uint8_t *data, uint64_t size);

/* The first bytes of what is packed, `size` or as many as there are: their number, or -1. */
int64_t unpack_head(const struct boot_image *packed, uint8_t *head, size_t size, struct error *err);

/* All of it, which must be `total` bytes: each goes to the sink once, in pieces of any order, from two threads at a time. On an
 * error some may have. */
int unpack(const struct boot_image *packed, uint64_t total, unpack_sink *sink, void *opaque, struct error *err);

#endif
