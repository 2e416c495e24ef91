/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Timer interrupts at any point of computations that use every register and flag: the result is what it is without them. And
 * where no interrupt may come: in shadows, behind CLI, under a raised TPR. */
#include "apic.h"
#include "code.h"

static volatile uint64_t ticks, misplaced, in_user;
static volatile uint64_t waiting_for = ~0ull;
extern uint8_t sti_shadow[], sti_shadow2[], ss_shadow[], ss_shadow2[], popf_closed[];
static const uint8_t *const forbidden[] = { sti_shadow, sti_shadow2, ss_shadow, ss_shadow2, popf_closed };

static bool on_timer(struct frame *frame)
{
	uint64_t cr8;
	ticks++;
	for (unsigned i = 0; i < ARRAY_SIZE(forbidden); i++)
		misplaced += frame->rip == (uint64_t)forbidden[i];
	__asm__ volatile("movq %%cr8, %0" : "=r"(cr8));
	misplaced += cr8 != 0 || !(frame->rflags & 0x200);
	in_user += frame->cs & 3;
	apic_eoi();
	if (ticks < waiting_for)
		timer_once(200 + below(below(4) ? 3000 : 60000));
	return true;
}

/* --- computations; each gives a number that depends on all it did --- */

typedef uint64_t work_fn(uint64_t n);
uint64_t all_registers(uint64_t n);
/* CF goes round the loop; RSP is used by PUSH and POP; everything ends in RAX, the flags by PUSHF. */
__asm__(".text\nall_registers: pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
	"	movl $1, %eax; movl $2, %ebx; movq %rdi, %rcx; movl $4, %edx; movl $5, %esi; movl $6, %ebp\n"
	"	movl $8, %r8d; movl $9, %r9d; movl $10, %r10d; movl $11, %r11d; movl $12, %r12d; movl $13, %r13d; movl $14, %r14d; movl $15, %r15d\n"
	"	stc\n"
	"1:	adcq %rbx, %rax; adcq %rcx, %rbx; rclq $3, %rdx; adcq %rdx, %rsi; sbbq %rsi, %rdi; rcrq $5, %rbp; adcq %rbp, %r8\n"
	"	pushq %r8; adcq %r9, (%rsp); popq %r9; adcq $0x1234567, %r10; sbbq %r10, %r11; leaq 3(%r12,%r11,2), %r12\n"
	"	cmovcq %r12, %r13; setc %r14b; adcq %r14, %r15; jno 2f; xorq $-1, %r15; stc\n"
	"2:	incq %rax; decq %rcx; jnz 1b\n"
	"	pushfq; xorq (%rsp), %rax; andl $0x8d5, %eax; popq %rcx\n"
	"	addq %rbx, %rax; xorq %rdx, %rax; addq %rsi, %rax; xorq %rdi, %rax; addq %rbp, %rax; xorq %r8, %rax; addq %r9, %rax; xorq %r10, %rax\n"
	"	addq %r11, %rax; xorq %r12, %rax; addq %r13, %rax; xorq %r14, %rax; addq %r15, %rax\n"
	"	popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx; ret\n");

static uint8_t buffer[3][8192];

