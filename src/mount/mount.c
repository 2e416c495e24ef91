/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "mount/mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "base/util.h"
#include "host/file.h"
#include "mount/files.h"
#include "mount/helper.h"
#include "mount/record.h"
#include "mount/table.h"

#define KIND "fuse.visor"
#define RETRY_MS 50
#define LINE_MAX_SIZE (256u << 10)

/* --- one JSON object on a line, from process to process --- */

static void send_line(int fd, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	if (text && file_write_all(fd, text, strlen(text), NULL) == 0)
		file_write_all(fd, "\n", 1, NULL);
	free(text);
	json_decref(json);
}

static void send_error(int fd, const struct error *err)
{
	send_line(fd, json_pack("{s:s, s:i}", "error", err->text, "code", err->code));
}

/* NULL: the other side has ended, or what it says is an error. */
static json_t *receive_line(int fd, struct error *err)
{
	cleanup_free char *text = malloc(LINE_MAX_SIZE);
	size_t size = 0;
	while (text && size < LINE_MAX_SIZE) {
		ssize_t n = read(fd, text + size, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || text[size] == '\n')
			break;
		size++;
	}
	json_t *json = size ? json_parse(text, size, NULL) : NULL;
	const char *problem = json_string_value(json_object_get(json, "error"));
	if (json && !problem)
		return json;
	if (problem)
		error_set(err, (int)json_integer_value(json_object_get(json, "code")), "%s", problem);
	else
		error_set(err, EPIPE, "the process that was to serve it has ended without a word; see the host's log");
	json_decref(json);
	return NULL;
}

/* --- the process that has the image --- */

static json_t *partitions_json(struct image *image, const struct partitions *p)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < p->count; i++) {
		const struct partition *at = &p->at[i];
		json_array_append_new(list, json_pack("{s:i, s:I, s:I, s:s, s:s, s:s*}", "number", (int)at->number, "offset", (json_int_t)at->offset,
						      "size", (json_int_t)at->length, "type", at->type, "name", at->name, "content",
						      partition_content(image, at->offset, at->length)));
	}
	return list;
}

static json_t *describe(struct image *image, const struct partitions *p)
{
	return json_pack("{s:s, s:s, s:I, s:b, s:s, s:b, s:o, s:s*}", "image", image_path(image), "format", image_format_names[image_format(image)],
			 "size", (json_int_t)image_size(image), "read_only", image_read_only(image), "table", partition_table_names[p->table],
			 "damaged", p->damaged, "partitions", partitions_json(image, p), "disk_content",
			 partition_content(image, 0, image_size(image)));
}

static int serve_image(struct image *image, const char *folder, int report, struct error *err)
{
	static struct partitions partitions;
	if (partitions_read(image, &partitions, err) < 0)
		return -1;
	const struct files_config config = { .image = image, .partitions = &partitions, .folder = folder };
	json_t *description = describe(image, &partitions);
	struct files *files = files_mount(&config, err);
	if (!files || chdir("/") < 0) { /* who started us may want to unmount where that was */
		json_decref(description);
		return files ? error_set(err, errno, "/: %s", strerror(errno)) : -1;
	}
	send_line(report, description);
	files_serve(files);
	files_end(files);
	return 0;
}

