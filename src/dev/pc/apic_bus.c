/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/apic_bus.h"

#include "base/util.h"
#include "dev/pc/lapic_state.h"

/* Lowest priority: the least busy processor; ties go round (SDM 3A, 11.6.2.4). */
static unsigned send_lowest(struct apic_bus *bus, const struct apic_message *message, const struct lapic *except)
{
	struct lapic *best = NULL;
	unsigned best_priority = 256, start = bus->turn++;
	for (unsigned i = 0; i < bus->count; i++) {
		struct lapic *lapic = bus->lapics[(start + i) % bus->count];
		if (lapic == except || !lapic_matches(lapic, message->destination, message->logical))
			continue;
		unsigned priority = lapic_priority(lapic);
		if (priority < best_priority) {
			best = lapic;
			best_priority = priority;
		}
	}
	if (!best)
		return 0;
	lapic_deliver(best, message);
	return 1;
}

unsigned apic_bus_send(struct apic_bus *bus, const struct apic_message *message, const struct lapic *except)
{
	if (message->mode == APIC_LOWEST)
		return send_lowest(bus, message, except);
	unsigned sent = 0;
	for (unsigned i = 0; i < bus->count; i++) {
		struct lapic *lapic = bus->lapics[i];
		if (lapic == except || !lapic_matches(lapic, message->destination, message->logical))
			continue;
		lapic_deliver(lapic, message);
		sent++;
	}
	return sent;
}

static void msi_receive(void *opaque, uint64_t address, uint32_t data)
{
	uint32_t destination = (uint32_t)(address >> 12 & 0xff);
	struct apic_message message = {
		.destination = destination == 0xff ? APIC_DEST_ALL : destination,
		.logical = address & BIT(2),
		.level = data & BIT(15),
		.assert = data & BIT(14) || !(data & BIT(15)),
		.mode = data >> 8 & 7,
		.vector = (uint8_t)data,
	};
	if ((address & ~0xfffffull) != LAPIC_BASE)
		return; /* no interrupt controller answers there */
	if (message.level && !message.assert && message.mode == APIC_FIXED)
		return; /* a level-triggered message that withdraws: nothing to do (11.11.2) */
	apic_bus_send(opaque, &message, NULL);
}

struct msi_sink apic_bus_sink(struct apic_bus *bus)
{
	return (struct msi_sink){ msi_receive, bus };
}
