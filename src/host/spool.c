/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread of its own writes, so that who prints never waits for a disk. Jobs
 * are told apart by the time between two bytes.
 */
#include "host/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/file.h"
#include "host/thread.h"
#include "host/time.h"

#define BUFFER_MAX (64u << 20)
#define NO_SPLIT SIZE_MAX

struct spool {
	char folder[PATH_MAX];
	pthread_mutex_t mutex;
	pthread_cond_t work;
	pthread_t thread;
	uint8_t *buffer;
	size_t used, room;
	size_t split;      /* in the buffer: here a new job begins */
	uint64_t last;     /* when the last byte came, host_time_ns */
	bool closing;
	int error;         /* the first that lost output */
	/* Of the thread: */
	int fd;
	unsigned number;
};

int state_path(char *path, size_t size, const char *name, const char *suffix, struct error *err)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int length;
	if (state && *state == '/')
		length = snprintf(path, size, "%s/visor/%s%s", state, name, suffix);
	else if (geteuid() == 0 || !home)
		length = snprintf(path, size, "/var/lib/visor/%s%s", name, suffix);
	else
		length = snprintf(path, size, "%s/.local/state/visor/%s%s", home, name, suffix);
	return length < (int)size ? 0 : error_set(err, ENAMETOOLONG, "the path of the state directory is too long; see XDG_STATE_HOME");
}

static bool parse_name(const char *name, unsigned *number)
{
	int end = 0;
	return sscanf(name, "%u.prn%n", number, &end) == 1 && end && !name[end];
}

/* --- the machine's side --- */

static int next_job(struct spool *spool)
{
	char path[PATH_MAX + 32];
	do {
		snprintf(path, sizeof(path), "%s/%u.prn", spool->folder, ++spool->number);
		spool->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	} while (spool->fd < 0 && errno == EEXIST);
	return spool->fd < 0 ? errno : 0;
}

static int put(struct spool *spool, const uint8_t *data, size_t size, bool new_job)
{
	struct error err = { 0 };
	if (new_job && spool->fd >= 0) {
		close(spool->fd);
		spool->fd = -1;
	}
	if (!size)
		return 0;
	int error = spool->fd < 0 ? next_job(spool) : 0;
	if (!error && file_write_all(spool->fd, data, size, &err) < 0)
		error = err.code;
	return error;
}

static void *write_jobs(void *opaque)
{
	struct spool *spool = opaque;
	pthread_mutex_lock(&spool->mutex);
	for (;;) {
		while (!spool->used && !spool->closing)
			pthread_cond_wait(&spool->work, &spool->mutex);
		if (!spool->used)
			break;
		uint8_t *data = spool->buffer;
		size_t used = spool->used, split = spool->split == NO_SPLIT ? used : spool->split;
		bool new_job = spool->split != NO_SPLIT;
		spool->buffer = NULL;
		spool->used = spool->room = 0;
		spool->split = NO_SPLIT;
		pthread_mutex_unlock(&spool->mutex);
		int error = put(spool, data, split, false);
		if (!error && new_job)
			error = put(spool, data + split, used - split, true);
		free(data);
		pthread_mutex_lock(&spool->mutex);
		spool->error = spool->error ? spool->error : error;
	}
	pthread_mutex_unlock(&spool->mutex);
	return NULL;
}

static bool make_room(struct spool *spool, size_t size)
{
	size_t needed = spool->used + size, room = MAX(2 * spool->room, MAX(needed, (size_t)4096));
	if (needed <= spool->room)
		return true;
	uint8_t *more = needed > BUFFER_MAX ? NULL : realloc(spool->buffer, room);
	if (!more)
		return false;
	spool->buffer = more;
	spool->room = room;
	return true;
}

void spool_write(struct spool *spool, const uint8_t *data, size_t size)
{
	uint64_t now = host_time_ns();
	pthread_mutex_lock(&spool->mutex);
	if (now - spool->last > SPOOL_IDLE_SECONDS * 1000000000ull && spool->split == NO_SPLIT)
		spool->split = spool->used;
	spool->last = now;
	if (make_room(spool, size)) {
		memcpy(spool->buffer + spool->used, data, size);
		spool->used += size;
		pthread_cond_signal(&spool->work);
	} else if (!spool->error) {
		spool->error = ENOMEM;
	}
	pthread_mutex_unlock(&spool->mutex);
}

