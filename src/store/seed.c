/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "store/seed.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "host/file.h"
#include "store/digest.h"

#define MAX_KEYS_FILE (64u << 10)

/* --- texts --- */

static json_t *user_entry(const struct seed *seed)
{
	json_t *entry = json_pack("{s:s, s:s, s:s, s:b}", "name", seed->user, "shell", "/bin/bash", "sudo", "ALL=(ALL) NOPASSWD:ALL",
				  "lock_passwd", 1);
	if (entry && seed->keys)
		json_object_set(entry, "ssh_authorized_keys", (json_t *)seed->keys);
	return entry;
}

/* JSON is YAML as long as nothing in it is beyond ASCII. */
char *seed_user_data(const struct seed *seed)
{
	json_t *config = json_pack("{s:s, s:b}", "hostname", seed->hostname, "ssh_pwauth", 0);
	if (!config)
		return NULL;
	if (seed->user && !strcmp(seed->user, "root"))
		json_object_set_new(config, "disable_root", json_false());
	if (seed->user)
		json_object_set_new(config, "users", json_pack("[o]", user_entry(seed)));
	else if (seed->keys)
		json_object_set(config, "ssh_authorized_keys", (json_t *)seed->keys);
	cleanup_free char *json = json_dumps(config, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_SORT_KEYS);
	char *text = NULL;
	json_decref(config);
	return json && asprintf(&text, "#cloud-config\n%s\n", json) >= 0 ? text : NULL;
}

char *seed_meta_data(const struct seed *seed, const char *user_data)
{
	char digest[DIGEST_TEXT], *text = NULL;
	digest_text(user_data, strlen(user_data), digest);
	return asprintf(&text, "{\"instance-id\": \"%s-%.16s\", \"local-hostname\": \"%s\"}\n", seed->machine, digest, seed->hostname) >= 0 ?
		       text : NULL;
}

/* --- image --- */

static int add_file(struct archive *iso, const char *name, const char *text)
{
	struct archive_entry *entry = archive_entry_new();
	size_t size = strlen(text);
	if (!entry)
		return ARCHIVE_FATAL;
	archive_entry_set_pathname(entry, name);
	archive_entry_set_size(entry, (int64_t)size);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	int rc = archive_write_header(iso, entry);
	archive_entry_free(entry);
	if (rc == ARCHIVE_OK && archive_write_data(iso, text, size) != (la_ssize_t)size)
		rc = ARCHIVE_FATAL;
	return rc;
}

static int write_iso(struct archive *iso, int fd, const char *user_data, const char *meta_data)
{
	if (archive_write_set_format_iso9660(iso) != ARCHIVE_OK || archive_write_set_options(iso, "volume-id=CIDATA,rockridge=useful") != ARCHIVE_OK)
		return -1;
	if (archive_write_open_fd(iso, fd) != ARCHIVE_OK)
		return -1;
	if (add_file(iso, "meta-data", meta_data) != ARCHIVE_OK || add_file(iso, "user-data", user_data) != ARCHIVE_OK)
		return -1;
	return archive_write_close(iso) == ARCHIVE_OK ? 0 : -1;
}

int seed_write(const struct seed *seed, const char *path, struct error *err)
{
	cleanup_free char *user_data = seed_user_data(seed), *meta_data = user_data ? seed_meta_data(seed, user_data) : NULL;
	struct file_replace file;
	if (!meta_data)
		return error_set(err, ENOMEM, "%s: out of memory, or a text that is no UTF-8", path);
	if (file_replace_begin(&file, path, err) < 0)
		return -1;
	struct archive *iso = archive_write_new();
	int rc = iso ? write_iso(iso, file.fd, user_data, meta_data) : -1;
	if (rc < 0)
		error_set(err, EIO, "%s: cannot write it: %s", path, iso && archive_error_string(iso) ? archive_error_string(iso) : "out of memory");
	archive_write_free(iso);
	if (rc == 0)
		rc = file_replace_commit(&file, err);
	file_replace_end(&file);
	return rc;
}

/* --- what users give --- */

json_t *seed_keys(const char *path, struct error *err)
{
	size_t size;
	cleanup_free char *text = (char *)file_read(path, MAX_KEYS_FILE, &size, err);
	char *rest = text, *line;
	if (!text)
		return NULL;
	json_t *keys = json_array();
	while ((line = strsep(&rest, "\r\n"))) {
		line += strspn(line, " \t");
		if (!*line || *line == '#')
			continue;
		if (!strncmp(line, "-----BEGIN", 10)) {
			error_set(err, EINVAL, "%s: that is a private key; give the public one, which usually is in %s.pub", path, path);
			break;
		}
		/* Type and key at least, after what options there are. */
		if (!strchr(line, ' ') || json_array_append_new(keys, json_string(line)) < 0) {
			error_set(err, EINVAL, "%s: '%.40s' is no public key; give a file as ssh-keygen makes it, NAME.pub", path, line);
			break;
		}
	}
	if (!line && json_array_size(keys))
		return keys;
	if (!line)
		error_set(err, EINVAL, "%s: there is no public key in it; give a file as ssh-keygen makes it, NAME.pub", path);
	json_decref(keys);
	return NULL;
}

/* As useradd of Debian takes them. */
int seed_check_user(const char *user, struct error *err)
{
	size_t length = strlen(user);
	bool first = (*user >= 'a' && *user <= 'z') || *user == '_';
	if (first && length <= 32 && strspn(user, "abcdefghijklmnopqrstuvwxyz0123456789_-") == length)
		return 0;
	return error_set(err, EINVAL, "'%s' cannot be a user's name; use up to 32 small letters, digits, '-' and '_', a letter first", user);
}

/* RFC 1123, 2.1. */
int seed_check_hostname(const char *name, struct error *err)
{
	size_t length = strlen(name);
	bool ok = length && length <= 253;
	for (const char *label = name; ok; label++) {
		size_t size = strcspn(label, ".");
		ok = size && size <= 63 && label[0] != '-' && label[size - 1] != '-' &&
		     strspn(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") >= size;
		label += size;
		if (!*label)
			break;
	}
	return ok ? 0 : error_set(err, EINVAL, "'%s' cannot be a host name; use letters, digits, '-' and dots between labels of up to 63", name);
}
