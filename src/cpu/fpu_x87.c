/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/fpu.h"

#include "cpu/access.h"
#include "cpu/host.h"
#include "isa/op.h"
#include "isa/table.h"

/*
 * x87 instructions. Arithmetic goes to the host with the guest's registers in
 * an FXSAVE image; control instructions are done here, since the host knows
 * nothing of the guest's instruction pointers.
 */

void x87_note_instruction(struct cpu *c, const struct insn *insn)
{
	c->x87_ip = (c->gpr[REG_RIP] - insn->length) & (c->code_mode == ISA_MODE_64 ? ~0ull : 0xffffffffull);
	c->x87_cs = c->seg[SEG_CS].selector;
	c->x87_opcode = (uint16_t)((insn->opcode & 7) << 8 | insn->modrm);
	if (!insn->memory)
		return;
	c->x87_dp = effective_address(c, insn);
	c->x87_ds = c->seg[insn->seg].selector;
}

/* --- arithmetic --- */

struct image {
	_Alignas(64) uint8_t bytes[512];
};

static void run(struct cpu *c, const struct insn *insn, void *memory)
{
	struct image image;
	memcpy(image.bytes, c->x87, sizeof c->x87);
	store_le64(image.bytes + X87_FIP, 0);
	store_le64(image.bytes + X87_FDP, 0);
	store_le32(image.bytes + X87_MXCSR, MXCSR_RESET);
	/* Errors that IGNNE# lets pass would stop the host. */
	uint16_t ignored = x87_fsw(c) & X87_FSW_ES ? x87_fsw(c) & X87_FSW_EXCEPTIONS : 0;
	if (unlikely(ignored))
		store_le16(image.bytes + X87_FSW, x87_fsw(c) & (uint16_t)~(X87_FSW_EXCEPTIONS | X87_FSW_ES | X87_FSW_B));
	struct host_result result = host_run(c, insn, memory, image.bytes);
	if (unlikely(result.fault))
		host_raise(c, result);
	memcpy(c->x87, image.bytes, X87_FOP);
	memcpy(x87_st(c, 0), image.bytes + X87_ST, 128);
	if (unlikely(ignored))
		x87_set_control(c, x87_fcw(c), x87_fsw(c) | ignored);
	x87_note_instruction(c, insn);
}

static void exec_register(struct cpu *c, const struct insn *insn)
{
	if (fpu_check(c, FPU_X87))
		run(c, insn, NULL);
}

static void exec_load(struct cpu *c, const struct insn *insn)
{
	if (!fpu_check(c, FPU_X87))
		return;
	unsigned size = insn->operand[insn->memory - 1].size;
	uint64_t linear = operand_linear(c, insn, size, ACCESS_R);
	void *memory = tlb_lookup_read(c, linear, size);
	if (!memory) {
		access_read_slow(c, linear, c->bounce_buffer, size);
		memory = c->bounce_buffer;
	}
	run(c, insn, memory);
}

/* An unmasked exception may keep the store from happening: what cannot go to memory directly is a read-modify-write. */
static void exec_store(struct cpu *c, const struct insn *insn)
{
	if (!fpu_check(c, FPU_X87))
		return;
	unsigned size = insn->operand[insn->memory - 1].size;
	void *memory = access_rmw(c, operand_linear(c, insn, size, ACCESS_W), size);
	run(c, insn, memory);
	access_rmw_end(c);
}

/* --- control and status words --- */

static void exec_fldcw(struct cpu *c, const struct insn *insn)
{
	if (fpu_check(c, FPU_X87))
		x87_set_control(c, access_read16(c, operand_linear(c, insn, 2, ACCESS_R)), x87_fsw(c));
}

static void exec_fnstcw(struct cpu *c, const struct insn *insn)
{
	if (fpu_check(c, FPU_X87_NOWAIT))
		access_write16(c, operand_linear(c, insn, 2, ACCESS_W), x87_fcw(c));
}

static void exec_fnstsw(struct cpu *c, const struct insn *insn)
{
	if (!fpu_check(c, FPU_X87_NOWAIT))
		return;
	if (insn->memory)
		access_write16(c, operand_linear(c, insn, 2, ACCESS_W), x87_fsw(c));
	else
		c->gpr[REG_RAX] = (c->gpr[REG_RAX] & ~0xffffull) | x87_fsw(c);
}

static void exec_fnclex(struct cpu *c, const struct insn *insn)
{
	if (fpu_check(c, FPU_X87_NOWAIT))
		x87_set_control(c, x87_fcw(c), x87_fsw(c) & 0x7f00);
}

static void exec_fninit(struct cpu *c, const struct insn *insn)
{
	if (fpu_check(c, FPU_X87_NOWAIT))
		x87_init(c);
}

/* FNENI, FNDISI, FNSETPM: nothing since the 80387. */
static void exec_nothing(struct cpu *c, const struct insn *insn)
{
	fpu_check(c, FPU_X87_NOWAIT);
}

/* --- environment: 14 or 28 bytes, of protected or real-mode form (SDM 1, figures 8-9 to 8-12) --- */

#define ENV_MAX 28

static unsigned env_size(const struct insn *insn)
{
	return insn->opsize == 2 ? 14 : 28;
}

struct pointers {
	uint32_t ip, cs, dp, ds; /* cs and ds as in the protected form; opcode within cs of the 32-bit forms */
};

static struct pointers real_pointers(const struct cpu *c)
{
	uint32_t ip = (uint32_t)c->x87_ip + ((uint32_t)c->x87_cs << 4), dp = (uint32_t)c->x87_dp + ((uint32_t)c->x87_ds << 4);
	return (struct pointers){ .ip = ip & 0xffff, .cs = (ip >> 16) << 12 | (c->x87_opcode & 0x7ff), .dp = dp & 0xffff,
				  .ds = (dp >> 16) << 12 };
}

