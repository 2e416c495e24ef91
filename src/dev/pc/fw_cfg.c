/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/fw_cfg.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

#define PORT_SELECTOR 0x510u
#define PORT_DMA 0x514u
#define KEY_SIGNATURE 0x00u
#define KEY_ID 0x01u
#define KEY_WRITE BIT(14)   /* once a write access by the data port; keys ignore it */
#define KEY_ARCH BIT(15)
#define MAX_ITEMS 64u
#define NAME_SIZE 56u
#define DIRECTORY_ENTRY 64u

#define ID_TRADITIONAL BIT(0)
#define ID_DMA BIT(1)
#define DMA_SIGNATURE 0x51454d5520434647ull /* "QEMU CFG" */
#define DMA_ERROR BIT(0)
#define DMA_READ BIT(1)
#define DMA_SKIP BIT(2)
#define DMA_SELECT BIT(3)
#define DMA_WRITE BIT(4)

struct item {
	char name[NAME_SIZE];    /* empty for items by key */
	uint16_t key;
	uint8_t *data;
	size_t length;
	bool writable;           /* then the data is the owner's */
	void (*written)(void *opaque, size_t offset, size_t length);
	void *opaque;
};

struct fw_cfg {
	struct device device;
	uint16_t selector;
	uint32_t offset;
	uint64_t dma_address;    /* its upper half is written first, the lower starts the transfer */
	struct item items[MAX_ITEMS];
	unsigned count;
	struct fw_cfg_config handles;
	struct io_region selector_region, dma_region;
};

static struct item *find(struct fw_cfg *fw_cfg, unsigned key)
{
	key &= ~KEY_WRITE;
	for (unsigned i = 0; i < fw_cfg->count; i++)
		if (fw_cfg->items[i].key == key)
			return &fw_cfg->items[i];
	return NULL;
}

/* --- Access by the guest. --- */

static void select_item(struct fw_cfg *fw_cfg, uint16_t key)
{
	fw_cfg->selector = key;
	fw_cfg->offset = 0;
}

/* What is there to transfer of the next `length` bytes. */
static size_t available(const struct fw_cfg *fw_cfg, const struct item *item, size_t length)
{
	if (!item || fw_cfg->offset >= item->length)
		return 0;
	return MIN(length, item->length - fw_cfg->offset);
}

static uint8_t read_byte(struct fw_cfg *fw_cfg)
{
	const struct item *item = find(fw_cfg, fw_cfg->selector);
	return available(fw_cfg, item, 1) ? item->data[fw_cfg->offset++] : 0;
}

/* Beyond the item's end a read gives zeros. */
static bool dma_read(struct fw_cfg *fw_cfg, const struct item *item, uint64_t address, uint32_t length)
{
	static const uint8_t zeros[4096];
	size_t there = available(fw_cfg, item, length);
	bool good = !there || memory_write(fw_cfg->handles.memory, address, item->data + fw_cfg->offset, there);
	for (uint64_t done = there; good && done < length;) {
		size_t chunk = MIN(length - done, sizeof(zeros));
		good = memory_write(fw_cfg->handles.memory, address + done, zeros, chunk);
		done += chunk;
	}
	return good;
}

static bool dma_write(struct fw_cfg *fw_cfg, struct item *item, uint64_t address, uint32_t length)
{
	size_t there = available(fw_cfg, item, length);
	if (!item || !item->writable || there != length)
		return false;
	if (!memory_read(fw_cfg->handles.memory, address, item->data + fw_cfg->offset, there))
		return false;
	if (item->written)
		item->written(item->opaque, fw_cfg->offset, there);
	return true;
}

/* struct FWCfgDmaAccess, all big-endian: control (4 bytes), length (4), address (8). */
static void dma_run(struct fw_cfg *fw_cfg, uint64_t at)
{
	uint8_t access[16];
	bool good = memory_read(fw_cfg->handles.memory, at, access, sizeof(access));
	uint32_t control = (uint32_t)load_be(access, 4), length = (uint32_t)load_be(access + 4, 4);
	uint64_t address = load_be(access + 8, 8);
	if (!good)
		return;
	if (control & DMA_SELECT)
		select_item(fw_cfg, (uint16_t)(control >> 16));
	struct item *item = find(fw_cfg, fw_cfg->selector);
	if (control & DMA_READ)
		good = dma_read(fw_cfg, item, address, length);
	else if (control & DMA_WRITE)
		good = dma_write(fw_cfg, item, address, length);
	if (control & (DMA_READ | DMA_WRITE | DMA_SKIP))
		fw_cfg->offset += (uint32_t)available(fw_cfg, item, length);
	store_be(access, good ? 0 : DMA_ERROR, 4);
	memory_write(fw_cfg->handles.memory, at, access, 4);
}

