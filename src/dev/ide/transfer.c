/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Data between the host, a drive's buffer and its disk. Requests to the disk
 * complete later, on the loop's thread: until then the drive is busy.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/ide/drive.h"
#include "dev/scsi/sense.h"

static bool is_packet(const struct ide_drive *drive)
{
	return drive->kind == IDE_CDROM;
}

static void interrupt(struct ide_drive *drive)
{
	drive->interrupt = true;
	ide_update_irq(drive->channel);
}

void ide_complete(struct ide_drive *drive, uint8_t error)
{
	drive->transfer = TRANSFER_NONE;
	drive->purpose = FOR_NOTHING;
	drive->left = drive->extent = 0;
	drive->position = drive->limit = drive->filled = 0;
	drive->error = error;
	drive->status = STATUS_DRDY | STATUS_DSC | (error ? STATUS_ERR : 0);
	interrupt(drive);
}

static void done_in(struct ide_drive *drive)
{
	if (is_packet(drive) && drive->purpose == FOR_READ) {
		ide_packet_end(drive, 0, 0);
		return;
	}
	/* The host knows that it has read all; there is no interrupt at the end of a PIO read. */
	bool dma = drive->transfer == TRANSFER_DMA_IN;
	drive->transfer = TRANSFER_NONE;
	drive->purpose = FOR_NOTHING;
	drive->status = STATUS_DRDY | STATUS_DSC;
	if (dma)
		interrupt(drive);
}

/* --- requests to the disk --- */

static void request_done(struct block_request *request, int error);

static void submit(struct ide_drive *drive, enum block_op op, uint64_t offset, uint64_t length, unsigned pieces)
{
	drive->request = (struct block_request){
		.op = op, .offset = offset, .length = length, .iov = drive->iov, .iov_count = pieces, .done = request_done,
		.opaque = drive,
	};
	drive->in_flight = true;
	drive->transfer = TRANSFER_BUSY;
	drive->status = STATUS_BSY | STATUS_DRDY;
	block_submit(drive->block, &drive->request);
}

void ide_submit_plain(struct ide_drive *drive, enum block_op op, uint64_t offset, uint64_t length, enum purpose purpose)
{
	drive->purpose = (uint8_t)purpose;
	submit(drive, op, offset, length, 0);
}

static void submit_buffer(struct ide_drive *drive, enum block_op op, uint32_t bytes)
{
	drive->iov[0] = (struct iovec){ drive->buffer, bytes };
	drive->extent = bytes;
	submit(drive, op, drive->offset, bytes, 1);
}

/* --- programmed I/O --- */

/* The next DRQ block for the host to read. */
static void offer_block(struct ide_drive *drive)
{
	drive->limit = MIN(drive->filled, drive->position + drive->block_bytes);
	drive->transfer = TRANSFER_PIO_IN;
	drive->status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
	if (is_packet(drive)) {
		drive->now.count = REASON_IN;
		drive->now.mid = (uint8_t)(drive->limit - drive->position);
		drive->now.high = (uint8_t)((drive->limit - drive->position) >> 8);
	}
	interrupt(drive);
}

static void fetch(struct ide_drive *drive, bool dma)
{
	drive->by_dma = dma;
	submit_buffer(drive, BLOCK_READ, (uint32_t)MIN(drive->left, (uint64_t)IDE_BUFFER));
}

static void block_was_read(struct ide_drive *drive)
{
	if (drive->position < drive->filled)
		offer_block(drive);
	else if (drive->left)
		fetch(drive, false);
	else
		done_in(drive);
}

void ide_reply(struct ide_drive *drive, uint32_t size)
{
	drive->purpose = FOR_READ;
	drive->position = 0;
	drive->filled = size;
	drive->left = 0;
	if (drive->wants_dma) {
		drive->transfer = TRANSFER_DMA_IN;
		drive->status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
		ide_run_dma(drive->channel);
		return;
	}
	offer_block(drive);
}

void ide_start_read(struct ide_drive *drive, bool dma)
{
	drive->purpose = FOR_READ;
	drive->position = drive->filled = 0;
	if (!dma) {
		fetch(drive, false);
		return;
	}
	drive->transfer = TRANSFER_DMA_IN;
	drive->status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
	ide_run_dma(drive->channel);
}

