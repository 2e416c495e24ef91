/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "vm/nic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/util.h"

const char *const machine_nic_models[MACHINE_NIC_MODELS + 1] = {
	[MACHINE_NIC_VIRTIO] = "virtio", [MACHINE_NIC_E1000] = "e1000", [MACHINE_NIC_PCNET] = "pcnet", NULL,
};

static const struct {
	const char *name;
	enum net_kind kind;
	bool named;
} kinds[] = {
	{ "user", NET_USER, false }, { "switch", NET_SWITCH, true }, { "tap", NET_TAP, true }, { "bridge", NET_BRIDGE, true },
};

/* letters, digits, '-', '_', '.': it becomes a file's name, or is an interface's */
static int check_name(const char *kind, const char *name, struct error *err)
{
	size_t good = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
	if (!*name)
		return error_set(err, EINVAL, "'%s' wants a name; write %s:NAME", kind, kind);
	if (name[good] || good > 32 || *name == '.' || *name == '-')
		return error_set(err, EINVAL, "'%s' cannot be the name of a %s; use up to 32 letters, digits, '-', '_' and '.'", name, kind);
	return 0;
}

static int set_kind(const char *word, struct machine_nic *nic, struct error *err)
{
	const char *colon = strchr(word, ':');
	size_t length = colon ? (size_t)(colon - word) : strlen(word);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strlen(kinds[i].name) != length || memcmp(kinds[i].name, word, length))
			continue;
		nic->kind = kinds[i].kind;
		if (!kinds[i].named)
			return colon ? error_set(err, EINVAL, "'%s' has no name; leave out '%s'", kinds[i].name, colon) : 0;
		if (check_name(kinds[i].name, colon ? colon + 1 : "", err) < 0)
			return -1;
		strcpy(nic->name, colon + 1);
		return 0;
	}
	return error_set(err, EINVAL, "'%s' is no network; choose from: user, switch:NAME, tap:IF, bridge:IF, none", word);
}

static int set_model(const char *name, struct machine_nic *nic, struct error *err)
{
	char all[128] = "";
	for (unsigned i = 0; i < MACHINE_NIC_MODELS; i++) {
		if (!strcmp(name, machine_nic_models[i])) {
			nic->model = (enum machine_nic_model)i;
			return 0;
		}
		strcat(strcat(all, i ? ", " : ""), machine_nic_models[i]);
	}
	return error_set(err, EINVAL, "'%s' is no model of a network card; choose from: %s", name, all);
}

static const char *const modes[] = { [NET_SWITCH_ISOLATED] = "isolated", [NET_SWITCH_HOST] = "host", [NET_SWITCH_NAT] = "nat" };

static int set_mode(const char *name, struct machine_nic *nic, struct error *err)
{
	if (nic->kind != NET_SWITCH)
		return error_set(err, EINVAL, "mode=%s: only a switch has modes; leave it out", name);
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		if (!strcmp(name, modes[i])) {
			nic->mode = (enum net_switch_mode)i;
			return 0;
		}
	}
	return error_set(err, EINVAL, "'%s' is no mode of a switch; choose from: isolated, host, nat", name);
}

/* The whole path, since a restored machine may be started elsewhere. */
static int set_tftp(const char *path, struct machine_nic *nic, struct error *err)
{
	cleanup_free char *whole = realpath(path, NULL);
	if (!whole)
		return error_set(err, errno, "tftp=%s: %s", path, strerror(errno));
	if (strlen(whole) >= sizeof(nic->tftp))
		return error_set(err, ENAMETOOLONG, "tftp=%s: the folder's name is too long", path);
	strcpy(nic->tftp, whole);
	return 0;
}

static int set_boot_file(const char *name, struct machine_nic *nic, struct error *err)
{
	if (strlen(name) >= sizeof(nic->boot_file))
		return error_set(err, ENAMETOOLONG, "bootfile=%s: the name is too long; DHCP has room for %zu characters", name,
				 sizeof(nic->boot_file) - 1);
	strcpy(nic->boot_file, name);
	return 0;
}