struct spool *spool_open(const char *machine, struct error *err)
{
	struct spool *spool = calloc(1, sizeof(*spool));
	char inside[PATH_MAX + 2];
	if (!spool) {
		error_set(err, ENOMEM, "out of memory for the printer's spool");
		return NULL;
	}
	spool->fd = -1;
	spool->split = NO_SPLIT;
	pthread_mutex_init(&spool->mutex, NULL);
	pthread_cond_init(&spool->work, NULL);
	if (state_path(spool->folder, sizeof(spool->folder), machine, ".spool", err) == 0) {
		snprintf(inside, sizeof(inside), "%s/", spool->folder);
		if (file_make_folders(inside, err) == 0 && host_thread_start(&spool->thread, "spool", write_jobs, spool, err) == 0)
			return spool;
	}
	pthread_cond_destroy(&spool->work);
	pthread_mutex_destroy(&spool->mutex);
	free(spool);
	return NULL;
}

int spool_close(struct spool *spool, struct error *err)
{
	int result = 0;
	if (!spool)
		return 0;
	pthread_mutex_lock(&spool->mutex);
	spool->closing = true;
	pthread_cond_signal(&spool->work);
	pthread_mutex_unlock(&spool->mutex);
	pthread_join(spool->thread, NULL);
	if (spool->fd >= 0 && close(spool->fd) < 0 && !spool->error)
		spool->error = errno;
	if (spool->error)
		result = error_set(err, spool->error, "'%s': not all that was printed could be written: %s", spool->folder, strerror(spool->error));
	pthread_cond_destroy(&spool->work);
	pthread_mutex_destroy(&spool->mutex);
	free(spool->buffer);
	free(spool);
	return result;
}

/* --- the other side --- */

static void describe(struct spool_job *job, unsigned number, const struct stat *st)
{
	*job = (struct spool_job){
		.number = number, .size = (uint64_t)st->st_size, .time = st->st_mtime,
		.printing = host_wall_seconds() - st->st_mtime <= SPOOL_IDLE_SECONDS,
	};
}

static int by_number(const void *a, const void *b)
{
	const struct spool_job *x = a, *y = b;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* All jobs of a folder, to be freed. */
static struct spool_job *read_jobs(DIR *folder, size_t *count)
{
	struct spool_job *jobs = NULL;
	struct dirent *entry;
	size_t room = 0;
	*count = 0;
	while ((entry = readdir(folder))) {
		struct stat st;
		unsigned number;
		if (!parse_name(entry->d_name, &number) || fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (*count == room) {
			struct spool_job *more = realloc(jobs, (room = 2 * room + 16) * sizeof(*jobs));
			if (!more)
				break;
			jobs = more;
		}
		describe(&jobs[(*count)++], number, &st);
	}
	if (*count)
		qsort(jobs, *count, sizeof(*jobs), by_number);
	return jobs;
}

int spool_each(const char *machine, void (*fn)(void *opaque, const struct spool_job *job), void *opaque, struct error *err)
{
	char path[PATH_MAX];
	size_t count;
	if (state_path(path, sizeof(path), machine, ".spool", err) < 0)
		return -1;
	DIR *folder = opendir(path);
	if (!folder)
		return errno == ENOENT ? 0 : error_set(err, errno, "cannot read '%s': %s", path, strerror(errno));
	cleanup_free struct spool_job *jobs = read_jobs(folder, &count);
	closedir(folder);
	for (size_t i = 0; i < count; i++)
		fn(opaque, &jobs[i]);
	return 0;
}

static int job_path(char *path, size_t size, const char *machine, unsigned number, struct error *err)
{
	char suffix[32];
	snprintf(suffix, sizeof(suffix), ".spool/%u.prn", number);
	return state_path(path, size, machine, suffix, err);
}

static int no_job(const char *machine, unsigned number, struct error *err)
{
	if (errno == ENOENT)
		return error_set(err, ENOENT, "%s has no print job %u; see 'visor spool list %s'", machine, number, machine);
	return error_set(err, errno, "%s: print job %u: %s", machine, number, strerror(errno));
}

int spool_read(const char *machine, unsigned number, struct spool_job *job, struct error *err)
{
	char path[PATH_MAX];
	struct stat st;
	if (job_path(path, sizeof(path), machine, number, err) < 0)
		return -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return no_job(machine, number, err);
	describe(job, number, &st);
	return fd;
}

int spool_remove(const char *machine, unsigned number, struct error *err)
{
	char path[PATH_MAX];
	if (job_path(path, sizeof(path), machine, number, err) < 0)
		return -1;
	return unlink(path) < 0 ? no_job(machine, number, err) : 0;
}
