/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/flash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

/* Commands (Intel 28F640J5 data sheet, 4.0). */
enum {
	CMD_PROGRAM_ALTERNATE = 0x10, CMD_ERASE = 0x20, CMD_PROGRAM = 0x40, CMD_CLEAR_STATUS = 0x50, CMD_READ_STATUS = 0x70,
	CMD_READ_ID = 0x90, CMD_CONFIRM = 0xd0, CMD_READ_ARRAY = 0xff,
};

#define STATUS_READY 0x80u
#define STATUS_ERASE_ERROR 0x20u
#define STATUS_PROGRAM_ERROR 0x10u
#define MANUFACTURER 0x89u
#define DEVICE_ID 0x18u

enum mode { MODE_ARRAY, MODE_STATUS, MODE_ID, MODE_PROGRAM, MODE_ERASE, MODES };

struct flash {
	struct device device;
	struct guest_memory *ram;
	struct io_space *mmio;
	struct memory_aperture *aperture;
	uint8_t *array;
	struct io_region region;
	void (*changed)(void *opaque, uint32_t offset, uint32_t size);
	void *opaque;
	uint8_t mode, status;
};

/* In array mode the memory is seen, else this device. */
static void enter(struct flash *flash, enum mode mode)
{
	flash->mode = (uint8_t)mode;
	memory_move_aperture(flash->ram, flash->aperture, mode == MODE_ARRAY ? flash->region.base : MEMORY_NOWHERE);
}

static void change(struct flash *flash, uint32_t offset, uint32_t size)
{
	memory_note_write_slow(flash->ram, memory_offset(flash->ram, flash->array + offset), size);
	if (flash->changed)
		flash->changed(flash->opaque, offset, size);
}

/* Programming clears bits; only an erasure sets them. */
static void program(struct flash *flash, uint32_t offset, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		flash->array[offset + i] &= (uint8_t)(value >> (8 * i));
	change(flash, offset, size);
	flash->status |= STATUS_READY;
	enter(flash, MODE_STATUS);
}

static void erase(struct flash *flash, uint32_t offset, uint8_t confirmation)
{
	offset = ALIGN_DOWN(offset, FLASH_BLOCK);
	flash->status |= STATUS_READY;
	if (confirmation == CMD_CONFIRM) {
		memset(flash->array + offset, 0xff, FLASH_BLOCK);
		change(flash, offset, FLASH_BLOCK);
	} else {
		flash->status |= STATUS_ERASE_ERROR | STATUS_PROGRAM_ERROR; /* a wrong sequence of commands */
	}
	enter(flash, MODE_STATUS);
}

static void command(struct flash *flash, uint8_t code)
{
	switch (code) {
	case CMD_PROGRAM: case CMD_PROGRAM_ALTERNATE: enter(flash, MODE_PROGRAM); break;
	case CMD_ERASE: enter(flash, MODE_ERASE); break;
	case CMD_READ_STATUS: enter(flash, MODE_STATUS); break;
	case CMD_READ_ID: enter(flash, MODE_ID); break;
	case CMD_CLEAR_STATUS:
		/* The ready bit as well, which a real part shows all the time: OVMF takes a part for flash by this value. */
		flash->status = 0;
		enter(flash, MODE_ARRAY);
		break;
	default: enter(flash, MODE_ARRAY);
	}
}

static uint64_t flash_read(void *opaque, uint64_t offset, unsigned size)
{
	struct flash *flash = opaque;
	switch (flash->mode) {
	case MODE_ARRAY: return load_le(flash->array + offset, size);
	case MODE_ID: return offset & 0xff ? offset & 0xfe ? 0 : DEVICE_ID : MANUFACTURER;
	default: return flash->status;
	}
}

static void flash_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct flash *flash = opaque;
	switch (flash->mode) {
	case MODE_PROGRAM: program(flash, (uint32_t)offset, value, size); break;
	case MODE_ERASE: erase(flash, (uint32_t)offset, (uint8_t)value); break;
	default: command(flash, (uint8_t)value);
	}
}

static const struct io_ops flash_ops = { flash_read, flash_write, 8 };

static const struct field fields[] = {
	FIELD(struct flash, mode),
	FIELD(struct flash, status),
	FIELD_END
};

static void reset(void *device)
{
	enter(device, MODE_ARRAY);
}

static int loaded(void *device, struct error *err)
{
	struct flash *flash = device;
	if (flash->mode >= MODES)
		return error_set(err, EINVAL, "the flash memory's mode cannot be; the file is damaged");
	enter(flash, flash->mode);
	return 0;
}

static void destroy(void *device)
{
	struct flash *flash = device;
	io_space_unmap(flash->mmio, &flash->region);
	free(flash);
}

static const struct device_type flash_type = {
	.name = "flash",
	.fields = fields,
	.reset = reset,
	.loaded = loaded,
	.destroy = destroy,
};

struct flash *flash_create(const struct flash_config *config, struct error *err)
{
	struct flash *flash = calloc(1, sizeof(*flash));
	if (!flash || config->size % FLASH_BLOCK) {
		error_set(err, flash ? EINVAL : ENOMEM, flash ? "a flash memory of %u bytes is no number of blocks" :
			  "out of memory for the flash memory", config->size);
		free(flash);
		return NULL;
	}
	device_init(&flash->device, &flash_type, "flash", config->lock);
	flash->ram = config->memory;
	flash->mmio = config->mmio;
	flash->changed = config->changed;
	flash->opaque = config->opaque;
	flash->aperture = memory_add_aperture(config->memory, config->size, err);
	flash->region = (struct io_region){
		.name = "flash", .ops = &flash_ops, .opaque = flash, .lock = config->lock, .base = config->base, .size = config->size,
	};
	if (!flash->aperture || io_space_map(flash->mmio, &flash->region, err) < 0) {
		free(flash);
		return NULL;
	}
	flash->aperture->read_only = true;
	flash->array = config->memory->host + flash->aperture->offset;
	memcpy(flash->array, config->content, config->size);
	return flash;
}

void flash_copy(struct flash *flash, uint32_t offset, void *to, uint32_t size)
{
	lock_take(flash->device.lock);
	memcpy(to, flash->array + offset, size);
	lock_release(flash->device.lock);
}
