/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

#include "cpu/cpu.h"

#ifdef __has_feature
#define LEAKS_ARE_SOUGHT __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define LEAKS_ARE_SOUGHT 1
#else
#define LEAKS_ARE_SOUGHT 0
#endif
#if LEAKS_ARE_SOUGHT
#include <sanitizer/lsan_interface.h>
#endif

/* LeakSanitizer looks for pointers in what came from malloc alone. */
static void tell_sanitizer(struct cpu *c, bool there)
{
#if LEAKS_ARE_SOUGHT
	if (there)
		__lsan_register_root_region(c, sizeof(*c));
	else
		__lsan_unregister_root_region(c, sizeof(*c));
#endif
}

/* System calls: mmap, munmap. */
struct cpu *cpu_new(void)
{
	void *c = mmap(NULL, sizeof(struct cpu), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (c == MAP_FAILED)
		return NULL;
	tell_sanitizer(c, true);
	return c;
}

void cpu_free(struct cpu *c)
{
	free(c->cpuid);
	tell_sanitizer(c, false);
	munmap(c, sizeof(*c));
}
