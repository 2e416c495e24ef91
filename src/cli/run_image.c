/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * visor run IMAGE: a machine with a disk over an image of the store, and what cloud-init in it is told.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "cli/run.h"
#include "store/machine.h"

/* The first two drives: of the disk the machine starts, and from the seed cloud-init finds what it is told. */
static int add_drives(struct run_values *v, struct error *err)
{
	struct option_list given = v->disks;
	if (given.count + 2 > OPTION_LIST_MAX)
		return error_set(err, EINVAL, "--disk: a machine made from an image has two disks of its own; give at most %d besides", OPTION_LIST_MAX - 2);
	v->disks = (struct option_list){ { "disk", "seed" }, given.count + 2 };
	memcpy(v->disks.values + 2, given.values, given.count * sizeof(*given.values));
	return 0;
}

int run_check_image(struct run_values *v, const char *image, struct error *err)
{
	const struct {
		const char *name;
		bool given;
	} flags[] = { { "user", v->user }, { "ssh-key", v->ssh_key }, { "hostname", v->hostname } };
	for (unsigned i = 0; i < ARRAY_SIZE(flags) && !image; i++)
		if (flags[i].given)
			return error_set(err, EINVAL, "--%s: belongs to a machine made from an image; name one: visor run IMAGE --%s ...", flags[i].name,
					 flags[i].name);
	if (!image)
		return 0;
	if (v->restore)
		return error_set(err, EINVAL, "--restore: the saved machine has its disks; leave the image '%s' out", image);
	if (!v->name)
		v->name = image;
	return add_drives(v, err);
}

int run_use_image(struct run_values *v, const char *image, struct error *err)
{
	/* As long-lived as the flags. */
	static struct store_machine machine;
	static char disk[PATH_MAX + 32], seed[PATH_MAX + 32];
	const struct store_login login = { v->user, v->ssh_key, v->hostname };
	if (store_machine(v->name, image, &login, &machine, err) < 0)
		return -1;
	if (machine.made && !machine.has_keys)
		log_warn("%s: without --ssh-key nobody can log in but by what the image itself has", v->name);
	if (v->firmware && !v->uefi_vars)
		v->uefi_vars = machine.uefi_vars;
	snprintf(disk, sizeof(disk), "%s,format=qcow2", machine.disk);
	snprintf(seed, sizeof(seed), "%s,ro,format=raw", machine.seed);
	v->disks.values[0] = disk;
	v->disks.values[1] = seed;
	return 0;
}
