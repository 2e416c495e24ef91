/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_KVM_HOST_H
#define VISOR_ENGINE_KVM_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kvm_cpuid2;

/* The host's KVM: the device, what it can do, and what it cannot. */
struct kvm_host {
	int fd;
	size_t run_size;           /* bytes of struct kvm_run with what follows it */
	unsigned max_vcpus;
	bool nested_paging;        /* EPT or NPT */
	bool ioeventfd;            /* writes of any length */
	unsigned ring_page;        /* where the ring of coalesced writes is behind struct kvm_run, in pages; 0: there is none for both spaces */
};

/* Opens the device. err: it is missing, not permitted, or lacks something that the engine needs; with the remedy. */
int kvm_host_open(struct kvm_host *host, struct error *err);
void kvm_host_close(struct kvm_host *host);

/* CPUID leaves that it supports; NULL: out of memory. To be freed. */
struct kvm_cpuid2 *kvm_host_cpuid(const struct kvm_host *host);

/* Guest-physical pages between devices and ROM: four that KVM takes for itself on some processors, then one of ours. */
#define KVM_PLACES 0xfef00000ul
#define KVM_SPARE_PAGE (KVM_PLACES + 0x4000)
void kvm_host_set_places(int vm);

/* What a short program in a guest shows. */
struct kvm_probe {
	uint64_t loop_ps;          /* one turn of a loop of kernel code, in 1/1000 ns */
	bool hardware;             /* the processor executes the guest's kernel code; else the host's kernel does, in software */
	bool tsc_offset;           /* the guest's time-stamp counter obeys an offset */
};
/* Runs it in a virtual machine of its own, some milliseconds. */
int kvm_host_probe(const struct kvm_host *host, struct kvm_probe *probe, struct error *err);

#endif
