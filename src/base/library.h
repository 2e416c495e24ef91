/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BASE_LIBRARY_H
#define VISOR_BASE_LIBRARY_H

#include <pthread.h>
#include <stddef.h>

#include "base/error.h"
#include "base/util.h"

/*
 * A shared library that is loaded when it is first used. Those of a VNC server,
 * an HTTP server and curl bring forty others with them, whose relocation takes
 * longer than the rest of a machine's start.
 *
 * LIBRARY(curl, "libcurl-gnutls.so.4", "libcurl3-gnutls", FUNCTIONS) with
 *
 *	#define FUNCTIONS(F) F(curl_easy_init) F(curl_easy_perform)
 *
 * defines the table `curl` with a pointer of the header's type for each symbol,
 * empty until library_load(&curl_library) has succeeded: curl.curl_easy_init().
 */
struct library {
	const char *file;    /* its soname: what the header describes */
	const char *package; /* Debian's name */
	const char *const *symbols;
	size_t count;
	void *table; /* as many pointers as symbols */
	pthread_mutex_t mutex;
	void *handle;
};

#define LIBRARY_POINTER(symbol) __typeof__(symbol) *symbol;
#define LIBRARY_TEXT(symbol) #symbol,
#define LIBRARY_NAME(symbol) LIBRARY_TEXT(symbol) /* what a macro of the header stands for */
#define LIBRARY(variable, soname, debian, SYMBOLS)                                                                 \
	static struct {                                                                                            \
		SYMBOLS(LIBRARY_POINTER)                                                                           \
	} variable;                                                                                                \
	static const char *const variable##_symbols[] = { SYMBOLS(LIBRARY_NAME) };                                 \
	static struct library variable##_library = { .file = soname, .package = debian,                            \
		.symbols = variable##_symbols, .count = ARRAY_SIZE(variable##_symbols), .table = &variable,        \
		.mutex = PTHREAD_MUTEX_INITIALIZER }

/* Any thread, any number of times; it stays loaded. On failure the error names the library and its package. */
int library_load(struct library *library, struct error *err);

#endif
