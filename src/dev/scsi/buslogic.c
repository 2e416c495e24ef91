/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The adapter's registers, interrupts, resets and state.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/scsi/buslogic_parts.h"

enum { REG_CONTROL_STATUS, REG_COMMAND_DATA, REG_INTERRUPT, REG_GEOMETRY, REG_COUNT };

#define CONTROL_BUS_RESET 0x10u
#define CONTROL_INTERRUPT_RESET 0x20u
#define CONTROL_SOFT_RESET 0x40u
#define CONTROL_HARD_RESET 0x80u

#define ISA_OFF 6
#define WINDOW 32u
#define DIAGNOSTIC_NS (2 * NS_PER_SEC / 1000)
#define RETRY_NS (NS_PER_SEC / 1000)

/* --- interrupts --- */

void buslogic_update_irq(struct buslogic *adapter)
{
	pci_intx_set(&adapter->function, adapter->interrupt && !adapter->interrupts_off);
}

/* One cause at a time is shown; what comes meanwhile is told after it has been cleared. */
void buslogic_interrupt(struct buslogic *adapter, uint8_t cause)
{
	if (adapter->interrupt)
		adapter->held |= cause;
	else
		adapter->interrupt = cause | INTERRUPT_VALID;
	buslogic_update_irq(adapter);
}

static void interrupt_reset(struct buslogic *adapter)
{
	uint8_t held = adapter->held;
	adapter->interrupt = adapter->held = 0;
	adapter->invalid = false;
	buslogic_update_irq(adapter);
	for (uint8_t cause = INTERRUPT_MAILBOX_IN; cause <= INTERRUPT_COMPLETE; cause = (uint8_t)(cause << 1))
		if (held & cause)
			buslogic_interrupt(adapter, cause);
	buslogic_deliver(adapter);
}

/* --- resets --- */

static const struct field fields[];

static void reset_disks(struct buslogic *adapter)
{
	for (unsigned i = 0; i < BUSLOGIC_DISKS; i++)
		if (scsi_present(&adapter->disk[i]))
			scsi_disk_reset(&adapter->disk[i]);
}

/* What a hard and a soft reset have in common: the firmware starts anew. */
static void restart(struct buslogic *adapter)
{
	for (unsigned i = 0; i < TARGETS; i++)
		buslogic_abandon(adapter, i);
	adapter->command = 0;
	adapter->parameters = adapter->parameters_wanted = adapter->reply_size = adapter->reply_at = 0;
	adapter->invalid = adapter->interrupts_off = false;
	adapter->interrupt = adapter->held = 0;
	adapter->mailbox_base = adapter->mailboxes = adapter->next_out = adapter->next_in = 0;
	adapter->wide = adapter->strict = adapter->extended_lun = adapter->tell_out = adapter->left_out = false;
	adapter->ended_count = 0;
	timer_cancel(&adapter->retry);
	buslogic_update_irq(adapter);
	adapter->diagnostic = true;
	adapter->diagnostic_end = vclock_now(adapter->retry.clock) + DIAGNOSTIC_NS;
}

static void bus_reset(struct buslogic *adapter)
{
	for (unsigned i = 0; i < TARGETS; i++)
		buslogic_abandon(adapter, i);
	adapter->ended_count = 0;
	reset_disks(adapter);
}

static void write_control(struct buslogic *adapter, uint8_t value)
{
	if (value & (CONTROL_HARD_RESET | CONTROL_SOFT_RESET)) {
		restart(adapter);
		if (value & CONTROL_HARD_RESET) {
			reset_disks(adapter);
			buslogic_fill_local_ram(adapter);
		}
		return;
	}
	if (value & CONTROL_BUS_RESET)
		bus_reset(adapter);
	if (value & CONTROL_INTERRUPT_RESET)
		interrupt_reset(adapter);
}

/* --- registers --- */

/* The diagnostics are seen at least once, however long the driver was kept from looking: it waits for them to begin. */
static uint8_t read_status(struct buslogic *adapter)
{
	if (adapter->diagnostic) {
		adapter->diagnostic = vclock_now(adapter->retry.clock) < adapter->diagnostic_end;
		return STATUS_DIAGNOSTIC;
	}
	uint8_t status = adapter->mailboxes ? 0 : STATUS_INIT;
	if (adapter->reply_at < adapter->reply_size)
		status |= STATUS_DATA_IN;
	else if (!adapter->command)
		status |= STATUS_READY;
	return status | (adapter->invalid ? STATUS_INVALID : 0);
}

static uint64_t register_read(void *opaque, uint64_t offset, unsigned size)
{
	struct buslogic *adapter = opaque;
	switch (offset) {
	case REG_CONTROL_STATUS: return read_status(adapter);
	case REG_COMMAND_DATA: return buslogic_read_data(adapter);
	case REG_INTERRUPT: return adapter->interrupt;
	case REG_GEOMETRY: return 0x80; /* disks over 1 GiB are translated to 255 heads; no disk is the BIOS's */
	default: return 0xff;
	}
}

