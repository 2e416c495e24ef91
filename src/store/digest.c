/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "host/file.h"

#define SHA256_SIZE 32

static void to_text(const uint8_t *digest, char text[DIGEST_TEXT])
{
	for (unsigned i = 0; i < SHA256_SIZE; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

int digest_text(const void *data, size_t size, char text[DIGEST_TEXT], struct error *err)
{
	uint8_t digest[SHA256_SIZE];
	if (gnutls_hash_fast(GNUTLS_DIG_SHA256, data, size, digest) < 0)
		return error_set(err, ENOTSUP, "GnuTLS gives no SHA-256 here");
	to_text(digest, text);
	return 0;
}

int digest_file(const char *path, char text[DIGEST_TEXT], struct error *err)
{
	enum { PIECE = 1 << 20 };
	gnutls_hash_hd_t hash;
	uint8_t digest[SHA256_SIZE];
	cleanup_free uint8_t *piece = malloc(PIECE);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno, "%s: cannot open it: %s", path, strerror(errno));
	if (!piece || gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) < 0)
		return error_set(err, ENOMEM, "%s: cannot compute its SHA-256: out of memory", path);
	ssize_t n;
	do {
		n = read(fd, piece, PIECE);
		if (n > 0)
			gnutls_hash(hash, piece, (size_t)n);
	} while (n > 0 || (n < 0 && errno == EINTR));
	int error = errno;
	gnutls_hash_deinit(hash, digest);
	if (n < 0)
		return error_set(err, error, "%s: cannot read it: %s", path, strerror(error));
	to_text(digest, text);
	return 0;
}

int digest_check(const char *text, struct error *err)
{
	if (strlen(text) == DIGEST_TEXT - 1 && strspn(text, "0123456789abcdefABCDEF") == DIGEST_TEXT - 1)
		return 0;
	return error_set(err, EINVAL, "'%s' is no SHA-256 checksum; give its 64 hexadecimal digits, as sha256sum prints them", text);
}
