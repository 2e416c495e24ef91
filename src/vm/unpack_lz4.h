/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_UNPACK_LZ4_H
#define VISOR_VM_UNPACK_LZ4_H

#include "vm/unpack.h"

/* unpack() of an LZ4 legacy frame (lz4_Frame_format.md, "Legacy frame"), on two threads: its blocks are independent of each other. */
int unpack_lz4(const struct boot_image *packed, uint64_t total, unpack_sink *sink, void *opaque, struct error *err);

#endif
