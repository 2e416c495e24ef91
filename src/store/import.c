/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "store/import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/util.h"
#include "block/image.h"
#include "host/file.h"
#include "store/digest.h"
#include "store/fetch.h"
#include "store/store.h"

void store_import_name(const char *source, char name[NAME_MAX + 1])
{
	size_t length = fetch_is_url(source) ? strcspn(source, "?#") : strlen(source);
	while (length && source[length - 1] == '/')
		length--;
	const char *begin = memrchr(source, '/', length);
	begin = begin ? begin + 1 : source;
	length -= (size_t)(begin - source);
	snprintf(name, NAME_MAX + 1, "%.*s", (int)MIN(length, (size_t)NAME_MAX), begin);
	char *dot = strrchr(name, '.');
	if (dot && dot > name && (image_format_by_name(dot + 1, NULL) >= 0 || !strcasecmp(dot, ".img") || !strcasecmp(dot, ".iso")))
		*dot = 0;
}

static int check_digest(const struct store_import *import, const char *path, struct error *err)
{
	char digest[DIGEST_TEXT];
	if (!import->sha256)
		return 0;
	if (digest_file(path, digest, err) < 0)
		return -1;
	if (!strcasecmp(digest, import->sha256))
		return 0;
	return error_set(err, EBADMSG, "%s: its SHA-256 is %s, and not the one that was given; it is damaged, or another file", import->source, digest);
}

/* What came from elsewhere must not lead to other files of this host. A descriptor of VMDK names its parts. */
static int refuse_leads(const char *source, const char *path, struct error *err)
{
	static const char descriptor[] = "# Disk DescriptorFile";
	char start[sizeof(descriptor) - 1];
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, start, sizeof(start)) != (ssize_t)sizeof(start))
		return 0; /* image_open says what is wrong */
	if (strncasecmp(start, descriptor, sizeof(start)))
		return 0;
	return error_set(err, EINVAL, "%s: its data is in other files, which it names; fetch all of them, and import the local file", source);
}

/* A copy of all there is, at `to`. */
static int convert(const struct store_import *import, const char *from, const char *to, struct error *err)
{
	bool foreign = fetch_is_url(import->source);
	const struct image_config source = { .path = from, .format = IMAGE_BY_CONTENT, .read_only = true, .alone = foreign };
	const struct image_create target = { .path = to, .format = IMAGE_QCOW2 };
	const struct image_copy how = { .chain = true, .empty = true };
	struct image *image = image_open(&source, err);
	if (!image)
		return -1;
	json_t *info = image_info(image);
	int rc = info ? 0 : error_set(err, ENOMEM, "out of memory");
	if (foreign && json_object_get(info, "backing"))
		rc = error_set(err, EINVAL, "%s: it holds only what differs from another image, '%s'; fetch both, and import the local file",
			       import->source, json_string_value(json_object_get(info, "backing")));
	json_decref(info);
	if (rc == 0)
		rc = image_copy_new(image, &target, &how, import->progress.call ? &import->progress : NULL, err);
	image_close(image);
	return rc;
}

/* Behind a checksum that fits, or that nobody gave. */
static int add(const struct store_import *import, const char *name, const char *path, struct error *err)
{
	char target[PATH_MAX];
	if (store_temporary(name, target, err) < 0)
		return -1;
	int rc = convert(import, path, target, err);
	if (rc == 0)
		rc = store_add_image(target, name, err);
	if (rc < 0)
		unlink(target);
	return rc;
}

static int import_url(const struct store_import *import, const char *name, struct error *err)
{
	char digest[DIGEST_TEXT], path[PATH_MAX];
	digest_text(import->source, strlen(import->source), digest);
	if (store_path(path, err, "images/.part-%.16s", digest) < 0)
		return -1;
	const struct fetch fetch = {
		.url = import->source, .path = path, .trusted_part = import->sha256 != NULL, .progress = import->progress.call,
		.opaque = import->progress.opaque,
	};
	if (fetch_file(&fetch, err) < 0)
		return -1;
	int rc = check_digest(import, path, err);
	if (rc == 0)
		rc = refuse_leads(import->source, path, err);
	if (rc == 0)
		rc = add(import, name, path, err);
	/* All of it has come: whatever is wrong, another part would not make it right. */
	unlink(path);
	fetch_forget(path);
	return rc;
}

int store_import(const struct store_import *import, struct error *err)
{
	char usual[NAME_MAX + 1], path[PATH_MAX];
	const char *name = import->name;
	if (!name) {
		store_import_name(import->source, usual);
		name = usual;
	}
	if (store_new_image(name, path, err) < 0)
		return import->name ? -1 : error_prefix(err, "%s: give --name", import->source);
	if (import->sha256 && digest_check(import->sha256, err) < 0)
		return -1;
	if (fetch_is_url(import->source))
		return import_url(import, name, err);
	return check_digest(import, import->source, err) < 0 ? -1 : add(import, name, import->source, err);
}
