/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * visor image: the store of disk images that machines are made from; visor rm.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "block/image.h"
#include "cli/commands.h"
#include "cli/disk.h"
#include "host/rundir.h"
#include "store/build.h"
#include "store/digest.h"
#include "store/import.h"
#include "store/store.h"

/* --- list --- */

struct list_values {
	bool json;
};

static void print_image(const json_t *image)
{
	const json_t *machines = json_object_get(image, "machines"), *machine;
	const char *error = json_string_value(json_object_get(image, "error"));
	char size[32], allocated[32];
	size_t i;
	printf("%-24s", json_string_value(json_object_get(image, "name")));
	if (error) {
		printf(" (%s)\n", error);
		return;
	}
	printf(" %12s %12s ", disk_size_text((uint64_t)json_integer_value(json_object_get(image, "size")), size),
	       disk_size_text((uint64_t)json_integer_value(json_object_get(image, "allocated")), allocated));
	json_array_foreach(machines, i, machine)
		printf("%s%s", i ? "," : "", json_string_value(machine));
	puts(json_array_size(machines) ? "" : "-");
}

static int list_run(const void *values, const struct operands *operands)
{
	const struct list_values *v = values;
	struct error err;
	size_t i;
	json_t *images = store_images(&err), *image;
	if (!images)
		return disk_fail(&err);
	if (v->json) {
		disk_print_json(images);
		return STATUS_OK;
	}
	printf("%-24s %12s %12s %s\n", "NAME", "SIZE", "ON DISK", "MACHINES");
	json_array_foreach(images, i, image)
		print_image(image);
	json_decref(images);
	return STATUS_OK;
}

static const struct option list_options[] = {
	{ .name = "json", .kind = OPTION_FLAG, .offset = offsetof(struct list_values, json),
	  .help = "print an array of objects with name, path, size, allocated and machines" },
	OPTION_END
};

static const struct command image_list = {
	.name = "image list",
	.summary = "list the images, and the machines made from each",
	.options = list_options,
	.values_size = sizeof(struct list_values),
	.run = list_run,
};

/* --- rm --- */

static const struct option no_options[] = { OPTION_END };

static int image_rm_run(const void *values, const struct operands *operands)
{
	struct error err;
	return store_remove_image(operands->values[0], &err) < 0 ? disk_fail(&err) : STATUS_OK;
}

static const struct command image_rm = {
	.name = "image rm",
	.operands = "IMAGE",
	.min_operands = 1,
	.max_operands = 1,
	.completion = { COMPLETE_IMAGE },
	.summary = "remove an image",
	.description = "Not while there are machines made from it: their disks hold only what differs from the image.",
	.options = no_options,
	.run = image_rm_run,
};

static int rm_run(const void *values, const struct operands *operands)
{
	const char *name = operands->values[0];
	struct error err;
	int fd = rundir_name_ok(name) ? rundir_connect(name, NULL) : -1;
	if (fd >= 0) {
		close(fd);
		log_error("%s: the machine runs; end it first: visor stop %s", name, name);
		return STATUS_FAILURE;
	}
	return store_remove_machine(name, &err) < 0 ? disk_fail(&err) : STATUS_OK;
}

const struct command command_rm = {
	.name = "rm",
	.operands = "NAME",
	.min_operands = 1,
	.max_operands = 1,
	.completion = { COMPLETE_MACHINE },
	.summary = "remove a machine that was made from an image, with its disk",
	.description = "What its guest wrote is lost.",
	.options = no_options,
	.run = rm_run,
};

/* --- import --- */

struct import_values {
	const char *name, *sha256;
};

/* Without a total the bytes are all that can be said. */
static void show_fetched(void *opaque, uint64_t done, uint64_t total)
{
	const struct image_progress *share = opaque;
	static uint64_t shown;
	char room[32];
	if (total)
		share->call(share->opaque, MIN(done, total), total);
	else if (done >> 20 != shown)
		fprintf(stderr, "\r%12s", disk_size_text((shown = done >> 20) << 20, room));
}

