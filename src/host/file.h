/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_FILE_H
#define VISOR_HOST_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Reads a whole file; *data is the caller's to free. what: "kernel", for the message. max: the largest size accepted, bytes. */
int host_read_file(const char *path, const char *what, size_t max, uint8_t **data, size_t *size, struct error *err);

#endif
