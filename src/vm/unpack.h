/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_UNPACK_H
#define VISOR_VM_UNPACK_H

#include "vm/boot.h"

/*
 * Takes a piece of what comes out, which begins at `offset` of it: first that of offset 0; when that has been taken, the others in any
 * order, on two threads at once. Below 0: no more, err is set.
 */
typedef int unpack_sink(void *opaque, uint64_t offset, const uint8_t *data, size_t size, struct error *err);

/*
 * Unpacks what a Linux kernel's build packs: gzip, bzip2, LZMA, XZ, LZO, LZ4 (the legacy frame) or Zstandard, told apart by how
 * they begin (Documentation/arch/x86/boot.rst, payload_offset). The packed bytes are hostile. An error, too, when it is not `total`
 * bytes; no more than those go to the sink.
 */
int unpack(const struct boot_image *packed, uint64_t total, unpack_sink *sink, void *opaque, struct error *err);

/* The error for packed bytes that are not what they should be; why may be NULL. */
int unpack_damaged(const char *format, const char *why, struct error *err);

#endif
