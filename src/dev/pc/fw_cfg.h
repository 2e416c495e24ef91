/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_FW_CFG_H
#define VISOR_DEV_PC_FW_CFG_H

#include <stddef.h>

#include "bus/device.h"
#include "bus/space.h"
#include "mem/memory.h"

/*
 * The firmware configuration device (QEMU's docs/specs/fw_cfg): selector at port
 * 0x510, data at 0x511, DMA address at 0x514 (big-endian).
 */
struct fw_cfg_config {
	struct lock *lock;
	struct io_space *ports;
	struct guest_memory *memory;
};

struct fw_cfg;

struct fw_cfg *fw_cfg_create(const struct fw_cfg_config *config, struct error *err);

/* Adds an item under a key 0x0002..0x0018 or 0x8000.. (the data is copied), or a file. All before the machine runs. */
int fw_cfg_add_item(struct fw_cfg *fw_cfg, unsigned key, const void *data, size_t length, struct error *err);
int fw_cfg_add_file(struct fw_cfg *fw_cfg, const char *name, const void *data, size_t length, struct error *err);

/* A file that the guest may write by DMA: it lives in the owner's buffer, which the owner also saves. `written` is
 * called with the lock taken after each write, and may be NULL. */
int fw_cfg_add_writable(struct fw_cfg *fw_cfg, const char *name, void *data, size_t length,
			void (*written)(void *opaque, size_t offset, size_t length), void *opaque, struct error *err);

/* Keys of the kernel loader (docs/specs/fw_cfg). */
enum fw_cfg_key {
	FW_CFG_RAM_SIZE = 0x03, FW_CFG_NOGRAPHIC = 0x04, FW_CFG_NB_CPUS = 0x05, FW_CFG_KERNEL_ADDR = 0x07,
	FW_CFG_KERNEL_SIZE = 0x08, FW_CFG_INITRD_ADDR = 0x0a, FW_CFG_INITRD_SIZE = 0x0b, FW_CFG_BOOT_MENU = 0x0e,
	FW_CFG_MAX_CPUS = 0x0f, FW_CFG_KERNEL_ENTRY = 0x10, FW_CFG_KERNEL_DATA = 0x11, FW_CFG_INITRD_DATA = 0x12,
	FW_CFG_CMDLINE_ADDR = 0x13, FW_CFG_CMDLINE_SIZE = 0x14, FW_CFG_CMDLINE_DATA = 0x15, FW_CFG_SETUP_ADDR = 0x16,
	FW_CFG_SETUP_SIZE = 0x17, FW_CFG_SETUP_DATA = 0x18, FW_CFG_FILE_DIR = 0x19, FW_CFG_FILE_FIRST = 0x20,
};

#endif
