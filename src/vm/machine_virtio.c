/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>

#include "base/util.h"
#include "block/block.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/console.h"
#include "dev/virtio/rng.h"
#include "dev/virtio/virtio_pci.h"
#include "host/loop_thread.h"
#include "host/random.h"
#include "vm/machine_parts.h"

/* The virtio devices, one PCI slot each: random numbers, console, disks in the order given. */
struct machine_virtio {
	struct virtio_console *console;
	struct block *disk[MACHINE_MAX_DISKS]; /* belong to their devices, which close them */
	struct loop_thread *thread[MACHINE_MAX_DISKS]; /* serve them, so that neither the host's disks hold up the loop nor the loop them */
};

static struct virtio_device_config device_config(struct machine *m, const char *name)
{
	return (struct virtio_device_config){
		.name = name, .dma = { &m->memory }, .worker = { loop_post, m->loop },
	};
}

/* The device goes onto the list before its transport, which therefore is destroyed first. */
int machine_plug_virtio(struct machine *m, struct virtio_device *device, struct error *err)
{
	machine_add_device(m, &device->device);
	const struct virtio_pci_config config = {
		.bus = m->pci, .devfn = PCI_DEVFN(m->next_slot++, 0), .device = device,
	};
	struct virtio_pci *transport = virtio_pci_create(&config, err);
	if (!transport)
		return -1;
	machine_add_device(m, (struct device *)transport);
	return 0;
}

static size_t entropy(void *opaque, void *buffer, size_t length)
{
	return host_random(buffer, length);
}

static int add_rng(struct machine *m, struct error *err)
{
	const struct virtio_rng_config config = { .device = device_config(m, "virtio-rng"), .entropy = entropy };
	struct virtio_rng *rng = virtio_rng_create(&config, err);
	return rng ? machine_plug_virtio(m, virtio_rng_device(rng), err) : -1;
}

static void console_output(void *opaque, const uint8_t *data, size_t length)
{
	const struct machine_console *console = opaque;
	console->output(console->opaque, data, length);
}

static void console_room(void *opaque)
{
	const struct machine_console *console = opaque;
	if (console->input_ready)
		console->input_ready(console->opaque);
}

static int add_console(struct machine *m, struct error *err)
{
	struct machine_console *back_end = &m->config.console[MACHINE_HVC0];
	if (!back_end->output)
		return 0;
	const struct virtio_console_config config = {
		.device = device_config(m, "virtio-console"), .backend = { console_output, back_end }, .room = { console_room, back_end },
	};
	m->virtio->console = virtio_console_create(&config, err);
	return m->virtio->console ? machine_plug_virtio(m, virtio_console_device(m->virtio->console), err) : -1;
}

static int add_disk(struct machine *m, unsigned index, struct error *err)
{
	const struct machine_disk *disk = &m->config.disks[index];
	char name[24];
	snprintf(name, sizeof(name), "virtio-blk%u", index);
	m->virtio->thread[index] = loop_thread_create(name, err);
	if (!m->virtio->thread[index])
		return -1;
	const struct worker worker = loop_thread_worker(m->virtio->thread[index]);
	struct block *block = machine_open_image(m, disk, &worker, err);
	if (!block)
		return -1;
	struct virtio_blk_config config = { .device = device_config(m, name), .block = block, .cpus = m->cpu_count };
	config.device.worker = worker;
	struct virtio_blk *blk = virtio_blk_create(&config, err);
	if (!blk) {
		block_close(block);
		return -1;
	}
	m->virtio->disk[index] = block;
	m->disk_slot[index] = m->next_slot;
	return machine_plug_virtio(m, virtio_blk_device(blk), err);
}

int machine_add_virtio(struct machine *m, struct error *err)
{
	m->virtio = calloc(1, sizeof(*m->virtio));
	if (!m->virtio)
		return error_set(err, ENOMEM, "out of memory for the virtio devices");
	m->next_slot = FIRST_VIRTIO_SLOT;
	/* Classic has what is on its list, and virtio only where it was asked for. */
	if ((m->config.profile != MACHINE_CLASSIC && add_rng(m, err) < 0) || add_console(m, err) < 0)
		return -1;
	for (unsigned i = 0; i < m->config.disk_count; i++)
		if (m->config.disks[i].bus == MACHINE_DISK_VIRTIO && add_disk(m, i, err) < 0)
			return -1;
	return 0;
}

static void each_thread(const struct machine *m, void (*fn)(struct loop_thread *))
{
	for (unsigned i = 0; m->virtio && i < ARRAY_SIZE(m->virtio->thread); i++)
		if (m->virtio->thread[i])
			fn(m->virtio->thread[i]);
}

void machine_rest_virtio(struct machine *m, bool rest)
{
	each_thread(m, rest ? loop_thread_rest : loop_thread_go_on);
}

void machine_stop_virtio(struct machine *m)
{
	each_thread(m, loop_thread_stop);
}

void machine_remove_virtio(struct machine *m)
{
	each_thread(m, loop_thread_destroy);
	free(m->virtio);
	m->virtio = NULL;
}

void machine_drain_virtio(struct machine *m)
{
	for (unsigned i = 0; m->virtio && i < ARRAY_SIZE(m->virtio->disk); i++)
		if (m->virtio->disk[i]) {
			block_drain(m->virtio->disk[i]);
			block_settle(m->virtio->disk[i]);
		}
}

size_t machine_hvc_input(struct machine *m, const uint8_t *data, size_t size)
{
	return m->virtio->console ? virtio_console_receive(m->virtio->console, data, size) : size;
}
