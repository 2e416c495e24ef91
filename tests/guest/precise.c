/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exceptions in the middle of straight code. Each instruction is put into a made function, behind code that sets all registers and
 * the flags and changes some of them, before code that changes them all. The function is run until it is hot; then the instruction
 * faults, and the frame must show every register and flag as they were right before it. For page faults the handler then maps the
 * page, and the function must end with the same registers and memory as without a fault.
 */
#include "code.h"

#define AREA 0x30000000000ull
#define AT (AREA + 4096)              /* aligned, in the page that comes and goes */
#define ACROSS (AREA + 4096 - 2)      /* begins in the page before, which is always there; not for SMALL operands */
#define WILD 0x8000123412341000ull
enum { BAD_READ = 1, BAD_WRITE = 2, BAD_MODIFY = 3, STACK = 4, TRAP = 8, ALIGNED = 16, AVX = 32, BMI = 64, NO_RESUME = 128, DIVIDES = 256, SMALL = 512,
       FROM_RSI = 1024 };
enum { CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, OF = 0x800, DF = 0x400, IF = 0x200, ALL = CF | PF | AF | ZF | SF | OF | DF | IF };

#define INSN(name, ...) \
	__asm__(".text\n" #name "_: " __VA_ARGS__ "\n" #name "_end: .byte 0xcc\n"); \
	extern const uint8_t name##_[], name##_end[];
#define INSNS(M) \
	M(load, "movq (%rdi), %rax", BAD_READ) M(load_byte, "movb (%rdi), %ah", SMALL | BAD_READ) M(load_zx, "movzwl (%rdi), %eax", SMALL | BAD_READ) \
	M(load_sx, "movslq (%rdi), %r15", BAD_READ) M(load_index, "movq (%rdi,%rcx,8), %rdi", BAD_READ) M(add_load, "addq (%rdi), %rax", BAD_READ) \
	M(adc_load, "adcq (%rdi), %rbx", BAD_READ) M(sbb_load, "sbbl (%rdi), %r9d", BAD_READ) M(cmp_load, "cmpq (%rdi), %rax", BAD_READ) \
	M(cmp_imm, "cmpl $0x12345678, (%rdi)", BAD_READ) M(test_load, "testb $0x40, (%rdi)", SMALL | BAD_READ) M(imul_load, "imulq $77, (%rdi), %rdx", BAD_READ) \
	M(mul_load, "mulq (%rdi)", BAD_READ) M(div_load, "divq (%rdi)", BAD_READ | DIVIDES) M(cmov_load, "cmovzq (%rdi), %rax", BAD_READ) \
	M(cmov_other, "cmovnzq (%rdi), %rax", BAD_READ) M(bsf_load, "bsfq (%rdi), %rax", BAD_READ) M(bt_load, "btq $5, (%rdi)", BAD_READ) \
	M(bt_far, "btq %rcx, (%rdi)", BAD_READ) M(popcnt, "popcntq (%rdi), %rax", BAD_READ) M(crc, "crc32q (%rdi), %rax", BAD_READ) \
	M(movbe, "movbeq (%rdi), %rax", BAD_READ) M(push_load, "pushq (%rdi)", BAD_READ) M(lodsq, "lodsq", BAD_READ | FROM_RSI) M(movs_load, "movsq", BAD_READ | FROM_RSI) M(cmpsq, "cmpsq", BAD_READ | FROM_RSI) \
	M(scasq, "scasq", BAD_READ) M(movups_load, "movups (%rdi), %xmm0", BAD_READ) M(movaps_load, "movaps (%rdi), %xmm1", BAD_READ | ALIGNED) \
	M(paddd_load, "paddd (%rdi), %xmm2", BAD_READ | ALIGNED) M(addsd_load, "addsd (%rdi), %xmm3", BAD_READ) M(movsd_load, "movsd (%rdi), %xmm3", BAD_READ) \
	M(cvtsi2sd, "cvtsi2sdq (%rdi), %xmm4", BAD_READ) M(ucomisd, "ucomisd (%rdi), %xmm4", BAD_READ) M(pinsrw, "pinsrw $3, (%rdi), %xmm5", SMALL | BAD_READ) \
	M(ldmxcsr, "ldmxcsr (%rdi)", SMALL | BAD_READ | NO_RESUME) M(fld, "fldl (%rdi); fstp %st(0)", BAD_READ) M(fadd, "fadds (%rdi)", BAD_READ) M(fld80, "fldt (%rdi); fstp %st(0)", BAD_READ) \
	M(fldcw, "fldcw (%rdi)", SMALL | BAD_READ | NO_RESUME) M(vmovups_load, "vmovups (%rdi), %ymm6", BAD_READ | AVX) M(vaddps_load, "vaddps (%rdi), %ymm6, %ymm7", BAD_READ | AVX) \
	M(vpbroadcast, "vpbroadcastq (%rdi), %ymm8", BAD_READ | AVX) M(mulx_load, "mulxq (%rdi), %rax, %rbx", BAD_READ | BMI) \
	M(andn_load, "andnq (%rdi), %rax, %rbx", BAD_READ | BMI) M(pdep_load, "pdepq (%rdi), %rax, %rbx", BAD_READ | BMI) M(shlx_load, "shlxq %rax, (%rdi), %rbx", BAD_READ | BMI) \
	M(adcx_load, "adcxq (%rdi), %rbx", BAD_READ | BMI) M(rorx_load, "rorxq $9, (%rdi), %rbx", BAD_READ | BMI) \
	M(store, "movq %rax, (%rdi)", BAD_WRITE) M(store_byte, "movb %bh, (%rdi)", SMALL | BAD_WRITE) M(store_imm, "movq $-5, (%rdi)", BAD_WRITE) M(movnti, "movntiq %rax, (%rdi)", BAD_WRITE) \
	M(setcc, "setz (%rdi)", SMALL | BAD_WRITE) M(pop_store, "popq (%rdi)", BAD_WRITE) M(stosq, "stosq", BAD_WRITE) M(movsq, "movsq", BAD_WRITE) \
	M(movups_store, "movups %xmm0, (%rdi)", BAD_WRITE) M(movntps, "movntps %xmm0, (%rdi)", BAD_WRITE | ALIGNED) M(movhps_store, "movhps %xmm0, (%rdi)", BAD_WRITE) \
	M(pextrw, "pextrw $2, %xmm1, (%rdi)", SMALL | BAD_WRITE) M(stmxcsr, "stmxcsr (%rdi)", BAD_WRITE) M(fst, "fstl (%rdi)", BAD_WRITE) M(fnstcw, "fnstcw (%rdi)", SMALL | BAD_WRITE) \
	M(fist, "fistl (%rdi)", BAD_WRITE) M(vmovups_store, "vmovups %ymm6, (%rdi)", BAD_WRITE | AVX) M(sgdt, "sgdt (%rdi)", BAD_WRITE) M(smsw, "smsw (%rdi)", SMALL | BAD_WRITE) \
	M(str_store, "str (%rdi)", SMALL | BAD_WRITE) M(mov_seg, "movw %ss, (%rdi)", SMALL | BAD_WRITE) M(fxsave, "fxsave (%rdi)", BAD_WRITE | ALIGNED | NO_RESUME) \
	M(add_store, "addq %rax, (%rdi)", BAD_MODIFY) M(adc_store, "adcq %rax, (%rdi)", BAD_MODIFY) M(sub_imm, "subl $7, (%rdi)", BAD_MODIFY) M(inc_store, "incq (%rdi)", BAD_MODIFY) \
	M(neg_store, "negq (%rdi)", BAD_MODIFY) M(not_store, "notl (%rdi)", BAD_MODIFY) M(shl_store, "shlq $3, (%rdi)", BAD_MODIFY) M(sar_cl, "sarq %cl, (%rdi)", BAD_MODIFY) \
	M(rcl_store, "rclq $1, (%rdi)", BAD_MODIFY) M(shld_store, "shldq $5, %rax, (%rdi)", BAD_MODIFY) M(bts_store, "btsq $3, (%rdi)", BAD_MODIFY) M(bts_far, "btsq %rcx, (%rdi)", BAD_MODIFY) \
	M(xchg, "xchgq %rax, (%rdi)", BAD_MODIFY) M(xadd, "xaddq %rax, (%rdi)", BAD_MODIFY) M(lock_xadd, "lock xaddq %rax, (%rdi)", BAD_MODIFY) M(lock_or, "lock orl %eax, (%rdi)", BAD_MODIFY) \
	M(lock_inc, "lock incl (%rdi)", BAD_MODIFY) M(cmpxchg, "lock cmpxchgq %rbx, (%rdi)", BAD_MODIFY) M(cmpxchg_plain, "cmpxchgl %ebx, (%rdi)", BAD_MODIFY) \
	M(cmpxchg8b, "lock cmpxchg8b (%rdi)", BAD_MODIFY) M(cmpxchg16b, "lock cmpxchg16b (%rdi)", BAD_MODIFY | ALIGNED) M(lock_btc, "lock btcq $60, (%rdi)", BAD_MODIFY) \
	M(push, "pushq %rax", BAD_WRITE | STACK) M(push_imm, "pushq $-9", BAD_WRITE | STACK) M(push_seg, "pushq %fs", BAD_WRITE | STACK) M(push_flags, "pushfq", BAD_WRITE | STACK) M(push_16, "pushw %ax", SMALL | BAD_WRITE | STACK) \
	M(call_near, "call 1f; 1:", BAD_WRITE | STACK) M(call_register, "call *%rsi", BAD_WRITE | STACK | NO_RESUME) M(pop, "popq %rax", BAD_READ | STACK) M(pop_rsp, "popq %rsp", BAD_READ | STACK | NO_RESUME) \
	M(ret, "ret", BAD_READ | STACK | NO_RESUME) M(ret_imm, "ret $24", BAD_READ | STACK | NO_RESUME) M(lret, "lretq", BAD_READ | STACK | NO_RESUME) M(iret, "iretq", BAD_READ | STACK | NO_RESUME) \
	M(pop_flags, "popfq", BAD_READ | STACK | NO_RESUME) M(load_stack, "movq (%rsp), %rax", BAD_READ | STACK) M(store_stack, "movq %rax, (%rsp)", BAD_WRITE | STACK) \
	M(add_stack, "addq $1, (%rsp)", BAD_MODIFY | STACK) M(call_memory, "call *(%rdi)", BAD_READ | NO_RESUME) M(jmp_memory, "jmp *(%rdi)", BAD_READ | NO_RESUME) \
	M(lgdt, "lgdt (%rdi)", BAD_READ | NO_RESUME) M(load_es, "movw (%rdi), %es", SMALL | BAD_READ | NO_RESUME) M(verr, "verr (%rdi)", SMALL | BAD_READ) M(lar, "larl (%rdi), %eax", SMALL | BAD_READ)
#define M_INSN(name, text, flags) INSN(name, text)
INSNS(M_INSN)

static const struct insn {
	const char *name;
	const uint8_t *from, *to;
	unsigned kind;
} insns[] = {
#define M_ROW(name, text, flags) { #name, name##_, name##_end, flags },
	INSNS(M_ROW)
};

/* Setters of flags, from R8 to R11. */
INSN(by_cmp, "cmpq %r8, %r9")
INSN(by_inc, "stc; incq %r10")
INSN(by_add, "addl %r11d, %r10d")
INSN(by_shift, "shlq $3, %r10")
INSN(by_xor, "xorl %r10d, %r10d; cmc")
INSN(by_neg, "negq %r11; std")
INSN(by_mix, "bsrq %r8, %r10; andb %r9b, %r11b; stc; decw %r8w")
INSN(by_rol, "movw $0x4001, (%rsi); cmpq %r8, %r9; rolw $1, (%rsi)") /* most flags are older than the last that changes any; RSI must be good */
static const struct { const uint8_t *from, *to; } setters[] = {
	{ by_cmp_, by_cmp_end }, { by_inc_, by_inc_end }, { by_add_, by_add_end }, { by_shift_, by_shift_end }, { by_xor_, by_xor_end },
	{ by_neg_, by_neg_end }, { by_mix_, by_mix_end }, { by_rol_, by_rol_end },
};
#define SETTERS (ARRAY_SIZE(setters) - 1) /* those without memory */
/* Behind the setter: changes without flags. */
INSN(quiet, "leaq 5(%r12,%r13,2), %r12; movq %r8, %r13; bswapq %r14; notq %r15")
/* Behind the instruction: changes of everything, all flags first, then the end. */
INSN(poison, "cmpq %rax, %rsp; incq %rax; incq %rbx; incq %rcx; incq %rdx; incq %rsi; incq %rdi; incq %rbp; incq %r8; incq %r9; incq %r10; incq %r11; incq %r12; incq %r13; incq %r14; incq %r15; cld; int $0x81")

static uint8_t *code, *target_page, *physical[3];
static uint64_t stack;
static uint64_t value[16]; /* in the order of struct frame, RSP last */

/* mov reg, imm64 by the number of the register. */
static uint8_t *put_mov(uint8_t *p, unsigned reg, uint64_t v)
{
	*p++ = reg & 8 ? 0x49 : 0x48;
	*p++ = (uint8_t)(0xb8 | (reg & 7));
	return put64(p, v);
}

/* Of the registers in struct frame, their numbers. */
static const uint8_t numbers[16] = { 0, 3, 1, 2, 6, 7, 5, 8, 9, 10, 11, 12, 13, 14, 15, 4 };

static uint8_t *make(uint8_t *p, const struct insn *insn, unsigned setter, const uint8_t **at, const uint8_t **end)
{
	for (unsigned i = 0; i < 16; i++)
		p = put_mov(p, numbers[i], value[i]);
	p = put_bytes(p, setters[setter].from, (size_t)(setters[setter].to - setters[setter].from));
	p = put_bytes(p, quiet_, (size_t)(quiet_end - quiet_));
	*at = p;
	if (insn)
		p = put_bytes(p, insn->from, (size_t)(insn->to - insn->from));
	*end = p;
	return put_bytes(p, poison_, (size_t)(poison_end - poison_));
}

static void enter(void *at) { __asm__ volatile("jmp *%0" ::"r"(at)); }

static unsigned wrong;
static const char *now;
static void differ(const char *what, uint64_t got, uint64_t want)
{
	if (wrong++ < 20) {
		print(now), print(" ");
		check_equal_(got, want, what, __FILE_NAME__, __LINE__);
	}
}

/* The frame is that of the registers right before the instruction; `plain` is that of the function without the instruction. */
static void compare(const struct frame *got, const struct frame *plain, bool after, const uint8_t *at)
{
	static const char *const names[] = { "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
	for (unsigned i = 0; i < 15; i++) {
		uint64_t want = ((const uint64_t *)plain)[i] - (after ? 0 : 1); /* the poison has added 1 */
		if (((const uint64_t *)got)[i] != want)
			differ(names[i], ((const uint64_t *)got)[i], want);
	}
	if (got->rsp != plain->rsp)
		differ("rsp", got->rsp, plain->rsp);
	if (at && got->rip != (uint64_t)at)
		differ("rip", got->rip, (uint64_t)at);
}

/* Flags as the setter leaves them, found by a PUSHFQ behind it; the registers from the same run. */
static uint64_t flags_of(unsigned setter, struct frame *plain)
{
	static const struct insn push = { "pushfq", push_flags_, push_flags_end, 0 };
	const uint8_t *at, *end;
	make(code, NULL, setter, &at, &end);
	*plain = guarded(enter, code).frame;
	make(code, &push, setter, &at, &end);
	struct fault f = guarded(enter, code);
	return *(uint64_t *)f.frame.rsp & ALL;
}

static bool map_on_fault;
static struct frame first;
static unsigned faults;
static bool on_page_fault(struct frame *frame)
{
	if (!map_on_fault)
		return false;
	if (!faults++)
		first = *frame;
	map_page(AREA + 4096, (uint64_t)physical[1], PG_P | PG_W);
	return faults < 4;
}

/* The same contents before each run. */
static void reset_memory(void)
{
	for (unsigned i = 0; i < 512; i++)
		for (unsigned n = 0; n < 3; n++)
			((uint64_t *)physical[n])[i] = 0x0123456789abcdefull + i * 0x1111 + n;
	for (int i = -256; i < 256; i++)
		((uint64_t *)stack)[i] = 0;
}

static uint64_t memory_sum(void)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < 3 * 512; i++)
		sum = sum * 31 + ((uint64_t *)physical[i / 512])[i % 512];
	return sum;
}

