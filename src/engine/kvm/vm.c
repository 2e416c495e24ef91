/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/util.h"
#include "engine/kvm/kvm.h"

/* --- MSRs: the kernel's are those that change what it or the processor does; all others come to cpu/msr.c --- */

struct msr_range {
	uint32_t flags, first, count;
};

#define BOTH (KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE)

static const struct msr_range kernel_msrs[] = {
	{ KVM_MSR_FILTER_READ, 0x10, 1 },  /* TSC; written here, where its offset is kept */
	{ BOTH, 0x174, 3 },                /* SYSENTER_CS, _ESP, _EIP */
	{ BOTH, 0x277, 1 },                /* PAT */
	{ BOTH, 0xc0000080, 5 },           /* EFER, STAR, LSTAR, CSTAR, SFMASK */
	{ BOTH, 0xc0000100, 4 },           /* FS_BASE, GS_BASE, KERNEL_GS_BASE, TSC_AUX */
};

static int set_msr_filter(int vm)
{
	static uint8_t all = 0xff;
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args[0] = KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER,
	};
	struct kvm_msr_filter filter = { .flags = KVM_MSR_FILTER_DEFAULT_DENY };
	for (unsigned i = 0; i < ARRAY_SIZE(kernel_msrs); i++) {
		const struct msr_range *r = &kernel_msrs[i];
		filter.ranges[i] = (struct kvm_msr_filter_range){ .flags = r->flags, .base = r->first, .nmsrs = r->count, .bitmap = &all };
	}
	return ioctl(vm, KVM_ENABLE_CAP, &cap) < 0 ? -1 : ioctl(vm, KVM_X86_SET_MSR_FILTER, &filter);
}

/* --- memory --- */

static int set_slot(struct kvm_vm *vm, unsigned index, const struct kvm_slot *slot, struct error *err)
{
	struct kvm_userspace_memory_region region = {
		.slot = index,
		.flags = (slot->size && !slot->writable ? KVM_MEM_READONLY : 0) | (slot->logged ? KVM_MEM_LOG_DIRTY_PAGES : 0),
		.guest_phys_addr = slot->gpa,
		.memory_size = slot->size,
		.userspace_addr = (uintptr_t)vm->memory->host + slot->offset,
	};
	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return error_set(err, errno, "KVM refuses %llu KiB of guest memory at 0x%llx: %s",
				 (unsigned long long)(slot->size >> 10), (unsigned long long)slot->gpa, strerror(errno));
	vm->log_lost |= vm->slots[index].logged && !slot->logged;
	vm->slots[index] = *slot;
	return 0;
}

/* posting: without what posted writes change. */
static unsigned wanted_slots(const struct kvm_vm *vm, bool posting, struct kvm_slot list[KVM_SLOTS])
{
	const struct guest_memory *memory = vm->memory;
	unsigned count = 0;
	for (unsigned i = 0; i < memory->slot_count; i++) {
		const struct memory_slot *s = &memory->slots[i];
		struct kvm_slot *last = count ? &list[count - 1] : NULL;
		if (last && last->gpa + last->size == s->gpa && last->offset + last->size == s->offset && last->writable == s->writable)
			last->size += s->size; /* PAM cuts what is one piece most of the time */
		else
			list[count++] = (struct kvm_slot){ s->gpa, s->size, s->offset, s->writable, false };
	}
	for (unsigned i = 0; i < memory->aperture_count; i++) {
		const struct memory_aperture *a = &memory->apertures[i];
		uint64_t gpa = atomic_load((_Atomic uint64_t *)&a->gpa);
		if (gpa != MEMORY_NOWHERE && !(posting && atomic_load((_Atomic bool *)&a->behind)))
			list[count++] = (struct kvm_slot){ gpa, a->size, a->offset, !a->read_only, false };
	}
	return count;
}

static bool same(const struct kvm_slot *a, const struct kvm_slot *b)
{
	return a->gpa == b->gpa && a->size == b->size && a->offset == b->offset && a->writable == b->writable;
}

