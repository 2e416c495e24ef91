/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host adapter commands: an opcode in the command register, its parameters
 * after it, the reply by the data-in register, and an interrupt at the end.
 */
#include <string.h>

#include "base/util.h"
#include "dev/scsi/buslogic_parts.h"

#define MODEL "958  "
#define FIRMWARE_LETTER 'B'

enum {
	TEST_COMPLETION = 0x00, INITIALIZE_MAILBOX = 0x01, START_MAILBOX = 0x02, INQUIRE_BOARD = 0x04, ENABLE_OUT_INTERRUPT = 0x05,
	SET_SELECTION_TIMEOUT = 0x06, SET_BUS_ON = 0x07, SET_BUS_OFF = 0x08, SET_TRANSFER_RATE = 0x09, INQUIRE_DEVICES = 0x0a,
	INQUIRE_CONFIGURATION = 0x0b, INQUIRE_SETUP = 0x0d, WRITE_BUFFER = 0x1a, READ_BUFFER = 0x1b, WRITE_FIFO = 0x1c, READ_FIFO = 0x1d,
	ECHO = 0x1f, DIAGNOSTIC = 0x20, INQUIRE_DEVICES_HIGH = 0x23, INQUIRE_TARGETS = 0x24, SET_INTERRUPT = 0x25,
	INITIALIZE_EXTENDED_MAILBOX = 0x81, INQUIRE_FIRMWARE_3 = 0x84, INQUIRE_FIRMWARE_LETTER = 0x85, INQUIRE_PCI = 0x86, INQUIRE_MODEL = 0x8b,
	INQUIRE_SYNCHRONOUS = 0x8c, INQUIRE_EXTENDED_SETUP = 0x8d, STRICT_ROUND_ROBIN = 0x8f, STORE_LOCAL_RAM = 0x90, FETCH_LOCAL_RAM = 0x91,
	MODIFY_IO_ADDRESS = 0x95, SET_CCB_FORMAT = 0x96,
};

#define AUTOSCSI 64u      /* in local RAM */
#define SYNCHRONOUS 0x8fu /* negotiated: offset 15, period 0 */

static uint8_t present_mask(const struct buslogic *adapter)
{
	uint8_t mask = 0;
	for (unsigned i = 0; i < BUSLOGIC_DISKS; i++)
		if (scsi_present(&adapter->disk[i]))
			mask |= (uint8_t)BIT(i);
	return mask;
}

void buslogic_fill_local_ram(struct buslogic *adapter)
{
	uint8_t *a = adapter->local_ram + AUTOSCSI;
	memset(adapter->local_ram, 0, sizeof(adapter->local_ram));
	a[0] = 'F';
	a[1] = 'A';
	a[2] = 64;
	memcpy(a + 3, "BT-958", 6);
	a[10] = 0x04;   /* level interrupt */
	a[12] = 0x80;   /* interrupt set by the system */
	a[14] = ADAPTER_ID;
	a[15] = 0x37;   /* termination, parity, fast synchronous, bus resets */
	a[16] = 7;
	a[17] = 4;
	a[18] = 0x04;   /* extended translation */
	memset(a + 19, 0xff, 10); /* enabled, wide, fast, synchronous, disconnects: all targets */
	memset(a + 34, 0xff, 2);  /* Ultra */
	a[41] = 7;      /* highest LUN that is looked for */
}

/* --- replies --- */

static void put(struct buslogic *adapter, const void *data, unsigned size)
{
	memcpy(adapter->reply, data, size);
	adapter->reply_size = (uint16_t)size;
}

/* What the host wants of a longer reply: its first parameter is the length. */
static void put_asked(struct buslogic *adapter, const uint8_t *data, unsigned size)
{
	unsigned asked = adapter->parameter[0];
	memset(adapter->reply, 0, sizeof(adapter->reply));
	memcpy(adapter->reply, data, MIN(asked, size));
	adapter->reply_size = (uint16_t)asked;
}

static uint8_t irq_mask(const struct buslogic *adapter)
{
	unsigned irq = adapter->function.config[PCI_INTERRUPT_LINE];
	return irq >= 9 && irq <= 15 ? (uint8_t)BIT(irq - 9) : 0;
}

static void inquire_devices(struct buslogic *adapter)
{
	uint8_t data[8] = { 0 };
	uint8_t mask = present_mask(adapter);
	for (unsigned i = 0; i < 8; i++)
		data[i] = mask >> i & 1; /* LUN 0 */
	put(adapter, data, sizeof(data));
}

