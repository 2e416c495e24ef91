/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/pci/pci.h"
#include "small_machine.h"
#include "vm/snapshot.h"

/*
 * A whole machine under a guest that writes random values everywhere: ports,
 * device memory, MSRs, configuration space, virtio rings. The sanitizers and the time limits see what
 * goes wrong; besides, every state that a guest can bring about must survive save and restore.
 * VISOR_FUZZ_SECONDS sets how long, VISOR_FUZZ_SEED where to begin.
 */
#define ACTIONS_PER_MACHINE 4000
#define HANG_SECONDS 60 /* for one machine's actions, sanitizers and a loaded host included */

static struct machine *m;
static uint64_t seed;
static char save_path[] = "/dev/shm/visor-machine-fuzz-XXXXXX"; /* in memory: nothing to synchronise */

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull >> 8 | seed << 56;
}

static unsigned below(unsigned n)
{
	return (unsigned)((rnd() >> 20) % n);
}

static uint64_t value(void)
{
	static const uint64_t special[] = { 0, 1, ~0ull, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
					    SMALL_FREE, SMALL_MEMORY, 0xfee00000, 0xfec00000, 0xfed00000, 0xe0000000 };
	switch (below(4)) {
	case 0: return BIT64(below(64));
	case 1: return special[below(ARRAY_SIZE(special))];
	case 2: return rnd() >> below(64);
	default: return rnd();
	}
}

static unsigned size_up_to(unsigned most)
{
	unsigned size = 1u << below(4);
	return MIN(size, most);
}

/* --- ports and registers --- */

static void access_port(void)
{
	static const uint16_t first[] = { 0x00, 0x20, 0xa0, 0x40, 0x60, 0x70, 0x80, 0x92, 0xb0, 0xc0, 0xe9, 0x170, 0x1f0, 0x2f8, 0x376, 0x3b0,
					  0x3f0, 0x3f8, 0x402, 0x4d0, 0x510, 0x600, 0xaf00, 0xcd8, 0xcf8, 0xcfc };
	uint16_t port = (uint16_t)(below(8) ? first[below(ARRAY_SIZE(first))] + below(16) : rnd());
	/* What ends the machine: too often would hide the rest. */
	if (((port & ~3) == 0xf4 || (port & ~3) == 0xf0 || (port & ~7) == 0x600) && below(100))
		return;
	if (below(3))
		io_write(&m->ports, port, value(), size_up_to(4));
	else
		io_read(&m->ports, port, size_up_to(4));
}

static void access_mmio(void)
{
	static const struct { uint64_t base; unsigned size; } regions[] = {
		{ 0xfec00000, 0x100 }, { 0xfed00000, 0x200 }, { 0xfed00000, 0x1000 }, { 0xfee00000, 0x1000 }, { 0xa0000, 0x20000 },
	};
	unsigned slot = below(4) ? FIRST_VIRTIO_SLOT + below(SMALL_VIRTIO_SLOTS) : 0;
	uint64_t at = value();
	if (slot) {
		static const unsigned pages[] = { 0, 0, 0, 0x1000, 0x2000, 0x3000 };
		at = small_bar(m, slot, below(3) ? 0 : 2) + pages[below(ARRAY_SIZE(pages))] + below(below(4) ? 0x40 : 0x1000);
	} else if (below(8)) {
		unsigned r = below(ARRAY_SIZE(regions));
		at = regions[r].base + below(regions[r].size);
	}
	at &= BIT64(52) - 1;
	if (below(4))
		at &= ~3ull;
	if (below(3))
		io_write(&m->mmio, at, value(), size_up_to(8));
	else
		io_read(&m->mmio, at, size_up_to(8));
}

static void access_lapic(void)
{
	struct intc *apic = &m->cpus[below(m->cpu_count)]->intc;
	uint64_t offset = below(4) ? below(0x40) << 4 : below(0x1000);
	unsigned size = size_up_to(8);
	if (offset + size > 0x1000)
		return;
	if (below(3))
		apic->ops->mmio_write(apic->opaque, offset, value(), size);
	else
		apic->ops->mmio_read(apic->opaque, offset, size);
	if (!below(4) && apic->ops->pending(apic->opaque))
		apic->ops->acknowledge(apic->opaque);
}

static void access_config(void)
{
	unsigned slot = below(8), offset = below(8) ? below(0x100) : PCI_COMMAND;
	unsigned size = size_up_to(4);
	offset &= ~(size - 1);
	if (!below(3))
		small_config_read(m, slot, offset, size);
	else
		small_config_write(m, slot, offset, (uint32_t)value(), size);
}

