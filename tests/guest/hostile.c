/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that does what it can to its monitor: random values to ports, device
 * memory, MSRs, configuration space and virtio rings, without end. It judges nothing: visor must last, answer on
 * its control socket, and end when it is told to. What would end this program itself (its code, tables and stack,
 * EFER) is avoided. Options: seed=N, ops=N (100000; 0: without end), polite=0 (power-off and resets are tried too), memory=MIB.
 */
#include "guest.h"

/* This program and its tables lie below; devices may write above. */
#define FREE 0x1000000ull
#define RINGS (FREE + 0x100000)
#define RAM_END guest_ram_end

static uint64_t seed, guest_ram_end = 64 << 20;
static bool polite;

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

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT64(n) (1ull << (n))

static uint64_t value(void)
{
	static const uint64_t special[] = { 0, 1, ~0ull, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
					    FREE, 0xfee00000, 0xfec00000, 0xfed00000, 0xe0000000, 0x100000000 };
	switch (below(4)) {
	case 0: return BIT64(below(64));
	case 1: return special[below(ARRAY_SIZE(special))];
	case 2: return rnd() >> below(64);
	default: return rnd();
	}
}

/* Anywhere but in this program. */
static uint64_t address(void)
{
	uint64_t a = below(4) ? FREE + rnd() % (RAM_END - FREE + 0x10000) : value();
	return a < FREE ? a + FREE : a;
}

/* --- ports --- */

static bool deadly_port(uint16_t port, unsigned size, uint64_t v)
{
	bool power = port + size > 0x604 && port <= 0x605;
	bool reset = (port + size > 0xcf9 && port <= 0xcf9) || (port <= 0x64 && port + size > 0x64 && (v & 0xf1) == 0xf0) ||
		     (port <= 0x92 && port + size > 0x92) || (port <= 0xf4 && port + size > 0xf4);
	bool memory = port <= 0x51b && port + size > 0x514; /* fw_cfg's DMA has its own turn */
	return memory || ((power || reset) && (polite || below(4096)));
}

static void out(uint16_t port, uint64_t v, unsigned size)
{
	switch (size) {
	case 1: outb(port, (uint8_t)v); break;
	case 2: __asm__ volatile("outw %0, %1" ::"a"((uint16_t)v), "Nd"(port)); break;
	default: outl(port, (uint32_t)v);
	}
}

static void in(uint16_t port, unsigned size)
{
	uint16_t word;
	switch (size) {
	case 1: inb(port); break;
	case 2: __asm__ volatile("inw %1, %0" : "=a"(word) : "Nd"(port)); break;
	default: inl(port);
	}
}

static void access_port(void)
{
	static const uint16_t first[] = { 0x00, 0x20, 0xa0, 0x40, 0x60, 0x70, 0x80, 0x90, 0xb0, 0xc0, 0xe0, 0x170, 0x1f0, 0x2f8, 0x376, 0x3b0,
					  0x3f0, 0x3f8, 0x402, 0x4d0, 0x510, 0x600, 0xaf00, 0xcd8, 0xcf8, 0xcfc };
	uint16_t port = (uint16_t)(below(8) ? first[below(ARRAY_SIZE(first))] + below(16) : rnd());
	unsigned size = 1u << below(3);
	uint64_t v = value();
	if (below(3)) {
		if (!deadly_port(port, size, v))
			out(port, v, size);
	} else if (below(8)) {
		in(port, size);
	} else {
		uint64_t count = below(300), to = FREE + below(0x1000);
		__asm__ volatile("rep insw" : "+c"(count), "+D"(to) : "d"(port) : "memory");
	}
}

static void firmware_dma(void)
{
	volatile uint32_t *d = (volatile uint32_t *)(FREE + below(0x1000));
	uint64_t to = __builtin_bswap64(address());
	d[0] = __builtin_bswap32((uint32_t)value());
	d[1] = __builtin_bswap32(below(2) ? below(0x1000) : below(0x1000000));
	d[2] = (uint32_t)to;
	d[3] = (uint32_t)(to >> 32);
	outl(0x514, 0);
	outl(0x518, __builtin_bswap32((uint32_t)(uint64_t)d));
}

/* --- MSRs --- */

struct msr_access {
	uint32_t msr;
	uint64_t v;
	bool write;
};

static void do_msr(void *opaque)
{
	struct msr_access *a = opaque;
	if (a->write)
		wrmsr(a->msr, a->v);
	else
		rdmsr(a->msr);
}

