/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/pc/flash.h"
#include "host/file.h"
#include "vm/machine_parts.h"

/*
 * OVMF: its code is ROM that ends at 4 GiB, its variables are a flash memory right below, kept in a file
 * of the machine's. What the guest writes there goes to the file on the loop's thread, soon, in the
 * order of the ranges that changed meanwhile.
 */
#define IMAGE_MAX (16u << 20)

static const struct { const char *code, *variables; } images[] = {
	{ "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd" },
	{ "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd" },
	{ "/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd" },
};

struct uefi {
	struct machine *machine;
	struct flash *flash;
	int fd;                   /* of the variables' file; -1: they are not kept */
	uint32_t size;
	/* Under the board's lock: what the file does not have yet. */
	uint32_t dirty_from, dirty_to;
	bool posted;
};

static void store(struct uefi *uefi)
{
	struct error err;
	lock_take(&uefi->machine->board_lock);
	uint32_t from = uefi->dirty_from, size = uefi->dirty_to - from;
	uefi->posted = false;
	uefi->dirty_from = uefi->dirty_to = 0;
	cleanup_free uint8_t *copy = size ? malloc(size) : NULL;
	if (copy)
		flash_copy(uefi->flash, from, copy, size);
	lock_release(&uefi->machine->board_lock);
	if (copy && file_write_at(uefi->fd, from, copy, size, &err) < 0)
		log_error("the UEFI variables are not kept: %s: %s", uefi->machine->config.uefi_vars, err.text);
}

static void store_posted(void *opaque)
{
	store(opaque);
}

/* On a vCPU's thread, the board's lock taken. */
static void changed(void *opaque, uint32_t offset, uint32_t size)
{
	struct uefi *uefi = opaque;
	if (uefi->fd < 0)
		return;
	bool none = uefi->dirty_from == uefi->dirty_to;
	uefi->dirty_from = none ? offset : MIN(uefi->dirty_from, offset);
	uefi->dirty_to = none ? offset + size : MAX(uefi->dirty_to, offset + size);
	if (!uefi->posted)
		loop_post(uefi->machine->loop, store_posted, uefi);
	uefi->posted = true;
}

static int find_images(struct error *err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(images); i++)
		if (access(images[i].code, R_OK) == 0 && access(images[i].variables, R_OK) == 0)
			return (int)i;
	return error_set(err, ENOENT, "no UEFI firmware found (%s); install it with 'apt install ovmf'", images[0].code);
}

/* The machine's variables, or the firmware's first ones for a machine that has none yet. */
static uint8_t *read_variables(struct uefi *uefi, const char *template, struct error *err)
{
	const char *path = uefi->machine->config.uefi_vars;
	size_t size, kept;
	uint8_t *first = file_read(template, IMAGE_MAX, &size, err);
	if (!first)
		return NULL;
	uefi->size = (uint32_t)size;
	if (!path)
		return first;
	uefi->fd = file_open_kept(path, first, size, err);
	uint8_t *mine = uefi->fd >= 0 ? file_read(path, IMAGE_MAX, &kept, err) : NULL;
	free(first);
	if (mine && kept == size)
		return mine;
	if (mine)
		error_set(err, EINVAL, "'%s' has %zu bytes, but this firmware's variables take %zu; move it away to begin anew", path, kept, size);
	free(mine);
	error_prefix(err, "UEFI variables");
	return NULL;
}

static int add_flash(struct machine *m, int image, struct error *err)
{
	struct uefi *uefi = m->uefi;
	cleanup_free uint8_t *content = read_variables(uefi, images[image].variables, err);
	if (!content)
		return -1;
	struct flash_config config = {
		.lock = &m->board_lock, .mmio = &m->mmio, .memory = &m->memory, .size = uefi->size,
		.base = MEMORY_HIGH_BASE - m->bios.size - uefi->size, .content = content, .changed = changed, .opaque = uefi,
	};
	uefi->flash = flash_create(&config, err);
	if (!uefi->flash)
		return -1;
	machine_add_device(m, (struct device *)uefi->flash);
	return 0;
}

int machine_add_uefi(struct machine *m, struct error *err)
{
	if (!m->config.uefi)
		return 0;
	m->uefi = calloc(1, sizeof(*m->uefi));
	if (!m->uefi)
		return error_set(err, ENOMEM, "out of memory for the firmware");
	m->uefi->machine = m;
	m->uefi->fd = -1;
	int image = find_images(err);
	m->bios.data = image < 0 ? NULL : file_read(images[image].code, IMAGE_MAX, &m->bios.size, err);
	return m->bios.data ? add_flash(m, image, err) : -1;
}

void machine_remove_uefi(struct machine *m)
{
	struct uefi *uefi = m->uefi;
	if (!uefi)
		return;
	if (uefi->fd >= 0)
		close(uefi->fd);
	free(uefi);
	m->uefi = NULL;
}

void machine_store_uefi(struct machine *m)
{
	if (m->uefi && m->uefi->fd >= 0 && m->uefi->flash)
		store(m->uefi);
}
