/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_SERVICES_H
#define VISOR_VM_SERVICES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* What a machine does for its guest, and with the host, besides a PC's parts: a piece of struct machine_config. */
#define MACHINE_MAX_SHARES 8

/* A folder of the host that the guest mounts by its tag (9P). */
struct machine_share {
	const char *path, *tag;
	bool read_only;
};

/* What is done when the guest has come to grief. */
enum machine_action { ACTION_NONE, ACTION_RESET, ACTION_POWER_OFF, ACTION_PAUSE, MACHINE_ACTIONS };
extern const char *const machine_action_names[]; /* NULL at the end */

struct machine_services {
	struct machine_share shares[MACHINE_MAX_SHARES];
	unsigned share_count;
	uint32_t vsock_cid;      /* the guest's address for stream sockets between it and the host; 0: none */
	const char *vsock_path;  /* of the host's side (share/streams.h) */
	bool watchdog;                  /* there is one (Intel 6300ESB) */
	enum machine_action on_watchdog; /* when the guest has not fed it in time */
	enum machine_action on_panic;   /* when the guest's kernel says that it has panicked */
	bool gpu;       /* the screen is a virtio GPU's, which on other machines than micro has a VGA adapter in it */
	bool sound;     /* a virtio sound card; classic has another one */
	bool input;     /* a virtio keyboard, and a pointer that knows where it is */
	bool balloon;   /* the guest's memory may shrink and grow, and what it leaves free goes back to the host */
};

/* Strings are copied, so that services_free may free them; after a failure, too. */
int services_copy(struct machine_services *to, const struct machine_services *from, struct error *err);
void services_free(struct machine_services *services);

/* "HOSTDIR:TAG[:ro]"; the strings are to be freed, by services_free if need be. */
int services_parse_share(const char *text, struct machine_share *share, struct error *err);

/* "CID[,PATH]" */
int services_parse_vsock(const char *text, const char *standard_path, struct machine_services *services, struct error *err);

/* For the save file and the control socket, and back; strings point into the JSON. */
void services_add_json(json_t *machine, const struct machine_services *services);
int services_read_json(const json_t *machine, struct machine_services *services, struct error *err);

#endif
