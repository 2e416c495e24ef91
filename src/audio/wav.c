/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audio/audio.h"
#include "base/log.h"
#include "base/util.h"
#include "host/file.h"
#include "host/writer.h"

#define HEADER 44u
#define FRAME 4u
#define DATA_MAX (UINT32_MAX - 65536u) /* sizes in the header have 32 bits */

struct audio {
	char *path;        /* NULL: to nothing */
	int fd;
	struct writer *writer;
	unsigned rate;     /* of the file; 0: nothing was played yet */
	uint64_t bytes;
	unsigned source;   /* rate of the sound that is converted */
	uint64_t phase;    /* position of the next frame of the file after `last`, in 1 / rate of a source frame */
	int16_t last[2];
};

static int check(const char *spec, struct error *err)
{
	if (!strcmp(spec, "none") || (!strncmp(spec, "wav:", 4) && spec[4]))
		return 0;
	return error_set(err, EINVAL, "'%s': sound cannot go there; write wav:FILE or none", spec);
}

static void put_header(const struct audio *audio, uint8_t *h)
{
	memcpy(h, "RIFF....WAVEfmt ", 16);
	store_le32(h + 4, (uint32_t)(HEADER - 8 + audio->bytes));
	store_le32(h + 16, 16);
	store_le16(h + 20, 1);
	store_le16(h + 22, 2);
	store_le32(h + 24, audio->rate);
	store_le32(h + 28, audio->rate * FRAME);
	store_le16(h + 32, FRAME);
	store_le16(h + 34, 16);
	memcpy(h + 36, "data", 4);
	store_le32(h + 40, (uint32_t)audio->bytes);
}

struct audio *audio_open(const char *spec, struct error *err)
{
	if (check(spec, err) < 0)
		return NULL;
	struct audio *audio = calloc(1, sizeof(*audio));
	if (!audio) {
		error_set(err, ENOMEM, "out of memory for sound");
		return NULL;
	}
	audio->fd = -1;
	if (!strcmp(spec, "none"))
		return audio;
	audio->path = strdup(spec + 4);
	if (audio->path)
		audio->fd = open(audio->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
	if (audio->fd < 0)
		error_set(err, errno, "cannot write sound to '%s': %s", spec + 4, strerror(errno));
	else
		audio->writer = writer_create(audio->fd, NULL, NULL, err);
	if (audio->writer) {
		uint8_t header[HEADER];
		put_header(audio, header);
		writer_put(audio->writer, header, sizeof(header));
		return audio;
	}
	if (audio->fd >= 0)
		close(audio->fd);
	free(audio->path);
	free(audio);
	return NULL;
}

static void put_frames(struct audio *audio, const int16_t *frames, size_t count)
{
	if (audio->bytes + count * FRAME > DATA_MAX) {
		log_warn_once("'%s' has reached the size limit of WAV files; what is played from now on is lost", audio->path);
		return;
	}
	audio->bytes += count * FRAME;
	writer_put(audio->writer, (const uint8_t *)frames, count * FRAME);
}

/* Frames of the file that lie between the last frame of the source and this one. */
static void convert(struct audio *audio, const int16_t *frame)
{
	int16_t out[2 * 64];
	unsigned count = 0;
	while (audio->phase < audio->rate) {
		for (unsigned i = 0; i < 2; i++) {
			int64_t step = (int64_t)(frame[i] - audio->last[i]) * (int64_t)audio->phase / (int64_t)audio->rate;
			out[2 * count + i] = (int16_t)(audio->last[i] + step);
		}
		audio->phase += audio->source;
		if (++count == 64) {
			put_frames(audio, out, count);
			count = 0;
		}
	}
	put_frames(audio, out, count);
	audio->phase -= audio->rate;
	memcpy(audio->last, frame, sizeof(audio->last));
}

void audio_play(struct audio *audio, unsigned rate, const int16_t *frames, size_t count)
{
	if (!audio || !audio->path || !count || !rate)
		return;
	if (!audio->rate)
		audio->rate = rate;
	if (rate == audio->rate) {
		put_frames(audio, frames, count);
		memcpy(audio->last, frames + 2 * (count - 1), sizeof(audio->last));
		audio->source = rate;
		return;
	}
	if (audio->source != rate)
		audio->phase = 0;
	audio->source = rate;
	for (size_t i = 0; i < count; i++)
		convert(audio, frames + 2 * i);
}

int audio_close(struct audio *audio, struct error *err)
{
	uint8_t header[HEADER];
	int result = 0;
	if (!audio)
		return 0;
	if (audio->path) {
		int error = writer_destroy(audio->writer);
		put_header(audio, header);
		if (!error && pwrite(audio->fd, header, sizeof(header), 0) != (ssize_t)sizeof(header) && errno != ESPIPE)
			error = errno;
		if (close(audio->fd) < 0 && !error)
			error = errno;
		if (error)
			result = error_set(err, error, "'%s': not all sound could be written: %s", audio->path, strerror(error));
	}
	free(audio->path);
	free(audio);
	return result;
}
