/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/pci/pci.h"
#include "fuzz.h"
#include "net/backend.h"
#include "small_machine.h"

/*
 * Drivers of the network cards that do anything, and networks that deliver anything. The input is a list of
 * steps of 12 bytes: what, where, two numbers. Cards are set up as a driver does it, so that steps reach their rings.
 */
#define STEP_SIZE 12
#define MAX_STEPS 400
#define MEMORY SMALL_FREE           /* 128 KiB: rings and buffers */
#define MEMORY_SIZE 0x20000u
#define E1000_TX (MEMORY + 0x18000)
#define E1000_RX (MEMORY + 0x18400)
#define PCNET_BLOCK (MEMORY + 0x18800)
#define PCNET_RX (MEMORY + 0x18a00)
#define PCNET_TX (MEMORY + 0x18b00)
#define BUFFERS (MEMORY + 0x1000)

enum { REGISTER_WRITE, REGISTER_READ, PORT_WRITE, MEMORY_WRITE, DELIVER, ADVANCE, CONFIG_WRITE, START, NOTIFY, STEPS };

struct step {
	uint8_t what, card;
	uint16_t where;
	uint32_t a, b;
} __attribute__((packed));

static struct machine *m;

static unsigned slot_of(unsigned card)
{
	return SMALL_SLOT_NET + card % 3;
}

static void poke(uint64_t at, uint64_t value, unsigned size)
{
	uint8_t bytes[8];
	store_le(bytes, value, size);
	memory_write(&m->memory, at, bytes, size);
}

static void start_e1000(void)
{
	static const uint32_t values[][2] = {
		{ 0, 0x04000000 }, { 0x3800, E1000_TX }, { 0x3808, 0x80 }, { 0x2800, E1000_RX }, { 0x2808, 0x80 }, { 0x400, 2 }, { 0x100, 0x2000e },
		{ 0x2818, 7 }, { 0xd0, 0xffffffff }, { 0x38, 0x8100 }, { 0x5000, 0x300 }, { 0, 0x40000041 },
	};
	uint64_t bar = small_bar(m, SMALL_SLOT_E1000, 0);
	small_config_write(m, SMALL_SLOT_E1000, PCI_COMMAND, 7, 2);
	for (unsigned i = 0; i < 8; i++)
		poke(E1000_RX + 16 * i, BUFFERS + 0x800 * i, 8);
	for (unsigned i = 0; i < ARRAY_SIZE(values); i++)
		io_write(&m->mmio, bar + values[i][0], values[i][1], 4);
}

static void pcnet_csr(uint64_t io, uint16_t index, uint16_t value)
{
	io_write(&m->ports, io + 0x12, index, 2);
	io_write(&m->ports, io + 0x10, value, 2);
}

static void start_pcnet(unsigned style)
{
	uint64_t io = small_config_read(m, SMALL_SLOT_PCNET, PCI_BAR(0), 4) & ~3u;
	small_config_write(m, SMALL_SLOT_PCNET, PCI_COMMAND, 7, 2);
	io_read(&m->ports, io + 0x14, 2);
	io_write(&m->ports, io + 0x12, 20, 2);
	io_write(&m->ports, io + 0x16, style & 3, 2);
	poke(PCNET_BLOCK, 0x8000 | (style & 4), 2);
	poke(PCNET_BLOCK + 2, 0x3030, 2);
	poke(PCNET_BLOCK + 16, PCNET_RX | (style & 3 ? 0 : 3u << 29), 4);
	poke(PCNET_BLOCK + 20, style & 3 ? PCNET_RX : PCNET_TX | 3u << 29, 4);
	poke(PCNET_BLOCK + 24, PCNET_TX, 4);
	for (unsigned i = 0; i < 8; i++) {
		poke(PCNET_RX + 16 * i, BUFFERS + 0x800 * i, 4);
		poke(PCNET_RX + 16 * i + 4, 0x8000f800, 4);
	}
	pcnet_csr(io, 1, (uint16_t)PCNET_BLOCK);
	pcnet_csr(io, 2, PCNET_BLOCK >> 16);
	pcnet_csr(io, 0, 1);
	pcnet_csr(io, 0, 0x142);
}

