/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev_board.h"
#include "virtio_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "dev/virtio/sound.h"

#define REQUEST 0x200000ull
#define ANSWER 0x201000ull
#define DATA 0x300000ull
enum { CONTROL, EVENT, TX, RX };
enum { JACK_INFO = 1, PCM_INFO = 0x100, SET_PARAMS, PREPARE, RELEASE, START, STOP, CHMAP_INFO = 0x200 };
enum { OK = 0x8000, BAD_MSG, NOT_SUPP };
enum { U8 = 4, S16 = 5, S32 = 17, RATE_8000 = 1, RATE_48000 = 7 };

struct sound_rig {
	struct rig rig;
	struct board board;
	struct audio *audio;
	char path[64];
	struct virtio_sound *sound;
	struct virtio_pci *pci;
	struct driver driver;
	struct driver_queue queue[4];
};

static void start_driver(struct sound_rig *r, uint64_t features)
{
	assert_true(driver_negotiate(&r->driver, FEATURE_VERSION_1 | features));
	for (unsigned i = 0; i < 4; i++) {
		driver_queue_init(&r->queue[i], &r->driver, i, 64);
		r->queue[i].event_index = features & FEATURE_EVENT_INDEX;
	}
	driver_ok(&r->driver);
}

static void make(struct sound_rig *r)
{
	*r = (struct sound_rig){ 0 };
	char spec[80];
	rig_init(&r->rig);
	board_init(&r->board);
	snprintf(r->path, sizeof(r->path), "/tmp/visor-test-sound-%d.wav", (int)getpid());
	snprintf(spec, sizeof(spec), "wav:%s", r->path);
	r->audio = audio_open(spec, NULL);
	assert_non_null(r->audio);
	const struct virtio_sound_config config = { { "sound", { &r->rig.memory }, rig_worker(&r->rig) }, &r->board.clock, r->audio };
	r->sound = virtio_sound_create(&config, NULL);
	assert_non_null(r->sound);
	const struct virtio_pci_config pci = { r->rig.bus, RIG_DEVFN, virtio_sound_device(r->sound) };
	r->pci = virtio_pci_create(&pci, NULL);
	assert_non_null(r->pci);
	device_reset((struct device *)r->sound);
	device_reset((struct device *)r->pci);
	driver_find(&r->driver, &r->rig);
	start_driver(r, 0);
}

/* What was heard: 16-bit values, two a frame; the caller frees them. */
static int16_t *end(struct sound_rig *r, size_t *count)
{
	rig_run(&r->rig, false);
	board_end(r->pci);
	board_end(r->sound);
	board_destroy(&r->board);
	rig_destroy(&r->rig);
	assert_int_equal(audio_close(r->audio, NULL), 0);
	FILE *f = fopen(r->path, "rb");
	int16_t *values = malloc(1 << 20);
	assert_int_equal(fseek(f, 44, SEEK_SET), 0);
	*count = fread(values, 2, 1 << 19, f);
	fclose(f);
	unlink(r->path);
	return values;
}

static void end_silent(struct sound_rig *r)
{
	size_t count;
	free(end(r, &count));
	assert_int_equal(count, 0);
}

static uint32_t request(struct sound_rig *r, const void *data, uint32_t size, uint32_t room)
{
	const struct buffer buffers[] = { { REQUEST, size, false }, { ANSWER, room, true } };
	guest_write(&r->rig, REQUEST, data, size);
	guest_store(&r->rig, ANSWER, 0, 4);
	queue_add(&r->queue[CONTROL], buffers, 2);
	queue_notify(&r->queue[CONTROL]);
	queue_wait(&r->queue[CONTROL], NULL);
	return (uint32_t)guest_load(&r->rig, ANSWER, 4);
}

static uint32_t pcm(struct sound_rig *r, uint32_t code, uint32_t stream)
{
	const uint32_t words[] = { code, stream };
	return request(r, words, sizeof(words), 4);
}

static uint32_t set_params(struct sound_rig *r, uint32_t stream, uint32_t buffer, uint32_t period, unsigned channels, unsigned format, unsigned rate)
{
	const uint32_t words[] = { SET_PARAMS, stream, buffer, period, 0, channels | format << 8 | rate << 16 };
	return request(r, words, sizeof(words), 4);
}

static uint32_t query(struct sound_rig *r, uint32_t code, uint32_t start, uint32_t count, uint32_t size)
{
	const uint32_t words[] = { code, start, count, size };
	return request(r, words, sizeof(words), 512);
}

