/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For an i386 guest, without a C library: play BITS CHANNELS RATE <samples plays standard input by /dev/dsp (OSS) just as it is,
 * and fails when the card cannot have that format. Built by test_sound.py: gcc -m32 -static -nostdlib -ffreestanding.
 */
#include "guest_program.h"

#define SNDCTL_DSP_SYNC 0x5001
#define SNDCTL_DSP_SPEED 0xc0045002
#define SNDCTL_DSP_SETFMT 0xc0045005
#define SNDCTL_DSP_CHANNELS 0xc0045006
#define AFMT_U8 8
#define AFMT_S16_LE 16

static void set(long fd, unsigned long request, int wanted, int status)
{
	int value = wanted;
	require(call(SYS_IOCTL, fd, (long)request, (long)&value) == 0 && value == wanted, status);
}

static char buffer[4096];

__attribute__((used)) static void start(long *stack)
{
	char **argv = (char **)(stack + 1);
	require(stack[0] == 4, 2);
	long fd = call(SYS_OPEN, (long)"/dev/dsp", 1, 0);
	require(fd >= 0, 3);
	set(fd, SNDCTL_DSP_SETFMT, number(argv[1]) == 8 ? AFMT_U8 : AFMT_S16_LE, 4);
	set(fd, SNDCTL_DSP_CHANNELS, number(argv[2]), 5);
	set(fd, SNDCTL_DSP_SPEED, number(argv[3]), 6);
	for (;;) {
		long got = call(SYS_READ, 0, (long)buffer, sizeof(buffer));
		require(got >= 0, 7);
		if (!got)
			break;
		for (long done = 0; done < got;) {
			long put = call(SYS_WRITE, fd, (long)(buffer + done), got - done);
			require(put > 0, 8);
			done += put;
		}
	}
	require(call(SYS_IOCTL, fd, SNDCTL_DSP_SYNC, 0) == 0, 9);
	call(SYS_EXIT, 0, 0, 0);
}