static void access_msr(void)
{
	static const uint32_t bases[] = { 0x00, 0x10, 0x1b, 0x3a, 0x8b, 0xc0, 0xfe, 0x174, 0x179, 0x186, 0x1a0, 0x1d9, 0x200, 0x250, 0x277,
					  0x2ff, 0x38d, 0x400, 0x480, 0x6e0, 0x800, 0x820, 0x830, 0xda0, 0x4b564d00, 0x40000000, 0xc0000080,
					  0xc0000100, 0xc0010000, 0xc0011020 };
	struct msr_access a = { below(16) ? bases[below(ARRAY_SIZE(bases))] + below(16) : (uint32_t)rnd(), value(), below(3) };
	if (a.msr == 0xc0000080)
		return;
	if (a.msr == 0x1b) /* its page stays where it is, or goes where there is nothing of ours */
		a.v = (a.v & 0xd00) | (below(4) ? 0xfee00000 : FREE + (rnd() & 0xfff000));
	if (a.msr == 0x11 || a.msr == 0x12 || a.msr >> 8 == 0x4b564d) /* the monitor writes to the address given */
		a.v = address() | below(2);
	if (a.msr == 0x830 && (a.v >> 8 & 7) >= 5) /* INIT and start-up would stop us, or run anything */
		a.v &= ~0x700ull;
	guarded(do_msr, &a);
}

/* --- device memory --- */

struct memory_access {
	uint64_t at, v;
	unsigned how;
};

static void do_memory(void *opaque)
{
	struct memory_access *a = opaque;
	uint64_t count = below(64), from = FREE + below(0x1000), to = a->at;
	switch (a->how) {
	case 0: *(volatile uint8_t *)a->at = (uint8_t)a->v; break;
	case 1: *(volatile uint16_t *)a->at = (uint16_t)a->v; break;
	case 2: case 3: case 4: *(volatile uint32_t *)a->at = (uint32_t)a->v; break;
	case 5: *(volatile uint64_t *)a->at = a->v; break;
	case 6: (void)*(volatile uint8_t *)a->at; break;
	case 7: (void)*(volatile uint32_t *)a->at; break;
	case 8: (void)*(volatile uint64_t *)a->at; break;
	case 9: __asm__ volatile("rep movsb" : "+c"(count), "+S"(from), "+D"(to)::"memory"); break;
	case 10: __asm__ volatile("rep movsl" : "+c"(count), "+D"(from), "+S"(to)::"memory"); break;
	case 11: __asm__ volatile("lock xaddq %0, (%1)" : "+r"(a->v) : "r"(a->at) : "memory"); break;
	case 12: __asm__ volatile("movdqu (%0), %%xmm0; movdqu %%xmm0, (%0)" ::"r"(a->at) : "memory"); break;
	case 13: __asm__ volatile("fxsave64 (%0)" ::"r"(FREE + 0x2000)); __asm__ volatile("fxrstor64 (%0)" ::"r"(a->at & ~15ull)); break;
	case 14: __asm__ volatile("btsq %0, (%1)" ::"r"(a->v & 0xfff), "r"(a->at) : "memory"); break;
	default: __asm__ volatile("cmpxchg16b (%0)" ::"r"(a->at & ~15ull) : "rax", "rbx", "rcx", "rdx", "memory");
	}
}

static uint32_t config_read(unsigned slot, unsigned offset)
{
	outl(0xcf8, 0x80000000u | slot << 11 | (offset & 0xfc));
	return inl(0xcfc);
}

static uint64_t bar(unsigned slot, unsigned n)
{
	return config_read(slot, 0x10 + 4 * n) & ~15u;
}

static bool deadly_memory(uint64_t at, uint64_t v)
{
	if (at < FREE && (at >= 0xc0000 || at < 0xa0000)) /* RAM with this program */
		return true;
	bool icr = at - 0xfee00300 < 16;
	return icr && (v >> 8 & 7) >= 5; /* INIT, start-up */
}

static void access_memory(void)
{
	static const struct { uint64_t base; unsigned size; } regions[] = {
		{ 0xfec00000, 0x100 }, { 0xfed00000, 0x200 }, { 0xfed00000, 0x1000 }, { 0xfee00000, 0x1000 }, { 0xfee00000, 0x400 },
		{ 0xa0000, 0x20000 }, { 0xfffff000, 0x1000 },
	};
	struct memory_access a = { 0, value(), below(below(4) ? 9 : 16) };
	unsigned slot = below(2) ? 2 + below(4) : 0;
	if (slot) {
		static const unsigned pages[] = { 0, 0, 0, 0x1000, 0x2000, 0x3000 };
		a.at = bar(slot, below(3) ? 0 : 2) + pages[below(ARRAY_SIZE(pages))] + below(below(4) ? 0x40 : 0x1000);
	} else {
		unsigned r = below(ARRAY_SIZE(regions));
		a.at = regions[r].base + below(regions[r].size);
	}
	if (below(8))
		a.at &= ~3ull;
	if (!deadly_memory(a.at, a.v))
		guarded(do_memory, &a);
}

