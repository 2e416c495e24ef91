/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From an outgoing mailbox by way of a CCB to a disk, and back into an incoming
 * mailbox. A CCB is copied once; only the copy is looked at.
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/scsi/buslogic_parts.h"

#define ACTION_START 1
#define ACTION_ABORT 2

/* Completion codes of incoming mailboxes. */
#define CODE_GOOD 1
#define CODE_NOT_FOUND 3
#define CODE_ERROR 4

#define OPCODE_DATA 0x00
#define OPCODE_SG 0x02
#define OPCODE_DATA_RESIDUAL 0x03
#define OPCODE_SG_RESIDUAL 0x04
#define OPCODE_RESET 0x81

#define HOST_SELECTION_TIMEOUT 0x11
#define HOST_DATA_OVERRUN 0x12
#define HOST_INVALID_ACTION 0x15
#define HOST_INVALID_OPCODE 0x16
#define HOST_INVALID_PARAMETER 0x1a
#define HOST_HARDWARE 0x20

#define CCB_SIZE 40u
#define CCB_CDB 18u
#define CDB_MAX 12u
#define MAX_PIECES 16384u

struct ccb {
	struct scsi_request scsi;
	struct buslogic *adapter;
	uint32_t address;
	uint8_t opcode, target;
	bool checked;           /* the host said how much it expects */
	uint32_t data, data_length; /* the buffer, or the list of its pieces */
	uint8_t sense_length;
	uint32_t sense;
	unsigned pieces, room;
	struct iovec *iov;
};