static uint64_t strings(uint64_t n)
{
	uint64_t sum = 0, c, s, d, a;
	for (unsigned i = 0; i < 8192; i++)
		buffer[0][i] = (uint8_t)(i * 31 + n), buffer[1][i] = 0;
	while (n--) {
		c = 4000 + n % 17, s = (uint64_t)buffer[0], d = (uint64_t)buffer[1];
		__asm__ volatile("rep movsb" : "+c"(c), "+S"(s), "+D"(d)::"memory");
		sum += s + d + c - (uint64_t)buffer;
		c = 500, d = (uint64_t)(buffer[2] + 4000);
		__asm__ volatile("std; rep stosq; cld" : "+c"(c), "+D"(d) : "a"(n * 0x0101010101010101) : "memory");
		c = 1000, s = (uint64_t)buffer[0], d = (uint64_t)buffer[1];
		buffer[1][3 * (n % 1000)] ^= 1;
		__asm__ volatile("repe cmpsl" : "+c"(c), "+S"(s), "+D"(d)::"memory", "cc");
		sum = sum * 3 + c;
		c = 8192, d = (uint64_t)buffer[0];
		__asm__ volatile("repne scasb; setz %b2" : "+c"(c), "+D"(d), "=a"(a) : "2"(n & 0xff) : "memory", "cc");
		sum = sum * 3 + c + (a & 1);
		c = 700, s = (uint64_t)buffer[1];
		__asm__ volatile("rep lodsl" : "+c"(c), "+S"(s), "=a"(a)::"memory");
		sum = sum * 3 + (uint32_t)a + buffer[2][2000];
		/* One by one, in a loop of their own. */
		c = 100, s = (uint64_t)buffer[0], d = (uint64_t)buffer[1];
		__asm__ volatile("xorl %%ebx, %%ebx; 1: lodsb; addb %%al, %%bl; adcb $0, %%bh; stosb; loop 1b" : "+c"(c), "+S"(s), "+D"(d), "=b"(a)::"rax", "memory", "cc");
		sum += a;
	}
	return sum;
}