static int import_run(const void *values, const struct operands *operands)
{
	const struct import_values *v = values;
	char usual[NAME_MAX + 1];
	struct error err;
	struct image_progress share = disk_progress();
	struct store_import import = { .source = operands->values[0], .name = v->name, .sha256 = v->sha256 };
	if (share.call)
		import.progress = (struct image_progress){ show_fetched, &share };
	if (v->sha256 && digest_check(v->sha256, &err) < 0) {
		log_error("--sha256: %s", err.text);
		return STATUS_USAGE;
	}
	if (store_import(&import, &err) < 0)
		return disk_fail(&err);
	disk_progress_end();
	store_import_name(import.source, usual);
	printf("%s\n", v->name ? v->name : usual);
	return STATUS_OK;
}

static const struct option import_options[] = {
	{ .name = "name", .kind = OPTION_STRING, .offset = offsetof(struct import_values, name), .argument = "NAME",
	  .help = "the image's name; after the file without it" },
	{ .name = "sha256", .kind = OPTION_STRING, .offset = offsetof(struct import_values, sha256), .argument = "SUM",
	  .help = "the file's checksum, 64 hexadecimal digits as sha256sum prints them; another file is refused" },
	OPTION_END
};

static const struct command image_import = {
	.name = "image import",
	.operands = "FILE|URL",
	.min_operands = 1,
	.max_operands = 1,
	.completion = { COMPLETE_FILE },
	.summary = "bring a disk image into the store",
	.description = "The image may be of any format that 'visor disk' reads; the store's is a qcow2 copy. A URL begins with http://, https:// or "
		       "file://. A download that breaks off goes on where it was, in the same command or in the next one for the same URL, as "
		       "long as the server says that the file is still the same, or --sha256 is given. Prints the image's name.",
	.options = import_options,
	.values_size = sizeof(struct import_values),
	.run = import_run,
};

/* --- build --- */

struct build_values {
	const char *release, *name, *output;
	uint64_t size;
	unsigned kernel;
	struct option_list packages;
	bool verbose;
};

static const char *const kernels[] = { "cloud", "generic", NULL };
static const char *const kernel_packages[] = { "linux-image-cloud-amd64", "linux-image-amd64" };

static void say_stage(void *opaque, const char *text)
{
	log_info("%s", text);
}

static int copy_built(const char *raw, const char *path, enum image_format format, struct error *err)
{
	const struct image_config source = { .path = raw, .format = IMAGE_RAW, .read_only = true };
	const struct image_create target = { .path = path, .format = format };
	const struct image_copy how = { .chain = true, .empty = true };
	struct image_progress progress = disk_progress();
	struct image *from = image_open(&source, err);
	int rc = from ? image_copy_new(from, &target, &how, &progress, err) : -1;
	disk_progress_end();
	image_close(from);
	return rc;
}

static int build_at(const struct build_values *v, const char *raw, const char *path, enum image_format format, struct error *err)
{
	const char *more[OPTION_LIST_MAX + 1] = { NULL };
	memcpy(more, v->packages.values, v->packages.count * sizeof(*more));
	const struct build build = {
		.release = v->release, .size = v->size, .kernel = kernel_packages[v->kernel], .packages = more, .path = raw, .verbose = v->verbose,
		.stage = say_stage,
	};
	int rc = build_debian(&build, err);
	if (rc == 0) {
		say_stage(NULL, "writing the image");
		rc = copy_built(raw, path, format, err);
		unlink(raw);
	}
	return rc;
}

/* Into the store, or at the place that --output says. */
static int build(const struct build_values *v, const char *name, struct error *err)
{
	char path[PATH_MAX], raw[PATH_MAX + 16];
	if (v->output) {
		if (access(v->output, F_OK) == 0)
			return error_set(err, EEXIST, "%s: there is such a file already; remove it, or choose another name", v->output);
		if (snprintf(raw, sizeof(raw), "%s.raw-%ld", v->output, (long)getpid()) >= PATH_MAX)
			return error_set(err, ENAMETOOLONG, "%s: the name is too long", v->output);
		return build_at(v, raw, v->output, disk_format_of_name(v->output), err);
	}
	if (store_new_image(name, path, err) < 0 || store_temporary(name, path, err) < 0)
		return -1;
	snprintf(raw, sizeof(raw), "%s.raw", path);
	if (build_at(v, raw, path, IMAGE_QCOW2, err) < 0)
		return -1;
	int rc = store_add_image(path, name, err);
	if (rc < 0)
		unlink(path);
	return rc;
}

