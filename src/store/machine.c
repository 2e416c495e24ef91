/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "store/machine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/util.h"
#include "block/image.h"
#include "host/file.h"
#include "store/seed.h"
#include "store/store.h"

static int set_paths(const char *name, struct store_machine *m, struct error *err)
{
	const struct {
		char *path;
		const char *file;
	} paths[] = { { m->disk, "disk" STORE_SUFFIX }, { m->seed, "seed.iso" }, { m->uefi_vars, "uefi-vars" } };
	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++)
		if (store_path(paths[i].path, err, "machines/%s/%s", name, paths[i].file) < 0)
			return -1;
	return 0;
}

static int save(const char *name, const json_t *json, struct error *err)
{
	char path[PATH_MAX];
	struct file_replace file;
	cleanup_free char *text = json_dumps(json, JSON_INDENT(2));
	if (!text)
		return error_set(err, ENOMEM, "out of memory");
	if (store_path(path, err, "machines/%s/machine.json", name) < 0 || file_replace_begin(&file, path, err) < 0)
		return -1;
	int rc = file_write_all(file.fd, text, strlen(text), err);
	if (rc == 0)
		rc = file_replace_commit(&file, err);
	file_replace_end(&file);
	return rc;
}

/* Its name where that can be a host's. */
static const char *usual_hostname(const char *name, char room[256])
{
	snprintf(room, 256, "%s", name);
	for (char *c = room; *c; c++)
		if (*c == '_')
			*c = '-';
	return seed_check_hostname(room, NULL) == 0 ? room : "visor";
}

/* What the user says goes over what the machine had. */
static int take_login(json_t *json, const char *name, const struct store_login *login, struct error *err)
{
	char room[256];
	if (login->user && (seed_check_user(login->user, err) < 0 || json_object_set_new(json, "user", json_string(login->user)) < 0))
		return error_prefix(err, "--user");
	if (login->hostname && (seed_check_hostname(login->hostname, err) < 0 ||
				json_object_set_new(json, "hostname", json_string(login->hostname)) < 0))
		return error_prefix(err, "--hostname");
	if (!json_object_get(json, "hostname"))
		json_object_set_new(json, "hostname", json_string(usual_hostname(name, room)));
	json_t *keys = login->key_file ? seed_keys(login->key_file, err) : NULL;
	if (login->key_file && !keys)
		return error_prefix(err, "--ssh-key");
	if (keys)
		json_object_set_new(json, "ssh_keys", keys);
	return 0;
}

static int write_seed(const char *name, const json_t *json, const struct store_machine *m, struct error *err)
{
	struct seed seed = { .machine = name, .keys = json_object_get(json, "ssh_keys") };
	if (json_get_string(json, "hostname", &seed.hostname, err) < 0)
		return -1;
	if (json_object_get(json, "user") && json_get_string(json, "user", &seed.user, err) < 0)
		return -1;
	return seed_write(&seed, m->seed, err);
}

static int make_disk(const char *image, const struct store_machine *m, struct error *err)
{
	char path[PATH_MAX];
	if (store_image(image, path, err) < 0)
		return -1;
	if (access(m->disk, F_OK) == 0)
		return 0;
	const struct image_create create = {
		.path = m->disk, .format = IMAGE_QCOW2, .backing = path, .backing_format = image_format_names[IMAGE_QCOW2],
	};
	return image_create(&create, err);
}

static int update(const char *name, json_t *json, json_t *before, const char *image, struct store_machine *m, struct error *err)
{
	/* The name of the image is down before the disk needs it. */
	if (!json_equal(json, before) && save(name, json, err) < 0)
		return -1;
	if (make_disk(image, m, err) < 0)
		return -1;
	m->has_keys = json_array_size(json_object_get(json, "ssh_keys"));
	if (json_equal(json, before) && access(m->seed, F_OK) == 0)
		return 0;
	return write_seed(name, json, m, err);
}

int store_machine(const char *name, const char *image, const struct store_login *login, struct store_machine *m, struct error *err)
{
	struct error why;
	char path[PATH_MAX];
	const char *had;
	if (store_check_name("--name", name, err) < 0 || store_image(image, path, err) < 0)
		return -1;
	cleanup_close int lock = store_lock(err);
	if (lock < 0)
		return -1;
	json_t *before = store_load_machine(name, &why);
	m->made = !before;
	/* A folder without the file is what an interrupted start left. */
	if (!before && why.code != ENOENT)
		return *err = why, -1;
	json_t *json = before ? json_deep_copy(before) : json_pack("{s:s}", "image", image);
	int rc = json ? json_get_string(json, "image", &had, err) : error_set(err, ENOMEM, "out of memory");
	if (rc == 0 && strcmp(had, image))
		rc = error_set(err, EEXIST, "the machine '%s' was made from the image '%s'; choose another --name, or remove it: visor rm %s", name,
			       had, name);
	if (rc == 0)
		rc = take_login(json, name, login, err);
	if (rc == 0)
		rc = set_paths(name, m, err);
	if (rc == 0)
		rc = update(name, json, before, image, m, err);
	json_decref(before);
	json_decref(json);
	return rc;
}
