/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What programs for i386 guests without a C library share: start(long *stack) is where they begin. */
#ifndef VISOR_TESTS_GUEST_PROGRAM_H
#define VISOR_TESTS_GUEST_PROGRAM_H

enum { SYS_EXIT = 1, SYS_READ = 3, SYS_WRITE = 4, SYS_OPEN = 5, SYS_IOCTL = 54, SYS_NANOSLEEP = 162 };

static inline long call(long number, long a, long b, long c)
{
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
	return result;
}

static inline void require(int condition, int status)
{
	if (!condition)
		call(SYS_EXIT, status, 0, 0);
}

static inline int number(const char *text)
{
	int value = 0;
	while (*text)
		value = 10 * value + (*text++ - '0');
	return value;
}

__asm__(".globl _start\n_start: movl %esp, %eax\n pushl %eax\n call start\n");

#endif