/* The next DRQ block from the host. */
static void ask_block(struct ide_drive *drive, uint32_t size)
{
	drive->position = 0;
	drive->limit = drive->filled = size;
	drive->transfer = TRANSFER_PIO_OUT;
	drive->status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
}

void ide_start_write(struct ide_drive *drive, bool dma)
{
	drive->purpose = FOR_WRITE;
	drive->position = drive->filled = 0;
	if (!dma) {
		/* No interrupt for the first one (ATA/ATAPI-6, 9.8). */
		ask_block(drive, (uint32_t)MIN(drive->left, (uint64_t)drive->block_bytes));
		return;
	}
	drive->transfer = TRANSFER_DMA_OUT;
	drive->status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
	ide_run_dma(drive->channel);
}

void ide_receive(struct ide_drive *drive, uint32_t size, enum purpose purpose, bool dma)
{
	drive->purpose = (uint8_t)purpose;
	drive->left = 0;
	ask_block(drive, size);
	if (!dma)
		return;
	drive->transfer = TRANSFER_DMA_OUT;
	ide_run_dma(drive->channel);
}

static void put(struct ide_drive *drive, bool dma)
{
	drive->by_dma = dma;
	submit_buffer(drive, BLOCK_WRITE, drive->filled);
}

static void block_was_written(struct ide_drive *drive)
{
	if (drive->purpose == FOR_WRITE)
		put(drive, false);
	else
		ide_received(drive);
}

uint32_t ide_data_read(struct ide_drive *drive, unsigned size)
{
	if (drive->transfer != TRANSFER_PIO_IN)
		return 0;
	unsigned take = MIN(size, drive->limit - drive->position);
	uint32_t value = (uint32_t)load_le(drive->buffer + drive->position, take);
	drive->position += take;
	if (drive->position == drive->limit)
		block_was_read(drive);
	return value;
}

void ide_data_write(struct ide_drive *drive, uint32_t value, unsigned size)
{
	if (drive->transfer != TRANSFER_PIO_OUT)
		return;
	unsigned take = MIN(size, drive->limit - drive->position);
	store_le(drive->buffer + drive->position, value, take);
	drive->position += take;
	if (drive->position == drive->limit)
		block_was_written(drive);
}

void ide_start_verify(struct ide_drive *drive)
{
	drive->purpose = FOR_VERIFY;
	fetch(drive, false);
}

/* --- completions --- */

static void wait_for_dma(struct ide_drive *drive, bool in)
{
	drive->transfer = in ? TRANSFER_DMA_IN : TRANSFER_DMA_OUT;
	drive->status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
	ide_run_dma(drive->channel);
}

static void read_done(struct ide_drive *drive)
{
	drive->position = 0;
	drive->filled = (uint32_t)drive->extent;
	if (drive->by_dma)
		wait_for_dma(drive, true);
	else
		offer_block(drive);
}

static void end_write(struct ide_drive *drive)
{
	if (drive->through)
		ide_submit_plain(drive, BLOCK_FLUSH, 0, 0, FOR_FLUSH);
	else
		ide_complete(drive, 0);
}

static void write_done(struct ide_drive *drive)
{
	drive->position = drive->filled = 0;
	if (drive->by_dma) {
		wait_for_dma(drive, false);
	} else if (!drive->left) {
		end_write(drive);
	} else {
		ask_block(drive, (uint32_t)MIN(drive->left, (uint64_t)drive->block_bytes));
		interrupt(drive);
	}
}

/* Straight between the disk and guest memory. */
static void dma_done(struct ide_drive *drive)
{
	const struct block_request *request = &drive->request;
	bool in = request->op == BLOCK_READ;
	for (unsigned i = 0; in && i < request->iov_count; i++)
		dma_wrote(&drive->channel->ide->dma, request->iov[i].iov_base, request->iov[i].iov_len);
	wait_for_dma(drive, in);
}

static void verify_done(struct ide_drive *drive)
{
	if (drive->left)
		ide_start_verify(drive);
	else
		ide_complete(drive, 0);
}