static int set_option(char *word, struct machine_nic *nic, bool *has_mac, struct error *err)
{
	char *value = strchr(word, '=');
	if (value)
		*value++ = 0;
	if (value && !strcmp(word, "model"))
		return set_model(value, nic, err);
	if (value && !strcmp(word, "mode"))
		return set_mode(value, nic, err);
	if (value && !strcmp(word, "mac")) {
		*has_mac = true;
		return net_mac_parse(value, nic->mac, err);
	}
	bool tftp = value && !strcmp(word, "tftp");
	if (tftp || (value && !strcmp(word, "bootfile"))) {
		if (nic->kind != NET_USER)
			return error_set(err, EINVAL, "%s=%s: only a user network serves files; leave it out", word, value);
		return (tftp ? set_tftp : set_boot_file)(value, nic, err);
	}
	return error_set(err, EINVAL, "'%s' is no option of a network; there are model=MODEL, mac=ADDRESS, for a switch mode=MODE, for user "
			 "tftp=FOLDER and bootfile=NAME", word);
}

int nic_parse(const char *text, enum machine_nic_model model, struct machine_nic *nic, bool *has_mac, struct error *err)
{
	char copy[256], *rest = copy, *word;
	*nic = (struct machine_nic){ .model = model };
	*has_mac = false;
	if (strlen(text) >= sizeof(copy))
		return error_set(err, EINVAL, "'%.32s...' is too long for a network", text);
	strcpy(copy, text);
	word = strsep(&rest, ",");
	if (set_kind(word, nic, err) < 0)
		return -1;
	while ((word = strsep(&rest, ",")))
		if (set_option(word, nic, has_mac, err) < 0)
			return -1;
	return 0;
}

json_t *nic_json(const struct machine_nic *nic)
{
	char text[NET_FORWARD_TEXT], mac[NET_MAC_TEXT];
	const char *kind = "none";
	json_t *forwards = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].kind == nic->kind)
			kind = kinds[i].name;
	for (unsigned i = 0; i < nic->forward_count; i++) {
		net_forward_print(&nic->forwards[i], text, sizeof(text));
		json_array_append_new(forwards, json_string(text));
	}
	net_mac_print(nic->mac, mac);
	return json_pack("{s:s, s:s*, s:s*, s:s*, s:s*, s:s, s:s, s:o}", "net", kind, "tftp", nic->tftp[0] ? nic->tftp : NULL, "bootfile",
			 nic->boot_file[0] ? nic->boot_file : NULL, "name", nic->name[0] ? nic->name : NULL, "mode",
			 nic->kind == NET_SWITCH ? modes[nic->mode] : NULL, "model",
			 machine_nic_models[nic->model], "mac", mac, "forwards", forwards);
}

static int forwards_from_json(const json_t *list, struct machine_nic *nic, struct error *err)
{
	size_t i;
	json_t *text;
	json_array_foreach(list, i, text) {
		if (nic->forward_count == MACHINE_MAX_FORWARDS)
			return error_set(err, E2BIG, "more than %u port forwards", MACHINE_MAX_FORWARDS);
		if (!json_is_string(text))
			return error_set(err, EINVAL, "\"forwards\": strings are wanted");
		if (net_forward_parse(json_string_value(text), &nic->forwards[nic->forward_count++], err) < 0)
			return -1;
	}
	return 0;
}

int nic_from_json(const json_t *json, struct machine_nic *nic, struct error *err)
{
	const char *kind, *model, *mac, *name = json_string_value(json_object_get(json, "name"));
	const char *mode = json_string_value(json_object_get(json, "mode"));
	const char *tftp = json_string_value(json_object_get(json, "tftp")), *boot_file = json_string_value(json_object_get(json, "bootfile"));
	*nic = (struct machine_nic){ 0 };
	if (json_get_string(json, "net", &kind, err) < 0 || json_get_string(json, "model", &model, err) < 0 ||
	    json_get_string(json, "mac", &mac, err) < 0)
		return -1;
	if (strcmp(kind, "none")) {
		char word[128];
		if (strlen(kind) + strlen(name ? name : "") + 2 > sizeof(word))
			return error_set(err, EINVAL, "\"net\": too long");
		strcpy(word, kind);
		if (name)
			strcat(strcat(word, ":"), name);
		if (set_kind(word, nic, err) < 0)
			return -1;
	}
	if ((tftp && set_tftp(tftp, nic, err) < 0) || (boot_file && set_boot_file(boot_file, nic, err) < 0) ||
	    (mode && set_mode(mode, nic, err) < 0) || set_model(model, nic, err) < 0 || net_mac_parse(mac, nic->mac, err) < 0)
		return -1;
	return forwards_from_json(json_object_get(json, "forwards"), nic, err);
}
