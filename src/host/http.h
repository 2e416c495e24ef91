/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_HTTP_H
#define VISOR_HOST_HTTP_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

/*
 * HTTP/1.1 with JSON (and files in answers) on a listening socket (libmicrohttpd does the protocol).
 * Each connection is served by a thread of its own, one request each. Requests
 * that are malformed, too large or too slow end here, with a 4xx status or closed.
 */
struct http_server;

struct http_request {
	const char *method, *path;
	json_t *body; /* NULL when the request has none; else valid JSON */
};

struct http_reply {
	unsigned status; /* 200 at first */
	json_t *body;    /* taken over; NULL becomes {} */
	const char *allow; /* the methods of a 405 */
	void *data;        /* instead of JSON: `size` bytes of this media type; from malloc, taken over */
	size_t size;
	const char *type;
};

#define HTTP_MAX_BODY 65536u
#define HTTP_MAX_CONNECTIONS 16u
#define HTTP_TIMEOUT_SECONDS 10u

/* {"error": text} with that status. */
void http_reply_error(struct http_reply *reply, unsigned status, const char *text);

/* handler: on a connection's thread, several at a time; may block. The socket is taken over. */
struct http_server *http_server_create(int listen_fd, void (*handler)(void *opaque, const struct http_request *, struct http_reply *),
				       void *opaque, struct error *err);
/* No new connections; answers under way get a second to arrive. */
void http_server_destroy(struct http_server *server);

#endif