static void deliver(const struct step *s)
{
	static uint8_t data[NET_FRAME_MAX];
	struct net *net = m->nets[s->card % 3];
	size_t size = s->where;
	/* The guest's memory, for want of other bytes. */
	memory_read(&m->memory, MEMORY + s->b % (MEMORY_SIZE / 2), data, MIN(sizeof(data), (size_t)MEMORY_SIZE / 2));
	const struct iovec iov = { data, size };
	struct net_frame frame = { .iov = &iov, .count = 1, .size = size };
	if (s->a & 1)
		frame.offload = (struct net_offload){
			.checksum = true, .gso = s->a >> 1 & 1 ? NET_GSO_TCP4 : s->a >> 2 & 1 ? NET_GSO_TCP6 : NET_GSO_NONE, .ecn = s->a >> 3 & 1,
			.checksum_start = (uint8_t)(s->a >> 4), .checksum_offset = (uint8_t)(s->a >> 12), .gso_size = (uint16_t)(s->a >> 16),
		};
	/* What a network promises (net.h). */
	if (frame.offload.gso != NET_GSO_NONE && !frame.offload.gso_size)
		frame.offload.gso_size = 1;
	net_deliver(net, &frame);
}

static void take_step(const struct step *s)
{
	unsigned slot = slot_of(s->card);
	switch (s->what % STEPS) {
	case REGISTER_WRITE:
		io_write(&m->mmio, small_bar(m, slot, slot == SMALL_SLOT_PCNET ? 1 : 0) + s->where, s->a, 1u << (s->b & 3));
		break;
	case REGISTER_READ:
		io_read(&m->mmio, small_bar(m, slot, slot == SMALL_SLOT_PCNET ? 1 : 0) + s->where, 1u << (s->b & 3));
		break;
	case PORT_WRITE:
		if (slot == SMALL_SLOT_PCNET)
			pcnet_csr(small_config_read(m, slot, PCI_BAR(0), 4) & ~3u, s->where, (uint16_t)s->a);
		break;
	case MEMORY_WRITE:
		poke(MEMORY + ((uint32_t)s->where * 4) % (MEMORY_SIZE - 8), (uint64_t)s->b << 32 | s->a, s->card & 0x80 ? 8 : 4);
		break;
	case DELIVER:
		deliver(s);
		break;
	case ADVANCE:
		small_machine_advance(m, s->a % 10000000);
		break;
	case CONFIG_WRITE:
		small_config_write(m, slot, PCI_COMMAND, s->a & 7, 2);
		break;
	case START:
		if (slot == SMALL_SLOT_NET)
			small_virtio_start(m, SMALL_SLOT_NET, s->a);
		else if (slot == SMALL_SLOT_E1000)
			start_e1000();
		else
			start_pcnet(s->a);
		break;
	case NOTIFY:
		small_virtio_notify(m, SMALL_SLOT_NET, s->where % 4);
		small_machine_advance(m, 1000);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!m || m->ended) {
		small_machine_destroy(m);
		m = small_machine_create(1);
		fuzz_require(m);
	}
	for (unsigned i = 0; i < 3; i++)
		m->nets[i]->offloads = size % 2 ? NET_OFFLOAD_ALL : 0;
	memset(m->memory.host + MEMORY, 0, MEMORY_SIZE);
	small_virtio_start(m, SMALL_SLOT_NET, size % 3 ? 0xffffffff : 0);
	start_e1000();
	start_pcnet((unsigned)size % 8);
	for (unsigned n = 0; n < MAX_STEPS && size >= STEP_SIZE; n++, data += STEP_SIZE, size -= STEP_SIZE) {
		struct step step;
		memcpy(&step, data, sizeof(step));
		take_step(&step);
	}
	small_machine_advance(m, 1000000);
	/* A reset makes every card work again: a frame that is sent arrives. */
	struct net_stats before, after;
	start_e1000();
	small_machine_advance(m, 1000000);
	net_get_stats(m->nets[1], &before);
	poke(E1000_TX, BUFFERS, 8);
	poke(E1000_TX + 8, 0x01000040, 8);
	io_write(&m->mmio, small_bar(m, SMALL_SLOT_E1000, 0) + 0x3818, 1, 4);
	small_machine_advance(m, 1000000);
	net_get_stats(m->nets[1], &after);
	fuzz_require(after.sent == before.sent + 1);
	return 0;
}

