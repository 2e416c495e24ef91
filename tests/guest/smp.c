/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several processors: start-up by INIT and SIPI, locked operations that are atomic, TLB shoot-down by IPI, code changed by a peer,
 * and the store-buffer rules that x86 does keep. Runs with any number of CPUs; with one it says so. */
#include "guest.h"

#define LAPIC(offset) (*(volatile uint32_t *)(0xfee00000ull + (offset)))
#define TRAMPOLINE 0x8000
#define MAX_CPUS 16

static volatile uint32_t online, go, done;
static volatile uint64_t shared[8] __attribute__((aligned(64)));
__attribute__((used)) uint8_t ap_stacks[MAX_CPUS][4096] __attribute__((aligned(16)));
static unsigned cpus;
static volatile uint64_t wide[2] __attribute__((aligned(16)));
enum { ROUNDS = 20000, WIDE_ROUNDS = 40 };

extern uint8_t trampoline_start[], trampoline_end[];
__asm__(".pushsection .text\n"
	".code16\n"
	".globl trampoline_start, trampoline_end\n"
	"trampoline_start:\n"
	"	cli; cld\n"
	"	xorw %ax, %ax; movw %ax, %ds\n"
	"	lgdtl 0x8000 + (tramp_gdtr - trampoline_start)\n"
	"	movl %cr0, %eax; orb $1, %al; movl %eax, %cr0\n"
	"	ljmpl $0x18, $0x8000 + (tramp32 - trampoline_start)\n"
	".code32\n"
	"tramp32: movw $0x10, %ax; movw %ax, %ds; movw %ax, %ss; movw %ax, %es\n"
	"	movl $0x620, %eax; movl %eax, %cr4\n"
	"	movl $page_pml4, %eax; movl %eax, %cr3\n"
	"	movl $0xc0000080, %ecx; rdmsr; orl $0x901, %eax; wrmsr\n"
	"	movl $0x80010033, %eax; movl %eax, %cr0\n"
	"	ljmp $0x08, $ap_entry64\n"
	".balign 8\n"
	"tramp_gdtr: .word 0x47; .long gdt64\n"
	"trampoline_end:\n"
	".code64\n"
	"ap_entry64:\n"
	"	movl $1, %eax; lock xaddl %eax, online(%rip); incl %eax\n"
	"	movl %eax, %edi; shll $12, %eax; movabsq $ap_stacks, %rsp; addq %rax, %rsp; addq $4096, %rsp\n"
	"	call ap_main\n"
	"1:	cli; hlt; jmp 1b\n"
	".popsection\n");

void ap_main(unsigned index);

static void wait_for(volatile uint32_t *word, uint32_t value)
{
	while (*word < value)
		__asm__ volatile("pause");
}

static void locked_work(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		__asm__ volatile("lock incq %0" : "+m"(shared[0])::"cc");
		uint64_t add = 3;
		__asm__ volatile("lock xaddq %0, %1" : "+r"(add), "+m"(shared[1])::"cc");
		uint64_t old = shared[2];
		while (!__atomic_compare_exchange_n(&shared[2], &old, old + 5, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
		__asm__ volatile("lock btcq %1, %0" : "+m"(shared[3]) : "r"(7ull) : "cc");
		/* A spin lock by XCHG around a plain increment. */
		uint32_t taken;
		do {
			taken = 1;
			__asm__ volatile("xchgl %0, %1" : "+r"(taken), "+m"(*(volatile uint32_t *)&shared[4])::"memory");
		} while (taken);
		shared[5]++;
		*(volatile uint32_t *)&shared[4] = 0;
	}
}

/* A KVM that executes kernel code in software does not know CMPXCHG16B: each is handed over while other processors go on. */
static void wide_work(void)
{
	uint64_t low = wide[0], high = wide[1];
	bool done;
	for (int i = 0; i < WIDE_ROUNDS; i++)
		do
			__asm__ volatile("lock cmpxchg16b %1" : "=@ccz"(done), "+m"(*(volatile unsigned __int128 *)wide), "+a"(low), "+d"(high) :
					 "b"(low + 1), "c"(high + 7) : "memory");
		while (!done);
}

static void atomic_work(void)
{
	locked_work();
	wide_work();
}

/* --- shoot-down: a reader sees the new page as soon as it has answered the IPI --- */
#define SHOT 0x40000000000ull
static volatile uint32_t acknowledged, wrong;
static volatile bool reading = true;

static bool on_shootdown(struct frame *frame)
{
	invlpg(SHOT);
	LAPIC(0xb0) = 0;
	__atomic_fetch_add(&acknowledged, 1, __ATOMIC_SEQ_CST);
	return true;
}

static void reader(void)
{
	__asm__ volatile("sti");
	uint64_t last = 0;
	while (reading) {
		uint64_t now = *(volatile uint64_t *)SHOT;
		if (now < last)
			__atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
		last = now;
	}
	__asm__ volatile("cli");
}

static void shoot(uint64_t pages[2])
{
	for (uint32_t i = 1; i <= 300; i++) {
		uint64_t *page = (uint64_t *)pages[i & 1];
		*page = i;
		acknowledged = 0;
		*page_entry(SHOT) = (uint64_t)page | PG_P | PG_W;
		invlpg(SHOT);
		LAPIC(0x300) = 0xc0000 | 0x60; /* all but self */
		wait_for(&acknowledged, cpus - 1);
		/* From here nobody may see the old page: spoil it. */
		*(uint64_t *)pages[~i & 1] = 0;
	}
	reading = false;
}

/* --- message passing: stores become visible in order --- */
static volatile uint32_t mp_data[1024], mp_flag[1024];

static void ordered_stores(void)
{
	for (int i = 0; i < 1024; i++) {
		mp_data[i] = (uint32_t)i + 1;
		mp_flag[i] = 1;
	}
}

static void ordered_loads(void)
{
	for (int i = 0; i < 1024; i++) {
		while (!mp_flag[i])
			__asm__ volatile("pause");
		if (mp_data[i] != (uint32_t)i + 1)
			__atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
	}
}

/* --- code written by one processor, run by another after a flag and a serialising instruction --- */
static uint8_t *patched;
static volatile uint32_t patch_round, patch_seen;

static void run_patched(void)
{
	for (uint32_t i = 1; i <= 200; i++) {
		wait_for(&patch_round, i);
		uint32_t a = 0, b, c = 0, d;
		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)::"memory");
		if (((uint64_t(*)(void))patched)() != i)
			__atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&patch_seen, 1, __ATOMIC_SEQ_CST);
	}
}

