/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Indirect jumps and calls: one site with thousands of targets, with few that change, with targets that look alike to a hash,
 * with targets whose code changes behind a stable address. */
#include "code.h"

enum { TARGETS = 4096, SIZE = 16 };
static uint8_t *area;

/* A target: lea eax, [rax * 4 + rax + n]... the index enters the checksum, so that order counts; then RET. */
static uint8_t *put_target(uint8_t *p, uint32_t n)
{
	PUT(p, 0x48, 0x69, 0xc0, 0x0b, 0, 0, 0); /* imul rax, rax, 11 */
	PUT(p, 0x48, 0x05);                      /* add rax, n */
	p = put32(p, n);
	PUT(p, 0xc3);
	return p;
}

static uint64_t through(uint8_t *const *table, unsigned count, unsigned calls, uint64_t seed)
{
	uint64_t sum = 0;
	/* Indices from a linear congruential generator. */
	__asm__ volatile("1: imulq $0x5851f42d, %1, %1; addq $0x14057b7e, %1; movq %1, %%rax; shrq $20, %%rax; xorl %%edx, %%edx; andl %4, %%eax\n"
			 "   movq %%rax, %%rcx; movq %0, %%rax; call *(%3,%%rcx,8); movq %%rax, %0; decl %2; jnz 1b"
			 : "+D"(sum), "+S"(seed), "+b"(calls) : "r"(table), "r"(count - 1) : "rax", "rcx", "rdx", "memory", "cc");
	return sum;
}

static uint64_t model(const uint32_t *numbers, unsigned count, unsigned calls, uint64_t seed)
{
	uint64_t sum = 0;
	while (calls--) {
		seed = seed * 0x5851f42d + 0x14057b7e;
		sum = sum * 11 + numbers[seed >> 20 & (count - 1)];
	}
	return sum;
}

static uint8_t *table[TARGETS];
static uint32_t numbers[TARGETS];

/* `stride` apart, from `start`. */
static void fill(uint8_t *start, unsigned count, uint64_t stride)
{
	for (unsigned i = 0; i < count; i++) {
		numbers[i] = (uint32_t)rnd() & 0x7fffffff;
		table[i] = start + i * stride;
		put_target(table[i], numbers[i]);
	}
}

static void many_targets(void)
{
	static const struct { unsigned count; uint64_t stride; } shapes[] = {
		{ TARGETS, SIZE }, { 1, SIZE }, { 2, SIZE }, { 8, SIZE }, { 1024, 4096 }, { 64, 65536 }, { 4, 0x100000 }, { 256, 4096 + 64 }, { 512, 8192 - 16 },
	};
	for (unsigned s = 0; s < ARRAY_SIZE(shapes); s++)
		for (unsigned round = 0; round < 2; round++) {
			fill(area, shapes[s].count, shapes[s].stride);
			check_equal(through(table, shapes[s].count, 2 * HOT, s + 1), model(numbers, shapes[s].count, 2 * HOT, s + 1));
		}
}

/* Targets at addresses that differ in their high bits alone: the same pages mapped all over the address space. */
static void far_targets(void)
{
	uint8_t *page = alloc_page();
	for (unsigned i = 0; i < 64; i++) {
		uint64_t linear = 0x10000000000ull * (i % 32 + 1) + (i & 32 ? 0x100000000 : 0) + (i % 3) * 0x40000000;
		numbers[i] = i * 3 + 1;
		put_target(page + i * 32, numbers[i]);
		map_page(linear, (uint64_t)page, PG_P);
		table[i] = (uint8_t *)linear + i * 32;
	}
	check_equal(through(table, 64, 2 * HOT, 9), model(numbers, 64, 2 * HOT, 9));
	/* The same offset, another address: one physical place. */
	for (unsigned i = 0; i < 64; i++) {
		table[i] -= i * 32;
		numbers[i] = 1;
	}
	check_equal(through(table, 64, 2 * HOT, 10), model(numbers, 64, 2 * HOT, 10));
}

/* Long stretches of one target, then another: what the site has learnt last is wrong. */
static void phases(void)
{
	fill(area, 16, SIZE);
	for (unsigned round = 0; round < 32; round++) {
		unsigned i = round * 7 & 15;
		uint64_t sum = 0, want = 0;
		for (unsigned n = 0; n < 1000; n++) {
			__asm__ volatile("call *%1" : "+a"(sum) : "r"(table[i]) : "memory", "cc");
			want = want * 11 + numbers[i];
		}
		check_equal(sum, want);
	}
}

