/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "mem/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "mem/log.h"

#define ROM_ROOM (48ull << 20) /* of ROM and of devices' memory */
#define SHADOW_BASE 0xc0000ull
#define SHADOW_SIZE 0x40000ull
#define VGA_HOLE 0xa0000ull

static int slot_add(struct guest_memory *memory, struct memory_slot slot, struct error *err)
{
	if (memory->slot_count == MEMORY_MAX_SLOTS)
		return error_set(err, ENOSPC, "the guest memory map is full (%d slots)", MEMORY_MAX_SLOTS);
	unsigned at = 0;
	while (at < memory->slot_count && memory->slots[at].gpa < slot.gpa)
		at++;
	memmove(memory->slots + at + 1, memory->slots + at, (memory->slot_count - at) * sizeof(slot));
	memory->slots[at] = slot;
	memory->slot_count++;
	return 0;
}

static const char *remedy(int code)
{
	switch (code) {
	case EMFILE: case ENFILE: return "raise the limit of open files (ulimit -n)";
	case EFBIG: return "raise the limit of file sizes (ulimit -f)";
	default: return "use a smaller --memory";
	}
}

static int map_memfd(struct guest_memory *memory, struct error *err)
{
	memory->fd = memfd_create("visor-ram", MFD_CLOEXEC);
	if (memory->fd < 0 || ftruncate(memory->fd, (off_t)memory->size))
		return error_set(err, errno, "cannot make %llu MiB of guest memory: %s; %s",
				 (unsigned long long)(memory->size >> 20), strerror(errno), remedy(errno));
	memory->host = mmap(NULL, memory->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory->fd, 0);
	if (memory->host == MAP_FAILED) {
		memory->host = NULL;
		return error_set(err, errno, "cannot map %llu MiB of guest memory: %s; %s",
				 (unsigned long long)(memory->size >> 20), strerror(errno), remedy(errno));
	}
	return 0;
}

/* One word of mask and one of generation per page, touched only where there is code. */
static void *map_table(uint64_t bytes)
{
	void *table = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return table == MAP_FAILED ? NULL : table;
}

static int add_ram_slots(struct guest_memory *memory, struct error *err)
{
	uint64_t low = MIN(memory->ram_size, MEMORY_LOW_MAX);
	const struct memory_slot slots[] = {
		{ 0, VGA_HOLE, 0, true },
		{ SHADOW_BASE, SHADOW_SIZE, SHADOW_BASE, false },
		{ 1 << 20, low - (1 << 20), 1 << 20, true },
		{ MEMORY_HIGH_BASE, memory->ram_size - low, low, true },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(slots); i++)
		if (slots[i].size && slot_add(memory, slots[i], err) < 0)
			return -1;
	return 0;
}

int memory_init(struct guest_memory *memory, uint64_t ram_size, struct error *err)
{
	return memory_init_for(memory, ram_size, 0, err);
}

int memory_init_for(struct guest_memory *memory, uint64_t ram_size, uint64_t device_size, struct error *err)
{
	*memory = (struct guest_memory){ .fd = -1, .ram_size = ram_size, .size = ram_size + ROM_ROOM + device_size };
	if (ram_size < (2 << 20) || ram_size & ((1 << 20) - 1))
		return error_set(err, EINVAL, "guest memory of %llu bytes is not a whole number of MiB of at least 2",
				 (unsigned long long)ram_size);
	if (map_memfd(memory, err) < 0)
		goto fail;
	uint64_t pages = memory->size >> GUEST_PAGE_SHIFT;
	memory->code_mask = map_table(pages * sizeof(*memory->code_mask));
	memory->code_generation = map_table(pages * sizeof(*memory->code_generation));
	if (!memory->code_mask || !memory->code_generation) {
		error_set(err, ENOMEM, "cannot map the code tables of guest memory: %s", strerror(errno));
		goto fail;
	}
	if (add_ram_slots(memory, err) < 0)
		goto fail;
	return 0;
fail:
	memory_destroy(memory);
	return -1;
}