/* Buffer n of a data queue: `size` bytes at DATA + n * 0x10000, the stream's number before them, the status behind. */
static void give(struct sound_rig *r, unsigned queue, uint32_t stream, unsigned n, uint32_t size)
{
	uint64_t at = DATA + n * 0x10000ull;
	const struct buffer out[] = { { at, 4, false }, { at + 16, size, false }, { at + 0xff00, 8, true } };
	const struct buffer in[] = { { at, 4, false }, { at + 16, size, true }, { at + 0xff00, 8, true } };
	guest_store(&r->rig, at, stream, 4);
	guest_store(&r->rig, at + 0xff00, 0, 8);
	queue_add(&r->queue[queue], queue == TX ? out : in, 3);
	queue_notify(&r->queue[queue]);
	rig_run(&r->rig, false);
}

static uint32_t status(struct sound_rig *r, unsigned n)
{
	return (uint32_t)guest_load(&r->rig, DATA + n * 0x10000ull + 0xff00, 4);
}

static void fill16(struct sound_rig *r, unsigned n, int16_t first, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		guest_store(&r->rig, DATA + n * 0x10000ull + 16 + 2 * i, (uint16_t)(first + (int)i), 2);
}

static void information(void **state)
{
	struct sound_rig r;
	make(&r);
	assert_int_equal(cfg_read(&r.rig, RIG_DEVFN, PCI_DEVICE_ID, 2), 0x1059);
	assert_int_equal(io_read(&r.rig.mmio, r.driver.config, 4), 0);
	assert_int_equal(io_read(&r.rig.mmio, r.driver.config + 4, 4), 2);
	assert_int_equal(io_read(&r.rig.mmio, r.driver.config + 8, 4), 2);
	/* Entries as long as the driver says. */
	assert_int_equal(query(&r, PCM_INFO, 0, 2, 40), OK);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t at = ANSWER + 4 + 40 * i;
		assert_int_equal(guest_load(&r.rig, at + 8, 8), 0x60078);
		assert_int_equal(guest_load(&r.rig, at + 16, 8), 0x7ff);
		assert_int_equal(guest_load(&r.rig, at + 24, 3), 0x020100 | i);
	}
	assert_int_equal(query(&r, CHMAP_INFO, 1, 1, 24), OK);
	assert_int_equal(guest_load(&r.rig, ANSWER + 8, 4), 0x04030201);
	assert_int_equal(query(&r, JACK_INFO, 0, 0, 24), OK);
	assert_int_equal(query(&r, JACK_INFO, 0, 1, 24), BAD_MSG);
	assert_int_equal(query(&r, PCM_INFO, 1, 2, 32), BAD_MSG);
	assert_int_equal(query(&r, PCM_INFO, 3, 0xffffffff, 32), BAD_MSG);
	assert_int_equal(query(&r, PCM_INFO, 0, 2, 31), BAD_MSG);
	assert_int_equal(query(&r, PCM_INFO, 0, 2, 0x80000000), BAD_MSG);
	assert_int_equal(query(&r, PCM_INFO, 0, 2, 300), BAD_MSG); /* no room */
	assert_int_equal(query(&r, 0x300, 0, 1, 32), NOT_SUPP);
	assert_int_equal(request(&r, "\1", 1, 4), BAD_MSG);
	end_silent(&r);
}

static void states(void **state)
{
	struct sound_rig r;
	make(&r);
	static const uint32_t all[] = { PREPARE, RELEASE, START, STOP };
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pcm(&r, all[i], 0), BAD_MSG);
	assert_int_equal(pcm(&r, PREPARE, 2), BAD_MSG);
	assert_int_equal(set_params(&r, 2, 1024, 512, 2, S16, RATE_8000), BAD_MSG);
	assert_int_equal(set_params(&r, 0, 1024, 2048, 2, S16, RATE_8000), BAD_MSG);
	assert_int_equal(set_params(&r, 0, 1024, 0, 2, S16, RATE_8000), BAD_MSG);
	assert_int_equal(set_params(&r, 0, 1024, 512, 3, S16, RATE_8000), NOT_SUPP);
	assert_int_equal(set_params(&r, 0, 1024, 512, 0, S16, RATE_8000), NOT_SUPP);
	assert_int_equal(set_params(&r, 0, 1024, 512, 2, 19, RATE_8000), NOT_SUPP);
	assert_int_equal(set_params(&r, 0, 1024, 512, 2, 200, RATE_8000), NOT_SUPP);
	assert_int_equal(set_params(&r, 0, 1024, 512, 2, S16, 11), NOT_SUPP);
	assert_int_equal(set_params(&r, 0, 0x80000000, 512, 2, S16, RATE_8000), NOT_SUPP);
	assert_int_equal(set_params(&r, 0, 1024, 512, 2, S16, RATE_8000), OK);
	assert_int_equal(pcm(&r, START, 0), BAD_MSG);
	assert_int_equal(pcm(&r, PREPARE, 0), OK);
	assert_int_equal(pcm(&r, STOP, 0), BAD_MSG);
	assert_int_equal(pcm(&r, START, 0), OK);
	assert_int_equal(pcm(&r, START, 0), BAD_MSG);
	assert_int_equal(pcm(&r, RELEASE, 0), BAD_MSG);
	assert_int_equal(set_params(&r, 0, 1024, 512, 2, S16, RATE_8000), BAD_MSG);
	assert_int_equal(pcm(&r, STOP, 0), OK);
	assert_int_equal(pcm(&r, START, 0), OK);
	assert_int_equal(pcm(&r, STOP, 0), OK);
	assert_int_equal(pcm(&r, RELEASE, 0), OK);
	assert_int_equal(pcm(&r, PREPARE, 0), OK);
	assert_int_equal(set_params(&r, 0, 512, 512, 1, U8, RATE_48000), OK);
	end_silent(&r);
}

