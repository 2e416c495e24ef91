/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "isa/op.h"
#include "isa/table.h"
#include "lockstep.h"

/* --- flags that nobody reads any more --- */

#define SCAN_INSNS 64
#define SCAN_DEPTH 4

static bool fetch(struct cpu *c, uint64_t linear, struct insn *insn)
{
	uint8_t bytes[15];
	unsigned n = 0;
	for (uint64_t gpa; n < 15 && mmu_debug_translate(c, linear + n, &gpa) && memory_read(c->memory, gpa, bytes + n, 1); n++)
		;
	return isa_decode(insn, bytes, n, (enum isa_mode)c->code_mode) > 0;
}

/* True when all of `flags` are written before anything reads them, on every path. An engine need not keep them then. */
static bool dead(struct cpu *c, uint64_t linear, uint16_t flags, unsigned depth)
{
	struct insn insn;
	for (unsigned n = 0; flags && n < SCAN_INSNS; n++) {
		if (!fetch(c, linear, &insn))
			return false;
		const struct isa_row *row = &isa_rows[insn.row];
		if (row->flags_read & flags)
			return false;
		flags &= (uint16_t)~(row->flags_written | row->flags_undefined);
		linear += insn.length;
		if (!flags || !(row->attributes & ROW_ENDS))
			continue;
		if (insn.operand[0].kind != OPERAND_REL)
			return false;
		if (insn.op != OP_JMP && insn.op != OP_CALL && (!depth || !dead(c, linear, flags, depth - 1)))
			return false;
		linear += insn.imm;
	}
	return !flags;
}

/* Dead and undefined flags that differ are made equal: an interrupt would put them into memory. */
static bool same_flags(struct side *leader, struct side *follower, bool print)
{
	struct cpu *l = leader->c, *f = follower->c;
	uint16_t differ = (uint16_t)((cc_to_rflags(l->cc) ^ cc_to_rflags(f->cc)) & FLAG_ARITH);
	if (!differ)
		return true;
	if (!(differ & ~follow_undefined(follower)) || dead(f, f->gpr[REG_RIP] + f->segment_base[SEG_CS], differ, SCAN_DEPTH)) {
		f->cc = l->cc;
		return true;
	}
	if (print)
		printf("  flags: %s %llx, %s %llx\n", leader->role, (unsigned long long)cc_to_rflags(l->cc) & FLAG_ARITH,
		       follower->role, (unsigned long long)cc_to_rflags(f->cc) & FLAG_ARITH);
	return false;
}

/* --- state --- */

static const struct part {
	const char *name;
	size_t offset;
	unsigned size, count;
} parts[] = {
#define PART(field) { #field, offsetof(struct cpu, field), sizeof(((struct cpu *)0)->field), 1 }
#define ARRAY_PART(field, n) { #field, offsetof(struct cpu, field), sizeof(((struct cpu *)0)->field) / (n), n }
	ARRAY_PART(gpr, 18), PART(cpl), PART(code_mode), PART(halted), PART(shutdown), PART(interrupt_shadow),
	PART(nmi_blocked), PART(cr0), PART(cr2), PART(cr3), PART(cr4), PART(efer), PART(xcr0), ARRAY_PART(dr, 8),
	ARRAY_PART(pdpte, 4), PART(star), PART(lstar), PART(cstar), PART(sfmask), PART(kernel_gs_base), PART(tsc_aux),
	PART(sysenter_cs), PART(sysenter_esp), PART(sysenter_eip), PART(pat), PART(misc_enable), PART(spec_ctrl),
	PART(tsc_offset), PART(tsc_adjust), PART(kvm_system_time), ARRAY_PART(vec, 32), ARRAY_PART(k, 8), PART(mxcsr),
	PART(signals), ARRAY_PART(seg, SEG_COUNT), PART(gdtr.base), PART(gdtr.limit), PART(idtr.base), PART(idtr.limit),
};

static void print_bytes(const char *role, const uint8_t *bytes, unsigned size)
{
	printf("    %-9s", role);
	for (unsigned n = size; n-- > 0;)
		printf("%02x%s", bytes[n], n % 8 == 0 && n ? "_" : "");
	printf("\n");
}