static void register_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct buslogic *adapter = opaque;
	if (offset == REG_CONTROL_STATUS)
		write_control(adapter, (uint8_t)value);
	else if (offset == REG_COMMAND_DATA && !adapter->diagnostic)
		buslogic_write_command(adapter, (uint8_t)value);
}

static const struct io_ops register_ops = { register_read, register_write, 1 };

static void retry(void *opaque)
{
	struct buslogic *adapter = opaque;
	buslogic_deliver(adapter);
	if (adapter->left_out)
		buslogic_scan_mailboxes(adapter);
}

bool buslogic_set_isa_port(struct buslogic *adapter, uint8_t number)
{
	static const uint16_t bases[] = { 0x330, 0x334, 0x230, 0x234, 0x130, 0x134 };
	struct error err;
	if (number > 7)
		return false;
	io_space_unmap(adapter->ports, &adapter->isa);
	adapter->isa_port = ISA_OFF;
	if (number >= ARRAY_SIZE(bases))
		return true;
	adapter->isa.base = bases[number];
	if (io_space_map(adapter->ports, &adapter->isa, &err) < 0)
		return false;
	adapter->isa_port = number;
	return true;
}

/* --- state --- */

static const struct field ended_fields[] = {
	FIELD(struct ended, ccb),
	FIELD(struct ended, code),
	FIELD(struct ended, host_status),
	FIELD(struct ended, target_status),
	FIELD_END
};

static const struct field fields[] = {
	FIELD_STRUCT(struct buslogic, function, pci_function_fields),
	FIELD_STRUCT_ARRAY(struct buslogic, disk, scsi_disk_fields),
	FIELD(struct buslogic, command),
	FIELD_BYTES(struct buslogic, parameter),
	FIELD(struct buslogic, parameters),
	FIELD(struct buslogic, parameters_wanted),
	FIELD_BYTES(struct buslogic, reply),
	FIELD(struct buslogic, reply_size),
	FIELD(struct buslogic, reply_at),
	FIELD(struct buslogic, invalid),
	FIELD(struct buslogic, interrupt),
	FIELD(struct buslogic, held),
	FIELD(struct buslogic, interrupts_off),
	FIELD(struct buslogic, diagnostic),
	FIELD(struct buslogic, diagnostic_end),
	FIELD_RESET(struct buslogic, isa_port, ISA_OFF),
	FIELD(struct buslogic, mailbox_base),
	FIELD(struct buslogic, mailboxes),
	FIELD(struct buslogic, next_out),
	FIELD(struct buslogic, next_in),
	FIELD(struct buslogic, wide),
	FIELD(struct buslogic, strict),
	FIELD(struct buslogic, extended_lun),
	FIELD(struct buslogic, tell_out),
	FIELD(struct buslogic, left_out),
	FIELD_STRUCT_ARRAY(struct buslogic, ended, ended_fields),
	FIELD(struct buslogic, ended_count),
	FIELD_BYTES(struct buslogic, local_ram),
	FIELD_BYTES(struct buslogic, fifo),
	FIELD_END
};

/* As its BIOS leaves it: the self-test is over. */
static void reset(void *device)
{
	struct buslogic *adapter = device;
	pci_function_reset(&adapter->function);
	lock_take(&adapter->lock);
	restart(adapter);
	reset_disks(adapter);
	adapter->diagnostic = false;
	adapter->diagnostic_end = 0;
	buslogic_fill_local_ram(adapter);
	buslogic_set_isa_port(adapter, ISA_OFF);
	lock_release(&adapter->lock);
}

static bool state_is_possible(const struct buslogic *a)
{
	bool counts = a->parameters <= a->parameters_wanted && a->parameters_wanted <= sizeof(a->parameter) &&
		      a->reply_at <= a->reply_size && a->reply_size <= sizeof(a->reply) && a->ended_count <= QUEUE_DEPTH;
	bool mailboxes = a->mailboxes <= 255 && a->next_out < MAX(a->mailboxes, 1u) && a->next_in < MAX(a->mailboxes, 1u);
	bool command = !a->command || a->parameters < a->parameters_wanted;
	return counts && mailboxes && command && a->isa_port <= ISA_OFF;
}

static int loaded(void *device, struct error *err)
{
	struct buslogic *adapter = device;
	pci_function_loaded(&adapter->function);
	if (!state_is_possible(adapter))
		return error_set(err, EINVAL, "buslogic: its state cannot be; the file is damaged");
	lock_take(&adapter->lock);
	for (unsigned i = 0; i < BUSLOGIC_DISKS; i++)
		if (scsi_present(&adapter->disk[i]))
			scsi_disk_loaded(&adapter->disk[i]);
	buslogic_set_isa_port(adapter, adapter->isa_port);
	if (adapter->ended_count || adapter->left_out)
		timer_arm(&adapter->retry, vclock_now(adapter->retry.clock) + RETRY_NS);
	lock_release(&adapter->lock);
	return 0;
}

