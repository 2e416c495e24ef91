/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PCI_PCI_H
#define VISOR_DEV_PCI_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/space.h"

/*
 * One conventional PCI bus (PCI Local Bus 3.0) behind configuration mechanism
 * #1, and the functions on it.
 *
 * Locks. The bus's lock is the configuration lock: it covers all configuration
 * accesses, BAR moves, reset and save of the functions. A function may have a
 * lock of its own, which is taken inside it around every change of its
 * configuration space, so holding either is enough to read it. Interrupt lines
 * have a third, innermost lock, so that a device may raise its pin with its own
 * lock taken.
 */

/* Type 0 header (PCI 3.0, 6.1). */
#define PCI_VENDOR_ID 0x00
#define PCI_DEVICE_ID 0x02
#define PCI_COMMAND 0x04
#define PCI_COMMAND_IO 0x1
#define PCI_COMMAND_MEMORY 0x2
#define PCI_COMMAND_MASTER 0x4
#define PCI_COMMAND_SERR 0x100
#define PCI_COMMAND_INTX_DISABLE 0x400
#define PCI_STATUS 0x06
#define PCI_STATUS_INTERRUPT 0x8
#define PCI_STATUS_CAPABILITIES 0x10
#define PCI_REVISION_ID 0x08
#define PCI_CLASS_PROG 0x09
#define PCI_CACHE_LINE 0x0c
#define PCI_LATENCY 0x0d
#define PCI_HEADER_TYPE 0x0e
#define PCI_HEADER_MULTIFUNCTION 0x80
#define PCI_BAR(n) (0x10 + 4 * (n))
#define PCI_SUBSYSTEM_VENDOR_ID 0x2c
#define PCI_SUBSYSTEM_ID 0x2e
#define PCI_CAPABILITY_POINTER 0x34
#define PCI_INTERRUPT_LINE 0x3c
#define PCI_INTERRUPT_PIN 0x3d
#define PCI_CONFIG_SIZE 256

#define PCI_DEVFN(slot, function) ((uint8_t)((slot) << 3 | (function)))
#define PCI_BARS 6
#define PCI_MAX_FUNCTIONS 64
#define PCI_MSIX_MAX 64

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEMORY32, PCI_BAR_MEMORY64 };

struct pci_bar {
	enum pci_bar_kind kind;
	struct io_region region;
};

struct pci_msi {
	uint8_t capability; /* offset in configuration space; 0: none */
	unsigned vectors;
	uint32_t pending;
};

struct pci_msix {
	uint8_t capability;
	unsigned vectors, bar;
	uint32_t table_offset, pba_offset;    /* in the BAR */
	uint32_t table[PCI_MSIX_MAX * 4];     /* address low, high, data, control of each vector */
	uint64_t pending;
};

struct pci_function;

struct pci_function_ops {
	/* After a configuration write of `size` bytes at `offset` took effect; locks taken. May be NULL. */
	void (*config_written)(void *opaque, unsigned offset, unsigned size);
	/* Before a configuration read, for registers that are made on the spot; locks taken. May be NULL. */
	void (*config_reading)(void *opaque, unsigned offset, unsigned size);
};

struct pci_function_config {
	struct pci_bus *bus;
	const char *name;     /* lives as long as the function */
	uint8_t devfn;
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code;  /* 24 bits: class, subclass, programming interface */
	uint8_t revision;
	uint8_t header_type;
	uint8_t interrupt_pin; /* 1..4: INTA..INTD; 0: none */
	struct lock *lock;    /* the device's own lock, or NULL */
	const struct pci_function_ops *ops; /* or NULL */
	void *opaque;
};

struct pci_function {
	struct pci_bus *bus;
	const char *name;
	uint8_t devfn;
	unsigned index;       /* on the bus */
	struct lock *lock;
	const struct pci_function_ops *ops;
	void *opaque;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t reset_config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE];   /* bits that a guest may write */
	uint8_t clearable[PCI_CONFIG_SIZE];  /* bits that a guest clears by writing 1 */
	unsigned capability_end, last_capability;
	struct pci_bar bar[PCI_BARS];
	struct pci_msi msi;
	struct pci_msix msix;
	uint8_t intx;         /* the device asserts its pin, before the command register's say */
};

/* For the owner's field list: FIELD_STRUCT(struct owner, function, pci_function_fields). */
extern const struct field pci_function_fields[];

/* Where the four interrupt lines PIRQA..D go; called with the bus's interrupt lock taken. */
struct pirq_router {
	void (*set)(void *opaque, unsigned pirq, int level);
	void *opaque;
};

