/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <time.h>

#include "cpu/system.h"

/* The KVM paravirtual interface as Linux documents it (Documentation/virt/kvm/x86: msr, hypercalls): the clocks. */

#define CLOCK_ENABLED 1ull
#define CLOCK_TSC_STABLE 1u

struct kvm_vcpu_time {
	uint32_t version, pad0;
	uint64_t tsc_timestamp, system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags, pad[2];
};
_Static_assert(sizeof(struct kvm_vcpu_time) == 32, "layout of the interface");

struct kvm_wall_time {
	uint32_t version, seconds, nanoseconds;
};

/* ns = ((ticks << shift) * mul) >> 32, with mul as large as fits. */
static void scale_tsc(uint64_t hz, uint32_t *mul, int8_t *shift)
{
	int s = 0;
	if (!hz)
		hz = NS_PER_SEC;
	while (hz > 2 * NS_PER_SEC) {
		hz >>= 1;
		s--;
	}
	while (hz <= NS_PER_SEC) {
		hz <<= 1;
		s++;
	}
	*mul = (uint32_t)((NS_PER_SEC << 32) / hz);
	*shift = (int8_t)s;
}

/* The pair of host TSC and virtual time that all vCPUs' pages share, so that their clocks are one. */
static void share_base(struct cpu *c)
{
	struct cpu *first = c->peers && c->peers[0] ? c->peers[0] : c;
	if (!first->kvm_clock_base_tsc) {
		first->kvm_clock_base_tsc = cpu_host_tsc(c);
		first->kvm_clock_base_ns = c->clock ? vclock_now(c->clock) : 0;
	}
	c->kvm_clock_base_tsc = first->kvm_clock_base_tsc;
	c->kvm_clock_base_ns = first->kvm_clock_base_ns;
}

/* The version is odd while the rest changes. */
static void write_time(struct cpu *c, uint64_t address)
{
	struct kvm_vcpu_time t, old;
	memset(&t, 0, sizeof(t));
	if (!memory_read(c->memory, address, &old, sizeof(old)))
		return;
	t.version = (old.version | 1) + 2;
	t.tsc_timestamp = cpu_scale_tsc(c, c->kvm_clock_base_tsc) + (uint64_t)c->tsc_offset;
	t.system_time = c->kvm_clock_base_ns;
	t.flags = CLOCK_TSC_STABLE;
	scale_tsc(c->tsc_hz, &t.tsc_to_system_mul, &t.tsc_shift);
	memory_write(c->memory, address, &t.version, sizeof(t.version));
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	memory_write(c->memory, address, &t, sizeof(t));
	t.version++;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	memory_write(c->memory, address, &t.version, sizeof(t.version));
}

void kvm_clock_update(struct cpu *c)
{
	if (!(c->kvm_system_time & CLOCK_ENABLED))
		return;
	share_base(c);
	write_time(c, c->kvm_system_time & ~CLOCK_ENABLED);
}

/* The time of day at virtual time zero. */
static void write_wall_clock(struct cpu *c, uint64_t address)
{
	struct timespec now;
	struct kvm_wall_time w, old;
	if (!memory_read(c->memory, address, &old, sizeof(old)))
		return;
	timespec_get(&now, TIME_UTC);
	uint64_t ns = (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec - (c->clock ? vclock_now(c->clock) : 0);
	w.version = (old.version | 1) + 1;
	w.seconds = (uint32_t)(ns / NS_PER_SEC);
	w.nanoseconds = (uint32_t)(ns % NS_PER_SEC);
	memory_write(c->memory, address, &w, sizeof(w));
}

void kvm_clock_write(struct cpu *c, bool system_time, uint64_t value)
{
	if (system_time) {
		c->kvm_system_time = value;
		kvm_clock_update(c);
	} else {
		c->kvm_wall_clock = value;
		write_wall_clock(c, value);
	}
}

#define KVM_ENOSYS 1000
#define KVM_EPERM 1

uint64_t kvm_hypercall(struct cpu *c, uint64_t number, const uint64_t args[4])
{
	return c->cpl ? (uint64_t)-KVM_EPERM : (uint64_t)-KVM_ENOSYS;
}