/* RAM covers part of an aperture that the guest has put in the wrong place: the kernel knows no order of slots. */
static bool overlaps(const struct kvm_vm *vm, const struct kvm_slot *s)
{
	for (unsigned i = 0; i < KVM_SLOTS; i++)
		if (vm->slots[i].size && s->gpa < vm->slots[i].gpa + vm->slots[i].size && vm->slots[i].gpa < s->gpa + s->size)
			return true;
	return false;
}

static int sync_slots(struct kvm_vm *vm, const struct kvm_slot *wanted, unsigned count, struct error *err)
{
	bool there[KVM_SLOTS] = { false };
	for (unsigned i = 0; i < KVM_SLOTS; i++) {
		unsigned n = 0;
		while (n < count && !same(&wanted[n], &vm->slots[i]))
			n++;
		if (n < count)
			there[n] = true;
		else if (vm->slots[i].size && set_slot(vm, i, &(struct kvm_slot){ .gpa = vm->slots[i].gpa }, err) < 0)
			return -1;
	}
	for (unsigned n = 0; n < count; n++) {
		unsigned i = 0;
		if (there[n] || overlaps(vm, &wanted[n]))
			continue;
		while (i < KVM_SLOTS - 1 && vm->slots[i].size)
			i++; /* there are as many as can be wanted */
		if (set_slot(vm, i, &wanted[n], err) < 0)
			return -1;
	}
	return 0;
}

int kvm_vm_sync_memory(struct kvm_vm *vm, struct error *err)
{
	struct kvm_slot wanted[KVM_SLOTS];
	pthread_mutex_lock(&vm->lock);
	bool posting = vm->ring && atomic_load(&vm->mmio->posting);
	while (!posting && vm->zones) {
		kvm_posted_zones(vm, false);
		pthread_mutex_unlock(&vm->lock);
		kvm_posted_catch_up(vm);
		pthread_mutex_lock(&vm->lock);
	}
	/* Memory that posted writes change is not shown while there are zones. */
	int result = sync_slots(vm, wanted, wanted_slots(vm, posting, wanted), err);
	if (result == 0 && posting && !vm->zones && !kvm_posted_zones(vm, true))
		result = sync_slots(vm, wanted, wanted_slots(vm, false, wanted), err);
	pthread_mutex_unlock(&vm->lock);
	return result;
}

/*
 * Without nested paging the kernel has shadows of the guest's page tables, and sees writes to them by the guest alone, not
 * those of the interpreter. The removal of a slot takes all shadows away.
 */
int kvm_vm_drop_shadows(struct kvm_vm *vm)
{
	struct kvm_userspace_memory_region region = {
		.slot = KVM_SLOTS, .flags = KVM_MEM_READONLY, .guest_phys_addr = KVM_SPARE_PAGE, .memory_size = GUEST_PAGE_SIZE,
		.userspace_addr = (uintptr_t)vm->memory->host,
	};
	if (vm->host.nested_paging)
		return 0;
	pthread_mutex_lock(&vm->lock);
	int result = ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
	region.memory_size = 0;
	if (result == 0)
		result = ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
	pthread_mutex_unlock(&vm->lock);
	return result;
}

/* --- the dirty log of an aperture --- */

static struct kvm_slot *slot_of(struct kvm_vm *vm, const struct memory_aperture *aperture)
{
	for (unsigned i = 0; i < KVM_SLOTS; i++)
		if (vm->slots[i].size == aperture->size && vm->slots[i].offset == aperture->offset)
			return &vm->slots[i];
	return NULL;
}

/* A slot is logged when somebody has asked for it first. */
static bool take_log(struct kvm_vm *vm, const struct memory_aperture *aperture, uint64_t *pages)
{
	struct kvm_slot *slot = slot_of(vm, aperture);
	bool lost = vm->log_lost;
	vm->log_lost = false;
	if (!slot)
		return !lost; /* it is shown nowhere: then others alone write it */
	unsigned index = (unsigned)(slot - vm->slots);
	if (!slot->logged) {
		struct error ignored;
		struct kvm_slot more = *slot;
		more.logged = true;
		set_slot(vm, index, &more, &ignored);
		return false;
	}
	struct kvm_dirty_log log = { .slot = index, .dirty_bitmap = pages };
	return ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log) == 0 && !lost;
}