static void patch(void)
{
	for (uint32_t i = 1; i <= 200; i++) {
		patched[0] = 0xb8;
		*(uint32_t *)(patched + 1) = i;
		patched[5] = 0xc3;
		patch_round = i;
		wait_for(&patch_seen, i * (cpus - 1));
	}
}

void ap_main(unsigned index)
{
	__asm__ volatile("lidt %0" ::"m"(guest_idtr));
	LAPIC(0xf0) = 0x1ff;
	wait_for(&go, 1);
	atomic_work();
	__atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
	wait_for(&go, 2);
	reader();
	__atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
	wait_for(&go, 3);
	ordered_loads();
	__atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
	wait_for(&go, 4);
	run_patched();
	__atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
}

static void delay(void)
{
	for (int i = 0; i < 2000; i++)
		inb(0x80);
}

static void start_processors(void)
{
	for (size_t i = 0; i < (size_t)(trampoline_end - trampoline_start); i++)
		((uint8_t *)TRAMPOLINE)[i] = trampoline_start[i];
	LAPIC(0xf0) = 0x1ff;
	LAPIC(0x300) = 0xc4500; /* INIT, all but self */
	delay();
	LAPIC(0x300) = 0xc4600 | TRAMPOLINE >> 12;
	delay();
	/* How many there are: item 5 of fw_cfg. */
	__asm__ volatile("outw %w0, %w1" ::"a"(5), "d"(0x510));
	cpus = inb(0x511);
	wait_for(&online, cpus - 1);
}

static void phase(uint32_t n, void (*work)(void))
{
	done = 0;
	go = n;
	work();
	wait_for(&done, cpus - 1);
}

static uint64_t shot_pages[2];
static void shoot_down(void) { shoot(shot_pages); }

int guest_main(void)
{
	wrmsr(0x1b, rdmsr(0x1b) | 0x800);
	handlers[0x60] = on_shootdown;
	patched = alloc_page();
	for (int i = 0; i < 2; i++)
		shot_pages[i] = (uint64_t)alloc_page();
	map_page(SHOT, shot_pages[0], PG_P | PG_W);
	start_processors();
	print("processors: ");
	print_hex(cpus);
	print("\n");
	phase(1, atomic_work);
	check_equal(shared[0], (uint64_t)cpus * ROUNDS);
	check_equal(shared[1], (uint64_t)cpus * ROUNDS * 3);
	check_equal(shared[2], (uint64_t)cpus * ROUNDS * 5);
	check_equal(shared[3], 0);
	check_equal(wide[0], (uint64_t)cpus * WIDE_ROUNDS);
	check_equal(wide[1], (uint64_t)cpus * WIDE_ROUNDS * 7);
	check_equal(shared[5], (uint64_t)cpus * ROUNDS);
	phase(2, shoot_down);
	check_equal(wrong, 0);
	phase(3, ordered_stores);
	check_equal(wrong, 0);
	phase(4, patch);
	check_equal(wrong, 0);
	return failures;
}
