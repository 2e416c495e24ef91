/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "small_machine.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "dev/pci/pci.h"
#include "engine/interp/interp.h"

/* Multiboot, loaded at 1 MiB: x87, SSE, string, port and flag instructions in a loop. */
static const uint8_t code[] = {
	0x0f, 0x20, 0xe0, 0x0d, 0x00, 0x06, 0x00, 0x00, 0x0f, 0x22, 0xe0,       /* CR4.OSFXSR, OSXMMEXCPT */
	0x0f, 0x20, 0xc0, 0x83, 0xe0, 0xf3, 0x0f, 0x22, 0xc0,                   /* CR0.EM, TS off */
	0xdb, 0xe3,                                                             /* fninit */
	0xd9, 0xe8, 0xd8, 0xc0, 0xd9, 0xfa, 0xdd, 0xd8,                         /* 1: fld1; fadd; fsqrt; fstp */
	0x66, 0x0f, 0x6e, 0xc0, 0x0f, 0x58, 0xc0, 0x0f, 0x5e, 0xc0,             /* movd; addps; divps */
	0xb9, 0x04, 0x00, 0x00, 0x00, 0xbf, 0x00, 0x80, 0x00, 0x00, 0xf3, 0xab, /* rep stosl at 0x8000 */
	0x66, 0xba, 0xfd, 0x03, 0xec, 0x0f, 0x31, 0x0f, 0xa2,                   /* in 0x3fd; rdtsc; cpuid */
	0x1e, 0x07, 0x9c, 0x9d, 0xfb, 0xfa, 0xeb, 0xd1,                         /* push ds; pop es; pushf; popf; sti; cli; jmp 1b */
};

static int kernel_fd = -1, disk_fd = -1;
static char kernel_path[32], disk_path[32];

static void make_files(void)
{
	const uint32_t header[] = { 0x1badb002, 0x10000, -(0x1badb002u + 0x10000u), 0x100000, 0x100000, 0, 0, SMALL_CODE };
	uint8_t image[512] = { 0 };
	memcpy(image, header, sizeof(header));
	memcpy(image + (SMALL_CODE & 0xff), code, sizeof(code));
	kernel_fd = memfd_create("kernel", MFD_CLOEXEC);
	disk_fd = memfd_create("disk", MFD_CLOEXEC);
	if (write(kernel_fd, image, sizeof(image)) < 0 || ftruncate(disk_fd, SMALL_DISK) < 0)
		perror("small machine");
	snprintf(kernel_path, sizeof(kernel_path), "/proc/self/fd/%d", kernel_fd);
	snprintf(disk_path, sizeof(disk_path), "/proc/self/fd/%d", disk_fd);
}

static void swallow(void *opaque, const uint8_t *data, size_t size)
{
}

/* --- time --- */

static uint64_t host_now;

static uint64_t stepped_now(void *opaque)
{
	return host_now;
}

struct machine *small_machine_create_with(unsigned cpus, const struct machine_services *services)
{
	return small_machine_create_as(MACHINE_PC, cpus, services);
}

struct machine *small_machine_create_as(enum machine_profile profile, unsigned cpus, const struct machine_services *services)
{
	if (kernel_fd < 0)
		make_files();
	const struct machine_config config = {
		.profile = profile, .memory = SMALL_MEMORY, .cpus = cpus, .kernel = kernel_path, .disks = { { .path = disk_path } }, .disk_count = 1,
		.nics = { { .kind = NET_NONE, .mac = { 2, 0, 0, 0, 0, 1 } },
			  { .kind = NET_NONE, .mac = { 2, 0, 0, 0, 0, 2 }, .model = MACHINE_NIC_E1000 },
			  { .kind = NET_NONE, .mac = { 2, 0, 0, 0, 0, 3 }, .model = MACHINE_NIC_PCNET } },
		.nic_count = 3, .services = *services,
		.debug_exit = true, .console[MACHINE_SERIAL0] = { swallow, NULL, NULL }, .console[MACHINE_HVC0] = { swallow, NULL, NULL },
	};
	struct error err;
	struct machine *m = machine_create(&config, &err);
	if (!m) {
		fprintf(stderr, "small machine: %s\n", err.text);
		return NULL;
	}
	m->clock.source.now = stepped_now;
	m->clock.source.wake = NULL;
	return m;
}

struct machine *small_machine_create(unsigned cpus)
{
	return small_machine_create_with(cpus, &(struct machine_services){ 0 });
}

void small_machine_destroy(struct machine *m)
{
	machine_destroy(m);
}

