/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"

/* Not by fstat's size: the file may be a pipe. */
static int read_all(int fd, const char *path, const char *what, size_t max, uint8_t **data, size_t *size, struct error *err)
{
	size_t room = 0;
	for (;;) {
		if (*size == room) {
			room = room ? room * 2 : 1 << 20;
			uint8_t *bigger = realloc(*data, room);
			if (!bigger)
				return error_set(err, ENOMEM, "out of memory for %s '%s'", what, path);
			*data = bigger;
		}
		ssize_t n = read(fd, *data + *size, room - *size);
		if (n == 0)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, errno, "cannot read %s '%s': %s", what, path, strerror(errno));
		*size += (size_t)n;
		if (*size > max)
			return error_set(err, EFBIG, "%s '%s' is larger than %zu MiB; is it the right file?", what, path, max >> 20);
	}
}

int host_read_file(const char *path, const char *what, size_t max, uint8_t **data, size_t *size, struct error *err)
{
	*data = NULL;
	*size = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno, "cannot open %s '%s': %s", what, path, strerror(errno));
	int rc = read_all(fd, path, what, max, data, size, err);
	close(fd);
	if (rc < 0) {
		free(*data);
		*data = NULL;
	}
	return rc;
}
