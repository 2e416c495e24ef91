/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Debug registers and single steps (SDM 3B, 17.2 and 17.3). */
#include "guest.h"

#define GET_DR(n) ({ uint64_t v_; __asm__ volatile("mov %%dr" #n ", %0" : "=r"(v_)); v_; })
#define SET_DR(n, value) __asm__ volatile("mov %0, %%dr" #n ::"r"((uint64_t)(value)) : "memory")
enum { EXECUTE, WRITE, IO, ACCESS };
enum { LEN1, LEN2, LEN8, LEN4 };
#define ENABLE(n, kind, length) (1u << (2 * (n)) | (unsigned)(kind) << (16 + 4 * (n)) | (unsigned)(length) << (18 + 4 * (n)))
#define DR6_CLEAR 0xffff0ff0ull
#define RF 0x10000ull
#define BD 0x2000u
#define BS 0x4000u

#define MAX_HITS 16
static volatile struct {
	uint64_t rip, dr6, rflags, rcx;
} hit[MAX_HITS];
static volatile unsigned hits;

static bool on_debug(struct frame *frame)
{
	if (hits < MAX_HITS) {
		hit[hits].rip = frame->rip;
		hit[hits].dr6 = GET_DR(6) & 0xe00f;
		hit[hits].rflags = frame->rflags;
		hit[hits].rcx = frame->rcx;
	}
	hits++;
	SET_DR(6, DR6_CLEAR);
	/* Lets the instruction at a breakpoint run. */
	frame->rflags |= RF;
	return true;
}

static void start(uint64_t dr7)
{
	hits = 0;
	SET_DR(6, DR6_CLEAR);
	SET_DR(7, dr7);
}

static void stop(void)
{
	SET_DR(7, 0x400);
}

extern uint8_t bp_loop[], bp_prefixed[], after_write[];

static void instruction_breakpoint(void)
{
	uint32_t a;
	SET_DR(0, bp_loop);
	start(ENABLE(0, EXECUTE, LEN1));
	__asm__ volatile("movl $3, %%ecx; xorl %%eax, %%eax\n bp_loop: incl %%eax; loop bp_loop" : "=a"(a)::"rcx", "cc");
	stop();
	check_equal(a, 3);
	check_equal(hits, 3);
	check_equal(hit[0].rip, (uint64_t)bp_loop);
	check_equal(hit[0].dr6, 1);
	check_equal(hit[0].rflags & RF, 0); /* not set for this fault alone, SDM 3B 17.3.1.1 */
	check_equal(hit[2].rcx, 1);
	/* Not the middle of an instruction; the first byte of its prefixes; the second of two breakpoints at one place, too. */
	SET_DR(0, bp_loop + 1);
	SET_DR(1, bp_prefixed);
	SET_DR(3, bp_prefixed);
	start(ENABLE(0, EXECUTE, LEN1) | ENABLE(1, EXECUTE, LEN1) | ENABLE(3, EXECUTE, LEN1));
	__asm__ volatile("incl %%eax\n bp_prefixed: .byte 0x66, 0x2e, 0x90" ::: "rax", "cc");
	stop();
	check_equal(hits, 1);
	check_equal(hit[0].rip, (uint64_t)bp_prefixed);
	check_equal(hit[0].dr6, 0xa);
	/* RF lasts for all iterations of a string instruction, whatever interrupts them. */
	static uint8_t to[8];
	uint64_t di = (uint64_t)to, cx = sizeof(to);
	extern uint8_t bp_string[];
	SET_DR(0, bp_string);
	start(ENABLE(0, EXECUTE, LEN1));
	__asm__ volatile("bp_string: rep stosb" : "+D"(di), "+c"(cx) : "a"(1) : "memory");
	stop();
	check_equal(hits, 1);
	check_equal(cx, 0);
}

static uint8_t area[64] __attribute__((aligned(64)));

static unsigned touch(unsigned kind, unsigned length, unsigned at, void (*fn)(uint8_t *), unsigned offset)
{
	SET_DR(2, area + at);
	start(ENABLE(2, kind, length));
	fn(area + offset);
	stop();
	check(!hits || hit[0].dr6 == 4);
	return hits;
}

