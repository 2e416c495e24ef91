/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_IDE_DRIVE_H
#define VISOR_DEV_IDE_DRIVE_H

#include "dev/ide/ide.h"
#include "dev/scsi/mmc.h"

/*
 * Inside the IDE controller. A command is carried out by its drive in these steps:
 *
 *   TRANSFER_NONE     no data, or none yet
 *   TRANSFER_BUSY     the disk has a request (BSY); its completion goes on
 *   TRANSFER_PIO_IN   DRQ: the host reads buffer[position..limit)
 *   TRANSFER_PIO_OUT  DRQ: the host writes buffer[position..limit), then `received` takes it
 *   TRANSFER_DMA_IN   DRQ: waits for the bus master, which takes buffer[position..filled), then `left` bytes of the disk
 *   TRANSFER_DMA_OUT  the same from the host: `left` bytes for the disk, or, when there are none, into the buffer
 *
 * `offset` and `left` are the bytes of the disk that the command still moves.
 * Only the first of the channel's drives that is selected can have a command.
 */
#define IDE_BUFFER 32768u
#define IDE_DMA_CHUNK (1u << 20)
#define IDE_DMA_PIECES 128

/* Status and error registers (ATA/ATAPI-6, 7.8 and 7.15). */
#define STATUS_ERR 0x01u    /* CHK in packet commands */
#define STATUS_DRQ 0x08u
#define STATUS_DSC 0x10u    /* seek complete, SERV in packet commands */
#define STATUS_DF 0x20u
#define STATUS_DRDY 0x40u
#define STATUS_BSY 0x80u
#define ERROR_ABRT 0x04u
#define ERROR_IDNF 0x10u
#define ERROR_UNC 0x40u
#define DEVICE_LBA 0x40u
#define DEVICE_SLAVE 0x10u

/* The sector count register as interrupt reason (7.6.3 of the packet commands). */
#define REASON_COMMAND 0x01u
#define REASON_IN 0x02u

enum transfer {
	TRANSFER_NONE, TRANSFER_BUSY, TRANSFER_PIO_IN, TRANSFER_PIO_OUT, TRANSFER_DMA_IN, TRANSFER_DMA_OUT, TRANSFER_KINDS
};

/* What PIO data from the host is, or what a request of the disk was for. */
enum purpose { FOR_NOTHING, FOR_READ, FOR_WRITE, FOR_PACKET, FOR_VERIFY, FOR_FLUSH, FOR_TRIM, FOR_SELECT, PURPOSES };

/* Task file registers that have a "previous content" for 48-bit commands (6.20). */
struct ide_taskfile {
	uint8_t features, count, low, mid, high;
};

struct ide_channel;

struct ide_drive {
	struct ide_channel *channel;
	unsigned number;         /* 0..3 */
	enum ide_kind kind;
	struct block *block;
	char serial[21];

	/* Saved: */
	struct ide_taskfile now, previous;
	uint8_t error, status, command;
	bool interrupt;          /* INTRQ wanted, while selected */
	uint8_t transfer, purpose;
	uint32_t position, limit, filled;
	uint64_t offset, left;
	uint64_t extent;         /* bytes of the disk in the buffer or under way */
	uint32_t block_bytes;    /* of one DRQ block */
	uint8_t multiple;        /* sectors of READ and WRITE MULTIPLE; 0: off */
	uint8_t heads, sectors;  /* current CHS translation */
	uint8_t dma_mode;        /* word 63's and 88's selected modes: 0x20 + n, 0x40 + n, 0: none */
	bool write_cache, look_ahead, smart;
	bool lba48;              /* the command is one of 48 bits */
	bool wants_dma;          /* FEATURE bit 0 of the packet command */
	bool through;            /* a write that ends on stable storage */
	/* Of the packet commands: */
	uint8_t packet[MMC_CDB_SIZE];
	struct mmc_drive mmc;    /* with the same block as this one */
	uint32_t limit_bytes;    /* byte count limit of the host */
	uint8_t buffer[IDE_BUFFER];

	/* The request that the disk has. */
	struct block_request request;
	bool in_flight, by_dma;
	struct iovec iov[IDE_DMA_PIECES];
};

struct ide_channel {
	struct ide *ide;
	unsigned number;
	struct irq_line irq;
	struct ide_drive drive[2];
	struct io_region command_block, control_block;
	bool line;               /* level of INTRQ */

