/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Voices and their sum in a WAV file. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "audio/audio.h"
#include "base/util.h"

#define SECOND 1000000000ull
#define RATE 10000u

static struct audio *audio;
static struct audio_voice a, b, music;
static char path[64];
static int16_t frames[2 * 200000];

static int setup(void **state)
{
	char spec[80];
	strcpy(path, "/tmp/visor-audio-XXXXXX");
	close(mkstemp(path));
	snprintf(spec, sizeof(spec), "wav:%s", path);
	audio = audio_open(spec, NULL);
	assert_non_null(audio);
	audio_voice_init(&a, audio, false);
	audio_voice_init(&b, audio, false);
	audio_voice_init(&music, audio, true);
	return 0;
}

static int teardown(void **state)
{
	audio_close(audio, NULL);
	audio = NULL;
	unlink(path);
	return 0;
}

static size_t heard(unsigned rate)
{
	uint8_t header[44];
	assert_int_equal(audio_close(audio, NULL), 0);
	audio = NULL;
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fread(header, 1, sizeof(header), f), sizeof(header));
	assert_int_equal(load_le32(header + 24), rate);
	size_t count = fread(frames, 4, 200000, f);
	fclose(f);
	return count;
}

/* `count` frames of a value, to the left; half of it to the right. */
static void play(struct audio_voice *voice, unsigned rate, uint64_t ms, int16_t value, unsigned count)
{
	static int16_t same[2 * 100000];
	for (unsigned i = 0; i < count; i++) {
		same[2 * i] = value;
		same[2 * i + 1] = value / 2;
	}
	audio_play(voice, rate, ms * SECOND / 1000, same, count);
}

static void expect(unsigned from, unsigned to, int value)
{
	for (unsigned i = from; i < to; i++) {
		assert_int_equal(frames[2 * i], value);
		assert_int_equal(frames[2 * i + 1], value / 2);
	}
}

/* --- tests --- */

static void sum(void **state)
{
	play(&a, RATE, 5000, 1000, 500);
	audio_begin(&b, RATE, 5050 * SECOND / 1000); /* begins in the middle, ends later */
	play(&a, RATE, 0, 1000, 400);                /* goes on: the time does not count */
	audio_begin(&music, RATE, 5090 * SECOND / 1000);
	play(&a, RATE, 0, 1000, 100);
	play(&a, RATE, 0, 500, 100);
	audio_rest(&a);
	play(&b, RATE, 0, 200, 1000);
	play(&b, RATE, 0, 100, 100);
	play(&music, RATE, 0, -3000, 100);
	audio_rest(&music);
	assert_int_equal(heard(RATE), 1600);
	expect(0, 500, 1000);
	expect(500, 900, 1200);
	expect(900, 1000, -1800);
	expect(1000, 1100, 700);
	expect(1100, 1500, 200);
	expect(1500, 1600, 100);
}

static void clipped(void **state)
{
	audio_begin(&b, RATE, 0);
	audio_begin(&music, RATE, 0);
	play(&a, RATE, 0, 30000, 100);
	play(&b, RATE, 0, 20000, 100);
	play(&music, RATE, 0, -32768, 50);
	assert_int_equal(heard(RATE), 100);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(frames[2 * i], i < 50 ? 17232 : 32767);
		assert_int_equal(frames[2 * i + 1], i < 50 ? 8616 : 25000);
	}
}

/* What is alone has no silence between; pauses of music are kept, up to two seconds. */
static void pauses(void **state)
{
	play(&a, RATE, 1000, 1, 100);
	audio_rest(&a);
	play(&a, RATE, 2000, 2, 100);
	audio_rest(&a);
	play(&music, RATE, 2500, 3, 100);
	audio_rest(&music);
	play(&a, RATE, 2600, 4, 100);
	audio_rest(&a);
	play(&music, RATE, 9000, 5, 100);
	audio_rest(&music);
	assert_int_equal(heard(RATE), 200 + 4900 + 100 + 900 + 100 + 100);
	expect(0, 100, 1);
	expect(100, 200, 2);
	expect(200, 5100, 0);
	expect(5100, 5200, 3);
	expect(5200, 6100, 0);
	expect(6100, 6200, 4);
	expect(6200, 6300, 5);
}

