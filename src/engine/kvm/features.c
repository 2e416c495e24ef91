/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's CPUID: what our model says, and KVM can give. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/util.h"
#include "cpu/cpuid.h"
#include "engine/kvm/kvm.h"

/* The local APIC is ours. */
static const enum isa_feature ours[] = { FEATURE_BASE, FEATURE_X2APIC, FEATURE_TSCDEADLINE };

static int supported(const struct kvm_host *host, uint64_t features[2], struct error *err)
{
	struct kvm_cpuid2 *list = kvm_host_cpuid(host);
	struct cpuid_leaf *leaves = list ? calloc(list->nent + 1, sizeof(*leaves)) : NULL;
	if (!leaves) {
		free(list);
		return error_set(err, ENOMEM, "no memory for KVM's CPUID leaves");
	}
	for (unsigned i = 0; i < list->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &list->entries[i];
		leaves[i] = (struct cpuid_leaf){ e->function, e->index, { e->eax, e->ebx, e->ecx, e->edx } };
	}
	cpuid_features(leaves, list->nent, features);
	for (unsigned i = 0; i < ARRAY_SIZE(ours); i++)
		features[ours[i] >> 6] |= BIT64(ours[i] & 63);
	free(leaves);
	free(list);
	return 0;
}

int kvm_limit_features(uint64_t features[2], struct error *err)
{
	struct kvm_host host;
	if (kvm_host_open(&host, err) < 0)
		return -1;
	struct kvm_probe probe;
	int result = kvm_host_probe(&host, &probe, err);
	if (result == 0 && kvm_user_only(&probe))
		features[0] = features[1] = UINT64_MAX; /* user code sees the processor itself, and the kernel is interpreted */
	else if (result == 0)
		result = supported(&host, features, err);
	kvm_host_close(&host);
	return result;
}

int kvm_check_features(const struct kvm_host *host, const struct cpu *c, struct error *err)
{
	uint64_t has[2];
	char names[160];
	if (supported(host, has, err) < 0)
		return -1;
	const uint64_t missing[2] = { c->features[0] & ~has[0], c->features[1] & ~has[1] };
	if (!(missing[0] | missing[1]))
		return 0;
	cpu_list_features(names, sizeof(names), missing);
	return error_set(err, ENOTSUP, "the host's KVM lacks what the guest was started with: %s; start it with --engine kvm, which leaves "
			 "that away, or with a lower --cpu", names);
}

int kvm_check_hidden(const struct cpu *c, struct error *err)
{
	uint64_t hidden[2];
	char names[160];
	cpu_hidden_features(c, hidden);
	if (!(hidden[0] | hidden[1]))
		return 0;
	cpu_list_features(names, sizeof(names), hidden);
	return error_set(err, ENOTSUP, "the host's KVM gives guests' programs the processor as it is, and cannot hide what this guest is not to have: %s; "
			 "use --engine jit, or start the guest with --cpu host", names);
}

static bool has_index(uint32_t leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x8000001d;
}

bool kvm_give_cpuid(struct kvm_vcpu *v)
{
	const struct cpu *c = v->cpu;
	struct kvm_cpuid2 *list = calloc(1, sizeof(*list) + c->cpuid_count * sizeof(list->entries[0]));
	if (!list) {
		kvm_failed(v, "KVM_SET_CPUID2", ENOMEM);
		return false;
	}
	list->nent = c->cpuid_count;
	for (unsigned i = 0; i < c->cpuid_count; i++) {
		const struct cpuid_leaf *l = &c->cpuid[i];
		list->entries[i] = (struct kvm_cpuid_entry2){
			.function = l->leaf, .index = l->subleaf, .flags = has_index(l->leaf) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = l->reg[0], .ebx = l->reg[1], .ecx = l->reg[2], .edx = l->reg[3],
		};
	}
	bool given = ioctl(v->fd, KVM_SET_CPUID2, list) == 0;
	if (!given)
		kvm_failed(v, "KVM_SET_CPUID2", errno);
	free(list);
	v->cpuid_given = true;
	return given;
}