static void read1(uint8_t *p) { __asm__ volatile("movb (%0), %%al" ::"r"(p) : "rax"); }
static void read8(uint8_t *p) { __asm__ volatile("movq (%0), %%rax" ::"r"(p) : "rax"); }
static void write1(uint8_t *p) { __asm__ volatile("movb $0, (%0)" ::"r"(p) : "memory"); }
static void write4(uint8_t *p) { __asm__ volatile("movl $0, (%0)" ::"r"(p) : "memory"); }
static void modify(uint8_t *p) { __asm__ volatile("lock incl (%0)" ::"r"(p) : "memory", "cc"); }
static void prefetch(uint8_t *p) { __asm__ volatile("prefetcht0 (%0)" ::"r"(p)); }
static void fill(uint8_t *p) { __asm__ volatile("rep stosb" ::"D"(p), "a"(0), "c"(8) : "memory"); }
static void push(uint8_t *p)
{
	__asm__ volatile("movq %%rsp, %%rbx; leaq 8(%0), %%rsp; pushq $0; movq %%rbx, %%rsp" ::"r"(p) : "rbx", "memory");
}

static void data_breakpoints(void)
{
	check_equal(touch(WRITE, LEN1, 5, write1, 5), 1);
	check_equal(touch(WRITE, LEN1, 5, write1, 6), 0);
	check_equal(touch(WRITE, LEN1, 5, write4, 2), 1);
	check_equal(touch(WRITE, LEN1, 5, write4, 6), 0);
	check_equal(touch(WRITE, LEN1, 5, read1, 5), 0);
	check_equal(touch(ACCESS, LEN1, 5, read1, 5), 1);
	check_equal(touch(ACCESS, LEN1, 5, write1, 5), 1);
	check_equal(touch(WRITE, LEN2, 6, write1, 7), 1);
	check_equal(touch(WRITE, LEN2, 6, write1, 8), 0);
	check_equal(touch(WRITE, LEN4, 8, write1, 11), 1);
	check_equal(touch(WRITE, LEN4, 8, write1, 12), 0);
	check_equal(touch(WRITE, LEN8, 16, write1, 23), 1);
	check_equal(touch(WRITE, LEN8, 16, write1, 24), 0);
	check_equal(touch(ACCESS, LEN8, 16, read8, 9), 1);
	check_equal(touch(WRITE, LEN4, 8, modify, 8), 1);
	check_equal(touch(WRITE, LEN8, 16, push, 16), 1);
	check_equal(touch(ACCESS, LEN4, 8, prefetch, 8), 0);
	check(touch(WRITE, LEN1, 5, fill, 0) >= 1);
	/* An address is aligned by its length. */
	check_equal(touch(WRITE, LEN4, 9, write1, 8), 1);
	/* A trap: the instruction is done. */
	area[0] = 0;
	SET_DR(0, area);
	start(ENABLE(0, WRITE, LEN4));
	__asm__ volatile("movb $7, area(%%rip)\n after_write: nop" ::: "memory");
	stop();
	check_equal(hits, 1);
	check_equal(hit[0].rip, (uint64_t)after_write);
	check_equal(area[0], 7);
	/* Global enable bits serve as well. */
	start(ENABLE(0, WRITE, LEN4) + 1);
	write1(area);
	stop();
	check_equal(hits, 1);
}

/* Bytes of one access on two pages; the breakpoint is on the second. */
static void across_pages(void)
{
	static uint8_t two[8192] __attribute__((aligned(4096)));
	SET_DR(0, two + 4096);
	start(ENABLE(0, WRITE, LEN1));
	__asm__ volatile("movl $0x11223344, (%0)" ::"r"(two + 4093) : "memory");
	stop();
	check_equal(hits, 1);
	check_equal(two[4096], 0x11);
}

static void io_breakpoint(void)
{
	WRITE_CR(4, READ_CR(4) | 8); /* DE */
	SET_DR(1, 0x80);
	start(ENABLE(1, IO, LEN1));
	outb(0x80, 1);
	check_equal(hits, 1);
	check_equal(hit[0].dr6, 2);
	outb(0x84, 1);
	check_equal(hits, 1);
	inb(0x80);
	check_equal(hits, 2);
	start(ENABLE(1, IO, LEN4));
	outb(0x83, 1);
	check_equal(hits, 1);
	stop();
	WRITE_CR(4, READ_CR(4) & ~8ull);
}

static void read_dr7(void *p) { __asm__ volatile("mov %%dr7, %%rax" ::: "rax"); }
static void read_dr5(void *p) { __asm__ volatile(".byte 0x0f, 0x21, 0xe8" ::: "rax"); }
static void write_dr7(void *p) { SET_DR(7, p); }
static void write_dr6(void *p) { SET_DR(6, p); }

static void general_detect(void)
{
	handlers[VEC_DB] = NULL;
	SET_DR(6, DR6_CLEAR);
	SET_DR(7, 0x2400);
	struct fault f = guarded(read_dr7, 0);
	check(f.happened);
	check_equal(f.frame.vector, VEC_DB);
	check_equal(GET_DR(6) & 0xe00f, BD);
	check_equal(GET_DR(7), 0x400); /* GD is off in the handler */
	handlers[VEC_DB] = on_debug;
}