/* Of vclock_run, each of hundreds of timers: more than a second of the shortest periods needs. */
#define MOST_ROUNDS 20000

void small_machine_advance(struct machine *m, uint64_t ns)
{
	vclock_start(&m->clock);
	host_now += ns;
	for (unsigned rounds = 0; vclock_run(&m->clock) == 0; rounds++)
		if (rounds == MOST_ROUNDS) {
			fprintf(stderr, "small machine: a timer is due again and again at one instant\n");
			__builtin_trap();
		}
	vclock_stop(&m->clock);
	machine_drain(m, NULL);
	/* Rounds, since a broken ring may ask to be served for ever. */
	for (unsigned i = 0; i < 8; i++)
		loop_once(m->loop, 0, NULL);
	/* The disk's thread does what has been posted by now, and stands still again; what that began the next drain ends. */
	machine_rest_virtio(m, false);
	machine_rest_virtio(m, true);
}

void small_machine_step(struct machine *m, unsigned count)
{
	for (unsigned i = 0; i < m->cpu_count; i++) {
		struct cpu *c = m->cpus[i];
		enum exit_reason reason = EXIT_DEBUG;
		c->debug_step = true;
		for (unsigned n = 0; n < count && (reason == EXIT_DEBUG || reason == EXIT_KICK); n++)
			reason = engine_interp.run(c);
		c->debug_step = false;
	}
}

/* --- PCI and virtio --- */

static void address(struct machine *m, unsigned slot, unsigned offset)
{
	io_write(&m->ports, 0xcf8, 0x80000000u | slot << 11 | (offset & 0xfc), 4);
}

uint32_t small_config_read(struct machine *m, unsigned slot, unsigned offset, unsigned size)
{
	address(m, slot, offset);
	return (uint32_t)io_read(&m->ports, 0xcfc + (offset & 3), size);
}

void small_config_write(struct machine *m, unsigned slot, unsigned offset, uint32_t value, unsigned size)
{
	address(m, slot, offset);
	io_write(&m->ports, 0xcfc + (offset & 3), value, size);
}

uint64_t small_bar(struct machine *m, unsigned slot, unsigned n)
{
	uint64_t low = small_config_read(m, slot, PCI_BAR(n), 4);
	uint64_t high = (low & 6) == 4 ? small_config_read(m, slot, PCI_BAR(n + 1), 4) : 0;
	return high << 32 | (low & ~15ull);
}

/* The layout of BAR 0 that virtio_pci.c shows in its capabilities; of struct virtio_pci_common_cfg (virtio 1.2, 4.1.4.3). */
enum { OFFERED_SELECT = 0x00, OFFERED = 0x04, STATUS = 0x14, FEATURE_SELECT = 0x08, FEATURE = 0x0c, QUEUE_COUNT = 0x12, QUEUE_SELECT = 0x16, QUEUE_SIZE = 0x18,
       QUEUE_VECTOR = 0x1a, QUEUE_ENABLE = 0x1c, QUEUE_DESC = 0x20, QUEUE_AVAIL = 0x28, QUEUE_USED = 0x30, NOTIFY = 0x3000 };

struct small_ring small_ring(unsigned slot, unsigned queue)
{
	uint64_t at = SMALL_FREE + 0x10000 + ((slot - FIRST_VIRTIO_SLOT) * SMALL_QUEUES + queue) * 0x1000;
	return (struct small_ring){ at, at + 0x400, at + 0x800 };
}

