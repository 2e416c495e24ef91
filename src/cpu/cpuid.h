/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CPU_CPUID_H
#define VISOR_CPU_CPUID_H

#include <stdint.h>

/* One answer of CPUID, in cpu.cpuid; see cpu_cpuid for what is put in at run time. */
struct cpuid_leaf {
	uint32_t leaf, subleaf;
	uint32_t reg[4]; /* EAX, EBX, ECX, EDX */
};

/* The features (bit per enum isa_feature) that these leaves show. */
void cpuid_features(const struct cpuid_leaf *leaves, unsigned count, uint64_t features[2]);

#endif
