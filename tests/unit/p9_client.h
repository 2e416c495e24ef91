/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_P9_CLIENT_H
#define VISOR_TESTS_P9_CLIENT_H

/* A client of 9P2000.L that writes messages by a pattern: 1, 2, 4, 8: a number of so many bytes; s: a string; b: bytes, with their count. */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include "base/util.h"
#include "share/p9.h"

enum {
	TSTATFS = 8, TLOPEN = 12, TLCREATE = 14, TSYMLINK = 16, TMKNOD = 18, TRENAME = 20, TREADLINK = 22, TGETATTR = 24, TSETATTR = 26,
	TXATTRWALK = 30, TXATTRCREATE = 32, TREADDIR = 40, TFSYNC = 50, TLOCK = 52, TGETLOCK = 54, TLINK = 70, TMKDIR = 72, TRENAMEAT = 74,
	TUNLINKAT = 76, TVERSION = 100, TATTACH = 104, TFLUSH = 108, TWALK = 110, TREAD = 116, TWRITE = 118, TCLUNK = 120, TREMOVE = 122,
};

struct p9_client {
	struct p9 *p9;
	uint8_t message[70000], reply[70000];
	uint32_t size;
};

static inline uint32_t p9_vwrite(uint8_t *message, uint8_t type, const char *pattern, va_list list)
{
	uint32_t at = 7;
	for (; *pattern; pattern++) {
		const char *text;
		uint64_t number;
		switch (*pattern) {
		case 's':
			text = va_arg(list, const char *);
			store_le16(message + at, (uint16_t)strlen(text));
			memcpy(message + at + 2, text, strlen(text));
			at += 2 + (uint32_t)strlen(text);
			break;
		case 'b':
			text = va_arg(list, const char *);
			number = va_arg(list, unsigned);
			memcpy(message + at, text, number);
			at += (uint32_t)number;
			break;
		default:
			number = *pattern == '8' ? va_arg(list, uint64_t) : va_arg(list, unsigned);
			store_le(message + at, number, (unsigned)(*pattern - '0'));
			at += (uint32_t)(*pattern - '0');
		}
	}
	store_le32(message, at);
	message[4] = type;
	store_le16(message + 5, 0x1234);
	return at;
}

static inline uint32_t p9_write_message(uint8_t *message, uint8_t type, const char *pattern, ...)
{
	va_list list;
	va_start(list, pattern);
	uint32_t size = p9_vwrite(message, type, pattern, list);
	va_end(list);
	return size;
}

/* In pieces of odd sizes, as a driver may give them. */
static inline unsigned p9_pieces(uint8_t *data, uint32_t size, struct iovec *iov)
{
	const uint32_t sizes[] = { 7, 4, 13, 100, 4096, UINT32_MAX };
	unsigned count = 0;
	for (uint32_t at = 0; at < size; count++) {
		uint32_t n = MIN(sizes[count], size - at);
		iov[count] = (struct iovec){ data + at, n };
		at += n;
	}
	return count;
}

/* 0, or the error of the reply; the reply is in client->reply. */
static inline int p9_call(struct p9_client *c, uint8_t type, const char *pattern, ...)
{
	struct iovec out[8], in[8];
	va_list list;
	va_start(list, pattern);
	c->size = p9_vwrite(c->message, type, pattern, list);
	va_end(list);
	memset(c->reply, 0xee, sizeof(c->reply));
	struct p9_request r = { .out = out, .in = in, .out_size = c->size, .in_size = sizeof(c->reply) };
	r.out_count = p9_pieces(c->message, c->size, out);
	r.in_count = p9_pieces(c->reply, sizeof(c->reply), in);
	p9_handle(c->p9, &r);
	if (r.replied < 7 || load_le32(c->reply) != r.replied || load_le16(c->reply + 5) != 0x1234)
		return -1;
	if (c->reply[4] == 7)
		return (int)load_le32(c->reply + 7);
	return c->reply[4] == type + 1 ? 0 : -1;
}

#endif
