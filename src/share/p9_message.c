/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/util.h"
#include "share/p9_server.h"

uint64_t get(struct cursor *c, unsigned size)
{
	if (c->bad || c->size - c->at < size) {
		c->bad = true;
		return 0;
	}
	uint64_t value = load_le(c->data + c->at, size);
	c->at += size;
	return value;
}

/* The text moves down over its own length, which makes room for the zero. */
const char *get_string(struct cursor *c)
{
	uint32_t length = (uint32_t)get(c, 2);
	if (c->bad || c->size - c->at < length || memchr(c->data + c->at, 0, length)) {
		c->bad = true;
		return NULL;
	}
	char *text = (char *)c->data + c->at - 1;
	memmove(text, text + 1, length);
	text[length] = 0;
	c->at += length;
	return text;
}

void put(struct cursor *c, uint64_t value, unsigned size)
{
	if (c->bad || c->size - c->at < size) {
		c->bad = true;
		return;
	}
	store_le(c->data + c->at, value, size);
	c->at += size;
}

void put_string(struct cursor *c, const char *text, size_t length)
{
	put(c, length, 2);
	if (c->bad || length > UINT16_MAX || c->size - c->at < length) {
		c->bad = true;
		return;
	}
	memcpy(c->data + c->at, text, length);
	c->at += (uint32_t)length;
}

/* Numbers of files are unique on one file system; what is mounted below the folder has others, told apart by the high bits. */
uint64_t qid_path(const struct p9_server *s, dev_t dev, ino_t ino)
{
	return dev == s->root_dev ? ino : ino ^ ((uint64_t)dev * 0x9e3779b97f4a7c15ull & ~0ull << 40);
}

uint8_t qid_type(mode_t mode)
{
	return S_ISDIR(mode) ? 0x80 : S_ISLNK(mode) ? 0x02 : 0;
}

/* The version changes with the file, for clients that keep its data. */
void put_qid(struct cursor *c, const struct p9_server *s, const struct stat *st)
{
	put(c, qid_type(st->st_mode), 1);
	put(c, (uint32_t)((uint64_t)st->st_mtim.tv_sec * 1000003u + (uint64_t)st->st_mtim.tv_nsec + (uint64_t)st->st_size), 4);
	put(c, qid_path(s, st->st_dev, st->st_ino), 8);
}
