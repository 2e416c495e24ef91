/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/random.h"

#include <sys/random.h>

size_t host_random(void *buffer, size_t length)
{
	ssize_t n = getrandom(buffer, length, GRND_NONBLOCK);
	return n > 0 ? (size_t)n : 0;
}