static uint64_t locked(uint64_t n)
{
	static volatile uint64_t m[4] __attribute__((aligned(64)));
	m[0] = m[1] = m[2] = m[3] = 0;
	uint64_t sum = 0;
	for (uint64_t i = 0; i < n * 8; i++) {
		uint64_t a = i, old;
		__asm__ volatile("lock xaddq %0, %1; lock incl %2; lock btcq %3, %4" : "+r"(a), "+m"(m[0]), "+m"(m[1]) : "r"(i & 63), "m"(m[2]) : "memory", "cc");
		sum += a;
		do
			old = m[3];
		while (!__atomic_compare_exchange_n(&m[3], &old, old * 5 + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
		uint64_t lo = m[2], hi = m[3];
		__asm__ volatile("lock cmpxchg16b %0; setz %%bl" : "+m"(*(volatile unsigned __int128 *)&m[2]), "+a"(lo), "+d"(hi) : "b"(m[2] + 1), "c"(m[3]) : "memory", "cc");
		__asm__ volatile("xchgq %0, %1" : "+r"(sum), "+m"(m[1])::"memory");
		sum += m[1];
	}
	return sum + m[0] + m[1] * 3 + m[2] * 5 + m[3] * 7;
}

__attribute__((noinline)) static uint64_t fibonacci(uint64_t n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
static uint64_t calls(uint64_t n) { return fibonacci(10 + n % 3); }

static uint64_t arithmetic(uint64_t n)
{
	uint64_t h = n;
	for (uint64_t i = 1; i <= n * 10; i++) {
		uint64_t q, r, f;
		__asm__ volatile("divq %4; shldq $7, %%rax, %%rdx; bsfq %%rdx, %%rcx; rorq %%cl, %%rax; imulq %%rdx, %%rax; pushfq; popq %2"
				 : "=a"(q), "=d"(r), "=&r"(f) : "0"(h), "r"(i | 1ull << 40), "1"(h & 0xff) : "rcx", "cc");
		h = q ^ r ^ (f & 0x801) ^ i;
	}
	return h;
}

/* Code that opens and closes the window all the time; the handler looks where it comes. */
static uint64_t shadows(uint64_t n)
{
	uint64_t sum = 0;
	uint64_t enabled;
	__asm__ volatile("pushfq; popq %0" : "=r"(enabled));
	if (!(enabled & 0x200))
		return n * 8 * 3;
	n *= 8;
	__asm__ volatile("1: cli; incq %0\n"
			 "   sti\n sti_shadow: nop; cli; sti\n sti_shadow2: incq %0; movl %%ss, %%eax; movw %%ax, %%ss\n ss_shadow: nop\n"
			 "   cli; sti; incq %0; movw %%ax, %%ss\n ss_shadow2: nop\n"
			 "   pushfq; andl $~0x200, (%%rsp); popfq\n popf_closed: nop; sti; decq %1; jnz 1b"
			 : "+r"(sum), "+r"(n)::"rax", "memory", "cc");
	return sum;
}

/* While IF is clear, or the TPR high, the count stands still. */
static uint64_t closed(uint64_t n)
{
	uint64_t enabled, moved = 0;
	__asm__ volatile("pushfq; popq %0" : "=r"(enabled));
	while (n--) {
		__asm__ volatile("cli" ::: "memory");
		uint64_t before = ticks;
		for (unsigned i = 0; i < 40; i++)
			__asm__ volatile("");
		moved += ticks - before;
		__asm__ volatile("movq %0, %%cr8" ::"r"(15ull) : "memory");
		if (enabled & 0x200)
			__asm__ volatile("sti" ::: "memory");
		for (unsigned i = 0; i < 40; i++)
			__asm__ volatile("");
		moved += ticks - before;
		__asm__ volatile("movq %0, %%cr8" ::"r"(0ull) : "memory");
	}
	return moved;
}

/* --- the user's side: a loop of system calls --- */

extern uint8_t user_loop[], user_loop_end[], system_call[], flags_loop[], flags_loop_end[], flags_call[];
uint64_t call_stack[64];
/* The second loop has flags of every kind, those of the return others than those of the call; what both sides find is in the result. */
__asm__(".text\n"
	"user_loop: movq %rdi, %rbx; xorl %edx, %edx; movl $7, %esi\n"
	"1:	leaq (%rsi,%rsi,4), %rsi; stc; pushfq; popq %r9; movl %ebx, %eax; syscall\n"
	"	adcq %rax, %rdx; rolq $3, %rdx; pushq %rdx; popq %r10; xorq %r10, %rsi; decq %rbx; jnz 1b\n"
	"	leaq (%rdx,%rsi), %rax; int $0x80\n"
	"user_loop_end:\n"
	"flags_loop: movq %rdi, %rbx; xorl %edx, %edx; movl $7, %esi\n"
	"1:	imulq $0x5851f42d, %rsi, %rsi; addq $0x14057b7f, %rsi; movq %rsi, %r9; shrq $9, %r9; andl $0x2448d5, %r9d\n"
	"	pushq %r9; popfq; movl %ebx, %eax; syscall\n"
	"	pushfq; popq %r8; andl $~0x200, %r8d; andl $~0x200, %r11d; addq %r8, %rdx; leaq (%rdx,%rdx,4), %rdx; xorq %r11, %rdx\n"
	"	rolq $9, %rdx; addq %rcx, %rdx; addq %rsp, %rdx; addq %rax, %rdx; movl %cs, %r8d; movl %ss, %r9d; addq %r8, %rdx; xorq %r9, %rdx\n"
	"	decq %rbx; jnz 1b; movq %rdx, %rax; int $0x80\n"
	"flags_loop_end:\n"
	"system_call: swapgs; imull $77, %eax, %eax; nop; swapgs; sysretq\n"
	"flags_call: swapgs; movq %rsp, %r14; movabsq $call_stack+512, %rsp; pushfq; popq %r8; pushq %r14; movl %cs, %r9d; movl %ss, %r10d\n"
	"	imulq $77, %rax, %rax; andl $~0x200, %r8d; addq %r8, %rax; rolq $7, %rax; addq %rcx, %rax; xorq %r14, %rax; addq %r9, %rax; xorq %r10, %rax\n"
	"	movq %r11, %r10; andl $~0x200, %r10d; rolq $5, %rax; addq %r10, %rax; movq %rsi, %r10; shrq $33, %r10; andl $0x2448d5, %r10d\n"
	"	xorq %r10, %r11; popq %rsp; swapgs; sysretq\n");

static uint64_t user_stack_top;
static uint64_t user_entry = USER_CODE;
struct user { uint64_t n, rflags; };
static void enter_user(void *opaque)
{
	struct user *u = opaque;
	__asm__ volatile("pushq %0; pushq %1; pushq %2; pushq %3; pushq %4; iretq" ::"i"((long)SEL_USER_DATA), "r"(user_stack_top), "r"(u->rflags),
			 "i"((long)SEL_USER64), "r"(user_entry), "D"(u->n) : "memory");
}

static uint64_t system_calls(uint64_t n)
{
	uint64_t enabled;
	__asm__ volatile("pushfq; popq %0" : "=r"(enabled));
	struct user u = { n * 4, (enabled & 0x200) | 2 };
	struct fault f = guarded(enter_user, &u);
	if (f.frame.vector != 0x80)
		misplaced++;
	if (enabled & 0x200)
		__asm__ volatile("sti");
	return f.frame.rax;
}

static uint64_t flags_calls(uint64_t n)
{
	uint64_t target = rdmsr(0xc0000082);
	user_entry = USER_CODE + (uint64_t)(user_loop_end - user_loop);
	wrmsr(0xc0000082, (uint64_t)flags_call);
	uint64_t result = system_calls(n);
	wrmsr(0xc0000082, target);
	user_entry = USER_CODE;
	return result;
}

static void prepare_user(void)
{
	run_user_code(user_loop, flags_loop_end, 0x7fffffff00000001); /* lays the pages; it faults at SYSCALL, which is not set up */
	user_stack_top = USER_STACK_TOP;
	wrmsr(0xc0000081, (uint64_t)SEL_USER32 << 48 | (uint64_t)SEL_CODE64 << 32);
	wrmsr(0xc0000082, (uint64_t)system_call);
}

static const struct {
	const char *name;
	work_fn *work;
	uint64_t n, mask; /* of SYSCALL */
} works[] = {
	{ "registers", all_registers, 500, 0 }, { "strings", strings, 3, 0 },	 { "locked", locked, 20, 0 },
	{ "calls", calls, 5, 0 },		 { "arithmetic", arithmetic, 20, 0 }, { "shadows", shadows, 50, 0 },
	{ "closed", closed, 30, 0 },		 { "system calls", system_calls, 50, 0x200 }, { "interruptible system calls", system_calls, 50, 0 },
	{ "flags of system calls", flags_calls, 50, 0x40300 },		 { "unmasked flags", flags_calls, 50, 0x200 },
};

static void run_work(unsigned w)
{
	uint64_t want[4], wrong = 0, rounds = 0;
	wrmsr(0xc0000084, works[w].mask);
	for (unsigned i = 0; i < 4; i++)
		want[i] = works[w].work(works[w].n + i);
	ticks = misplaced = in_user = 0;
	waiting_for = 400;
	timer_once(1000);
	__asm__ volatile("sti");
	for (; ticks < waiting_for; rounds++)
		wrong += works[w].work(works[w].n + rounds % 4) != want[rounds % 4];
	__asm__ volatile("cli");
	timer_off();
	if (wrong || misplaced)
		print(works[w].name), print("\n");
	check_equal(wrong, 0);
	check_equal(misplaced, 0);
	check(works[w].work != system_calls || in_user > 10);
}

int guest_main(void)
{
	handlers[TIMER_VECTOR] = on_timer;
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~1ull);
	prepare_user();
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
	apic_on();
	for (unsigned w = 0; w < ARRAY_SIZE(works); w++)
		run_work(w);
	if (!(cpuid(7, 0).b & 1u << 20))
		return failures;
	/* With PGE and SMAP, where no interrupt may come to the kernel on the user's stack. */
	__asm__ volatile("movq %%cr4, %%rax; orl $0x200080, %%eax; movq %%rax, %%cr4" ::: "rax", "memory");
	for (unsigned w = 0; w < ARRAY_SIZE(works); w++)
		if (works[w].mask || works[w].work != system_calls)
			run_work(w);
	return failures;
}
