/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_SCSI_BUSLOGIC_PARTS_H
#define VISOR_DEV_SCSI_BUSLOGIC_PARTS_H

#include "dev/scsi/buslogic.h"
#include "dev/scsi/scsi.h"

/* Inside the host adapter. Names are those of BusLogic's MultiMaster technical reference. */
#define ADAPTER_ID 7
#define TARGETS 16
#define QUEUE_DEPTH 192u      /* CCBs that the adapter has at once */
#define SG_LIMIT 8192u        /* elements of a scatter/gather list */

#define STATUS_INVALID 0x01u  /* command or parameter */
#define STATUS_DATA_IN 0x04u
#define STATUS_READY 0x10u
#define STATUS_INIT 0x20u     /* mailboxes have to be initialized */
#define STATUS_DIAGNOSTIC 0x80u

#define INTERRUPT_MAILBOX_IN 0x01u
#define INTERRUPT_MAILBOX_OUT 0x02u
#define INTERRUPT_COMPLETE 0x04u
#define INTERRUPT_VALID 0x80u

/* A CCB that is done and waits for an incoming mailbox. */
struct ended {
	uint32_t ccb;
	uint8_t code, host_status, target_status;
};

struct buslogic {
	struct device device;
	struct pci_function function;
	struct lock lock;
	struct dma dma;
	struct io_space *ports;
	struct timer retry;       /* incoming mailboxes were full */
	struct io_region isa;
	unsigned in_flight;       /* CCBs that disks have */
	bool scanning;

	/* Saved: */
	struct scsi_disk disk[BUSLOGIC_DISKS];
	uint8_t command;          /* whose parameters are awaited; 0: none */
	uint8_t parameter[260];
	uint16_t parameters, parameters_wanted;
	uint8_t reply[256];
	uint16_t reply_size, reply_at;
	bool invalid;             /* STATUS_INVALID */
	uint8_t interrupt, held;  /* the register; what comes after it is cleared */
	bool interrupts_off;
	bool diagnostic;
	uint64_t diagnostic_end;
	uint8_t isa_port;         /* number of the ISA compatible ports; 6: off */
	uint32_t mailbox_base, mailboxes, next_out, next_in;
	bool wide;                /* mailboxes and CCBs have 32-bit addresses */
	bool strict;              /* round robin */
	bool extended_lun, tell_out;
	bool left_out;            /* outgoing mailboxes wait for room in the queue */
	struct ended ended[QUEUE_DEPTH];
	uint32_t ended_count;
	uint8_t local_ram[256], fifo[64];
};

/* --- buslogic.c --- */
void buslogic_interrupt(struct buslogic *adapter, uint8_t cause);
void buslogic_update_irq(struct buslogic *adapter);
/* Decodes the ISA compatible ports of that number; false: they are taken, or there are none of that number. */
bool buslogic_set_isa_port(struct buslogic *adapter, uint8_t number);

/* --- buslogic_command.c: host adapter commands, by the command register --- */
void buslogic_write_command(struct buslogic *adapter, uint8_t value);
uint8_t buslogic_read_data(struct buslogic *adapter);
void buslogic_fill_local_ram(struct buslogic *adapter);

/* --- buslogic_ccb.c: mailboxes and CCBs --- */
void buslogic_scan_mailboxes(struct buslogic *adapter);
/* Puts what has ended into incoming mailboxes, as many as are free. */
void buslogic_deliver(struct buslogic *adapter);
/* Ends what disks have under way without a trace. */
void buslogic_abandon(struct buslogic *adapter, unsigned target);

#endif
