/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_MEM_MEMORY_H
#define VISOR_MEM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * Guest-physical memory: one memfd, mapped once, holds RAM and ROM. Slots say
 * where pieces of it appear in the guest-physical space; what no slot covers is
 * device space. A page of the memfd is named by its offset.
 *
 * Translated or decoded code: `code_mask` has one word per page, one bit for
 * each 64 bytes that some engine has decoded; `code_generation` counts up when
 * such bytes are written (by 2: see forget_code). Whoever writes guest memory other than by a vCPU's fast
 * path calls memory_note_write.
 */
#define GUEST_PAGE_SHIFT 12
#define GUEST_PAGE_SIZE 4096u
#define GUEST_PAGE_MASK 4095u

#define MEMORY_LOW_MAX 0xc0000000ull /* RAM above this continues at 4 GiB: room for PCI */
#define MEMORY_HIGH_BASE 0x100000000ull

struct memory_slot {
	uint64_t gpa, size;  /* bytes, whole pages */
	uint64_t offset;     /* in the memfd */
	bool writable;
};

#define MEMORY_MAX_SLOTS 32

struct memory_log;

/* A piece of the memfd that a device shows at a place that the guest may change at any time. Slots come before it. */
struct memory_aperture {
	_Atomic uint64_t gpa;  /* MEMORY_NOWHERE: not shown */
	uint64_t size, offset;
	bool read_only;        /* writes go to the device */
	_Atomic bool behind;   /* the device changes it by posted writes (bus/space.h): an engine that lets them wait sends accesses to the device */
	_Atomic(struct memory_log *) log; /* mem/log.h; NULL: nobody has asked yet */
};

#define MEMORY_MAX_APERTURES 4
#define MEMORY_NOWHERE UINT64_MAX

struct guest_memory {
	int fd;
	uint8_t *host;          /* the mapping of the whole memfd */
	uint64_t size;          /* of the memfd: RAM, then ROM */
	uint64_t ram_size;
	uint64_t rom_size;      /* used part of the ROM area, which is all behind RAM */
	struct memory_slot slots[MEMORY_MAX_SLOTS]; /* sorted by gpa */
	unsigned slot_count;
	struct memory_aperture apertures[MEMORY_MAX_APERTURES];
	unsigned aperture_count;
	_Atomic uint64_t *code_mask;
	_Atomic uint32_t *code_generation;
	_Atomic uint32_t code_protecting; /* vCPUs that may be about to protect a page from stores, see mmu_mark_code */
	/* Called after the first code of a page (memfd offset) was marked, before it is read: an engine that lets guests write by
	 * other ways than the TLB stops that. */
	void (*code_marked)(void *opaque, uint64_t offset);
	void *code_marked_opaque;
	/* Called after decoded code was overwritten, on the thread that did it; engines that chain code need it. */
	void (*code_written)(void *opaque);
	/* Called after the slots changed: every TLB over this memory must be flushed. */
	void (*changed)(void *opaque);
	/* For logs (mem/log.h): sets bit n for each page n of the aperture that processors have written since the last call; any thread.
	 * False: that is not known. NULL: it never is. */
	bool (*written)(void *opaque, const struct memory_aperture *aperture, uint64_t *pages);
	void *changed_opaque;
};

/* ram_size: bytes, a multiple of 1 MiB. Slots: [0, 640K), [1M, low end), [4G, ...); 0xc0000..0xfffff is
 * RAM that starts read-only (PAM opens it). */
int memory_init(struct guest_memory *memory, uint64_t ram_size, struct error *err);
/* The same with room for `device_size` bytes of devices' apertures more than what a PC's want. */
int memory_init_for(struct guest_memory *memory, uint64_t ram_size, uint64_t device_size, struct error *err);
void memory_destroy(struct guest_memory *memory);

/* All bytes of RAM and ROM become zero, and their memory goes back to the host. */
void memory_clear(struct guest_memory *memory);

/* RAM in [gpa, gpa + size) reads as zero from now on, and its memory goes back to the host; whole pages of it alone. Returns how many
 * bytes. Whatever shows the memory (windows, TLBs, queues' pointers) goes on showing it: the place stays, and is filled anew when it is
 * touched. From any thread. */