static void inquire_setup(struct buslogic *adapter)
{
	uint8_t data[34] = { 0 };
	uint8_t mask = present_mask(adapter);
	data[0] = 0x03;   /* synchronous, parity */
	data[4] = (uint8_t)adapter->mailboxes;
	if (!adapter->wide)
		for (unsigned i = 0; i < 3; i++)
			data[5 + i] = (uint8_t)(adapter->mailbox_base >> (8 * (2 - i)));
	for (unsigned i = 0; i < 8; i++)
		data[8 + i] = mask >> i & 1 ? SYNCHRONOUS : 0;
	data[17] = 'B';
	data[18] = 'D';
	data[19] = 'E';   /* what the family says of adapters on PCI */
	data[20] = data[21] = mask;
	put_asked(adapter, data, sizeof(data));
}

static void inquire_extended_setup(struct buslogic *adapter)
{
	uint8_t data[14] = { 'E' };
	store_le16(data + 2, SG_LIMIT);
	data[4] = (uint8_t)adapter->mailboxes;
	store_le32(data + 5, adapter->mailbox_base);
	data[9] = 0x40;   /* level interrupt */
	memcpy(data + 10, (const uint8_t[]){ '0', '7', FIRMWARE_LETTER }, 3);
	data[13] = 0x09;  /* wide, Ultra */
	put_asked(adapter, data, sizeof(data));
}

static void inquire_synchronous(struct buslogic *adapter)
{
	uint8_t data[TARGETS] = { 0 };
	uint8_t mask = present_mask(adapter);
	for (unsigned i = 0; i < BUSLOGIC_DISKS; i++)
		data[i] = mask >> i & 1 ? 5 : 0; /* 50 ns */
	put_asked(adapter, data, sizeof(data));
}

static void inquire(struct buslogic *adapter)
{
	uint8_t mask = present_mask(adapter), irq = adapter->function.config[PCI_INTERRUPT_LINE];
	switch (adapter->command) {
	case INQUIRE_BOARD: put(adapter, "AA50", 4); break;
	case INQUIRE_DEVICES: inquire_devices(adapter); break;
	case INQUIRE_DEVICES_HIGH: put(adapter, (const uint8_t[8]){ 0 }, 8); break;
	case INQUIRE_TARGETS: put(adapter, (const uint8_t[]){ mask, 0 }, 2); break;
	case INQUIRE_CONFIGURATION: put(adapter, (const uint8_t[]){ 0, irq_mask(adapter), ADAPTER_ID }, 3); break;
	case INQUIRE_SETUP: inquire_setup(adapter); break;
	case INQUIRE_FIRMWARE_3: put(adapter, "7", 1); break;
	case INQUIRE_FIRMWARE_LETTER: put(adapter, (const uint8_t[]){ FIRMWARE_LETTER }, 1); break;
	case INQUIRE_PCI: put(adapter, (const uint8_t[]){ adapter->isa_port, irq, 0x83, 0 }, 4); break;
	case INQUIRE_MODEL: put_asked(adapter, (const uint8_t *)MODEL, 5); break;
	case INQUIRE_SYNCHRONOUS: inquire_synchronous(adapter); break;
	case INQUIRE_EXTENDED_SETUP: inquire_extended_setup(adapter); break;
	}
}

/* --- settings --- */

