/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "engine/kvm/kick.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

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

static void start_ticks(struct kvm_kick *kick, uint64_t ns)
{
	struct sigevent event;
	const struct timespec every = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };
	const struct itimerspec interval = { every, every };
	memset(&event, 0, sizeof(event));
	event.sigev_notify = SIGEV_THREAD_ID;
	event.sigev_signo = KICK_SIGNAL;
	event._sigev_un._tid = gettid();
	kick->ticking = timer_create(CLOCK_MONOTONIC, &event, &kick->ticks) == 0;
	if (kick->ticking)
		timer_settime(kick->ticks, 0, &interval, NULL);
}

void kvm_kick_enter(struct kvm_kick *kick, uint64_t ticks_ns)
{
	sigset_t set;
	if (kick->ready && pthread_equal(kick->thread, pthread_self()))
		return;
	kvm_kick_end(kick);
	kick->thread = pthread_self();
	kick->ready = true;
	sigemptyset(&set);
	sigaddset(&set, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* threads take no signals of the process, but for this one */
	if (ticks_ns)
		start_ticks(kick, ticks_ns);
}

void kvm_kick_end(struct kvm_kick *kick)
{
	if (kick->ticking)
		timer_delete(kick->ticks);
	kick->ticking = kick->ready = false;
}

void kvm_kick(struct kvm_kick *kick)
{
	if (atomic_load(&kick->inside))
		pthread_kill(kick->thread, KICK_SIGNAL);
}