bool small_virtio_start(struct machine *m, unsigned slot, uint32_t features)
{
	uint64_t bar = small_bar(m, slot, 0);
	small_config_write(m, slot, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	io_write(&m->mmio, bar + STATUS, 0, 1);
	io_write(&m->mmio, bar + STATUS, 3, 1);
	io_write(&m->mmio, bar + FEATURE_SELECT, 1, 4);
	io_write(&m->mmio, bar + FEATURE, 1, 4);
	io_write(&m->mmio, bar + FEATURE_SELECT, 0, 4);
	io_write(&m->mmio, bar + OFFERED_SELECT, 0, 4);
	io_write(&m->mmio, bar + FEATURE, io_read(&m->mmio, bar + OFFERED, 4) & features, 4);
	io_write(&m->mmio, bar + STATUS, 11, 1);
	unsigned queues = (unsigned)io_read(&m->mmio, bar + QUEUE_COUNT, 2);
	for (unsigned q = 0; q < queues && q < SMALL_QUEUES; q++) {
		struct small_ring ring = small_ring(slot, q);
		io_write(&m->mmio, bar + QUEUE_SELECT, q, 2);
		io_write(&m->mmio, bar + QUEUE_SIZE, SMALL_RING, 2);
		io_write(&m->mmio, bar + QUEUE_VECTOR, q, 2);
		io_write(&m->mmio, bar + QUEUE_DESC, ring.desc, 8);
		io_write(&m->mmio, bar + QUEUE_AVAIL, ring.avail, 8);
		io_write(&m->mmio, bar + QUEUE_USED, ring.used, 8);
		io_write(&m->mmio, bar + QUEUE_ENABLE, 1, 2);
	}
	io_write(&m->mmio, bar + STATUS, 15, 1);
	return io_read(&m->mmio, bar + STATUS, 1) == 15;
}

void small_virtio_notify(struct machine *m, unsigned slot, unsigned queue)
{
	io_write(&m->mmio, small_bar(m, slot, 0) + NOTIFY + 4 * queue, queue, 2);
}

static void put_descriptor(struct machine *m, uint64_t at, uint64_t address, uint32_t length, uint16_t flags, uint16_t next)
{
	uint8_t d[16];
	store_le64(d, address);
	store_le32(d + 8, length);
	store_le16(d + 12, flags);
	store_le16(d + 14, next);
	memory_write(&m->memory, at, d, sizeof(d));
}

static void publish(struct machine *m, unsigned slot, unsigned queue)
{
	const uint16_t index = 1;
	memory_write(&m->memory, small_ring(slot, queue).avail + 2, &index, 2);
	small_virtio_notify(m, slot, queue);
}

void small_machine_busy(struct machine *m)
{
	const uint8_t read_sector_1[16] = { [8] = 1 };
	struct small_ring disk = small_ring(SMALL_SLOT_DISK, 0), rng = small_ring(SMALL_SLOT_RNG, 0);
	for (unsigned i = 0; i < SMALL_VIRTIO_SLOTS; i++)
		small_virtio_start(m, FIRST_VIRTIO_SLOT + i, SMALL_INDIRECT);
	memory_write(&m->memory, SMALL_FREE, read_sector_1, sizeof(read_sector_1));
	put_descriptor(m, disk.desc, SMALL_FREE, 16, 1, 1);
	put_descriptor(m, disk.desc + 16, SMALL_FREE + 512, 512, 3, 2);
	put_descriptor(m, disk.desc + 32, SMALL_FREE + 1024, 1, 2, 0);
	put_descriptor(m, rng.desc, SMALL_FREE + 2048, 64, 2, 0);
	publish(m, SMALL_SLOT_DISK, 0);
	publish(m, SMALL_SLOT_RNG, 0);
	static const struct { uint16_t port; uint8_t value; } ports[] = {
		{ 0x43, 0x34 }, { 0x40, 0x00 }, { 0x40, 0x10 },                   /* PIT: 3.4 ms */
		{ 0x70, 0x0b }, { 0x71, 0x72 },                                   /* RTC: periodic, alarm, update interrupts */
		{ 0x20, 0x11 }, { 0x21, 0x20 }, { 0x21, 0x04 }, { 0x21, 0x01 }, { 0x21, 0xb8 },
		{ 0x3f9, 0x0f }, { 0x3fa, 0xc1 }, { 0x3fc, 0x0b }, { 0x3f8, 'x' }, /* UART with FIFOs and interrupts */
		{ 0x64, 0x60 }, { 0x60, 0x47 }, { 0x60, 0xf4 },                   /* keyboard on */
	};
	for (unsigned i = 0; i < ARRAY_SIZE(ports); i++)
		io_write(&m->ports, ports[i].port, ports[i].value, 1);
	static const struct { uint64_t address; uint32_t value; } registers[] = {
		{ 0xfed00108, 5000 }, { 0xfed00100, 0x4c }, { 0xfed00010, 1 },    /* HPET: timer 0 periodic */
		{ 0xfec00000, 0x14 }, { 0xfec00010, 0x31 },                       /* IOAPIC: pin 2 */
	};
	for (unsigned i = 0; i < ARRAY_SIZE(registers); i++)
		io_write(&m->mmio, registers[i].address, registers[i].value, 4);
	struct intc *apic = &m->cpus[0]->intc;
	apic->ops->mmio_write(apic->opaque, 0x0f0, 0x1ff, 4);
	apic->ops->mmio_write(apic->opaque, 0x320, 0x20040, 4);
	apic->ops->mmio_write(apic->opaque, 0x380, 100000, 4);
	small_machine_advance(m, 5000000);
}
