/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For an i386 guest, without a C library: fm FNUMBER OCTAVE plays a sine of half a second on the OPL3 by Linux' own interface to it
 * (/dev/snd/hwC0D0). Built by wav.py like play.c.
 */
#include "guest_program.h"

/* As in <sound/asound_fm.h>, whose own headers are not there for i386. */
#define FM_RESET 0x4821
#define FM_PLAY_NOTE 0x400c4822
#define FM_SET_VOICE 0x40124823
#define FM_SET_MODE 0x40044825
#define FM_MODE_OPL3 1

struct fm_note {
	unsigned char voice, octave;
	unsigned fnum;
	unsigned char key_on;
};

struct fm_voice {
	unsigned char op, voice, am, vibrato, do_sustain, kbd_scale, harmonic, scale_level, volume, attack, decay, sustain, release, feedback,
		connection, left, right, waveform;
};

_Static_assert(sizeof(struct fm_note) == 12 && sizeof(struct fm_voice) == 18, "the numbers of the requests have the sizes");

static void order(long fd, unsigned long request, long argument, int status)
{
	require(call(SYS_IOCTL, fd, (long)request, argument) == 0, status);
}

__attribute__((used)) static void start(long *stack)
{
	char **argv = (char **)(stack + 1);
	require(stack[0] == 3, 2);
	long fd = call(SYS_OPEN, (long)"/dev/snd/hwC0D0", 2, 0);
	require(fd >= 0, 3);
	struct fm_voice voice = { .op = 1, .do_sustain = 1, .harmonic = 1, .attack = 15, .release = 15, .left = 1, .right = 1 };
	struct fm_note note = { .octave = (unsigned char)number(argv[2]), .fnum = (unsigned)number(argv[1]), .key_on = 1 };
	long half[2] = { 0, 500000000 };
	order(fd, FM_RESET, 0, 4);
	order(fd, FM_SET_MODE, FM_MODE_OPL3, 5);
	/* The modulator is as quiet as it can be; that of volume 0 to 63, which the driver turns round. */
	struct fm_voice modulator = voice;
	modulator.op = 0;
	modulator.volume = 0;
	voice.volume = 63;
	order(fd, FM_SET_VOICE, (long)&modulator, 6);
	order(fd, FM_SET_VOICE, (long)&voice, 7);
	order(fd, FM_PLAY_NOTE, (long)&note, 8);
	require(call(SYS_NANOSLEEP, (long)half, 0, 0) == 0, 9);
	note.key_on = 0;
	order(fd, FM_PLAY_NOTE, (long)&note, 10);
	call(SYS_EXIT, 0, 0, 0);
}
