/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kvm/kick.h"

#include <signal.h>

#define KICK_SIGNAL SIGUSR1

static void ignore(int signal)
{
}

void kvm_kick_init(void)
{
	struct sigaction action = { .sa_handler = ignore };
	sigemptyset(&action.sa_mask);
	sigaction(KICK_SIGNAL, &action, NULL);
}

void kvm_kick_enter(struct kvm_kick *kick)
{
	sigset_t set;
	if (kick->ready && pthread_equal(kick->thread, pthread_self()))
		return;
	kick->thread = pthread_self();
	kick->ready = true;
	sigemptyset(&set);
	sigaddset(&set, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* threads take no signals of the process, but for this one */
}

void kvm_kick(struct kvm_kick *kick)
{
	if (atomic_load(&kick->inside))
		pthread_kill(kick->thread, KICK_SIGNAL);
}
