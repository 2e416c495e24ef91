/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BASE_UTIL_H
#define VISOR_BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a) - 1))
#define ALIGN_UP(x, a) ALIGN_DOWN((x) + (__typeof__(x))(a) - 1, a)
#define BIT(n) (1u << (n))
#define BIT64(n) (1ull << (n))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

/* size: 1, 2, 4 or 8 bytes */
static inline uint64_t size_mask(unsigned size)
{
	return size >= 8 ? ~0ull : (1ull << (size * 8)) - 1;
}

static inline void cleanup_free_ptr(void *p)
{
	free(*(void **)p);
}
#define cleanup_free __attribute__((cleanup(cleanup_free_ptr)))

/* Little-endian loads and stores at any alignment; the host is x86. */
static inline uint16_t load_le16(const void *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t load_le32(const void *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t load_le64(const void *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline void store_le16(void *p, uint16_t v) { memcpy(p, &v, 2); }
static inline void store_le32(void *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void store_le64(void *p, uint64_t v) { memcpy(p, &v, 8); }

/* The low `size` bytes (1 to 8) at p as a number, and back. */
static inline uint64_t load_le(const void *p, unsigned size)
{
	uint64_t v = 0;
	memcpy(&v, p, size);
	return v;
}

static inline void store_le(void *p, uint64_t v, unsigned size)
{
	memcpy(p, &v, size);
}

/* Big-endian ones. */
static inline uint16_t load_be16(const void *p) { return __builtin_bswap16(load_le16(p)); }
static inline uint32_t load_be32(const void *p) { return __builtin_bswap32(load_le32(p)); }
static inline uint64_t load_be64(const void *p) { return __builtin_bswap64(load_le64(p)); }
static inline void store_be16(void *p, uint16_t v) { store_le16(p, __builtin_bswap16(v)); }
static inline void store_be32(void *p, uint32_t v) { store_le32(p, __builtin_bswap32(v)); }
static inline void store_be64(void *p, uint64_t v) { store_le64(p, __builtin_bswap64(v)); }

static inline uint64_t load_be(const void *p, unsigned size)
{
	return __builtin_bswap64(load_le(p, size)) >> (64 - 8 * size);
}

static inline void store_be(void *p, uint64_t v, unsigned size)
{
	store_le(p, __builtin_bswap64(v << (64 - 8 * size)), size);
}

static inline bool all_zero(const void *data, size_t size)
{
	const uint8_t *p = data;
	return !size || (!*p && !memcmp(p, p + 1, size - 1));
}

/* A character below 0x10000 in UTF-8, up to three bytes; what follows it. */
static inline char *put_utf8(char *to, unsigned c)
{
	if (c < 0x80) {
		*to++ = (char)c;
		return to;
	}
	*to++ = (char)(c < 0x800 ? 0xc0 | c >> 6 : 0xe0 | c >> 12);
	if (c >= 0x800)
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
	*to++ = (char)(0x80 | (c & 0x3f));
	return to;
}

#endif
