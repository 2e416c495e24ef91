/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "base/util.h"
#include "vm/boot.h"

unsigned boot_memory_map(const struct guest_memory *memory, struct boot_range ranges[BOOT_MAX_RANGES])
{
	uint64_t low = MIN(memory->ram_size, MEMORY_LOW_MAX);
	unsigned n = 0;
	ranges[n++] = (struct boot_range){ 0, BOOT_EBDA, RANGE_RAM };
	ranges[n++] = (struct boot_range){ BOOT_EBDA, 0xa0000 - BOOT_EBDA, RANGE_RESERVED };
	ranges[n++] = (struct boot_range){ BOOT_BIOS_AREA, 0x100000 - BOOT_BIOS_AREA, RANGE_RESERVED };
	ranges[n++] = (struct boot_range){ 0x100000, low - 0x100000, RANGE_RAM };
	if (memory->ram_size > low)
		ranges[n++] = (struct boot_range){ MEMORY_HIGH_BASE, memory->ram_size - low, RANGE_RAM };
	return n;
}

void boot_layout_init(struct boot_layout *layout, struct guest_memory *memory)
{
	struct boot_range map[BOOT_MAX_RANGES];
	unsigned count = boot_memory_map(memory, map);
	*layout = (struct boot_layout){ .memory = memory };
	for (unsigned i = 0; i < count; i++)
		if (map[i].type == RANGE_RAM)
			layout->ram[layout->ram_count++] = map[i];
	/* The interrupt vectors and the BIOS data area. */
	layout->taken[layout->taken_count++] = (struct boot_range){ 0, BOOT_LOW_MIN, RANGE_RESERVED };
}

static const struct boot_range *conflict(const struct boot_layout *layout, uint64_t base, uint64_t size)
{
	for (unsigned i = 0; i < layout->taken_count; i++) {
		const struct boot_range *r = &layout->taken[i];
		if (base < r->base + r->size && r->base < base + size)
			return r;
	}
	return NULL;
}

static int take(struct boot_layout *layout, uint64_t base, uint64_t size, const char *what, struct error *err)
{
	if (layout->taken_count == ARRAY_SIZE(layout->taken))
		return error_set(err, ENOEXEC, "%s has too many pieces; the limit is %zu", what, ARRAY_SIZE(layout->taken));
	layout->taken[layout->taken_count++] = (struct boot_range){ base, size, RANGE_RAM };
	return 0;
}

int boot_place(struct boot_layout *layout, uint64_t base, uint64_t size, const char *what, struct error *err)
{
	if (!size)
		return 0;
	bool ram = false;
	for (unsigned i = 0; i < layout->ram_count; i++)
		ram |= base >= layout->ram[i].base &&
		       boot_within(base - layout->ram[i].base, size, layout->ram[i].size);
	if (!ram)
		return error_set(err, ENOMEM, "%s wants 0x%llx bytes at 0x%llx, where the guest has no memory; raise --memory "
				 "(now %llu MiB)", what, (unsigned long long)size, (unsigned long long)base,
				 (unsigned long long)(layout->memory->ram_size >> 20));
	const struct boot_range *other = conflict(layout, base, size);
	if (other)
		return error_set(err, ENOEXEC, "%s wants 0x%llx bytes at 0x%llx, which overlaps what lies at 0x%llx; "
				 "the file is damaged or not made for this machine", what, (unsigned long long)size,
				 (unsigned long long)base, (unsigned long long)other->base);
	return take(layout, base, size, what, err);
}

/* The highest aligned base in [low, high) with `size` free bytes; 0: none. Each conflict moves the
 * candidate below it, so the search ends. */
static uint64_t highest(const struct boot_layout *layout, uint64_t low, uint64_t high, uint64_t size, uint64_t align)
{
	while (high > low && size <= high - low) {
		uint64_t base = ALIGN_DOWN(high - size, align);
		if (base < low)
			return 0;
		const struct boot_range *other = conflict(layout, base, size);
		if (!other)
			return base;
		high = other->base;
	}
	return 0;
}

static uint64_t lowest(const struct boot_layout *layout, uint64_t low, uint64_t high, uint64_t size, uint64_t align)
{
	while (low < high) {
		uint64_t base = ALIGN_UP(low, align);
		if (base < low || !boot_within(base, size, high))
			return 0;
		const struct boot_range *other = conflict(layout, base, size);
		if (!other)
			return base;
		low = other->base + other->size;
	}
	return 0;
}

