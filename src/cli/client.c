/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "cli/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "base/util.h"
#include "host/file.h"
#include "host/rundir.h"

#define MAX_ANSWER (64u << 20)

static int send_request(int fd, const char *method, const char *path, json_t *body, struct error *err)
{
	cleanup_free char *text = body ? json_dumps(body, JSON_COMPACT) : strdup("");
	cleanup_free char *request = NULL;
	if (!text || asprintf(&request,
			      "%s %s HTTP/1.1\r\nHost: visor\r\nConnection: close\r\nContent-Type: application/json\r\n"
			      "Content-Length: %zu\r\n\r\n%s",
			      method, path, strlen(text), text) < 0) {
		request = NULL;
		return error_set(err, ENOMEM, "out of memory");
	}
	size_t left = strlen(request);
	for (const char *p = request; left;) {
		ssize_t n = send(fd, p, left, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, errno, "cannot ask it: %s", strerror(errno));
		p += n;
		left -= (size_t)n;
	}
	return 0;
}

/* All until the other side closes, with a zero after it. */
static char *receive(int fd, size_t *length, struct error *err)
{
	size_t size = 0, room = 4096;
	char *text = malloc(room);
	while (text) {
		ssize_t n = read(fd, text + size, room - size - 1);
		if (n < 0 && errno == EINTR)
			continue;
		/* Who is killed with our request unread resets the connection: an end like any other. */
		if (n < 0 && errno == ECONNRESET)
			n = 0;
		if (n < 0 || size > MAX_ANSWER) {
			error_set(err, n < 0 ? errno : EMSGSIZE, "its answer broke off: %s", strerror(n < 0 ? errno : EMSGSIZE));
			free(text);
			return NULL;
		}
		if (n == 0) {
			text[size] = 0;
			*length = size;
			return text;
		}
		size += (size_t)n;
		if (room - size < 2) {
			char *more = realloc(text, room *= 2);
			if (!more)
				free(text);
			text = more;
		}
	}
	error_set(err, ENOMEM, "out of memory");
	return NULL;
}

/* The status, and where the body begins; NULL: that was no answer. */
static const char *find_body(const char *text, int *status, struct error *err)
{
	const char *body = strstr(text, "\r\n\r\n");
	if (sscanf(text, "HTTP/1.%*d %d", status) == 1 && body)
		return body + 4;
	error_set(err, EPROTO, "it does not answer; it may have ended meanwhile");
	return NULL;
}

static json_t *parse_answer(const char *text, struct error *err)
{
	int status;
	const char *body = find_body(text, &status, err), *why;
	json_t *json = body ? json_parse(body, strlen(body), err) : NULL;
	if (!json || status < 400)
		return json;
	if (json_get_string(json, "error", &why, NULL) < 0)
		error_set(err, EPROTO, "it answers with HTTP status %d", status);
	else
		error_set(err, 0, "%s", why);
	json_decref(json);
	return NULL;
}

static char *exchange(const char *machine, const char *method, const char *path, json_t *body, size_t *size, struct error *err)
{
	cleanup_close int fd = rundir_connect(machine, err);
	char *text = NULL;
	if (fd >= 0 && send_request(fd, method, path, body, err) == 0)
		text = receive(fd, size, err);
	if (fd >= 0 && !text)
		error_prefix(err, "%s", machine);
	return text;
}

json_t *client_request(const char *machine, const char *method, const char *path, json_t *body, struct error *err)
{
	size_t size;
	cleanup_free char *text = exchange(machine, method, path, body, &size, err);
	json_t *answer = text ? parse_answer(text, err) : NULL;
	if (text && !answer)
		error_prefix(err, "%s", machine);
	json_decref(body);
	return answer;
}

uint8_t *client_fetch(const char *machine, const char *path, size_t *size, struct error *err)
{
	int status;
	cleanup_free char *text = exchange(machine, "GET", path, NULL, size, err);
	const char *body = text ? find_body(text, &status, err) : NULL;
	if (!body)
		return NULL;
	if (status != 200) {
		json_decref(parse_answer(text, err));
		error_prefix(err, "%s", machine);
		return NULL;
	}
	*size -= (size_t)(body - text);
	uint8_t *data = malloc(*size + 1);
	if (data)
		memcpy(data, body, *size);
	else
		error_set(err, ENOMEM, "out of memory");
	return data;
}