static uint32_t be24(const uint8_t *at)
{
	return (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
}

/* --- incoming mailboxes --- */

static bool put_incoming(struct buslogic *adapter, const struct ended *e)
{
	unsigned size = adapter->wide ? 8 : 4;
	uint64_t at = (uint64_t)adapter->mailbox_base + (uint64_t)(adapter->mailboxes + adapter->next_in) * size;
	uint64_t code = at + (adapter->wide ? 7 : 0);
	uint8_t taken = 0;
	if (!dma_read(&adapter->dma, code, &taken, 1))
		return true; /* mailboxes that are no memory take anything */
	if (taken)
		return false;
	uint8_t wide[7] = { 0, 0, 0, 0, e->host_status, e->target_status, 0 };
	const uint8_t narrow[3] = { (uint8_t)(e->ccb >> 16), (uint8_t)(e->ccb >> 8), (uint8_t)e->ccb };
	store_le32(wide, e->ccb);
	if (adapter->wide)
		dma_write(&adapter->dma, at, wide, sizeof(wide));
	else
		dma_write(&adapter->dma, at + 1, narrow, sizeof(narrow));
	/* The code says that the rest is there. */
	dma_write(&adapter->dma, code, &e->code, 1);
	adapter->next_in = (adapter->next_in + 1) % adapter->mailboxes;
	return true;
}

void buslogic_deliver(struct buslogic *adapter)
{
	uint32_t done = 0;
	if (!adapter->mailboxes)
		adapter->ended_count = 0;
	while (done < adapter->ended_count && put_incoming(adapter, &adapter->ended[done]))
		done++;
	adapter->ended_count -= done;
	memmove(adapter->ended, adapter->ended + done, adapter->ended_count * sizeof(adapter->ended[0]));
	if (done)
		buslogic_interrupt(adapter, INTERRUPT_MAILBOX_IN);
	if (adapter->ended_count)
		timer_arm(&adapter->retry, vclock_now(adapter->retry.clock) + NS_PER_SEC / 1000);
	/* Not from here: this may be inside the completion of a disk that the next CCB resets. */
	else if (adapter->left_out)
		timer_arm(&adapter->retry, vclock_now(adapter->retry.clock));
}

static void end_mailbox(struct buslogic *adapter, uint32_t address, uint8_t code, uint8_t host_status, uint8_t target_status)
{
	/* There is room: no more are accepted than fit. */
	adapter->ended[adapter->ended_count++] = (struct ended){ address, code, host_status, target_status };
	buslogic_deliver(adapter);
}

/* --- the end of a CCB --- */

static void write_sense(struct ccb *ccb)
{
	unsigned length = ccb->sense_length ? ccb->sense_length : 14;
	if (ccb->sense_length != 1 && ccb->scsi.status == SCSI_CHECK_CONDITION)
		dma_write(&ccb->adapter->dma, ccb->sense, ccb->scsi.sense, MIN(length, (unsigned)SCSI_SENSE_SIZE));
}

static void write_residual(struct ccb *ccb, uint32_t residual)
{
	uint8_t wide[4];
	const uint8_t narrow[3] = { (uint8_t)(residual >> 16), (uint8_t)(residual >> 8), (uint8_t)residual };
	store_le32(wide, residual);
	if (ccb->opcode != OPCODE_DATA_RESIDUAL && ccb->opcode != OPCODE_SG_RESIDUAL)
		return;
	if (ccb->adapter->wide)
		dma_write(&ccb->adapter->dma, ccb->address + 4, wide, 4);
	else
		dma_write(&ccb->adapter->dma, ccb->address + 4, narrow, 3);
}

static void end_ccb(struct ccb *ccb, uint8_t host_status, uint8_t target_status)
{
	struct buslogic *adapter = ccb->adapter;
	uint32_t address = ccb->address;
	const uint8_t status[2] = { host_status, target_status };
	dma_write(&adapter->dma, (uint64_t)address + 14, status, 2);
	free(ccb->iov);
	free(ccb);
	end_mailbox(adapter, address, host_status || target_status ? CODE_ERROR : CODE_GOOD, host_status, target_status);
}

/* Guest code may lie where data came; after an error nobody knows how much came. */
static void note_data(struct ccb *ccb)
{
	uint64_t left = !ccb->scsi.in ? 0 : ccb->scsi.status == SCSI_GOOD ? ccb->scsi.moved : ccb->scsi.length;
	for (unsigned i = 0; i < ccb->pieces && left; i++) {
		size_t size = (size_t)MIN(left, (uint64_t)ccb->iov[i].iov_len);
		dma_wrote(&ccb->adapter->dma, ccb->iov[i].iov_base, size);
		left -= size;
	}
}

/* More than there was room for is an overrun; less is one, too, for a driver that neither asked for the rest's length nor
 * left the length open. */
static uint8_t length_status(const struct ccb *ccb)
{
	const struct scsi_request *scsi = &ccb->scsi;
	bool residual = ccb->opcode == OPCODE_DATA_RESIDUAL || ccb->opcode == OPCODE_SG_RESIDUAL;
	if (scsi->status != SCSI_GOOD)
		return 0;
	if (scsi->wanted > scsi->moved)
		return HOST_DATA_OVERRUN;
	return ccb->checked && !residual && scsi->moved < scsi->length ? HOST_DATA_OVERRUN : 0;
}

static void scsi_done(struct scsi_request *request, bool cancelled)
{
	struct ccb *ccb = container_of(request, struct ccb, scsi);
	ccb->adapter->in_flight--;
	if (cancelled) {
		free(ccb->iov);
		free(ccb);
		return;
	}
	note_data(ccb);
	write_sense(ccb);
	write_residual(ccb, (uint32_t)(request->length - request->moved));
	end_ccb(ccb, length_status(ccb), request->status);
}

/* --- the buffer --- */

static bool add_piece(struct ccb *ccb, void *host, uint64_t size)
{
	if (ccb->pieces == ccb->room) {
		unsigned room = ccb->room ? 2 * ccb->room : 16;
		struct iovec *more = room > MAX_PIECES ? NULL : realloc(ccb->iov, room * sizeof(*more));
		if (!more)
			return false;
		ccb->iov = more;
		ccb->room = room;
	}
	ccb->iov[ccb->pieces++] = (struct iovec){ host, size };
	ccb->scsi.length += size;
	return true;
}

/* Memory that lies side by side for the guest may have seams on the host. */
static bool map(struct ccb *ccb, uint64_t gpa, uint64_t size)
{
	bool for_write = ccb->scsi.direction != SCSI_OUT;
	while (size) {
		uint64_t take = size;
		void *host = dma_map(&ccb->adapter->dma, gpa, take, for_write);
		if (!host) {
			take = MIN(size, GUEST_PAGE_SIZE - (gpa & GUEST_PAGE_MASK));
			host = dma_map(&ccb->adapter->dma, gpa, take, for_write);
		}
		if (!host || !add_piece(ccb, host, take))
			return false;
		gpa += take;
		size -= take;
	}
	return true;
}

static bool map_list(struct ccb *ccb)
{
	bool wide = ccb->adapter->wide;
	unsigned size = wide ? 8 : 6;
	for (uint32_t i = 0; i < ccb->data_length / size; i++) {
		uint8_t e[8];
		if (!dma_read(&ccb->adapter->dma, (uint64_t)ccb->data + (uint64_t)i * size, e, size))
			return false;
		uint32_t length = wide ? load_le32(e) : be24(e), address = wide ? load_le32(e + 4) : be24(e + 3);
		/* One command moves no more than that. */
		if (length > SCSI_MAX_BLOCKS * BLOCK_SECTOR - ccb->scsi.length || !map(ccb, address, length))
			return false;
	}
	return true;
}

/* The host status of a CCB whose data leads nowhere; 0: all is well. */
static uint8_t map_data(struct ccb *ccb)
{
	if (ccb->scsi.direction == SCSI_NO_DATA || !ccb->data_length)
		return 0;
	if (ccb->opcode == OPCODE_SG || ccb->opcode == OPCODE_SG_RESIDUAL) {
		if (ccb->data_length / (ccb->adapter->wide ? 8 : 6) > SG_LIMIT)
			return HOST_INVALID_PARAMETER;
		return map_list(ccb) ? 0 : HOST_HARDWARE;
	}
	if (ccb->data_length > SCSI_MAX_BLOCKS * BLOCK_SECTOR)
		return HOST_INVALID_PARAMETER;
	return map(ccb, ccb->data, ccb->data_length) ? 0 : HOST_HARDWARE;
}

/* --- the beginning of a CCB --- */

/* Fields of the 24-bit and the 32-bit format. */
static void parse(struct ccb *ccb, const uint8_t *b)
{
	static const enum scsi_direction directions[] = { SCSI_ANY, SCSI_IN, SCSI_OUT, SCSI_NO_DATA };
	bool wide = ccb->adapter->wide;
	ccb->opcode = b[0];
	ccb->scsi.direction = directions[b[1] >> 3 & 3];
	ccb->checked = ccb->scsi.direction == SCSI_IN || ccb->scsi.direction == SCSI_OUT;
	ccb->sense_length = b[3];
	ccb->scsi.autosense = b[3] != 1;
	ccb->data_length = wide ? load_le32(b + 4) : be24(b + 4);
	ccb->data = wide ? load_le32(b + 8) : be24(b + 7);
	ccb->target = wide ? b[16] : b[1] >> 5;
	ccb->scsi.lun = wide ? b[17] & (ccb->adapter->extended_lun ? 0x3f : 0x07) : b[1] & 7;
	ccb->sense = wide ? load_le32(b + 36) : ccb->address + CCB_CDB + b[2];
	memcpy(ccb->scsi.cdb, b + CCB_CDB, MIN(b[2], CDB_MAX));
}

static uint8_t check(const struct ccb *ccb, uint8_t cdb_length)
{
	const struct buslogic *adapter = ccb->adapter;
	if (ccb->opcode != OPCODE_RESET && (ccb->opcode > OPCODE_SG_RESIDUAL || ccb->opcode == 1))
		return HOST_INVALID_OPCODE;
	if (ccb->opcode != OPCODE_RESET && (!cdb_length || cdb_length > CDB_MAX))
		return HOST_INVALID_PARAMETER;
	if (ccb->target >= BUSLOGIC_DISKS || !scsi_present(&adapter->disk[ccb->target]))
		return HOST_SELECTION_TIMEOUT;
	return 0;
}

static void reset_target(struct ccb *ccb)
{
	struct buslogic *adapter = ccb->adapter;
	buslogic_abandon(adapter, ccb->target);
	scsi_disk_reset(&adapter->disk[ccb->target]);
	end_ccb(ccb, 0, 0);
}

static void start_ccb(struct buslogic *adapter, uint32_t address)
{
	uint8_t bytes[CCB_SIZE] = { 0 };
	struct ccb *ccb = calloc(1, sizeof(*ccb));
	if (!ccb || !dma_read(&adapter->dma, address, bytes, adapter->wide ? CCB_SIZE : CCB_CDB + CDB_MAX)) {
		free(ccb);
		end_mailbox(adapter, address, CODE_ERROR, HOST_HARDWARE, 0);
		return;
	}
	ccb->adapter = adapter;
	ccb->address = address;
	ccb->scsi.done = scsi_done;
	parse(ccb, bytes);
	uint8_t wrong = check(ccb, bytes[2]);
	if (!wrong && ccb->opcode == OPCODE_RESET) {
		reset_target(ccb);
		return;
	}
	if (!wrong)
		wrong = map_data(ccb);
	if (wrong) {
		end_ccb(ccb, wrong, 0);
		return;
	}
	ccb->scsi.iov = ccb->iov;
	ccb->scsi.iov_count = ccb->pieces;
	adapter->in_flight++;
	scsi_disk_submit(&adapter->disk[ccb->target], &ccb->scsi);
}

void buslogic_abandon(struct buslogic *adapter, unsigned target)
{
	if (target < BUSLOGIC_DISKS && adapter->disk[target].block)
		block_cancel(adapter->disk[target].block);
}

/* --- outgoing mailboxes --- */

/* Takes the mailbox at next_out; false: nothing is in it. */
static bool take_outgoing(struct buslogic *adapter, uint32_t index)
{
	unsigned size = adapter->wide ? 8 : 4;
	uint64_t at = (uint64_t)adapter->mailbox_base + (uint64_t)index * size;
	uint8_t mailbox[8] = { 0 };
	static const uint8_t free_action = 0;
	if (!dma_read(&adapter->dma, at, mailbox, size))
		return false;
	uint8_t action = adapter->wide ? mailbox[7] : mailbox[0];
	uint32_t address = adapter->wide ? load_le32(mailbox) : be24(mailbox + 1);
	if (!action)
		return false;
	dma_write(&adapter->dma, at + (adapter->wide ? 7 : 0), &free_action, 1);
	if (adapter->tell_out)
		buslogic_interrupt(adapter, INTERRUPT_MAILBOX_OUT);
	if (action == ACTION_START)
		start_ccb(adapter, address);
	else if (action == ACTION_ABORT) /* a command at a disk ends soon, and by itself */
		end_mailbox(adapter, address, CODE_NOT_FOUND, 0, 0);
	else
		end_mailbox(adapter, address, CODE_ERROR, HOST_INVALID_ACTION, 0);
	return true;
}

/* In strict order up to the first free one; else each of them once. */
void buslogic_scan_mailboxes(struct buslogic *adapter)
{
	if (adapter->scanning || !adapter->mailboxes || !(pci_function_command(&adapter->function) & PCI_COMMAND_MASTER))
		return;
	adapter->scanning = true;
	adapter->left_out = false;
	for (uint32_t i = 0; i < adapter->mailboxes; i++) {
		if (adapter->in_flight + adapter->ended_count >= QUEUE_DEPTH) {
			adapter->left_out = true;
			break;
		}
		bool taken = take_outgoing(adapter, adapter->next_out);
		if (!taken && adapter->strict)
			break;
		adapter->next_out = (adapter->next_out + 1) % adapter->mailboxes;
	}
	adapter->scanning = false;
}
