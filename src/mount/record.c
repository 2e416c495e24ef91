/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "mount/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/util.h"
#include "host/file.h"
#include "host/rundir.h"
#include "mount/table.h"

#define PREFIX "mount-"

const char *record_file(const struct record *record, const char *name)
{
	static char paths[4][PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % ARRAY_SIZE(paths)];
	snprintf(path, PATH_MAX, "%s/%s", record->path, name);
	return path;
}

static int put(struct record *record, const char *folder, const char *text)
{
	json_t *json = json_pack("{s:s, s:s*}", "folder", folder, "error", text);
	char *line = json ? json_dumps(json, JSON_COMPACT) : NULL;
	int rc = line && ftruncate(record->fd, 0) == 0 && pwrite(record->fd, line, strlen(line), 0) == (ssize_t)strlen(line) ? 0 : -1;
	free(line);
	json_decref(json);
	return rc;
}

int record_create(struct record *record, const char *folder, struct error *err)
{
	record->fd = -1;
	if (rundir_file_path(PREFIX "XXXXXX", record->path, sizeof(record->path), err) < 0)
		return -1;
	if (!mkdtemp(record->path))
		return error_set(err, errno, "%s: cannot make it: %s; set XDG_RUNTIME_DIR to a folder of yours", record->path, strerror(errno));
	if (mkdir(record_file(record, "image"), 0700) == 0)
		record->fd = open(record_file(record, "record"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (record->fd >= 0 && flock(record->fd, LOCK_EX) == 0 && put(record, folder, NULL) == 0)
		return 0;
	error_set(err, errno, "%s: cannot write it: %s", record_file(record, "record"), strerror(errno));
	record_remove(record);
	record_close(record);
	return -1;
}

void record_close(struct record *record)
{
	if (record->fd >= 0)
		close(record->fd);
	record->fd = -1;
}

void record_remove(struct record *record)
{
	unlink(record_file(record, "record"));
	unlink(record_file(record, "log"));
	rmdir(record_file(record, "image"));
	rmdir(record->path);
}

void record_set_error(struct record *record, const char *folder, const char *text)
{
	put(record, folder, text);
}

/* NULL: there is nothing, or it is not written yet. */
static json_t *get(const struct record *record)
{
	char text[PATH_MAX * 2];
	ssize_t size = pread(record->fd, text, sizeof(text), 0);
	return size > 0 ? json_parse(text, (size_t)size, NULL) : NULL;
}

int record_wait(struct record *record, struct error *err)
{
	while (flock(record->fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return error_set(err, errno, "%s: cannot wait for its end: %s", record->path, strerror(errno));
	json_t *json = get(record);
	const char *text = json_string_value(json_object_get(json, "error"));
	int rc = text ? error_set(err, EIO, "%s", text) : 0;
	json_decref(json);
	return rc;
}

/* Calls fn with each, open; it takes over the descriptor when it returns true, which ends the search. */
static bool each(bool (*fn)(struct record *record, const json_t *json, void *opaque), void *opaque, struct error *err)
{
	int fd = rundir_open(err);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	bool taken = false;
	for (struct dirent *entry; folder && !taken && (entry = readdir(folder));) {
		struct record record = { .fd = -1 };
		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) || rundir_file_path(entry->d_name, record.path, sizeof(record.path), err) < 0)
			continue;
		record.fd = open(record_file(&record, "record"), O_RDWR | O_CLOEXEC);
		json_t *json = record.fd < 0 ? NULL : get(&record);
		taken = json && fn(&record, json, opaque);
		json_decref(json);
		if (!taken)
			record_close(&record);
	}
	if (folder)
		closedir(folder);
	return taken;
}

struct wanted {
	const char *folder;
	struct record *record;
};

static bool is_on(struct record *record, const json_t *json, void *opaque)
{
	struct wanted *wanted = opaque;
	const char *folder = json_string_value(json_object_get(json, "folder"));
	if (!folder || strcmp(folder, wanted->folder))
		return false;
	*wanted->record = *record;
	return true;
}

int record_find(struct record *record, const char *folder, struct error *err)
{
	struct wanted wanted = { folder, record };
	if (each(is_on, &wanted, NULL))
		return 0;
	return error_set(err, ENOENT, "%s: 'visor disk mount' has nothing mounted there", folder);
}

static bool clean_one(struct record *record, const json_t *json, void *opaque)
{
	const char *folder = json_string_value(json_object_get(json, "folder")), *image = record_file(record, "image");
	char kind[32];
	if (flock(record->fd, LOCK_EX | LOCK_NB) < 0)
		return false;
	/* The files first, which are read from the image's. What is there now may be something else. */
	if (folder && mount_table_has(folder, kind, sizeof(kind)) && access(folder, F_OK) < 0 && errno == ENOTCONN)
		mount_table_remove(folder, true, NULL);
	if (mount_table_has(image, kind, sizeof(kind))) {
		if (folder && mount_table_has(folder, kind, sizeof(kind)))
			mount_table_remove(folder, true, NULL);
		mount_table_remove(image, true, NULL);
	}
	record_remove(record);
	return false;
}

void record_clean(void)
{
	each(clean_one, NULL, NULL);
}
