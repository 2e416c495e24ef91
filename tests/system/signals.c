/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For test_signals.py, loaded before visor's own libraries: all of its threads take SIGUSR1 and SIGPROF wherever they are, as in a process that
 * has handlers for them. The handler changes what an interrupted instruction could depend on and the kernel puts back.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

static _Atomic unsigned long taken, elsewhere;

int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	static int (*next)(int, const sigset_t *, sigset_t *);
	if (!next)
		next = (int (*)(int, const sigset_t *, sigset_t *))dlsym(RTLD_NEXT, "pthread_sigmask");
	if (!set || how == SIG_UNBLOCK)
		return next(how, set, old);
	sigset_t less = *set;
	sigdelset(&less, SIGUSR1);
	sigdelset(&less, SIGPROF);
	return next(how, &less, old);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	volatile char room[4096];
	memset((void *)room, number, sizeof(room));
	taken++;
	/* A thread's own stack ends below its control block; translated code runs with the guest's. */
	uintptr_t stack = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RSP];
	elsewhere += gettid() != getpid() && (uintptr_t)__builtin_thread_pointer() - stack > 32 << 20;
	__asm__ volatile("fninit; fldpi; fldpi; std; cld; pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm1, %%xmm1; pcmpeqd %%xmm7, %%xmm7; "
			 "pcmpeqd %%xmm8, %%xmm8; pcmpeqd %%xmm15, %%xmm15; fninit" : : : "xmm0", "xmm1", "xmm7", "xmm8", "xmm15", "cc", "memory");
}

__attribute__((constructor)) static void begin(void)
{
	const struct itimerval every = { .it_interval.tv_usec = 700, .it_value.tv_usec = 700 };
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGPROF, &action, NULL);
	setitimer(ITIMER_PROF, &every, NULL);
}

__attribute__((destructor)) static void end(void)
{
	FILE *file = fopen(getenv("SIGNALS_TAKEN"), "w");
	if (file && fprintf(file, "%lu %lu\n", taken, elsewhere) > 0)
		fclose(file);
}
