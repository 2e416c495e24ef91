/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_HOLDER_H
#define VISOR_HOST_HOLDER_H

#include <stdbool.h>
#include <stddef.h>

/* Who holds a lock on the file that `fd` is open on: "process 1234 (visor run --name web)". False: not to be found out, as for a process of
 * another user. It looks through /proc: for messages only. */
bool host_lock_holder(int fd, char *text, size_t room);

#endif
