/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flags that live across memory accesses, page faults, page borders and branches: carry chains, LAHF, SETO, PUSHF in between,
 * instructions that change some flags or none. */
#include "code.h"

enum { CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, OF = 0x800, ALL = CF | PF | AF | ZF | SF | OF };
#define AREA 0x30000000000ull
enum { LIMBS = 1536 }; /* three pages */

static uint64_t physical[4];
static uint64_t a[LIMBS], b[LIMBS], want[LIMBS];
static volatile unsigned faults;

/* Maps the page that was touched, and takes the one before the last away: an operand has two at most. */
enum { NONE = 4 };
static uint64_t present[2] = { NONE, NONE };
static bool on_page_fault(struct frame *frame)
{
	uint64_t page = (READ_CR(2) - AREA) >> 12;
	if (page >= 4)
		return false;
	faults++;
	if (present[1] != NONE)
		map_page(AREA + present[1] * 4096, 0, 0);
	map_page(AREA + page * 4096, physical[page], PG_P | PG_W);
	present[1] = present[0];
	present[0] = page;
	return true;
}

static void unmap_all(void)
{
	for (unsigned i = 0; i < 4; i++)
		map_page(AREA + i * 4096, 0, 0);
	present[0] = present[1] = NONE;
}

static void unmap_none(void)
{
	for (unsigned i = 0; i < 4; i++)
		map_page(AREA + i * 4096, physical[i], PG_P | PG_W);
}

/* 1536 limbs by ADC with a memory operand; the sum is stored by ADC to memory, so each turn reads, and reads and writes. */
static void carry_chain(unsigned offset, bool absent)
{
	volatile uint8_t *to = (uint8_t *)(absent ? AREA : physical[0]) + offset;
	for (unsigned i = 0; i < LIMBS; i++) {
		a[i] = below(3) ? ~0ull : rnd();
		b[i] = below(3) ? 0 : rnd();
	}
	a[0] = 1, b[0] = ~0ull;
	uint64_t carry = 0;
	for (unsigned i = 0; i < LIMBS; i++) {
		uint64_t s = a[i] + b[i], c1 = s < a[i];
		want[i] = s + carry;
		carry = c1 | (want[i] < s);
	}
	unmap_none();
	for (unsigned i = 0; i < LIMBS; i++)
		*(uint64_t *)((uint8_t *)AREA + offset + 8 * i) = b[i];
	if (absent)
		unmap_all();
	uint64_t n = LIMBS, si = (uint64_t)a, last = 0;
	faults = 0;
	__asm__ volatile("xorl %%eax, %%eax\n"
			 "1: movq (%1), %%rax; adcq %%rax, (%2); leaq 8(%1), %1; leaq 8(%2), %2; decq %0; jnz 1b; setc %b3"
			 : "+c"(n), "+S"(si), "+D"(to), "+d"(last)::"rax", "memory", "cc");
	unmap_none();
	uint64_t wrong = last != carry;
	for (unsigned i = 0; i < LIMBS; i++)
		wrong += *(uint64_t *)((uint8_t *)AREA + offset + 8 * i) != want[i];
	check_equal(wrong, 0);
	check(!absent || faults >= 3);
}

/* SBB that reads memory, with a border in the middle of operands; the borrow goes through LAHF and SAHF and through PUSHF and POPF. */
static void borrow_chain(void)
{
	uint64_t carry = 0, got[64];
	unmap_none();
	uint8_t *b_at = (uint8_t *)AREA + 4096 - 4 - 32 * 8;
	for (unsigned i = 0; i < 64; i++) {
		a[i] = below(2) ? 0 : rnd();
		*(uint64_t *)(b_at + 8 * i) = b[i] = below(2) ? 0 : rnd();
		uint64_t d = a[i] - b[i];
		want[i] = d - carry;
		carry = (a[i] < b[i]) | (d < carry);
	}
	for (unsigned round = 0; round < 100; round++) {
		if (round & 1)
			unmap_all();
		uint64_t n = 64, si = (uint64_t)b_at, bx = (uint64_t)a, di = (uint64_t)got;
		__asm__ volatile("xorl %%eax, %%eax\n"
				 "1: movq (%1), %%rdx; sbbq (%2), %%rdx; lahf; movq %%rdx, (%3)\n"
				 "   addq $8, %1; addq $8, %2; addq $8, %3; sahf; pushfq; testq $-1, (%3); popfq; decq %0; jnz 1b"
				 : "+c"(n), "+b"(bx), "+S"(si), "+D"(di)::"rax", "rdx", "memory", "cc");
		uint64_t wrong = 0;
		for (unsigned i = 0; i < 64; i++)
			wrong += got[i] != want[i];
		if (wrong) {
			check_equal(wrong, 0);
			return;
		}
	}
}

/* --- flags of an operation, looked at behind memory accesses of each kind --- */