/* Sets the registers: the operand's address in RDI, or in RSP. */
static void set_values(const struct insn *insn, uint64_t at)
{
	for (unsigned i = 0; i < 16; i++)
		value[i] = 0x0101010101010101ull * (i + 1) ^ (uint64_t)i << 40;
	value[2] = 0;                      /* RCX: an index, a count, a bit */
	value[3] = insn->kind & DIVIDES ? 0 : value[3]; /* RDX */
	value[4] = (uint64_t)target_page + 1024; /* RSI: good memory */
	value[5] = at;                     /* RDI */
	value[15] = stack;
	if (insn->kind & FROM_RSI) {
		value[4] = at;
		value[5] = (uint64_t)target_page + 1024;
	}
	if (insn->kind & STACK) {
		/* What is pushed lies at the address; what is popped, too. */
		bool pushes = !(insn->kind & 1) && insn->from != store_stack_;
		value[15] = at + (pushes ? insn->from == push_16_ ? 2 : 8 : 0);
		value[5] = (uint64_t)target_page + 2048;
	}
}

static void one(const struct insn *insn, unsigned setter, uint64_t address)
{
	const uint8_t *at, *end;
	struct frame plain;
	now = insn->name;
	set_values(insn, address);
	uint64_t rsp = value[15];
	value[15] = stack;
	uint64_t flags = flags_of(setter, &plain);
	plain.rsp = value[15] = rsp;
	make(code, insn, setter, &at, &end);
	bool resumes = !(insn->kind & NO_RESUME);
	/* Good and hot. */
	struct frame good = { 0 };
	uint64_t good_sum = 0;
	if (resumes && address != WILD) {
		map_page(AREA + 4096, (uint64_t)physical[1], PG_P | PG_W);
		map_on_fault = false;
		for (unsigned i = 0; i < 60; i++) {
			if (i == 0 || i == 59)
				reset_memory();
			struct fault f = guarded(enter, code);
			if (f.frame.vector != 0x81)
				differ("good run's vector", f.frame.vector, 0x81);
			good = f.frame;
		}
		good_sum = memory_sum();
	}
	/* Faults: the page absent; read-only, for writes; an address that is not canonical. */
	bool writes = insn->kind & 2;
	for (unsigned i = 0; i < 3; i++) {
		if (address != WILD)
			map_page(AREA + 4096, (uint64_t)physical[1], i == 1 && writes ? PG_P : 0);
		reset_memory();
		struct fault f = guarded(enter, code);
		uint64_t vector = address == WILD ? (insn->kind & STACK ? VEC_SS : VEC_GP) : VEC_PF;
		uint64_t error = address == WILD ? 0 : (writes ? 2 : 0) | (i == 1 && writes);
		if (f.frame.vector != vector)
			differ("vector", f.frame.vector, vector);
		if (f.frame.error != error)
			differ("error", f.frame.error, error);
		if (address != WILD && f.cr2 != AT)
			differ("cr2", f.cr2, AT);
		compare(&f.frame, &plain, false, at);
		if ((f.frame.rflags & ALL) != flags)
			differ("flags", f.frame.rflags & ALL, flags);
		if (!resumes || address == WILD)
			continue;
		/* And on, once the page is there. */
		map_page(AREA + 4096, 0, 0);
		reset_memory();
		map_on_fault = true;
		faults = 0;
		f = guarded(enter, code);
		map_on_fault = false;
		if (faults != 1 || f.frame.vector != 0x81)
			differ("faults before the end", faults, 1);
		compare(&first, &plain, false, at);
		compare(&f.frame, &good, true, NULL);
		if ((f.frame.rflags & ALL) != (good.rflags & ALL))
			differ("flags at the end", f.frame.rflags & ALL, good.rflags & ALL);
		if (memory_sum() != good_sum)
			differ("memory", memory_sum(), good_sum);
	}
}

