/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_BOOT_H
#define VISOR_VM_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "cpu/cpu.h"
#include "mem/memory.h"

/*
 * Direct boot: a kernel's file image is laid into guest memory as its own boot
 * protocol wants it. The images are hostile input: every loader is a function of bytes
 * and guest memory alone, checks each offset before it is used, and writes only
 * where boot_place or boot_alloc gave it room.
 */
struct boot_image {
	const char *name;    /* for messages: the path */
	const uint8_t *data; /* NULL: there is none */
	size_t size;
};

struct boot_request {
	struct guest_memory *memory;
	struct boot_image kernel, initrd;
	const char *cmdline; /* NULL counts as empty */
	bool guest_unpacks;  /* a Linux kernel is left to unpack itself, wherever its KASLR puts it */
	uint64_t rsdp;       /* guest-physical address of the ACPI root pointer, 0: none */
};

enum boot_mode {
	BOOT_FLAT32, /* protected mode, paging off, flat 4 GiB segments */
	BOOT_FLAT64, /* 64-bit mode over identity-mapping page tables at cr3 */
};

/* The state of the first processor at the kernel's entry. */
struct boot_entry {
	enum boot_mode mode;
	uint64_t rip, rax, rbx, rsi;
	uint64_t cr3;
	uint64_t gdt;
	uint16_t gdt_limit;
};

/* Finds out by content which protocol the kernel speaks (Linux boot protocol 2.06 or later, PVH, Multiboot 1), loads it with its
 * initrd and command line, and says how it is to be entered. */
int boot_load(const struct boot_request *request, struct boot_entry *entry, struct error *err);

/* Puts a processor, fresh from cpu_reset, there. */
void boot_enter(const struct boot_entry *entry, struct cpu *cpu);

/* --- the memory map as firmware would tell it --- */
enum { RANGE_RAM = 1, RANGE_RESERVED = 2 }; /* ACPI 6.4, 15: address range types */

struct boot_range {
	uint64_t base, size;
	uint32_t type;
};
#define BOOT_MAX_RANGES 8

/* Fills ranges in ascending order; returns their number. */
unsigned boot_memory_map(const struct guest_memory *memory, struct boot_range ranges[BOOT_MAX_RANGES]);

#define BOOT_EBDA 0x9fc00ull     /* the last KiB under 640 KiB: where BIOS keeps its data */
#define BOOT_BIOS_AREA 0xe0000ull /* ACPI and SMBIOS tables of direct boot */

/* --- shared by the loaders --- */

/* What of guest RAM is given away. */
struct boot_layout {
	struct guest_memory *memory;
	struct boot_range ram[BOOT_MAX_RANGES];
	unsigned ram_count;
	struct boot_range taken[64];
	unsigned taken_count;
};

void boot_layout_init(struct boot_layout *layout, struct guest_memory *memory);
/* Takes [base, base+size) for `what`; an error when that is no RAM or taken already. */
int boot_place(struct boot_layout *layout, uint64_t base, uint64_t size, const char *what, struct error *err);
/* Finds and takes free room within [min, max): the highest, or the lowest there is. align: a power of two. 0: no room, err is set. */
uint64_t boot_alloc_high(struct boot_layout *layout, uint64_t size, uint64_t align, uint64_t min, uint64_t max,
			 const char *what, struct error *err);
uint64_t boot_alloc_low(struct boot_layout *layout, uint64_t size, uint64_t align, uint64_t min, uint64_t max,
			const char *what, struct error *err);
#define BOOT_LOW_MIN 0x1000ull
#define BOOT_LOW_MAX BOOT_EBDA

/* Puts bytes, then zeros up to `room`, into guest RAM that was placed before. */
void boot_fill(struct guest_memory *memory, uint64_t base, const void *data, uint64_t size, uint64_t room);
/* [base, base+size) of guest RAM reads as zero. */
void boot_zero(struct guest_memory *memory, uint64_t base, uint64_t size);
/* Puts bytes where it does so already: whole pages of zeroes among them are passed over. */
void boot_fill_zeroed(struct guest_memory *memory, uint64_t base, const uint8_t *data, uint64_t size);
/* A copy of a small structure under 640 KiB, 16-byte aligned; its address or 0. */
uint64_t boot_put_block(struct boot_layout *layout, const void *data, uint64_t size, const char *what, struct error *err);
/* A string under 640 KiB, with its NUL; the address or 0. */
uint64_t boot_put_string(struct boot_layout *layout, const char *string, const char *what, struct error *err);
/* The descriptor table of entry->mode: code 0x10, data 0x18, TSS 0x20. */
int boot_put_gdt(struct boot_layout *layout, struct boot_entry *entry, struct error *err);

/* True when [offset, offset+size) lies within an object of `total` bytes; no overflow. */
static inline bool boot_within(uint64_t offset, uint64_t size, uint64_t total)
{
	return offset <= total && size <= total - offset;
}

/* Each protocol: whether the image is its own, and the loading. */
bool boot_is_linux(const struct boot_image *image);
int boot_load_linux(const struct boot_request *request, struct boot_entry *entry, struct error *err);
bool boot_is_pvh(const struct boot_image *image);
int boot_load_pvh(const struct boot_request *request, struct boot_entry *entry, struct error *err);
bool boot_is_multiboot(const struct boot_image *image);
int boot_load_multiboot(const struct boot_request *request, struct boot_entry *entry, struct error *err);

#endif
