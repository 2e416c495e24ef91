/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bus master of the two channels (82371SB datasheet, 2.4; Programming
 * Interface for Bus Master IDE Controller 1.0): a table of physical regions, two
 * dwords each, says where a command's data lies.
 */
#include "base/util.h"
#include "dev/ide/drive.h"

enum { BM_COMMAND = 0, BM_STATUS = 2, BM_TABLE = 4, BM_SIZE = 8 };

#define COMMAND_START 0x01u
#define COMMAND_TO_MEMORY 0x08u
#define STATUS_ACTIVE 0x01u
#define STATUS_ERROR 0x02
#define STATUS_ENDED 0x100 /* none of the register's: the table has ended */
#define STATUS_INTERRUPT 0x04u
#define STATUS_CAPABLE 0x60u /* bits for the driver's use: drives 0 and 1 can do DMA */
#define REGION_END 0x80000000u

static void stop(struct ide_channel *channel, uint8_t why)
{
	channel->bm_status = (channel->bm_status & (uint8_t)~STATUS_ACTIVE) | why;
}

bool ide_bm_ready(const struct ide_channel *channel, bool to_memory)
{
	uint16_t pci = pci_function_command(&channel->ide->function);
	return channel->bm_status & STATUS_ACTIVE && pci & PCI_COMMAND_MASTER &&
	       to_memory == !!(channel->bm_command & COMMAND_TO_MEMORY);
}

/* The next descriptor: 0, or what the status register tells when there is none. */
static int next_region(struct ide_channel *channel)
{
	uint8_t bytes[8];
	if (channel->bm_last)
		return STATUS_ENDED;
	if (!dma_read(&channel->ide->dma, channel->bm_next, bytes, sizeof(bytes)))
		return STATUS_ERROR;
	uint32_t second = load_le32(bytes + 4);
	channel->bm_next += sizeof(bytes);
	channel->bm_address = load_le32(bytes) & ~1u;
	channel->bm_count = second & 0xfffe ? second & 0xfffe : 0x10000; /* bit 0 is ignored, 0 says 64 KiB */
	channel->bm_last = second & REGION_END;
	return 0;
}

uint32_t ide_bm_gather(struct ide_channel *channel, uint32_t room, struct iovec *iov, unsigned pieces, unsigned *count)
{
	uint32_t total = 0;
	bool to_memory = channel->bm_command & COMMAND_TO_MEMORY;
	int why = 0;
	*count = 0;
	while (total < room && *count < pieces) {
		if (!channel->bm_count && (why = next_region(channel)))
			break;
		uint32_t size = MIN(channel->bm_count, room - total);
		void *host = dma_map(&channel->ide->dma, channel->bm_address, size, to_memory);
		why = host ? 0 : STATUS_ERROR;
		if (!host)
			break;
		iov[(*count)++] = (struct iovec){ host, size };
		channel->bm_address += size;
		channel->bm_count -= size;
		total += size;
	}
	/* With something in hand the reason comes again, at the next call. */
	if (!total && why)
		stop(channel, (uint8_t)(why & STATUS_ERROR));
	return total;
}

uint32_t ide_bm_gather_sectors(struct ide_channel *channel, uint32_t room, struct iovec *iov, unsigned pieces, unsigned *count)
{
	const uint32_t next = channel->bm_next, address = channel->bm_address, left = channel->bm_count;
	const bool last = channel->bm_last;
	uint32_t size = ide_bm_gather(channel, room, iov, pieces, count);
	if (size % BLOCK_SECTOR == 0)
		return size;
	channel->bm_next = next;
	channel->bm_address = address;
	channel->bm_count = left;
	channel->bm_last = last;
	return ide_bm_gather(channel, ALIGN_DOWN(size, BLOCK_SECTOR), iov, pieces, count);
}

/* "Interrupt and active" says that the table had more room than the drive had data (1.3 of the programming interface). */
void ide_bm_finish(struct ide_channel *channel)
{
	if (channel->bm_last && !channel->bm_count)
		stop(channel, 0);
}

static void write_command(struct ide_channel *channel, uint8_t value)
{
	bool was = channel->bm_command & COMMAND_START, is = value & COMMAND_START;
	/* The direction is not to change while the master is active. */
	if (!(was && is))
		channel->bm_command = value & (COMMAND_START | COMMAND_TO_MEMORY);
	if (was && !is)
		stop(channel, 0);
	if (was || !is)
		return;
	channel->bm_status |= STATUS_ACTIVE;
	channel->bm_next = channel->bm_table;
	channel->bm_count = 0;
	channel->bm_last = false;
	ide_run_dma(channel);
}

static void write_byte(struct ide_channel *channel, unsigned reg, uint8_t value)
{
	switch (reg) {
	case BM_COMMAND:
		write_command(channel, value);
		break;
	case BM_STATUS:
		channel->bm_status &= (uint8_t)~(value & (STATUS_ERROR | STATUS_INTERRUPT));
		channel->bm_status = (uint8_t)((channel->bm_status & ~STATUS_CAPABLE) | (value & STATUS_CAPABLE));
		break;
	case BM_TABLE: case BM_TABLE + 1: case BM_TABLE + 2: case BM_TABLE + 3: {
		unsigned shift = 8 * (reg - BM_TABLE);
		channel->bm_table = ((channel->bm_table & ~(0xffu << shift)) | (uint32_t)value << shift) & ~3u;
		break;
	}
	}
}

static uint8_t read_byte(const struct ide_channel *channel, unsigned reg)
{
	switch (reg) {
	case BM_COMMAND: return channel->bm_command;
	case BM_STATUS: return channel->bm_status;
	case BM_TABLE: case BM_TABLE + 1: case BM_TABLE + 2: case BM_TABLE + 3:
		return (uint8_t)(channel->bm_table >> (8 * (reg - BM_TABLE)));
	default: return 0;
	}
}

static uint64_t busmaster_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ide *ide = opaque;
	uint64_t value = 0;
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read_byte(&ide->channel[(offset + i) / BM_SIZE], (unsigned)(offset + i) % BM_SIZE) << (8 * i);
	return value;
}

static void busmaster_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ide *ide = opaque;
	for (unsigned i = 0; i < size; i++)
		write_byte(&ide->channel[(offset + i) / BM_SIZE], (unsigned)(offset + i) % BM_SIZE, (uint8_t)(value >> (8 * i)));
}

const struct io_ops ide_busmaster_ops = { busmaster_read, busmaster_write, 4 };
