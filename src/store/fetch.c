/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "store/fetch.h"

/* Its macros that check arguments call functions by name. */
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/library.h"
#include "base/log.h"
#include "base/util.h"
#include "host/file.h"

#define SYMBOLS(S)                                                                                             \
	S(curl_easy_cleanup) S(curl_easy_getinfo) S(curl_easy_init) S(curl_easy_perform) S(curl_easy_reset)    \
	S(curl_easy_setopt) S(curl_easy_strerror) S(curl_global_init) S(curl_slist_append) S(curl_slist_free_all)
LIBRARY(curl, "libcurl-gnutls.so.4", "libcurl3-gnutls", SYMBOLS);

#define RETRIES 5 /* one after the other without a byte */
#define MAX_TAG 1000
#define STALLED_SECONDS 60l

struct transfer {
	const struct fetch *fetch;
	CURL *curl;
	int fd;
	uint64_t begin, done;
	char tag[MAX_TAG];  /* of the file on the server: an ETag, else its date */
	bool tag_is_new, write_failed;
	char why[MAX(CURL_ERROR_SIZE, sizeof(((struct error *)0)->text))];
};

bool fetch_is_url(const char *text)
{
	return strstr(text, "://") != NULL;
}

/* --- what the part on the disk is a part of --- */

static int tag_path(const char *path, char room[PATH_MAX])
{
	return snprintf(room, PATH_MAX, "%s.tag", path) < PATH_MAX ? 0 : -1;
}

void fetch_forget(const char *path)
{
	char tag[PATH_MAX];
	if (tag_path(path, tag) == 0)
		unlink(tag);
}

static void load_tag(struct transfer *t)
{
	char path[PATH_MAX];
	size_t size;
	cleanup_free char *text = tag_path(t->fetch->path, path) == 0 ? (char *)file_read(path, MAX_TAG - 1, &size, NULL) : NULL;
	if (text)
		snprintf(t->tag, sizeof(t->tag), "%.*s", (int)strcspn(text, "\r\n"), text);
}

static int save_tag(struct transfer *t, struct error *err)
{
	char path[PATH_MAX];
	struct file_replace file;
	t->tag_is_new = false;
	if (!*t->tag) {
		fetch_forget(t->fetch->path);
		return 0;
	}
	if (tag_path(t->fetch->path, path) < 0)
		return error_set(err, ENAMETOOLONG, "%s: the name is too long", t->fetch->path);
	if (file_replace_begin(&file, path, err) < 0)
		return -1;
	int rc = file_write_all(file.fd, t->tag, strlen(t->tag), err);
	if (rc == 0)
		rc = file_replace_commit(&file, err);
	file_replace_end(&file);
	return rc;
}

/* A weak ETag does not say that the bytes are the same (RFC 9110, 13.1.5). */
static size_t on_header(char *data, size_t one, size_t size, void *opaque)
{
	struct transfer *t = opaque;
	char line[MAX_TAG + 32];
	snprintf(line, sizeof(line), "%.*s", (int)MIN(size, sizeof(line) - 1), data);
	line[strcspn(line, "\r\n")] = 0;
	char *value = strchr(line, ':');
	if (!strncmp(line, "HTTP/", 5))
		t->tag_is_new = false; /* a redirection's headers came before */
	if (!value)
		return size;
	*value++ = 0;
	value += strspn(value, " \t");
	bool etag = !strcasecmp(line, "etag") && strncmp(value, "W/", 2);
	if (strlen(value) >= MAX_TAG || !(etag || (!strcasecmp(line, "last-modified") && !(t->tag_is_new && *t->tag == '"'))))
		return size;
	memcpy(t->tag, value, strlen(value) + 1);
	t->tag_is_new = true;
	return size;
}

/* --- the transfer --- */

static size_t on_data(char *data, size_t one, size_t size, void *opaque)
{
	struct transfer *t = opaque;
	struct error err;
	if (t->tag_is_new && t->begin == 0 && t->done == 0 && save_tag(t, &err) < 0)
		log_warn("%s", err.text);
	if (file_write_all(t->fd, data, size, &err) < 0) {
		snprintf(t->why, sizeof(t->why), "%s", err.text);
		t->write_failed = true;
		return 0;
	}
	t->done += size;
	return size;
}

static int on_progress(void *opaque, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up)
{
	struct transfer *t = opaque;
	if (t->fetch->progress && now)
		t->fetch->progress(t->fetch->opaque, t->begin + (uint64_t)now, total ? t->begin + (uint64_t)total : 0);
	return 0;
}