static bool initialize_mailbox(struct buslogic *adapter, bool wide)
{
	const uint8_t *p = adapter->parameter;
	if (!p[0])
		return false;
	adapter->mailboxes = p[0];
	adapter->mailbox_base = wide ? load_le32(p + 1) : (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	adapter->wide = wide;
	adapter->next_out = adapter->next_in = 0;
	adapter->left_out = false;
	adapter->ended_count = 0;
	return true;
}

static bool store_local_ram(struct buslogic *adapter)
{
	const uint8_t *p = adapter->parameter;
	if (p[0] + p[1] > (int)sizeof(adapter->local_ram))
		return false;
	memcpy(adapter->local_ram + p[0], p + 2, p[1]);
	return true;
}

static bool fetch_local_ram(struct buslogic *adapter)
{
	const uint8_t *p = adapter->parameter;
	if (p[0] + p[1] > (int)sizeof(adapter->local_ram))
		return false;
	put(adapter, adapter->local_ram + p[0], p[1]);
	return true;
}

/* Tests of the way to memory: 64 bytes at a 24-bit address. */
static bool move_fifo(struct buslogic *adapter)
{
	const uint8_t *p = adapter->parameter;
	uint64_t address = (uint64_t)p[0] << 16 | (uint64_t)p[1] << 8 | p[2];
	if (adapter->command == WRITE_BUFFER || adapter->command == WRITE_FIFO)
		return dma_read(&adapter->dma, address, adapter->fifo, sizeof(adapter->fifo));
	return dma_write(&adapter->dma, address, adapter->fifo, sizeof(adapter->fifo));
}

/* False: a parameter that cannot be. */
static bool execute(struct buslogic *adapter)
{
	uint8_t first = adapter->parameter[0];
	switch (adapter->command) {
	case INITIALIZE_MAILBOX: return initialize_mailbox(adapter, false);
	case INITIALIZE_EXTENDED_MAILBOX: return initialize_mailbox(adapter, true);
	case ENABLE_OUT_INTERRUPT: adapter->tell_out = first & 1; return first <= 1;
	case WRITE_BUFFER: case READ_BUFFER: case WRITE_FIFO: case READ_FIFO: return move_fifo(adapter);
	case ECHO: put(adapter, &first, 1); return true;
	case SET_INTERRUPT:
		adapter->interrupts_off = !(first & 1);
		buslogic_update_irq(adapter);
		return first <= 1;
	case STRICT_ROUND_ROBIN: adapter->strict = first & 1; return first <= 1;
	case STORE_LOCAL_RAM: return store_local_ram(adapter);
	case FETCH_LOCAL_RAM: return fetch_local_ram(adapter);
	case MODIFY_IO_ADDRESS: return buslogic_set_isa_port(adapter, first);
	case SET_CCB_FORMAT: adapter->extended_lun = first & 1; return first <= 1;
	default: inquire(adapter); return true;
	}
}

/* Number of parameters; negative: no such command. */
static int parameters_of(uint8_t command)
{
	switch (command) {
	case TEST_COMPLETION: case INQUIRE_BOARD: case INQUIRE_DEVICES: case INQUIRE_CONFIGURATION: case DIAGNOSTIC: case INQUIRE_DEVICES_HIGH:
	case INQUIRE_TARGETS: case INQUIRE_FIRMWARE_3: case INQUIRE_FIRMWARE_LETTER: case INQUIRE_PCI:
		return 0;
	case ENABLE_OUT_INTERRUPT: case SET_BUS_ON: case SET_BUS_OFF: case SET_TRANSFER_RATE: case INQUIRE_SETUP: case ECHO: case SET_INTERRUPT:
	case INQUIRE_MODEL: case INQUIRE_SYNCHRONOUS: case INQUIRE_EXTENDED_SETUP: case STRICT_ROUND_ROBIN: case MODIFY_IO_ADDRESS:
	case SET_CCB_FORMAT:
		return 1;
	case STORE_LOCAL_RAM: case FETCH_LOCAL_RAM:
		return 2;
	case WRITE_BUFFER: case READ_BUFFER: case WRITE_FIFO: case READ_FIFO:
		return 3;
	case INITIALIZE_MAILBOX: case SET_SELECTION_TIMEOUT:
		return 4;
	case INITIALIZE_EXTENDED_MAILBOX:
		return 5;
	default:
		return -1;
	}
}

/* The end of a command, which two of them keep quiet about. */
static void finish(struct buslogic *adapter, bool valid)
{
	uint8_t command = adapter->command;
	adapter->command = 0;
	adapter->parameters = adapter->parameters_wanted = 0;
	adapter->invalid = !valid;
	if (command != ENABLE_OUT_INTERRUPT && command != MODIFY_IO_ADDRESS)
		buslogic_interrupt(adapter, INTERRUPT_COMPLETE);
}

static void run(struct buslogic *adapter)
{
	adapter->reply_size = adapter->reply_at = 0;
	bool valid = execute(adapter);
	if (!valid || !adapter->reply_size) {
		finish(adapter, valid);
		return;
	}
	/* With data to be read it is over when the last byte has been taken. */
	adapter->command = 0;
	adapter->parameters = adapter->parameters_wanted = 0;
	adapter->invalid = false;
}

void buslogic_write_command(struct buslogic *adapter, uint8_t value)
{
	if (adapter->command) {
		adapter->parameter[adapter->parameters++] = value;
		if (adapter->command == STORE_LOCAL_RAM && adapter->parameters == 2)
			adapter->parameters_wanted = (uint16_t)(2 + value);
		if (adapter->parameters == adapter->parameters_wanted)
			run(adapter);
		return;
	}
	if (value == START_MAILBOX) {
		buslogic_deliver(adapter);
		buslogic_scan_mailboxes(adapter);
		return;
	}
	int wanted = parameters_of(value);
	adapter->command = value;
	adapter->parameters = 0;
	adapter->parameters_wanted = wanted > 0 ? (uint16_t)wanted : 0;
	adapter->reply_size = adapter->reply_at = 0;
	memset(adapter->parameter, 0, sizeof(adapter->parameter));
	if (wanted < 0)
		finish(adapter, false);
	else if (!wanted)
		run(adapter);
}

uint8_t buslogic_read_data(struct buslogic *adapter)
{
	if (adapter->reply_at >= adapter->reply_size)
		return 0;
	uint8_t value = adapter->reply[adapter->reply_at++];
	if (adapter->reply_at == adapter->reply_size)
		finish(adapter, true);
	return value;
}