static bool has_avx2, has_bmi;

static void memory_operands(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(insns); i++) {
		if ((insns[i].kind & AVX && !has_avx2) || (insns[i].kind & BMI && !has_bmi))
			continue;
		for (unsigned s = 0; s < SETTERS; s++) {
			/* STD matters to strings, which go on downwards: the same memory, another end. */
			one(&insns[i], s, AT);
			if (!(insns[i].kind & (ALIGNED | SMALL)))
				one(&insns[i], s, ACROSS);
			one(&insns[i], s, WILD);
		}
	}
	check_equal(wrong, 0);
}

/* --- exceptions without memory; traps show the next instruction --- */

INSN(divide_0, "divq %rcx")
INSN(divide_byte, "divb %cl")
INSN(idivide_overflow, "idivq %rbx")
INSN(ud2, "ud2")
INSN(lock_bad, ".byte 0xf0, 0x89, 0xc0")
INSN(vex_bad, ".byte 0xf0, 0xc5, 0xf8, 0x77")
INSN(rdmsr_bad, "rdmsr")
INSN(ds_bad, "movw %ax, %ds")
INSN(cr4_bad, "movq %rax, %cr4") /* QEMU 7.2 takes this value, and gives RMW instructions the error code of a read */
INSN(int3, "int3")
INSN(int_85, "int $0x85")
INSN(icebp, ".byte 0xf1")
INSN(aligned_bad, "movaps 1(%rsi), %xmm0")
INSN(jump_wild, "jmp *%rax")
INSN(wrmsr_bad, "wrmsr")
INSN(xgetbv_bad, "xgetbv")
INSN(rdpmc_bad, "rdpmc")
INSN(fwait_pending, "fwait")

