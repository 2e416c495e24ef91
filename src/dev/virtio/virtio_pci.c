/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio/virtio_pci.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "dev/pci/msi.h"

/* One page for each structure; in a shared function behind one that is the other device's. */
#define PAGE_SIZE 0x1000
enum { PAGE_COMMON, PAGE_ISR, PAGE_DEVICE, PAGE_NOTIFY, PAGES };
#define SHARED_REGISTERS_SIZE 0x8000
#define NOTIFY_MULTIPLIER 4

#define MSIX_BAR_SIZE 0x1000
#define MSIX_TABLE 0x000
#define MSIX_PBA 0x800

/* struct virtio_pci_common_cfg, 4.1.4.3. */
#define COMMON_DEVICE_FEATURE_SELECT 0x00
#define COMMON_DEVICE_FEATURE 0x04
#define COMMON_DRIVER_FEATURE_SELECT 0x08
#define COMMON_DRIVER_FEATURE 0x0c
#define COMMON_CONFIG_VECTOR 0x10
#define COMMON_QUEUE_COUNT 0x12
#define COMMON_STATUS 0x14
#define COMMON_GENERATION 0x15
#define COMMON_QUEUE_SELECT 0x16
#define COMMON_QUEUE_SIZE 0x18
#define COMMON_QUEUE_VECTOR 0x1a
#define COMMON_QUEUE_ENABLE 0x1c
#define COMMON_QUEUE_NOTIFY_OFF 0x1e
#define COMMON_QUEUE_DESC 0x20
#define COMMON_QUEUE_DRIVER 0x28
#define COMMON_QUEUE_DEVICE 0x30
#define COMMON_SIZE 0x38

/* struct virtio_pci_cap, 4.1.4. */
#define CAPABILITY_VENDOR 0x09
#define CAP_LENGTH 2
#define CAP_TYPE 3
#define CAP_BAR 4
#define CAP_OFFSET 8
#define CAP_SIZE 12
#define CAP_EXTRA 16 /* notify: multiplier; PCI access: data window */
enum { TYPE_COMMON = 1, TYPE_NOTIFY, TYPE_ISR, TYPE_DEVICE, TYPE_PCI_ACCESS };

#define ISR_QUEUE 1
#define ISR_CONFIG 2
#define NO_VECTOR 0xffff

struct virtio_pci {
	struct device device;
	char function_name[24];
	struct pci_function own, *function; /* own: unless it is shared */
	struct virtio_pci_shared shared;
	const struct pci_function_ops *shared_ops;
	void *shared_opaque;
	unsigned registers_bar, msix_bar;
	unsigned registers_size, first; /* bytes; where the structures begin in it */
	struct virtio_device *virtio;
	unsigned access;          /* offset of the PCI access capability */
	/* State. */
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select;
	uint16_t config_vector;
	uint16_t queue_vector[VIRTIO_MAX_QUEUES];
	uint8_t isr;
};

static void interrupt(struct virtio_pci *pci, uint16_t vector, uint8_t isr)
{
	if (pci_msix_enabled(pci->function)) {
		if (vector != NO_VECTOR)
			pci_msix_notify(pci->function, vector);
		return;
	}
	pci->isr |= isr;
	pci_intx_set(pci->function, true);
}

static void queue_interrupt(void *opaque, unsigned queue)
{
	struct virtio_pci *pci = opaque;
	interrupt(pci, pci->queue_vector[queue], ISR_QUEUE);
}

static void config_interrupt(void *opaque)
{
	struct virtio_pci *pci = opaque;
	interrupt(pci, pci->config_vector, ISR_CONFIG);
}

static bool dma_allowed(void *opaque)
{
	const struct virtio_pci *pci = opaque;
	return pci_function_command(pci->function) & PCI_COMMAND_MASTER;
}

/* A reset of the device takes its vectors along (4.1.5.1.2.1: they have no vector then). */
static void forget_interrupts(struct virtio_pci *pci)
{
	pci->config_vector = NO_VECTOR;
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		pci->queue_vector[i] = NO_VECTOR;
	pci->isr = 0;
	pci_intx_set(pci->function, false);
}