/* --- seeds --- */

static struct step steps[64];
static unsigned step_count;

static void add(unsigned what, unsigned card, uint64_t where, uint32_t a, uint32_t b)
{
	steps[step_count++] = (struct step){ (uint8_t)what, (uint8_t)card, (uint16_t)where, a, b };
}

static void write4(uint64_t at, uint32_t value)
{
	add(MEMORY_WRITE, 0, (at - MEMORY) / 4, value, 0);
}

static void done(fuzz_seed_fn *emit, void *opaque, const char *name)
{
	emit(opaque, name, steps, step_count * sizeof(*steps));
	step_count = 0;
}

static void virtio_chain(unsigned queue, uint64_t address, uint32_t length, uint32_t flags)
{
	struct small_ring ring = small_ring(SMALL_SLOT_NET, queue);
	write4(ring.desc, (uint32_t)address);
	write4(ring.desc + 8, length);
	write4(ring.desc + 12, flags);
	write4(ring.avail, 1 << 16);
	add(NOTIFY, 0, queue, 0, 0);
}

static void tcp_packet(uint64_t at)
{
	write4(at + 12, 0x00450008);
	write4(at + 16, 0x0100dc05);
	write4(at + 20, 0x06400000);
	write4(at + 44, 0x10500000);
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	write4(BUFFERS, 0x00000101);
	write4(BUFFERS + 4, 0x002205a8);
	write4(BUFFERS + 8, 0x00000010);
	tcp_packet(BUFFERS + 12);
	virtio_chain(1, BUFFERS, 1500 + 12, 0);
	done(emit, opaque, "virtio-send");
	virtio_chain(0, BUFFERS, 2048, 2);
	add(DELIVER, 0, 100, 0, 0);
	tcp_packet(BUFFERS);
	add(DELIVER, 0, 3000, 0x05a81223 | 3, 0x1000);
	done(emit, opaque, "virtio-receive");
	write4(BUFFERS, 0x00000100);
	virtio_chain(2, BUFFERS, 3, 1);
	done(emit, opaque, "virtio-control");
	tcp_packet(BUFFERS);
	write4(E1000_TX, 0x0018180e);
	write4(E1000_TX + 4, 0x00003222);
	write4(E1000_TX + 8, 0x270005a0);
	write4(E1000_TX + 12, 0x02003600);
	write4(E1000_TX + 16, BUFFERS);
	write4(E1000_TX + 24, 0x2d1005d6);
	write4(E1000_TX + 28, 0x00000300);
	add(REGISTER_WRITE, 1, 0x3818, 2, 2);
	add(ADVANCE, 0, 0, 1000, 0);
	done(emit, opaque, "e1000-send");
	add(DELIVER, 1, 1000, 0, 0x1000);
	add(REGISTER_READ, 1, 0xc0, 0, 2);
	add(REGISTER_WRITE, 1, 0x14, 1, 2);
	add(REGISTER_WRITE, 1, 0x20, 0x08210000, 2);
	done(emit, opaque, "e1000-receive");
	write4(PCNET_TX, BUFFERS);
	write4(PCNET_TX + 4, 0x8300ff00);
	add(PORT_WRITE, 2, 0, 0x48, 0);
	add(ADVANCE, 0, 0, 3000000, 0);
	add(DELIVER, 2, 500, 0, 0);
	done(emit, opaque, "pcnet");
	for (unsigned i = 0; i < 8; i++)
		add(START, 2, 0, i, 0);
	add(CONFIG_WRITE, 1, 0, 3, 0);
	add(CONFIG_WRITE, 1, 0, 7, 0);
	done(emit, opaque, "start");
}
