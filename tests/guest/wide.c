/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CMPXCHG16B over and over: a KVM that executes kernel code in software cannot do it, so that this guest is too much for it. */
#include "guest.h"

#define ROUNDS 400000ull

int guest_main(void)
{
	static volatile unsigned __int128 pair __attribute__((aligned(16)));
	uint64_t low = 0, high = 0, done = 0;
	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint8_t equal;
		__asm__ volatile("lock cmpxchg16b %0; setz %3" : "+m"(pair), "+a"(low), "+d"(high), "=q"(equal) : "b"(low + 3), "c"(high + i) : "memory", "cc");
		done += equal;
		if (equal)
			low += 3, high += i;
	}
	check_equal(done, ROUNDS);
	check_equal((uint64_t)pair, 3 * ROUNDS);
	check_equal((uint64_t)(pair >> 64), ROUNDS * (ROUNDS - 1) / 2);
	return failures;
}
