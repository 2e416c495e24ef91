/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "store/build_boot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "host/file.h"
#include "store/gpt.h"
#include "host/process.h"

#define SECTOR 512u
#define BIOS_FOLDER "/usr/lib/grub/i386-pc"
#define EFI_FOLDER "/usr/lib/grub/x86_64-efi"
#define MAX_CORE ((BUILD_EFI_FIRST - BUILD_BIOS_FIRST) * SECTOR)

/* Everything that the menu needs is in GRUB's image: no modules are read from the disk. */
#define MODULES "part_gpt", "part_msdos", "ext2", "fat", "search", "search_fs_uuid", "search_label", "configfile", "normal", \
	"linux", "echo", "test", "ls", "cat", "serial", "terminal", "minicmd", "reboot", "halt", "sleep", "gzio"

int build_boot_check(struct error *err)
{
	if (!process_exists("grub-mkimage"))
		return error_set(err, ENOENT, "grub-mkimage is missing; install the package grub-common");
	if (access(BIOS_FOLDER "/boot.img", R_OK) < 0)
		return error_set(err, ENOENT, BIOS_FOLDER "/boot.img is missing; install the package grub-pc-bin");
	return 0;
}

bool build_boot_has_efi(void)
{
	return access(EFI_FOLDER "/moddep.lst", R_OK) == 0 && process_exists("mformat") && process_exists("mcopy");
}

static int write_text(const char *path, const char *text, struct error *err)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || file_write_all(fd, text, strlen(text), NULL) < 0)
		return error_set(err, errno, "%s: cannot write it: %s", path, strerror(errno));
	return 0;
}

/* GRUB finds its menu by the file system, whatever the disk hangs on. */
static int write_config(const struct build_boot *b, char path[PATH_MAX], struct error *err)
{
	char text[300];
	snprintf(path, PATH_MAX, "%s/early.cfg", b->work);
	snprintf(text, sizeof(text), "search --no-floppy --fs-uuid --set=root %s\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n",
		 b->root_uuid);
	return write_text(path, text, err);
}

static int write_table(const struct build_boot *b, struct error *err)
{
	const struct gpt_partition partitions[] = {
		{ GPT_LINUX, 1, BUILD_ROOT_FIRST, b->sectors - 2048 - 1, "root" },
		{ GPT_BIOS_BOOT, 14, BUILD_BIOS_FIRST, BUILD_EFI_FIRST - 1, "grub" },
		{ GPT_EFI_SYSTEM, 15, BUILD_EFI_FIRST, BUILD_ROOT_FIRST - 1, "efi" },
	};
	return gpt_write(b->disk, b->sectors, partitions, ARRAY_SIZE(partitions), err);
}

/*
 * What grub-bios-setup does: boot.img in the MBR loads the first sector of the core image, whose place is at 0x5c; that
 * loads the rest, by a list that ends at the sector's end: first sector, count, segment (GRUB's include/grub/i386/pc/boot.h, offsets.h).
 */
static int write_bios(const struct build_boot *b, const char *config, struct error *err)
{
	enum { CODE = 440, KERNEL_SECTOR = 0x5c, BLOCK_LIST = 0x1f4, CORE_SEGMENT = 0x820 };
	char core_path[PATH_MAX];
	size_t core_size, boot_size;
	snprintf(core_path, sizeof(core_path), "%s/core.img", b->work);
	const char *const make[] = { "grub-mkimage", "-O", "i386-pc", "-d", BIOS_FOLDER, "-p", "/boot/grub", "-c", config, "-o", core_path, "biosdisk",
				     MODULES, NULL };
	if (process_run(make, b->log, err) < 0)
		return -1;
	cleanup_free uint8_t *core = file_read(core_path, MAX_CORE, &core_size, err);
	cleanup_free uint8_t *boot = core ? file_read(BIOS_FOLDER "/boot.img", SECTOR, &boot_size, err) : NULL;
	if (!boot)
		return -1;
	if (core_size < 2 * SECTOR || boot_size != SECTOR)
		return error_set(err, EINVAL, BIOS_FOLDER "/boot.img or what grub-mkimage makes has an unknown form; install GRUB 2.06");
	store_le64(boot + KERNEL_SECTOR, BUILD_BIOS_FIRST);
	store_le64(core + BLOCK_LIST, BUILD_BIOS_FIRST + 1);
	store_le16(core + BLOCK_LIST + 8, (uint16_t)((core_size + SECTOR - 1) / SECTOR - 1));
	store_le16(core + BLOCK_LIST + 10, CORE_SEGMENT);
	return file_write_at(b->disk, 0, boot, CODE, err) < 0 ? -1 : file_write_at(b->disk, BUILD_BIOS_FIRST * SECTOR, core, core_size, err);
}

static int write_efi(const struct build_boot *b, const char *config, struct error *err)
{
	char program[PATH_MAX], system[PATH_MAX], sectors[16];
	size_t size;
	snprintf(program, sizeof(program), "%s/BOOTX64.EFI", b->work);
	snprintf(system, sizeof(system), "%s/efi.img", b->work);
	snprintf(sectors, sizeof(sectors), "%u", BUILD_ROOT_FIRST - BUILD_EFI_FIRST);
	const char *const make[] = { "grub-mkimage", "-O", "x86_64-efi", "-d", EFI_FOLDER, "-p", "/boot/grub", "-c", config, "-o", program, "efi_gop",
				     MODULES, NULL };
	const char *const format[] = { "mformat", "-i", system, "-C", "-T", sectors, "-h", "64", "-s", "32", "-v", "EFI", "::", NULL };
	const char *const folders[] = { "mmd", "-i", system, "::/EFI", "::/EFI/BOOT", NULL };
	const char *const copy[] = { "mcopy", "-i", system, program, "::/EFI/BOOT/BOOTX64.EFI", NULL };
	const char *const *const steps[] = { make, format, folders, copy };
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++)
		if (process_run(steps[i], b->log, err) < 0)
			return -1;
	cleanup_free uint8_t *image = file_read(system, (BUILD_ROOT_FIRST - BUILD_EFI_FIRST) * SECTOR, &size, err);
	return image ? file_write_at(b->disk, BUILD_EFI_FIRST * (uint64_t)SECTOR, image, size, err) : -1;
}

int build_boot_write(const struct build_boot *b, struct error *err)
{
	char config[PATH_MAX];
	if (write_config(b, config, err) < 0 || write_bios(b, config, err) < 0 || write_table(b, err) < 0)
		return -1;
	return build_boot_has_efi() ? write_efi(b, config, err) : 0;
}