static uint64_t add_flags(uint32_t x, uint32_t y)
{
	uint32_t s = x + y;
	return (s < x) | (s ? 0 : ZF) | (s >> 31 ? SF : 0) | (__builtin_parity(s & 0xff) ? 0 : PF) | ((x ^ y ^ s) & 0x10) |
	       ((~(x ^ y) & (x ^ s)) >> 31 ? OF : 0);
}

#define BETWEEN(name, ...) \
	static uint64_t name(uint32_t x, uint32_t y, uint64_t at) \
	{ \
		uint64_t f; \
		__asm__ volatile("movq $-1, %%r8; movl $5, %%r9d; addl %2, %1; " __VA_ARGS__ "; pushfq; popq %0" \
				 : "=r"(f), "+a"(x) : "r"(y), "D"(at), "S"(at) : "rcx", "rdx", "rbx", "r8", "r9", "r10", "memory", "cc"); \
		return f & ALL; \
	}
BETWEEN(after_load, "movq (%%rdi), %%rbx")
BETWEEN(after_store, "movq %%rbx, (%%rdi)")
BETWEEN(after_stores, "movb %%bl, (%%rdi); movw %%bx, 8(%%rdi); movl $7, 16(%%rdi); movq %%r8, 24(%%rdi)")
BETWEEN(after_push, "pushq (%%rdi); popq %%rbx")
BETWEEN(after_pop, "pushq %%rbx; popq (%%rdi)")
BETWEEN(after_xchg, "xchgq %%rbx, (%%rdi)")
BETWEEN(after_lea, "leaq 5(%%rdi,%%rax,4), %%rbx; leal (%%rbx), %%ecx")
BETWEEN(after_string, "movl $3, %%ecx; movq %%rdi, %%r10; rep stosb; movq %%r10, %%rdi; movq %%rdi, %%rsi; movsq")
BETWEEN(after_cmov, "cmovcq (%%rdi), %%rbx; cmovnoq (%%rdi), %%rcx")
/* QEMU 7.2 fails this one: it loses flags when the store of SETcc faults. */
BETWEEN(after_setcc, "seto (%%rdi); setbe 1(%%rdi); setp %%bl")
BETWEEN(after_not, "notq (%%rdi); notl %%ebx; bswapq %%rcx")
BETWEEN(after_shift_0, "movl $32, %%ecx; movl $1, %%ebx; shll %%cl, %%ebx; sarl %%cl, (%%rdi); shldl %%cl, %%ebx, (%%rdi)")
BETWEEN(after_call, "call 1f; jmp 2f; 1: ret; 2:")
BETWEEN(after_branch, "jc 1f; jo 1f; js 1f; nop; 1: movq (%%rdi), %%rbx; jp 2f; 2:")
BETWEEN(after_loop, "movl $5, %%ecx; 1: movq (%%rdi), %%rbx; loop 1b; jrcxz 2f; 2:")
BETWEEN(after_lahf, "lahf; movb %%ah, (%%rdi); seto %%bl; addb $0x7f, %%bl; movb (%%rdi), %%ah; sahf")
BETWEEN(after_pushf, "pushfq; cmpq %%r8, (%%rdi); popfq")
BETWEEN(after_indirect, "leaq 1f(%%rip), %%rbx; jmp *%%rbx; 1: movq (%%rdi), %%rbx")
BETWEEN(after_sse, "movups (%%rdi), %%xmm0; movups %%xmm0, 16(%%rdi); pxor %%xmm1, %%xmm0")
BETWEEN(after_xlat, "movq %%rdi, %%rbx; movl %%eax, %%ecx; movl $3, %%eax; xlatb; movl %%ecx, %%eax")
BETWEEN(after_movbe, "bswapq %%rbx; movsxd (%%rdi), %%rcx; movzbl (%%rdi), %%edx; cbtw; cltq; cqto")

static uint64_t same_but_c(uint32_t x, uint32_t y, uint64_t at, bool memory)
{
	uint64_t f;
	/* INC and DEC leave CF alone: the carry is the addition's. */
	if (memory)
		__asm__ volatile("addl %2, %1; incl (%3); decq 8(%3); pushfq; popq %0" : "=r"(f), "+a"(x) : "r"(y), "r"(at) : "memory", "cc");
	else
		__asm__ volatile("addl %2, %1; incl %1; decl %1; incl %1; pushfq; popq %0" : "=r"(f), "+a"(x) : "r"(y) : "memory", "cc");
	return f & CF;
}

