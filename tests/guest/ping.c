/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pings the user network's gateway by virtio-net, a burst of four at a time, and compares what comes back: both queues are notified all the
 * time, and with a notification lost the guest waits forever. rounds=N: how many bursts.
 */
#include "pci.h"

#define BURST 4u
#define SIZE 1000u /* of the data */
#define HEADER 12u /* struct virtio_net_hdr */
#define FRAME (HEADER + 14 + 20 + 8 + SIZE)

static struct virtio rx, tx;
static uint8_t (*in)[2048], (*out)[2048];
static uint16_t taken; /* of rx's used ring */
static uint8_t gateway[6];
static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 }, my_address[4] = { 10, 0, 2, 15 }, its_address[4] = { 10, 0, 2, 2 };

static void copy(uint8_t *to, const uint8_t *from, unsigned size)
{
	while (size--)
		*to++ = *from++;
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint32_t checksum(const uint8_t *at, unsigned size)
{
	uint32_t sum = 0;
	for (unsigned i = 0; i < size; i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

static void offer(unsigned i)
{
	virtio_descriptor(&rx, i, in[i], 2048, 2);
	virtio_put(&rx, (uint16_t)i);
}

static void send(unsigned i, unsigned size)
{
	virtio_descriptor(&tx, i, out[i], size, 0);
	virtio_put(&tx, (uint16_t)i);
}

/* The buffer of the next frame that comes. */
static uint8_t *receive(unsigned *index)
{
	while (REG16(rx.ring + 0x802) == taken)
		__asm__ volatile("pause");
	*index = REG32(rx.ring + 0x804 + 8 * (taken++ & 7)) & 7;
	return in[*index] + HEADER;
}

static void await_sent(void)
{
	while (REG16(tx.ring + 0x802) != tx.used)
		__asm__ volatile("pause");
}

static void notify(struct virtio *v)
{
	__asm__ volatile("mfence" ::: "memory");
	REG16(v->notify) = 0;
}

static void ethernet(uint8_t *frame, unsigned type)
{
	copy(frame, gateway, 6);
	copy(frame + 6, mac, 6);
	put16(frame + 12, type);
}

/* Asks for the gateway's Ethernet address (RFC 826). */
static void resolve(void)
{
	static const uint8_t request[8] = { 0, 1, 8, 0, 6, 4, 0, 1 };
	uint8_t *frame = out[0] + HEADER, *reply;
	unsigned index;
	for (unsigned i = 0; i < 6; i++)
		gateway[i] = 0xff;
	ethernet(frame, 0x806);
	copy(frame + 14, request, 8);
	copy(frame + 22, mac, 6);
	copy(frame + 28, my_address, 4);
	copy(frame + 38, its_address, 4);
	send(0, HEADER + 60);
	notify(&tx);
	await_sent();
	do {
		reply = receive(&index);
		copy(gateway, reply + 22, 6);
		offer(index);
		notify(&rx);
	} while (reply[12] != 8 || reply[13] != 6 || reply[21] != 2);
}

/* An echo request (RFC 792). */
static void request(unsigned i, uint32_t number)
{
	uint8_t *frame = out[i] + HEADER, *ip = frame + 14, *icmp = ip + 20;
	ethernet(frame, 0x800);
	for (unsigned n = 0; n < 20; n++)
		ip[n] = 0;
	ip[0] = 0x45;
	put16(ip + 2, 28 + SIZE);
	put16(ip + 4, number);
	ip[8] = 64;
	ip[9] = 1;
	copy(ip + 12, my_address, 4);
	copy(ip + 16, its_address, 4);
	put16(ip + 10, checksum(ip, 20));
	icmp[0] = 8;
	icmp[1] = icmp[2] = icmp[3] = 0;
	put16(icmp + 4, 77);
	put16(icmp + 6, number);
	for (unsigned n = 0; n < SIZE; n++)
		icmp[8 + n] = (uint8_t)(number * 31 + n * 7);
	put16(icmp + 2, checksum(icmp, 8 + SIZE));
	send(i, FRAME);
}

/* The number of the request that it answers; 0: another frame, or a wrong answer. */
static uint32_t answer(const uint8_t *frame)
{
	const uint8_t *icmp = frame + 34;
	if (frame[12] != 8 || frame[13] || frame[23] != 1 || icmp[0] || icmp[5] != 77)
		return 0;
	uint32_t number = (uint32_t)icmp[6] << 8 | icmp[7];
	check_equal(checksum(icmp, 8 + SIZE), 0);
	return icmp[8 + SIZE - 1] == (uint8_t)(number * 31 + (SIZE - 1) * 7) ? number : 0;
}

static void burst(uint32_t first)
{
	uint32_t seen = 0;
	for (unsigned i = 0; i < BURST; i++) {
		request(i, first + i);
		notify(&tx);
	}
	while (seen != (1u << BURST) - 1) {
		unsigned index;
		uint32_t which = answer(receive(&index)) - first;
		if (which < BURST)
			seen |= 1u << which;
		offer(index);
		notify(&rx);
	}
	await_sent();
}

int guest_main(void)
{
	unsigned slot = virtio_find(1, 0x1000);
	if (!slot) {
		print("no virtio-net\n");
		return 1;
	}
	in = alloc_page();
	for (unsigned i = 0; i < 3; i++)
		alloc_page();
	out = alloc_page();
	alloc_page();
	check(virtio_negotiate(&rx, slot, 0));
	tx = rx;
	virtio_enable(&rx, 0);
	virtio_enable(&tx, 1);
	check(virtio_drive(&rx));
	for (unsigned i = 0; i < 8; i++)
		offer(i);
	notify(&rx);
	resolve();
	for (uint32_t i = 0, rounds = (uint32_t)guest_option("rounds", 20); i < rounds; i++)
		burst(1 + i * BURST);
	return failures;
}
