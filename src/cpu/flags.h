/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CPU_FLAGS_H
#define VISOR_CPU_FLAGS_H

#include "cpu/cpu.h"

/*
 * cpu.cc holds the six arithmetic flags the way the host's `lahf; seto %al`
 * leaves them in AX, so that an operation done by the host instruction itself
 * costs two more instructions and is exact, undefined flags included.
 */
#define CC_OF 0x0001u
#define CC_CF 0x0100u
#define CC_PF 0x0400u
#define CC_AF 0x1000u
#define CC_ZF 0x4000u
#define CC_SF 0x8000u

static inline uint64_t cc_to_rflags(uint16_t cc)
{
	return ((cc >> 8) & 0xd5u) | (uint64_t)(cc & 1) << 11;
}

static inline uint16_t cc_from_rflags(uint64_t rflags)
{
	return (uint16_t)(((rflags & 0xd5u) | 2) << 8 | (rflags >> 11 & 1));
}

/* Condition codes 0..15 as in Jcc (SDM 1, appendix B). */
static inline bool cc_test(uint16_t cc, unsigned condition)
{
	bool r = false;
	switch (condition >> 1) {
	case 0: r = cc & CC_OF; break;
	case 1: r = cc & CC_CF; break;
	case 2: r = cc & CC_ZF; break;
	case 3: r = cc & (CC_CF | CC_ZF); break;
	case 4: r = cc & CC_SF; break;
	case 5: r = cc & CC_PF; break;
	case 6: r = (cc >> 15 ^ cc) & 1; break;
	case 7: r = ((cc >> 15 ^ cc) & 1) || (cc & CC_ZF); break;
	}
	return r ^ (condition & 1);
}

#endif