	/* Saved: */
	uint8_t device;          /* the device register */
	uint8_t control;         /* device control: HOB, SRST, nIEN */
	uint8_t bm_command, bm_status;
	uint32_t bm_table;       /* address of the first descriptor */
	uint32_t bm_next;        /* of the next one */
	uint32_t bm_address, bm_count; /* what is left of the one in use */
	bool bm_last;            /* that one ends the table */
};

struct ide {
	struct device device;
	struct pci_function function;
	struct lock lock;
	struct dma dma;
	struct io_space *ports;
	struct ide_channel channel[2];
};

static inline struct ide_drive *ide_selected(struct ide_channel *channel)
{
	return &channel->drive[channel->device & DEVICE_SLAVE ? 1 : 0];
}

/* --- ide.c --- */
/* Drives INTRQ after `interrupt`, selection or nIEN changed. */
void ide_update_irq(struct ide_channel *channel);

/* --- transfer.c --- */
/* End of a command: status, error (0: success), interrupt. */
void ide_complete(struct ide_drive *drive, uint8_t error);
/* Buffer[0..size) is for the host, as one reply. */
void ide_reply(struct ide_drive *drive, uint32_t size);
/* `left` bytes at `offset` of the disk, by PIO in DRQ blocks of block_bytes, or by DMA. */
void ide_start_read(struct ide_drive *drive, bool dma);
void ide_start_write(struct ide_drive *drive, bool dma);
/* Takes `size` bytes from the host into the buffer, for `purpose`. */
void ide_receive(struct ide_drive *drive, uint32_t size, enum purpose purpose, bool dma);
/* Reads `left` bytes at `offset` for errors alone. */
void ide_start_verify(struct ide_drive *drive);
/* A request without data: flush, discard. */
void ide_submit_plain(struct ide_drive *drive, enum block_op op, uint64_t offset, uint64_t length, enum purpose purpose);
/* The data register: `size` is 2 or 4. */
uint32_t ide_data_read(struct ide_drive *drive, unsigned size);
void ide_data_write(struct ide_drive *drive, uint32_t value, unsigned size);
/* Ends what is under way without a trace: soft reset, DEVICE RESET. */
void ide_abandon(struct ide_drive *drive);

/* --- busmaster.c --- */
extern const struct io_ops ide_busmaster_ops; /* opaque: struct ide */
/* The next pieces of guest memory, at most `room` bytes in `pieces` iovecs; how many bytes they are. 0: the table has ended, or
 * names no memory, and the bus master has stopped. */
uint32_t ide_bm_gather(struct ide_channel *channel, uint32_t room, struct iovec *iov, unsigned pieces, unsigned *count);
/* The same in whole sectors; 0 also when the pieces are so small that none is whole. */
uint32_t ide_bm_gather_sectors(struct ide_channel *channel, uint32_t room, struct iovec *iov, unsigned pieces, unsigned *count);
/* All data of the command has been moved: tells by the status register whether the table had more room. */
void ide_bm_finish(struct ide_channel *channel);
bool ide_bm_ready(const struct ide_channel *channel, bool to_memory);
/* Moves data of the drive that waits for the bus master, as far as both are ready. */
void ide_run_dma(struct ide_channel *channel);

/* --- ata.c --- */
void ide_command(struct ide_drive *drive, uint8_t command);
/* PIO data from the host has come. */
void ide_received(struct ide_drive *drive);
/* A request for `purpose` other than moving the command's data ended. */
void ide_plain_done(struct ide_drive *drive, enum purpose purpose, int error);
/* Registers after power on, SRST and DEVICE RESET (9.12, the signature). */
void ide_set_signature(struct ide_drive *drive);

/* --- identify.c --- */
void ide_identify(struct ide_drive *drive);
void ide_identify_packet(struct ide_drive *drive);
/* A string in words, first character in the high byte, padded by spaces. */
void ide_put_text(uint8_t *at, const char *text, unsigned size);

/* --- atapi.c --- */
void ide_packet_begin(struct ide_drive *drive);
void ide_packet_run(struct ide_drive *drive);
/* End of a packet command; key 0: good. */
void ide_packet_end(struct ide_drive *drive, uint8_t key, uint8_t asc);

#endif
