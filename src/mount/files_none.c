/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mount/files.h"

#include <errno.h>

int files_possible(struct error *err)
{
	return error_set(err, ENOSYS, "this visor was built without libfuse; install libfuse3-dev and build it again ('make clean; make')");
}

struct files *files_mount(const struct files_config *config, struct error *err)
{
	files_possible(err);
	return NULL;
}

void files_serve(struct files *files)
{
}

void files_end(struct files *files)
{
}