void memory_destroy(struct guest_memory *memory)
{
	uint64_t pages = memory->size >> GUEST_PAGE_SHIFT;
	memory_log_end(memory);
	if (memory->host)
		munmap(memory->host, memory->size);
	if (memory->code_mask)
		munmap(memory->code_mask, pages * sizeof(*memory->code_mask));
	if (memory->code_generation)
		munmap(memory->code_generation, pages * sizeof(*memory->code_generation));
	if (memory->fd >= 0)
		close(memory->fd);
	*memory = (struct guest_memory){ .fd = -1 };
}

void memory_clear(struct guest_memory *memory)
{
	if (madvise(memory->host, memory->size, MADV_REMOVE) < 0)
		memset(memory->host, 0, memory->size);
	memory_note_write_slow(memory, 0, memory->size);
}

static uint64_t punch(struct guest_memory *memory, uint64_t offset, uint64_t end)
{
	if (offset >= end || fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)(end - offset)) < 0)
		return 0;
	memory_note_write_slow(memory, offset, end - offset);
	return end - offset;
}

uint64_t memory_discard_at(struct guest_memory *memory, uint64_t offset, uint64_t size)
{
	if (offset >= memory->ram_size)
		return 0;
	uint64_t end = ALIGN_DOWN(offset + MIN(size, memory->ram_size - offset), (uint64_t)GUEST_PAGE_SIZE);
	return punch(memory, ALIGN_UP(offset, (uint64_t)GUEST_PAGE_SIZE), end);
}

uint64_t memory_discard(struct guest_memory *memory, uint64_t gpa, uint64_t size)
{
	uint64_t done = 0;
	if (size > UINT64_MAX - gpa)
		size = UINT64_MAX - gpa;
	for (unsigned i = 0; i < memory->slot_count; i++) {
		const struct memory_slot *slot = &memory->slots[i];
		uint64_t first = MAX(gpa, slot->gpa), end = MIN(gpa + size, slot->gpa + slot->size);
		if (slot->writable && first < end)
			done += memory_discard_at(memory, slot->offset + (first - slot->gpa), end - first);
	}
	return done;
}

