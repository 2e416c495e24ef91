/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "share/p9_server.h"

#include <errno.h>
#include <string.h>

#include "base/iovec.h"
#include "base/util.h"

enum { T_LERROR = 6, T_AUTH = 102, T_FLUSH = 108 };

/* By the number of the request; its reply has the next one. */
static p9_handler *const handlers[] = {
	[8] = p9_statfs, [12] = p9_lopen, [14] = p9_lcreate, [16] = p9_symlink, [18] = p9_mknod, [20] = p9_rename, [22] = p9_readlink,
	[24] = p9_getattr, [26] = p9_setattr, [30] = p9_xattrwalk, [32] = p9_xattrcreate, [40] = p9_readdir, [50] = p9_fsync,
	[52] = p9_lock, [54] = p9_getlock, [70] = p9_link, [72] = p9_mkdir, [74] = p9_renameat, [76] = p9_unlinkat, [100] = p9_version,
	[104] = p9_attach, [T_FLUSH] = p9_flush, [110] = p9_walk, [116] = p9_read, [118] = p9_write, [120] = p9_clunk, [122] = p9_remove,
};

/* Begins a new session, with limits that both sides keep. */
int p9_version(struct p9_call *call)
{
	uint32_t msize = (uint32_t)get(&call->in, 4);
	const char *version = get_string(&call->in), *ours = "9P2000.L";
	if (call->in.bad || msize < P9_MSIZE_MIN)
		return EINVAL;
	fids_clear(call->server);
	call->server->msize = MIN(msize, P9_MSIZE_MAX);
	if (strcmp(version, ours))
		ours = "unknown";
	put(&call->out, call->server->msize, 4);
	put_string(&call->out, ours, strlen(ours));
	return 0;
}

/* Requests are carried out in their order: the one that is not wanted any more has had its reply. */
int p9_flush(struct p9_call *call)
{
	return 0;
}

static uint32_t copy_out(const struct p9_request *r, uint8_t *buffer)
{
	struct iovec from[1];
	uint32_t done = 0, size = (uint32_t)MIN(r->out_size, (uint64_t)P9_MESSAGE_MAX);
	while (done < size && iovec_slice(r->out, r->out_count, done, size - done, from, 1)) {
		memcpy(buffer + done, from[0].iov_base, from[0].iov_len);
		done += (uint32_t)from[0].iov_len;
	}
	return done;
}

static void copy_in(struct p9_request *r, const uint8_t *buffer, uint32_t size)
{
	struct iovec to[1];
	for (uint32_t done = 0; done < size && iovec_slice(r->in, r->in_count, done, size - done, to, 1); done += (uint32_t)to[0].iov_len)
		memcpy(to[0].iov_base, buffer + done, to[0].iov_len);
}

static int carry_out(struct p9_call *call, uint8_t type)
{
	p9_handler *handler = type < ARRAY_SIZE(handlers) ? handlers[type] : NULL;
	if (!handler)
		return EOPNOTSUPP;
	if (!call->server->msize && handler != p9_version)
		return EPROTO;
	int error = handler(call);
	return !error && call->out.bad ? ENOBUFS : error;
}

void p9_serve(struct p9_server *s, struct p9_request *request)
{
	uint8_t message[P9_MESSAGE_MAX], reply[P9_MESSAGE_MAX];
	struct p9_call call = {
		.server = s, .request = request,
		.in = { .data = message, .at = P9_HEADER }, .out = { .data = reply, .at = P9_HEADER, .size = sizeof(reply) },
	};
	request->replied = 0;
	uint32_t copied = copy_out(request, message);
	if (copied < P9_HEADER || request->in_size < P9_HEADER + 4)
		return;
	/* What the message says of its size binds it; data of a write is not in the copy. */
	uint32_t size = load_le32(message);
	call.in.size = MIN(size, copied);
	int error = size < P9_HEADER || size > request->out_size ? EINVAL : carry_out(&call, message[4]);
	uint8_t type = message[4] + 1u;
	if (!error && call.out.at > request->in_size - call.payload)
		error = ENOBUFS;
	if (error) {
		call.payload = 0;
		call.out = (struct cursor){ .data = reply, .at = P9_HEADER, .size = sizeof(reply) };
		put(&call.out, (uint64_t)error, 4);
		type = T_LERROR + 1;
	}
	request->replied = call.out.at + call.payload;
	store_le32(reply, request->replied);
	reply[4] = type;
	memcpy(reply + 5, message + 5, 2);
	copy_in(request, reply, call.out.at);
}