/* Two buffers of 100 ms each come back when their time is over, with what was in them then; a third one later. */
static void playback_with(uint64_t features)
{
	struct sound_rig r;
	size_t count;
	make(&r);
	start_driver(&r, features);
	assert_int_equal(set_params(&r, 0, 9600, 3200, 2, S16, RATE_8000), OK);
	assert_int_equal(pcm(&r, PREPARE, 0), OK);
	give(&r, TX, 0, 0, 3200);
	give(&r, TX, 0, 1, 3200);
	board_step(&r.board, 500 * MS);
	assert_int_equal(queue_used(&r.queue[TX]), 0);
	assert_int_equal(pcm(&r, START, 0), OK);
	rig_run(&r.rig, false);
	board_step(&r.board, 99 * MS);
	assert_int_equal(queue_used(&r.queue[TX]), 0);
	fill16(&r, 0, 0, 1600);
	board_step(&r.board, 2 * MS);
	assert_int_equal(queue_used(&r.queue[TX]), 1);
	assert_int_equal(status(&r, 0), OK);
	fill16(&r, 1, 1600, 1600);
	board_step(&r.board, 98 * MS);
	assert_int_equal(queue_used(&r.queue[TX]), 1);
	board_step(&r.board, 2 * MS);
	assert_int_equal(queue_used(&r.queue[TX]), 2);
	/* Nothing for a while; the next one begins when it comes. */
	board_step(&r.board, 1000 * MS);
	fill16(&r, 2, 3200, 1600);
	give(&r, TX, 0, 2, 3200);
	board_step(&r.board, 99 * MS);
	assert_int_equal(queue_used(&r.queue[TX]), 2);
	board_step(&r.board, 2 * MS);
	assert_int_equal(queue_used(&r.queue[TX]), 3);
	/* What is not played comes back before the release is answered. */
	give(&r, TX, 0, 3, 3200);
	board_step(&r.board, 50 * MS);
	assert_int_equal(pcm(&r, STOP, 0), OK);
	board_step(&r.board, 500 * MS);
	assert_int_equal(queue_used(&r.queue[TX]), 3);
	assert_int_equal(pcm(&r, RELEASE, 0), OK);
	assert_int_equal(queue_used(&r.queue[TX]), 4);
	assert_int_equal(status(&r, 3), OK);
	int16_t *heard = end(&r, &count);
	assert_int_equal(count, 4800);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(heard[i], i);
	free(heard);
}

static void playback(void **state)
{
	playback_with(0);
	playback_with(FEATURE_EVENT_INDEX | FEATURE_INDIRECT);
}

static void formats(void **state)
{
	static const struct { unsigned format, bytes; uint32_t value; int heard; } known[] = {
		{ 3, 1, 0x81, -0x7f00 }, { 4, 1, 0x81, 0x100 }, { 5, 2, 0x8001, -0x7fff }, { 6, 2, 0x8001, 1 }, { 17, 4, 0x80010203, -0x7fff },
		{ 18, 4, 0x80010203, 1 },
	};
	struct sound_rig r;
	size_t count;
	make(&r);
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
		assert_int_equal(set_params(&r, 0, 64, 64, 1, known[i].format, RATE_8000), OK);
		assert_int_equal(pcm(&r, PREPARE, 0), OK);
		guest_store(&r.rig, DATA + 16, known[i].value, known[i].bytes);
		give(&r, TX, 0, 0, known[i].bytes);
		assert_int_equal(pcm(&r, START, 0), OK);
		rig_run(&r.rig, false);
		board_step(&r.board, 10 * MS);
		assert_int_equal(status(&r, 0), OK);
		assert_int_equal(pcm(&r, STOP, 0), OK);
		assert_int_equal(pcm(&r, RELEASE, 0), OK);
	}
	int16_t *heard = end(&r, &count);
	assert_int_equal(count, 2 * ARRAY_SIZE(known));
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
		assert_int_equal(heard[2 * i], known[i].heard);
		assert_int_equal(heard[2 * i + 1], known[i].heard);
	}
	free(heard);
}