/* A queue beyond the last one reads as size 0 (4.1.4.3.1) and swallows writes. */
static struct virtqueue *selected(struct virtio_pci *pci)
{
	return pci->queue_select < pci->virtio->queue_count ? &pci->virtio->queue[pci->queue_select] : NULL;
}

static uint64_t queue_register(struct virtio_pci *pci, unsigned offset)
{
	const struct virtqueue *queue = selected(pci);
	if (!queue)
		return offset == COMMON_QUEUE_VECTOR ? NO_VECTOR : 0;
	switch (offset) {
	case COMMON_QUEUE_SIZE:
		return queue->size;
	case COMMON_QUEUE_VECTOR:
		return pci->queue_vector[pci->queue_select];
	case COMMON_QUEUE_ENABLE:
		return queue->enabled;
	case COMMON_QUEUE_NOTIFY_OFF:
		return pci->queue_select;
	case COMMON_QUEUE_DESC:
		return queue->desc;
	case COMMON_QUEUE_DRIVER:
		return queue->avail;
	case COMMON_QUEUE_DEVICE:
		return queue->used;
	default:
		return 0;
	}
}

static uint64_t common_register(struct virtio_pci *pci, unsigned offset)
{
	const struct virtio_device *virtio = pci->virtio;
	switch (offset) {
	case COMMON_DEVICE_FEATURE_SELECT:
		return pci->device_feature_select;
	case COMMON_DEVICE_FEATURE:
		return pci->device_feature_select < 2 ?
			(uint32_t)(virtio->offered >> (32 * pci->device_feature_select)) : 0;
	case COMMON_DRIVER_FEATURE_SELECT:
		return pci->driver_feature_select;
	case COMMON_DRIVER_FEATURE:
		return pci->driver_feature_select < 2 ?
			(uint32_t)(virtio->features >> (32 * pci->driver_feature_select)) : 0;
	case COMMON_CONFIG_VECTOR:
		return pci->config_vector;
	case COMMON_QUEUE_COUNT:
		return virtio->queue_count;
	case COMMON_STATUS:
		return virtio->status;
	case COMMON_GENERATION:
		return virtio->config_generation;
	case COMMON_QUEUE_SELECT:
		return pci->queue_select;
	default:
		return queue_register(pci, offset);
	}
}

/* The width in bytes of the register that covers `offset`, and where it begins. */
static unsigned common_width(unsigned offset, unsigned *start)
{
	unsigned width = 2;
	if (offset < COMMON_CONFIG_VECTOR)
		width = 4;
	else if (offset == COMMON_STATUS || offset == COMMON_GENERATION)
		width = 1;
	else if (offset >= COMMON_QUEUE_DESC)
		width = 8;
	*start = ALIGN_DOWN(offset, width);
	return width;
}

/* Reads of any size and place give the bytes that are there. */
static uint64_t common_read(struct virtio_pci *pci, unsigned offset, unsigned size)
{
	uint64_t value = 0;
	for (unsigned i = 0; i < size && offset + i < COMMON_SIZE; i++) {
		unsigned start;
		common_width(offset + i, &start);
		value |= (common_register(pci, start) >> (8 * (offset + i - start)) & 0xff) << (8 * i);
	}
	return value;
}

