/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Endless loops of one and two instructions, through every kind of branch, end at a timer interrupt, with the registers as they
 * were and RIP in the loop. */
#include "apic.h"
#include "code.h"

static bool on_timer(struct frame *frame)
{
	apic_eoi();
	return false; /* guarded() gets it */
}

static bool come_back(struct frame *frame)
{
	frame->rflags |= 0x200;
	return true;
}
static bool at_breakpoint(struct frame *frame)
{
	frame->rip--;
	return true;
}

static uint64_t memory[4] __attribute__((aligned(16)));
static uint8_t *big; /* 16 MiB */
enum { BIG = 16 << 20 };

/* RDI: memory, RSI: big. R8: the loop's start, as RAX. RCX 0. R12 to R15 sentinels. ZF set. */
#define LOOP(name, ...) \
	__asm__(".text\n" #name ": sti; xorl %ecx, %ecx; " __VA_ARGS__ "\n" #name "_end: ud2\n"); \
	extern uint8_t name[], name##_end[];
LOOP(jump_self, "1: jmp 1b")
LOOP(jump_near, "1: .byte 0xe9, -5, -1, -1, -1")
LOOP(nop_jump, "1: nop; jmp 1b")
LOOP(zero_flag, "1: jz 1b")
LOOP(zero_flag_near, "1: .byte 0x0f, 0x84, -6, -1, -1, -1")
LOOP(count_up, "1: incq %rbx; jmp 1b")
LOOP(loop_self, "movq $-1, %rcx\n 1: loop 1b")
LOOP(loop_two, "1: movl $2, %ecx; loop 1b")
LOOP(loop_e, "movq $-1, %rcx; testl %eax, %eax; cmpl %eax, %eax\n 1: loope 1b")
LOOP(rcx_zero, "1: jrcxz 1b")
LOOP(ecx_zero, "1: jecxz 1b")
LOOP(jump_register, "leaq 1f(%rip), %rax\n 1: jmp *%rax")
LOOP(jump_memory, "leaq 1f(%rip), %rax; movq %rax, (%rdi)\n 1: jmp *(%rdi)")
LOOP(jump_rip, "leaq 1f(%rip), %rax; movq %rax, memory(%rip)\n 1: jmp *memory(%rip)")
LOOP(two_jumps, "leaq 1f(%rip), %rax; leaq 2f(%rip), %rbx\n 1: jmp *%rbx\n 2: jmp *%rax")
LOOP(jump_far, "leaq 1f(%rip), %rax; movl %eax, (%rdi); movw %cs, 4(%rdi)\n 1: ljmpl *(%rdi)")
LOOP(push_return, "leaq 1f(%rip), %r8\n 1: pushq %r8; ret")
LOOP(return_far, "leaq 1f(%rip), %r8; movl %cs, %edx\n 1: pushq %rdx; pushq %r8; lretq")
LOOP(interrupt_return, "leaq 1f(%rip), %r8; movl %cs, %edx; movl %ss, %ebx; movq %rsp, %r9; pushfq; popq %r10\n"
		       "1: pushq %rbx; pushq %r9; pushq %r10; pushq %rdx; pushq %r8; iretq")
LOOP(returns_only, "movq %rsi, %rsp\n 1: ret\n 2: movq %rsi, %rsp; jmp 1b") /* the last of the addresses there is that of 2 */
LOOP(call_drop, "1: call 2f\n 2: leaq 8(%rsp), %rsp; jmp 1b")
LOOP(call_pop, "leaq 1f(%rip), %rax\n 1: call 2f\n 2: popq %rdx; jmp *%rax")
LOOP(call_return, "1: call 2f; jmp 1b\n 2: ret")
LOOP(call_register, "leaq 2f(%rip), %rax\n 1: call *%rax; jmp 1b\n 2: ret")
LOOP(rewritten_return, "leaq 3f(%rip), %r8\n 1: call 2f; ud2\n 2: movq %r8, (%rsp); ret\n 3: jmp 1b")
LOOP(breakpoint, "1: int3")
LOOP(undefined, "1: ud2")
LOOP(page_fault, "movabsq $0x123456789000, %rbx\n 1: movb (%rbx), %al")
LOOP(fetch_fault, "movabsq $0x123456789000, %rbx\n 1: jmp *%rbx")
LOOP(software_interrupt, "1: int $0x82; jmp 1b")
LOOP(fill, "1: movq %rsi, %rdi; movl $16777216, %ecx; rep stosb; jmp 1b")
LOOP(fill_nothing, "1: xorl %ecx, %ecx; rep stosb; jmp 1b")
LOOP(copy, "1: movq %rsi, %rdi; pushq %rsi; movl $1000000, %ecx; addq $8000000, %rdi; rep movsq; popq %rsi; jmp 1b")
LOOP(compare, "1: pushq %rsi; pushq %rdi; movq %rsi, %rdi; movl $16777216, %ecx; repe cmpsb; popq %rdi; popq %rsi; jmp 1b")
LOOP(scan, "1: movq %rsi, %rdi; movl $16777216, %ecx; movb $0x77, %al; repne scasb; jmp 1b")
LOOP(spin, "1: pause; jmp 1b")
LOOP(halt, "1: hlt; jmp 1b")
LOOP(open_twice, "1: sti; jmp 1b")
LOOP(shadow_over_jump, "1: cli; sti; jmp 1b")
LOOP(window_of_one, "1: cli; nop; sti; nop; jmp 1b")
LOOP(stack_segment, "movl %ss, %eax\n 1: movw %ax, %ss; jmp 1b")
LOOP(push_flags, "1: pushfq; popfq; jmp 1b")
LOOP(page_root, "movq %cr3, %rbx\n 1: movq %rbx, %cr3; jmp 1b")
LOOP(invalidate, "1: invlpg (%rdi); jmp 1b")
LOOP(time_stamp, "1: rdtsc; jmp 1b")
LOOP(identify, "1: xorl %eax, %eax; cpuid; jmp 1b")
LOOP(port, "1: inb $0x80, %al; jmp 1b")
LOOP(lock_inc, "1: lock incq (%rdi); jmp 1b")
LOOP(exchange, "1: xchgq %rbx, (%rdi); jmp 1b")
LOOP(spin_lock, "movq $1, (%rdi)\n 1: movl $1, %eax; xchgl %eax, (%rdi); testl %eax, %eax; jnz 1b")
LOOP(wait_memory, "movq $0, (%rdi)\n 1: cmpl $0, (%rdi); je 1b")
LOOP(wait_tick, "1: movl (%rdi), %eax; testl %eax, %eax; jmp 1b")
LOOP(frames, "1: enter $0, $0; leave; jmp 1b")
LOOP(self_modifying, "1: movb $0x90, 2f(%rip)\n 2: nop; jmp 1b")
LOOP(self_toggling, "movb $0x90, %al\n 1: xorb $0x09, 2f(%rip)\n 2: cltq; nop; jmp 1b") /* 48 98 <-> 41 98 */
LOOP(nested, "1: movl $3, %ecx\n 2: loop 2b; jmp 1b")
LOOP(table, "leaq 2f(%rip), %rax; movq %rax, (%rdi); leaq 1f(%rip), %rax; movq %rax, 8(%rdi); xorl %edx, %edx\n"
	    "1: xorl $1, %edx; jmp *(%rdi,%rdx,8)\n 2: xorl $1, %edx; jmp *(%rdi,%rdx,8)")

static const struct {
	const char *name;
	uint8_t *start, *end;
} loops[] = {
#define L(name) { #name, name, name##_end }
	L(jump_self), L(jump_near), L(nop_jump), L(zero_flag), L(zero_flag_near), L(count_up), L(loop_self), L(loop_two), L(loop_e), L(rcx_zero),
	L(ecx_zero), L(jump_register), L(jump_memory), L(jump_rip), L(two_jumps), L(jump_far), L(push_return), L(return_far),
	L(interrupt_return), L(returns_only), L(call_drop), L(call_pop), L(call_return), L(call_register), L(rewritten_return), L(breakpoint),
	L(undefined), L(page_fault), L(fetch_fault), L(software_interrupt), L(fill), L(fill_nothing), L(copy), L(compare), L(scan), L(spin),
	L(halt), L(open_twice), L(shadow_over_jump), L(window_of_one), L(stack_segment), L(push_flags), L(page_root), L(invalidate),
	L(time_stamp), L(identify), L(port), L(lock_inc), L(exchange), L(spin_lock), L(wait_memory), L(wait_tick), L(frames),
	L(self_modifying), L(self_toggling), L(nested), L(table),
};

static void run_loop(void *start)
{
	__asm__ volatile("movq $0x1212, %%r12; movq $0x1313, %%r13; movq $0x1414, %%r14; movq $0x1515, %%r15; cmpl %%eax, %%eax; jmp *%0"
			 ::"a"(start), "D"(memory), "S"(big) : "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}

static uint64_t odd_ends;
static struct fault interrupted(void (*fn)(void *), void *argument, const char *name)
{
	timer_once(20000 + below(80000));
	struct fault f = guarded(fn, argument);
	if (!f.happened || f.frame.vector != TIMER_VECTOR || !(f.frame.rflags & 0x200)) {
		print(name), print("\n");
		check_equal(f.frame.vector, TIMER_VECTOR);
		odd_ends++;
	}
	return f;
}

static void kernel_loops(void)
{
	for (unsigned round = 0; round < 4; round++)
		for (unsigned i = 0; i < ARRAY_SIZE(loops); i++) {
			if (loops[i].start == returns_only)
				for (unsigned n = 0; n < BIG / 8; n++)
					((uint64_t *)big)[n] = (uint64_t)returns_only_end - (n == BIG / 8 - 1 ? 5 : 6);
			struct fault f = interrupted(run_loop, loops[i].start, loops[i].name);
			struct frame *r = &f.frame;
			bool registers = r->r12 == 0x1212 && r->r13 == 0x1313 && r->r14 == 0x1414 && r->r15 == 0x1515;
			bool place = (r->rip >= (uint64_t)loops[i].start && r->rip < (uint64_t)loops[i].end) ||
				     (loops[i].start == fetch_fault && r->rip == 0x123456789000);
			if (!registers || !place) {
				print(loops[i].name), print("\n");
				check(registers);
				check_equal(r->rip, (uint64_t)loops[i].start);
			}
			/* The string instructions: how far it came, and that it came so far. */
			if (loops[i].start == fill && r->rcx)
				check_equal(r->rcx + r->rdi, (uint64_t)big + BIG);
			/* In what comes before the loop, where the host was slow, or at its first instruction: never behind. */
			if (loops[i].start == shadow_over_jump || loops[i].start == stack_segment)
				check(r->rip <= (uint64_t)loops[i].start + (loops[i].start == stack_segment ? 5 : 3));
			if (odd_ends > 5)
				return;
		}
}

/* --- over the border of two pages, in 32- and 16-bit code, at CPL 3 --- */

static void enter_mode(void *opaque)
{
	uint64_t *m = opaque;
	__asm__ volatile("pushq %0; pushq %1; lretq" ::"r"(m[1]), "r"(m[0]) : "memory");
}

static void enter_user(void *rip)
{
	__asm__ volatile("pushq %0; pushq %1; pushq $0x202; pushq %2; pushq %3; iretq" ::"i"((long)SEL_USER_DATA), "r"(USER_STACK_TOP),
			 "i"((long)SEL_USER64), "r"(rip) : "memory");
}

extern uint8_t system_call[];
__asm__(".text\nsystem_call: sysretq\n");

static void other_places(void)
{
	uint8_t *pages = alloc_page(), *p = pages + 4096 - 2;
	alloc_page();
	PUT(p, 0xfb, 0xe9); /* sti; jmp to itself over the border */
	p = put32(p, (uint64_t)-5);
	uint8_t *there = pages + 4096 - 32;
	PUT(there, 0xfb);
	put_near(there, 0xe9, pages + 4096 + 64);
	put_near(pages + 4096 + 64, 0xe9, there);
	uint8_t *low = (uint8_t *)0xc000;
	PUT(low, 0xfb, 0xeb, 0xfe, 0xfb, 0x90, 0xe2, 0xfe, 0xeb, 0xfc); /* sti; jmp self; sti; nop; loop self; jmp to the loop */
	for (unsigned round = 0; round < 4; round++) {
		struct fault f = interrupted((void (*)(void *))(pages + 4096 - 2), NULL, "over a border");
		check_equal(f.frame.rip, (uint64_t)pages + 4096 - 1);
		f = interrupted((void (*)(void *))(pages + 4096 - 32), NULL, "between pages");
		check(f.frame.rip == (uint64_t)pages + 4096 + 64 || f.frame.rip == (uint64_t)there);
		static const uint16_t selectors[] = { SEL_CODE32, SEL_CODE16, SEL_CODE64 };
		for (unsigned i = 0; i < 3; i++) {
			uint64_t m[2] = { 0xc000, selectors[i] };
			f = interrupted(enter_mode, m, "another mode");
			check_equal(f.frame.rip, 0xc001);
			check_equal(f.frame.cs, selectors[i]);
			m[0] = 0xc003;
			f = interrupted(enter_mode, m, "another mode's LOOP");
			check(f.frame.rip >= 0xc004 && f.frame.rip < 0xc009);
		}
	}
	/* The user's page: jmp self at 0; syscall; jmp at 16; int 0x82; jmp at 32; pushf, popf at 48. */
	static uint8_t user[64];
	p = user; PUT(p, 0xeb, 0xfe);
	p = user + 16; PUT(p, 0x0f, 0x05, 0xeb, 0xfc);
	p = user + 32; PUT(p, 0xcd, 0x82, 0xeb, 0xfc);
	p = user + 48; PUT(p, 0x9c, 0x9d, 0xeb, 0xfc);
	set_gate(0x82, vector_stubs + 16 * 0x82, 0x6e, 0);
	wrmsr(0xc0000081, (uint64_t)SEL_USER32 << 48 | (uint64_t)SEL_CODE64 << 32);
	wrmsr(0xc0000082, (uint64_t)system_call);
	wrmsr(0xc0000084, 0x200);
	timer_once(20000);
	run_user_code(user + 32, user + 64, 0); /* lays the pages; ends at INT 0x82, which comes back, or is interrupted later */
	for (unsigned i = 0; i < 64; i++)
		((volatile uint8_t *)(*page_entry(USER_CODE) & 0xffffffffff000))[i] = user[i];
	for (unsigned round = 0; round < 16; round++) {
		uint64_t at = USER_CODE + 16 * (round & 3);
		struct fault f = interrupted(enter_user, (void *)at, "user");
		check(f.frame.rip >= at && f.frame.rip < at + 4);
		check_equal(f.frame.cs, SEL_USER64);
	}
}

int guest_main(void)
{
	big = alloc_page();
	for (unsigned i = 1; i < BIG / 4096 + 64; i++)
		alloc_page();
	handlers[TIMER_VECTOR] = on_timer;
	handlers[VEC_BP] = at_breakpoint;
	handlers[VEC_UD] = handlers[0x82] = come_back;
	apic_on();
	/* Only for the loops that want it: a page fault elsewhere ends the test. */
	handlers[VEC_PF] = come_back;
	kernel_loops();
	handlers[VEC_PF] = NULL;
	other_places();
	return failures;
}
