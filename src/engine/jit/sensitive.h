/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_SENSITIVE_H
#define VISOR_ENGINE_JIT_SENSITIVE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Sensitive instructions that are not privileged (Popek and Goldberg): at CPL 3 they show or change what is the host's, where the
 * guest's is wanted, and do not fault.
 */
#define SENSITIVE_MAX 8u
struct sensitive {
	bool doubtful;              /* of some bytes it is not certain whether they are one, or there are too many */
	uint8_t count;
	uint16_t at[SENSITIVE_MAX]; /* where each begins, from the page's start */
};

/* Looks through a page of 64-bit code. bytes: the page's, with `lead` bytes of the page before in front of them, 0 or SENSITIVE_LEAD, and
 * at least 15 that are of no account behind them. Those that end in the next page are not looked for. more: the host has components of extended state
 * that the guest has not. */
#define SENSITIVE_LEAD 96u
void sensitive_find(struct sensitive *found, const uint8_t *bytes, unsigned lead, bool more);

#endif
