/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_TIME_H
#define VISOR_HOST_TIME_H

#include <stdint.h>

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t host_time_ns(void);

/*
 * When the process began, of the same clock, if nothing but the loading of the program and its libraries has happened
 * since: what that has taken of processor time ago. The kernel's own figure is in hundredths of a second.
 */
uint64_t host_process_began(void);

/* Seconds since 1970 by the host's clock, UTC. */
int64_t host_wall_seconds(void);

/* The processor's time-stamp counter. */
static inline uint64_t host_tsc(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

/*
 * Ticks of the time-stamp counter in a second: from CPUID leaf 0x15 (SDM 2A, CPUID)
 * or a hypervisor's leaf 0x40000010 where these exist, else measured against
 * CLOCK_MONOTONIC, which takes some 40 ms the first time. Never 0.
 */
uint64_t host_tsc_hz(void);

#endif
