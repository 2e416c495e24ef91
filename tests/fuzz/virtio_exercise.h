/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_VIRTIO_EXERCISE_H
#define VISOR_TESTS_VIRTIO_EXERCISE_H

#include "fuzz.h"
#include "small_machine.h"

/*
 * Drivers of virtio devices that do anything. An input is a list of steps of 12 bytes: what, which device, where, two numbers.
 * The devices are brought up first, so that steps reach their rings.
 */
#define EXERCISE_MEMORY SMALL_FREE /* the rings, and buffers behind them */
#define EXERCISE_MEMORY_SIZE 0x80000u
#define EXERCISE_BUFFERS (EXERCISE_MEMORY + 0x60000)
/* All features but event indexes, with which a device need not look at a ring when it is told to. */
#define EXERCISE_FEATURES (0xffffffffu & ~(1u << 29))

enum { REGISTER_WRITE, REGISTER_READ, MEMORY_WRITE, NOTIFY, ADVANCE, CONFIG_WRITE, START, HOST, CHAIN, STEPS };

struct step {
	uint8_t what, device;
	uint16_t where;
	uint32_t a, b;
} __attribute__((packed));

struct exercise {
	unsigned slot;                         /* of the first device */
	unsigned devices;                      /* virtio devices from there on */
	unsigned others;                       /* PCI functions of other kinds behind them */
	void (*host)(const struct step *step); /* HOST: what happens on the other side; may be NULL */
};

/* Carries out all steps, as far as the machine lives. */
void exercise_run(const struct exercise *e, struct machine *m, const uint8_t *data, size_t size);
void exercise_poke(struct machine *m, uint64_t at, uint64_t value, unsigned size);
/* After all that a driver that begins anew is served: a chain of `out` readable bytes (data, or zeros where that is NULL) and `in`
 * writable ones comes back from the queue. */
void exercise_expect_served(struct machine *m, unsigned slot, unsigned queue, const void *data, uint32_t out, uint32_t in);

/* --- seeds --- */
void exercise_add(unsigned what, unsigned device, uint64_t where, uint32_t a, uint32_t b);
/* Bytes in guest memory. */
void exercise_bytes(uint64_t at, const void *data, size_t size);
/* Emits what was added. */
void exercise_done(fuzz_seed_fn *emit, void *opaque, const char *name);

#endif