/* The address stays, the code behind it changes: rewritten; remapped. */
static void same_address(void)
{
	uint8_t *pages[4];
	for (unsigned i = 0; i < 4; i++)
		put_return(pages[i] = alloc_page(), i + 1);
	uint64_t at = 0x7000000000, sum = 0, want = 0;
	for (unsigned round = 0; round < 200; round++) {
		map_page(at, (uint64_t)pages[round & 3], PG_P);
		if (round % 10 == 9)
			put_return(pages[round & 3], round);
		uint32_t now = *(volatile uint32_t *)(pages[round & 3] + 1);
		for (unsigned n = 0; n < 60; n++) {
			uint64_t got;
			__asm__ volatile("call *%1" : "=a"(got) : "r"(at) : "memory", "cc");
			sum += got;
			want += now;
		}
	}
	check_equal(sum, want);
}

/* Jump tables with cases that jump back into one dispatch: an interpreter of byte code with 256 operations. */
static void byte_code(void)
{
	static uint8_t program[2048];
	static uint8_t *cases[256];
	uint8_t *p = area, *dispatch = p;
	/* rsi: program, rbx: cases, rdi: accumulator */
	PUT(p, 0x0f, 0xb6, 0x06, 0x48, 0xff, 0xc6, 0xff, 0x24, 0xc3); /* movzx eax, byte [rsi]; inc rsi; jmp [rbx + rax * 8] */
	for (unsigned i = 0; i < 256; i++) {
		cases[i] = p;
		if (i == 0) {
			PUT(p, 0xc3);
			continue;
		}
		PUT(p, 0x48, 0x6b, 0xff); /* imul rdi, rdi, imm8 */
		*p++ = (uint8_t)(i | 1) & 0x7f;
		PUT(p, 0x48, 0x81, 0xf7); /* xor rdi, imm32 */
		p = put32(p, i * 0x10101 & 0x7fffffff);
		if (i & 1)
			p = put_near(p, 0xe9, dispatch);
		else
			PUT(p, 0x0f, 0xb6, 0x06, 0x48, 0xff, 0xc6, 0xff, 0x24, 0xc3); /* a dispatch of its own */
	}
	for (unsigned round = 0; round < 20; round++) {
		uint64_t want = round, got = round;
		for (unsigned i = 0; i < sizeof(program) - 1; i++) {
			uint8_t op = (uint8_t)(1 + below(255));
			program[i] = op;
			want = want * ((op | 1) & 0x7f) ^ (op * 0x10101u & 0x7fffffff);
		}
		uint8_t *at = program;
		__asm__ volatile("call *%2" : "+D"(got), "+S"(at) : "r"(dispatch), "b"(cases) : "rax", "memory", "cc");
		check_equal(got, want);
	}
}

/* Through memory by RIP, through each register, through the stack's top, tail calls in a ring. */
static void forms(void)
{
	static uint8_t *pointer __asm__("pointer_") __attribute__((used));
	uint64_t n, sum = 0;
	for (n = 0; n < 3000; n++) {
		pointer = n & 1 ? area + 32 : area;
		if (!n)
			put_return(area, 5), put_return(area + 32, 6);
		uint64_t got;
		__asm__ volatile("call *pointer_(%%rip)" : "=a"(got)::"memory", "cc");
		sum += got;
	}
	__asm__ volatile("" ::"m"(pointer));
	check_equal(sum, 3000 / 2 * 11);
	sum = 0;
	n = HOT;
	__asm__ volatile("leaq 1f(%%rip), %%r8; leaq 2f(%%rip), %%r9; leaq 3f(%%rip), %%r15; leaq 4f(%%rip), %%rcx; movq %%r8, %%r10\n"
			 "1: incq %0; jmp *%%r9\n2: addq $2, %0; pushq %%r15; jmp *(%%rsp)\n3: popq %%rdx; addq $3, %0; jmp *%%rcx\n"
			 "4: decq %1; jz 5f; jmp *%%r10\n5:" : "+D"(sum), "+S"(n)::"rcx", "rdx", "r8", "r9", "r10", "r15", "memory", "cc");
	check_equal(sum, HOT * 6ull);
}

int guest_main(void)
{
	area = alloc_page();
	for (unsigned i = 0; i < 2048; i++)
		alloc_page();
	many_targets();
	far_targets();
	phases();
	same_address();
	byte_code();
	forms();
	return failures;
}