static void registers(void)
{
	check_fault(guarded(write_dr7, (void *)0x100000000ull), VEC_GP, 0);
	check_fault(guarded(write_dr6, (void *)0x100000000ull), VEC_GP, 0);
	SET_DR(7, 0);
	check_equal(GET_DR(7), 0x400);
	/* DR4 and DR5: other names for DR6 and DR7, unless CR4.DE is set. */
	uint64_t v;
	__asm__ volatile(".byte 0x0f, 0x21, 0xe8" : "=a"(v));
	check_equal(v, 0x400);
	WRITE_CR(4, READ_CR(4) | 8);
	check_fault(guarded(read_dr5, 0), VEC_UD, 0);
	WRITE_CR(4, READ_CR(4) & ~8ull);
}

extern uint8_t after_icebp[], after_shadowed[];

static void traps(void)
{
	start(0);
	__asm__ volatile(".byte 0xf1\n after_icebp: nop");
	check_equal(hits, 1);
	check_equal(hit[0].rip, (uint64_t)after_icebp);
	check_equal(hit[0].dr6, 0);
	/* A data breakpoint of MOV SS waits for the end of the next instruction. */
	static uint16_t ss = SEL_DATA;
	SET_DR(0, &ss);
	start(ENABLE(0, ACCESS, LEN2));
	__asm__ volatile("movw %0, %%ss; nop\n after_shadowed: nop" ::"m"(ss));
	stop();
	check_equal(hits, 1);
	check_equal(hit[0].rip, (uint64_t)after_shadowed);
}

#define STEP_ON "pushfq; orl $0x100, (%%rsp); popfq;"
#define STEP_OFF "pushfq; andl $~0x100, (%%rsp); popfq;"
enum { STEPS_OFF = 3 };

static bool on_soft(struct frame *frame) { return true; }

static void steps(void)
{
	uint8_t to[4];
	uint64_t di = (uint64_t)to, cx = 3;
	start(0);
	__asm__ volatile(STEP_ON "rep stosb;" STEP_OFF : "+D"(di), "+c"(cx) : "a"(0) : "memory", "cc");
	/* After each iteration. */
	check_equal(hits, 3 + STEPS_OFF);
	check_equal(hit[0].rcx, 2);
	check_equal(hit[0].dr6, BS);
	check_equal(hit[0].rflags & RF, RF);
	check_equal(hit[2].rflags & RF, 0);
	/* INT n clears TF in the handler, and no trap comes there; IRET sets it again: the first trap is that of the NOP. */
	handlers[0x80] = on_soft;
	start(0);
	__asm__ volatile(STEP_ON "int $0x80; nop;" STEP_OFF ::: "memory", "cc");
	check_equal(hits, 1 + STEPS_OFF);
	handlers[0x80] = NULL;
	/* The instruction after MOV SS is not stopped at. */
	start(0);
	__asm__ volatile(STEP_ON "movw %0, %%ss; nop; nop;" STEP_OFF ::"r"((uint16_t)SEL_DATA) : "memory", "cc");
	check_equal(hits, 2 + STEPS_OFF);
	/* A breakpoint and a step in one trap. */
	SET_DR(1, area);
	start(ENABLE(1, WRITE, LEN1));
	__asm__ volatile(STEP_ON "movb $1, area(%%rip);" STEP_OFF ::: "memory", "cc");
	stop();
	check_equal(hits, 1 + STEPS_OFF);
	check_equal(hit[0].dr6, BS | 2);
	/* An instruction breakpoint behind a stepped instruction: first the trap, then the fault. */
	extern uint8_t step_then_break[];
	SET_DR(0, step_then_break);
	start(ENABLE(0, EXECUTE, LEN1));
	__asm__ volatile(STEP_ON "nop\n step_then_break: nop;" STEP_OFF ::: "memory", "cc");
	stop();
	check(hits >= 2 + STEPS_OFF);
	check_equal(hit[0].dr6 & BS, BS);
	check_equal(hit[0].rip, (uint64_t)step_then_break);
}

static void cpl3(void)
{
	extern uint8_t user_dr[], user_dr_end[];
	check_fault(run_user_code(user_dr, user_dr_end, 0), VEC_GP, 0);
}
__asm__(".text\n user_dr: mov %dr7, %rax; int $0x80\n user_dr_end:\n");

int guest_main(void)
{
	handlers[VEC_DB] = on_debug;
	instruction_breakpoint();
	data_breakpoints();
	across_pages();
	io_breakpoint();
	general_detect();
	registers();
	traps();
	steps();
	cpl3();
	return failures;
}
