// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nano WHAT COUNT: the operations of bench/nano.c that a user program can do, under the host's kernel. What a fault
 * costs here includes a signal, so it is more than the bare fault that the guest takes.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static volatile long faults;

/* Both faulting instructions below are two bytes long. */
static void skip(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
	faults++;
}

static void syscalls(long count)
{
	for (long i = 0; i < count; i++)
		__asm__ volatile("syscall" : : "a"(SYS_getpid) : "rcx", "r11", "memory");
}

static void callret(long count)
{
	__asm__ volatile("subq $128, %%rsp\n"
			 "	jmp 2f\n"
			 "	.balign 16\n"
			 "1:	ret\n"
			 "	.balign 16\n"
			 "2:	call 1b\n"
			 "	decq %0\n"
			 "	jnz 2b\n"
			 "	addq $128, %%rsp"
			 : "+r"(count) : : "memory", "cc");
}

static void pgfault(long count)
{
	void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (long i = 0; i < count; i++)
		__asm__ volatile("movl (%0), %%eax" : : "b"(page) : "rax", "memory");
}

static void divzero(long count)
{
	for (long i = 0; i < count; i++)
		__asm__ volatile("divl %%ecx" : : "a"(1), "d"(0), "c"(0) : "cc", "memory");
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(long count);
		int fault;
	} all[] = { { "syscall", syscalls, 0 }, { "callret", callret, 0 }, { "pgfault", pgfault, 1 },
		    { "divzero", divzero, 1 } };
	struct sigaction action = { .sa_sigaction = skip, .sa_flags = SA_SIGINFO };
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGFPE, &action, NULL);
	for (unsigned i = 0; argc == 3 && i < sizeof(all) / sizeof(*all); i++) {
		long count = atol(argv[2]);
		if (strcmp(argv[1], all[i].name))
			continue;
		all[i].run(count);
		printf("%ld\n", all[i].fault ? faults : count);
		return all[i].fault && faults != count;
	}
	return 2;
}
