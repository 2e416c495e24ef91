/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "dev/virtio/p9.h"
#include "vm/machine_parts.h"

/* The devices of struct machine_services. They come last: in the save file, and on the PCI bus. */
struct services {
	struct virtio_9p *share[MACHINE_MAX_SHARES];
};

static struct virtio_device_config device_config(struct machine *m, const char *name)
{
	return (struct virtio_device_config){ .name = name, .dma = { &m->memory }, .worker = { loop_post, m->loop } };
}

static int add_share(struct machine *m, unsigned index, struct error *err)
{
	const struct machine_share *share = &m->config.services.shares[index];
	const struct p9_config folder = { .path = share->path, .read_only = share->read_only, .worker = { loop_post, m->loop } };
	char name[24];
	snprintf(name, sizeof(name), "virtio-9p%u", index);
	struct p9 *server = p9_create(&folder, err);
	if (!server)
		return -1;
	const struct virtio_9p_config config = { .device = device_config(m, name), .tag = share->tag, .server = server };
	m->services->share[index] = virtio_9p_create(&config, err);
	if (!m->services->share[index]) {
		p9_destroy(server);
		return -1;
	}
	return machine_plug_virtio(m, virtio_9p_device(m->services->share[index]), err);
}

int machine_add_services(struct machine *m, struct error *err)
{
	m->services = calloc(1, sizeof(*m->services));
	if (!m->services)
		return error_set(err, ENOMEM, "out of memory for the machine's services");
	const struct machine_services asked = m->config.services;
	if (services_copy(&m->config.services, &asked, err) < 0)
		return -1;
	for (unsigned i = 0; i < m->config.services.share_count; i++)
		if (add_share(m, i, err) < 0)
			return -1;
	return 0;
}

void machine_remove_services(struct machine *m)
{
	if (m->services) /* else the strings are still the caller's */
		services_free(&m->config.services);
	free(m->services);
	m->services = NULL;
}

int machine_check_saving(struct machine *m, struct error *err)
{
	for (unsigned i = 0; m->services && i < m->config.services.share_count; i++)
		if (virtio_9p_mounted(m->services->share[i]))
			return error_set(err, EBUSY, "the guest has the shared folder '%s' mounted, and its files cannot be saved; unmount it in the "
					 "guest first", m->config.services.shares[i].tag);
	return 0;
}
