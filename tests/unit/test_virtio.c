/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "virtio_rig.h"

#include "base/log.h"
#include "dev/virtio/console.h"
#include "dev/virtio/rng.h"

/* A processor that makes chains available while the device serves them. */
static struct driver_queue *refill;
static unsigned refills;

static void refill_queue(void)
{
	if (refill && refills) {
		refills--;
		queue_publish(refill, 0);
	}
}

static size_t counting_entropy(void *opaque, void *buffer, size_t length)
{
	size_t *limit = opaque;
	size_t n = MIN(length, *limit);
	memset(buffer, 0x5a, n);
	*limit -= n;
	refill_queue();
	return n;
}

/* The entropy device is the simplest one: it serves for queues and transport. */
struct rng_rig {
	struct rig rig;
	struct virtio_rng *rng;
	struct virtio_pci *pci;
	struct driver driver;
	struct driver_queue queue;
	size_t entropy;
};

static void rng_rig_init(struct rng_rig *r)
{
	struct error err = { 0 };
	rig_init(&r->rig);
	r->entropy = 1 << 20;
	const struct virtio_rng_config config = {
		.device = { "rng0", { &r->rig.memory }, rig_worker(&r->rig) }, .entropy = counting_entropy,
		.opaque = &r->entropy,
	};
	r->rng = virtio_rng_create(&config, &err);
	assert_non_null(r->rng);
	const struct virtio_pci_config pci = { r->rig.bus, RIG_DEVFN, virtio_rng_device(r->rng) };
	r->pci = virtio_pci_create(&pci, &err);
	assert_non_null(r->pci);
	device_reset((struct device *)r->rng);
	device_reset((struct device *)r->pci);
	driver_find(&r->driver, &r->rig);
}

/* Up and running with a queue of eight and no MSI-X. */
static void rng_rig_start(struct rng_rig *r, uint64_t features)
{
	assert_true(driver_negotiate(&r->driver, FEATURE_VERSION_1 | features));
	driver_queue_init(&r->queue, &r->driver, 0, 8);
	r->queue.event_index = features & FEATURE_EVENT_INDEX;
	driver_ok(&r->driver);
}

static void rng_rig_destroy(struct rng_rig *r)
{
	rig_run(&r->rig, false);
	((struct device *)r->pci)->type->destroy(r->pci);
	((struct device *)r->rng)->type->destroy(r->rng);
	rig_destroy(&r->rig);
}

static void identity_and_negotiation(void **state)
{
	struct rng_rig r;
	rng_rig_init(&r);
	assert_int_equal(cfg_read(&r.rig, RIG_DEVFN, 0, 4), 0x10441af4);
	assert_int_equal(cfg_read(&r.rig, RIG_DEVFN, PCI_REVISION_ID, 1), 1);
	assert_int_equal(cfg_read(&r.rig, RIG_DEVFN, PCI_INTERRUPT_LINE, 1), 11);
	assert_int_equal(driver_offered(&r.driver), FEATURE_VERSION_1 | FEATURE_INDIRECT | FEATURE_EVENT_INDEX);
	assert_false(driver_negotiate(&r.driver, 0));                         /* legacy driver */
	assert_false(driver_negotiate(&r.driver, FEATURE_VERSION_1 | 1));     /* not offered */
	/* Without agreement no queue comes up and the driver neither. */
	io_write(&r.rig.mmio, REG(&r.driver, 0x1c), 1, 2);
	assert_int_equal(io_read(&r.rig.mmio, REG(&r.driver, 0x1c), 2), 0);
	io_write(&r.rig.mmio, REG(&r.driver, 0x14), 7, 1);
	assert_int_equal(driver_status(&r.driver), 3);
	assert_true(driver_negotiate(&r.driver, FEATURE_VERSION_1));
	/* Features are closed now. */
	io_write(&r.rig.mmio, REG(&r.driver, 0xc), 0, 4);
	assert_int_equal(io_read(&r.rig.mmio, REG(&r.driver, 0xc), 4), 1);
	assert_int_equal(io_read(&r.rig.mmio, REG(&r.driver, 0x12), 2), 1);
	io_write(&r.rig.mmio, REG(&r.driver, 0x16), 1, 2);
	assert_int_equal(io_read(&r.rig.mmio, REG(&r.driver, 0x18), 2), 0);   /* there is no queue 1 */
	/* Vectors out of range read back as none. */
	io_write(&r.rig.mmio, REG(&r.driver, 0x10), 2, 2);
	assert_int_equal(io_read(&r.rig.mmio, REG(&r.driver, 0x10), 2), 0xffff);
	io_write(&r.rig.mmio, REG(&r.driver, 0x10), 1, 2);
	assert_int_equal(io_read(&r.rig.mmio, REG(&r.driver, 0x10), 2), 1);
	io_write(&r.rig.mmio, REG(&r.driver, 0x14), 0, 1);
	assert_int_equal(io_read(&r.rig.mmio, REG(&r.driver, 0x10), 2), 0xffff);
	rng_rig_destroy(&r);
}