static uint64_t selector_read(void *opaque, uint64_t offset, unsigned size)
{
	return offset ? read_byte(opaque) : 0;
}

/* The selector takes 16 bits; the data port is read-only. */
static void selector_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	if (!offset)
		select_item(opaque, (uint16_t)value);
}

static uint64_t dma_port_read(void *opaque, uint64_t offset, unsigned size)
{
	uint8_t bytes[8];
	uint64_t value = 0;
	store_be(bytes, DMA_SIGNATURE, 8);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)bytes[offset + i] << 8 * i;
	return value;
}

static void dma_port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct fw_cfg *fw_cfg = opaque;
	uint8_t bytes[8];
	store_be(bytes, fw_cfg->dma_address, 8);
	for (unsigned i = 0; i < size; i++)
		bytes[offset + i] = (uint8_t)(value >> 8 * i);
	fw_cfg->dma_address = load_be(bytes, 8);
	if (offset + size == 8) {
		uint64_t at = fw_cfg->dma_address;
		fw_cfg->dma_address = 0;
		dma_run(fw_cfg, at);
	}
}

static const struct io_ops selector_ops = { selector_read, selector_write, 2 };
static const struct io_ops dma_ops = { dma_port_read, dma_port_write, 4 };

/* --- Contents. --- */

static struct item *add(struct fw_cfg *fw_cfg, unsigned key, size_t length, struct error *err)
{
	if (fw_cfg->count == MAX_ITEMS || length > UINT32_MAX) {
		error_set(err, ENOSPC, "fw_cfg: no room for item 0x%x of %zu bytes", key, length);
		return NULL;
	}
	struct item *item = &fw_cfg->items[fw_cfg->count++];
	*item = (struct item){ .key = (uint16_t)key, .length = length };
	return item;
}

static int fill(struct fw_cfg *fw_cfg, struct item *item, const void *data, size_t length, struct error *err)
{
	item->data = malloc(length ? length : 1);
	if (!item->data) {
		fw_cfg->count--;
		return error_set(err, ENOMEM, "fw_cfg: out of memory for an item of %zu bytes", length);
	}
	memcpy(item->data, data, length);
	return 0;
}

int fw_cfg_add_item(struct fw_cfg *fw_cfg, unsigned key, const void *data, size_t length, struct error *err)
{
	if (key >= FW_CFG_FILE_DIR && (key & ~(KEY_ARCH | 0xffu) || !(key & KEY_ARCH)))
		return error_set(err, EINVAL, "fw_cfg: key 0x%x is outside of the range for items", key);
	if (find(fw_cfg, key))
		return error_set(err, EEXIST, "fw_cfg: there is already an item 0x%x", key);
	struct item *item = add(fw_cfg, key, length, err);
	return item ? fill(fw_cfg, item, data, length, err) : -1;
}