/* --- PCI and virtio --- */

static void access_config(void)
{
	unsigned slot = below(8), offset = below(6) ? below(0x100) : 4, size = 1u << below(3);
	outl(0xcf8, 0x80000000u | slot << 11 | below(8) / 7 << 8 | (offset & 0xfc));
	offset &= 4 - size;
	if (!below(3)) {
		in((uint16_t)(0xcfc + offset), size);
		return;
	}
	out((uint16_t)(0xcfc + offset), value(), size);
	if (slot >= 2 && below(4)) { /* mostly, so that more can be tried */
		outl(0xcf8, 0x80000000u | slot << 11 | 4);
		outl(0xcfc, 6);
	}
}

#define REG8(at) (*(volatile uint8_t *)(at))
#define REG16(at) (*(volatile uint16_t *)(at))
#define REG32(at) (*(volatile uint32_t *)(at))

static uint64_t ring(unsigned slot, unsigned queue)
{
	return RINGS + (slot * 4 + queue) * 0x1000;
}

static void config_write(unsigned slot, unsigned offset, uint32_t v)
{
	outl(0xcf8, 0x80000000u | slot << 11 | offset);
	outl(0xcfc, v);
}

/* Layout of struct virtio_pci_common_cfg: virtio 1.2, 4.1.4.3. */
static void start_device(void *opaque)
{
	unsigned slot = 2 + below(4);
	if (below(4)) { /* back to where it can be reached */
		config_write(slot, 0x10, 0xf0000000 + slot * 0x10000);
		config_write(slot, 0x14, 0);
		config_write(slot, 0x18, 0xf0008000 + slot * 0x10000);
	}
	config_write(slot, 4, 6);
	uint64_t b = bar(slot, 0);
	if (b < FREE)
		return;
	REG8(b + 0x14) = 0;
	REG8(b + 0x14) = 3;
	REG32(b + 0x08) = 1;
	REG32(b + 0x0c) = 1;
	REG32(b + 0x08) = 0;
	REG32(b + 0x0c) = 3u << 28;
	REG8(b + 0x14) = 11;
	for (unsigned q = 0; q < 4; q++) {
		REG16(b + 0x16) = (uint16_t)q;
		REG16(b + 0x18) = 8;
		REG16(b + 0x1a) = (uint16_t)q;
		for (unsigned part = 0; part < 3; part++) {
			REG32(b + 0x20 + 8 * part) = (uint32_t)(below(32) ? ring(slot, q) + 0x400 * part : address());
			REG32(b + 0x24 + 8 * part) = 0;
		}
		REG16(b + 0x1c) = 1;
	}
	REG8(b + 0x14) = 15;
}

static void disturb_ring(void *opaque)
{
	static const uint32_t lengths[] = { 0, 1, 16, 512, 513, 4096, 65536, 0x100000, 0x7fffffff, 0xffffffff };
	static const uint32_t types[] = { 0, 0, 1, 4, 8, 11, 13, 99 };
	unsigned slot = 2 + below(4), queue = below(below(2) ? 2 : 4);
	uint64_t r = ring(slot, queue), b = bar(slot, 0);
	if (b < FREE)
		return;
	for (unsigned i = 0; i < 8; i++) {
		volatile uint64_t *d = (volatile uint64_t *)(r + 16 * i);
		bool plain = below(3);
		uint64_t flags = plain ? (i == 0 ? 1 : i == 1 ? 1 + 2 * below(2) : 2) : below(8);
		d[0] = plain ? FREE + 0x800 * (i + 1) : address();
		d[1] = (plain ? (i == 0 ? 16 : i == 1 ? 512 * below(9) : 1) : lengths[below(ARRAY_SIZE(lengths))]) | flags << 32 |
		       (uint64_t)(plain ? i + 1 : below(10)) << 48;
	}
	REG32(FREE + 0x800) = types[below(ARRAY_SIZE(types))];
	REG32(FREE + 0x808) = below(16) ? below(4096) : (uint32_t)value();
	REG32(FREE + 0x80c) = below(16) ? 0 : (uint32_t)value();
	uint16_t index = (uint16_t)(REG16(r + 0x802) + (below(8) ? 1 : below(12)));
	REG16(r + 0x404 + 2 * ((index - 1) & 7)) = (uint16_t)below(below(4) ? 2 : 10);
	REG16(r + 0x402) = index;
	REG16(b + 0x3000 + 4 * queue) = (uint16_t)queue;
}