static void fill_and_interrupt_by_pin(void **state)
{
	struct rng_rig r;
	uint16_t head;
	rng_rig_init(&r);
	rng_rig_start(&r, 0);
	const struct buffer buffers[] = { { 0x200000, 100, true }, { 0x201000, 28, true } };
	uint16_t expected = queue_add(&r.queue, buffers, 2);
	queue_notify(&r.queue);
	assert_int_equal(queue_wait(&r.queue, &head), 128);
	assert_int_equal(head, expected);
	assert_int_equal(guest_load(&r.rig, 0x201000 + 27, 1), 0x5a);
	assert_int_equal(guest_load(&r.rig, 0x201000 + 28, 1), 0);
	/* Slot 4 INTA is PIRQD. */
	assert_int_equal(r.rig.pirq[3], 1);
	assert_int_equal(io_read(&r.rig.mmio, r.driver.isr, 1), 1);
	assert_int_equal(r.rig.pirq[3], 0);
	assert_int_equal(io_read(&r.rig.mmio, r.driver.isr, 1), 0);
	/* NO_INTERRUPT */
	guest_store(&r.rig, r.queue.avail, 1, 2);
	queue_add(&r.queue, buffers, 2);
	queue_notify(&r.queue);
	queue_wait(&r.queue, NULL);
	assert_int_equal(r.rig.pirq[3], 0);
	rng_rig_destroy(&r);
}

static void indirect_and_wrap_around(void **state)
{
	struct rng_rig r;
	rng_rig_init(&r);
	rng_rig_start(&r, FEATURE_INDIRECT | FEATURE_EVENT_INDEX);
	for (unsigned i = 0; i < 70000; i += 7) { /* indices pass 65536 */
		const struct buffer buffers[] = { { 0x200000, 1, true }, { 0x201000, 0, true }, { 0x202000, 1, true } };
		for (unsigned k = 0; k < 7; k++)
			queue_add_indirect(&r.queue, 0x300008 + 0x100 * k, buffers, 3);
		queue_notify(&r.queue);
		for (unsigned k = 0; k < 7; k++)
			assert_int_equal(queue_wait(&r.queue, NULL), 2);
		r.entropy = 1 << 20;
	}
	assert_int_equal(driver_status(&r.driver), 15);
	rng_rig_destroy(&r);
}

static void msix_and_event_index(void **state)
{
	struct rng_rig r;
	const struct buffer buffer = { 0x200000, 16, true };
	rng_rig_init(&r);
	driver_enable_msix(&r.driver, 2);
	rng_rig_start(&r, FEATURE_EVENT_INDEX);
	driver_set_vector(&r.driver, 0, 1);
	guest_store(&r.rig, r.queue.avail + 4 + 2 * 8, 2, 2); /* used_event: interrupt with the third */
	for (unsigned i = 0; i < 5; i++) {
		queue_add(&r.queue, &buffer, 1);
		queue_notify(&r.queue);
		queue_wait(&r.queue, NULL);
		/* The first look has nothing to compare with and interrupts. */
		assert_int_equal(r.rig.msi_count, i < 2 ? 1 : 2);
	}
	assert_int_equal(r.rig.msi_address, 0xfee00000);
	assert_int_equal(r.rig.msi_data, 0x41);
	assert_int_equal(r.rig.pirq[3], 0);
	/* The device asks for a notification at its position. */
	assert_int_equal(guest_load(&r.rig, r.queue.used + 4 + 8 * 8, 2), 5);
	rng_rig_destroy(&r);
}

