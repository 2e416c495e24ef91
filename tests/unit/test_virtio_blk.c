/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "virtio_rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "dev/virtio/blk.h"

#define DISK_SIZE (8u << 20)
#define HEADER 0x200000ull
#define STATUS 0x200100ull
#define DATA 0x400000ull

#define T_IN 0
#define T_OUT 1
#define T_FLUSH 4
#define T_GET_ID 8
#define T_DISCARD 11
#define T_WRITE_ZEROES 13
#define F_FLUSH (1ull << 9)
#define F_MQ (1ull << 12)
#define F_DISCARD (1ull << 13)
#define F_WRITE_ZEROES (1ull << 14)

struct blk_rig {
	struct rig rig;
	struct virtio_blk *blk;
	struct virtio_pci *pci;
	struct driver driver;
	struct driver_queue queue[4];
	char path[64];
	int fd;
};

static void blk_rig_init(struct blk_rig *r, bool read_only, unsigned cpus)
{
	struct error err = { 0 };
	rig_init(&r->rig);
	snprintf(r->path, sizeof(r->path), "/tmp/visor-disk-XXXXXX");
	r->fd = mkstemp(r->path);
	assert_true(r->fd >= 0);
	assert_int_equal(ftruncate(r->fd, DISK_SIZE), 0);
	const struct block_config block = { .path = r->path, .read_only = read_only, .worker = rig_worker(&r->rig) };
	const struct virtio_blk_config config = {
		.device = { "blk0", { &r->rig.memory }, rig_worker(&r->rig) },
		.block = block_open(&block, &err), .cpus = cpus, .serial = "disk-of-the-test",
	};
	assert_non_null(config.block);
	r->blk = virtio_blk_create(&config, &err);
	assert_non_null(r->blk);
	const struct virtio_pci_config pci = { r->rig.bus, RIG_DEVFN, virtio_blk_device(r->blk) };
	r->pci = virtio_pci_create(&pci, &err);
	assert_non_null(r->pci);
	device_reset((struct device *)r->blk);
	device_reset((struct device *)r->pci);
	driver_find(&r->driver, &r->rig);
}

static void blk_rig_start(struct blk_rig *r, uint64_t features, unsigned queues)
{
	assert_true(driver_negotiate(&r->driver, FEATURE_VERSION_1 | features));
	for (unsigned i = 0; i < queues; i++)
		driver_queue_init(&r->queue[i], &r->driver, i, 128);
	driver_ok(&r->driver);
}

static void blk_rig_destroy(struct blk_rig *r)
{
	rig_run(&r->rig, false);
	((struct device *)r->pci)->type->destroy(r->pci);
	((struct device *)r->blk)->type->destroy(r->blk);
	rig_destroy(&r->rig);
	if (r->fd >= 0) {
		close(r->fd);
		unlink(r->path);
	}
}

static void put_header(struct blk_rig *r, uint64_t at, uint32_t type, uint64_t sector)
{
	guest_store(&r->rig, at, type, 4);
	guest_store(&r->rig, at + 4, 0, 4);
	guest_store(&r->rig, at + 8, sector, 8);
}

/* One request of one piece of data on queue 0; the status byte. *written: the used length. */
static unsigned request(struct blk_rig *r, uint32_t type, uint64_t sector, uint32_t length, uint32_t *written)
{
	const struct buffer buffers[] = {
		{ HEADER, 16, false }, { DATA, length, type == T_IN || type == T_GET_ID }, { STATUS, 1, true },
	};
	const struct buffer bare[] = { buffers[0], buffers[2] };
	put_header(r, HEADER, type, sector);
	guest_store(&r->rig, STATUS, 0xee, 1);
	if (length)
		queue_add(&r->queue[0], buffers, 3);
	else
		queue_add(&r->queue[0], bare, 2);
	queue_notify(&r->queue[0]);
	uint32_t n = queue_wait(&r->queue[0], NULL);
	if (written)
		*written = n;
	return (unsigned)guest_load(&r->rig, STATUS, 1);
}

static void fill(struct blk_rig *r, uint64_t gpa, uint32_t length, uint32_t seed)
{
	for (uint32_t i = 0; i < length; i += 8)
		guest_store(&r->rig, gpa + i, (i + seed) * 0x9e3779b97f4a7c15ull, 8);
}