static bool same_part(struct side *leader, struct side *follower, const struct part *part, bool print)
{
	bool same = true;
	for (unsigned n = 0; n < part->count; n++) {
		const uint8_t *l = (const uint8_t *)leader->c + part->offset + n * part->size;
		const uint8_t *f = (const uint8_t *)follower->c + part->offset + n * part->size;
		if (memcmp(l, f, part->size) == 0)
			continue;
		same = false;
		if (!print)
			break;
		printf("  %s %u:\n", part->name, n);
		print_bytes(leader->role, l, part->size);
		print_bytes(follower->role, f, part->size);
	}
	return same;
}

/* RF that ends with the instruction just done may have been cleared or not. */
static bool same_rflags(struct side *leader, struct side *follower, bool print)
{
	uint64_t l = leader->c->rflags & ~(leader->c->rf_clear ? FLAG_RF : 0);
	uint64_t f = follower->c->rflags & ~(follower->c->rf_clear ? FLAG_RF : 0);
	if (l != f && print)
		printf("  rflags: %s %llx, %s %llx\n", leader->role, (unsigned long long)l, follower->role, (unsigned long long)f);
	return l == f;
}

static bool same_x87(struct side *leader, struct side *follower, bool print)
{
	const uint8_t *l = leader->c->x87, *f = follower->c->x87;
	bool same = x87_fcw(leader->c) == x87_fcw(follower->c) && x87_fsw(leader->c) == x87_fsw(follower->c) &&
		    x87_tags(leader->c) == x87_tags(follower->c) && memcmp(l + X87_ST, f + X87_ST, 128) == 0 &&
		    leader->c->x87_ip == follower->c->x87_ip && leader->c->x87_dp == follower->c->x87_dp &&
		    leader->c->x87_opcode == follower->c->x87_opcode && leader->c->x87_cs == follower->c->x87_cs &&
		    leader->c->x87_ds == follower->c->x87_ds;
	if (!same && print) {
		printf("  x87:\n");
		print_bytes(leader->role, l, 160);
		print_bytes(follower->role, f, 160);
		printf("  fip %llx %llx, fdp %llx %llx, fop %x %x\n", (unsigned long long)leader->c->x87_ip, (unsigned long long)follower->c->x87_ip,
		       (unsigned long long)leader->c->x87_dp, (unsigned long long)follower->c->x87_dp, leader->c->x87_opcode, follower->c->x87_opcode);
	}
	return same;
}

bool compare_state(struct side *leader, struct side *follower, bool print)
{
	bool same = same_flags(leader, follower, print);
	same &= same_x87(leader, follower, print);
	same &= same_rflags(leader, follower, print);
	for (unsigned n = 0; n < ARRAY_SIZE(parts) && (same || print); n++)
		same &= same_part(leader, follower, &parts[n], print);
	if (leader->now != follower->now || leader->output_hash != follower->output_hash) {
		if (print)
			printf("  time: %s %llu, %s %llu; output: %llu and %llu bytes\n", leader->role, (unsigned long long)leader->now,
			       follower->role, (unsigned long long)follower->now, (unsigned long long)leader->output,
			       (unsigned long long)follower->output);
		same = false;
	}
	return same;
}

/* --- memory --- */

bool compare_memory(struct side *leader, struct side *follower)
{
	const struct guest_memory *l = &leader->m->memory, *f = &follower->m->memory;
	unsigned differing = 0;
	for (uint64_t at = 0; at < l->size; at += GUEST_PAGE_SIZE) {
		at = MIN(memory_next_used(l, at), memory_next_used(f, at));
		if (at >= l->size || memcmp(l->host + at, f->host + at, GUEST_PAGE_SIZE) == 0)
			continue;
		if (++differing > 8)
			continue;
		unsigned n = 0;
		while (l->host[at + n] == f->host[at + n])
			n++;
		n &= ~7u;
		printf("  memory differs at offset %llx: %s %016llx, %s %016llx\n", (unsigned long long)at + n, leader->role,
		       (unsigned long long)load_le64(l->host + at + n), follower->role, (unsigned long long)load_le64(f->host + at + n));
	}
	if (differing)
		printf("  %u pages of memory differ\n", differing);
	return !differing;
}