/* --- the processor --- */

static bool ignore(struct frame *frame)
{
	if (frame->vector >= 32)
		*(volatile uint32_t *)0xfee000b0 = 0;
	return true;
}

static void open_window(void *opaque)
{
	__asm__ volatile("sti; nop; nop; pause; nop; cli");
}

/* Runs whatever device space reads as. */
static void run_device(void *opaque)
{
	static const uint64_t where[] = { 0xfec00000, 0xfed00000, 0xfee00020, 0xa0000, 0xe0000000, 0xf0020000 };
	__asm__ volatile("mov %0, %%rcx; mov %0, %%rdx; mov %0, %%rsi; mov %0, %%rdi; call *%1" ::"b"(FREE + 0x4000),
			 "a"(where[below(ARRAY_SIZE(where))]) : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
}

/* Page tables, descriptor tables and the like in device space or nowhere. */
static void odd_tables(void *opaque)
{
	uint64_t cr3 = READ_CR(3), at = below(2) ? 0xfec00000 : address() & 0xfffffff000;
	struct table_pointer odd = { (uint16_t)rnd(), at }, gdtr;
	switch (below(4)) {
	case 0: /* a second root in free memory whose entries lead anywhere, looked at through INVLPG alone */
		WRITE_CR(3, cr3 | 0x18);
		WRITE_CR(3, cr3);
		break;
	case 1: __asm__ volatile("sgdt %0; lgdt %1; lgdt %0" : "+m"(gdtr) : "m"(odd)); break;
	case 2: *(volatile uint64_t *)(page_entry(0x300000000000) ? 0x300000000000ull : FREE) = 1; break;
	default: invlpg(value());
	}
}

/* One linear page whose table entry is nonsense; its access faults or reaches a device. */
static void odd_page(void *opaque)
{
	uint64_t *entry = page_entry(0x300000000000);
	*entry = (value() & 0xffffffffff000) | (below(4) ? PG_P | PG_W : rnd() & 0xfff);
	if ((*entry & 0xffffffffff000) < FREE)
		*entry |= 0xfec00000;
	invlpg(0x300000000000);
	struct memory_access a = { 0x300000000000 + below(0x1000), value(), below(9) };
	do_memory(&a);
}

int guest_main(void)
{
	/* Another course after each reset: the count of boots is in CMOS memory. */
	outb(0x70, 0x60);
	uint8_t boots = inb(0x71);
	outb(0x71, (uint8_t)(boots + 1));
	seed = (guest_option("seed", 1) * 256 + boots) * 0x9e3779b97f4a7c15ull | 1;
	polite = guest_option("polite", 1);
	guest_ram_end = guest_option("memory", 64) << 20;
	uint64_t ops = guest_option("ops", 100000);
	handlers[VEC_NMI] = handlers[VEC_MC] = ignore;
	for (unsigned v = 32; v < 256; v++)
		handlers[v] = ignore;
	map_page(0x300000000000, FREE, PG_P | PG_W);
	for (uint64_t n = 0; !ops || n < ops; n++) {
		unsigned pick = below(100);
		if (pick < 25) access_port();
		else if (pick < 50) access_memory();
		else if (pick < 65) access_msr();
		else if (pick < 72) access_config();
		else if (pick < 87) guarded(disturb_ring, NULL);
		else if (pick < 89) guarded(start_device, NULL);
		else if (pick < 91) firmware_dma();
		else if (pick < 94) guarded(open_window, NULL);
		else if (pick < 96) guarded(odd_page, NULL);
		else if (pick < 98) guarded(odd_tables, NULL);
		else if (!below(500)) guarded(run_device, NULL);
		__asm__ volatile("cli");
	}
	/* The serial port may be in any mode, too slow to wait for. */
	static const uint8_t uart[][2] = { { 3, 0x80 }, { 0, 1 }, { 1, 0 }, { 3, 3 }, { 1, 0 }, { 2, 0 }, { 4, 0 } };
	for (unsigned i = 0; i < ARRAY_SIZE(uart); i++)
		outb((uint16_t)(0x3f8 + uart[i][0]), uart[i][1]);
	return 0;
}
