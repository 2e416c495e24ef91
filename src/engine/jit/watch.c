/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/watch.h"

/* Accessed and dirty: the processor's own. */
#define PTE_NOTES 0x60ull

static bool same(const uint64_t *entry, uint64_t value)
{
	return !((__atomic_load_n(entry, __ATOMIC_ACQUIRE) ^ value) & ~PTE_NOTES);
}

static bool same_top(const struct guest_memory *memory, uint64_t root, unsigned index, uint64_t value)
{
	const uint8_t *host = memory_range(memory, root + 8 * index, 8, false);
	return host && same((const uint64_t *)host, value);
}

bool watch_same_top(const struct watch_path *path, const struct guest_memory *memory, uint64_t root)
{
	return same_top(memory, root, path->index, path->value[0]);
}

static bool add_top(struct watch_list *list, unsigned index, uint64_t value)
{
	for (unsigned i = 0; i < list->tops; i++)
		if (list->top[i].index == index)
			return !((list->top[i].value ^ value) & ~PTE_NOTES);
	if (list->tops == WATCH_TOPS)
		return false;
	list->top[list->tops].index = (uint16_t)index;
	list->top[list->tops++].value = value;
	return true;
}

static bool add(struct watch_list *list, const uint64_t *entry, uint64_t value)
{
	for (unsigned i = 0; i < list->count; i++)
		if (list->watch[i].entry == entry)
			return !((list->watch[i].value ^ value) & ~PTE_NOTES);
	if (list->count == WATCH_MAX)
		return false;
	list->watch[list->count].entry = entry;
	list->watch[list->count++].value = value;
	return true;
}

bool watch_add(struct watch_list *list, const struct watch_path *path)
{
	bool done = add_top(list, path->index, path->value[0]);
	for (unsigned i = 1; done && i < path->count; i++)
		done = add(list, path->entry[i], path->value[i]);
	return done;
}

bool watch_path_holds(const struct watch_path *path)
{
	bool good = true;
	for (unsigned i = 0; i < path->count; i++)
		good &= same(path->entry[i], path->value[i]);
	return good;
}

bool watch_holds(const struct watch_list *list, const struct guest_memory *memory, uint64_t root)
{
	bool good = true;
	for (unsigned i = 0; i < list->tops; i++)
		good &= same_top(memory, root, list->top[i].index, list->top[i].value);
	for (unsigned i = 0; i < list->count; i++)
		good &= same(list->watch[i].entry, list->watch[i].value);
	return good;
}
