/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/vulnerabilities.h"

#include <stdio.h>
#include <string.h>

bool host_not_affected(const char *vulnerability)
{
	static const char wanted[] = "Not affected";
	char path[128], line[sizeof(wanted)] = "";
	snprintf(path, sizeof(path), "/sys/devices/system/cpu/vulnerabilities/%s", vulnerability);
	FILE *file = fopen(path, "re");
	bool read = file && fgets(line, sizeof(line), file);
	if (file)
		fclose(file);
	return read && !strcmp(line, wanted);
}
