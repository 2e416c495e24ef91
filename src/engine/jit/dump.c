/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "engine/jit/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* System calls: open, read, write, rename, unlink. */
#define NAME_ROOM 128

struct symbol {
	uint64_t address;
	char *name;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *map;
static char map_path[32];
static struct symbol *symbols;
static size_t symbol_count;

/* --- the guest kernel's symbols --- */

static int by_address(const void *a, const void *b)
{
	uint64_t x = ((const struct symbol *)a)->address, y = ((const struct symbol *)b)->address;
	return (x > y) - (x < y);
}

static void free_symbols(void)
{
	for (size_t i = 0; i < symbol_count; i++)
		free(symbols[i].name);
	free(symbols);
	symbols = NULL;
	symbol_count = 0;
}

static int add_symbol(uint64_t address, const char *name)
{
	if (!(symbol_count & (symbol_count - 1))) {
		struct symbol *more = realloc(symbols, (symbol_count ? 2 * symbol_count : 1) * sizeof(*more));
		if (!more)
			return -1;
		symbols = more;
	}
	char *copy = strdup(name);
	if (!copy)
		return -1;
	symbols[symbol_count++] = (struct symbol){ address, copy };
	return 0;
}

/* "ffffffff81000000 T name", in kallsyms with "[module]" behind; types T, t, W and w are code. */
static int read_lines(FILE *file)
{
	char line[512], type, name[NAME_ROOM];
	unsigned long long address;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%llx %c %127s", &address, &type, name) == 3 && strchr("TtWw", type) && address && add_symbol(address, name) < 0)
			return -1;
	return 0;
}

static int read_symbols(const char *path, struct error *err)
{
	FILE *file = fopen(path, "re");
	if (!file)
		return error_set(err, errno, "--jit-dump %s: cannot read it: %s", path, strerror(errno));
	int result = read_lines(file);
	bool broken = ferror(file);
	fclose(file);
	if (result < 0 || broken)
		error_set(err, EIO, "--jit-dump %s: it cannot be read to the end, or memory is out", path);
	else if (!symbol_count)
		error_set(err, EINVAL, "--jit-dump %s: it names no addresses of functions; give a System.map, or a copy of the guest's "
			  "/proc/kallsyms as root sees it", path);
	else
		qsort(symbols, symbol_count, sizeof(*symbols), by_address);
	if (result == 0 && !broken && symbol_count)
		return 0;
	free_symbols();
	return -1;
}

/* The last one at or below the address, if the address is the kernel's. */
static const struct symbol *find_symbol(uint64_t linear)
{
	size_t low = 0, high = symbol_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (symbols[middle].address <= linear)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? &symbols[low - 1] : NULL;
}

/* --- the map --- */

/* Nobody else's file: /tmp is everybody's. */
static FILE *create(const char *path)
{
	unlink(path);
	int fd = open(path, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0644);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
	if (file)
		setvbuf(file, NULL, _IOLBF, 1024);
	else if (fd >= 0)
		close(fd);
	return file;
}

static int begin(const char *path, struct error *err)
{
	if (*path && read_symbols(path, err) < 0)
		return -1;
	snprintf(map_path, sizeof(map_path), "/tmp/perf-%ld.map", (long)getpid());
	map = create(map_path);
	return map ? 0 : error_set(err, errno, "--jit-dump: cannot write %s: %s", map_path, strerror(errno));
}

int dump_open(const char *path, struct error *err)
{
	pthread_mutex_lock(&lock);
	int result = map ? 0 : begin(path, err);
	pthread_mutex_unlock(&lock);
	return result;
}

static void put(const uint8_t *code, size_t size, const char *name)
{
	pthread_mutex_lock(&lock);
	if (map)
		fprintf(map, "%llx %zx %s\n", (unsigned long long)(uintptr_t)code, size, name);
	pthread_mutex_unlock(&lock);
}

void dump_stub(const char *name, const uint8_t *code, size_t size)
{
	char text[NAME_ROOM];
	if (!map)
		return;
	snprintf(text, sizeof(text), "visor_%s", name);
	put(code, size, text);
}

void dump_unit(uint64_t linear, unsigned bytes, bool user, bool window, const uint8_t *code, size_t size)
{
	char text[2 * NAME_ROOM];
	if (!map)
		return;
	const struct symbol *symbol = user ? NULL : find_symbol(linear);
	int used = snprintf(text, sizeof(text), "guest_%s%s_%llx+%u", window ? "" : "cold_", user ? "user" : "kernel", (unsigned long long)linear, bytes);
	if (symbol)
		snprintf(text + used, sizeof(text) - (size_t)used, " %s+0x%llx", symbol->name, (unsigned long long)(linear - symbol->address));
	put(code, size, text);
}

static bool inside(const char *line, const uint8_t *code, size_t size)
{
	return (uintptr_t)strtoull(line, NULL, 16) - (uintptr_t)code < size;
}

static void copy_others(FILE *from, FILE *to, const uint8_t *code, size_t size)
{
	char line[2 * NAME_ROOM + 64];
	while (fgets(line, sizeof(line), from))
		if (!inside(line, code, size))
			fputs(line, to);
}

void dump_forget(const uint8_t *code, size_t size)
{
	char path[sizeof(map_path) + 4];
	if (!map)
		return;
	pthread_mutex_lock(&lock);
	snprintf(path, sizeof(path), "%s.new", map_path);
	FILE *from = fopen(map_path, "re"), *to = from ? create(path) : NULL;
	if (to) {
		copy_others(from, to, code, size);
		if (!ferror(to) && rename(path, map_path) == 0) {
			fclose(map);
			map = to;
		} else {
			fclose(to);
			unlink(path);
		}
	}
	if (from)
		fclose(from);
	pthread_mutex_unlock(&lock);
}