static struct curl_slist *set_options(struct transfer *t)
{
	char header[MAX_TAG + 16];
	struct curl_slist *headers = NULL;
	curl.curl_easy_reset(t->curl);
	curl.curl_easy_setopt(t->curl, CURLOPT_URL, t->fetch->url);
	curl.curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, "http,https,file");
	curl.curl_easy_setopt(t->curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	curl.curl_easy_setopt(t->curl, CURLOPT_FOLLOWLOCATION, 1l);
	curl.curl_easy_setopt(t->curl, CURLOPT_MAXREDIRS, 10l);
	curl.curl_easy_setopt(t->curl, CURLOPT_FAILONERROR, 1l);
	curl.curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1l);
	curl.curl_easy_setopt(t->curl, CURLOPT_USERAGENT, "visor/" VISOR_VERSION);
	curl.curl_easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT, 30l);
	curl.curl_easy_setopt(t->curl, CURLOPT_LOW_SPEED_LIMIT, 1l);
	curl.curl_easy_setopt(t->curl, CURLOPT_LOW_SPEED_TIME, STALLED_SECONDS);
	curl.curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, t->why);
	curl.curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, on_data);
	curl.curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
	curl.curl_easy_setopt(t->curl, CURLOPT_HEADERFUNCTION, on_header);
	curl.curl_easy_setopt(t->curl, CURLOPT_HEADERDATA, t);
	curl.curl_easy_setopt(t->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl.curl_easy_setopt(t->curl, CURLOPT_XFERINFODATA, t);
	curl.curl_easy_setopt(t->curl, CURLOPT_NOPROGRESS, 0l);
	curl.curl_easy_setopt(t->curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)t->begin);
	if (t->begin && *t->tag) {
		snprintf(header, sizeof(header), "If-Range: %s", t->tag);
		headers = curl.curl_slist_append(NULL, header);
		curl.curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, headers);
	}
	return headers;
}

static int start_anew(struct transfer *t, struct error *err)
{
	fetch_forget(t->fetch->path);
	*t->tag = 0;
	t->begin = 0;
	if (ftruncate(t->fd, 0) < 0 || lseek(t->fd, 0, SEEK_SET) < 0)
		return error_set(err, errno, "%s: cannot empty it: %s", t->fetch->path, strerror(errno));
	return 0;
}

/* Goes on behind what is there, when that is a part of the same file. */
static int find_begin(struct transfer *t, struct error *err)
{
	off_t end = lseek(t->fd, 0, SEEK_END);
	if (end < 0)
		return error_set(err, errno, "%s: cannot seek in it: %s", t->fetch->path, strerror(errno));
	bool http = !strncasecmp(t->fetch->url, "http", 4);
	if (end && http && (*t->tag || t->fetch->trusted_part)) {
		t->begin = (uint64_t)end;
		return 0;
	}
	return start_anew(t, err);
}

static bool may_retry(const struct transfer *t, CURLcode code, long status)
{
	switch (code) {
	case CURLE_COULDNT_CONNECT:
	case CURLE_PARTIAL_FILE:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return !t->write_failed;
	case CURLE_HTTP_RETURNED_ERROR:
		return status >= 500 || status == 429;
	default:
		return false;
	}
}

static CURLcode once(struct transfer *t, long *status)
{
	t->done = 0;
	t->tag_is_new = t->write_failed = false;
	*t->why = 0;
	struct curl_slist *headers = set_options(t);
	CURLcode code = curl.curl_easy_perform(t->curl);
	curl.curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, status);
	curl.curl_slist_free_all(headers);
	return code;
}

static int transfer(struct transfer *t, struct error *err)
{
	long status = 0;
	uint64_t farthest = 0;
	for (unsigned tries = 0;;) {
		if (find_begin(t, err) < 0)
			return -1;
		CURLcode code = once(t, &status);
		if (code == CURLE_OK)
			return 0;
		/* The server sends the whole, or does not have what lies behind our part: the file is another by now, or was complete. */
		bool other = t->begin && (code == CURLE_RANGE_ERROR || status == 416);
		if (other && start_anew(t, err) < 0)
			return -1;
		if (other)
			continue;
		tries = t->begin + t->done > farthest ? 0 : tries + 1;
		farthest = MAX(farthest, t->begin + t->done);
		if (!may_retry(t, code, status) || tries >= RETRIES)
			return error_set(err, t->write_failed ? EIO : 0, "%s: %s; what came so far is kept: the same command goes on from there",
					 t->fetch->url, *t->why ? t->why : curl.curl_easy_strerror(code));
		log_info("%s: %s; trying again", t->fetch->url, *t->why ? t->why : curl.curl_easy_strerror(code));
		nanosleep(&(struct timespec){ .tv_sec = tries }, NULL);
	}
}

int fetch_file(const struct fetch *fetch, struct error *err)
{
	struct transfer t = { .fetch = fetch };
	cleanup_close int fd = t.fd = open(fetch->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(err, errno, "%s: cannot create it: %s", fetch->path, strerror(errno));
	struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	if (fcntl(fd, F_OFD_SETLK, &range) < 0)
		return error_set(err, EBUSY, "%s: another process fetches it at the moment; wait until that has ended", fetch->url);
	if (library_load(&curl_library, err) < 0)
		return -1;
	if (curl.curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(t.curl = curl.curl_easy_init()))
		return error_set(err, ENOMEM, "libcurl cannot be started: out of memory");
	load_tag(&t);
	int rc = transfer(&t, err);
	curl.curl_easy_cleanup(t.curl);
	if (rc == 0 && fsync(fd) < 0)
		rc = error_set(err, errno, "%s: cannot write it to the disk: %s", fetch->path, strerror(errno));
	return rc;
}