static uint64_t checksum(const uint8_t *data, size_t length)
{
	uint64_t sum = 14695981039346656037ull;
	for (size_t i = 0; i < length; i++)
		sum = (sum ^ data[i]) * 1099511628211ull;
	return sum;
}

static uint64_t guest_checksum(struct blk_rig *r, uint64_t gpa, uint64_t length)
{
	return checksum(memory_range(&r->rig.memory, gpa, length, false), length);
}

static uint64_t file_checksum(struct blk_rig *r, off_t at, size_t length)
{
	uint8_t *data = malloc(length);
	assert_int_equal(pread(r->fd, data, length, at), length);
	uint64_t sum = checksum(data, length);
	free(data);
	return sum;
}

static void configuration_space(void **state)
{
	static struct blk_rig r;
	blk_rig_init(&r, false, 6);
	struct io_space *mmio = &r.rig.mmio;
	assert_int_equal(cfg_read(&r.rig, RIG_DEVFN, 0, 4), 0x10421af4);
	assert_int_equal(io_read(mmio, r.driver.config, 8), DISK_SIZE / 512);
	assert_int_equal(io_read(mmio, r.driver.config + 4, 4), 0);
	assert_int_equal(io_read(mmio, r.driver.config + 8, 4), 65536);
	assert_int_equal(io_read(mmio, r.driver.config + 12, 4), 254);
	assert_int_equal(io_read(mmio, r.driver.config + 20, 4), 512);
	assert_int_equal(io_read(mmio, r.driver.config + 24, 1), 3);
	assert_int_equal(io_read(mmio, r.driver.config + 34, 2), 4); /* 6 processors, but 4 queues */
	assert_int_equal(io_read(mmio, r.driver.config + 0x800, 8), 0);
	assert_int_equal(io_read(mmio, REG(&r.driver, 0x12), 2), 4);
	assert_int_equal(driver_offered(&r.driver) & (F_FLUSH | F_MQ | F_DISCARD | F_WRITE_ZEROES | 1 << 5),
			 F_FLUSH | F_MQ | F_DISCARD | F_WRITE_ZEROES);
	blk_rig_destroy(&r);
}

static void write_and_read_back(void **state)
{
	static struct blk_rig r;
	uint32_t written;
	blk_rig_init(&r, false, 1);
	blk_rig_start(&r, F_FLUSH, 1);
	for (uint32_t i = 0; i < 40; i++) {
		uint32_t length = 512 * (1 + i * 5);
		uint64_t sector = i * 313;
		fill(&r, DATA, length, i);
		uint64_t sum = guest_checksum(&r, DATA, length);
		assert_int_equal(request(&r, T_OUT, sector, length, &written), 0);
		assert_int_equal(written, 1);
		assert_int_equal(file_checksum(&r, (off_t)sector * 512, length), sum);
		memset(memory_range(&r.rig.memory, DATA, length, true), 0, length);
		assert_int_equal(request(&r, T_IN, sector, length, &written), 0);
		assert_int_equal(written, length + 1);
		assert_int_equal(guest_checksum(&r, DATA, length), sum);
		assert_int_equal(request(&r, T_FLUSH, 0, 0, NULL), 0);
	}
	assert_int_equal(request(&r, T_GET_ID, 0, 20, &written), 0);
	assert_memory_equal(memory_range(&r.rig.memory, DATA, 20, false), "disk-of-the-test\0\0\0\0", 20);
	assert_int_equal(written, 21);
	/* What the driver did not accept, what nobody knows. */
	assert_int_equal(request(&r, T_DISCARD, 0, 16, NULL), 2);
	assert_int_equal(request(&r, 77, 0, 0, NULL), 2);
	blk_rig_destroy(&r);
}

static void limits_of_the_disk(void **state)
{
	static struct blk_rig r;
	uint32_t written;
	blk_rig_init(&r, false, 1);
	blk_rig_start(&r, F_FLUSH, 1);
	assert_int_equal(request(&r, T_IN, DISK_SIZE / 512, 512, &written), 1);
	assert_int_equal(written, 0);
	assert_int_equal(request(&r, T_IN, DISK_SIZE / 512 - 1, 1024, NULL), 1);
	assert_int_equal(request(&r, T_IN, DISK_SIZE / 512 - 1, 512, NULL), 0);
	assert_int_equal(request(&r, T_IN, UINT64_MAX, 512, NULL), 1);
	assert_int_equal(request(&r, T_OUT, UINT64_MAX / 512, 512, NULL), 1);
	assert_int_equal(request(&r, T_IN, 0, 100, NULL), 1);
	assert_int_equal(request(&r, T_OUT, 0, 513, NULL), 1);
	assert_int_equal(request(&r, T_IN, 0, 0, NULL), 1);
	assert_int_equal(driver_status(&r.driver), 15);
	blk_rig_destroy(&r);
}