/* As WRMSR and RDMSR do them: a fault comes back by fault_env. */
static void access_msr(void)
{
	static const uint32_t bases[] = { 0x00, 0x10, 0x1b, 0x3a, 0x8b, 0xc0, 0xfe, 0x174, 0x179, 0x186, 0x1a0, 0x1d9, 0x200, 0x250, 0x277,
					  0x2ff, 0x38d, 0x400, 0x480, 0x6e0, 0x800, 0x820, 0x830, 0xda0, 0x4b564d00, 0x40000000, 0xc0000080,
					  0xc0000100, 0xc0010000, 0xc0011020 };
	struct cpu *c = m->cpus[below(m->cpu_count)];
	volatile uint32_t msr = below(16) ? bases[below(ARRAY_SIZE(bases))] + below(16) : (uint32_t)rnd();
	jmp_buf env;
	uint64_t out;
	c->fault_env = &env;
	if (!_setjmp(env)) {
		if (below(3))
			cpu_write_msr(c, msr, value());
		else
			cpu_read_msr(c, msr, &out);
	}
	c->fault_env = NULL;
}

/* --- memory and rings --- */

static uint64_t guest_address(void)
{
	switch (below(8)) {
	case 0: return value();
	case 1: return SMALL_MEMORY - below(0x2000);
	case 2: return 0xa0000 - 0x1000 + below(0x70000);
	default: return SMALL_FREE + below(0x1f0000);
	}
}

static void random_descriptor(uint8_t d[16])
{
	static const uint32_t lengths[] = { 0, 1, 15, 16, 17, 512, 513, 4096, 65536, 0x100000, 0x7fffffff, 0xffffffff };
	store_le64(d, guest_address());
	store_le32(d + 8, below(3) ? lengths[below(ARRAY_SIZE(lengths))] : below(0x2000));
	store_le16(d + 12, (uint16_t)(below(8) ? below(8) : rnd()));
	store_le16(d + 14, (uint16_t)(below(8) ? below(SMALL_RING + 1) : rnd()));
}

/* A header that a disk understands most of the time. */
static void random_header(void)
{
	static const uint32_t types[] = { 0, 0, 1, 1, 4, 8, 11, 13, 99 };
	uint8_t header[16 + 2 * 16];
	for (unsigned i = 0; i < sizeof(header); i += 8)
		store_le64(header + i, below(2) ? below(SMALL_DISK / 512 + 2) : value());
	store_le32(header, types[below(ARRAY_SIZE(types))]);
	memory_write(&m->memory, SMALL_FREE + below(4) * 16, header, sizeof(header));
}

static void disturb_ring(void)
{
	unsigned slot = FIRST_VIRTIO_SLOT + below(SMALL_VIRTIO_SLOTS), queue = below(below(2) ? 2 : SMALL_QUEUES);
	struct small_ring ring = small_ring(slot, queue);
	uint8_t d[16];
	random_header();
	for (unsigned n = below(6); n; n--) {
		random_descriptor(d);
		memory_write(&m->memory, ring.desc + 16 * below(SMALL_RING), d, sizeof(d));
	}
	/* Sometimes a chain that is in order: header, data, status. */
	if (below(2)) {
		unsigned length = 512 * below(9);
		for (unsigned i = 0; i < 3; i++) {
			store_le64(d, SMALL_FREE + (i == 0 ? below(4) * 16 : 0x800 + i * 0x2000));
			store_le32(d + 8, i == 0 ? 16 : i == 1 ? length : 1);
			store_le16(d + 12, (uint16_t)(i == 0 ? 1 : i == 1 ? 1 + 2 * below(2) : 2));
			store_le16(d + 14, (uint16_t)(i + 1));
			memory_write(&m->memory, ring.desc + 16 * i, d, sizeof(d));
		}
	}
	uint16_t index = 0, head = (uint16_t)(below(8) ? below(3) : rnd());
	memory_read(&m->memory, ring.used + 2, &index, 2);
	index = (uint16_t)(index + (below(8) ? 1 : below(4) ? below(SMALL_RING + 2) : rnd()));
	memory_write(&m->memory, ring.avail + 4 + 2 * ((index - 1u) % SMALL_RING), &head, 2);
	memory_write(&m->memory, ring.avail + 2, &index, 2);
	small_virtio_notify(m, slot, queue);
}

static void write_memory(void)
{
	uint64_t bytes[4] = { value(), value(), value(), value() };
	memory_write(&m->memory, guest_address() & (BIT64(52) - 1), bytes, below(sizeof(bytes)) + 1);
}

/* fw_cfg's DMA: a descriptor in guest memory, big-endian (its address port is 0x514). */
static void firmware_dma(void)
{
	uint64_t at = SMALL_FREE + below(0x1000);
	uint32_t d[4] = { __builtin_bswap32((uint32_t)value()), __builtin_bswap32((uint32_t)(below(2) ? below(0x1000) : value())) };
	uint64_t target = __builtin_bswap64(guest_address());
	memcpy(d + 2, &target, 8);
	memory_write(&m->memory, at, d, sizeof(d));
	io_write(&m->ports, 0x510, below(0x40), 2);
	io_write(&m->ports, 0x514, 0, 4);
	io_write(&m->ports, 0x518, __builtin_bswap32((uint32_t)at), 4);
}

/* --- from outside --- */

static void outside(void)
{
	uint8_t bytes[40];
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)rnd();
	switch (below(4)) {
	case 0: machine_console_input(m, MACHINE_SERIAL0, bytes, below(sizeof(bytes))); break;
	case 1: machine_console_input(m, MACHINE_HVC0, bytes, below(sizeof(bytes))); break;
	case 2: machine_power_button(m); break;
	default: machine_request_reset(m);
	}
}