uint64_t memory_resident(const struct guest_memory *memory)
{
	struct stat st;
	return fstat(memory->fd, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

uint64_t memory_next_used(const struct guest_memory *memory, uint64_t offset)
{
	off_t at = lseek(memory->fd, (off_t)offset, SEEK_DATA);
	if (at < 0)
		return errno == ENXIO ? memory->size : offset;
	return ALIGN_DOWN((uint64_t)at, GUEST_PAGE_SIZE);
}

static uint64_t rom_room(const struct guest_memory *memory)
{
	return memory->size - memory->ram_size - memory->rom_size;
}

int memory_add_rom(struct guest_memory *memory, uint64_t end, const void *data, size_t size, struct error *err)
{
	uint64_t length = ALIGN_UP((uint64_t)size, GUEST_PAGE_SIZE);
	if (length > rom_room(memory) || length > end)
		return error_set(err, EFBIG, "a ROM of %zu bytes is too large; the limit is %llu", size,
				 (unsigned long long)rom_room(memory));
	uint64_t offset = memory->ram_size + memory->rom_size;
	if (slot_add(memory, (struct memory_slot){ end - length, length, offset, false }, err) < 0)
		return -1;
	memcpy(memory->host + offset + length - size, data, size);
	memory->rom_size += length;
	return 0;
}

struct memory_aperture *memory_add_aperture(struct guest_memory *memory, uint64_t size, struct error *err)
{
	if (memory->aperture_count == MEMORY_MAX_APERTURES || size > rom_room(memory)) {
		error_set(err, ENOSPC, "no room for %llu MiB of device memory", (unsigned long long)(size >> 20));
		return NULL;
	}
	struct memory_aperture *aperture = &memory->apertures[memory->aperture_count++];
	*aperture = (struct memory_aperture){ .gpa = MEMORY_NOWHERE, .size = size, .offset = memory->ram_size + memory->rom_size };
	memory->rom_size += size;
	return aperture;
}

void memory_discard_aperture(struct guest_memory *memory, const struct memory_aperture *aperture, uint64_t at, uint64_t size)
{
	uint64_t from = aperture->offset + at;
	if (!punch(memory, from, from + size))
		memset(memory->host + from, 0, size);
}

void memory_move_aperture(struct guest_memory *memory, struct memory_aperture *aperture, uint64_t gpa)
{
	if (atomic_exchange(&aperture->gpa, gpa) != gpa && memory->changed)
		memory->changed(memory->changed_opaque);
}

void memory_put_behind(struct guest_memory *memory, struct memory_aperture *aperture, bool behind)
{
	if (atomic_exchange(&aperture->behind, behind) != behind && memory->changed)
		memory->changed(memory->changed_opaque);
}

static struct memory_slot *slot_find(const struct guest_memory *memory, uint64_t gpa)
{
	/* Most of what is looked for lies in the last ones: RAM above the ROMs below 1 MiB. */
	for (unsigned i = memory->slot_count; i-- > 0;) {
		const struct memory_slot *slot = &memory->slots[i];
		if (gpa - slot->gpa < slot->size)
			return (struct memory_slot *)slot;
	}
	return NULL;
}

/* Cuts the slot in two at gpa, unless a slot begins there. */
static int slot_split(struct guest_memory *memory, uint64_t gpa, struct error *err)
{
	struct memory_slot *slot = slot_find(memory, gpa);
	if (!slot || slot->gpa == gpa)
		return 0;
	struct memory_slot upper = *slot;
	uint64_t head = gpa - slot->gpa;
	upper.gpa += head;
	upper.offset += head;
	upper.size -= head;
	if (memory->slot_count == MEMORY_MAX_SLOTS)
		return error_set(err, ENOSPC, "the guest memory map is full");
	slot->size = head;
	return slot_add(memory, upper, err);
}

int memory_set_writable(struct guest_memory *memory, uint64_t gpa, uint64_t size, bool writable, struct error *err)
{
	if (slot_split(memory, gpa, err) < 0 || slot_split(memory, gpa + size, err) < 0)
		return -1;
	for (unsigned i = 0; i < memory->slot_count; i++) {
		struct memory_slot *slot = &memory->slots[i];
		if (slot->gpa >= gpa && slot->gpa < gpa + size)
			slot->writable = writable;
	}
	if (memory->changed)
		memory->changed(memory->changed_opaque);
	return 0;
}

/* Its size and offset never change, so whatever place is read, the host address is right. */
static uint8_t *in_aperture(const struct guest_memory *memory, uint64_t gpa, uint64_t size, bool *writable)
{
	for (unsigned i = 0; i < memory->aperture_count; i++) {
		const struct memory_aperture *aperture = &memory->apertures[i];
		uint64_t place = atomic_load_explicit((_Atomic uint64_t *)&aperture->gpa, memory_order_relaxed), at = gpa - place;
		if (place == MEMORY_NOWHERE || at >= aperture->size || size > aperture->size - at)
			continue;
		*writable = !aperture->read_only;
		return memory->host + aperture->offset + at;
	}
	return NULL;
}

uint8_t *memory_page(const struct guest_memory *memory, uint64_t gpa, bool *writable)
{
	const struct memory_slot *slot = slot_find(memory, gpa);
	if (!slot)
		return in_aperture(memory, ALIGN_DOWN(gpa, GUEST_PAGE_SIZE), GUEST_PAGE_SIZE, writable);
	*writable = slot->writable;
	return memory->host + slot->offset + (ALIGN_DOWN(gpa, GUEST_PAGE_SIZE) - slot->gpa);
}

uint8_t *memory_range(const struct guest_memory *memory, uint64_t gpa, uint64_t size, bool for_write)
{
	const struct memory_slot *slot = slot_find(memory, gpa);
	if (!slot) {
		bool writable;
		uint8_t *at = in_aperture(memory, gpa, size, &writable);
		return at && for_write && !writable ? NULL : at;
	}
	if ((for_write && !slot->writable) || size > slot->size - (gpa - slot->gpa))
		return NULL;
	return memory->host + slot->offset + (gpa - slot->gpa);
}

bool memory_read(const struct guest_memory *memory, uint64_t gpa, void *buffer, uint64_t size)
{
	bool all = true;
	for (uint8_t *to = buffer; size;) {
		uint64_t chunk = MIN(size, GUEST_PAGE_SIZE - (gpa & GUEST_PAGE_MASK));
		bool writable;
		const uint8_t *page = memory_page(memory, gpa, &writable);
		if (page)
			memcpy(to, page + (gpa & GUEST_PAGE_MASK), chunk);
		else
			memset(to, 0xff, chunk);
		all &= page != NULL;
		to += chunk;
		gpa += chunk;
		size -= chunk;
	}
	return all;
}

bool memory_write(struct guest_memory *memory, uint64_t gpa, const void *buffer, uint64_t size)
{
	bool all = true;
	for (const uint8_t *from = buffer; size;) {
		uint64_t chunk = MIN(size, GUEST_PAGE_SIZE - (gpa & GUEST_PAGE_MASK));
		bool writable = false;
		uint8_t *page = memory_page(memory, gpa, &writable);
		if (page && writable) {
			memcpy(page + (gpa & GUEST_PAGE_MASK), from, chunk);
			memory_note_write_slow(memory, memory_offset(memory, page) + (gpa & GUEST_PAGE_MASK), chunk);
		}
		all &= page && writable;
		from += chunk;
		gpa += chunk;
		size -= chunk;
	}
	return all;
}

/* By the file: pages that nobody touched yet need neither a fault each nor zeroes first. */
void memory_fill(const struct guest_memory *memory, uint8_t *host, const void *data, uint64_t size)
{
	ssize_t done = size >= 16 * GUEST_PAGE_SIZE ? pwrite(memory->fd, data, size, (off_t)memory_offset(memory, host)) : 0;
	uint64_t filled = done > 0 ? (uint64_t)done : 0;
	memcpy(host + filled, (const uint8_t *)data + filled, size - filled);
}

/* Bits of the 64-byte granules that [at, at+length) touches within a page. */
static uint64_t granules(unsigned at, unsigned length)
{
	unsigned first = at >> 6, last = (at + length - 1) >> 6;
	return (~0ull << first) & (~0ull >> (63 - last));
}

/* An odd generation: another thread is between the two halves of forget_code. */
static uint32_t even_generation(struct guest_memory *memory, uint64_t page)
{
	uint32_t generation;
	for (unsigned spins = 0; (generation = memory->code_generation[page]) & 1; spins++) {
		if (spins > 100)
			sched_yield();
		else
			__builtin_ia32_pause();
	}
	return generation;
}

/*
 * Marks go and the generation moves on, as one step to others. A thread that finds no mark where it has written code that it had run
 * before must find the generation changed, and one that decodes meanwhile must not keep its mark's loss unseen: the generation is odd
 * while marks are cleared, and nobody marks then. Marks of other granules stay: a thread whose code lies there must see its own next
 * store to it as one to code, for it may not have heard of this one yet.
 */
static void forget_code(struct guest_memory *memory, uint64_t page, uint64_t bits)
{
	uint32_t generation;
	do
		generation = even_generation(memory, page);
	while (!atomic_compare_exchange_weak(&memory->code_generation[page], &generation, generation + 1));
	memory->code_mask[page] &= ~bits;
	memory->code_generation[page] = generation + 2;
}

bool memory_mark_code(struct guest_memory *memory, uint64_t offset, unsigned length)
{
	uint64_t bits = granules(offset & GUEST_PAGE_MASK, length);
	even_generation(memory, offset >> GUEST_PAGE_SHIFT);
	return atomic_fetch_or(&memory->code_mask[offset >> GUEST_PAGE_SHIFT], bits) == 0;
}

bool memory_note_write_slow(struct guest_memory *memory, uint64_t offset, uint64_t length)
{
	bool hit = false;
	/* The data is stored before the mask is looked at; whoever decodes marks before it reads. */
	atomic_thread_fence(memory_order_seq_cst);
	memory_log_note(memory, offset, length);
	while (length) {
		unsigned at = offset & GUEST_PAGE_MASK;
		uint64_t chunk = MIN(length, GUEST_PAGE_SIZE - at);
		uint64_t page = offset >> GUEST_PAGE_SHIFT;
		if (memory->code_mask[page] & granules(at, (unsigned)chunk)) {
			forget_code(memory, page, granules(at, (unsigned)chunk));
			hit = true;
		}
		offset += chunk;
		length -= chunk;
	}
	if (hit && memory->code_written)
		memory->code_written(memory->changed_opaque);
	return hit;
}
