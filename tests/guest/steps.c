/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single steps through code that has long been hot: the exact list of instructions; breakpoints set and removed in hot loops. */
#include "code.h"

#define SET_DR(n, value) __asm__ volatile("mov %0, %%dr" #n ::"r"((uint64_t)(value)) : "memory")
#define GET_DR(n) ({ uint64_t v_; __asm__ volatile("mov %%dr" #n ", %0" : "=r"(v_)); v_; })
enum { TF = 0x100, MAX = 512 };

static uint64_t seen[MAX], seen_rcx[MAX];
static volatile unsigned count;
extern uint8_t first[], last[];

static bool on_debug(struct frame *frame)
{
	uint64_t dr6 = GET_DR(6);
	if (count < MAX) {
		seen[count] = frame->rip;
		seen_rcx[count] = frame->rcx;
	}
	count++;
	SET_DR(6, 0xffff0ff0);
	if (dr6 & 0xf)
		frame->rflags |= 0x10000; /* over the breakpoint */
	if (frame->rip == (uint64_t)last)
		frame->rflags &= ~(uint64_t)TF;
	return true;
}

/* The order in which the labels are passed: each instruction's own address, noted by the assembler. */
#define S(...) "771: .pushsection .data.steps, \"aw\"; .quad 771b; .popsection;" __VA_ARGS__ ";\n"
extern uint64_t steps_list[];
__asm__(".pushsection .data.steps, \"aw\"; steps_list: .popsection\n"
	".text\n"
	"stepped: pushq %rbx\n"
	"	testl %edi, %edi; jz first; pushfq; orl $0x100, (%rsp); popfq\n"
	"first:\n"
	S("movl $3, %ecx")           /* 0 */
	S("xorl %ebx, %ebx")
	"2:\n" S("addl %ecx, %ebx")  /* 2: a loop of 3 */
	S("decl %ecx")
	S("jnz 2b")
	S("call 5f")                 /* 5 */
	S("jmp 6f")                  /* 6 */
	"	ud2\n"
	"5:\n" S("leal 7(%rbx), %ebx") /* 7: the callee */
	S("ret")
	"6:\n" S("pushq %rbx")       /* 9 */
	S("popq %rax")
	S("leaq 7f(%rip), %rdx")
	S("jmp *%rdx")               /* 12 */
	"	ud2\n"
	"7:\n" S("pushfq")           /* 13 */
	S("popq %rdx")
	S("movl $2, %ecx")
	S("leaq -64(%rsp), %rdi")
	S("rep stosb")               /* 17: after each iteration */
	S("cmpl $0, %ebx")
	S("je 8f")                   /* 19: not taken */
	S("lock orl $0, (%rsp)")
	"8:\n" S("movl %ss, %edx")   /* 21 */
	S("movw %dx, %ss")           /* 22: the next is not stopped at */
	S("nop")
	S("movl %ebx, %r8d")         /* 24 */
	S("cpuid")
	S("rdtsc")
	S("movl %r8d, %eax")
	"last: popq %rbx; ret\n");
uint64_t stepped(uint64_t step);

static const uint8_t order[] = {
	/* The trap comes behind an instruction: RIP is that of the next. */
	1, 2, 3, 4, 2, 3, 4, 2, 3, 4, 5, 7, 8, 6, 9, 10, 11, 12, 13, 14, 15, 16, 17, 17, 18, 19, 20, 21, 22, 24, 25, 26, 27, 28,
};

/* TF was set by POPF: the first trap is behind the first instruction. */
static void exact_list(void)
{
	for (unsigned round = 0; round < 40; round++) {
		uint64_t wrong = wrong_calls(stepped, round % 10 ? 300 : HOT, 13);
		count = 0;
		wrong += stepped(1) != 13;
		if (count != ARRAY_SIZE(order)) {
			check_equal(count, ARRAY_SIZE(order));
			return;
		}
		for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
			uint64_t want = order[i] == 28 ? (uint64_t)last : steps_list[order[i]];
			if (seen[i] != want) {
				check_equal(seen[i], want);
				return;
			}
		}
		check_equal(wrong, 0);
		check_equal(seen_rcx[22], 2);
		check_equal(seen_rcx[23], 1);
	}
}

/* A breakpoint in a loop that has been hot: as many hits as turns; none once it is off. Also on data that the loop writes. */
static volatile uint64_t counter;
extern uint8_t loop_body[];
__attribute__((noinline)) static uint64_t loop(uint64_t n)
{
	uint64_t sum = 0;
	__asm__ volatile("1: addq %1, %0\n loop_body: incq %2; decq %1; jnz 1b" : "+r"(sum), "+r"(n), "+m"(counter)::"memory", "cc");
	return sum;
}

static void breakpoints(void)
{
	for (unsigned round = 0; round < 20; round++) {
		uint64_t n = round % 5 ? 500 : HOT;
		check_equal(loop(n), n * (n + 1) / 2);
		count = 0;
		if (round & 1) {
			SET_DR(0, loop_body);
			SET_DR(7, 0x402);
		} else {
			SET_DR(0, &counter);
			SET_DR(7, 0x402 | 0x90000); /* writes of 8 bytes */
		}
		check_equal(loop(50), 50 * 51 / 2);
		check_equal(count, 50);
		SET_DR(7, 0x400);
		count = 0;
		check_equal(loop(500), 500 * 501 / 2);
		check_equal(count, 0);
	}
}

/* TF set by IRET into a hot endless loop; the handler lets it go on for some steps and then ends it. */
static unsigned left;
static bool on_step_in_loop(struct frame *frame)
{
	SET_DR(6, 0xffff0ff0);
	seen[count++ & (MAX - 1)] = frame->rip;
	if (--left)
		return true;
	frame->rflags &= ~(uint64_t)TF;
	frame->rax = 1;
	return true;
}

static void into_a_loop(void)
{
	extern uint8_t endless[], endless_test[], endless_jump[];
	handlers[VEC_DB] = on_step_in_loop;
	for (unsigned round = 0; round < 20; round++) {
		uint64_t a = 0;
		left = 100 + round;
		count = 0;
		__asm__ volatile("movl $3000, %%ecx\n 2: xorl %%eax, %%eax; decl %%ecx; jnz 3f; pushfq; orl $0x100, (%%rsp); popfq; jmp endless\n"
				 "3: incl %%eax; jmp endless_test\n"
				 "endless: nop\n endless_test: testl %%eax, %%eax\n endless_jump: jz endless; testl %%ecx, %%ecx; jnz 2b"
				 : "+a"(a)::"rcx", "memory", "cc");
		/* First behind the JMP: at the NOP; then round and round. */
		uint64_t wrong = 0;
		const uint8_t *want[] = { endless, endless_test, endless_jump };
		for (unsigned i = 0; i < count; i++)
			wrong += seen[i] != (uint64_t)want[i % 3];
		check_equal(wrong, 0);
		check(count >= 100 + round);
	}
	handlers[VEC_DB] = on_debug;
}

int guest_main(void)
{
	handlers[VEC_DB] = on_debug;
	exact_list();
	breakpoints();
	into_a_loop();
	return failures;
}