/* Byte ports inside 0xcf8..0xcfb, which belong to whoever decodes them (the reset register at 0xcf9). */
struct pci_byte_ports {
	uint8_t (*read)(void *opaque, unsigned port);
	void (*write)(void *opaque, unsigned port, uint8_t value);
	void *opaque;
};

struct pci_bus_config {
	struct io_space *io, *mmio;
	struct msi_sink msi;
};

struct pci_bus {
	struct device device;
	struct lock lock, irq_lock;
	struct io_space *io, *mmio;
	struct msi_sink msi;
	struct io_region ports;
	uint32_t address;                 /* CONFADD */
	struct pci_function *functions[PCI_MAX_FUNCTIONS]; /* by index; NULL: free */
	struct pirq_router router;
	struct pci_byte_ports byte_ports;
	uint64_t asserted[4];             /* by PIRQ: bit = index of a function that pulls it */
};

/* Makes the bus and takes ports 0xcf8..0xcff. Functions must be destroyed before the bus. */
struct pci_bus *pci_bus_create(const struct pci_bus_config *config, struct error *err);

/* Direct access to configuration space, as by the guest, for firmware's work done by the machine. size: 1, 2, 4;
 * within one aligned dword. */
uint32_t pci_config_read(struct pci_bus *bus, uint8_t devfn, unsigned offset, unsigned size);
void pci_config_write(struct pci_bus *bus, uint8_t devfn, unsigned offset, uint32_t value, unsigned size);

/* The line, 0..3 for PIRQA..D, of a slot's pin (0..3 for INTA..D): the wiring of the i440FX boards that firmware
 * knows; the ACPI _PRT must say the same. */
static inline unsigned pci_intx_pirq(unsigned slot, unsigned pin)
{
	return (slot + pin + 3) & 3;
}

/* Does what firmware does before a system starts, for machines that boot a kernel without firmware: gives each BAR
 * an address, enables decoding, and fills the interrupt line registers from irq[PIRQ]. */
struct pci_windows {
	uint64_t io_base, io_end;         /* end: exclusive */
	uint64_t memory_base, memory_end; /* below 4 GiB */
	uint8_t irq[4];
};
int pci_bus_assign(struct pci_bus *bus, const struct pci_windows *windows, struct error *err);

/* Fails (EEXIST) when the devfn is taken, (ENOSPC) when the bus is full. */
int pci_function_init(struct pci_function *function, const struct pci_function_config *config, struct error *err);
void pci_function_destroy(struct pci_function *function);

/* Declares BAR n (two for 64 bits). size: a power of two, at least 16 (memory) or 4 (I/O). The region's name, ops,
 * opaque and the function's lock apply to accesses. */
int pci_function_add_bar(struct pci_function *function, unsigned n, enum pci_bar_kind kind, uint64_t size,
			 const struct io_ops *ops, void *opaque, struct error *err);

/* Appends a capability of `size` bytes (ID and next pointer included); its offset, or -1 when there is no room.
 * The owner fills the body in `reset_config` and `writable`. */
int pci_function_add_capability(struct pci_function *function, uint8_t id, unsigned size, struct error *err);

/* Sets a register's value after reset and which of its bits a guest may write. size: 1, 2, 4. */
void pci_function_set_register(struct pci_function *function, unsigned offset, uint32_t value, uint32_t writable,
			       unsigned size);

/* Where BAR n is decoded now; false when it is not. For what is placed by others than the bus; the bus's lock or the function's taken. */
bool pci_function_bar_base(const struct pci_function *function, unsigned n, uint64_t *base);

/* For the owner's reset and loaded, with the bus's lock taken. */
void pci_function_reset(struct pci_function *function);
void pci_function_loaded(struct pci_function *function);

/* The two halves of a configuration access, with the bus's lock taken. */
uint32_t pci_function_config_read(struct pci_function *function, unsigned offset, unsigned size);
void pci_function_config_write(struct pci_function *function, unsigned offset, uint32_t value, unsigned size);

/* Drives the function's interrupt pin; any thread, the function's lock taken. */
void pci_intx_set(struct pci_function *function, bool level);

static inline uint16_t pci_function_command(const struct pci_function *function)
{
	return (uint16_t)(function->config[PCI_COMMAND] | function->config[PCI_COMMAND + 1] << 8);
}

/* Maps and unmaps regions until they agree with the configuration registers of all functions. */
void pci_bus_remap(struct pci_bus *bus);

/* Passes the function's share of its line on; drive == false only notes it (after a load). */
void pci_bus_intx(struct pci_bus *bus, const struct pci_function *function, bool level, bool drive);

#endif
