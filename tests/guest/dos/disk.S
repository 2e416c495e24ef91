/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The disk: boot sector, two FATs, the root directory and the files, which build.sh lists in files.h, one
 * behind the other: file NAME EXTENSION SIZE PATH.
 */
#include "disk.h"

	.set pending, 0		/* the first of a pair of FAT entries, 12 bits each */
	.set odd, 0
	.macro fat_entry value
	.if odd
	.byte pending & 0xff, (pending >> 8) | ((\value) & 15) << 4, (\value) >> 4
	.else
	.set pending, \value
	.endif
	.set odd, !odd
	.endm

	.macro fat_chain count
	.rept \count - 1
	.set cluster, cluster + 1
	fat_entry cluster
	.endr
	.set cluster, cluster + 1
	fat_entry 0xfff
	.endm

	.macro fat
	.set odd, 0
	.set cluster, 2
	fat_entry 0xff0
	fat_entry 0xfff
	.macro file name, extension, size, path
	fat_chain ((\size + SECTOR - 1) / SECTOR)
	.endm
#include "files.h"
	.purgem file
	fat_entry 0
	fat_entry 0
	.endm

	.globl _start
_start:	.incbin "boot.bin"
	.org FAT_SECTOR * SECTOR
	fat
	.org (FAT_SECTOR + FAT_SECTORS) * SECTOR
	fat
	.org ROOT_SECTOR * SECTOR
	.set cluster, 2
	.macro file name, extension, size, path
	.ascii "\name"
	.ascii "\extension"
	.byte 0x20
	.fill 10
	.word 20 << 11 | 30 << 5, (2026 - 1980) << 9 | 11 << 5 | 21, cluster
	.long \size
	.set cluster, cluster + (\size + SECTOR - 1) / SECTOR
	.endm
#include "files.h"
	.purgem file
	.org (CLUSTER_SECTOR + 2) * SECTOR
	.macro file name, extension, size, path
	.incbin "\path"
	.balign SECTOR
	.endm
#include "files.h"
	.org SECTORS * SECTOR