static void other_exceptions(void)
{
	static const struct {
		struct insn insn;
		unsigned vector, error;
		bool trap;
		uint64_t rax, rcx, rdx;
	} cases[] = {
#define ROW(name, ...) { { #name, name##_, name##_end, 0 }, __VA_ARGS__ }
		ROW(divide_0, VEC_DE, 0, false, 5, 0, 0), ROW(divide_byte, VEC_DE, 0, false, 0xffff, 1, 0),
		ROW(idivide_overflow, VEC_DE, 0, false, 0, 0, 1ull << 63), ROW(ud2, VEC_UD, 0, false, 1, 2, 3), ROW(lock_bad, VEC_UD, 0, false, 1, 2, 3),
		ROW(vex_bad, VEC_UD, 0, false, 1, 2, 3), ROW(rdmsr_bad, VEC_GP, 0, false, 1, 0xdeadbeef, 3), ROW(ds_bad, VEC_GP, 0x1230, false, 0x1233, 2, 3),
		ROW(cr4_bad, VEC_GP, 0, false, 1ull << 63, 2, 3), ROW(int3, VEC_BP, 0, true, 1, 2, 3), ROW(int_85, 0x85, 0, true, 1, 2, 3),
		ROW(icebp, VEC_DB, 0, true, 1, 2, 3), ROW(aligned_bad, VEC_GP, 0, false, 1, 2, 3), ROW(jump_wild, VEC_GP, 0, false, WILD, 2, 3),
		ROW(wrmsr_bad, VEC_GP, 0, false, 0, 0xc0000082, 0x12345678), ROW(xgetbv_bad, VEC_GP, 0, false, 0, 0x77, 0),
		ROW(rdpmc_bad, VEC_GP, 0, false, 0, 0x77, 0), ROW(fwait_pending, VEC_MF, 0, false, 1, 2, 3),
	};
	static const uint16_t unmasked = 0x33e; /* #IA is not masked; for FWAIT, an exception is pending all the time */
	WRITE_CR(4, READ_CR(4) | 0x40000);
	WRITE_CR(0, READ_CR(0) | 0x20);
	__asm__ volatile("fninit; fldz; fldz; fdivp; fldcw %0" ::"m"(unmasked));
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		for (unsigned s = 0; s < ARRAY_SIZE(setters); s++) {
			const uint8_t *at, *end;
			struct frame plain;
			now = cases[i].insn.name;
			set_values(&cases[i].insn, AT);
			value[0] = cases[i].rax, value[2] = cases[i].rcx, value[3] = cases[i].rdx;
			uint64_t flags = flags_of(s, &plain);
			make(code, &cases[i].insn, s, &at, &end);
			for (unsigned n = 0; n < 60; n++) {
				struct fault f = guarded(enter, code);
				if (f.frame.vector != cases[i].vector)
					differ("vector", f.frame.vector, cases[i].vector);
				if (f.frame.error != cases[i].error)
					differ("error", f.frame.error, cases[i].error);
				compare(&f.frame, &plain, false, cases[i].trap ? end : at);
				if ((f.frame.rflags & ALL) != flags)
					differ("flags", f.frame.rflags & ALL, flags);
			}
		}
	__asm__ volatile("fninit");
	check_equal(wrong, 0);
}