static void serve(const struct mount_config *c, const char *folder, int report)
{
	const struct image_config config = { .path = c->image, .format = c->format, .read_only = c->read_only || c->snapshot, .snapshot = c->snapshot };
	struct error err;
	/* It must not outlive the one that cleans up. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	struct image *image = image_open(&config, &err);
	if (image_finish(image, image ? serve_image(image, folder, report, &err) : -1, &err) < 0)
		send_error(report, &err);
	_exit(0);
}

/* --- the process that waits --- */

struct guard {
	const struct mount_config *config;
	const char *folder;  /* what the user named */
	const char *image;   /* where the image's files are: the same, or in the record */
	struct record record;
	pid_t server;
	int link;            /* from the server; ends when it does */
};

/* Which partition has the files that are wanted, as the file that it is. */
static int choose(const struct mount_config *c, const json_t *description, unsigned *number, const char **content, struct error *err)
{
	const json_t *list = json_object_get(description, "partitions");
	size_t i;
	json_t *at;
	json_array_foreach(list, i, at) {
		*number = (unsigned)json_integer_value(json_object_get(at, "number"));
		*content = json_string_value(json_object_get(at, "content"));
		if (c->partition ? *number == c->partition : *content && helper_has_files(*content))
			return *content ? 0 : error_set(err, EINVAL, "%s: partition %u holds no file system that is known here", c->image, *number);
	}
	*number = 0;
	*content = json_string_value(json_object_get(description, "disk_content"));
	if (c->partition)
		return error_set(err, ENOENT, "%s: there is no partition %u; 'visor disk mount' without --partition shows those there are", c->image,
				 c->partition);
	if (!*content || json_array_size(list))
		return error_set(err, ENOENT, "%s: there is no file system in it that is known here", c->image);
	return 0;
}

static int show_files(struct guard *g, json_t *description, struct error *err)
{
	const char *content = NULL, *program = NULL;
	char file[PATH_MAX];
	unsigned number;
	if (choose(g->config, description, &number, &content, err) < 0)
		return -1;
	if (number)
		snprintf(file, sizeof(file), "%s/p%u", g->image, number);
	else
		snprintf(file, sizeof(file), "%s/disk", g->image);
	bool read_only = json_is_true(json_object_get(description, "read_only"));
	if (helper_mount(file, g->folder, content, &read_only, record_file(&g->record, "log"), &program, err) < 0)
		return number ? error_prefix(err, "%s, partition %u", g->config->image, number) : error_prefix(err, "%s", g->config->image);
	json_object_set_new(description, "partition", json_integer(number));
	json_object_set_new(description, "read_only", json_boolean(read_only));
	json_object_set_new(description, "content", json_string(content));
	json_object_set_new(description, "shown_by", json_string(program));
	return 0;
}

/* Until the user's folder is mounted no more, or the server has ended. */
static void wait_for_unmount(struct guard *g)
{
	struct pollfd fds[2] = { { .fd = g->link, .events = POLLIN }, { .fd = mount_table_watch(), .events = POLLPRI } };
	char kind[32];
	while (mount_table_has(g->folder, kind, sizeof(kind))) {
		poll(fds, 2, fds[1].fd < 0 ? RETRY_MS : -1);
		if (fds[0].revents)
			break;
	}
	if (fds[1].fd >= 0)
		close(fds[1].fd);
}

/* Of the image's own mount, once who showed the files has written the last of them: so long it is busy. */
static void unmount_image(struct guard *g)
{
	struct error err;
	struct pollfd link = { .fd = g->link, .events = POLLIN };
	while (mount_table_remove(g->image, false, &err) < 0 && err.code == EBUSY)
		if (poll(&link, 1, RETRY_MS) > 0)
			break;
}

/* What is left when processes were killed. */
static void unmount_dead(const char *folder)
{
	char kind[32];
	if (mount_table_has(folder, kind, sizeof(kind)))
		mount_table_remove(folder, true, NULL);
}

static void end(struct guard *g)
{
	struct error err;
	if (g->config->files) {
		wait_for_unmount(g);
		unmount_image(g);
	}
	/* What it says now is what went wrong with the last of the data. */
	json_t *last = receive_line(g->link, &err);
	int status = 0;
	waitpid(g->server, &status, 0);
	if (!last && err.code != EPIPE)
		record_set_error(&g->record, g->folder, err.text);
	else if (WIFSIGNALED(status))
		record_set_error(&g->record, g->folder, "the process that served the image was killed; what it had not flushed is lost");
	json_decref(last);
	if (g->config->files)
		unmount_dead(g->folder);
	unmount_dead(g->image);
}

static int start_server(struct guard *g, struct error *err)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set(err, errno, "cannot make a pipe: %s", strerror(errno));
	g->link = ends[0];
	g->server = fork();
	if (g->server == 0)
		serve(g->config, g->image, ends[1]);
	close(ends[1]);
	return g->server < 0 ? error_set(err, errno, "cannot start a process: %s", strerror(errno)) : 0;
}

