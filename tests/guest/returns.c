/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Returns that no call matches: long jumps, coroutines, call/pop, retpolines, chains of returns, deep recursion. */
#include "code.h"

enum { TURNS = 2 * HOT };

/* Position-independent code's CALL/POP, and a return address that is moved on by the callee. */
static void call_pop(void)
{
	uint64_t sum = 0, want = 0, n = TURNS;
	__asm__ volatile("1: call 2f\n2: popq %%rax; leaq 2b(%%rip), %%rdx; subq %%rdx, %%rax; addq %%rax, %0; decq %1; jnz 1b"
			 : "+r"(sum), "+r"(n)::"rax", "rdx", "memory", "cc");
	check_equal(sum, 0);
	n = TURNS;
	/* The callee skips 3 bytes of its caller by every other return. */
	__asm__ volatile("1: call 3f\n"
			 "   addq $1, %0\n" /* 4 bytes */
			 "2: addq $2, %0; decq %1; jnz 1b; jmp 4f\n"
			 "3: testb $1, %b1; jz 5f; addq $4, (%%rsp)\n5: ret\n4:"
			 : "+D"(sum), "+S"(n)::"memory", "cc");
	want = TURNS * 2 + TURNS / 2;
	check_equal(sum, want);
}

/* CALL; over a trap of PAUSE and LFENCE; the callee replaces its return address (a retpoline). */
static void retpoline(void)
{
	uint64_t sum = 0, n = TURNS;
	__asm__ volatile("leaq 10f(%%rip), %%r8; leaq 11f(%%rip), %%r9\n"
			 "1: movq %%r8, %%rax; testb $1, %b1; cmovzq %%r9, %%rax\n"
			 "   call 2f; decq %1; jnz 1b; jmp 12f\n"
			 "2: call 4f\n"
			 "3: pause; lfence; jmp 3b\n"
			 "4: movq %%rax, (%%rsp); ret\n"
			 "10: addq $1, %0; ret\n"
			 "11: addq $1000000, %0; ret\n"
			 "12:" : "+D"(sum), "+S"(n)::"rax", "r8", "r9", "memory", "cc");
	check_equal(sum, TURNS / 2 * 1000001ull);
}

/* PUSH and RET as a jump; RET imm16; a far return within the segment; IRET as a return. */
static void other_returns(void)
{
	uint64_t sum = 0, n = TURNS, before, after;
	__asm__ volatile("movq %%rsp, %2\n"
			 "1: leaq 2f(%%rip), %%rax; pushq %%rax; ret\n"
			 "   ud2\n"
			 "2: incq %0; pushq $7; pushq $9; call 3f; decq %1; jnz 1b; jmp 4f\n"
			 "3: addq 8(%%rsp), %0; addq 16(%%rsp), %0; ret $16\n"
			 "4: movq %%rsp, %3"
			 : "+D"(sum), "+S"(n), "=&r"(before), "=r"(after)::"rax", "memory", "cc");
	check_equal(sum, TURNS * 17ull);
	check_equal(before, after);
	sum = 0, n = HOT;
	__asm__ volatile("1: movl %%cs, %%eax; pushq %%rax; call 3f; decq %1; jnz 1b; jmp 4f\n"
			 "3: incq %0; lretq\n4:" : "+D"(sum), "+S"(n)::"rax", "memory", "cc");
	check_equal(sum, HOT);
	sum = 0, n = HOT;
	__asm__ volatile("1: movq %%rsp, %%rdx; movl %%ss, %%eax; pushq %%rax; pushq %%rdx; pushfq; movl %%cs, %%eax; pushq %%rax; call 3f\n"
			 "   decq %1; jnz 1b; jmp 4f\n"
			 "3: incq %0; iretq\n4:" : "+D"(sum), "+S"(n)::"rax", "rdx", "memory", "cc");
	check_equal(sum, HOT);
}

