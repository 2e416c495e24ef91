/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A writer is killed at a random moment: what it had flushed is there, and the image's tables have leaks
 * at worst. KILL_TIMES: how often for each kind of image, 4; KILL_SEED: of the moments.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "block/block.h"
#include "image_model.h"

#define PIECE 4096u
#define PIECES 4096u
#define BATCH 8

/* Shared with the writer. A piece of the disk has the number of the write that wrote it, 0 for zeros; it may have any from `flushed` to
 * `submitted`. */
struct ledger {
	uint64_t flushed[PIECES], submitted[PIECES];
	_Atomic uint64_t flushes;
};

static struct ledger *ledger;
static bool torn[PIECES]; /* by an earlier kill, and not flushed since: anything may be in it */
static uint64_t state;

static uint64_t rnd(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state * 0x2545f4914f6cdd1dull >> 11) % below;
}

static void post_nowhere(void *opaque, void (*fn)(void *), void *arg)
{
}

static void done(struct block_request *request, int error)
{
	if (error)
		_exit(3);
}

static void fill(uint8_t *data, uint64_t piece, uint64_t number)
{
	memset(data, 0, PIECE);
	for (unsigned i = 0; number && i < PIECE; i += 512) {
		store_le64(data + i, number);
		store_le64(data + i + 8, piece);
	}
}

/* Batches of writes at once, now and then zeros, a flush after each. */
static void write_on(struct block *block)
{
	static struct block_request requests[BATCH];
	static uint8_t data[BATCH][PIECE];
	struct iovec iov[BATCH];
	uint64_t pieces[BATCH], numbers[BATCH], next = 1;
	for (unsigned i = 0; i < PIECES; i++)
		next = MAX(next, ledger->submitted[i] + 1);
	for (;;) {
		for (unsigned i = 0; i < BATCH; i++) {
			bool zero = !rnd(8);
			pieces[i] = rnd(PIECES / BATCH) * BATCH + i; /* no two the same */
			numbers[i] = next++;
			fill(data[i], pieces[i], zero ? 0 : numbers[i]);
			iov[i] = (struct iovec){ data[i], PIECE };
			requests[i] = (struct block_request){
				.op = zero ? BLOCK_WRITE_ZEROES : BLOCK_WRITE, .may_unmap = rnd(2), .iov = &iov[i], .iov_count = 1,
				.offset = pieces[i] * PIECE, .length = PIECE, .done = done,
			};
			ledger->submitted[pieces[i]] = zero ? numbers[i] | BIT64(63) : numbers[i];
			block_submit(block, &requests[i]);
		}
		block_drain(block);
		struct block_request flush = { .op = BLOCK_FLUSH, .done = done };
		block_submit(block, &flush);
		block_drain(block);
		for (unsigned i = 0; i < BATCH; i++)
			ledger->flushed[pieces[i]] = ledger->submitted[pieces[i]];
		ledger->flushes++;
	}
}

static pid_t start_writer(const char *path)
{
	pid_t pid = fork();
	if (pid)
		return pid;
	const struct block_config config = { .path = path, .worker = { post_nowhere, NULL } };
	struct error err;
	struct block *block = block_open(&config, &err);
	if (!block) {
		fprintf(stderr, "%s\n", err.text);
		_exit(2);
	}
	write_on(block);
	_exit(4);
}

static void kill_writer(const char *path)
{
	uint64_t before = ledger->flushes;
	pid_t pid = start_writer(path);
	int status;
	for (unsigned i = 0; ledger->flushes == before && i < 20000; i++)
		usleep(1000);
	usleep((useconds_t)rnd(30000));
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_true(ledger->flushes > before);
}

/* Sector by sector, since a write that was never flushed may be there in part. */
static void check_pieces(const char *path)
{
	struct image *image = image_must_open(path, true);
	uint8_t data[PIECE];
	for (uint64_t piece = 0; piece < PIECES; piece++) {
		uint64_t flushed = ledger->flushed[piece], submitted = ledger->submitted[piece];
		torn[piece] = torn[piece] && !flushed;
		uint64_t old = flushed >> 63 ? 0 : flushed, new = submitted >> 63 ? 0 : submitted;
		assert_int_equal(image_read(image, data, piece * PIECE, PIECE), 0);
		for (unsigned i = 0; i < PIECE; i += 512) {
			uint64_t is = load_le64(data + i);
			if (is != old && is != new && !torn[piece])
				fail_msg("piece %llu has %llu, flushed was %llu, then came %llu", (unsigned long long)piece, (unsigned long long)is,
					 (unsigned long long)old, (unsigned long long)new);
			assert_int_equal(load_le64(data + i + 8), is ? piece : 0);
		}
		/* What is there now is what the next one starts from. */
		uint64_t is = load_le64(data);
		for (unsigned i = 0; i < PIECE; i += 512)
			if (load_le64(data + i) != is)
				is = UINT64_MAX;
		torn[piece] = is == UINT64_MAX || torn[piece];
		ledger->flushed[piece] = ledger->submitted[piece] = torn[piece] ? 0 : is;
	}
	image_close(image);
}

/* Leaks are its status 3. */
static bool qemu_checks(const struct image_create *kind)
{
	return (kind->format == IMAGE_QCOW2 && !kind->lazy_refcounts) || kind->format == IMAGE_VDI || kind->format == IMAGE_VMDK;
}

static void kill_and_check(const struct image_create *kind, unsigned times)
{
	char name[32];
	struct image_create create = *kind;
	struct error err = { 0 };
	snprintf(name, sizeof(name), "kill.%s", image_format_names[kind->format]);
	create.path = image_path_in_folder(name);
	create.size = PIECES * PIECE;
	memset(ledger, 0, sizeof(*ledger));
	memset(torn, 0, sizeof(torn));
	if (image_create(&create, &err) < 0)
		fail_msg("%s", err.text);
	for (unsigned i = 0; i < times; i++) {
		kill_writer(create.path);
		if (kind->format != IMAGE_RAW && !kind->lazy_refcounts)
			image_must_be_clean(create.path, true);
		if (qemu_checks(kind) && image_has_qemu())
			image_command("qemu-img check -q %s >/dev/null 2>&1 || test $? = 3", create.path);
		if (kind->lazy_refcounts) {
			image_close(image_must_open(create.path, false)); /* that makes the counts anew */
			image_must_be_clean(create.path, false);
		}
		check_pieces(create.path);
	}
	unlink(create.path);
}

static void flushed_writes_survive(void **unused)
{
	static const struct image_create kinds[] = {
		{ .format = IMAGE_RAW },
		{ .format = IMAGE_QCOW2 },
		{ .format = IMAGE_QCOW2, .cluster_size = 4096 },
		{ .format = IMAGE_QCOW2, .cluster_size = 512, .version = 2 },
		{ .format = IMAGE_QCOW2, .cluster_size = 4096, .lazy_refcounts = true },
		{ .format = IMAGE_VDI },
		{ .format = IMAGE_VHD },
		{ .format = IMAGE_VMDK },
	};
	const char *times = getenv("KILL_TIMES"), *seed = getenv("KILL_SEED");
	state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) << 20 | (uint64_t)getpid();
	print_message("KILL_SEED=%llu\n", (unsigned long long)state);
	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(ledger, MAP_FAILED);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		kill_and_check(&kinds[i], times ? (unsigned)atoi(times) : 4);
	munmap(ledger, sizeof(*ledger));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flushed_writes_survive),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	image_folder_remove();
	return failed;
}