uint64_t memory_discard(struct guest_memory *memory, uint64_t gpa, uint64_t size);
/* The same by offset in the memfd. */
uint64_t memory_discard_at(struct guest_memory *memory, uint64_t offset, uint64_t size);

/* Bytes of the host's memory that guest memory takes now. */
uint64_t memory_resident(const struct guest_memory *memory);

/* Where at or after `offset` (in the memfd) something was ever written, in whole pages: what lies before reads as zero, but
 * reading it would make the host allocate it. memory->size: nowhere. */
uint64_t memory_next_used(const struct guest_memory *memory, uint64_t offset);

/* Puts a copy of `size` bytes into ROM that ends at `end` (exclusive guest-physical address). */
int memory_add_rom(struct guest_memory *memory, uint64_t end, const void *data, size_t size, struct error *err);

/* Takes `size` bytes, whole pages, for an aperture, which is shown nowhere yet. Before the machine runs. */
struct memory_aperture *memory_add_aperture(struct guest_memory *memory, uint64_t size, struct error *err);
/* What is in [at, at + size) of an aperture, whole pages, reads as zero from now on, and its memory goes back to the host. */
void memory_discard_aperture(struct guest_memory *memory, const struct memory_aperture *aperture, uint64_t at, uint64_t size);
/* Sets `behind`; for more see below. */
void memory_put_behind(struct guest_memory *memory, struct memory_aperture *aperture, bool behind);
/* From any thread; a vCPU other than the one that asked may still see the old place for a moment. */
void memory_move_aperture(struct guest_memory *memory, struct memory_aperture *aperture, uint64_t gpa);

/* Makes [gpa, gpa+size), whole pages of one existing slot, writable or not; splits the slot as needed. */
int memory_set_writable(struct guest_memory *memory, uint64_t gpa, uint64_t size, bool writable, struct error *err);

/* The host address of the page that holds gpa, or NULL when that is device space. *writable: a guest's write
 * takes effect (ROM swallows it). */
uint8_t *memory_page(const struct guest_memory *memory, uint64_t gpa, bool *writable);

/* The host address of [gpa, gpa+size) when it lies in one slot, else NULL. */
uint8_t *memory_range(const struct guest_memory *memory, uint64_t gpa, uint64_t size, bool for_write);

/* Copies; device space reads as all ones and swallows writes. Returns false when any byte was not memory. */
bool memory_read(const struct guest_memory *memory, uint64_t gpa, void *buffer, uint64_t size);
bool memory_write(struct guest_memory *memory, uint64_t gpa, const void *buffer, uint64_t size);

/* Copies much to `host`, an address in guest memory. memory_note_write_slow is the caller's. */
void memory_fill(const struct guest_memory *memory, uint8_t *host, const void *data, uint64_t size);

/* Marks decoded code at [offset, +length) inside one page; true when the page had none before: then
 * TLB entries that allow fast writes to it must go before the bytes are read. */
bool memory_mark_code(struct guest_memory *memory, uint64_t offset, unsigned length);

/* After (or just before) a write to [offset, +length): invalidates code there; true when there was some. */
bool memory_note_write_slow(struct guest_memory *memory, uint64_t offset, uint64_t length);

static inline bool memory_page_has_code(const struct guest_memory *memory, uint64_t offset)
{
	return __atomic_load_n((const uint64_t *)&memory->code_mask[offset >> GUEST_PAGE_SHIFT], __ATOMIC_RELAXED) != 0;
}

/* The same by host address, for whoever wrote through a pointer. */
static inline uint64_t memory_offset(const struct guest_memory *memory, const void *host)
{
	return (uint64_t)((const uint8_t *)host - memory->host);
}

/* Where the count of overwritten code is for the page that has the byte at `host`. */
static inline const _Atomic uint32_t *memory_generation(const struct guest_memory *memory, const void *host)
{
	return &memory->code_generation[memory_offset(memory, host) >> GUEST_PAGE_SHIFT];
}

static inline bool memory_is_host(const struct guest_memory *memory, const void *host)
{
	return memory_offset(memory, host) < memory->size;
}

#endif