static int check_build(const struct build_values *v, const struct operands *operands, struct error *err)
{
	if (strcmp(operands->values[0], "debian"))
		return error_set(err, EINVAL, "'%s': only debian can be built; 'visor image import' takes images of others", operands->values[0]);
	if (!*v->release || strspn(v->release, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(v->release))
		return error_set(err, EINVAL, "--release: '%s' cannot be a release of Debian; write bookworm", v->release);
	for (unsigned i = 0; i < v->packages.count; i++)
		if (!*v->packages.values[i] || strspn(v->packages.values[i], "abcdefghijklmnopqrstuvwxyz0123456789+-.") != strlen(v->packages.values[i]))
			return error_set(err, EINVAL, "--package: '%s' cannot be a package's name", v->packages.values[i]);
	if (v->size % (1 << 20))
		return error_set(err, EINVAL, "--size: must be a whole number of MiB, as 4G");
	if (v->name && v->output)
		return error_set(err, EINVAL, "--name: is for the store, and --output for a file elsewhere; leave one of them out");
	return v->name ? store_check_name("--name", v->name, err) : 0;
}

static int build_run(const void *values, const struct operands *operands)
{
	const struct build_values *v = values;
	const char *name = v->name ? v->name : operands->values[0];
	struct error err;
	if (check_build(v, operands, &err) < 0) {
		log_error("%s", err.text);
		return STATUS_USAGE;
	}
	log_threshold = LOG_INFO; /* it takes minutes */
	if (build(v, name, &err) < 0)
		return disk_fail(&err);
	puts(v->output ? v->output : name);
	return STATUS_OK;
}

static const struct option build_options[] = {
	{ .name = "release", .kind = OPTION_STRING, .offset = offsetof(struct build_values, release), .argument = "NAME",
	  .help = "the release; bookworm without it" },
	{ .name = "size", .kind = OPTION_SIZE, .offset = offsetof(struct build_values, size), .argument = "SIZE", .min = BUILD_MIN_SIZE,
	  .max = 1ull << 44, .help = "the disk's size; 4G without it. What nothing was written to takes no space" },
	{ .name = "kernel", .kind = OPTION_CHOICE, .offset = offsetof(struct build_values, kernel), .argument = "KIND", .choices = kernels,
	  .help = "cloud (drivers for virtio alone, starts faster) or generic; cloud without it" },
	{ .name = "package", .kind = OPTION_LIST, .offset = offsetof(struct build_values, packages), .argument = "PACKAGE",
	  .help = "install this package, too. May be given several times" },
	{ .name = "name", .kind = OPTION_STRING, .offset = offsetof(struct build_values, name), .argument = "NAME",
	  .help = "the image's name in the store; debian without it" },
	{ .name = "output", .letter = 'o', .kind = OPTION_STRING, .offset = offsetof(struct build_values, output), .argument = "FILE",
	  .completion = COMPLETE_FILE, .help = "write the image to this file instead, in the format that its name says" },
	{ .name = "verbose", .kind = OPTION_FLAG, .offset = offsetof(struct build_values, verbose), .help = "show what the programs say" },
	OPTION_END
};

static const struct build_values build_defaults = { .release = "bookworm", .size = 4ull << 30 };

static const struct command image_build = {
	.name = "image build",
	.operands = "debian",
	.min_operands = 1,
	.max_operands = 1,
	.summary = "make a bootable disk image of Debian from its packages",
	.description = "The packages come from the host's mirror of the release (apt's configuration), or from deb.debian.org. The guest has systemd, "
		       "cloud-init, an SSH server, DHCP, and a console on the first serial port. It starts by BIOS, and by UEFI where this host has the packages "
		       "grub-efi-amd64-bin and mtools. Needs mmdebstrap, e2fsprogs, grub-common and grub-pc-bin; no loop devices, and user namespaces "
		       "when not run by root.",
	.options = build_options,
	.values_size = sizeof(struct build_values),
	.defaults = &build_defaults,
	.run = build_run,
};

static const struct command *const image_commands[] = { &image_build, &image_import, &image_list, &image_rm, NULL };

const struct command command_image = {
	.name = "image",
	.summary = "make, fetch, list and remove images that machines are made from",
	.description = "Images have names: 'visor run IMAGE --name NAME' makes a machine from one, with a disk of its own that holds what differs from the "
		       "image. They are in $XDG_DATA_HOME/visor/images, or /var/lib/visor/images for root.",
	.commands = image_commands,
};