static void write_driver_feature(struct virtio_pci *pci, uint32_t value)
{
	struct virtio_device *virtio = pci->virtio;
	if (virtio->status & VIRTIO_STATUS_FEATURES_OK || pci->driver_feature_select > 1)
		return;
	unsigned shift = 32 * pci->driver_feature_select;
	virtio->features = (virtio->features & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
}

static uint16_t valid_vector(const struct virtio_pci *pci, uint64_t vector)
{
	return vector < pci->function->msix.vectors ? (uint16_t)vector : NO_VECTOR;
}

/* An address half or whole; an enabled queue keeps its addresses (4.1.4.3.2). */
static void write_address(uint64_t *address, unsigned offset, uint64_t value, unsigned size)
{
	if (size == 8)
		*address = value;
	else if (size == 4 && offset % 8)
		*address = (*address & 0xffffffffull) | value << 32;
	else if (size == 4)
		*address = (*address & ~0xffffffffull) | value;
}

static void queue_write(struct virtio_pci *pci, unsigned offset, uint64_t value, unsigned size)
{
	struct virtqueue *queue = selected(pci);
	if (!queue)
		return;
	if (offset == COMMON_QUEUE_VECTOR) {
		pci->queue_vector[pci->queue_select] = valid_vector(pci, value);
		return;
	}
	if (queue->enabled)
		return;
	switch (ALIGN_DOWN(offset, offset >= COMMON_QUEUE_DESC ? 8u : 1u)) {
	case COMMON_QUEUE_SIZE:
		queue->size = (uint16_t)value;
		break;
	case COMMON_QUEUE_ENABLE:
		if (value == 1)
			virtio_enable_queue(pci->virtio, pci->queue_select);
		break;
	case COMMON_QUEUE_DESC:
		write_address(&queue->desc, offset, value, size);
		break;
	case COMMON_QUEUE_DRIVER:
		write_address(&queue->avail, offset, value, size);
		break;
	case COMMON_QUEUE_DEVICE:
		write_address(&queue->used, offset, value, size);
		break;
	}
}

/* Drivers write each register with its own width, the 64-bit ones also by halves (4.1.3.1); other writes have no
 * effect. */
static void common_write(struct virtio_pci *pci, unsigned offset, uint64_t value, unsigned size)
{
	unsigned start, width = common_width(offset, &start);
	if (size != width && !(width == 8 && size == 4))
		return;
	if (offset % size)
		return;
	switch (offset) {
	case COMMON_DEVICE_FEATURE_SELECT:
		pci->device_feature_select = (uint32_t)value;
		break;
	case COMMON_DRIVER_FEATURE_SELECT:
		pci->driver_feature_select = (uint32_t)value;
		break;
	case COMMON_DRIVER_FEATURE:
		write_driver_feature(pci, (uint32_t)value);
		break;
	case COMMON_CONFIG_VECTOR:
		pci->config_vector = valid_vector(pci, value);
		break;
	case COMMON_STATUS:
		virtio_write_status(pci->virtio, (uint8_t)value);
		if (!value)
			forget_interrupts(pci);
		break;
	case COMMON_QUEUE_SELECT:
		pci->queue_select = (uint16_t)value;
		break;
	default:
		if (offset < COMMON_SIZE)
			queue_write(pci, offset, value, size);
	}
}

static uint64_t isr_read(struct virtio_pci *pci, unsigned offset)
{
	if (offset)
		return 0;
	uint8_t isr = pci->isr;
	pci->isr = 0;
	pci_intx_set(pci->function, false);
	return isr;
}

static uint64_t read_locked(struct virtio_pci *pci, unsigned page, unsigned in_page, unsigned size)
{
	switch (page) {
	case PAGE_COMMON:
		return common_read(pci, in_page, size);
	case PAGE_ISR:
		return isr_read(pci, in_page);
	case PAGE_DEVICE:
		return virtio_read_config(pci->virtio, in_page, size);
	default:
		return 0;
	}
}

static uint64_t registers_read(void *opaque, uint64_t offset, unsigned size)
{
	struct virtio_pci *pci = opaque;
	lock_take(&pci->virtio->lock);
	uint64_t value = offset < pci->first ? pci->shared.registers->read(pci->shared.opaque, offset, size) :
		read_locked(pci, (unsigned)((offset - pci->first) / PAGE_SIZE), (unsigned)(offset % PAGE_SIZE), size);
	lock_release(&pci->virtio->lock);
	return value;
}

/* A notification takes no lock: the worker, which it wakes or which is serving just now, wants that very one. */
static void registers_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct virtio_pci *pci = opaque;
	bool other = offset < pci->first; /* a register of the other device's in a shared function */
	unsigned page = (unsigned)((offset - pci->first) / PAGE_SIZE), in_page = (unsigned)(offset % PAGE_SIZE);
	if (!other && page == PAGE_NOTIFY) {
		virtio_notify(pci->virtio, in_page / NOTIFY_MULTIPLIER);
		return;
	}
	lock_take(&pci->virtio->lock);
	if (other)
		pci->shared.registers->write(pci->shared.opaque, offset, value, size);
	else if (page == PAGE_COMMON)
		common_write(pci, in_page, value, size);
	else if (page == PAGE_DEVICE)
		virtio_write_config(pci->virtio, in_page, value, size);
	lock_release(&pci->virtio->lock);
}

