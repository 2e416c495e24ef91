/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_KVM_KICK_H
#define VISOR_ENGINE_KVM_KICK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* How a thread is brought out of KVM_RUN: by a signal that does nothing, of which it is told by EINTR. */
struct kvm_kick {
	pthread_t thread;
	bool ready;
	_Atomic bool inside;   /* KVM_RUN is under way or about to be */
};

/* Once per process is enough. */
void kvm_kick_init(void);
/* By the thread that is to be kicked; again when it is another. */
void kvm_kick_enter(struct kvm_kick *kick);
/* From any thread. */
void kvm_kick(struct kvm_kick *kick);

#endif
