/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

static int load(struct library *library, struct error *err)
{
	void *handle = dlopen(library->file, RTLD_NOW | RTLD_LOCAL);
	char *table = library->table;
	for (size_t i = 0; handle && i < library->count; i++) {
		void *symbol = dlsym(handle, library->symbols[i]);
		if (!symbol) {
			dlclose(handle);
			handle = NULL;
			break;
		}
		memcpy(table + i * sizeof(symbol), &symbol, sizeof(symbol));
	}
	if (!handle) {
		const char *why = dlerror();
		return error_set(err, ENOENT, "%s cannot be loaded (%s); Debian's package %s has it", library->file,
				 why ? why : "a symbol of it is empty", library->package);
	}
	library->handle = handle;
	return 0;
}

int library_load(struct library *library, struct error *err)
{
	pthread_mutex_lock(&library->mutex);
	int rc = library->handle ? 0 : load(library, err);
	pthread_mutex_unlock(&library->mutex);
	return rc;
}