/* A chain of addresses on a stack of its own: nothing but returns, no call. */
static void return_chain(void)
{
	static uint64_t chain[4 * 256 + 1];
	uint64_t end, parts[4];
	__asm__ volatile("jmp 9f\n"
			 "1: addq $1, %%rax; ret\n2: leaq (%%rax,%%rax,2), %%rax; ret\n3: xorq $0x55, %%rax; ret\n4: rolq $7, %%rax; ret\n"
			 "9: leaq 1b(%%rip), %%rax; movq %%rax, (%0); leaq 2b(%%rip), %%rax; movq %%rax, 8(%0);"
			 "leaq 3b(%%rip), %%rax; movq %%rax, 16(%0); leaq 4b(%%rip), %%rax; movq %%rax, 24(%0)" ::"r"(parts) : "rax", "memory");
	uint64_t wrong = 0;
	for (unsigned round = 0; round < 60; round++) {
		uint64_t want = round, got = round;
		for (unsigned i = 0; i < ARRAY_SIZE(chain) - 1; i++) {
			unsigned k = below(4);
			chain[i] = parts[k];
			want = k == 0 ? want + 1 : k == 1 ? want * 3 : k == 2 ? want ^ 0x55 : want << 7 | want >> 57;
		}
		__asm__ volatile("leaq 1f(%%rip), %1; movq %1, (%2); movq %%rsp, %%rbx; movq %3, %%rsp; ret\n1: movq %%rbx, %%rsp"
				 : "+a"(got), "=&r"(end) : "r"(&chain[ARRAY_SIZE(chain) - 1]), "r"(chain) : "rbx", "memory", "cc");
		wrong += got != want;
	}
	check_equal(wrong, 0);
}

/* --- deep recursion, left by returns and by a long jump --- */

__attribute__((noinline)) static uint64_t depth_sum(uint64_t n)
{
	uint64_t below = n ? depth_sum(n - 1) : 0;
	__asm__ volatile("" : "+r"(below));
	return below + n;
}

