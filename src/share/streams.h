/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_SHARE_STREAMS_H
#define VISOR_SHARE_STREAMS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/error.h"
#include "host/loop.h"

/*
 * UNIX sockets of the host as the other ends of a guest's streams. A program of
 * the host connects to PATH and writes "CONNECT PORT\n" for a port of the
 * guest; it reads "OK NUMBER\n" when the guest has accepted. A guest that connects
 * to a port of the host reaches the socket PATH_PORT.
 *
 * Callbacks come on the loop's thread, which all functions but stream_close belong to.
 */
struct streams;
struct stream;

struct streams_ops {
	/* A program has named a port of the guest: the stream is the callee's, or NULL is what stream_owner says, and it goes. */
	void (*accepted)(void *opaque, struct stream *stream, uint32_t port);
	/* What stream_watch asked for has come, or the other side's end (then read says so). */
	void (*ready)(void *opaque, struct stream *stream);
	void *opaque;
};

/* The socket PATH is made; one that nobody answers is replaced. */
struct streams *streams_create(const char *path, struct loop *loop, struct error *err);
void streams_set_ops(struct streams *streams, const struct streams_ops *ops);
/* All streams are closed by then. */
void streams_destroy(struct streams *streams);

/* A connection to PATH_PORT; NULL: nobody listens there. */
struct stream *stream_connect(struct streams *streams, uint32_t port);
/* The other side's owner, who must have one: NULL closes. */
void stream_set_owner(struct stream *stream, void *owner);
void *stream_owner(const struct stream *stream);
/* "OK NUMBER\n", for an accepted one. */
void stream_greet(struct stream *stream, uint32_t number);
/* Bytes, 0 at the other side's end, or a negative errno; -EAGAIN: not now. */
ssize_t stream_read(struct stream *stream, const struct iovec *iov, unsigned count);
ssize_t stream_write(struct stream *stream, const struct iovec *iov, unsigned count);
void stream_watch(struct stream *stream, bool readable, bool writable);
/* No more is written. */
void stream_shut(struct stream *stream);
/* From any thread: nothing is called for it any more, and it goes when the loop has time. */
void stream_close(struct stream *stream);

#endif