/* Header in two halves, data in odd pieces, status at the end of the last data piece: any framing is right (2.7.4.1). */
static void any_framing(void **state)
{
	static struct blk_rig r;
	blk_rig_init(&r, false, 1);
	blk_rig_start(&r, F_FLUSH | FEATURE_INDIRECT, 1);
	fill(&r, DATA, 1024, 3);
	uint64_t sum = guest_checksum(&r, DATA, 1024);
	put_header(&r, HEADER, T_OUT, 5);
	const struct buffer out[] = {
		{ HEADER, 7, false }, { HEADER + 7, 9, false }, { DATA, 1, false }, { DATA + 1, 1022, false },
		{ DATA + 1023, 1, false }, { STATUS, 1, true },
	};
	queue_add_indirect(&r.queue[0], 0x300000, out, 6);
	queue_notify(&r.queue[0]);
	queue_wait(&r.queue[0], NULL);
	assert_int_equal(guest_load(&r.rig, STATUS, 1), 0);
	assert_int_equal(file_checksum(&r, 5 * 512, 1024), sum);
	/* Header and data in one piece is right, too. */
	put_header(&r, DATA - 16, T_OUT, 9);
	const struct buffer joined[] = { { DATA - 16, 16 + 1024, false }, { STATUS, 1, true } };
	queue_add(&r.queue[0], joined, 2);
	queue_notify(&r.queue[0]);
	queue_wait(&r.queue[0], NULL);
	assert_int_equal(file_checksum(&r, 9 * 512, 1024), sum);
	put_header(&r, HEADER, T_IN, 5);
	const struct buffer in[] = { { HEADER, 16, false }, { DATA + 0x10000, 100, true }, { DATA + 0x10064, 925, true } };
	queue_add(&r.queue[0], in, 3);
	queue_notify(&r.queue[0]);
	assert_int_equal(queue_wait(&r.queue[0], NULL), 1025);
	assert_int_equal(guest_load(&r.rig, DATA + 0x10000 + 1024, 1), 0);
	assert_int_equal(guest_checksum(&r, DATA + 0x10000, 1024), sum);
	blk_rig_destroy(&r);
}

static void put_range(struct blk_rig *r, unsigned i, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	guest_store(&r->rig, DATA + 16 * i, sector, 8);
	guest_store(&r->rig, DATA + 16 * i + 8, sectors, 4);
	guest_store(&r->rig, DATA + 16 * i + 12, flags, 4);
}

