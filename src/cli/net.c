/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * visor net: the network interfaces of a running machine.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "cli/client.h"
#include "cli/commands.h"

#define NIC_DEFAULT (~0ull)

struct net_values {
	struct option_list forwards, removed;
	uint64_t nic;
	bool json;
};

static int change(const char *machine, const char *path, const struct option_list *list, uint64_t nic, struct error *err)
{
	for (unsigned i = 0; i < list->count; i++) {
		json_t *body = json_pack("{s:s}", "forward", list->values[i]);
		if (!body)
			return error_set(err, EINVAL, "a port forward is not text in UTF-8; write [ADDRESS:]HOSTPORT:GUESTPORT[/udp]");
		if (nic != NIC_DEFAULT)
			json_object_set_new(body, "nic", json_integer((json_int_t)nic));
		json_t *answer = client_request(machine, "POST", path, body, err);
		if (!answer)
			return -1;
		json_decref(answer);
	}
	return 0;
}

static void print_interface(size_t index, const json_t *nic)
{
	const char *name = json_string_value(json_object_get(nic, "name"));
	size_t i;
	json_t *forward;
	printf("net%zu  %-8s %s  %s%s%s  sent %lld, received %lld, dropped %lld\n", index, json_string_value(json_object_get(nic, "model")),
	       json_string_value(json_object_get(nic, "mac")), json_string_value(json_object_get(nic, "net")), name ? ":" : "", name ? name : "",
	       (long long)json_integer_value(json_object_get(nic, "sent")), (long long)json_integer_value(json_object_get(nic, "received")),
	       (long long)json_integer_value(json_object_get(nic, "dropped")));
	json_array_foreach(json_object_get(nic, "forwards"), i, forward)
		printf("      forward %s\n", json_string_value(forward));
}

static int list(const char *machine, bool as_json, struct error *err)
{
	size_t i;
	json_t *nics = client_request(machine, "GET", "/net", NULL, err), *nic;
	if (!nics)
		return -1;
	if (as_json) {
		json_dumpf(nics, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		json_array_foreach(nics, i, nic)
			print_interface(i, nic);
	}
	json_decref(nics);
	return 0;
}

static int net_run(const void *values, const struct operands *operands)
{
	const struct net_values *v = values;
	const char *machine = operands->values[0];
	bool changes = v->forwards.count || v->removed.count;
	struct error err;
	if (change(machine, "/net/unforward", &v->removed, v->nic, &err) == 0 &&
	    change(machine, "/net/forward", &v->forwards, v->nic, &err) == 0 &&
	    ((changes && !v->json) || list(machine, v->json, &err) == 0))
		return STATUS_OK;
	log_error("%s", err.text);
	return STATUS_FAILURE;
}

static const struct option net_options[] = {
	{ .name = "hostfwd", .letter = 'p', .kind = OPTION_LIST, .offset = offsetof(struct net_values, forwards),
	  .argument = "[ADDR:]HOSTPORT:PORT[/udp]", .help = "forward one more port of the host to the guest, as for 'visor run'" },
	{ .name = "remove", .kind = OPTION_LIST, .offset = offsetof(struct net_values, removed), .argument = "[ADDR:]HOSTPORT:PORT[/udp]",
	  .help = "forward it no more; connections that there are go on" },
	{ .name = "nic", .kind = OPTION_NUMBER, .offset = offsetof(struct net_values, nic), .argument = "N", .max = 7,
	  .help = "the interface whose forwards change, counted from 0; the first user network without it" },
	{ .name = "json", .kind = OPTION_FLAG, .offset = offsetof(struct net_values, json),
	  .help = "print an array of objects with net, name, model, mac, forwards and counters" },
	OPTION_END
};

static const struct net_values net_defaults = { .nic = NIC_DEFAULT };

const struct command command_net = {
	.name = "net",
	.operands = "NAME",
	.min_operands = 1,
	.max_operands = 1,
	.completion = { COMPLETE_MACHINE },
	.summary = "show a machine's network interfaces, and forward ports to it",
	.options = net_options,
	.values_size = sizeof(struct net_values),
	.defaults = &net_defaults,
	.run = net_run,
};
