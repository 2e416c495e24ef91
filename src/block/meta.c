/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/meta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define BUCKETS 4096u
#define MAX_BYTES (32u << 20)  /* clean pages go when there are more */
#define MAX_DIRTY (8u << 20)
#define RUN 64u                /* pages written by one call */

struct page {
	struct page *next;          /* in its bucket */
	struct page *newer, *older; /* by last use */
	uint64_t at;
	bool dirty;
	enum meta_stage stage;
	uint8_t data[];
};

struct meta {
	struct hostfile *file;
	unsigned page_size, count, dirty[META_STAGES];
	struct page *newest, *oldest;
	struct page *buckets[BUCKETS];
};

struct meta *meta_create(struct hostfile *file, unsigned page_size)
{
	struct meta *meta = calloc(1, sizeof(*meta));
	if (meta) {
		meta->file = file;
		meta->page_size = page_size;
	}
	return meta;
}

void meta_destroy(struct meta *meta)
{
	if (!meta)
		return;
	for (struct page *page = meta->newest, *older; page; page = older) {
		older = page->older;
		free(page);
	}
	free(meta);
}

static struct page **bucket_of(struct meta *meta, uint64_t at)
{
	return &meta->buckets[(at / meta->page_size * 0x9e3779b97f4a7c15ull) >> 52];
}

static void list_take_out(struct meta *meta, struct page *page)
{
	*(page->newer ? &page->newer->older : &meta->newest) = page->older;
	*(page->older ? &page->older->newer : &meta->oldest) = page->newer;
}

static void list_put_first(struct meta *meta, struct page *page)
{
	page->newer = NULL;
	page->older = meta->newest;
	*(meta->newest ? &meta->newest->newer : &meta->oldest) = page;
	meta->newest = page;
}

static void drop(struct meta *meta, struct page *page)
{
	struct page **link = bucket_of(meta, page->at);
	while (*link != page)
		link = &(*link)->next;
	*link = page->next;
	list_take_out(meta, page);
	if (page->dirty)
		meta->dirty[page->stage]--;
	meta->count--;
	free(page);
}

static void make_room(struct meta *meta)
{
	unsigned looks = 64; /* dirty ones stay; the next call goes on */
	for (struct page *page = meta->oldest, *newer; page && looks-- && (uint64_t)meta->count * meta->page_size >= MAX_BYTES; page = newer) {
		newer = page->newer;
		if (!page->dirty)
			drop(meta, page);
	}
}

static struct page *find(struct meta *meta, uint64_t at)
{
	struct page *page = *bucket_of(meta, at);
	while (page && page->at != at)
		page = page->next;
	return page;
}

static int get(struct meta *meta, uint64_t at, struct page **result)
{
	at = ALIGN_DOWN(at, (uint64_t)meta->page_size);
	struct page *page = find(meta, at);
	if (!page) {
		make_room(meta);
		page = malloc(sizeof(*page) + meta->page_size);
		if (!page)
			return ENOMEM;
		*page = (struct page){ .at = at };
		int error = hostfile_read(meta->file, page->data, meta->page_size, at);
		if (error) {
			free(page);
			return error;
		}
		struct page **bucket = bucket_of(meta, at);
		page->next = *bucket;
		*bucket = page;
		meta->count++;
		list_put_first(meta, page);
	} else if (meta->newest != page) {
		list_take_out(meta, page);
		list_put_first(meta, page);
	}
	*result = page;
	return 0;
}

int meta_load(struct meta *meta, uint64_t at, const uint8_t **bytes, unsigned *left)
{
	struct page *page;
	int error = get(meta, at, &page);
	if (error)
		return error;
	unsigned skip = (unsigned)(at - page->at);
	*bytes = page->data + skip;
	*left = meta->page_size - skip;
	return 0;
}

int meta_store(struct meta *meta, uint64_t at, const void *bytes, unsigned count, enum meta_stage stage)
{
	struct page *page;
	int error = get(meta, at, &page);
	if (error)
		return error;
	memcpy(page->data + (at - page->at), bytes, count);
	if (page->dirty)
		meta->dirty[page->stage]--;
	page->dirty = true;
	page->stage = stage;
	meta->dirty[stage]++;
	return 0;
}

void meta_forget(struct meta *meta, uint64_t at, uint64_t length)
{
	for (uint64_t p = ALIGN_DOWN(at, (uint64_t)meta->page_size); p < at + length; p += meta->page_size) {
		struct page *page = find(meta, p);
		if (page)
			drop(meta, page);
	}
}

bool meta_is_dirty(const struct meta *meta)
{
	return meta->dirty[META_COUNTS] || meta->dirty[META_MAP];
}

bool meta_is_full(const struct meta *meta)
{
	return (uint64_t)(meta->dirty[META_COUNTS] + meta->dirty[META_MAP]) * meta->page_size > MAX_DIRTY;
}

static int by_place(const void *a, const void *b)
{
	uint64_t x = (*(struct page *const *)a)->at, y = (*(struct page *const *)b)->at;
	return x < y ? -1 : x > y;
}

/* Pages that follow one another go out together. */
static int write_run(struct meta *meta, struct page **pages, unsigned count)
{
	struct iovec iov[RUN];
	for (unsigned i = 0; i < count; i++)
		iov[i] = (struct iovec){ pages[i]->data, meta->page_size };
	int error = hostfile_writev(meta->file, iov, count, 0, (uint64_t)count * meta->page_size, pages[0]->at);
	for (unsigned i = 0; i < count && !error; i++) {
		pages[i]->dirty = false;
		meta->dirty[pages[i]->stage]--;
	}
	return error;
}

static int write_stage(struct meta *meta, enum meta_stage stage)
{
	unsigned count = 0, n = meta->dirty[stage];
	if (!n)
		return 0;
	cleanup_free struct page **pages = malloc(n * sizeof(*pages));
	if (!pages)
		return ENOMEM;
	for (struct page *page = meta->newest; page; page = page->older)
		if (page->dirty && page->stage == stage)
			pages[count++] = page;
	qsort(pages, count, sizeof(*pages), by_place);
	for (unsigned i = 0, run; i < count; i += run) {
		for (run = 1; i + run < count && run < RUN && pages[i + run]->at == pages[i]->at + (uint64_t)run * meta->page_size;)
			run++;
		int error = write_run(meta, pages + i, run);
		if (error)
			return error;
	}
	return 0;
}

int meta_sync(struct meta *meta, bool ordered)
{
	int error = write_stage(meta, META_COUNTS);
	if (!error && ordered && meta->dirty[META_MAP])
		error = hostfile_sync(meta->file);
	if (!error)
		error = write_stage(meta, META_MAP);
	return error ? error : hostfile_sync(meta->file);
}
