/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/util.h"
#include "block/image.h"
#include "host/file.h"
#include "host/rundir.h"

#define MAX_MACHINE_FILE (1u << 20)

static int root_path(char *path, struct error *err)
{
	const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	int n;
	if (xdg && *xdg == '/')
		n = snprintf(path, PATH_MAX, "%s/visor/", xdg);
	else if (geteuid() == 0 || !home || *home != '/')
		n = snprintf(path, PATH_MAX, "/var/lib/visor/");
	else
		n = snprintf(path, PATH_MAX, "%s/.local/share/visor/", home);
	return n >= 0 && n < PATH_MAX ? n : error_set(err, ENAMETOOLONG, "XDG_DATA_HOME: the path is too long; set a shorter one");
}

int store_path(char path[PATH_MAX], struct error *err, const char *format, ...)
{
	va_list arguments;
	int root = root_path(path, err);
	if (root < 0)
		return -1;
	va_start(arguments, format);
	int n = vsnprintf(path + root, (size_t)(PATH_MAX - root), format, arguments);
	va_end(arguments);
	if (n < 0 || n >= PATH_MAX - root)
		return error_set(err, ENAMETOOLONG, "XDG_DATA_HOME: the path is too long; set a shorter one");
	return file_make_folders(path, err);
}

int store_lock(struct error *err)
{
	char path[PATH_MAX];
	if (store_path(path, err, ".lock") < 0)
		return -1;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(err, errno, "%s: cannot open it: %s", path, strerror(errno));
	while (flock(fd, LOCK_EX) < 0) {
		if (errno == EINTR)
			continue;
		error_set(err, errno, "%s: cannot lock it: %s", path, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

int store_check_name(const char *what, const char *name, struct error *err)
{
	if (rundir_name_ok(name))
		return 0;
	return error_set(err, EINVAL, "%s: '%s' cannot be a name; use up to 63 letters, digits, '-', '_' and '.'", what, name);
}

int store_image(const char *name, char path[PATH_MAX], struct error *err)
{
	if (store_check_name("image", name, err) < 0 || store_path(path, err, "images/%s" STORE_SUFFIX, name) < 0)
		return -1;
	if (access(path, F_OK) == 0)
		return 0;
	return error_set(err, ENOENT, "there is no image '%s'; 'visor image list' shows all, 'visor image build' and 'visor image import' make more",
			 name);
}

int store_new_image(const char *name, char path[PATH_MAX], struct error *err)
{
	if (store_check_name("image", name, err) < 0 || store_path(path, err, "images/%s" STORE_SUFFIX, name) < 0)
		return -1;
	if (access(path, F_OK) < 0)
		return 0;
	return error_set(err, EEXIST, "there is an image '%s' already; choose another --name, or remove it: visor image rm %s", name, name);
}

/* ".new-NAME-PID.qcow2", perhaps with more behind it. An hour: the process may be in a namespace that we do not see. */
static void sweep(const char *folder)
{
	DIR *images = opendir(folder);
	struct dirent *entry;
	struct stat st;
	while (images && (entry = readdir(images))) {
		const char *dash = strncmp(entry->d_name, ".new-", 5) ? NULL : strrchr(entry->d_name, '-');
		long pid = dash ? strtol(dash + 1, NULL, 10) : 0;
		if (pid <= 0 || (pid_t)pid != pid || kill((pid_t)pid, 0) == 0 || errno != ESRCH)
			continue;
		if (fstatat(dirfd(images), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtime + 3600 < time(NULL))
			unlinkat(dirfd(images), entry->d_name, 0);
	}
	if (images)
		closedir(images);
}

int store_temporary(const char *name, char path[PATH_MAX], struct error *err)
{
	if (store_path(path, err, "images/") < 0)
		return -1;
	sweep(path);
	if (store_path(path, err, "images/.new-%s-%ld" STORE_SUFFIX, name, (long)getpid()) < 0)
		return -1;
	unlink(path);
	return 0;
}

int store_add_image(const char *from, const char *name, struct error *err)
{
	char path[PATH_MAX];
	if (store_new_image(name, path, err) < 0)
		return -1;
	/* Machines have it behind their disks. */
	if (chmod(from, 0400) < 0)
		return error_set(err, errno, "%s: cannot make it read-only: %s", from, strerror(errno));
	if (renameat2(AT_FDCWD, from, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno == EEXIST)
		return error_set(err, EEXIST, "another image '%s' has come meanwhile; choose another --name", name);
	return error_set(err, errno, "%s: cannot give it the name %s: %s", from, path, strerror(errno));
}

json_t *store_load_machine(const char *name, struct error *err)
{
	char path[PATH_MAX];
	size_t size;
	if (store_check_name("machine", name, err) < 0 || store_path(path, err, "machines/%s", name) < 0)
		return NULL;
	if (access(path, F_OK) < 0) {
		error_set(err, ENOENT, "there is no machine '%s' that was made from an image", name);
		return NULL;
	}
	strncat(path, "/machine.json", sizeof(path) - strlen(path) - 1);
	cleanup_free uint8_t *text = file_read(path, MAX_MACHINE_FILE, &size, err);
	json_t *json = text ? json_parse((char *)text, size, err) : NULL;
	if (text && !json)
		error_prefix(err, "%s", path);
	return json;
}

/* Calls fn with each name in a folder of the store, in order; a name that does not end with the suffix is none. */
static int each(const char *folder, const char *suffix, int (*fn)(void *opaque, const char *name, struct error *err), void *opaque,
		struct error *err)
{
	char path[PATH_MAX];
	struct dirent **entries;
	if (store_path(path, err, "%s/", folder) < 0)
		return -1;
	int count = scandir(path, &entries, NULL, alphasort), rc = 0;
	if (count < 0)
		return error_set(err, errno, "%s: cannot read the folder: %s", path, strerror(errno));
	for (int i = 0; i < count; i++) {
		char *name = entries[i]->d_name;
		size_t length = strlen(name), tail = strlen(suffix);
		if (length > tail && !strcmp(name + length - tail, suffix)) {
			name[length - tail] = 0;
			if (rc == 0 && rundir_name_ok(name))
				rc = fn(opaque, name, err);
		}
		free(entries[i]);
	}
	free(entries);
	return rc;
}

/* --- images --- */

static int add_machine(void *opaque, const char *name, struct error *err)
{
	struct error why;
	json_t *machine = store_load_machine(name, &why), *users;
	const char *image;
	/* One that broke off before it had its file uses no image yet. */
	if (machine && json_get_string(machine, "image", &image, NULL) == 0) {
		users = json_object_get(opaque, image);
		if (!users) {
			users = json_array();
			json_object_set_new(opaque, image, users);
		}
		json_array_append_new(users, json_string(name));
	}
	json_decref(machine);
	return machine || why.code == ENOENT ? 0 : (*err = why, -1);
}

/* For each image that machines are made from an array of their names. */
static json_t *all_users(struct error *err)
{
	json_t *users = json_object();
	if (each("machines", "", add_machine, users, err) < 0) {
		json_decref(users);
		return NULL;
	}
	return users;
}

struct listing {
	json_t *images, *users;
};

static int add_image(void *opaque, const char *name, struct error *err)
{
	struct listing *l = opaque;
	char path[PATH_MAX];
	struct error why;
	if (store_path(path, err, "images/%s" STORE_SUFFIX, name) < 0)
		return -1;
	const struct image_config config = { .path = path, .format = IMAGE_QCOW2, .read_only = true, .unlocked = true };
	struct image *image = image_open(&config, &why);
	json_t *entry = json_pack("{s:s, s:s}", "name", name, "path", path), *machines = json_object_get(l->users, name);
	json_t *info = image ? image_info(image) : NULL;
	if (info) {
		json_object_set(entry, "size", json_object_get(info, "size"));
		json_object_set(entry, "allocated", json_object_get(info, "allocated"));
	} else {
		json_object_set_new(entry, "error", json_string(image ? "out of memory" : why.text));
	}
	json_object_set_new(entry, "machines", machines ? json_incref(machines) : json_array());
	json_array_append_new(l->images, entry);
	json_decref(info);
	image_close(image);
	return 0;
}

json_t *store_images(struct error *err)
{
	struct listing l = { json_array(), all_users(err) };
	if (!l.users || each("images", STORE_SUFFIX, add_image, &l, err) < 0) {
		json_decref(l.images);
		l.images = NULL;
	}
	json_decref(l.users);
	return l.images;
}

static void join_names(const json_t *names, char *text, size_t room)
{
	size_t i, at = 0;
	json_t *name;
	*text = 0;
	json_array_foreach(names, i, name) {
		int n = snprintf(text + at, room - at, "%s%s", i ? ", " : "", json_string_value(name));
		at += (size_t)n < room - at ? (size_t)n : room - at - 1;
	}
}

int store_remove_image(const char *name, struct error *err)
{
	char path[PATH_MAX], names[300];
	cleanup_close int lock = store_lock(err);
	if (lock < 0 || store_image(name, path, err) < 0)
		return -1;
	json_t *users = all_users(err), *machines = users ? json_object_get(users, name) : NULL;
	if (!users)
		return -1;
	join_names(machines, names, sizeof(names));
	bool used = json_array_size(machines);
	json_decref(users);
	if (used)
		return error_set(err, EBUSY, "%s: machines have this image behind their disks: %s; remove them first: visor rm NAME", name, names);
	return unlink(path) < 0 ? error_set(err, errno, "%s: cannot remove it: %s", path, strerror(errno)) : 0;
}

/* --- machines --- */

int store_remove_machine(const char *name, struct error *err)
{
	/* machine.json last: as long as it is there, the image behind stays. */
	static const char *const files[] = { "seed.iso", "uefi-vars", ("disk" STORE_SUFFIX), "machine.json" };
	char path[PATH_MAX];
	cleanup_close int lock = store_lock(err);
	if (lock < 0 || store_check_name("machine", name, err) < 0 || store_path(path, err, "machines/%s", name) < 0)
		return -1;
	if (access(path, F_OK) < 0)
		return error_set(err, ENOENT, "there is no machine '%s' that was made from an image", name);
	for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
		if (store_path(path, err, "machines/%s/%s", name, files[i]) < 0)
			return -1;
		if (unlink(path) < 0 && errno != ENOENT)
			return error_set(err, errno, "%s: cannot remove it: %s", path, strerror(errno));
	}
	if (store_path(path, err, "machines/%s", name) < 0)
		return -1;
	return rmdir(path) < 0 ? error_set(err, errno, "%s: cannot remove the folder: %s", path, strerror(errno)) : 0;
}
