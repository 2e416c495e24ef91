/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "host/file.h"

static void to_text(const uint8_t *digest, char text[DIGEST_TEXT])
{
	for (unsigned i = 0; i < SHA256_DIGEST_SIZE; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

void digest_text(const void *data, size_t size, char text[DIGEST_TEXT])
{
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct sha256_ctx hash;
	sha256_init(&hash);
	sha256_update(&hash, size, data);
	sha256_digest(&hash, sizeof(digest), digest);
	to_text(digest, text);
}

int digest_file(const char *path, char text[DIGEST_TEXT], struct error *err)
{
	enum { PIECE = 1 << 20 };
	struct sha256_ctx hash;
	uint8_t digest[SHA256_DIGEST_SIZE];
	cleanup_free uint8_t *piece = malloc(PIECE);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno, "%s: cannot open it: %s", path, strerror(errno));
	if (!piece)
		return error_set(err, ENOMEM, "%s: cannot compute its SHA-256: out of memory", path);
	sha256_init(&hash);
	ssize_t n;
	do {
		n = read(fd, piece, PIECE);
		if (n > 0)
			sha256_update(&hash, (size_t)n, piece);
	} while (n > 0 || (n < 0 && errno == EINTR));
	int error = errno;
	if (n < 0)
		return error_set(err, error, "%s: cannot read it: %s", path, strerror(error));
	sha256_digest(&hash, sizeof(digest), digest);
	to_text(digest, text);
	return 0;
}

int digest_check(const char *text, struct error *err)
{
	if (strlen(text) == DIGEST_TEXT - 1 && strspn(text, "0123456789abcdefABCDEF") == DIGEST_TEXT - 1)
		return 0;
	return error_set(err, EINVAL, "'%s' is no SHA-256 checksum; give its 64 hexadecimal digits, as sha256sum prints them", text);
}
