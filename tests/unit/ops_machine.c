/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ops_machine.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "cpu/access.h"
#include "cpu/select.h"

struct cpu machine;

static struct guest_memory memory;

#define TABLES 0x100000ull

void machine_reset(enum isa_mode mode)
{
	struct error err;
	if (!memory.host && memory_init(&memory, MACHINE_RAM, &err)) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	struct cpu *c = &machine;
	memset(c, 0, sizeof(*c));
	c->memory = &memory;
	c->count = 1;
	c->cc = 0x200;
	c->rflags = 2;
	c->code_mode = (uint8_t)mode;
	c->cr0 = CR0_PE;
	c->efer = mode == ISA_MODE_64 ? EFER_LME | EFER_LMA : 0;
	c->stack_mask = mode == ISA_MODE_64 ? ~0ull : mode == ISA_MODE_32 ? 0xffffffff : 0xffff;
	for (unsigned s = 0; s < 6; s++)
		c->seg[s] = (struct segment){ .limit = mode == ISA_MODE_16 ? 0xffff : 0xffffffff,
					      .attributes = s == SEG_CS ? 0xc09b : 0xc093 };
	memset(c->features, 0xff, sizeof(c->features));
	c->physical_bits = 46;
	c->tlb = c->tlbs[TLB_SUPERVISOR_AC];
	c->gpr[REG_RIP] = 0x1000;
	tlb_flush_all(c);
}

void machine_paging(void)
{
	struct cpu *c = &machine;
	uint64_t *pml4 = (uint64_t *)(memory.host + TABLES), *pdpt = pml4 + 512, *pd = pdpt + 512, *pt = pd + 512;
	memset(pml4, 0, 3 * GUEST_PAGE_SIZE);
	pml4[0] = (TABLES + 0x1000) | 3;
	pdpt[0] = (TABLES + 0x2000) | 3;
	for (unsigned n = 0; n < MACHINE_RAM >> 21; n++)
		pd[n] = (TABLES + 0x3000 + n * 0x1000ull) | 3;
	for (unsigned n = 0; n < MACHINE_RAM >> 12; n++)
		pt[n] = (uint64_t)n << 12 | 3;
	c->cr3 = TABLES;
	c->cr4 = CR4_PAE;
	c->efer |= EFER_LMA | EFER_LME;
	c->cr0 |= CR0_PG | CR0_WP;
	tlb_flush_all(c);
}

void machine_set_page(uint64_t linear, unsigned rights)
{
	uint64_t *pt = (uint64_t *)(memory.host + TABLES + 0x3000);
	pt[linear >> 12] = (linear & ~0xfffull) | rights;
	tlb_flush_all(&machine);
}

int machine_run_decoded(struct insn *insn)
{
	struct cpu *c = &machine;
	jmp_buf env;
	insn->exec = select_integer(c, insn);
	if (!insn->exec)
		return RUN_NOT_INTEGER;
	c->insn = insn;
	c->fault_env = &env;
	if (_setjmp(env))
		return c->fault_vector;
	c->gpr[REG_RIP] += insn->length;
	insn->exec(c, insn);
	c->insn = NULL;
	return RUN_OK;
}

int machine_run(const uint8_t *bytes, unsigned length)
{
	struct insn insn;
	if (isa_decode(&insn, bytes, length, (enum isa_mode)machine.code_mode) < 0)
		return RUN_INVALID;
	return machine_run_decoded(&insn);
}
