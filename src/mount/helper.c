/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mount/helper.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "host/process.h"

static const struct helper {
	const char *content, *program, *package;
	const char *flag;       /* before all else */
	const char *write;      /* its option to write; NULL: it only reads, or should not be trusted with more */
	bool kernel_writes;     /* then root is better served by the kernel */
} helpers[] = {
	{ "ext4", "fuse2fs", "fuse2fs", NULL, "rw", false },
	{ "ext3", "fuse2fs", "fuse2fs", NULL, "rw", false },
	{ "ext2", "fuse2fs", "fuse2fs", NULL, "rw", false },
	{ "vfat", "fusefat", "fusefat", NULL, NULL, true },
	{ "ntfs", "ntfs-3g", "ntfs-3g", NULL, "rw", false },
	{ "iso9660", "fuseiso", "fuseiso", "-n", NULL, false },
	{ "squashfs", "squashfuse", "squashfuse", NULL, NULL, false },
};

static const char *const without_files[] = { "swap", "lvm", "luks" };

static int by_program(const struct helper *helper, const char *file, const char *folder, bool read_only, const char *log, struct error *err)
{
	const char *argv[8] = { helper->program };
	unsigned n = 1;
	char options[64];
	bool ext = !strcmp(helper->program, "fuse2fs");
	/* Else only files of who has our number there could be read. */
	snprintf(options, sizeof(options), "%s%s", read_only ? "ro" : helper->write, ext && geteuid() ? ",fakeroot" : "");
	if (helper->flag)
		argv[n++] = helper->flag;
	argv[n++] = file;
	argv[n++] = folder;
	argv[n++] = "-o";
	argv[n++] = options;
	return process_run(argv, log, err);
}

static int by_kernel(const char *content, const char *file, const char *folder, bool read_only, const char *log, struct error *err)
{
	char options[64];
	snprintf(options, sizeof(options), "loop,nosuid,nodev,%s", read_only ? "ro" : "rw");
	const char *const argv[] = { "mount", "-t", content, "-o", options, file, folder, NULL };
	return process_run(argv, log, err);
}

bool helper_has_files(const char *content)
{
	for (unsigned i = 0; i < ARRAY_SIZE(without_files); i++)
		if (!strcmp(without_files[i], content))
			return false;
	return true;
}

int helper_mount(const char *file, const char *folder, const char *content, bool *read_only, const char *log, const char **program, struct error *err)
{
	const struct helper *helper = NULL;
	bool root = geteuid() == 0;
	for (unsigned i = 0; i < ARRAY_SIZE(helpers); i++)
		if (!strcmp(helpers[i].content, content))
			helper = &helpers[i];
	if (!helper_has_files(content))
		return error_set(err, EINVAL, "it holds %s, which has no files to show", content);
	bool there = helper && process_exists(helper->program);
	*program = "the kernel";
	if (root && !*read_only && helper && helper->kernel_writes && by_kernel(content, file, folder, false, log, err) == 0)
		return 0;
	if (there) {
		*program = helper->program;
		*read_only |= !helper->write;
		return by_program(helper, file, folder, *read_only, log, err);
	}
	if (root && by_kernel(content, file, folder, *read_only, log, err) == 0)
		return 0;
	if (helper)
		return error_set(err, ENOENT, "it holds %s; install the package %s, which shows that", content, helper->package);
	return root ? -1 : error_set(err, EPERM, "it holds %s, which only the kernel can show; be root", content);
}