static void ring(void *opaque, unsigned index)
{
	struct virtio_pci *pci = opaque;
	virtio_notify(pci->virtio, index);
}

static uint64_t msix_read(void *opaque, uint64_t offset, unsigned size)
{
	struct virtio_pci *pci = opaque;
	uint64_t value = 0;
	pci_msix_read(pci->function, offset, size, &value);
	return value;
}

static void msix_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct virtio_pci *pci = opaque;
	pci_msix_write(pci->function, offset, value, size);
}

static const struct io_ops registers_ops = { registers_read, registers_write, 8 };
static const struct io_ops msix_ops = { msix_read, msix_write, 8 };

/* The window of the PCI access capability: BAR, offset and length as the driver set them (4.1.4.9). */
static const struct io_ops *access_target(const struct virtio_pci *pci, uint32_t *offset, uint32_t *size)
{
	const uint8_t *cap = pci->function->config + pci->access;
	*offset = load_le32(cap + CAP_OFFSET);
	*size = load_le32(cap + CAP_SIZE);
	if ((*size != 1 && *size != 2 && *size != 4) || *offset % *size)
		return NULL;
	if (cap[CAP_BAR] == pci->registers_bar)
		return *offset <= pci->registers_size - *size ? &registers_ops : NULL;
	return cap[CAP_BAR] == pci->msix_bar && *offset <= MSIX_BAR_SIZE - *size ? &msix_ops : NULL;
}

static bool in_access_window(const struct virtio_pci *pci, unsigned offset, unsigned size)
{
	unsigned window = pci->access + CAP_EXTRA;
	return offset < window + 4 && offset + size > window;
}

static void config_reading(void *opaque, unsigned offset, unsigned size)
{
	struct virtio_pci *pci = opaque;
	uint32_t at, length;
	if (pci->shared_ops && pci->shared_ops->config_reading)
		pci->shared_ops->config_reading(pci->shared_opaque, offset, size);
	if (!in_access_window(pci, offset, size))
		return;
	const struct io_ops *ops = access_target(pci, &at, &length);
	if (ops)
		store_le(pci->function->config + pci->access + CAP_EXTRA, ops->read(pci, at, length), length);
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
	struct virtio_pci *pci = opaque;
	uint32_t at, length;
	if (pci->shared_ops && pci->shared_ops->config_written)
		pci->shared_ops->config_written(pci->shared_opaque, offset, size);
	if (offset <= PCI_COMMAND && offset + size > PCI_COMMAND)
		virtio_resume(pci->virtio);
	if (!in_access_window(pci, offset, size))
		return;
	const struct io_ops *ops = access_target(pci, &at, &length);
	if (ops)
		ops->write(pci, at, load_le(pci->function->config + pci->access + CAP_EXTRA, length), length);
}

static const struct pci_function_ops function_ops = { config_written, config_reading };

/* Of a shared function all but the first one. */
static const struct field fields[] = {
	{ .name = "function", .kind = FIELD_KIND_STRUCT, .offset = offsetof(struct virtio_pci, own), .width = sizeof(struct pci_function),
	  .count = 1, .sub = pci_function_fields },
	FIELD(struct virtio_pci, device_feature_select),
	FIELD(struct virtio_pci, driver_feature_select),
	FIELD(struct virtio_pci, queue_select),
	FIELD_RESET(struct virtio_pci, config_vector, NO_VECTOR),
	FIELD_ARRAY_RESET(struct virtio_pci, queue_vector, NO_VECTOR),
	FIELD(struct virtio_pci, isr),
	FIELD_END
};

