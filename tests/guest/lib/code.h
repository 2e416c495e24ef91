/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CODE_H
#define CODE_H

/* Code that a guest test makes at run time, random numbers, and what else the tests of translators share. */
#include "guest.h"

/* More often than any translator waits before it takes a block for hot. */
enum { HOT = 12000 };

typedef uint64_t code_fn(uint64_t argument);

/* Appends bytes: PUT(p, 0x90, 0xc3). */
#define PUT(p, ...) \
	do { \
		static const uint8_t bytes_[] = { __VA_ARGS__ }; \
		p = put_bytes(p, bytes_, sizeof(bytes_)); \
	} while (0)

static inline uint8_t *put_bytes(uint8_t *p, const void *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = ((const uint8_t *)from)[i];
	return p + n;
}

static inline uint8_t *put32(uint8_t *p, uint64_t v)
{
	uint32_t low = (uint32_t)v;
	return put_bytes(p, &low, 4);
}

#ifdef __x86_64__
static inline uint8_t *put64(uint8_t *p, uint64_t v)
{
	return put_bytes(p, &v, 8);
}
#endif

/* mov eax, value; ret */
static inline uint8_t *put_return(uint8_t *p, uint32_t value)
{
	*p++ = 0xb8;
	p = put32(p, value);
	*p++ = 0xc3;
	return p;
}

/* A one-byte opcode with rel32: 0xe8 call, 0xe9 jump. */
static inline uint8_t *put_near(uint8_t *p, uint8_t opcode, const void *to)
{
	*p++ = opcode;
	return put32(p, (uint64_t)((const uint8_t *)to - (p + 4)));
}

static inline uint64_t call(const void *code, uint64_t argument)
{
	return ((code_fn *)(uintptr_t)code)(argument);
}

/* Calls code n times; how often it returned something else than `want`. */
static inline uint64_t wrong_calls_with(const void *code, unsigned n, uint64_t argument, uint64_t want)
{
	uint64_t wrong = 0;
	while (n--)
		wrong += call(code, argument) != want;
	return wrong;
}

static inline uint64_t wrong_calls(const void *code, unsigned n, uint64_t want)
{
	return wrong_calls_with(code, n, 0, want);
}

static uint64_t random_state = 0x9e3779b97f4a7c15ull;

static inline uint64_t rnd(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static inline unsigned below(unsigned n)
{
	return (unsigned)(rnd() >> 24) % n;
}

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
