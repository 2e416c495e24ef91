/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "dev/net/e1000.h"
#include "dev/net/pcnet.h"
#include "dev/virtio/net.h"
#include "vm/machine_parts.h"
#include "vm/nic.h"

/* The network cards, one PCI slot each, and the networks that they are plugged into. */

static uint64_t machine_time(void *opaque)
{
	return vclock_now(opaque);
}

static int add_virtio(struct machine *m, unsigned index, struct net *net, struct error *err)
{
	char name[24];
	snprintf(name, sizeof(name), "virtio-net%u", index);
	struct virtio_net_config config = {
		.device = { .name = name, .dma = { &m->memory }, .worker = { loop_post, m->loop } }, .net = net, .cpus = m->cpu_count,
	};
	memcpy(config.mac, m->config.nics[index].mac, sizeof(config.mac));
	struct virtio_net *card = virtio_net_create(&config, err);
	if (!card) {
		net_close(net);
		return -1;
	}
	m->nets[index] = net;
	return machine_plug_virtio(m, virtio_net_device(card), err);
}

static const struct {
	const char *name;
	nic_create_fn *create;
} cards[MACHINE_NIC_MODELS] = {
	[MACHINE_NIC_E1000] = { "e1000-", e1000_create },
	[MACHINE_NIC_PCNET] = { "pcnet", pcnet_create },
};

static int add_card(struct machine *m, unsigned index, struct net *net, struct error *err)
{
	const struct machine_nic *nic = &m->config.nics[index];
	char name[24];
	snprintf(name, sizeof(name), "%s%u", cards[nic->model].name, index);
	struct nic_config config = {
		.name = name, .bus = m->pci, .devfn = PCI_DEVFN(m->next_slot++, 0), .dma = { &m->memory }, .worker = { loop_post, m->loop },
		.clock = &m->clock, .net = net,
	};
	memcpy(config.mac, nic->mac, sizeof(config.mac));
	struct device *card = cards[nic->model].create(&config, err);
	if (!card) {
		net_close(net);
		return -1;
	}
	m->nets[index] = net;
	machine_add_device(m, card);
	return 0;
}

static struct net *open_net(struct machine *m, unsigned index, struct error *err)
{
	const struct machine_nic *nic = &m->config.nics[index];
	const char *capture = m->config.capture;
	char owner[16], path[4096];
	snprintf(owner, sizeof(owner), "net%u", index);
	if (capture && index) {
		if (snprintf(path, sizeof(path), "%s.%u", capture, index) >= (int)sizeof(path)) {
			error_set(err, ENAMETOOLONG, "the capture file's name is too long");
			return NULL;
		}
		capture = path;
	}
	struct net_config config = {
		.kind = nic->kind, .mode = nic->mode, .name = nic->name[0] ? nic->name : NULL, .owner = owner, .capture = capture,
		.tftp = nic->tftp[0] ? nic->tftp : NULL, .boot_file = nic->boot_file[0] ? nic->boot_file : NULL,
		.jumbo = nic->model == MACHINE_NIC_VIRTIO, .worker = { loop_post, m->loop }, .loop = m->loop,
		.now = machine_time, .now_opaque = &m->clock,
	};
	memcpy(config.mac, nic->mac, sizeof(config.mac));
	return net_open(&config, err);
}

static int add_nic(struct machine *m, unsigned index, struct error *err)
{
	const struct machine_nic *nic = &m->config.nics[index];
	struct net *net = open_net(m, index, err);
	if (!net)
		return -1;
	for (unsigned i = 0; i < nic->forward_count; i++) {
		if (net_add_forward(net, &nic->forwards[i], err) < 0) {
			net_close(net);
			return -1;
		}
	}
	m->nic_slot[index] = m->next_slot;
	return nic->model == MACHINE_NIC_VIRTIO ? add_virtio(m, index, net, err) : add_card(m, index, net, err);
}

int machine_add_nics(struct machine *m, struct error *err)
{
	for (unsigned i = 0; i < m->config.nic_count; i++)
		if (add_nic(m, i, err) < 0)
			return -1;
	return 0;
}

struct net *machine_net(struct machine *m, unsigned index)
{
	return index < MACHINE_MAX_NICS ? m->nets[index] : NULL;
}

void machine_nic(const struct machine *m, unsigned index, struct machine_nic *nic)
{
	*nic = m->config.nics[index];
	nic->forward_count = 0;
	while (nic->forward_count < MACHINE_MAX_FORWARDS &&
	       net_get_forward(m->nets[index], nic->forward_count, &nic->forwards[nic->forward_count]))
		nic->forward_count++;
}

json_t *machine_nets_json(struct machine *m)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < m->config.nic_count; i++) {
		struct machine_nic nic;
		struct net_stats stats;
		machine_nic(m, i, &nic);
		json_t *json = nic_json(&nic);
		net_get_stats(m->nets[i], &stats);
		json_object_update_new(json, json_pack("{s:I, s:I, s:I, s:I, s:I}", "sent", (json_int_t)stats.sent, "sent_bytes",
						       (json_int_t)stats.sent_bytes, "received", (json_int_t)stats.received, "received_bytes",
						       (json_int_t)stats.received_bytes, "dropped", (json_int_t)stats.dropped));
		json_array_append_new(list, json);
	}
	return list;
}