static void discard_and_write_zeroes(void **state)
{
	static struct blk_rig r;
	uint8_t bytes[64 * 512], zeros[64 * 512] = { 0 };
	blk_rig_init(&r, false, 1);
	blk_rig_start(&r, F_FLUSH | F_DISCARD | F_WRITE_ZEROES, 1);
	memset(bytes, 0xab, sizeof(bytes));
	assert_int_equal(pwrite(r.fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	put_range(&r, 0, 1, 2, 0);
	put_range(&r, 1, 8, 8, 1);
	put_range(&r, 2, 40, 1, 0);
	assert_int_equal(request(&r, T_WRITE_ZEROES, 0, 48, NULL), 0);
	for (unsigned s = 0; s < 64; s++) {
		bool zero = (s >= 1 && s < 3) || (s >= 8 && s < 16) || s == 40;
		assert_int_equal(pread(r.fd, bytes, 512, s * 512), 512);
		assert_int_equal(memcmp(bytes, zeros, 512) == 0, zero);
	}
	put_range(&r, 0, 16, 16, 0);
	assert_int_equal(request(&r, T_DISCARD, 0, 16, NULL), 0);
	put_range(&r, 0, 16, 16, 1); /* unmap has no meaning in a discard */
	assert_int_equal(request(&r, T_DISCARD, 0, 16, NULL), 2);
	put_range(&r, 0, 16, 16, 2);
	assert_int_equal(request(&r, T_WRITE_ZEROES, 0, 16, NULL), 2);
	put_range(&r, 0, DISK_SIZE / 512, 1, 0);
	assert_int_equal(request(&r, T_DISCARD, 0, 16, NULL), 1);
	put_range(&r, 0, UINT64_MAX, 0xffffffff, 0);
	assert_int_equal(request(&r, T_WRITE_ZEROES, 0, 16, NULL), 1);
	assert_int_equal(request(&r, T_WRITE_ZEROES, 0, 15, NULL), 1);
	assert_int_equal(request(&r, T_WRITE_ZEROES, 0, 16 * 17, NULL), 1);
	assert_int_equal(pread(r.fd, bytes, 512, 0), 512);
	assert_int_equal(bytes[0], 0xab);
	blk_rig_destroy(&r);
}

static void read_only_disk(void **state)
{
	static struct blk_rig r;
	blk_rig_init(&r, true, 1);
	assert_int_equal(driver_offered(&r.driver) & (1 << 5), 1 << 5);
	blk_rig_start(&r, 1 << 5, 1);
	assert_int_equal(request(&r, T_OUT, 0, 512, NULL), 1);
	assert_int_equal(request(&r, T_IN, 0, 512, NULL), 0);
	assert_int_equal(request(&r, T_FLUSH, 0, 0, NULL), 0);
	blk_rig_destroy(&r);
}

static void host_error_is_an_io_error(void **state)
{
	static struct blk_rig r;
	struct rlimit before, limit;
	blk_rig_init(&r, false, 1);
	blk_rig_start(&r, F_FLUSH, 1);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	unsigned status = request(&r, T_OUT, 100, 512, NULL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(status, 1);
	assert_int_equal(request(&r, T_OUT, 100, 512, NULL), 0);
	blk_rig_destroy(&r);
}

/* A disk that only notes what it is asked for. */
static char journal[64];
static int flush_error;

static int journal_perform(struct block *block, const struct block_request *request)
{
	size_t n = strlen(journal);
	journal[n] = "RWFDZ"[request->op];
	journal[n + 1] = 0;
	return request->op == BLOCK_FLUSH ? flush_error : 0;
}

static void journal_close(struct block *block)
{
}

static const struct block_ops journal_ops = { .perform = journal_perform, .close = journal_close };

static void journal_rig_init(struct blk_rig *r, struct block *block)
{
	struct error err = { 0 };
	rig_init(&r->rig);
	r->fd = -1;
	r->path[0] = 0;
	*block = (struct block){ .ops = &journal_ops, .name = "journal", .size = DISK_SIZE };
	const struct block_config config = { .worker = rig_worker(&r->rig) };
	assert_int_equal(block_start(block, &config, &err), 0);
	const struct virtio_blk_config blk = {
		.device = { "blk0", { &r->rig.memory }, rig_worker(&r->rig) }, .block = block, .cpus = 1,
	};
	r->blk = virtio_blk_create(&blk, &err);
	const struct virtio_pci_config pci = { r->rig.bus, RIG_DEVFN, virtio_blk_device(r->blk) };
	r->pci = virtio_pci_create(&pci, &err);
	device_reset((struct device *)r->blk);
	device_reset((struct device *)r->pci);
	driver_find(&r->driver, &r->rig);
}

/* 5.2.6.2: who cannot flush must find each completed write safe. */
static void driver_without_flush_gets_safe_writes(void **state)
{
	static struct blk_rig r;
	static struct block block;
	journal_rig_init(&r, &block);
	blk_rig_start(&r, F_WRITE_ZEROES, 1);
	journal[0] = 0;
	assert_int_equal(request(&r, T_OUT, 0, 512, NULL), 0);
	assert_string_equal(journal, "WF");
	put_range(&r, 0, 1, 2, 0);
	put_range(&r, 1, 5, 2, 0);
	assert_int_equal(request(&r, T_WRITE_ZEROES, 0, 32, NULL), 0);
	assert_string_equal(journal, "WFZZF");
	assert_int_equal(request(&r, T_IN, 0, 512, NULL), 0);
	assert_string_equal(journal, "WFZZFR");
	flush_error = 5;
	assert_int_equal(request(&r, T_OUT, 0, 512, NULL), 1);
	flush_error = 0;
	blk_rig_start(&r, F_FLUSH, 1);
	journal[0] = 0;
	assert_int_equal(request(&r, T_OUT, 0, 512, NULL), 0);
	assert_int_equal(request(&r, T_FLUSH, 0, 0, NULL), 0);
	assert_string_equal(journal, "WF");
	blk_rig_destroy(&r);
}

/* What the disk reads over decoded code must be decoded anew; so must what the rings overwrite. */
static void dma_drops_decoded_code(void **state)
{
	static struct blk_rig r;
	blk_rig_init(&r, false, 1);
	blk_rig_start(&r, F_FLUSH, 1);
	struct guest_memory *memory = &r.rig.memory;
	uint64_t pages[] = { DATA + 0x1000, STATUS & ~0xfffull, r.queue[0].used };
	uint32_t before[3];
	memory_mark_code(memory, DATA + 0x1000 + 64, 10);
	memory_mark_code(memory, STATUS, 4);
	memory_mark_code(memory, r.queue[0].used + 2, 4);
	for (unsigned i = 0; i < 3; i++)
		before[i] = memory->code_generation[pages[i] >> GUEST_PAGE_SHIFT];
	assert_int_equal(request(&r, T_IN, 0, 0x2000, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_not_equal(memory->code_generation[pages[i] >> GUEST_PAGE_SHIFT], before[i]);
	blk_rig_destroy(&r);
}

#define DEPTH 30

static void add_write(struct blk_rig *r, unsigned queue, unsigned i)
{
	uint64_t header = HEADER + 0x1000 + (queue * DEPTH + i) * 32ull, data = DATA + (queue * DEPTH + i) * 0x1000ull;
	put_header(r, header, T_OUT, (queue * DEPTH + i) * 8);
	fill(r, data, 0x1000, queue * DEPTH + i);
	guest_store(&r->rig, header + 16, 0xee, 1);
	const struct buffer buffers[] = { { header, 16, false }, { data, 0x1000, false }, { header + 16, 1, true } };
	queue_add(&r->queue[queue], buffers, 3);
}

static void four_queues_at_once(void **state)
{
	static struct blk_rig r;
	blk_rig_init(&r, false, 4);
	driver_enable_msix(&r.driver, 5);
	blk_rig_start(&r, F_FLUSH | F_MQ, 4);
	for (unsigned q = 0; q < 4; q++) {
		driver_set_vector(&r.driver, q, (uint16_t)(q + 1));
		for (unsigned i = 0; i < DEPTH; i++)
			add_write(&r, q, i);
		queue_notify(&r.queue[q]);
	}
	for (unsigned q = 0; q < 4; q++)
		for (unsigned i = 0; i < DEPTH; i++)
			queue_wait(&r.queue[q], NULL);
	for (unsigned i = 0; i < 4 * DEPTH; i++)
		assert_int_equal(file_checksum(&r, i * 0x1000, 0x1000), guest_checksum(&r, DATA + i * 0x1000ull, 0x1000));
	assert_int_equal(r.rig.msi_count, 4 * DEPTH);
	blk_rig_destroy(&r);
}

/* A save waits for the disk by itself, without the worker; so does a reset by the guest. */
static void save_and_reset_with_requests_in_flight(void **state)
{
	static struct blk_rig r;
	blk_rig_init(&r, false, 1);
	blk_rig_start(&r, F_FLUSH, 1);
	struct device *device = (struct device *)r.blk;
	for (unsigned round = 0; round < 20; round++) {
		uint16_t before = queue_used(&r.queue[0]);
		for (unsigned i = 0; i < DEPTH; i++)
			add_write(&r, 0, i);
		queue_notify(&r.queue[0]);
		rig_run(&r.rig, false);
		lock_take(device->lock);
		device->type->saving(device);
		assert_int_equal((uint16_t)(queue_used(&r.queue[0]) - before), DEPTH);
		lock_release(device->lock);
		rig_run(&r.rig, false);
	}
	for (unsigned round = 0; round < 20; round++) {
		blk_rig_start(&r, F_FLUSH, 1);
		for (unsigned i = 0; i < DEPTH; i++)
			add_write(&r, 0, i);
		queue_notify(&r.queue[0]);
		rig_run(&r.rig, false);
		io_write(&r.rig.mmio, REG(&r.driver, 0x14), 0, 1);
		uint64_t sum = guest_checksum(&r, 0x100000, 0x10000);
		rig_run(&r.rig, false);
		assert_int_equal(guest_checksum(&r, 0x100000, 0x10000), sum); /* nothing is written after a reset */
	}
	/* The machine's reset in the midst of it. */
	blk_rig_start(&r, F_FLUSH, 1);
	for (unsigned i = 0; i < DEPTH; i++)
		add_write(&r, 0, i);
	queue_notify(&r.queue[0]);
	rig_run(&r.rig, false);
	device_reset(device);
	assert_int_equal(driver_status(&r.driver), 0);
	blk_rig_start(&r, F_FLUSH, 1);
	assert_int_equal(request(&r, T_IN, 0, 512, NULL), 0);
	blk_rig_destroy(&r);
}

static void malformed_requests(void **state)
{
	static struct blk_rig r;
	blk_rig_init(&r, false, 1);
	const struct buffer no_status[] = { { HEADER, 16, false }, { DATA, 512, false } };
	const struct buffer short_header[] = { { HEADER, 15, false }, { STATUS, 1, true } };
	const struct buffer no_header[] = { { DATA, 512, true }, { STATUS, 1, true } };
	const struct buffer *all[] = { no_status, short_header, no_header };
	for (unsigned i = 0; i < 3; i++) {
		blk_rig_start(&r, F_FLUSH, 1);
		put_header(&r, HEADER, T_IN, 0);
		queue_add(&r.queue[0], all[i], 2);
		queue_notify(&r.queue[0]);
		rig_run(&r.rig, false);
		assert_int_equal(driver_status(&r.driver), 15 | 64);
	}
	blk_rig_destroy(&r);
}

static uint32_t random_state = 88172645u;

static uint32_t random32(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state;
}

/* Random chains of random headers: every one ends with a status or stops the device, and the host lives. */
static void random_requests(void **state)
{
	static struct blk_rig r;
	blk_rig_init(&r, false, 1);
	blk_rig_start(&r, F_FLUSH | F_DISCARD | F_WRITE_ZEROES | FEATURE_INDIRECT, 1);
	for (unsigned i = 0; i < 20000; i++) {
		struct buffer buffers[6];
		unsigned count = 1 + random32() % 6;
		static const uint32_t types[] = { 0, 1, 4, 8, 11, 13, 99 };
		put_header(&r, HEADER, types[random32() % 7], random32() % 4 ? random32() % 20000 : random32());
		put_range(&r, 0, random32() % 20000, random32() % 64, random32() % 3);
		buffers[0] = (struct buffer){ HEADER, random32() % 8 ? 16 : random32() % 20, false };
		for (unsigned k = 1; k < count; k++)
			buffers[k] = (struct buffer){
				random32() % 16 ? DATA + random32() % 0x10000 : random32(),
				random32() % 2 ? random32() % 4 * 512 + (k + 1 == count) : random32() % 3000,
				random32() % 2,
			};
		queue_add(&r.queue[0], buffers, count);
		queue_notify(&r.queue[0]);
		rig_run(&r.rig, false);
		if (driver_status(&r.driver) & 64 || i % 64 == 0) {
			blk_rig_start(&r, F_FLUSH | F_DISCARD | F_WRITE_ZEROES | FEATURE_INDIRECT, 1);
			rig_run(&r.rig, false);
		}
	}
	blk_rig_start(&r, F_FLUSH, 1);
	assert_int_equal(request(&r, T_IN, 0, 512, NULL), 0);
	blk_rig_destroy(&r);
}

int main(void)
{
	log_threshold = LOG_ERROR;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuration_space),
		cmocka_unit_test(write_and_read_back),
		cmocka_unit_test(limits_of_the_disk),
		cmocka_unit_test(any_framing),
		cmocka_unit_test(discard_and_write_zeroes),
		cmocka_unit_test(read_only_disk),
		cmocka_unit_test(host_error_is_an_io_error),
		cmocka_unit_test(driver_without_flush_gets_safe_writes),
		cmocka_unit_test(dma_drops_decoded_code),
		cmocka_unit_test(four_queues_at_once),
		cmocka_unit_test(save_and_reset_with_requests_in_flight),
		cmocka_unit_test(malformed_requests),
		cmocka_unit_test(random_requests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
