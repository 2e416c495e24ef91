/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "vm/services.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/util.h"
#include "dev/virtio/p9.h"

const char *const machine_action_names[] = {
	[ACTION_NONE] = "none", [ACTION_RESET] = "reset", [ACTION_POWER_OFF] = "poweroff", [ACTION_PAUSE] = "pause", NULL,
};

static int no_memory(struct error *err)
{
	return error_set(err, ENOMEM, "out of memory for the machine's configuration");
}

static int copy_share(struct machine_share *to, const struct machine_share *from, struct error *err)
{
	*to = (struct machine_share){ strdup(from->path), strdup(from->tag), from->read_only };
	return to->path && to->tag ? 0 : no_memory(err);
}

int services_copy(struct machine_services *to, const struct machine_services *from, struct error *err)
{
	struct machine_services copy = *from;
	copy.share_count = 0;
	copy.vsock_path = from->vsock_path ? strdup(from->vsock_path) : NULL;
	*to = copy;
	if (from->share_count > MACHINE_MAX_SHARES)
		return error_set(err, EINVAL, "%u shared folders; a machine has at most %d", from->share_count, MACHINE_MAX_SHARES);
	if (from->vsock_path && !to->vsock_path)
		return no_memory(err);
	while (to->share_count < from->share_count) {
		unsigned i = to->share_count++;
		if (copy_share(&to->shares[i], &from->shares[i], err) < 0)
			return -1;
	}
	return 0;
}

void services_free(struct machine_services *services)
{
	for (unsigned i = 0; i < services->share_count; i++) {
		free((void *)services->shares[i].path);
		free((void *)services->shares[i].tag);
	}
	free((void *)services->vsock_path);
	services->vsock_path = NULL;
	services->share_count = 0;
}

int services_parse_vsock(const char *text, const char *standard_path, struct machine_services *services, struct error *err)
{
	char *end;
	unsigned long long cid = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || (*end && *end != ',') || cid < 3 || cid >= UINT32_MAX || (*end && !end[1]))
		return error_set(err, EINVAL, "'%s': write CID or CID,PATH, where CID, the guest's address, is 3 or more", text);
	services->vsock_cid = (uint32_t)cid;
	services->vsock_path = strdup(*end ? end + 1 : standard_path);
	return services->vsock_path ? 0 : no_memory(err);
}

int services_parse_share(const char *text, struct machine_share *share, struct error *err)
{
	size_t length = strlen(text);
	*share = (struct machine_share){ .read_only = length > 3 && !strcmp(text + length - 3, ":ro") };
	if (share->read_only)
		length -= 3;
	const char *colon = memrchr(text, ':', length);
	size_t tag = colon ? length - (size_t)(colon - text) - 1 : 0;
	if (!colon || colon == text || !tag || tag > VIRTIO_9P_TAG_MAX)
		return error_set(err, EINVAL, "'%s': write HOSTDIR:TAG or HOSTDIR:TAG:ro, with a tag of at most %u bytes", text, VIRTIO_9P_TAG_MAX);
	share->path = strndup(text, (size_t)(colon - text));
	share->tag = strndup(colon + 1, tag);
	return share->path && share->tag ? 0 : no_memory(err);
}

/* --- JSON --- */

/* Absolute: who restores the machine may stand elsewhere. */
static json_t *path_json(const char *path)
{
	char *absolute = realpath(path, NULL);
	json_t *json = json_string(absolute ? absolute : path);
	free(absolute);
	return json;
}

void services_add_json(json_t *machine, const struct machine_services *s)
{
	json_t *shares = json_array();
	for (unsigned i = 0; i < s->share_count; i++)
		json_array_append_new(shares, json_pack("{s:o, s:s, s:b}", "path", path_json(s->shares[i].path), "tag", s->shares[i].tag,
							"read_only", s->shares[i].read_only));
	if (s->share_count)
		json_object_set(machine, "shares", shares);
	json_decref(shares);
	if (s->vsock_cid)
		json_object_set_new(machine, "vsock", json_pack("{s:I, s:s}", "cid", (json_int_t)s->vsock_cid, "path", s->vsock_path));
	if (s->watchdog)
		json_object_set_new(machine, "watchdog", json_string(machine_action_names[s->on_watchdog]));
	json_object_set_new(machine, "on_panic", json_string(machine_action_names[s->on_panic]));
	json_object_set_new(machine, "virtio_gpu", json_boolean(s->gpu));
	json_object_set_new(machine, "virtio_sound", json_boolean(s->sound));
	json_object_set_new(machine, "virtio_input", json_boolean(s->input));
	json_object_set_new(machine, "balloon", json_boolean(s->balloon));
}

/* Absent: none; *given says so. */
static int read_action(const json_t *machine, const char *name, enum machine_action *action, bool *given, struct error *err)
{
	const char *text = json_string_value(json_object_get(machine, name));
	*given = text != NULL;
	*action = ACTION_NONE;
	for (unsigned i = 0; text && i < MACHINE_ACTIONS; i++)
		if (!strcmp(text, machine_action_names[i])) {
			*action = (enum machine_action)i;
			return 0;
		}
	return text ? error_set(err, EINVAL, "the saved machine does '%s' for \"%s\", which this visor cannot; use the visor that wrote it", text,
				name) : 0;
}

int services_read_json(const json_t *machine, struct machine_services *s, struct error *err)
{
	const json_t *shares = json_object_get(machine, "shares");
	size_t i;
	json_t *share;
	*s = (struct machine_services){ 0 };
	if (json_array_size(shares) > MACHINE_MAX_SHARES)
		return error_set(err, EINVAL, "the saved machine has more than %d shared folders", MACHINE_MAX_SHARES);
	const json_t *vsock = json_object_get(machine, "vsock");
	uint64_t cid = 0;
	if (vsock && (json_get_uint(vsock, "cid", 3, UINT32_MAX - 1, &cid, err) < 0 || json_get_string(vsock, "path", &s->vsock_path, err) < 0))
		return -1;
	s->vsock_cid = (uint32_t)cid;
	bool given;
	if (read_action(machine, "watchdog", &s->on_watchdog, &s->watchdog, err) < 0 ||
	    read_action(machine, "on_panic", &s->on_panic, &given, err) < 0)
		return -1;
	s->gpu = json_is_true(json_object_get(machine, "virtio_gpu"));
	s->sound = json_is_true(json_object_get(machine, "virtio_sound"));
	s->input = json_is_true(json_object_get(machine, "virtio_input"));
	s->balloon = json_is_true(json_object_get(machine, "balloon"));
	json_array_foreach(shares, i, share) {
		struct machine_share *to = &s->shares[i];
		if (json_get_string(share, "path", &to->path, err) < 0 || json_get_string(share, "tag", &to->tag, err) < 0 ||
		    json_get_bool(share, "read_only", &to->read_only, err) < 0)
			return -1;
		s->share_count++;
	}
	return 0;
}
