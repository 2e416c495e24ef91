/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "hostrun.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>

/*
 * hostrun_enter loads the state and jumps to the code by IRET, which also makes the processor forget what it fetched
 * before the code was written; behind a single instruction stands an indirect jump to hostrun_exit. A signal runs on the
 * alternate stack, since the guest's RSP may be anything, first gives the C library its FS base and flags back,
 * and continues at hostrun_exit.
 */
#define CODE_BASE 0x11000000ul
#define CODE_SIZE 0x4000ul
#define CODE_START (CODE_BASE + CODE_SIZE / 2)
#define USER_FLAGS 0x240dd5ull /* ID, AC, OF, DF, TF, SF, ZF, AF, PF, CF */
#define EXIT_JUMP 14
#define TICK_US 8000
#define TICKS_MAX 2
#define STRING_(x) #x
#define STRING(x) STRING_(x)

struct block {
	uint64_t gpr[16];
	uint64_t rflags;  /* 128 */
	uint64_t rsp;     /* 136: the C stack */
	uint64_t code;    /* 144 */
	void *xsave;      /* 152 */
	uint32_t mask[2]; /* 160 */
	uint32_t mxcsr;   /* 168 */
	uint32_t bases;   /* 172: FS and GS bases are switched */
	uint64_t fs_base, gs_base, own_fs_base; /* 176, 184, 192 */
	uint32_t ticks;   /* 200: since the code began */
	uint32_t running; /* 204 */
	uint64_t own_gs_base; /* 208 */
};

struct block hostrun_block;
void hostrun_enter(void);
void hostrun_exit(void);
void hostrun_signal(int number, siginfo_t *info, void *context);
void hostrun_tick(int number, siginfo_t *info, void *context);
void hostrun_on_signal(int number, siginfo_t *info, void *context);
void hostrun_on_tick(void);

__asm__(
	".text\n"
	".globl hostrun_enter, hostrun_exit, hostrun_signal, hostrun_tick\n"
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
	"1:	cmpl $0, hostrun_block+172(%rip)\n"
	"	je 2f\n"
	"	rdfsbase %rax\n"
	"	mov %rax, hostrun_block+192(%rip)\n"
	"	rdgsbase %rax\n"
	"	mov %rax, hostrun_block+208(%rip)\n"
	"	mov hostrun_block+176(%rip), %rax\n"
	"	wrfsbase %rax\n"
	"	mov hostrun_block+184(%rip), %rax\n"
	"	wrgsbase %rax\n"
	"2:	mov %ss, %eax\n"
	"	push %rax\n"
	"	pushq hostrun_block+32(%rip)\n"
	"	pushq hostrun_block+128(%rip)\n"
	"	mov %cs, %eax\n"
	"	push %rax\n"
	"	pushq hostrun_block+144(%rip)\n"
	"	mov hostrun_block+0(%rip), %rax\n"
	"	mov hostrun_block+8(%rip), %rcx\n"
	"	mov hostrun_block+16(%rip), %rdx\n"
	"	mov hostrun_block+24(%rip), %rbx\n"
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
	"	iretq\n"
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
	"	ret\n"
	/* Both handlers keep the registers of their call. */
	"hostrun_signal:\n"
	"	cmpl $0, hostrun_block+204(%rip)\n"
	"	je 1f\n"
	"	pushq $2\n"
	"	popfq\n"
	"	cmpl $0, hostrun_block+172(%rip)\n"
	"	je 1f\n"
	"	rdfsbase %rax\n"
	"	mov %rax, hostrun_block+176(%rip)\n"
	"	rdgsbase %rax\n"
	"	mov %rax, hostrun_block+184(%rip)\n"
	"	mov hostrun_block+192(%rip), %rax\n"
	"	wrfsbase %rax\n"
	"	mov hostrun_block+208(%rip), %rax\n"
	"	wrgsbase %rax\n"
	"1:	jmp hostrun_on_signal\n"
	"hostrun_tick:\n"
	"	cmpl $0, hostrun_block+204(%rip)\n"
	"	je hostrun_on_tick\n"
	"	incl hostrun_block+200(%rip)\n"
	"	cmpl $" STRING(TICKS_MAX) ", hostrun_block+200(%rip)\n"
	"	jae hostrun_signal\n"
	"	ret\n");

static uint8_t *code;
static bool has_bases;
static int caught;
static uint8_t caught_vector;
static uint64_t caught_rip, caught_address, caught_error, caught_flags;
static void (*tick_fn)(void);

static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
/* Who had the signal before, each time that it was taken: an engine that starts in between has its handler above ours. */
#define MOST_OTHERS 4
static struct {
	struct sigaction action[MOST_OTHERS];
	unsigned count;
} others[NSIG];

static void pass_on(int number, siginfo_t *info, void *context)
{
	static unsigned depth; /* they pass on to us what is not theirs: then it is for those before them */
	const struct sigaction *other = depth < others[number].count ? &others[number].action[others[number].count - 1 - depth] : NULL;
	if (!other || !(other->sa_flags & SA_SIGINFO)) {
		signal(number, SIG_DFL); /* nobody's: the instruction runs again and ends the program */
		return;
	}
	depth++;
	other->sa_sigaction(number, info, context);
	depth--;
}