/* A voice that says nothing any more holds nobody up, and begins anew in its time. */
static void silent_voice(void **state)
{
	audio_begin(&b, RATE, 0);
	play(&a, RATE, 0, 100, 100);
	for (unsigned i = 0; i < 40; i++)
		play(&b, RATE, 0, 10, 1000);
	play(&a, RATE, 4000, 100, 500);
	play(&b, RATE, 0, 10, 1000);
	assert_int_equal(heard(RATE), 41000);
	expect(0, 100, 110);
	expect(100, 40000, 10);
	expect(40000, 40500, 110);
	expect(40500, 41000, 10);
}

/* Times that cannot be are no reason to write for ever. */
static void impossible_times(void **state)
{
	play(&a, RATE, 1000, 1, 100);
	audio_play(&b, RATE, UINT64_MAX, (const int16_t[2]){ 1, 1 }, 1);
	audio_play(&music, RATE, 0, (const int16_t[2]){ 1, 1 }, 1);
	play(&a, RATE, 1000, 1, 100);
	assert_true(heard(RATE) < 2 * RATE);
}

static double amplitude(size_t from, size_t to, double hz, double rate)
{
	double re = 0, im = 0;
	for (size_t i = from; i < to; i++) {
		re += frames[2 * i] * cos(2 * M_PI * hz * (double)i / rate);
		im += frames[2 * i] * sin(2 * M_PI * hz * (double)i / rate);
	}
	return 2 * sqrt(re * re + im * im) / (double)(to - from);
}

static void tone(struct audio_voice *voice, unsigned rate, double hz, uint64_t at)
{
	static int16_t wave[2 * 50000];
	for (unsigned i = 0; i < rate; i++)
		wave[2 * i] = wave[2 * i + 1] = (int16_t)lround(10000 * sin(2 * M_PI * hz * i / rate));
	/* In pieces, as devices do. */
	for (unsigned done = 0; done < rate; done += 100)
		audio_play(voice, rate, at, wave + 2 * done, MIN(100u, rate - done));
	audio_rest(voice);
}

/* To a lower rate: tones stay what they are, and one that the file cannot have is not heard as another. */
static void lower_rate(void **state)
{
	tone(&a, 22050, 1000, 0);
	tone(&a, 49716, 1000, SECOND);
	tone(&a, 49716, 21000, 2 * SECOND);
	size_t count = heard(22050);
	assert_true(count > 66100 && count < 66200);
	assert_true(fabs(amplitude(23000, 44000, 1000, 22050) - 10000) < 200);
	assert_true(amplitude(45000, 66000, 1050, 22050) < 1500);
}

static void higher_rate(void **state)
{
	tone(&a, 48000, 1000, 0);
	tone(&b, 8000, 500, SECOND);
	size_t count = heard(48000);
	assert_true(count > 95900 && count < 96100);
	assert_true(fabs(amplitude(50000, 95000, 500, 48000) - 10000) < 300);
}

static void nobody(void **state)
{
	struct audio_voice voice;
	struct audio *none = audio_open("none", NULL);
	assert_non_null(none);
	audio_voice_init(&voice, none, true);
	assert_false(audio_heard(&voice));
	play(&voice, RATE, 0, 1, 1);
	audio_rest(&voice);
	audio_voice_end(&voice);
	assert_int_equal(audio_close(none, NULL), 0);
	/* The file is closed before a voice ends. */
	play(&a, RATE, 0, 1, 10);
	assert_int_equal(heard(RATE), 10);
	assert_false(audio_heard(&a));
	play(&a, RATE, 0, 1, 10);
	audio_voice_end(&a);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(sum), TEST(clipped), TEST(pauses), TEST(silent_voice), TEST(impossible_times), TEST(lower_rate), TEST(higher_rate), TEST(nobody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
