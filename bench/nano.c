// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A guest without an operating system (tests/guest/lib) that does one privileged or trapping operation many times, the
 * nanobenchmarks of Adams and Agesen (2006). The command line has NAME=COUNT for each that is wanted; the host's
 * clock measures between "BENCH nano_NAME start" and "end"; "sum" is how many the guest counted.
 */
#include "guest.h"

#define WINDOW 0x10000000000ull /* where a page is missing, or maps now this frame and now that */

/* Counted by the handlers below. */
volatile uint64_t syscall_count, fault_count;

/* Entered by SYSCALL, by #DE and by #PF; both faulting instructions are two bytes long. */
extern uint8_t on_syscall[], on_divide[], on_page_fault[];
__asm__(".text\n"
	"on_syscall:\n"
	"	movabsq $syscall_count, %rax\n"
	"	incq (%rax)\n"
	"	sysretq\n"
	"on_page_fault:\n"
	"	addq $8, %rsp\n"
	"on_divide:\n"
	"	addq $2, (%rsp)\n"
	"	pushq %rax\n"
	"	movabsq $fault_count, %rax\n"
	"	incq (%rax)\n"
	"	popq %rax\n"
	"	iretq");

/* Runs at CPL 3 at USER_CODE; RDI is the count. */
extern const uint8_t user_loop[], user_loop_end[];
__asm__(".section .rodata\n"
	"user_loop:\n"
	"	movq %rdi, %rbx\n"
	"1:	syscall\n"
	"	decq %rbx\n"
	"	jnz 1b\n"
	"	int $0x80\n"
	"user_loop_end:\n"
	".text");

enum { MSR_STAR = 0xc0000081, MSR_LSTAR = 0xc0000082, MSR_FMASK = 0xc0000084 };

static uint64_t do_syscall(uint64_t count)
{
	wrmsr(MSR_STAR, (uint64_t)(SEL_USER_DATA - 8) << 48 | (uint64_t)SEL_CODE64 << 32);
	wrmsr(MSR_LSTAR, (uint64_t)on_syscall);
	wrmsr(MSR_FMASK, 0x200);
	syscall_count = 0;
	struct fault end = run_user_code(user_loop, user_loop_end, count);
	return end.frame.vector == 0x80 ? syscall_count : 0;
}

static uint64_t do_in(uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		inb(0x80);
	return count;
}

static uint64_t do_cr8wr(uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		WRITE_CR(8, i & 7);
	uint64_t last = READ_CR(8);
	WRITE_CR(8, 0);
	return last == ((count - 1) & 7) ? count : 0;
}

static uint64_t do_callret(uint64_t count)
{
	uint64_t left = count;
	__asm__ volatile("jmp 2f\n"
			 "	.balign 16\n"
			 "1:	ret\n"
			 "	.balign 16\n"
			 "2:	call 1b\n"
			 "	decq %0\n"
			 "	jnz 2b"
			 : "+r"(left) : : "memory", "cc");
	return count - left;
}

static uint64_t do_pgfault(uint64_t count)
{
	fault_count = 0;
	set_gate(VEC_PF, on_page_fault, 0x0e, 0);
	for (uint64_t i = 0; i < count; i++)
		__asm__ volatile("movl (%0), %%eax" ::"b"(WINDOW) : "rax", "memory");
	set_gate(VEC_PF, vector_stubs + 16 * VEC_PF, 0x0e, 0);
	return fault_count;
}

static uint64_t do_divzero(uint64_t count)
{
	fault_count = 0;
	set_gate(VEC_DE, on_divide, 0x0e, 0);
	for (uint64_t i = 0; i < count; i++)
		__asm__ volatile("divl %%ecx" ::"a"(1), "d"(0), "c"(0) : "cc", "memory");
	set_gate(VEC_DE, vector_stubs + 16 * VEC_DE, 0x0e, 0);
	return fault_count;
}

/* Points one PTE at two frames in turn and reads through it what the frame holds: 0 and 2, on average 1. */
static uint64_t do_ptemod(uint64_t count)
{
	uint64_t *frames[2] = { alloc_page(), alloc_page() }, sum = 0;
	*frames[1] = 2;
	map_page(WINDOW, (uint64_t)frames[0], PG_P | PG_W);
	volatile uint64_t *entry = page_entry(WINDOW);
	for (uint64_t i = 0; i < count; i++) {
		*entry = (uint64_t)frames[i & 1] | PG_P | PG_W;
		invlpg(WINDOW);
		sum += *(volatile uint64_t *)WINDOW;
	}
	*entry = 0;
	invlpg(WINDOW);
	return sum + (count & 1);
}

static void print_decimal(uint64_t value)
{
	char text[21], *at = text + 20;
	*at = 0;
	do {
		*--at = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	print(at);
}

static void run(const char *name, uint64_t (*operation)(uint64_t count))
{
	uint64_t count = guest_option(name, 0);
	if (!count)
		return;
	print("BENCH nano_");
	print(name);
	print(" start\n");
	uint64_t sum = operation(count);
	print("BENCH nano_");
	print(name);
	print(" end 0\nBENCH nano_");
	print(name);
	print(" sum ");
	print_decimal(sum);
	print("\n");
}

int guest_main(void)
{
	run("syscall", do_syscall);
	run("in", do_in);
	run("cr8wr", do_cr8wr);
	run("callret", do_callret);
	run("pgfault", do_pgfault);
	run("divzero", do_divzero);
	run("ptemod", do_ptemod);
	return 0;
}