/* Nobody reads from us what is not in the record. */
static void leave_terminal(const struct record *record)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), log = open(record_file(record, "log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	setsid();
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	dup2(null, 0);
	dup2(null, 1);
	dup2(log, 2);
	close(null);
	close(log);
}

static json_t *begin(struct guard *g, struct error *err)
{
	if (start_server(g, err) < 0)
		return NULL;
	json_t *description = receive_line(g->link, err);
	if (description && g->config->files && show_files(g, description, err) < 0) {
		json_decref(description);
		description = NULL;
		mount_table_remove(g->image, true, NULL);
	}
	return description;
}

static void guard(const struct mount_config *c, const char *folder, int report)
{
	struct guard g = { .config = c, .folder = folder, .link = -1 };
	struct error err;
	char image[PATH_MAX];
	if (record_create(&g.record, folder, &err) < 0) {
		send_error(report, &err);
		_exit(1);
	}
	leave_terminal(&g.record);
	snprintf(image, sizeof(image), "%s", c->files ? record_file(&g.record, "image") : folder);
	g.image = image;
	json_t *description = begin(&g, &err);
	if (description)
		json_object_set_new(description, "folder", json_string(folder));
	if (!description)
		send_error(report, &err);
	else if (chdir("/") == 0)
		send_line(report, description);
	close(report);
	if (description)
		end(&g);
	else if (g.server > 0)
		waitpid(g.server, NULL, 0);
	record_remove(&g.record);
	_exit(0);
}

/* --- for the user --- */

static int check_folder(const char *folder, struct error *err)
{
	char kind[32];
	struct stat st;
	if (mount_table_has(folder, kind, sizeof(kind)))
		return error_set(err, EBUSY, "%s: something is mounted there already (%s); unmount it, or take another folder", folder, kind);
	if (stat(folder, &st) < 0)
		return error_set(err, errno, "%s: %s", folder, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return error_set(err, ENOTDIR, "%s: it is no folder; give an empty one", folder);
	DIR *d = opendir(folder);
	if (!d)
		return error_set(err, errno, "%s: cannot look into it: %s", folder, strerror(errno));
	unsigned entries = 0;
	while (readdir(d) && entries < 3)
		entries++;
	closedir(d);
	return entries > 2 ? error_set(err, ENOTEMPTY, "%s: it is not empty, and what is in it would be hidden; give an empty folder", folder) : 0;
}

/* What nobody has cleaned up: its record is gone, too. */
static void clean_dead(const char *folder)
{
	char kind[32];
	if (mount_table_has(folder, kind, sizeof(kind)) && !strcmp(kind, KIND) && access(folder, F_OK) < 0 && errno == ENOTCONN)
		mount_table_remove(folder, true, NULL);
}

json_t *mount_begin(const struct mount_config *config, struct error *err)
{
	int ends[2];
	if (files_possible(err) < 0)
		return NULL;
	record_clean();
	cleanup_free char *folder = mount_path(config->folder, err);
	if (!folder)
		return NULL;
	clean_dead(folder);
	if (check_folder(folder, err) < 0)
		return NULL;
	if (pipe2(ends, O_CLOEXEC) < 0) {
		error_set(err, errno, "cannot make a pipe: %s", strerror(errno));
		return NULL;
	}
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[0]);
		guard(config, folder, ends[1]);
	}
	close(ends[1]);
	json_t *description = NULL;
	if (pid < 0)
		error_set(err, errno, "cannot start a process: %s", strerror(errno));
	else
		description = receive_line(ends[0], err);
	close(ends[0]);
	return description;
}

int mount_end(const char *given, struct error *err)
{
	struct record record;
	char kind[32];
	cleanup_free char *folder = mount_path(given, err);
	if (!folder)
		return -1;
	if (record_find(&record, folder, err) < 0) {
		/* Dead, and without its record. */
		if (!mount_table_has(folder, kind, sizeof(kind)) || strcmp(kind, KIND))
			return -1;
		return mount_table_remove(folder, true, err);
	}
	int rc = mount_table_has(folder, kind, sizeof(kind)) ? mount_table_remove(folder, false, err) : 0;
	if (rc < 0 && err && err->code == EBUSY)
		error_set(err, EBUSY, "%s: programs use it; end them, or leave the folder, then try again ('fuser -vm %s' lists them)", folder, folder);
	if (rc == 0)
		rc = record_wait(&record, err);
	record_close(&record);
	record_clean();
	return rc;
}
