/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/limits.h"

#include <sys/sysinfo.h>

uint64_t host_memory_size(void)
{
	struct sysinfo info;
	if (sysinfo(&info) < 0)
		return UINT64_MAX;
	return ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
}
