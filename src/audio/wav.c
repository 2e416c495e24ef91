/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audio/wav.h"
#include "base/log.h"
#include "base/util.h"
#include "host/file.h"
#include "host/writer.h"

#define HEADER 44u
#define FRAME 4u
#define DATA_MAX (UINT32_MAX - 65536u) /* sizes in the header have 32 bits */

struct wav {
	char *path;
	int fd;
	struct writer *writer;
	uint64_t bytes;
};

static void put_header(const struct wav *wav, unsigned rate, uint8_t *h)
{
	memcpy(h, "RIFF....WAVEfmt ", 16);
	store_le32(h + 4, (uint32_t)(HEADER - 8 + wav->bytes));
	store_le32(h + 16, 16);
	store_le16(h + 20, 1);
	store_le16(h + 22, 2);
	store_le32(h + 24, rate);
	store_le32(h + 28, rate * FRAME);
	store_le16(h + 32, FRAME);
	store_le16(h + 34, 16);
	memcpy(h + 36, "data", 4);
	store_le32(h + 40, (uint32_t)wav->bytes);
}

struct wav *wav_create(const char *path, struct error *err)
{
	struct wav *wav = calloc(1, sizeof(*wav));
	if (!wav || !(wav->path = strdup(path))) {
		error_set(err, ENOMEM, "out of memory for sound");
		free(wav);
		return NULL;
	}
	wav->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
	if (wav->fd < 0)
		error_set(err, errno, "cannot write sound to '%s': %s", path, strerror(errno));
	else
		wav->writer = writer_create(wav->fd, NULL, NULL, err);
	if (wav->writer) {
		uint8_t header[HEADER];
		put_header(wav, 0, header);
		writer_put(wav->writer, header, sizeof(header));
		return wav;
	}
	if (wav->fd >= 0)
		close(wav->fd);
	free(wav->path);
	free(wav);
	return NULL;
}

void wav_put(struct wav *wav, const int16_t *frames, size_t count)
{
	if (wav->bytes + count * FRAME > DATA_MAX) {
		log_warn_once("'%s' has reached the size limit of WAV files; what is played from now on is lost", wav->path);
		return;
	}
	wav->bytes += count * FRAME;
	writer_put(wav->writer, (const uint8_t *)frames, count * FRAME);
}

int wav_close(struct wav *wav, unsigned rate, struct error *err)
{
	uint8_t header[HEADER];
	int error = writer_destroy(wav->writer);
	put_header(wav, rate, header);
	if (!error && pwrite(wav->fd, header, sizeof(header), 0) != (ssize_t)sizeof(header) && errno != ESPIPE)
		error = errno;
	if (close(wav->fd) < 0 && !error)
		error = errno;
	if (error)
		error_set(err, error, "'%s': not all sound could be written: %s", wav->path, strerror(error));
	free(wav->path);
	free(wav);
	return error ? -1 : 0;
}