/* Who interprets while we look counts itself before, and says afterwards that it has done so: what it writes is missing now or next time. */
bool kvm_vm_written(struct kvm_vm *vm, const struct memory_aperture *aperture, uint64_t *pages)
{
	pthread_mutex_lock(&vm->lock);
	bool known = take_log(vm, aperture, pages);
	pthread_mutex_unlock(&vm->lock);
	bool interpreted = atomic_exchange(&vm->interpreted, false);
	known &= !interpreted && !atomic_load(&vm->interpreting);
	atomic_fetch_add(&vm->asked, 1);
	atomic_fetch_add(&vm->known, known);
	return known;
}

/* --- doorbells --- */

/* A length of 0 is any, and on some processors quicker, since the kernel need not look at the instruction. */
bool kvm_vm_ring_by(struct kvm_vm *vm, uint64_t gpa, int eventfd, bool on)
{
	struct kvm_ioeventfd bell = { .addr = gpa, .fd = eventfd, .flags = on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN };
	return vm->host.ioeventfd && ioctl(vm->fd, KVM_IOEVENTFD, &bell) == 0;
}

/* --- making and ending --- */

static int open_vm(struct kvm_vm *vm, struct cpu *c, struct error *err)
{
	if (kvm_host_open(&vm->host, err) < 0)
		return -1;
	if (c->count > vm->host.max_vcpus)
		return error_set(err, EINVAL, "the host's KVM runs at most %u processors in a machine; use fewer (--cpus), or --engine jit",
				 vm->host.max_vcpus);
	do
		vm->fd = ioctl(vm->host.fd, KVM_CREATE_VM, 0);
	while (vm->fd < 0 && errno == EINTR);
	if (vm->fd < 0 || set_msr_filter(vm->fd) < 0)
		return error_set(err, errno, "KVM cannot make a virtual machine: %s; use --engine jit", strerror(errno));
	kvm_host_set_places(vm->fd);
	struct kvm_probe probe;
	if (kvm_host_probe(&vm->host, &probe, err) < 0)
		return -1;
	vm->probe = probe;
	struct error why;
	return kvm_vm_sync_memory(vm, &why) < 0 ? error_set(err, why.code, "%s; use --engine jit", why.text) : 0;
}

struct kvm_vm *kvm_vm_get(struct cpu *c, struct error *err)
{
	struct cpu *first = c->peers ? c->peers[0] : c;
	if (first != c) {
		struct kvm_vm *vm = kvm_of(first)->vm;
		pthread_mutex_lock(&vm->lock);
		vm->users++;
		pthread_mutex_unlock(&vm->lock);
		return vm;
	}
	struct kvm_vm *vm = calloc(1, sizeof(*vm));
	if (!vm) {
		error_set(err, ENOMEM, "no memory for a virtual machine of KVM");
		return NULL;
	}
	vm->fd = vm->host.fd = -1;
	vm->users = 1;
	vm->memory = c->memory;
	vm->pio = c->pio;
	vm->mmio = c->mmio;
	pthread_mutex_init(&vm->lock, NULL);
	lock_init(&vm->ring_lock);
	if (open_vm(vm, c, err) < 0) {
		kvm_vm_put(vm);
		return NULL;
	}
	return vm;
}

void kvm_vm_put(struct kvm_vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	bool last = --vm->users == 0;
	pthread_mutex_unlock(&vm->lock);
	if (!last)
		return;
	if (vm->fd >= 0)
		close(vm->fd);
	kvm_host_close(&vm->host);
	pthread_mutex_destroy(&vm->lock);
	lock_destroy(&vm->ring_lock);
	free(vm);
}
