/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "hostrun.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

/*
 * hostrun_enter loads the state and jumps to the code area; behind the
 * instruction stands an indirect jump to hostrun_exit. A signal in between runs on the alternate
 * stack, since the guest's RSP may be anything, and continues at hostrun_exit.
 */
#define CODE_BASE 0x11000000ul
#define CODE_SIZE 0x4000ul
#define CODE_START (CODE_BASE + CODE_SIZE / 2)
#define USER_FLAGS 0x40cd5ull /* AC, OF, DF, SF, ZF, AF, PF, CF */
#define EXIT_JUMP 14

struct block {
	uint64_t gpr[16];
	uint64_t rflags;  /* 128 */
	uint64_t rsp;     /* 136: the C stack */
	uint64_t code;    /* 144 */
	void *xsave;      /* 152 */
	uint32_t mask[2]; /* 160 */
	uint32_t mxcsr;   /* 168 */
};

struct block hostrun_block;
void hostrun_enter(void);
void hostrun_exit(void);

__asm__(
	".text\n"
	".globl hostrun_enter, hostrun_exit\n"
	"hostrun_enter:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
	"	mov %rsp, hostrun_block+136(%rip)\n"
	"	stmxcsr hostrun_block+168(%rip)\n"
	"	mov hostrun_block+152(%rip), %rdi\n"
	"	test %rdi, %rdi\n"
	"	jz 1f\n"
	"	mov hostrun_block+160(%rip), %eax\n"
	"	mov hostrun_block+164(%rip), %edx\n"
	"	xrstor64 (%rdi)\n"
	"1:	pushq hostrun_block+128(%rip)\n"
	"	popfq\n"
	"	mov hostrun_block+0(%rip), %rax\n"
	"	mov hostrun_block+8(%rip), %rcx\n"
	"	mov hostrun_block+16(%rip), %rdx\n"
	"	mov hostrun_block+24(%rip), %rbx\n"
	"	mov hostrun_block+32(%rip), %rsp\n"
	"	mov hostrun_block+40(%rip), %rbp\n"
	"	mov hostrun_block+48(%rip), %rsi\n"
	"	mov hostrun_block+56(%rip), %rdi\n"
	"	mov hostrun_block+64(%rip), %r8\n"
	"	mov hostrun_block+72(%rip), %r9\n"
	"	mov hostrun_block+80(%rip), %r10\n"
	"	mov hostrun_block+88(%rip), %r11\n"
	"	mov hostrun_block+96(%rip), %r12\n"
	"	mov hostrun_block+104(%rip), %r13\n"
	"	mov hostrun_block+112(%rip), %r14\n"
	"	mov hostrun_block+120(%rip), %r15\n"
	"	jmp *hostrun_block+144(%rip)\n"
	"hostrun_exit:\n"
	"	mov %rsp, hostrun_block+32(%rip)\n"
	"	mov hostrun_block+136(%rip), %rsp\n"
	"	pushfq\n"
	"	popq hostrun_block+128(%rip)\n"
	"	mov %rax, hostrun_block+0(%rip)\n"
	"	mov %rcx, hostrun_block+8(%rip)\n"
	"	mov %rdx, hostrun_block+16(%rip)\n"
	"	mov %rbx, hostrun_block+24(%rip)\n"
	"	mov %rbp, hostrun_block+40(%rip)\n"
	"	mov %rsi, hostrun_block+48(%rip)\n"
	"	mov %rdi, hostrun_block+56(%rip)\n"
	"	mov %r8, hostrun_block+64(%rip)\n"
	"	mov %r9, hostrun_block+72(%rip)\n"
	"	mov %r10, hostrun_block+80(%rip)\n"
	"	mov %r11, hostrun_block+88(%rip)\n"
	"	mov %r12, hostrun_block+96(%rip)\n"
	"	mov %r13, hostrun_block+104(%rip)\n"
	"	mov %r14, hostrun_block+112(%rip)\n"
	"	mov %r15, hostrun_block+120(%rip)\n"
	"	pushq $2\n"
	"	popfq\n"
	"	mov hostrun_block+152(%rip), %rdi\n"
	"	test %rdi, %rdi\n"
	"	jz 1f\n"
	"	mov hostrun_block+160(%rip), %eax\n"
	"	mov hostrun_block+164(%rip), %edx\n"
	"	xsave64 (%rdi)\n"
	"	fninit\n"
	"	vzeroupper\n"
	"1:	ldmxcsr hostrun_block+168(%rip)\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	ret\n");

static uint8_t *code;
static volatile sig_atomic_t running;
static int caught;
static uint64_t caught_rip, caught_address;

static void on_signal(int number, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	if (!running) {
		signal(number, SIG_DFL);
		return; /* not ours: the instruction runs again and ends the program */
	}
	caught = number;
	caught_rip = (uint64_t)u->uc_mcontext.gregs[REG_RIP] - (number == SIGTRAP);
	caught_address = (uint64_t)info->si_addr;
	u->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)hostrun_exit;
}

static void set_up(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
	static uint8_t alt_stack[65536];
	const stack_t stack = { .ss_sp = alt_stack, .ss_size = sizeof alt_stack };
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	code = mmap((void *)CODE_BASE, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (code == MAP_FAILED) {
		perror("hostrun: mmap");
		exit(1);
	}
	memset(code, 0xcc, CODE_SIZE);
	sigaltstack(&stack, NULL);
	for (unsigned n = 0; n < sizeof signals / sizeof *signals; n++)
		sigaction(signals[n], &action, NULL);
}

uint64_t hostrun_base(void)
{
	return CODE_START;
}

/* jmp *0(%rip), and the address behind it. */
static void emit_exit(uint8_t *p)
{
	static const uint8_t jump[] = { 0xff, 0x25, 0, 0, 0, 0 };
	const uint64_t target = (uint64_t)(uintptr_t)hostrun_exit;
	memcpy(p, jump, sizeof jump);
	memcpy(p + sizeof jump, &target, sizeof target);
}

int hostrun(const uint8_t *bytes, unsigned length, struct hostrun_state *state)
{
	if (!code)
		set_up();
	uint8_t *at = code + CODE_SIZE / 2;
	memcpy(at, bytes, length);
	emit_exit(at + length);

	memcpy(hostrun_block.gpr, state->gpr, sizeof state->gpr);
	hostrun_block.rflags = (state->rflags & USER_FLAGS) | 0x202;
	hostrun_block.code = CODE_START;
	hostrun_block.xsave = state->xsave;
	hostrun_block.mask[0] = (uint32_t)state->xsave_mask;
	hostrun_block.mask[1] = (uint32_t)(state->xsave_mask >> 32);
	caught = 0;
	caught_rip = CODE_START + length;
	running = 1;
	__asm__ volatile("sub $128, %%rsp; call hostrun_enter; add $128, %%rsp" : : :
			 "memory", "cc", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11",
			 "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
			 "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	running = 0;
	memcpy(state->gpr, hostrun_block.gpr, sizeof state->gpr);
	state->rflags = hostrun_block.rflags;
	state->rip = caught_rip;
	state->address = caught_address;
	memset(at, 0xcc, length + EXIT_JUMP);
	return caught;
}