static void pass_time(void)
{
	static const uint64_t most[] = { 100, 10000, 1000000, 20000000, NS_PER_SEC };
	small_machine_advance(m, rnd() % most[below(40) ? below(4) : 4]);
}

static void step(void)
{
	small_machine_step(m, 20);
}

static void start_device(void)
{
	small_virtio_start(m, FIRST_VIRTIO_SLOT + below(SMALL_VIRTIO_SLOTS), below(2) ? SMALL_INDIRECT : (uint32_t)rnd());
}

static void act(void)
{
	static const struct { void (*fn)(void); unsigned weight; } actions[] = {
		{ access_port, 30 }, { access_mmio, 30 }, { access_lapic, 15 }, { access_config, 8 }, { access_msr, 20 }, { disturb_ring, 25 },
		{ write_memory, 5 }, { firmware_dma, 3 }, { pass_time, 10 }, { step, 4 }, { start_device, 3 }, { outside, 1 },
	};
	unsigned total = 0, pick;
	for (unsigned i = 0; i < ARRAY_SIZE(actions); i++)
		total += actions[i].weight;
	pick = below(total);
	for (unsigned i = 0; i < ARRAY_SIZE(actions); pick -= actions[i++].weight)
		if (pick < actions[i].weight) {
			actions[i].fn();
			return;
		}
}

/* --- the tests --- */

static void expect_saved_and_restored(void)
{
	struct error err;
	struct snapshot snapshot;
	if (snapshot_save(m, save_path, &err) < 0)
		fail_msg("save: %s", err.text);
	unsigned cpus = m->cpu_count;
	small_machine_destroy(m); /* the disk is to be let go of first */
	m = small_machine_create(cpus);
	assert_non_null(m);
	if (snapshot_open(&snapshot, save_path, &err) < 0 || snapshot_load(&snapshot, m, &err) < 0)
		fail_msg("restore: %s", err.text);
	snapshot_close(&snapshot);
	small_machine_advance(m, 1000000);
}

static void hostile_guest(void **state)
{
	const char *seconds = getenv("VISOR_FUZZ_SECONDS"), *first = getenv("VISOR_FUZZ_SEED");
	time_t end = time(NULL) + (seconds ? atoi(seconds) : 5);
	uint64_t start = first ? strtoull(first, NULL, 0) : 1;
	unsigned ended = 0, done = 0;
	for (; !done || time(NULL) < end; start++, done++) {
		seed = (start + 1) * 0x9e3779b97f4a7c15ull;
		alarm(HANG_SECONDS);
		if (done % 64 == 0 || first)
			print_message("seed %llu\n", (unsigned long long)start);
		m = small_machine_create(1 + below(2));
		assert_non_null(m);
		small_machine_busy(m);
		for (unsigned i = 0; i < ACTIONS_PER_MACHINE && !m->ended; i++)
			act();
		ended += m->ended;
		if (!m->ended)
			expect_saved_and_restored();
		small_machine_destroy(m);
	}
	alarm(0);
	print_message("%u machines, %u ended by their guest\n", done, ended);
}

/* An invalid instruction whose handler begins with it: steps end all the same. */
static void steps_end_at_the_handlers_of_faults(void **state)
{
	m = small_machine_create(1);
	assert_non_null(m);
	const uint8_t ud2[] = { 0x0f, 0x0b };
	const uint64_t gdt[] = { 0, 0x00cf9a000000ffff }, gate = (SMALL_CODE & 0xffff) | 8 << 16 | 0x8eull << 40 | (uint64_t)(SMALL_CODE >> 16) << 48;
	memory_write(&m->memory, SMALL_CODE, ud2, sizeof(ud2));
	memory_write(&m->memory, SMALL_FREE, gdt, sizeof(gdt));
	memory_write(&m->memory, SMALL_FREE + 64 + 6 * 8, &gate, sizeof(gate));
	struct cpu *c = m->cpus[0];
	c->gdtr = (struct table_register){ .base = SMALL_FREE, .limit = sizeof(gdt) - 1 };
	c->idtr = (struct table_register){ .base = SMALL_FREE + 64, .limit = 7 * 8 - 1 };
	c->gpr[REG_RSP] = SMALL_FREE + 0x10000;
	alarm(HANG_SECONDS);
	for (unsigned n = 1; n <= 3; n++) {
		small_machine_step(m, 1);
		assert_int_equal(c->gpr[REG_RIP], SMALL_CODE);
		assert_int_equal(c->gpr[REG_RSP], SMALL_FREE + 0x10000 - 12 * n);
	}
	alarm(0);
	small_machine_destroy(m);
}

static int make_path(void **state)
{
	log_threshold = LOG_ERROR;
	int fd = mkstemp(save_path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
	return unlink(save_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(steps_end_at_the_handlers_of_faults),
		cmocka_unit_test(hostile_guest),
	};
	return cmocka_run_group_tests(tests, make_path, remove_path);
}
