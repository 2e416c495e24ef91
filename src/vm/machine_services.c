/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/pc/pvpanic.h"
#include "dev/pci/i6300esb.h"
#include "dev/virtio/balloon.h"
#include "dev/virtio/input.h"
#include "dev/virtio/p9.h"
#include "dev/virtio/vsock.h"
#include "vm/machine_parts.h"

#define MAX_GRIEFS 16 /* lines in the log: a guest can provoke them without end */
#define BALLOON_LEAST (16ull << 20) /* with less no Linux goes on */

/* The devices of struct machine_services. They come last: in the save file, and on the PCI bus. */
struct services {
	struct virtio_9p *share[MACHINE_MAX_SHARES];
	struct virtio_balloon *balloon;
	struct virtio_input *keyboard, *tablet;
	_Atomic unsigned griefs; /* how often the watchdog or the guest's panic was heard of */
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

static int add_balloon(struct machine *m, struct error *err)
{
	if (!m->config.services.balloon)
		return 0;
	const struct virtio_balloon_config config = { .device = device_config(m, "virtio-balloon"), .clock = &m->clock };
	m->services->balloon = virtio_balloon_create(&config, err);
	return m->services->balloon ? machine_plug_virtio(m, virtio_balloon_device(m->services->balloon), err) : -1;
}

static int add_vsock(struct machine *m, struct error *err)
{
	const struct machine_services *s = &m->config.services;
	if (!s->vsock_cid)
		return 0;
	struct streams *streams = streams_create(s->vsock_path, m->loop, err);
	if (!streams)
		return error_prefix(err, "vsock");
	const struct virtio_vsock_config config = { .device = device_config(m, "virtio-vsock"), .cid = s->vsock_cid, .streams = streams };
	struct virtio_vsock *vsock = virtio_vsock_create(&config, err);
	if (!vsock) {
		streams_destroy(streams);
		return -1;
	}
	return machine_plug_virtio(m, virtio_vsock_device(vsock), err);
}

static struct virtio_input *add_one_input(struct machine *m, const char *name, enum virtio_input_kind kind, struct error *err)
{
	const struct virtio_input_config config = { .device = device_config(m, name), .kind = kind };
	struct virtio_input *input = virtio_input_create(&config, err);
	return input && machine_plug_virtio(m, virtio_input_device(input), err) == 0 ? input : NULL;
}

static int add_input(struct machine *m, struct error *err)
{
	if (!m->config.services.input)
		return 0;
	m->services->keyboard = add_one_input(m, "virtio-keyboard", VIRTIO_INPUT_KEYBOARD, err);
	if (!m->services->keyboard)
		return -1;
	m->services->tablet = add_one_input(m, "virtio-tablet", VIRTIO_INPUT_TABLET, err);
	return m->services->tablet ? 0 : -1;
}

bool machine_virtio_key(struct machine *m, unsigned code, bool down)
{
	struct virtio_input *keyboard = m->services->keyboard;
	if (!keyboard || !virtio_input_driven(keyboard))
		return false;
	virtio_input_key(keyboard, code, down);
	return true;
}

bool machine_virtio_pointer(struct machine *m, unsigned x, unsigned y, int wheel, unsigned buttons)
{
	struct virtio_input *tablet = m->services->tablet;
	if (!tablet || !virtio_input_driven(tablet))
		return false;
	virtio_input_pointer(tablet, x, y, wheel, buttons);
	return true;
}

static void act(struct machine *m, enum machine_action action, const char *what)
{
	static const struct { enum machine_request request; const char *text; } actions[MACHINE_ACTIONS] = {
		[ACTION_NONE] = { 0, "" }, [ACTION_RESET] = { REQUEST_RESET, "; the machine was reset" },
		[ACTION_POWER_OFF] = { REQUEST_POWER_OFF, "; the machine was powered off" },
		[ACTION_PAUSE] = { REQUEST_HOLD, "; the machine is paused, 'visor resume' lets it go on" },
	};
	char text[128];
	snprintf(text, sizeof(text), "%s%s", what, actions[action].text);
	if (m->services->griefs++ < MAX_GRIEFS)
		log_warn("%s", text);
	if (action != ACTION_NONE)
		machine_request(m, actions[action].request, text);
}

static void watchdog_expired(void *opaque)
{
	struct machine *m = opaque;
	act(m, m->config.services.on_watchdog, "the watchdog's time is over");
}

static int add_watchdog(struct machine *m, struct error *err)
{
	if (!m->config.services.watchdog)
		return 0;
	const struct i6300esb_config config = {
		.bus = m->pci, .devfn = PCI_DEVFN(m->next_slot++, 0), .clock = &m->clock, .expired = watchdog_expired, .opaque = m,
	};
	struct i6300esb *watchdog = i6300esb_create(&config, err);
	if (!watchdog)
		return -1;
	machine_add_device(m, (struct device *)watchdog);
	return 0;
}

static void panic_event(void *opaque, unsigned events)
{
	struct machine *m = opaque;
	if (events & PVPANIC_PANICKED) {
		if (!atomic_exchange(&m->panicked, true))
			act(m, m->config.services.on_panic, "the guest's kernel has panicked");
	} else {
		act(m, ACTION_NONE, "the guest's kernel has crashed and starts its kernel for crashes");
	}
}

static int add_pvpanic(struct machine *m, struct error *err)
{
	const struct pvpanic_config config = { .lock = &m->board_lock, .ports = &m->ports, .event = panic_event, .opaque = m };
	struct pvpanic *pvpanic = pvpanic_create(&config, err);
	if (!pvpanic)
		return -1;
	machine_add_device(m, (struct device *)pvpanic);
	return 0;
}

int machine_set_balloon(struct machine *m, uint64_t memory, struct error *err)
{
	struct virtio_balloon_state state;
	if (!m->services->balloon)
		return error_set(err, ENODEV, "the machine has no balloon; start it without --no-balloon");
	if (memory > m->config.memory || memory < BALLOON_LEAST)
		return error_set(err, EINVAL, "the guest can have from %llu to %llu MiB of memory", BALLOON_LEAST >> 20,
				 (unsigned long long)(m->config.memory >> 20));
	virtio_balloon_query(m->services->balloon, &state);
	if (!state.driver)
		return error_set(err, EAGAIN, "the guest has no driver for the balloon (virtio_balloon) running, so its memory stays as it is");
	virtio_balloon_set(m->services->balloon, m->config.memory - memory);
	return 0;
}

json_t *machine_balloon_json(struct machine *m)
{
	static const char *const names[BALLOON_STATS] = {
		[BALLOON_SWAP_IN] = "swap_in", [BALLOON_SWAP_OUT] = "swap_out", [BALLOON_MAJOR_FAULTS] = "major_faults",
		[BALLOON_MINOR_FAULTS] = "minor_faults", [BALLOON_FREE] = "free", [BALLOON_TOTAL] = "total", [BALLOON_AVAILABLE] = "available",
		[BALLOON_CACHES] = "caches", [BALLOON_HUGE_PAGES] = "huge_pages", [BALLOON_HUGE_PAGE_FAILURES] = "huge_page_failures",
	};
	struct virtio_balloon_state state;
	if (!m->services->balloon)
		return NULL;
	virtio_balloon_query(m->services->balloon, &state);
	json_t *guest = json_object();
	for (unsigned i = 0; i < BALLOON_STATS; i++)
		if (state.stats[i] != UINT64_MAX)
			json_object_set_new(guest, names[i], json_integer((json_int_t)state.stats[i]));
	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:o}", "driver", state.driver, "memory", (json_int_t)(m->config.memory - state.actual),
			 "wanted", (json_int_t)(m->config.memory - state.wanted), "given_back", (json_int_t)state.given_back, "reported",
			 (json_int_t)state.reported, "guest", guest);
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
	return add_balloon(m, err) < 0 || add_vsock(m, err) < 0 || add_watchdog(m, err) < 0 || add_input(m, err) < 0 ||
			add_pvpanic(m, err) < 0 || machine_add_virtio_sound(m, err) < 0 ? -1 : 0;
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
