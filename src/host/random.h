/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_RANDOM_H
#define VISOR_HOST_RANDOM_H

#include <stddef.h>

/* Fills `buffer` from the host's generator; the bytes given, 0 while it is not seeded. Does not block. */
size_t host_random(void *buffer, size_t length);

#endif