static void reset(void *device)
{
	struct virtio_pci *pci = device;
	if (!pci->shared.function)
		pci_function_reset(pci->function);
}

/* The device may have been loaded before its transport, when DMA was not yet allowed. */
static int loaded(void *device, struct error *err)
{
	struct virtio_pci *pci = device;
	if (!pci->shared.function)
		pci_function_loaded(pci->function);
	lock_take(&pci->virtio->lock);
	pci->config_vector = valid_vector(pci, pci->config_vector);
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		pci->queue_vector[i] = valid_vector(pci, pci->queue_vector[i]);
	virtio_resume(pci->virtio);
	lock_release(&pci->virtio->lock);
	return 0;
}

static void destroy(void *device)
{
	struct virtio_pci *pci = device;
	virtio_set_transport(pci->virtio, &(struct virtio_transport){ 0 });
	if (pci->shared.function) {
		pci->function->ops = pci->shared_ops;
		pci->function->opaque = pci->shared_opaque;
	} else {
		pci_function_destroy(pci->function);
	}
	free(pci);
}

static const struct device_type virtio_pci_type = {
	.name = "virtio-pci",
	.fields = fields,
	.reset = reset,
	.loaded = loaded,
	.destroy = destroy,
};

static const struct device_type shared_type = {
	.name = "virtio-pci",
	.fields = fields + 1,
	.loaded = loaded,
	.destroy = destroy,
};

static int add_structure(struct virtio_pci *pci, uint8_t type, unsigned page, uint32_t length, struct error *err)
{
	struct pci_function *function = pci->function;
	bool extra = type == TYPE_NOTIFY || type == TYPE_PCI_ACCESS;
	unsigned size = extra ? CAP_EXTRA + 4 : CAP_EXTRA;
	int at = pci_function_add_capability(function, CAPABILITY_VENDOR, size, err);
	if (at < 0)
		return -1;
	unsigned cap = (unsigned)at;
	pci_function_set_register(function, cap + CAP_LENGTH, size, 0, 1);
	pci_function_set_register(function, cap + CAP_TYPE, type, 0, 1);
	pci_function_set_register(function, cap + CAP_BAR, pci->registers_bar, 0, 4);
	pci_function_set_register(function, cap + CAP_OFFSET, pci->first + page * PAGE_SIZE, 0, 4);
	pci_function_set_register(function, cap + CAP_SIZE, length, 0, 4);
	if (type == TYPE_NOTIFY)
		pci_function_set_register(function, cap + CAP_EXTRA, NOTIFY_MULTIPLIER, 0, 4);
	if (type == TYPE_PCI_ACCESS) {
		pci->access = cap;
		pci_function_set_register(function, cap + CAP_BAR, 0, 0xff, 1);
		pci_function_set_register(function, cap + CAP_OFFSET, 0, UINT32_MAX, 4);
		pci_function_set_register(function, cap + CAP_SIZE, 0, UINT32_MAX, 4);
		pci_function_set_register(function, cap + CAP_EXTRA, 0, UINT32_MAX, 4);
	}
	return 0;
}