static void env_to_memory(struct cpu *c, const struct insn *insn, uint8_t *env)
{
	bool real = !cpu_protected_segments(c), wide = env_size(insn) == 28;
	struct pointers p = { .ip = (uint32_t)c->x87_ip, .cs = c->x87_cs, .dp = (uint32_t)c->x87_dp, .ds = c->x87_ds };
	if (real)
		p = real_pointers(c);
	else if (wide)
		p.cs |= (uint32_t)(c->x87_opcode & 0x7ff) << 16;
	const uint32_t fields[7] = { x87_fcw(c), x87_fsw(c), x87_full_tags(c), p.ip, p.cs, p.dp, p.ds };
	/* Reserved upper halves read as ones. */
	const uint32_t ones[7] = { 0xffff0000, 0xffff0000, 0xffff0000, real ? 0xffff0000 : 0, 0, real ? 0xffff0000 : 0,
				   real ? 0 : 0xffff0000 };
	for (unsigned n = 0; n < 7; n++) {
		if (wide)
			store_le32(env + 4 * n, fields[n] | ones[n]);
		else
			store_le16(env + 2 * n, (uint16_t)fields[n]);
	}
}

static void env_from_memory(struct cpu *c, const struct insn *insn, const uint8_t *env)
{
	bool real = !cpu_protected_segments(c), wide = env_size(insn) == 28;
	uint32_t f[7];
	for (unsigned n = 0; n < 7; n++)
		f[n] = wide ? load_le32(env + 4 * n) : load_le16(env + 2 * n);
	x87_set_top(c, f[1] >> 11 & 7);
	x87_set_full_tags(c, (uint16_t)f[2]);
	x87_set_control(c, (uint16_t)f[0], (uint16_t)f[1]);
	if (real) {
		c->x87_ip = (f[3] & 0xffff) | (uint64_t)(f[4] >> 12 & 0xffff) << 16;
		c->x87_dp = (f[5] & 0xffff) | (uint64_t)(f[6] >> 12 & 0xffff) << 16;
		c->x87_opcode = f[4] & 0x7ff;
		c->x87_cs = c->x87_ds = 0;
		return;
	}
	c->x87_ip = f[3];
	c->x87_dp = f[5];
	c->x87_cs = (uint16_t)f[4];
	c->x87_ds = (uint16_t)f[6];
	c->x87_opcode = wide ? f[4] >> 16 & 0x7ff : 0;
}

static void exec_fnstenv(struct cpu *c, const struct insn *insn)
{
	uint8_t env[ENV_MAX];
	unsigned size = env_size(insn);
	if (!fpu_check(c, FPU_X87_NOWAIT))
		return;
	uint64_t linear = operand_linear(c, insn, size, ACCESS_W);
	env_to_memory(c, insn, env);
	access_probe(c, linear, size, true);
	fpu_write_memory(c, linear, env, size);
	x87_set_control(c, x87_fcw(c) | X87_FSW_EXCEPTIONS, x87_fsw(c));
}

static void exec_fldenv(struct cpu *c, const struct insn *insn)
{
	uint8_t env[ENV_MAX];
	unsigned size = env_size(insn);
	if (!fpu_check(c, FPU_X87))
		return;
	fpu_read_memory(c, operand_linear(c, insn, size, ACCESS_R), env, size);
	env_from_memory(c, insn, env);
}

static void exec_fnsave(struct cpu *c, const struct insn *insn)
{
	uint8_t area[ENV_MAX + 80];
	unsigned size = env_size(insn);
	if (!fpu_check(c, FPU_X87_NOWAIT))
		return;
	uint64_t linear = operand_linear(c, insn, size + 80, ACCESS_W);
	env_to_memory(c, insn, area);
	for (unsigned n = 0; n < 8; n++)
		memcpy(area + size + 10 * n, x87_st(c, n), 10);
	fpu_write_memory(c, linear, area, size + 80);
	x87_init(c);
}

static void exec_frstor(struct cpu *c, const struct insn *insn)
{
	uint8_t area[ENV_MAX + 80];
	unsigned size = env_size(insn);
	if (!fpu_check(c, FPU_X87))
		return;
	fpu_read_memory(c, operand_linear(c, insn, size + 80, ACCESS_R), area, size + 80);
	env_from_memory(c, insn, area);
	for (unsigned n = 0; n < 8; n++)
		memcpy(x87_st(c, n), area + size + 10 * n, 10);
}

static insn_exec *select_control(const struct insn *insn)
{
	switch (insn->op) {
	case OP_FLDCW: return exec_fldcw;
	case OP_FNSTCW: return exec_fnstcw;
	case OP_FNSTSW: return exec_fnstsw;
	case OP_FNCLEX: return exec_fnclex;
	case OP_FNINIT: return exec_fninit;
	case OP_FNSTENV: return exec_fnstenv;
	case OP_FLDENV: return exec_fldenv;
	case OP_FNSAVE: return exec_fnsave;
	case OP_FRSTOR: return exec_frstor;
	case OP_FENI8087_NOP: case OP_FDISI8087_NOP: case OP_FSETPM287_NOP: return exec_nothing;
	default: return NULL;
	}
}

insn_exec *select_x87(struct cpu *c, struct insn *insn)
{
	insn_exec *control = select_control(insn);
	if (control || !(isa_rows[insn->row].attributes & ROW_HOST))
		return control;
	insn->aux = host_aux(insn, true);
	if (!insn->memory)
		return exec_register;
	return insn->operand[insn->memory - 1].access & ACCESS_W ? exec_store : exec_load;
}