static void failed(struct ide_drive *drive, int error)
{
	log_warn_once("ide%u: %s: %s (reported to the guest as an I/O error; further ones are not logged)", drive->number,
		      drive->block->name, strerror(error));
	bool read = drive->request.op == BLOCK_READ;
	ide_bm_finish(drive->channel);
	if (is_packet(drive))
		ide_packet_end(drive, KEY_MEDIUM_ERROR, ASC_READ_ERROR);
	else
		ide_complete(drive, read ? ERROR_UNC : ERROR_ABRT);
}

static void request_done(struct block_request *request, int error)
{
	struct ide_drive *drive = request->opaque;
	drive->in_flight = false;
	if (error == ECANCELED) /* a reset: what happened is nobody's business any more */
		return;
	bool data = drive->purpose == FOR_READ || drive->purpose == FOR_WRITE || drive->purpose == FOR_VERIFY;
	if (!data) {
		ide_plain_done(drive, drive->purpose, error);
		return;
	}
	if (error) {
		failed(drive, error);
		return;
	}
	drive->offset += drive->extent;
	drive->left -= drive->extent;
	if (drive->purpose == FOR_VERIFY)
		verify_done(drive);
	else if (request->iov[0].iov_base != drive->buffer)
		dma_done(drive);
	else if (request->op == BLOCK_READ)
		read_done(drive);
	else
		write_done(drive);
}

void ide_abandon(struct ide_drive *drive)
{
	if (drive->in_flight)
		block_cancel(drive->block);
	drive->in_flight = false;
	drive->transfer = TRANSFER_NONE;
	drive->purpose = FOR_NOTHING;
	drive->position = drive->limit = drive->filled = 0;
	drive->left = drive->extent = 0;
	drive->interrupt = false;
}

/* --- direct memory access --- */

/* What the drive has in its buffer, or wants there. */
static bool copy_buffer(struct ide_drive *drive, bool in)
{
	struct dma *dma = &drive->channel->ide->dma;
	while (drive->position < drive->filled) {
		struct iovec piece;
		unsigned count;
		uint32_t size = ide_bm_gather(drive->channel, drive->filled - drive->position, &piece, 1, &count);
		if (!size)
			return false;
		uint8_t *at = drive->buffer + drive->position;
		memcpy(in ? piece.iov_base : at, in ? at : piece.iov_base, size);
		if (in)
			dma_wrote(dma, piece.iov_base, size);
		drive->position += size;
	}
	return true;
}

static void dma_ended(struct ide_drive *drive, bool in)
{
	ide_bm_finish(drive->channel);
	if (drive->purpose == FOR_WRITE)
		end_write(drive);
	else if (in)
		done_in(drive);
	else
		ide_received(drive);
}

/* Pieces that are no whole sectors go by the buffer. */
static void run_bounced(struct ide_drive *drive, bool in)
{
	if (in) {
		fetch(drive, true);
		return;
	}
	drive->position = 0;
	drive->filled = (uint32_t)MIN(drive->left, (uint64_t)IDE_BUFFER);
	if (copy_buffer(drive, false))
		put(drive, true);
}

static void run_drive(struct ide_drive *drive)
{
	bool in = drive->transfer == TRANSFER_DMA_IN;
	if (!ide_bm_ready(drive->channel, in) || !copy_buffer(drive, in))
		return;
	if (drive->purpose == FOR_WRITE && drive->filled) {
		put(drive, true);
		return;
	}
	if (!drive->left) {
		dma_ended(drive, in);
		return;
	}
	unsigned pieces;
	uint32_t room = (uint32_t)MIN(drive->left, (uint64_t)IDE_DMA_CHUNK);
	uint32_t size = ide_bm_gather_sectors(drive->channel, room, drive->iov, IDE_DMA_PIECES, &pieces);
	if (!size) {
		if (ide_bm_ready(drive->channel, in))
			run_bounced(drive, in);
		return;
	}
	drive->extent = size;
	submit(drive, in ? BLOCK_READ : BLOCK_WRITE, drive->offset, size, pieces);
}

void ide_run_dma(struct ide_channel *channel)
{
	struct ide_drive *drive = ide_selected(channel);
	if (drive->transfer == TRANSFER_DMA_IN || drive->transfer == TRANSFER_DMA_OUT)
		run_drive(drive);
}
