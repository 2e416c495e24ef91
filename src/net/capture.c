/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "net/capture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

/* draft-ietf-opsawg-pcap, 4 and 5; in the host's byte order, which the magic number tells. */
#define MAGIC_NANOSECONDS 0xa1b23c4du
#define LINKTYPE_ETHERNET 1u

struct capture_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t reserved1, reserved2, snapshot_length, link_type;
};

struct capture_record {
	uint32_t seconds, nanoseconds, captured, original;
};

struct capture {
	FILE *file;
	char *path;
};

struct capture *capture_open(const char *path, struct error *err)
{
	const struct capture_header header = { MAGIC_NANOSECONDS, 2, 4, 0, 0, NET_FRAME_MAX, LINKTYPE_ETHERNET };
	struct capture *capture = calloc(1, sizeof(*capture));
	if (capture && (capture->path = strdup(path)) && (capture->file = fopen(path, "we")) &&
	    fwrite(&header, sizeof(header), 1, capture->file) == 1 && fflush(capture->file) == 0)
		return capture;
	error_set(err, errno, "%s: cannot write the capture: %s", path, strerror(errno));
	capture_close(capture);
	return NULL;
}

void capture_frame(struct capture *capture, const struct net_frame *frame)
{
	if (!capture->file)
		return;
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	const struct capture_record record = { (uint32_t)now.tv_sec, (uint32_t)now.tv_nsec, (uint32_t)frame->size, (uint32_t)frame->size };
	bool good = fwrite(&record, sizeof(record), 1, capture->file) == 1;
	for (unsigned i = 0; good && i < frame->count; i++)
		good = fwrite(frame->iov[i].iov_base, 1, frame->iov[i].iov_len, capture->file) == frame->iov[i].iov_len;
	/* Whoever reads along sees whole frames. */
	if (good && fflush(capture->file) == 0)
		return;
	log_warn("%s: cannot write the capture: %s; it ends here", capture->path, strerror(errno));
	fclose(capture->file);
	capture->file = NULL;
}

void capture_close(struct capture *capture)
{
	if (!capture)
		return;
	if (capture->file && fclose(capture->file) != 0)
		log_warn("%s: cannot write the capture: %s; its end is missing", capture->path, strerror(errno));
	free(capture->path);
	free(capture);
}
