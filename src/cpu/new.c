/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

#include "cpu/cpu.h"

/* System calls: mmap, munmap. */
struct cpu *cpu_new(void)
{
	void *c = mmap(NULL, sizeof(struct cpu), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	return c == MAP_FAILED ? NULL : c;
}

void cpu_free(struct cpu *c)
{
	free(c->cpuid);
	munmap(c, sizeof(*c));
}