/* --- loops that walk into an absent page --- */

#define WALK (AREA + 0x100000)
static uint64_t walk_pages[4];

struct walk {
	uint64_t rip, rsi, rcx, rax, rdx, cr2, flags;
};
static struct walk seen[8];
static unsigned walks;
static bool on_walk(struct frame *frame)
{
	uint64_t at = READ_CR(2);
	if (at < WALK || at >= WALK + 4 * 4096 || walks >= 8)
		return false;
	seen[walks++] = (struct walk){ frame->rip, frame->rsi, frame->rcx, frame->rax, frame->rdx, at, frame->rflags };
	map_page(at & ~4095ull, walk_pages[(at - WALK) >> 12], PG_P | PG_W);
	return true;
}

extern uint8_t walk_sum[];

/* 2048 qwords, of which 512 a page; from `skew` so that operands cross the borders. */
static void walking(uint64_t skew)
{
	handlers[VEC_PF] = on_walk;
	uint64_t bytes = skew ? 1 : 0, total = 2047, sum[2] = { 0, 0 };
	for (unsigned round = 0; round < 12; round++) {
		bool absent = round % 4 == 3;
		for (unsigned i = 0; i < 4; i++)
			map_page(WALK + 4096 * i, walk_pages[i], PG_P | PG_W);
		for (unsigned i = 0; i < total; i++)
			*(uint64_t *)(WALK + skew + 8 * i) = ~0ull - i;
		for (unsigned i = 0; i < 4 && absent; i++)
			map_page(WALK + 4096 * i, 0, 0);
		walks = 0;
		uint64_t si = WALK + skew, cx = total, ax = 0, dx = 0;
		__asm__ volatile("clc\n walk_sum: addq (%0), %2; adcq $0, %3; leaq 8(%0), %0; decq %1; jnz walk_sum"
				 : "+S"(si), "+c"(cx), "+a"(ax), "+d"(dx)::"memory", "cc");
		check_equal(cx, 0);
		if (!round)
			sum[0] = ax, sum[1] = dx;
		check_equal(ax, sum[0]);
		check_equal(dx, sum[1]);
		if (!absent)
			continue;
		/* Page i is first touched by qword 512 * i, or by the one that begins before it. */
		check_equal(walks, 4);
		for (unsigned i = 0; i < 4; i++) {
			uint64_t n = i ? (4096 * i - skew - bytes) / 8 : 0;
			if (i && !skew)
				n = 512 * i;
			check_equal(seen[i].rip, (uint64_t)walk_sum);
			check_equal(seen[i].cr2, i ? WALK + 4096 * i : WALK + skew);
			check_equal(seen[i].rsi, WALK + skew + 8 * n);
			check_equal(seen[i].rcx, total - n);
			uint64_t a = 0, d = 0;
			for (uint64_t k = 0; k < n; k++) {
				a += ~0ull - k;
				d += a < ~0ull - k;
			}
			check_equal(seen[i].rax, a);
			check_equal(seen[i].rdx, d);
			/* DECQ: not zero, unless the round is over. */
			check(!n || !(seen[i].flags & ZF));
		}
	}
	handlers[VEC_PF] = on_page_fault;
}

int guest_main(void)
{
	code = alloc_page();
	target_page = alloc_page();
	stack = (uint64_t)alloc_page() + 2048;
	for (unsigned i = 0; i < 3; i++) {
		physical[i] = alloc_page();
		map_page(AREA + 4096 * i, (uint64_t)physical[i], PG_P | PG_W);
	}
	for (unsigned i = 0; i < 4; i++)
		walk_pages[i] = (uint64_t)alloc_page();
	handlers[VEC_PF] = on_page_fault;
	for (unsigned v = 0; v < 32; v++)
		set_gate(v, vector_stubs + 16 * v, 0x0e, 1);
	has_bmi = cpuid(7, 0).b >> 8 & 1 && cpuid(7, 0).b >> 19 & 1;
	if (cpuid(1, 0).c >> 28 & 1 && cpuid(7, 0).b >> 5 & 1) {
		WRITE_CR(4, READ_CR(4) | 0x40000);
		__asm__ volatile("xsetbv" ::"a"(7), "d"(0), "c"(0));
		has_avx2 = true;
	}
	__asm__ volatile("fninit; fld1; fldpi");
	memory_operands();
	other_exceptions();
	walking(0);
	walking(3);
	return failures;
}
