/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "cpu/host_signal.h"

#include <signal.h>
#include <stddef.h>
#include <ucontext.h>

/*
 * Host exceptions in stubs. <ucontext.h> names the registers as isa/insn.h does,
 * so this file stands alone. System calls: rt_sigaction, rt_sigreturn.
 */
static uintptr_t code_start, code_size;
static struct sigaction previous_action[NSIG];
static __thread volatile uintptr_t fault_address;

static const struct {
	int number;
	enum host_fault fault;
} signals[] = {
	{ SIGFPE, HOST_SIMD }, { SIGILL, HOST_UNDEFINED }, { SIGSEGV, HOST_MEMORY }, { SIGBUS, HOST_MEMORY },
};

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
	if ((uintptr_t)regs[REG_RIP] - code_start >= code_size) {
		pass_on(number, info, context);
		return;
	}
	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (signals[i].number == number)
			regs[REG_RAX] = number == SIGSEGV && info->si_code == SI_KERNEL ? HOST_ALIGNMENT : signals[i].fault;
	fault_address = (uintptr_t)info->si_addr;
	regs[REG_RIP] = regs[REG_R11];
}

void host_signal_install(uintptr_t start, uintptr_t size)
{
	code_start = start;
	code_size = size;
	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
		sigaction(signals[i].number, &action, &previous_action[signals[i].number]);
	}
}

uintptr_t host_fault_address(void)
{
	return fault_address;
}
