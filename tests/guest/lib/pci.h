/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PCI_H
#define PCI_H

/* Enough of PCI and of virtio's PCI transport to have a device write to memory (virtio 1.2, 4.1). */
#include "guest.h"

static inline uint32_t pci_read(unsigned slot, unsigned offset)
{
	outl(0xcf8, 0x80000000u | slot << 11 | (offset & 0xfc));
	return inl(0xcfc) >> (offset & 3) * 8;
}

static inline void pci_write(unsigned slot, unsigned offset, uint32_t v)
{
	outl(0xcf8, 0x80000000u | slot << 11 | offset);
	outl(0xcfc, v);
}

/* The slot of a virtio device, transitional or not; 0: there is none. */
static inline unsigned virtio_find(unsigned type, unsigned transitional)
{
	for (unsigned slot = 1; slot < 32; slot++) {
		uint32_t id = pci_read(slot, 0);
		if ((id & 0xffff) == 0x1af4 && (id >> 16 == 0x1040 + type || id >> 16 == transitional))
			return slot;
	}
	return 0;
}

/* The frame buffer of the VGA adapter, and its registers at their ports; NULL: there is none. */
static inline volatile uint8_t *vga_open(void)
{
	for (unsigned slot = 1; slot < 32; slot++) {
		if (pci_read(slot, 0) != 0x11111234)
			continue;
		if (!(pci_read(slot, 0x10) & ~15u))
			pci_write(slot, 0x10, 0xe0000000);
		pci_write(slot, 4, 3);
		return (volatile uint8_t *)(uint64_t)(pci_read(slot, 0x10) & ~15u);
	}
	return NULL;
}

static inline void outw(uint16_t port, uint16_t v) { __asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port)); }

/* A register of the Bochs display interface. */
static inline void dispi(uint16_t index, uint16_t value)
{
	outw(0x1ce, index);
	outw(0x1cf, value);
}

struct virtio {
	uint64_t common, notify, device; /* notify: of the queue, when it is enabled */
	unsigned notify_multiplier, bar; /* bar: of the notifications */
	uint8_t *ring; /* of a queue of 8: descriptors, +0x400 available, +0x800 used */
	uint16_t used;
};

#define REG8(at) (*(volatile uint8_t *)(at))
#define REG16(at) (*(volatile uint16_t *)(at))
#define REG32(at) (*(volatile uint32_t *)(at))

static inline uint64_t virtio_bar(unsigned slot, unsigned n)
{
	uint32_t low = pci_read(slot, 0x10 + 4 * n);
	/* Without firmware a BAR may be nowhere yet. */
	if (!(low & ~15u)) {
		pci_write(slot, 0x10 + 4 * n, 0xd0000000 + slot * 0x100000 + n * 0x10000);
		if ((low & 6) == 4)
			pci_write(slot, 0x14 + 4 * n, 0);
		low = pci_read(slot, 0x10 + 4 * n);
	}
	return (low & ~15u) | ((low & 6) == 4 ? (uint64_t)pci_read(slot, 0x14 + 4 * n) << 32 : 0);
}

/* Up to FEATURES_OK. features: of the lowest 32. */
static inline bool virtio_negotiate(struct virtio *v, unsigned slot, uint32_t features)
{
	for (unsigned cap = pci_read(slot, 0x34) & 0xff; cap; cap = pci_read(slot, cap) >> 8 & 0xff) {
		if ((pci_read(slot, cap) & 0xff) != 9)
			continue;
		unsigned type = pci_read(slot, cap) >> 24;
		uint64_t at = type >= 1 && type <= 4 ? virtio_bar(slot, pci_read(slot, cap + 4) & 0xff) + pci_read(slot, cap + 8) : 0;
		if (type == 1) v->common = at;
		if (type == 2) v->notify = at, v->notify_multiplier = pci_read(slot, cap + 16), v->bar = pci_read(slot, cap + 4) & 0xff;
		if (type == 4) v->device = at;
	}
	pci_write(slot, 4, 6);
	uint64_t c = v->common;
	if (!c || !v->notify)
		return false;
	REG8(c + 0x14) = 0;
	REG8(c + 0x14) = 3;
	REG32(c + 0x08) = 1;
	REG32(c + 0x0c) = 1; /* VERSION_1 */
	REG32(c + 0x08) = 0;
	REG32(c + 0x0c) = features;
	REG8(c + 0x14) = 11;
	return true;
}

/* A queue of 8 for v->ring. */
static inline void virtio_enable(struct virtio *v, unsigned queue)
{
	uint64_t c = v->common;
	v->ring = alloc_page();
	REG16(c + 0x16) = (uint16_t)queue;
	REG16(c + 0x18) = 8;
	for (unsigned part = 0; part < 3; part++) {
		REG32(c + 0x20 + 8 * part) = (uint32_t)(uint64_t)v->ring + 0x400 * part;
		REG32(c + 0x24 + 8 * part) = 0;
	}
	REG16(c + 0x1c) = 1;
	v->notify += (uint64_t)v->notify_multiplier * REG16(c + 0x1e);
}

/* The driver is up. */
static inline bool virtio_drive(struct virtio *v)
{
	REG8(v->common + 0x14) = 15;
	return REG8(v->common + 0x14) == 15;
}

/* With queue 0 alone. */
static inline bool virtio_start_with(struct virtio *v, unsigned slot, uint32_t features)
{
	if (!virtio_negotiate(v, slot, features))
		return false;
	virtio_enable(v, 0);
	return virtio_drive(v);
}

static inline bool virtio_start(struct virtio *v, unsigned slot)
{
	return virtio_start_with(v, slot, 0);
}

static inline void virtio_descriptor(struct virtio *v, unsigned i, const volatile void *at, uint32_t size, unsigned flags)
{
	volatile uint64_t *d = (volatile uint64_t *)(v->ring + 16 * i);
	d[0] = (uint64_t)at;
	d[1] = size | (uint64_t)flags << 32 | (uint64_t)(i + 1) << 48;
}

/* Hands in the chain that begins with descriptor `head`. */
static inline void virtio_put(struct virtio *v, uint16_t head)
{
	uint16_t index = REG16(v->ring + 0x402);
	REG16(v->ring + 0x404 + 2 * (index & 7)) = head;
	__asm__ volatile("" ::: "memory");
	REG16(v->ring + 0x402) = (uint16_t)(index + 1);
	v->used++;
}

/* Waits until all that was handed in has come back. */
static inline void virtio_wait(struct virtio *v)
{
	__asm__ volatile("mfence" ::: "memory");
	REG16(v->notify) = 0;
	while (REG16(v->ring + 0x802) != v->used)
		__asm__ volatile("pause");
}

/* The chain that begins with descriptor 0, and waits for it. */
static inline void virtio_go(struct virtio *v)
{
	virtio_put(v, 0);
	virtio_wait(v);
}

#endif
