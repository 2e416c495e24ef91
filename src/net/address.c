/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "net/net.h"

/* MAC addresses, and port forwards as text. */

/* FNV-1a, then mixed, since names differ in their last letters. */
void net_mac_derive(const char *machine, unsigned index, uint8_t mac[NET_MAC_SIZE])
{
	uint64_t hash = 14695981039346656037ull;
	for (const char *at = machine; *at; at++)
		hash = (hash ^ (uint8_t)*at) * 1099511628211ull;
	hash = (hash ^ (index + 256u)) * 1099511628211ull;
	hash ^= hash >> 32;
	hash *= 0x9e3779b97f4a7c15ull;
	for (unsigned i = 0; i < NET_MAC_SIZE; i++)
		mac[i] = (uint8_t)(hash >> (8 * i + 16));
	mac[0] = (mac[0] & 0xfc) | 2; /* unicast, locally administered (IEEE 802, 8.4.2) */
}

int net_mac_parse(const char *text, uint8_t mac[NET_MAC_SIZE], struct error *err)
{
	unsigned value[NET_MAC_SIZE];
	int end = 0;
	bool good = sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &value[0], &value[1], &value[2], &value[3], &value[4], &value[5], &end) == 6 &&
		end == NET_MAC_TEXT - 1 && !text[end] && strspn(text, "0123456789abcdefABCDEF:") == NET_MAC_TEXT - 1;
	if (!good)
		return error_set(err, EINVAL, "'%s' is no MAC address; write six hexadecimal bytes, as 52:54:00:12:34:56", text);
	uint8_t any = 0;
	for (unsigned i = 0; i < NET_MAC_SIZE; i++)
		any |= mac[i] = (uint8_t)value[i];
	if (mac[0] & 1 || !any)
		return error_set(err, EINVAL, "%s cannot be an interface's MAC address; the first byte must be even, and not all may be 0", text);
	return 0;
}

void net_mac_print(const uint8_t mac[NET_MAC_SIZE], char text[NET_MAC_TEXT])
{
	snprintf(text, NET_MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static bool parse_port(const char *text, size_t length, uint16_t *port)
{
	char digits[8], *end;
	if (!length || length > 5 || *text == '+' || *text == '-')
		return false;
	memcpy(digits, text, length);
	digits[length] = 0;
	unsigned long value = strtoul(digits, &end, 10);
	*port = (uint16_t)value;
	return !*end && digits[0] >= '0' && digits[0] <= '9' && value >= 1 && value <= 65535;
}

/* The address before the ports, with its colon; "" when there is none. */
static bool parse_address(const char *text, size_t length, char address[46])
{
	uint8_t binary[16];
	bool bracket = length > 2 && text[0] == '[' && text[length - 2] == ']';
	if (!length) {
		strcpy(address, "127.0.0.1");
		return true;
	}
	if (bracket) {
		text++;
		length -= 2;
	}
	length--; /* the colon */
	if (length >= 46)
		return false;
	memcpy(address, text, length);
	address[length] = 0;
	if (!bracket && (!length || !strcmp(address, "*"))) {
		strcpy(address, "0.0.0.0");
		return true;
	}
	return inet_pton(bracket ? AF_INET6 : AF_INET, address, binary) == 1;
}

int net_forward_parse(const char *text, struct net_forward *forward, struct error *err)
{
	const char *slash = strchr(text, '/'), *end = slash ? slash : text + strlen(text);
	const char *guest = end, *host;
	*forward = (struct net_forward){ .udp = slash && !strcmp(slash, "/udp") };
	while (guest > text && guest[-1] != ':')
		guest--;
	host = guest > text ? guest - 1 : text;
	while (host > text && host[-1] != ':')
		host--;
	bool good = guest > text && (!slash || forward->udp || !strcmp(slash, "/tcp")) &&
		parse_port(guest, (size_t)(end - guest), &forward->guest_port) &&
		parse_port(host, (size_t)(guest - 1 - host), &forward->host_port) &&
		parse_address(text, (size_t)(host - text), forward->address);
	if (good)
		return 0;
	return error_set(err, EINVAL, "'%s' is no port forward; write [ADDRESS:]HOSTPORT:GUESTPORT[/udp], as 8080:80 or 0.0.0.0:5353:53/udp", text);
}

void net_forward_print(const struct net_forward *forward, char *text, size_t room)
{
	bool v6 = strchr(forward->address, ':') != NULL;
	snprintf(text, room, "%s%s%s:%u:%u/%s", v6 ? "[" : "", forward->address, v6 ? "]" : "", forward->host_port, forward->guest_port,
		 forward->udp ? "udp" : "tcp");
}
