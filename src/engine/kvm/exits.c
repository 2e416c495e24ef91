/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What KVM leaves to the machine: ports, device memory, MSRs. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/util.h"
#include "engine/kvm/kvm.h"

#define MSR_APIC_BASE 0x1bu

void kvm_exit_io(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	unsigned size = v->run->io.size;
	uint16_t port = v->run->io.port;
	uint8_t *data = (uint8_t *)v->run + v->run->io.data_offset;
	v->counts.io++;
	v->incomplete = true;
	for (uint32_t n = 0; n < v->run->io.count; n++, data += size) {
		uint64_t value = 0;
		if (v->run->io.direction == KVM_EXIT_IO_IN) {
			c->stats.io_reads++;
			value = io_read(c->pio, port, size);
			memcpy(data, &value, size);
		} else {
			c->stats.io_writes++;
			memcpy(&value, data, size);
			io_write(c->pio, port, value, size);
		}
	}
}

static uint64_t read_register(struct cpu *c, uint64_t gpa, unsigned size)
{
	uint64_t page = c->intc.ops ? c->intc.ops->mmio_base(c->intc.opaque) : UINT64_MAX;
	uint64_t value = 0;
	if (gpa - page < GUEST_PAGE_SIZE)
		return c->intc.ops->mmio_read(c->intc.opaque, gpa - page, size);
	kvm_posted_catch_up(kvm_of(c)->vm); /* it may be memory that waits for them, or that came back while the kernel's slots were changed */
	if (memory_read(c->memory, gpa, &value, size))
		return value;
	c->stats.mmio_reads++;
	return io_read(c->mmio, gpa, size);
}

static void write_register(struct cpu *c, uint64_t gpa, uint64_t value, unsigned size)
{
	uint64_t page = c->intc.ops ? c->intc.ops->mmio_base(c->intc.opaque) : UINT64_MAX;
	if (gpa - page < GUEST_PAGE_SIZE) {
		c->intc.ops->mmio_write(c->intc.opaque, gpa - page, value, size);
		return;
	}
	kvm_posted_catch_up(kvm_of(c)->vm);
	if (memory_write(c->memory, gpa, &value, size))
		return;
	c->stats.mmio_writes++;
	io_write(c->mmio, gpa, value, size);
}

/* At most 8 bytes; those of a page-crossing access may be 3, 5, 6 or 7. */
void kvm_exit_mmio(struct kvm_vcpu *v)
{
	uint64_t gpa = v->run->mmio.phys_addr;
	uint8_t *data = v->run->mmio.data;
	unsigned left = MIN(v->run->mmio.len, 8u);
	v->counts.mmio++;
	v->incomplete = true;
	while (left) {
		unsigned size = kvm_piece(left);
		uint64_t value = 0;
		if (v->run->mmio.is_write) {
			memcpy(&value, data, size);
			write_register(v->cpu, gpa, value, size);
		} else {
			value = read_register(v->cpu, gpa, size);
			memcpy(data, &value, size);
		}
		gpa += size;
		data += size;
		left -= size;
	}
}

/* cpu/msr.c says #GP by cpu_fault. False: it did. */
static bool access_msr(struct cpu *c, uint32_t index, uint64_t *value, bool write)
{
	jmp_buf env;
	bool done = false;
	c->fault_env = &env;
	c->insn = NULL;
	if (!_setjmp(env)) {
		if (write)
			cpu_write_msr(c, index, *value);
		else
			cpu_read_msr(c, index, value);
		done = true;
	}
	c->fault_env = NULL;
	return done;
}

void kvm_exit_msr(struct kvm_vcpu *v, bool write)
{
	uint32_t index = v->run->msr.index;
	uint64_t value = v->run->msr.data;
	v->counts.msr++;
	v->incomplete = true;
	/* One of the kernel's own comes here when it refuses the value. */
	bool refused = v->run->msr.reason == KVM_MSR_EXIT_REASON_INVAL && (index < 0x800 || index > 0x8ff);
	v->run->msr.error = refused || !access_msr(v->cpu, index, &value, write);
	if (!write && !v->run->msr.error)
		v->run->msr.data = value;
	/* The kernel is told where the registers are, since the guest's CPUID depends on it. */
	if (write && index == MSR_APIC_BASE && !v->run->msr.error)
		kvm_take_state(v);
}

static bool serve(struct kvm_vcpu *v)
{
	switch (v->run->exit_reason) {
	case KVM_EXIT_IO: kvm_exit_io(v); return true;
	case KVM_EXIT_MMIO: kvm_exit_mmio(v); return true;
	default: return false;
	}
}

/* The next KVM_RUN finishes the access, which may have another part, and comes back before the next instruction. */
bool kvm_complete(struct kvm_vcpu *v)
{
	while (v->incomplete) {
		v->incomplete = false;
		v->run->immediate_exit = 1;
		int result = ioctl(v->fd, KVM_RUN, 0);
		if (result < 0 && errno != EINTR && errno != EAGAIN) {
			kvm_failed(v, "KVM_RUN", errno);
			return false;
		}
		if (result == 0 && !serve(v))
			break; /* what else it is comes again */
	}
	return true;
}