/* RCL and RCR of memory: the carry goes round through a whole array. */
static void rotate_carry(void)
{
	unmap_none();
	uint64_t *at = (uint64_t *)(AREA + 4096 - 4 - 64);
	uint64_t bits = 0, wrong = 0;
	for (unsigned i = 0; i < 16; i++)
		at[i] = want[i] = rnd();
	for (unsigned round = 0; round < 17 * 64; round++) {
		if (round % 5 == 0)
			unmap_all();
		uint64_t n = 16, di = (uint64_t)at, c = 0;
		__asm__ volatile("clc\n1: rclq $1, (%1); leaq 8(%1), %1; decq %0; jnz 1b; setc %b2" : "+c"(n), "+D"(di), "+d"(c)::"memory", "cc");
		uint64_t carry = 0;
		for (unsigned i = 0; i < 16; i++) {
			uint64_t out = want[i] >> 63;
			want[i] = want[i] << 1 | carry;
			carry = out;
		}
		bits += c != carry;
	}
	for (unsigned i = 0; i < 16; i++)
		wrong += at[i] != want[i];
	check_equal(wrong + bits, 0);
}

static uint64_t (*const between[])(uint32_t, uint32_t, uint64_t) = {
	after_load, after_store, after_stores, after_push, after_pop, after_xchg, after_lea, after_string, after_cmov, after_setcc, after_not,
	after_shift_0, after_call, after_branch, after_loop, after_lahf, after_pushf, after_indirect, after_sse, after_xlat, after_movbe,
};

static void looked_at_later(void)
{
	static const uint32_t values[] = { 0, 1, 0x0f, 0x10, 0x7f, 0x80, 0xff, 0x7fffffff, 0x80000000, 0x80000001, 0xfffffff0, 0xffffffff, 0x55555555 };
	for (unsigned k = 0; k < ARRAY_SIZE(between); k++) {
		uint64_t wrong = 0;
		for (unsigned round = 0; round < 12; round++)
			for (unsigned i = 0; i < ARRAY_SIZE(values) * ARRAY_SIZE(values); i++) {
				uint32_t x = values[i / ARRAY_SIZE(values)], y = values[i % ARRAY_SIZE(values)];
				/* In the end of a page, over a border; sometimes not there. */
				uint64_t at = AREA + (round & 1 ? 4096 - 5 : 64);
				if (round >= 4 && i % 8 == 0)
					unmap_all();
				else if (!i)
					unmap_none();
				wrong += between[k](x, y, at) != add_flags(x, y);
				if (k == 0)
					wrong += same_but_c(x, y, at, round & 2) != (add_flags(x, y) & CF);
			}
		if (wrong)
			print_hex(k);
		check_equal(wrong, 0);
	}
}

/* A conditional branch's flags come from before a page-crossing load, in a hot loop, ten thousand times each way. */
static void branch_after_access(void)
{
	unmap_none();
	uint64_t taken = 0, n = 2 * HOT, x = 0;
	__asm__ volatile("1: addq %4, %2; movq (%3), %%rax; jo 2f; incq %0\n2: cmpq %1, %%rax; movq %%rdx, 4096(%3); jne 3f; nop\n3: decq %1; jnz 1b"
			 : "+r"(taken), "+r"(n), "+r"(x) : "r"(AREA + 4096 - 4), "r"(0x1000000000000001)
			 : "rax", "rdx", "memory", "cc");
	uint64_t expected = 0;
	int64_t y = 0;
	for (unsigned i = 0; i < 2 * HOT; i++)
		expected += !__builtin_add_overflow(y, 0x1000000000000001, &y);
	check_equal(taken, expected);
}

static void adx(void)
{
	if (!(cpuid(7, 0).b >> 19 & 1) || !(cpuid(7, 0).b >> 8 & 1))
		return;
	/* Two chains at once, by CF and by OF, with memory operands that are all ones; each begins with 1. */
	unmap_none();
	uint64_t *at = (uint64_t *)(AREA + 8192 - 20);
	for (unsigned i = 0; i < 8; i++)
		at[i] = ~0ull;
	for (unsigned round = 0; round < 200; round++) {
		if (round & 1)
			unmap_all();
		uint64_t low = 1, high = 1, f;
		__asm__ volatile("xorl %%ecx, %%ecx\n"
				 "adcxq (%3), %0; movl $0, %%eax; adcxq 8(%3), %%rax; movq %%rax, %%rbx; movl $0, %%eax; adoxq 16(%3), %1\n"
				 "movl $0, %%edx; mulxq (%3), %%rcx, %%rcx; adoxq 24(%3), %%rax; pushfq; popq %2"
				 : "+r"(low), "+r"(high), "=r"(f) : "r"(at) : "rax", "rbx", "rcx", "rdx", "memory", "cc");
		if (low || high || (f & (CF | OF)) != (CF | OF)) {
			check_equal(low | high, 0);
			check_equal(f & (CF | OF), CF | OF);
			return;
		}
	}
}

int guest_main(void)
{
	for (unsigned i = 0; i < 4; i++)
		physical[i] = (uint64_t)alloc_page();
	handlers[VEC_PF] = on_page_fault;
	for (unsigned round = 0; round < 4; round++) {
		carry_chain(64, false);
		carry_chain(100, false);
		carry_chain(64, true);
		carry_chain(100, true);
	}
	looked_at_later();
	borrow_chain();
	rotate_carry();
	branch_after_access();
	adx();
	return failures;
}