static int add_resources(struct virtio_pci *pci, struct error *err)
{
	struct pci_function *function = pci->function;
	struct virtio_device *virtio = pci->virtio;
	if (pci_function_add_bar(function, pci->registers_bar, PCI_BAR_MEMORY64, pci->registers_size, &registers_ops, pci, err) < 0 ||
	    pci_function_add_bar(function, pci->msix_bar, PCI_BAR_MEMORY32, MSIX_BAR_SIZE, &msix_ops, pci, err) < 0 ||
	    pci_msix_add(function, virtio->queue_count + 1, pci->msix_bar, MSIX_TABLE, MSIX_PBA, err) < 0 ||
	    add_structure(pci, TYPE_COMMON, PAGE_COMMON, COMMON_SIZE, err) < 0 ||
	    add_structure(pci, TYPE_NOTIFY, PAGE_NOTIFY, virtio->queue_count * NOTIFY_MULTIPLIER, err) < 0 ||
	    add_structure(pci, TYPE_ISR, PAGE_ISR, 4, err) < 0)
		return -1;
	struct io_region *registers = &function->bar[pci->registers_bar].region;
	registers->lock = NULL; /* taken above */
	registers->awaits = pci->first != 0; /* the other device may be one with posted writes */
	registers->bells = (struct io_bells){
		.offset = pci->first + PAGE_NOTIFY * PAGE_SIZE, .stride = NOTIFY_MULTIPLIER, .count = virtio->queue_count,
		.ring = ring, .opaque = pci,
	};
	if (virtio->config_size && add_structure(pci, TYPE_DEVICE, PAGE_DEVICE, virtio->config_size, err) < 0)
		return -1;
	return add_structure(pci, TYPE_PCI_ACCESS, 0, 0, err);
}

static int make_function(struct virtio_pci *pci, const struct virtio_pci_config *config, struct error *err)
{
	struct virtio_device *virtio = pci->virtio;
	/* 4.1.2: device 0x1040 + type; revision 1 and a subsystem of at least 0x40 say "not transitional". */
	const struct pci_function_config function = {
		.bus = config->bus, .name = pci->function_name, .devfn = config->devfn,
		.vendor = 0x1af4, .device = (uint16_t)(0x1040 + virtio->type), .revision = 1,
		.class_code = virtio->class_code, .subsystem_vendor = 0x1af4, .subsystem = 0x1100,
		.interrupt_pin = 1, .lock = &virtio->lock, .ops = &function_ops, .opaque = pci,
	};
	pci->function = &pci->own;
	pci->msix_bar = 2;
	pci->registers_size = PAGES * PAGE_SIZE;
	return pci_function_init(pci->function, &function, err);
}

static void join_function(struct virtio_pci *pci, const struct virtio_pci_shared *shared)
{
	pci->shared = *shared;
	pci->function = shared->function;
	pci->registers_bar = 2;
	pci->msix_bar = 4;
	pci->registers_size = SHARED_REGISTERS_SIZE;
	pci->first = PAGE_SIZE;
	pci->shared_ops = pci->function->ops;
	pci->shared_opaque = pci->function->opaque;
	pci->function->ops = &function_ops;
	pci->function->opaque = pci;
}

static struct virtio_pci *create(const struct virtio_pci_config *config, const struct virtio_pci_shared *shared, struct error *err)
{
	struct virtio_pci *pci = calloc(1, sizeof(*pci));
	struct virtio_device *virtio = config->device;
	if (!pci) {
		error_set(err, ENOMEM, "out of memory for the PCI side of %s", virtio->device.name);
		return NULL;
	}
	snprintf(pci->function_name, sizeof(pci->function_name), "pci-%.18s", virtio->device.name);
	device_init(&pci->device, shared ? &shared_type : &virtio_pci_type, pci->function_name, &config->bus->lock);
	pci->virtio = virtio;
	if (shared) {
		join_function(pci, shared);
	} else if (make_function(pci, config, err) < 0) {
		free(pci);
		return NULL;
	}
	if (add_resources(pci, err) < 0) {
		destroy(pci);
		return NULL;
	}
	forget_interrupts(pci);
	virtio_set_transport(virtio, &(struct virtio_transport){ queue_interrupt, config_interrupt, dma_allowed, pci });
	return pci;
}

struct virtio_pci *virtio_pci_create(const struct virtio_pci_config *config, struct error *err)
{
	return create(config, NULL, err);
}

struct virtio_pci *virtio_pci_create_shared(const struct virtio_pci_config *config, const struct virtio_pci_shared *shared,
					    struct error *err)
{
	return create(config, shared, err);
}
