/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_LIMITS_H
#define VISOR_HOST_LIMITS_H

#include <stdint.h>

/* Bytes of RAM and swap that the host has; UINT64_MAX when it does not say. */
uint64_t host_memory_size(void);

#endif