typedef uint64_t search_fn(const struct boot_layout *, uint64_t, uint64_t, uint64_t, uint64_t);

static uint64_t alloc(struct boot_layout *layout, uint64_t size, uint64_t align, uint64_t min, uint64_t max,
		      const char *what, bool high, struct error *err)
{
	search_fn *search = high ? highest : lowest;
	size = MAX(size, 1);
	for (unsigned i = 0; i < layout->ram_count; i++) {
		const struct boot_range *ram = &layout->ram[high ? layout->ram_count - 1 - i : i];
		uint64_t base = search(layout, MAX(ram->base, min), MIN(ram->base + ram->size, max), size, align);
		if (base)
			return take(layout, base, size, what, err) < 0 ? 0 : base;
	}
	error_set(err, ENOMEM, "no room for %s: %llu KiB wanted below 0x%llx; raise --memory (now %llu MiB)", what,
		  (unsigned long long)((size + 1023) >> 10), (unsigned long long)max,
		  (unsigned long long)(layout->memory->ram_size >> 20));
	return 0;
}

uint64_t boot_alloc_high(struct boot_layout *layout, uint64_t size, uint64_t align, uint64_t min, uint64_t max,
			 const char *what, struct error *err)
{
	return alloc(layout, size, align, min, max, what, true, err);
}

uint64_t boot_alloc_low(struct boot_layout *layout, uint64_t size, uint64_t align, uint64_t min, uint64_t max,
			const char *what, struct error *err)
{
	return alloc(layout, size, align, min, max, what, false, err);
}

/* Whole pages go back to the host, which gives zeroed ones for them when they are touched. */
void boot_zero(struct guest_memory *memory, uint64_t base, uint64_t size)
{
	uint8_t *host = size ? memory_range(memory, base, size, true) : NULL;
	if (!host)
		return;
	uint64_t first = MIN(ALIGN_UP(base, GUEST_PAGE_SIZE) - base, size), end = size - MIN((base + size) & GUEST_PAGE_MASK, size);
	if (first < end && memory_discard(memory, base + first, end - first) < end - first)
		memset(host + first, 0, end - first);
	if (first >= end)
		first = end = size;
	memset(host, 0, first);
	memset(host + end, 0, size - end);
	memory_note_write_slow(memory, memory_offset(memory, host), size);
}

void boot_fill(struct guest_memory *memory, uint64_t base, const void *data, uint64_t size, uint64_t room)
{
	uint8_t *host = room ? memory_range(memory, base, room, true) : NULL;
	if (!host)
		return;
	memory_fill(memory, host, data, size);
	memory_note_write_slow(memory, memory_offset(memory, host), size);
	boot_zero(memory, base + size, room - size);
}

void boot_fill_zeroed(struct guest_memory *memory, uint64_t base, const uint8_t *data, uint64_t size)
{
	uint64_t from = 0;
	for (uint64_t at = 0, step; at < size; at += step) {
		step = MIN(GUEST_PAGE_SIZE - ((base + at) & GUEST_PAGE_MASK), size - at);
		if (all_zero(data + at, step)) {
			boot_fill(memory, base + from, data + from, at - from, at - from);
			from = at + step;
		}
	}
	boot_fill(memory, base + from, data + from, size - from, size - from);
}

uint64_t boot_put_block(struct boot_layout *layout, const void *data, uint64_t size, const char *what, struct error *err)
{
	uint64_t base = boot_alloc_high(layout, size, 16, BOOT_LOW_MIN, BOOT_LOW_MAX, what, err);
	if (base)
		boot_fill(layout->memory, base, data, size, size);
	return base;
}

uint64_t boot_put_string(struct boot_layout *layout, const char *string, const char *what, struct error *err)
{
	return boot_put_block(layout, string, strlen(string) + 1, what, err);
}

int boot_put_gdt(struct boot_layout *layout, struct boot_entry *entry, struct error *err)
{
	/* Null, null, code, data, TSS: the selectors of Linux' __BOOT_CS and __BOOT_DS. */
	const uint64_t gdt[] = {
		0, 0, entry->mode == BOOT_FLAT64 ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull,
		0x00cf93000000ffffull, 0x00008b0000000067ull, 0,
	};
	entry->gdt = boot_put_block(layout, gdt, sizeof(gdt), "the descriptor table", err);
	entry->gdt_limit = sizeof(gdt) - 1;
	return entry->gdt ? 0 : -1;
}