int buslogic_change_medium(struct buslogic *adapter, unsigned id, struct block *block, bool force, struct error *err)
{
	struct scsi_disk *disk = &adapter->disk[id % BUSLOGIC_DISKS];
	char name[16];
	if (id >= BUSLOGIC_DISKS || !disk->cdrom)
		return error_set(err, EINVAL, "scsi%u is no CD-ROM drive", id);
	snprintf(name, sizeof(name), "scsi%u", id);
	lock_take(&adapter->lock);
	int rc = mmc_may_change(&disk->mmc, name, force, err);
	if (rc == 0) {
		if (disk->block)
			block_drain(disk->block);
		if (block)
			block_set_owner(block, &adapter->lock);
		scsi_change_medium(disk, block);
	}
	lock_release(&adapter->lock);
	return rc;
}

void buslogic_drain(struct buslogic *adapter)
{
	lock_take(&adapter->lock);
	/* What waits in mailboxes may start when something ends, at another disk, too. */
	while (adapter->in_flight)
		for (unsigned i = 0; i < BUSLOGIC_DISKS; i++)
			if (adapter->disk[i].block)
				block_drain(adapter->disk[i].block);
	for (unsigned i = 0; i < BUSLOGIC_DISKS; i++)
		if (adapter->disk[i].block)
			block_settle(adapter->disk[i].block);
	lock_release(&adapter->lock);
}

static void destroy(void *device)
{
	struct buslogic *adapter = device;
	lock_take(&adapter->lock);
	for (unsigned i = 0; i < BUSLOGIC_DISKS; i++) {
		if (!scsi_present(&adapter->disk[i]))
			continue;
		buslogic_abandon(adapter, i);
		scsi_disk_close(&adapter->disk[i]);
	}
	timer_cancel(&adapter->retry);
	io_space_unmap(adapter->ports, &adapter->isa);
	lock_release(&adapter->lock);
	pci_function_destroy(&adapter->function);
	lock_destroy(&adapter->lock);
	free(adapter);
}

static const struct device_type buslogic_type = {
	.name = "buslogic",
	.fields = fields,
	.reset = reset,
	.loaded = loaded,
	.destroy = destroy,
};

static int init_function(struct buslogic *adapter, const struct buslogic_config *config, struct error *err)
{
	const struct pci_function_config function = {
		.bus = config->bus, .name = "buslogic", .devfn = config->devfn, .vendor = 0x104b, .device = 0x1040, .revision = 1,
		.class_code = 0x010000, .subsystem_vendor = 0x104b, .subsystem = 0x1040, .interrupt_pin = 1, .lock = &adapter->lock,
		.opaque = adapter,
	};
	if (pci_function_init(&adapter->function, &function, err) < 0)
		return -1;
	if (pci_function_add_bar(&adapter->function, 0, PCI_BAR_IO, WINDOW, &register_ops, adapter, err) < 0 ||
	    pci_function_add_bar(&adapter->function, 1, PCI_BAR_MEMORY32, WINDOW, &register_ops, adapter, err) < 0) {
		pci_function_destroy(&adapter->function);
		return -1;
	}
	/* Its BIOS has made it a bus master before any driver comes, and drivers rely on that. */
	pci_function_set_register(&adapter->function, PCI_COMMAND, PCI_COMMAND_MASTER,
				  PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE, 2);
	return 0;
}

struct buslogic *buslogic_create(const struct buslogic_config *config, struct error *err)
{
	struct buslogic *adapter = calloc(1, sizeof(*adapter));
	if (!adapter) {
		error_set(err, ENOMEM, "out of memory for the SCSI host adapter");
		return NULL;
	}
	lock_init(&adapter->lock);
	device_init(&adapter->device, &buslogic_type, "buslogic", &config->bus->lock);
	adapter->dma = config->dma;
	adapter->ports = config->ports;
	timer_init(&adapter->retry, config->clock, &adapter->lock, retry, adapter);
	adapter->isa = (struct io_region){
		.name = "buslogic-isa", .ops = &register_ops, .opaque = adapter, .lock = &adapter->lock, .size = REG_COUNT,
	};
	if (init_function(adapter, config, err) < 0) {
		lock_destroy(&adapter->lock);
		free(adapter);
		return NULL;
	}
	for (unsigned i = 0; i < BUSLOGIC_DISKS; i++) {
		char serial[21];
		snprintf(serial, sizeof(serial), "scsi%u", i);
		if (config->cdrom[i])
			scsi_cdrom_init(&adapter->disk[i], config->disk[i]);
		else if (config->disk[i])
			scsi_disk_init(&adapter->disk[i], config->disk[i], serial);
		if (config->disk[i])
			block_set_owner(config->disk[i], &adapter->lock);
	}
	return adapter;
}
