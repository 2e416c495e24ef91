/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_VULNERABILITIES_H
#define VISOR_HOST_VULNERABILITIES_H

#include <stdbool.h>

/* Whether the host's kernel says that its processor is not affected by what has this name in
 * /sys/devices/system/cpu/vulnerabilities; false where it does not say. */
bool host_not_affected(const char *vulnerability);

#endif