/* Files are sorted by name; their keys follow that order, the directory is written anew. */
static int write_directory(struct fw_cfg *fw_cfg, struct error *err)
{
	struct item *sorted[MAX_ITEMS], *directory = find(fw_cfg, FW_CFG_FILE_DIR);
	unsigned n = 0;
	for (unsigned i = 0; i < fw_cfg->count; i++) {
		if (!fw_cfg->items[i].name[0])
			continue;
		unsigned at = n++;
		for (; at && strcmp(sorted[at - 1]->name, fw_cfg->items[i].name) > 0; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = &fw_cfg->items[i];
	}
	uint8_t *data = calloc(1, 4 + n * DIRECTORY_ENTRY);
	if (!data)
		return error_set(err, ENOMEM, "fw_cfg: out of memory for the file directory");
	store_be(data, n, 4);
	for (unsigned i = 0; i < n; i++) {
		uint8_t *entry = data + 4 + i * DIRECTORY_ENTRY;
		sorted[i]->key = (uint16_t)(FW_CFG_FILE_FIRST + i);
		store_be(entry, sorted[i]->length, 4);
		store_be(entry + 4, sorted[i]->key, 2);
		memcpy(entry + 8, sorted[i]->name, NAME_SIZE);
	}
	free(directory->data);
	directory->data = data;
	directory->length = 4 + n * DIRECTORY_ENTRY;
	return 0;
}

static struct item *add_file(struct fw_cfg *fw_cfg, const char *name, size_t length, struct error *err)
{
	if (!name[0] || strlen(name) >= NAME_SIZE) {
		error_set(err, EINVAL, "fw_cfg: file name '%s' is not of 1 to %u characters", name, NAME_SIZE - 1);
		return NULL;
	}
	for (unsigned i = 0; i < fw_cfg->count; i++)
		if (!strcmp(fw_cfg->items[i].name, name)) {
			error_set(err, EEXIST, "fw_cfg: there is already a file '%s'", name);
			return NULL;
		}
	struct item *item = add(fw_cfg, 0, length, err);
	if (item) {
		item->key = 0xffff; /* until the directory gives it one */
		memcpy(item->name, name, strlen(name));
	}
	return item;
}

int fw_cfg_add_file(struct fw_cfg *fw_cfg, const char *name, const void *data, size_t length, struct error *err)
{
	struct item *item = add_file(fw_cfg, name, length, err);
	if (!item || fill(fw_cfg, item, data, length, err) < 0)
		return -1;
	return write_directory(fw_cfg, err);
}

int fw_cfg_add_writable(struct fw_cfg *fw_cfg, const char *name, void *data, size_t length,
			void (*written)(void *opaque, size_t offset, size_t length), void *opaque, struct error *err)
{
	struct item *item = add_file(fw_cfg, name, length, err);
	if (!item)
		return -1;
	item->data = data;
	item->writable = true;
	item->written = written;
	item->opaque = opaque;
	return write_directory(fw_cfg, err);
}

/* --- Life. --- */

static const struct field fw_cfg_fields[] = {
	FIELD(struct fw_cfg, selector),
	FIELD(struct fw_cfg, offset),
	FIELD(struct fw_cfg, dma_address),
	FIELD_END
};

static void fw_cfg_destroy(void *device)
{
	struct fw_cfg *fw_cfg = device;
	io_space_unmap(fw_cfg->handles.ports, &fw_cfg->selector_region);
	io_space_unmap(fw_cfg->handles.ports, &fw_cfg->dma_region);
	for (unsigned i = 0; i < fw_cfg->count; i++)
		if (!fw_cfg->items[i].writable)
			free(fw_cfg->items[i].data);
	free(fw_cfg);
}

static const struct device_type fw_cfg_type = {
	.name = "fw_cfg",
	.fields = fw_cfg_fields,
	.destroy = fw_cfg_destroy,
};

static int add_builtin(struct fw_cfg *fw_cfg, struct error *err)
{
	const uint8_t id[4] = { ID_TRADITIONAL | ID_DMA };
	struct item *directory = add(fw_cfg, FW_CFG_FILE_DIR, 0, err);
	if (!directory || write_directory(fw_cfg, err) < 0)
		return -1;
	if (fw_cfg_add_item(fw_cfg, KEY_SIGNATURE, "QEMU", 4, err) < 0)
		return -1;
	return fw_cfg_add_item(fw_cfg, KEY_ID, id, sizeof(id), err);
}

struct fw_cfg *fw_cfg_create(const struct fw_cfg_config *config, struct error *err)
{
	struct fw_cfg *fw_cfg = calloc(1, sizeof(*fw_cfg));
	if (!fw_cfg) {
		error_set(err, ENOMEM, "fw_cfg: out of memory");
		return NULL;
	}
	device_init(&fw_cfg->device, &fw_cfg_type, "fw_cfg", config->lock);
	fw_cfg->handles = *config;
	fw_cfg->selector_region = (struct io_region){ "fw_cfg", &selector_ops, fw_cfg, config->lock,
						      .base = PORT_SELECTOR, .size = 2 };
	fw_cfg->dma_region = (struct io_region){ "fw_cfg dma", &dma_ops, fw_cfg, config->lock,
						 .base = PORT_DMA, .size = 8 };
	if (add_builtin(fw_cfg, err) < 0 || io_space_map(config->ports, &fw_cfg->selector_region, err) < 0 ||
	    io_space_map(config->ports, &fw_cfg->dma_region, err) < 0) {
		fw_cfg_destroy(fw_cfg);
		return NULL;
	}
	return fw_cfg;
}
