/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/limits.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

uint64_t host_memory_size(void)
{
	struct sysinfo info;
	if (sysinfo(&info) < 0)
		return UINT64_MAX;
	return ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
}

/* The number of KiB in the line that begins with `name`. */
static bool read_kib(const char *path, const char *name, uint64_t *bytes)
{
	char line[128];
	unsigned long long kib = 0;
	bool found = false;
	FILE *file = fopen(path, "re");
	while (file && !found && fgets(line, sizeof(line), file))
		found = !strncmp(line, name, strlen(name)) && sscanf(line + strlen(name), " %llu kB", &kib) == 1;
	if (file)
		fclose(file);
	*bytes = kib << 10;
	return found;
}

bool host_memory_use(struct host_memory_use *use)
{
	return read_kib("/proc/self/status", "RssAnon:", &use->private) && read_kib("/proc/self/status", "VmPTE:", &use->page_tables);
}