static void config_access_capability(void **state)
{
	struct rng_rig r;
	rng_rig_init(&r);
	unsigned cap = r.driver.access;
	cfg_write(&r.rig, RIG_DEVFN, cap + 4, 0, 1);
	cfg_write(&r.rig, RIG_DEVFN, cap + 8, 0x14, 4);
	cfg_write(&r.rig, RIG_DEVFN, cap + 12, 1, 4);
	cfg_write(&r.rig, RIG_DEVFN, cap + 16, 3, 1);
	assert_int_equal(driver_status(&r.driver), 3);
	assert_int_equal(cfg_read(&r.rig, RIG_DEVFN, cap + 16, 1), 3);
	cfg_write(&r.rig, RIG_DEVFN, cap + 8, 0x12, 4);
	cfg_write(&r.rig, RIG_DEVFN, cap + 12, 2, 4);
	assert_int_equal(cfg_read(&r.rig, RIG_DEVFN, cap + 16, 2), 1);
	/* Nonsense windows do nothing. */
	cfg_write(&r.rig, RIG_DEVFN, cap + 8, 0xfffffffe, 4);
	cfg_read(&r.rig, RIG_DEVFN, cap + 16, 4);
	cfg_write(&r.rig, RIG_DEVFN, cap + 4, 9, 1);
	cfg_write(&r.rig, RIG_DEVFN, cap + 8, 0, 4);
	cfg_write(&r.rig, RIG_DEVFN, cap + 16, 0, 4);
	assert_int_equal(driver_status(&r.driver), 3);
	rng_rig_destroy(&r);
}