void hostrun_on_signal(int number, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	if (!hostrun_block.running) {
		pass_on(number, info, context);
		return;
	}
	hostrun_block.running = 0;
	caught = number;
	caught_vector = number == SIGPROF ? HOSTRUN_TIMEOUT : (uint8_t)regs[REG_TRAPNO];
	caught_rip = (uint64_t)regs[REG_RIP] - (caught_vector == 3);
	caught_error = (uint64_t)regs[REG_ERR];
	caught_flags = (uint64_t)regs[REG_EFL];
	caught_address = (uint64_t)info->si_addr;
	regs[REG_RIP] = (greg_t)(uintptr_t)hostrun_exit;
	regs[REG_EFL] &= ~0x100ll; /* TF */
}

void hostrun_on_tick(void)
{
	if (tick_fn)
		tick_fn();
}

void hostrun_take_signals(void)
{
	struct sigaction action = { .sa_sigaction = hostrun_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER }, other;
	for (unsigned n = 0; n < sizeof signals / sizeof *signals; n++) {
		sigaction(signals[n], &action, &other);
		bool ours = other.sa_flags & SA_SIGINFO && other.sa_sigaction == hostrun_signal;
		if (!ours && others[signals[n]].count < MOST_OTHERS)
			others[signals[n]].action[others[signals[n]].count++] = other;
	}
}

static void set_up(void)
{
	static uint8_t alt_stack[65536];
	const stack_t stack = { .ss_sp = alt_stack, .ss_size = sizeof alt_stack };
	code = mmap((void *)CODE_BASE, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (code == MAP_FAILED) {
		perror("hostrun: mmap");
		exit(1);
	}
	memset(code, 0xcc, CODE_SIZE);
	sigaltstack(&stack, NULL);
	has_bases = getauxval(AT_HWCAP2) & 2; /* HWCAP2_FSGSBASE of the kernel's interface */
	hostrun_take_signals();
}

uint64_t hostrun_base(void)
{
	return CODE_START;
}

int hostrun_has_bases(void)
{
	if (!code)
		set_up();
	return has_bases;
}

void hostrun_ticks(void (*tick)(void))
{
	struct sigaction action = { .sa_sigaction = hostrun_tick, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
	const struct itimerval every = { { 0, TICK_US }, { 0, TICK_US } };
	tick_fn = tick;
	sigaction(SIGPROF, &action, NULL);
	setitimer(ITIMER_PROF, &every, NULL);
}

/* jmp *0(%rip), and the address behind it. */
static void emit_exit(uint8_t *p)
{
	static const uint8_t jump[] = { 0xff, 0x25, 0, 0, 0, 0 };
	const uint64_t target = (uint64_t)(uintptr_t)hostrun_exit;
	memcpy(p, jump, sizeof jump);
	memcpy(p + sizeof jump, &target, sizeof target);
}

static int run(uint64_t at, struct hostrun_state *state, bool bases)
{
	memcpy(hostrun_block.gpr, state->gpr, sizeof state->gpr);
	hostrun_block.rflags = (state->rflags & USER_FLAGS) | 0x202;
	hostrun_block.code = at;
	hostrun_block.xsave = state->xsave;
	hostrun_block.mask[0] = (uint32_t)state->xsave_mask;
	hostrun_block.mask[1] = (uint32_t)(state->xsave_mask >> 32);
	hostrun_block.bases = bases;
	hostrun_block.fs_base = state->fs_base;
	hostrun_block.gs_base = state->gs_base;
	hostrun_block.ticks = 0;
	caught = 0;
	__atomic_store_n(&hostrun_block.running, 1, __ATOMIC_SEQ_CST);
	__asm__ volatile("sub $128, %%rsp; call hostrun_enter; add $128, %%rsp" : : :
			 "memory", "cc", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11",
			 "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
			 "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	__atomic_store_n(&hostrun_block.running, 0, __ATOMIC_SEQ_CST);
	memcpy(state->gpr, hostrun_block.gpr, sizeof state->gpr);
	state->rflags = hostrun_block.rflags;
	state->rip = caught_rip;
	state->address = caught_address;
	state->vector = caught_vector;
	state->error = caught_error;
	state->fs_base = hostrun_block.fs_base;
	state->gs_base = hostrun_block.gs_base;
	return caught;
}

int hostrun_at(uint64_t at, struct hostrun_state *state)
{
	if (!code)
		set_up();
	run(at, state, has_bases);
	state->rflags = caught_flags;
	return caught;
}

int hostrun(const uint8_t *bytes, unsigned length, struct hostrun_state *state)
{
	if (!code)
		set_up();
	uint8_t *at = code + CODE_SIZE / 2;
	memcpy(at, bytes, length);
	emit_exit(at + length);
	caught_rip = CODE_START + length;
	state->rflags &= ~0x200100ull; /* neither ID nor TF */
	int number = run(CODE_START, state, false);
	memset(at, 0xcc, length + EXIT_JUMP);
	return number;
}

bool hostrun_mapped(uint64_t address)
{
	unsigned char resident;
	return mincore((void *)(uintptr_t)(address & -4096ull), 1, &resident) == 0;
}
