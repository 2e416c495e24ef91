/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Posted writes (bus/space.h): the kernel puts them into a ring that all processors share, without an exit; when it is full they
 * come as others do. Whoever may see what they do catches up first, so they seem to be carried out at once. While
 * there are zones, an aperture of the same memory is no slot, since nothing would tell of reads from it.
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/util.h"
#include "engine/kvm/kvm.h"

void kvm_posted_open(struct kvm_vcpu *v)
{
	struct kvm_vm *vm = v->vm;
	lock_take(&vm->ring_lock);
	if (!vm->ring && vm->host.ring_page && !v->user_only)
		vm->ring = (void *)((uint8_t *)v->run + (size_t)vm->host.ring_page * GUEST_PAGE_SIZE);
	lock_release(&vm->ring_lock);
}

void kvm_posted_close(struct kvm_vcpu *v)
{
	struct kvm_vm *vm = v->vm;
	lock_take(&vm->ring_lock);
	if (v->run && (uint8_t *)vm->ring == (uint8_t *)v->run + (size_t)vm->host.ring_page * GUEST_PAGE_SIZE) {
		kvm_posted_catch_up(vm);
		vm->ring = NULL;
	}
	lock_release(&vm->ring_lock);
}

/* False: one failed; those behind it are tried, too. */
static bool set_zones(struct kvm_vm *vm, const struct io_space *space, unsigned long request)
{
	bool all = true;
	for (unsigned i = 0; i < space->posted_count; i++) {
		struct kvm_coalesced_mmio_zone zone = {
			.addr = space->posted[i].base, .size = (uint32_t)space->posted[i].size, .pio = space == vm->pio,
		};
		all &= ioctl(vm->fd, request, &zone) == 0;
	}
	return all;
}

bool kvm_posted_zones(struct kvm_vm *vm, bool on)
{
	vm->zones = on && set_zones(vm, vm->mmio, KVM_REGISTER_COALESCED_MMIO) && set_zones(vm, vm->pio, KVM_REGISTER_COALESCED_MMIO);
	if (vm->zones)
		return true;
	set_zones(vm, vm->mmio, KVM_UNREGISTER_COALESCED_MMIO);
	set_zones(vm, vm->pio, KVM_UNREGISTER_COALESCED_MMIO);
	return !on;
}

static void carry_out(struct kvm_vm *vm, const struct kvm_coalesced_mmio *entry)
{
	struct io_space *space = entry->pio ? vm->pio : vm->mmio;
	uint64_t at = entry->phys_addr;
	const uint8_t *data = entry->data;
	for (unsigned left = MIN(entry->len, 8u); left;) {
		unsigned size = kvm_piece(left);
		io_write_posted(space, at, load_le(data, size), size);
		at += size;
		data += size;
		left -= size;
	}
	atomic_fetch_add(&vm->posted, 1);
}

/* The kernel adds behind `last` under a lock of its own; we take at `first`. */
void kvm_posted_catch_up(struct kvm_vm *vm)
{
	const uint32_t room = (GUEST_PAGE_SIZE - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio);
	lock_take(&vm->ring_lock);
	struct kvm_coalesced_mmio_ring *ring = vm->ring;
	while (ring && ring->first != __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE)) {
		struct kvm_coalesced_mmio entry = ring->coalesced_mmio[ring->first];
		carry_out(vm, &entry);
		__atomic_store_n(&ring->first, (ring->first + 1) % room, __ATOMIC_RELEASE);
	}
	lock_release(&vm->ring_lock);
}