__attribute__((noinline)) static uint64_t fibonacci(unsigned n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

__attribute__((noinline)) static uint64_t odd(uint64_t n);
__attribute__((noinline)) static uint64_t even(uint64_t n) { uint64_t r = n ? odd(n - 1) : 1; __asm__ volatile("" : "+r"(r)); return r; }
__attribute__((noinline)) static uint64_t odd(uint64_t n) { uint64_t r = n ? even(n - 1) : 0; __asm__ volatile("" : "+r"(r)); return r; }

static void recursion(void *stack_top)
{
	uint64_t got;
	/* On a stack of its own, 8 MiB. */
#define ON_STACK(function, argument) \
	__asm__ volatile("movq %%rsp, %%r12; movq %1, %%rsp; call *%2; movq %%r12, %%rsp" : "=a"(got) : "r"(stack_top), "r"(function), "D"(argument) \
			 : "r12", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc")
	for (int i = 0; i < 3; i++) {
		ON_STACK(depth_sum, 100000ull);
		check_equal(got, 100000ull * 100001 / 2);
		ON_STACK(even, 50001ull);
		check_equal(got, 0);
		ON_STACK(even, 50000ull);
		check_equal(got, 1);
	}
	check_equal(fibonacci(18), 2584);
}

/* setjmp and longjmp, from depth 0 to 39. */
struct jump {
	uint64_t rbx, rbp, r12, r13, r14, r15, rsp, rip;
};
int set_jump(struct jump *j) __attribute__((returns_twice));
void long_jump(struct jump *j, int value);
__asm__(".text\n"
	"set_jump: movq %rbx, (%rdi); movq %rbp, 8(%rdi); movq %r12, 16(%rdi); movq %r13, 24(%rdi); movq %r14, 32(%rdi); movq %r15, 40(%rdi)\n"
	"	leaq 8(%rsp), %rax; movq %rax, 48(%rdi); movq (%rsp), %rax; movq %rax, 56(%rdi); xorl %eax, %eax; ret\n"
	"long_jump: movq (%rdi), %rbx; movq 8(%rdi), %rbp; movq 16(%rdi), %r12; movq 24(%rdi), %r13; movq 32(%rdi), %r14; movq 40(%rdi), %r15\n"
	"	movq 48(%rdi), %rsp; movl %esi, %eax; jmp *56(%rdi)\n");

static struct jump place;

__attribute__((noinline)) static void go_down(unsigned n, int value)
{
	if (n)
		go_down(n - 1, value);
	else
		long_jump(&place, value);
	__asm__ volatile("");
}

static void long_jumps(void)
{
	volatile uint64_t sum = 0;
	for (volatile int i = 1; i <= 3000; i++) {
		int got = set_jump(&place);
		if (!got)
			go_down((unsigned)i % 40, i);
		sum += (uint64_t)got;
	}
	check_equal(sum, 3000ull * 3001 / 2);
}

/* --- coroutines: two of them and the main one call each other by switching stacks in a function --- */

static uint64_t *saved[3];
static volatile uint64_t turns[3];
static unsigned current;
void switch_stack(uint64_t **from, uint64_t *to);
__asm__(".text\nswitch_stack: pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15; movq %rsp, (%rdi); movq %rsi, %rsp\n"
	"	popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx; ret\n");

static void switch_to(unsigned next)
{
	unsigned from = current;
	current = next;
	switch_stack(&saved[from], saved[next]);
}

__attribute__((noinline)) static void yield_deep(unsigned n, unsigned to)
{
	if (n)
		yield_deep(n - 1, to);
	else
		switch_to(to);
	__asm__ volatile("");
}

_Noreturn static void coroutine(void)
{
	for (unsigned me = current;;) {
		turns[me]++;
		/* A different depth each time, so that the returns after it are of different calls. */
		yield_deep((unsigned)(turns[me] * me) % 7, (me + 1) % 3);
	}
}

static void coroutines(void)
{
	for (unsigned i = 1; i < 3; i++) {
		uint64_t *top = (uint64_t *)((uint8_t *)alloc_page() + 4096);
		top[-2] = (uint64_t)coroutine;
		saved[i] = top - 8;
	}
	for (unsigned i = 0; i < TURNS; i++) {
		turns[0]++;
		yield_deep(i % 5, 1);
	}
	check_equal(turns[1], TURNS);
	check_equal(turns[2], TURNS);
}

/* --- a return to what has been changed since the call --- */

static void changed_after_call(void)
{
	uint8_t *page = alloc_page(), *p;
	uint64_t wrong = 0;
	for (uint32_t i = 0; i < 2000; i++) {
		/* caller: push rbx; call callee; lea rax, [rax + imm8]; pop rbx; ret. The callee gives 100, and the caller's addend changes meanwhile. */
		p = page;
		PUT(p, 0x53);
		p = put_near(p, 0xe8, page + 64);
		PUT(p, 0x48, 0x8d, 0x40, 0x00, 0x5b, 0xc3);
		p = page + 64;
		PUT(p, 0xb8, 0x64, 0, 0, 0);
		PUT(p, 0x40, 0x88, 0x3d); /* mov [rip + addend], dil */
		p = put32(p, (uint64_t)(page + 9 - (p + 4)));
		PUT(p, 0xc3);
		wrong += call(page, i & 0x3f) != 100 + (i & 0x3f);
	}
	check_equal(wrong, 0);
}

/* The same return address means another function after a change of address space's worth: the stack is what counts, not history. */
static void stack_rewritten(void)
{
	uint64_t sum = 0, n = HOT;
	__asm__ volatile("1: call 2f; addq $1, %0; jmp 5f\n"
			 "2: call 3f; addq $10, %0; ret\n"
			 "3: testb $3, %b1; jnz 4f\n"
			 "   addq $8, %%rsp\n" /* returns past 2 */
			 "4: addq $100, %0; ret\n"
			 "5: decq %1; jnz 1b" : "+D"(sum), "+S"(n)::"memory", "cc");
	check_equal(sum, HOT * 101ull + HOT / 4 * 3 * 10);
}

int guest_main(void)
{
	uint8_t *stack = alloc_page();
	for (unsigned i = 0; i < 2048; i++)
		alloc_page();
	call_pop();
	retpoline();
	other_returns();
	return_chain();
	recursion(stack + (8 << 20));
	long_jumps();
	coroutines();
	changed_after_call();
	stack_rewritten();
	return failures;
}