static void capture(void **state)
{
	struct sound_rig r;
	make(&r);
	assert_int_equal(set_params(&r, 1, 8000, 4000, 1, U8, RATE_8000), OK);
	assert_int_equal(pcm(&r, PREPARE, 1), OK);
	assert_int_equal(pcm(&r, START, 1), OK);
	for (unsigned i = 0; i < 8000; i++)
		guest_store(&r.rig, DATA + 16 + i, 1, 1);
	give(&r, RX, 1, 0, 8000);
	board_step(&r.board, 999 * MS);
	assert_int_equal(queue_used(&r.queue[RX]), 0);
	board_step(&r.board, 2 * MS);
	assert_int_equal(queue_wait(&r.queue[RX], NULL), 8008);
	assert_int_equal(status(&r, 0), OK);
	for (unsigned i = 0; i < 8000; i++)
		assert_int_equal(guest_load(&r.rig, DATA + 16 + i, 1), 0x80);
	end_silent(&r);
}

static void refused(void **state)
{
	struct sound_rig r;
	make(&r);
	assert_int_equal(set_params(&r, 0, 1000, 500, 2, S16, RATE_8000), OK);
	assert_int_equal(pcm(&r, PREPARE, 0), OK);
	assert_int_equal(pcm(&r, START, 0), OK);
	give(&r, TX, 1, 0, 100);
	assert_int_equal(status(&r, 0), BAD_MSG);
	give(&r, TX, 0, 1, 1001);
	assert_int_equal(status(&r, 1), BAD_MSG);
	/* No number of a stream, no room for the status; then samples that take no time. */
	queue_add(&r.queue[TX], (const struct buffer[]){ { DATA, 3, false }, { DATA + 16, 8, true } }, 2);
	queue_add(&r.queue[TX], (const struct buffer[]){ { DATA, 100, false }, { DATA + 0x80, 7, true } }, 2);
	queue_notify(&r.queue[TX]);
	rig_run(&r.rig, false);
	assert_int_equal(queue_used(&r.queue[TX]), 4);
	give(&r, TX, 0, 2, 3);
	assert_int_equal(status(&r, 2), OK);
	/* Without access to memory nothing is done, and nobody held up; then it goes on. */
	cfg_write(&r.rig, RIG_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	give(&r, TX, 0, 3, 3);
	assert_int_equal(status(&r, 3), 0);
	cfg_write(&r.rig, RIG_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	rig_run(&r.rig, false);
	assert_int_equal(status(&r, 3), OK);
	/* A ring that says it has all of it again and again does not hold the machine up. */
	uint16_t index = (uint16_t)guest_load(&r.rig, r.queue[TX].avail + 2, 2);
	guest_store(&r.rig, r.queue[TX].avail + 2, index + 64, 2);
	queue_notify(&r.queue[TX]);
	rig_run(&r.rig, false);
	end_silent(&r);
}

/* A save while it plays: another device goes on where this one was. */
static void saved(void **state)
{
	struct sound_rig r;
	size_t count;
	make(&r);
	assert_int_equal(set_params(&r, 0, 9600, 3200, 2, S16, RATE_8000), OK);
	assert_int_equal(pcm(&r, PREPARE, 0), OK);
	fill16(&r, 0, 0, 1600);
	fill16(&r, 1, 1600, 1600);
	give(&r, TX, 0, 0, 3200);
	give(&r, TX, 0, 1, 3200);
	assert_int_equal(pcm(&r, START, 0), OK);
	rig_run(&r.rig, false);
	board_step(&r.board, 130 * MS);
	static uint8_t fields[64 << 10], transport[64 << 10]; /* as large as the devices */
	struct device *sound = (struct device *)r.sound, *pci = (struct device *)r.pci;
	fields_copy(sound->type->fields, fields, sound);
	fields_copy(pci->type->fields, transport, pci);
	device_reset(sound);
	device_reset(pci);
	board_step(&r.board, 0);
	fields_copy(sound->type->fields, sound, fields);
	fields_copy(pci->type->fields, pci, transport);
	assert_int_equal(sound->type->loaded(sound, NULL), 0);
	assert_int_equal(pci->type->loaded(pci, NULL), 0);
	rig_run(&r.rig, false);
	board_step(&r.board, 69 * MS);
	assert_int_equal(queue_used(&r.queue[TX]), 1);
	board_step(&r.board, 2 * MS);
	assert_int_equal(queue_used(&r.queue[TX]), 2);
	int16_t *heard = end(&r, &count);
	assert_int_equal(count, 3200);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(heard[i], i);
	free(heard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(information), cmocka_unit_test(states), cmocka_unit_test(playback), cmocka_unit_test(formats),
		cmocka_unit_test(capture), cmocka_unit_test(refused), cmocka_unit_test(saved),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
