/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "engine/jit/trap.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <ucontext.h>

/*
 * Host exceptions in translated code. <ucontext.h> names the registers as
 * isa/insn.h does, so this file stands alone. System calls: rt_sigaction,
 * rt_sigreturn, sigaltstack.
 */
#define STACK_SIZE (64u << 10)
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

static const int signals[] = { SIGFPE, SIGILL, SIGSEGV, SIGBUS };
static struct sigaction previous_action[NSIG];
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t stack_key;

static __thread struct {
	uintptr_t start, size;
	trap_resolve *resolve;
	void *opaque;
	void *stack;
} current;

static void pass_on(int number, siginfo_t *info, void *context)
{
	struct sigaction *previous = &previous_action[number];
	if (previous->sa_flags & SA_SIGINFO)
		previous->sa_sigaction(number, info, context);
	else if (previous->sa_handler == SIG_DFL || previous->sa_handler == SIG_IGN)
		sigaction(number, previous, NULL); /* the instruction runs again and ends the process */
	else
		previous->sa_handler(number);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	uintptr_t at = (uintptr_t)regs[REG_RIP];
	uintptr_t address = number == SIGSEGV && info->si_code != SI_KERNEL ? (uintptr_t)info->si_addr : 0;
	const uint8_t *to = at - current.start < current.size ? current.resolve(current.opaque, (const uint8_t *)at, address) : NULL;
	if (to)
		regs[REG_RIP] = (greg_t)to;
	else
		pass_on(number, info, context);
}

static void free_stack(void *stack)
{
	const stack_t none = { .ss_flags = SS_DISABLE };
	sigaltstack(&none, NULL);
	free(stack);
}

static void install(void)
{
	pthread_key_create(&stack_key, free_stack);
	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
		sigaction(signals[i], &action, &previous_action[signals[i]]);
	}
}

static bool give_stack(void)
{
	void *stack = malloc(STACK_SIZE);
	/* AUTODISARM (Linux 4.7): else the kernel looks at RSP, which is the guest's, to find out whether it is on this stack. */
	const stack_t alternate = { .ss_sp = stack, .ss_size = STACK_SIZE, .ss_flags = (int)SS_AUTODISARM };
	if (!stack || sigaltstack(&alternate, NULL) < 0) {
		free(stack);
		return false;
	}
	current.stack = stack;
	pthread_setspecific(stack_key, stack);
	return true;
}

bool trap_enter(const uint8_t *start, uintptr_t size, trap_resolve *resolve, void *opaque)
{
	pthread_once(&once, install);
	if (!current.stack && !give_stack())
		return false;
	current.start = (uintptr_t)start;
	current.size = size;
	current.resolve = resolve;
	current.opaque = opaque;
	return true;
}
