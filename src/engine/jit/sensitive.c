/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/sensitive.h"

#include <string.h>

#include "base/util.h"
#include "isa/insn.h"
#include "mem/memory.h"

/*
 * SLDT, STR, VERR, VERW, SGDT, SIDT, SMSW, LAR, LSL, SYSENTER, CPUID, RDPID; INT 80H, by which the host's kernel loses half of RAX.
 * more: XGETBV, the XSAVE family, RDPKRU and WRPKRU as well.
 */
static bool is_sensitive(const uint8_t *at, const uint8_t *first, bool more)
{
	const unsigned reg = at[2] >> 3 & 7;
	const bool memory = at[2] < 0xc0;
	if (at[0] == 0xcd)
		return at[1] == 0x80;
	if (more && ((at[1] == 0x01 && (at[2] == 0xd0 || at[2] >= 0xee)) || (memory && ((at[1] == 0xae && reg >= 4 && reg <= 6) || (at[1] == 0xc7 && reg >= 3 && reg <= 5)))))
		return true;
	switch (at[1]) {
	case 0x00: return reg < 2 || reg == 4 || reg == 5;
	case 0x01: return reg == 4 || (reg < 2 && memory);
	case 0x02: case 0x03: case 0x34: case 0xa2: return true;
	case 0xc7: return at[2] >= 0xf8 && ((at > first && at[-1] == 0xf3) || (at > first + 1 && at[-2] == 0xf3 && (at[-1] & 0xf0) == 0x40));
	default: return false;
	}
}

static bool is_prefix(uint8_t byte)
{
	return (byte & 0xf0) == 0x40 || byte == 0x66 || byte == 0x67 || byte == 0xf2 || byte == 0xf3 || byte == 0xf0 || (byte & 0xe7) == 0x26 || (byte & 0xfe) == 0x64;
}

/* Of the instructions one after the other from `start` on, the one whose first byte behind its prefixes is at `opcode`, or NULL. */
static const uint8_t *leads_to(const uint8_t *start, const uint8_t *opcode)
{
	while (start <= opcode) {
		struct insn insn;
		const uint8_t *at = start;
		while (at < opcode && is_prefix(*at))
			at++;
		if (at == opcode)
			return start;
		int length = isa_decode(&insn, start, 15, ISA_MODE_64);
		start += length > 0 ? length : 1;
	}
	return NULL;
}

/*
 * Whether the bytes at `opcode` are an instruction's, or part of a longer one's. Of 15 bytes one after the other at least one
 * begins an instruction, if there is code, and from there on each follows that is executed in that order: where all of them lead to
 * the same place, or none, there is no doubt. Where no code is before the page, it begins with an instruction.
 */
#define BEGINNINGS 15u
enum verdict_of_code { CODE_OTHER, CODE_PERHAPS, CODE_CERTAIN };

static enum verdict_of_code judge_code(const uint8_t *first, const uint8_t *opcode, const uint8_t **begin)
{
	const uint8_t *from = opcode - first > SENSITIVE_LEAD ? opcode - SENSITIVE_LEAD : first;
	const unsigned beginnings = from == first ? 1 : BEGINNINGS;
	unsigned leading = 0, count = 0;
	bool same = true;
	*begin = NULL;
	for (const uint8_t *start = from; start < from + beginnings && start <= opcode; start++, count++) {
		const uint8_t *place = leads_to(start, opcode);
		leading += place != NULL;
		same &= !place || !*begin || place == *begin;
		*begin = place ? place : *begin;
	}
	if (2 * leading < count)
		return CODE_OTHER;
	return leading == count && same ? CODE_CERTAIN : CODE_PERHAPS;
}

/* Those whose first byte but for prefixes is `opcode`. */
static void find(struct sensitive *found, const uint8_t *bytes, unsigned lead, uint8_t opcode, bool more)
{
	const uint8_t *page = bytes + lead, *end = page + GUEST_PAGE_SIZE - 1, *begin;
	for (const uint8_t *at = page; at < end && (at = memchr(at, opcode, (size_t)(end - at))); at++) {
		enum verdict_of_code verdict = is_sensitive(at, bytes, more) ? judge_code(bytes, at, &begin) : CODE_OTHER;
		if (verdict == CODE_OTHER)
			continue;
		if (verdict == CODE_PERHAPS || begin < page || found->count == SENSITIVE_MAX) {
			found->doubtful = true;
			return;
		}
		found->at[found->count++] = (uint16_t)(begin - page);
	}
}

void sensitive_find(struct sensitive *found, const uint8_t *bytes, unsigned lead, bool more)
{
	*found = (struct sensitive){ 0 };
	find(found, bytes, lead, 0x0f, more);
	find(found, bytes, lead, 0xcd, false);
}
