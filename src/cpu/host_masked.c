/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/host.h"

#include "cpu/access.h"
#include "isa/op.h"
#include "isa/table.h"

/*
 * Memory operands under a mask: only active elements may fault or be written,
 * but for the instructions without fault suppression (SDM 2A, 2.8.6). Which
 * bytes those are is the host's knowledge: when the operand cannot be accessed
 * directly, the stub runs on a window of two pages at the same place in the page.
 * A page that the host refuses is one that the guest must be able to access;
 * one that it does not miss is not accessed at all. Written bytes are those
 * that come out alike over two different backgrounds.
 */
struct masked {
	uint64_t linear;
	unsigned size, split; /* bytes; of the operand, of its part in the first page */
	bool have[2];         /* the page is accessible to the stub */
	uint8_t *data;        /* loads: the operand as far as read */
};

static uint64_t linear_at(const struct cpu *c, const struct masked *m, unsigned offset)
{
	uint64_t linear = m->linear + offset;
	return c->code_mode == ISA_MODE_64 ? linear : (uint32_t)linear;
}

/* Where the stub finds its operand for the pages at hand; both of them: data itself. */
static struct host_result run_window(struct cpu *c, const struct insn *insn, struct masked *m, uintptr_t *start)
{
	struct host_result result;
	if (m->have[0] && (m->have[1] || m->split == m->size)) {
		*start = (uintptr_t)m->data;
		return host_run(c, insn, m->data, NULL);
	}
	uint8_t *operand = host_window_open(m->have[0], m->have[1]) + (m->linear & GUEST_PAGE_MASK);
	if (m->have[0])
		memcpy(operand, m->data, m->split);
	if (m->have[1])
		memcpy(operand + m->split, m->data + m->split, m->size - m->split);
	*start = (uintptr_t)operand;
	result = host_run(c, insn, operand, NULL);
	host_window_close();
	return result;
}

/* The host missed a byte of the operand: the guest's access, with its faults. */
static void supply(struct cpu *c, struct masked *m, uintptr_t offset, bool write)
{
	if (offset >= m->size) /* not within the operand: reported at its page's start, or not at all */
		offset = m->have[0] ? m->split : 0;
	bool second = offset >= m->split;
	access_probe(c, linear_at(c, m, (unsigned)offset), 1, write);
	if (!write && second)
		access_read_slow(c, linear_at(c, m, m->split), m->data + m->split, m->size - m->split);
	else if (!write)
		access_read_slow(c, linear_at(c, m, 0), m->data, m->split);
	m->have[second] = true;
}

/* Runs the stub until it has all the pages that it asks for. */
static void run_careful(struct cpu *c, const struct insn *insn, struct masked *m, bool write)
{
	for (unsigned tries = 0; tries < 4; tries++) {
		uintptr_t start;
		struct host_result result = run_window(c, insn, m, &start);
		if (!result.fault)
			return;
		if (result.fault != HOST_MEMORY || (m->have[0] && m->have[1]))
			host_raise(c, result);
		supply(c, m, host_fault_address() - start, write);
	}
}

static struct masked masked_operand(struct cpu *c, const struct insn *insn, unsigned access)
{
	unsigned size = insn->operand[insn->memory - 1].size;
	struct masked m = { .linear = operand_linear(c, insn, size, access), .size = size };
	m.data = c->bounce_buffer + (m.linear & 63); /* as misaligned: whether that matters the host decides */
	m.split = MIN(size, GUEST_PAGE_SIZE - (unsigned)(m.linear & GUEST_PAGE_MASK));
	return m;
}

static void run_direct(struct cpu *c, const struct insn *insn, void *memory)
{
	struct host_result result = host_run(c, insn, memory, NULL);
	if (unlikely(result.fault))
		host_raise(c, result);
}

static void exec_masked_load(struct cpu *c, const struct insn *insn)
{
	if (!fpu_check(c, host_class(insn)))
		return;
	struct masked m = masked_operand(c, insn, ACCESS_R);
	void *memory = tlb_lookup_read(c, m.linear, m.size);
	if (likely(memory))
		run_direct(c, insn, memory);
	else
		run_careful(c, insn, &m, false);
}

/* The bytes that the stub writes, each run of them as one access. */
static void write_back(struct cpu *c, const struct insn *insn, const struct masked *m)
{
	uint8_t *zeros = m->data, ones[64];
	memset(m->data, 0xff, m->size);
	run_direct(c, insn, m->data);
	memcpy(ones, m->data, m->size);
	memset(m->data, 0, m->size);
	run_direct(c, insn, m->data);
	for (unsigned i = 0, end; i < m->size; i = end + 1) {
		for (end = i; end < m->size && zeros[end] == ones[end]; end++)
			;
		if (end > i)
			access_write_slow(c, linear_at(c, m, i), zeros + i, end - i);
	}
}

static void exec_masked_store(struct cpu *c, const struct insn *insn)
{
	if (!fpu_check(c, host_class(insn)))
		return;
	struct masked m = masked_operand(c, insn, ACCESS_W);
	void *memory = tlb_lookup_write(c, m.linear, m.size);
	if (likely(memory)) {
		run_direct(c, insn, memory);
		return;
	}
	run_careful(c, insn, &m, true);
	memory = tlb_lookup_write(c, m.linear, m.size);
	if (memory)
		run_direct(c, insn, memory);
	else if (m.have[0] || m.have[1])
		write_back(c, insn, &m);
}

insn_exec *select_masked(struct cpu *c, struct insn *insn)
{
	bool write = insn->operand[insn->memory - 1].access & ACCESS_W;
	switch (insn->op) {
	case OP_VMASKMOVPS: case OP_VMASKMOVPD: case OP_VPMASKMOVD: case OP_VPMASKMOVQ:
		break;
	default:
		if (!insn->mask)
			return NULL;
		break;
	}
	return write ? exec_masked_store : exec_masked_load;
}
