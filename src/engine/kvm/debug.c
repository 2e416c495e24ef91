/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A debugger's points in the processor's debug registers, as long as those can hold
 * them: the guest then runs at full speed up to the next one. All else is interpreted: steps, more
 * points, the instruction at which the guest is resumed.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/util.h"
#include "engine/kvm/kvm.h"

static bool fits(uint64_t address, uint64_t size, unsigned access)
{
	if (!access)
		return true;
	return (access & ACCESS_W) && size && size <= 8 && !(size & (size - 1)) && !(address & (size - 1)); /* there is none for reads alone */
}

bool kvm_debug_observed(const struct cpu *c)
{
	return c->debug_step || c->debug_breakpoints || c->debug_watchpoints;
}

bool kvm_debug_by_hardware(const struct kvm_vcpu *v)
{
	const struct cpu *c = v->cpu;
	if (v->user_only || c->debug_step || !c->debug_point_count || c->debug_point_count > ARRAY_SIZE(c->debug_point))
		return false;
	for (unsigned n = 0; n < c->debug_point_count; n++)
		if (!fits(c->debug_point[n].address, c->debug_point[n].size, c->debug_point[n].access))
			return false;
	return true;
}

/* LEN and R/W of DR7 (SDM 3B, 17.2.4). */
static uint64_t dr7_bits(unsigned n, uint64_t size, unsigned access)
{
	static const uint8_t lengths[9] = { [1] = 0, [2] = 1, [4] = 3, [8] = 2 };
	uint64_t kind = !access ? 0 : access & ACCESS_R ? 3 : 1, length = access ? lengths[size] : 0;
	return 2ull << 2 * n | (kind | length << 2) << (16 + 4 * n);
}

bool kvm_debug_apply(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	struct kvm_guest_debug debug = { 0 };
	if (kvm_debug_observed(c)) {
		debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
		debug.arch.debugreg[7] = 0x600;
		for (unsigned n = 0; n < c->debug_point_count; n++) {
			debug.arch.debugreg[n] = c->debug_point[n].address;
			debug.arch.debugreg[7] |= dr7_bits(n, c->debug_point[n].size, c->debug_point[n].access);
		}
	}
	if (!memcmp(&debug, &v->debug, sizeof(debug)))
		return true;
	if (ioctl(v->fd, KVM_SET_GUEST_DEBUG, &debug) < 0) {
		kvm_failed(v, "KVM_SET_GUEST_DEBUG", errno);
		return false;
	}
	v->debug = debug;
	return true;
}

bool kvm_debug_hit(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	uint64_t dr6 = v->run->debug.arch.dr6;
	bool hit = false;
	for (unsigned n = 0; n < MIN(c->debug_point_count, 4u); n++)
		if (dr6 >> n & 1)
			hit |= c->debug_check(c->debug_opaque, c, c->debug_point[n].address, c->debug_point[n].access ? (unsigned)c->debug_point[n].size : 1,
					      c->debug_point[n].access);
	c->debug_hit = false;
	return hit;
}
