/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The layout of a 1.44 MB disk with FAT12, and where the system that starts from it has its things. */
#define SECTOR 512
#define SECTORS 2880
#define TRACK 18		/* sectors of a track; two heads */
#define FAT_SECTOR 1
#define FAT_SECTORS 9		/* there are two */
#define ROOT_SECTOR 19
#define ROOT_ENTRIES 224
#define ROOT_SECTORS 14
#define CLUSTER_SECTOR 31	/* cluster N, of one sector, is sector N + 31 */
#define ENTRY 32		/* bytes of a directory entry */
#define ENTRY_CLUSTER 26
#define ENTRY_SIZE 28
#define LAST_CLUSTER 0xff8

#define SYSTEM_SEGMENT 0x1000
#define PROGRAM_SEGMENT 0x2000