static void no_bus_master_no_dma(void **state)
{
	struct rng_rig r;
	const struct buffer buffer = { 0x200000, 16, true };
	rng_rig_init(&r);
	rng_rig_start(&r, 0);
	cfg_write(&r.rig, RIG_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	queue_add(&r.queue, &buffer, 1);
	queue_notify(&r.queue);
	rig_run(&r.rig, false);
	assert_int_equal(queue_used(&r.queue), 0);
	cfg_write(&r.rig, RIG_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	assert_int_equal(queue_wait(&r.queue, NULL), 16);
	rng_rig_destroy(&r);
}

static void no_entropy_keeps_the_request(void **state)
{
	struct rng_rig r;
	const struct buffer buffer = { 0x200000, 16, true };
	rng_rig_init(&r);
	rng_rig_start(&r, FEATURE_EVENT_INDEX);
	r.entropy = 0;
	queue_add(&r.queue, &buffer, 1);
	queue_notify(&r.queue);
	rig_run(&r.rig, false);
	assert_int_equal(queue_used(&r.queue), 0);
	r.entropy = 10;
	queue_notify(&r.queue);
	assert_int_equal(queue_wait(&r.queue, NULL), 10);
	rng_rig_destroy(&r);
}

/* One round serves a ring's worth, then others have their turn; the rest is not forgotten. */
static void endless_work_is_served_in_rounds(void **state)
{
	struct rng_rig r;
	const struct buffer buffer = { 0x200000, 16, true };
	rng_rig_init(&r);
	rng_rig_start(&r, 0);
	refill = &r.queue;
	refills = 19;
	queue_add(&r.queue, &buffer, 1);
	queue_notify(&r.queue);
	assert_int_equal(r.rig.job_count, 1);
	r.rig.job_count = 0;
	r.rig.jobs[0].fn(r.rig.jobs[0].arg);
	assert_int_equal(queue_used(&r.queue), 8);
	assert_int_equal(r.rig.job_count, 1);
	rig_run(&r.rig, false);
	assert_int_equal(queue_used(&r.queue), 20);
	refill = NULL;
	rng_rig_destroy(&r);
}

/* Each breaks one rule; the device must stop, say so by its status and an interrupt, and come back with a reset. */
enum crime {
	LOOP, LONG_LOOP_INDIRECT, INDIRECT_IN_INDIRECT, INDIRECT_WITH_NEXT, INDIRECT_LENGTH, INDIRECT_EMPTY,
	INDIRECT_OUTSIDE, INDIRECT_NEXT, HEAD_RANGE, NEXT_RANGE, OUTSIDE_RAM, WRAPS, ENDS_OUTSIDE, ROM, DEVICE_SPACE,
	INDEX_JUMP, READ_AFTER_WRITE, FOUR_GIB, TOO_MANY, CRIMES
};

/* A word of the reason that each must be found for. */
static const char *const reasons[CRIMES] = {
	[LOOP] = "loop", [LONG_LOOP_INDIRECT] = "loop", [INDIRECT_IN_INDIRECT] = "in an indirect",
	[INDIRECT_WITH_NEXT] = "with a next", [INDIRECT_LENGTH] = "length", [INDIRECT_EMPTY] = "length",
	[INDIRECT_OUTSIDE] = "table outside", [INDIRECT_NEXT] = "out of range", [HEAD_RANGE] = "out of range",
	[NEXT_RANGE] = "out of range", [OUTSIDE_RAM] = "buffer outside", [WRAPS] = "buffer outside",
	[ENDS_OUTSIDE] = "buffer outside", [ROM] = "buffer outside", [DEVICE_SPACE] = "buffer outside",
	[INDEX_JUMP] = "jumped", [READ_AFTER_WRITE] = "after a writable", [FOUR_GIB] = "4 GiB",
	[TOO_MANY] = "too long",
};

static void commit(struct rng_rig *r, enum crime crime)
{
	struct rig *rig = &r->rig;
	uint64_t desc = r->queue.desc, table = 0x300000;
	uint16_t flags = DESC_WRITE;
	uint64_t gpa = 0x200000;
	uint32_t length = 16;
	switch (crime) {
	case LOOP:
		put_desc(rig, desc, 0, gpa, 16, DESC_WRITE | DESC_NEXT, 1);
		put_desc(rig, desc, 1, gpa, 0, DESC_WRITE | DESC_NEXT, 0);
		queue_publish(&r->queue, 0);
		return;
	case LONG_LOOP_INDIRECT:
		put_desc(rig, table, 0, gpa, 0, DESC_WRITE | DESC_NEXT, 1);
		put_desc(rig, table, 1, gpa, 0, DESC_WRITE | DESC_NEXT, 1);
		gpa = table, length = 32, flags = DESC_INDIRECT;
		break;
	case INDIRECT_IN_INDIRECT:
		put_desc(rig, table, 0, table, 16, DESC_INDIRECT, 0);
		gpa = table, flags = DESC_INDIRECT;
		break;
	case INDIRECT_WITH_NEXT:
		put_desc(rig, table, 0, gpa, 16, DESC_WRITE, 0);
		gpa = table, flags = DESC_INDIRECT | DESC_NEXT;
		break;
	case INDIRECT_LENGTH:
		gpa = table, length = 17, flags = DESC_INDIRECT;
		break;
	case INDIRECT_EMPTY:
		gpa = table, length = 0, flags = DESC_INDIRECT;
		break;
	case INDIRECT_OUTSIDE:
		gpa = RIG_RAM - 16, length = 32, flags = DESC_INDIRECT;
		break;
	case INDIRECT_NEXT:
		put_desc(rig, table, 0, gpa, 16, DESC_WRITE | DESC_NEXT, 7);
		gpa = table, flags = DESC_INDIRECT;
		break;
	case HEAD_RANGE:
		queue_publish(&r->queue, 8);
		return;
	case NEXT_RANGE:
		put_desc(rig, desc, 0, gpa, 16, DESC_WRITE | DESC_NEXT, 0xffff);
		queue_publish(&r->queue, 0);
		return;
	case OUTSIDE_RAM:
		gpa = 0x4000000000ull;
		break;
	case WRAPS:
		gpa = UINT64_MAX - 4;
		break;
	case ENDS_OUTSIDE:
		gpa = RIG_RAM - 8;
		break;
	case ROM:
		gpa = 0xf0000;
		break;
	case DEVICE_SPACE:
		gpa = r->driver.common;
		break;
	case INDEX_JUMP:
		guest_store(rig, r->queue.avail + 2, 9, 2);
		return;
	case READ_AFTER_WRITE:
		put_desc(rig, desc, 0, gpa, 16, DESC_WRITE | DESC_NEXT, 1);
		put_desc(rig, desc, 1, gpa, 16, 0, 0);
		queue_publish(&r->queue, 0);
		return;
	case FOUR_GIB:
		length = 0x800000; /* 1024 pieces of 8 MiB */
		/* fall through */
	case TOO_MANY:
		for (unsigned i = 0; i < 1100; i++)
			put_desc(rig, table, i, 0x400000, length, DESC_WRITE | DESC_NEXT, (uint16_t)(i + 1));
		gpa = table, length = 16 * 1100, flags = DESC_INDIRECT;
		break;
	default:
		return;
	}
	put_desc(rig, desc, 0, gpa, length, flags, 1);
	queue_publish(&r->queue, 0);
}

static void broken_rings_stop_the_device(void **state)
{
	struct rng_rig r;
	const struct buffer buffer = { 0x200000, 16, true };
	rng_rig_init(&r);
	driver_enable_msix(&r.driver, 2);
	for (enum crime crime = 0; crime < CRIMES; crime++) {
		rng_rig_start(&r, FEATURE_INDIRECT);
		io_write(&r.rig.mmio, REG(&r.driver, 0x10), 0, 2); /* vector of the configuration */
		r.rig.msi_count = 0;
		commit(&r, crime);
		queue_notify(&r.queue);
		rig_run(&r.rig, false);
		if (driver_status(&r.driver) != (15 | 64))
			fail_msg("crime %u went unnoticed", crime);
		const char *reason = virtio_rng_device(r.rng)->queue[0].reason;
		if (!strstr(reason, reasons[crime]))
			fail_msg("crime %u was taken for: %s", crime, reason);
		assert_int_equal(queue_used(&r.queue), 0);
		assert_int_equal(r.rig.msi_count, 1);
		assert_int_equal(r.rig.msi_data, 0x40);
		queue_notify(&r.queue);
		rig_run(&r.rig, false);
		assert_int_equal(r.rig.msi_count, 1);
		/* A reset mends it. */
		rng_rig_start(&r, FEATURE_INDIRECT);
		queue_add(&r.queue, &buffer, 1);
		queue_notify(&r.queue);
		assert_int_equal(queue_wait(&r.queue, NULL), 16);
	}
	/* Indirect descriptors without the feature. */
	rng_rig_start(&r, 0);
	queue_add_indirect(&r.queue, 0x300000, &buffer, 1);
	queue_notify(&r.queue);
	rig_run(&r.rig, false);
	assert_int_equal(driver_status(&r.driver), 15 | 64);
	rng_rig_destroy(&r);
}

/* One chain published again while it is in use would pile up requests without end. */
static void chains_in_use_are_limited(void **state)
{
	struct rig rig;
	struct virtqueue_element element;
	static struct iovec iov[VIRTQUEUE_MAX_SEGMENTS];
	rig_init(&rig);
	struct virtqueue queue = { .max_size = 4, .dma = { &rig.memory } };
	virtqueue_reset(&queue);
	queue.desc = 0x100000;
	queue.avail = 0x101000;
	queue.used = 0x102000;
	assert_true(virtqueue_enable(&queue));
	put_desc(&rig, queue.desc, 0, 0x200000, 8, DESC_WRITE, 0);
	guest_store(&rig, queue.avail + 2, 4, 2);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(virtqueue_pop(&queue, &element, iov), VIRTQUEUE_ELEMENT);
	guest_store(&rig, queue.avail + 2, 5, 2);
	virtqueue_push(&queue, &element, 8);
	assert_int_equal(virtqueue_pop(&queue, &element, iov), VIRTQUEUE_ELEMENT);
	guest_store(&rig, queue.avail + 2, 6, 2);
	assert_int_equal(virtqueue_pop(&queue, &element, iov), VIRTQUEUE_BROKEN);
	assert_non_null(strstr(queue.reason, "in use"));
	rig_destroy(&rig);
}

static void bad_queue_set_up(void **state)
{
	static const struct { uint16_t size; uint64_t desc, avail, used; } bad[] = {
		{ 0, 0x100000, 0x104000, 0x108000 },
		{ 3, 0x100000, 0x104000, 0x108000 },
		{ 16, 0x100000, 0x104000, 0x108000 },    /* the device has 8 */
		{ 8, 0x100008, 0x104000, 0x108000 },
		{ 8, 0x100000, 0x104001, 0x108000 },
		{ 8, 0x100000, 0x104000, 0x108002 },
		{ 8, RIG_RAM, 0x104000, 0x108000 },
		{ 8, 0x100000, UINT64_MAX - 1, 0x108000 },
		{ 8, 0x100000, 0x104000, 0xf0000 },      /* used ring in ROM */
		{ 8, 0x100000, 0x104000, RIG_RAM - 4 },
	};
	struct rng_rig r;
	rng_rig_init(&r);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct io_space *mmio = &r.rig.mmio;
		assert_true(driver_negotiate(&r.driver, FEATURE_VERSION_1));
		io_write(mmio, REG(&r.driver, 0x16), 0, 2);
		io_write(mmio, REG(&r.driver, 0x18), bad[i].size, 2);
		io_write(mmio, REG(&r.driver, 0x20), bad[i].desc, 8);
		io_write(mmio, REG(&r.driver, 0x28), bad[i].avail, 8);
		io_write(mmio, REG(&r.driver, 0x30), bad[i].used, 8);
		io_write(mmio, REG(&r.driver, 0x1c), 1, 2);
		driver_ok(&r.driver);
		io_write(mmio, r.driver.notify, 0, 2);
		rig_run(&r.rig, false);
		if (!(driver_status(&r.driver) & 64))
			fail_msg("set-up %u went unnoticed", i);
	}
	rng_rig_destroy(&r);
}

/* A save, then the same fields in a fresh device of another machine with the same memory contents. */
static void state_moves_to_another_device(void **state)
{
	static struct rng_rig a, b;
	const struct buffer buffer = { 0x200000, 16, true };
	struct error err = { 0 };
	rng_rig_init(&a);
	rng_rig_init(&b);
	rng_rig_start(&a, FEATURE_INDIRECT | FEATURE_EVENT_INDEX);
	for (unsigned i = 0; i < 11; i++) {
		queue_add(&a.queue, &buffer, 1);
		queue_notify(&a.queue);
		queue_wait(&a.queue, NULL);
	}
	queue_add(&a.queue, &buffer, 1); /* made available, its notification not yet acted upon */
	queue_notify(&a.queue);
	struct virtio_device *from = virtio_rng_device(a.rng), *to = virtio_rng_device(b.rng);
	from->device.type->saving(from);
	memcpy(b.rig.memory.host, a.rig.memory.host, RIG_RAM);
	/* As the loader does, field by field. */
	to->features = from->features;
	to->status = from->status;
	to->notified = from->notified;
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		for (const struct field *f = virtqueue_fields; f->kind != FIELD_KIND_END; f++)
			memcpy((char *)&to->queue[i] + f->offset, (char *)&from->queue[i] + f->offset, f->width * f->count);
	assert_int_equal(to->device.type->loaded(to, &err), 0);
	b.queue = a.queue;
	b.queue.driver = &b.driver;
	assert_int_equal(queue_wait(&b.queue, NULL), 16);
	assert_int_equal(queue_used(&b.queue), 12);
	/* A guest may leave nonsense in the registers of a queue that it does not use. */
	to->queue[0].enabled = false;
	to->queue[0].size = 4096;
	assert_int_equal(to->device.type->loaded(to, &err), 0);
	/* Rings that cannot be used stop the device, as they do when the guest enables them. */
	to->queue[0].enabled = true;
	assert_int_equal(to->device.type->loaded(to, &err), 0);
	rig_run(&b.rig, false);
	assert_true(to->status & VIRTIO_STATUS_NEEDS_RESET);
	to->features |= 1;
	assert_int_equal(to->device.type->loaded(to, &err), -1);
	rng_rig_destroy(&a);
	rng_rig_destroy(&b);
}

static uint32_t random_state = 2463534242u;

static uint32_t random32(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state;
}

/* Garbage in every register and in the rings, with now and then a sane start so that the rings are looked at. */
static void random_garbage(void **state)
{
	struct rng_rig r;
	rng_rig_init(&r);
	for (unsigned i = 0; i < 300000; i++) {
		unsigned size = 1u << random32() % 4;
		uint64_t value = random32() | (uint64_t)random32() << 32;
		uint64_t offset = random32() % 8 ? random32() % 0x40 : random32() % 0x4000;
		if (random32() % 2)
			value &= 0xf;
		if (random32() % 4 == 0)
			guest_store(&r.rig, 0x100000 + (random32() % 0x9000 & ~7u), value, 8);
		else if (random32() % 16 == 0)
			io_write(&r.rig.mmio, r.driver.msix + random32() % 0x1000, value, size);
		else
			io_write(&r.rig.mmio, r.driver.common + offset, value, size);
		if (random32() % 8 == 0)
			io_read(&r.rig.mmio, r.driver.common + offset, size);
		if (i % 64 == 0)
			rng_rig_start(&r, FEATURE_INDIRECT | (random32() & FEATURE_EVENT_INDEX));
		if (i % 4 == 0)
			io_write(&r.rig.mmio, r.driver.notify, 0, 2);
		rig_run(&r.rig, false);
		r.entropy = 1 << 20;
	}
	const struct buffer buffer = { 0x200000, 16, true };
	rng_rig_start(&r, 0);
	queue_add(&r.queue, &buffer, 1);
	queue_notify(&r.queue);
	assert_int_equal(queue_wait(&r.queue, NULL), 16);
	rng_rig_destroy(&r);
}

struct sink {
	char text[256];
	size_t length;
	unsigned rooms;
};

static void sink_write(void *opaque, const uint8_t *data, size_t length)
{
	struct sink *sink = opaque;
	assert_true(sink->length + length < sizeof(sink->text));
	memcpy(sink->text + sink->length, data, length);
	sink->length += length;
}

static void sink_room(void *opaque)
{
	struct sink *sink = opaque;
	sink->rooms++;
}

static void console_both_ways(void **state)
{
	struct rig rig;
	struct driver driver;
	struct driver_queue in, out;
	struct error err = { 0 };
	struct sink sink = { 0 };
	char back[16] = { 0 };
	rig_init(&rig);
	const struct virtio_console_config config = {
		.device = { "console0", { &rig.memory }, rig_worker(&rig) },
		.backend = { sink_write, &sink }, .room = { sink_room, &sink },
	};
	struct virtio_console *console = virtio_console_create(&config, &err);
	assert_non_null(console);
	const struct virtio_pci_config pci_config = { rig.bus, RIG_DEVFN, virtio_console_device(console) };
	struct virtio_pci *pci = virtio_pci_create(&pci_config, &err);
	assert_non_null(pci);
	device_reset((struct device *)console);
	device_reset((struct device *)pci);
	/* Before there is a driver nothing is taken, and its start asks for it. */
	assert_int_equal(virtio_console_receive(console, (const uint8_t *)"hello", 5), 0);
	driver_find(&driver, &rig);
	assert_int_equal(cfg_read(&rig, RIG_DEVFN, 0, 4), 0x10431af4);
	assert_true(driver_negotiate(&driver, FEATURE_VERSION_1 | FEATURE_EVENT_INDEX));
	driver_queue_init(&in, &driver, 0, 64);
	driver_queue_init(&out, &driver, 1, 64);
	driver_ok(&driver);
	rig_run(&rig, false);
	assert_int_equal(sink.rooms, 1);
	assert_int_equal(virtio_console_receive(console, (const uint8_t *)"hello", 5), 0);
	const struct buffer four = { 0x200000, 4, true };
	queue_add(&in, &four, 1);
	queue_notify(&in);
	rig_run(&rig, false);
	assert_int_equal(sink.rooms, 2);
	assert_int_equal(virtio_console_receive(console, (const uint8_t *)"hello", 5), 4);
	assert_int_equal(queue_wait(&in, NULL), 4);
	assert_true(memory_read(&rig.memory, 0x200000, back, 4));
	assert_string_equal(back, "hell");
	queue_add(&in, &four, 1);
	queue_notify(&in);
	rig_run(&rig, false);
	assert_int_equal(sink.rooms, 3);
	assert_int_equal(virtio_console_receive(console, (const uint8_t *)"o", 1), 1);
	assert_int_equal(queue_wait(&in, NULL), 1);
	guest_write(&rig, 0x210000, "good bye", 8);
	const struct buffer pieces[] = { { 0x210000, 4, false }, { 0x210004, 4, false } };
	queue_add(&out, pieces, 2);
	queue_notify(&out);
	assert_int_equal(queue_wait(&out, NULL), 0);
	assert_string_equal(sink.text, "good bye");
	((struct device *)pci)->type->destroy(pci);
	((struct device *)console)->type->destroy(console);
	rig_destroy(&rig);
}

int main(void)
{
	log_threshold = LOG_ERROR;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identity_and_negotiation),
		cmocka_unit_test(fill_and_interrupt_by_pin),
		cmocka_unit_test(indirect_and_wrap_around),
		cmocka_unit_test(msix_and_event_index),
		cmocka_unit_test(config_access_capability),
		cmocka_unit_test(no_bus_master_no_dma),
		cmocka_unit_test(no_entropy_keeps_the_request),
		cmocka_unit_test(endless_work_is_served_in_rounds),
		cmocka_unit_test(broken_rings_stop_the_device),
		cmocka_unit_test(chains_in_use_are_limited),
		cmocka_unit_test(bad_queue_set_up),
		cmocka_unit_test(state_moves_to_another_device),
		cmocka_unit_test(random_garbage),
		cmocka_unit_test(console_both_ways),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
