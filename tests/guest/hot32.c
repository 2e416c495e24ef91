/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The troubles of a translator in 32-bit protected mode: hot code changed through segments with bases, the same code at two bases,
 * limits and bases that change under a hot loop, hot code in V86 and 16-bit mode, returns and interrupts. */
#include "guest32.h"
#include "apic.h"

enum { HOT = 12000, SEL_BASE_CODE = SEL_SPARE, SEL_BASE_DATA = SEL_SPARE + 8 };
static uint8_t area[16384] __attribute__((aligned(4096)));
static uint32_t random_state = 0x12345678;

static uint32_t rnd(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state;
}

static void put_return(uint8_t *p, uint32_t value)
{
	p[0] = 0xb8;
	__builtin_memcpy(p + 1, &value, 4);
	p[5] = 0xc3;
}

static uint32_t wrong_calls(const void *code, unsigned n, uint32_t want)
{
	uint32_t wrong = 0;
	while (n--)
		wrong += ((uint32_t(*)(void))code)() != want;
	return wrong;
}

/* --- code changed through DS with another base, and run through CS with another base --- */

static void set_segment(unsigned selector, uint32_t base, uint32_t limit, unsigned access)
{
	gdt[selector >> 3] = descriptor(base, limit, access, 0xc);
}

/* A far call to offset `at` of the segment; the code there ends with RETF. */
static uint32_t far_call(uint32_t at)
{
	struct { uint32_t offset; uint16_t selector; } __attribute__((packed)) to = { at, SEL_BASE_CODE };
	uint32_t eax;
	__asm__ volatile("lcall *%1" : "=a"(eax) : "m"(to) : "memory");
	return eax;
}

static void bases(void)
{
	uint32_t wrong = 0;
	for (uint32_t i = 0; i < 60; i++) {
		/* The same bytes by another base and another EIP: they must see their own EIP. call +0; pop eax; retf */
		static const uint8_t where[] = { 0xe8, 0, 0, 0, 0, 0x58, 0xcb };
		__builtin_memcpy(area + 64, where, sizeof(where));
		uint32_t base = (uint32_t)area - (i & 3) * 0x1000;
		set_segment(SEL_BASE_CODE, base, 0xfffff, 0x9a);
		for (unsigned n = 0; n < 200; n++)
			wrong += far_call((uint32_t)area + 64 - base) != (uint32_t)area + 64 - base + 5;
		/* Changed through a data segment with a base of its own. */
		set_segment(SEL_BASE_DATA, (uint32_t)area - 0x500, 0xfffff, 0x92);
		put_return(area + 128, i);
		wrong += wrong_calls(area + 128, i % 20 ? 200 : HOT, i);
		__asm__ volatile("movw %w0, %%es; movl %1, %%es:0x581; movl $0, %0; movw %%ds, %w0; movw %w0, %%es" ::"r"(SEL_BASE_DATA), "r"(i * 3) : "memory");
		wrong += wrong_calls(area + 128, 200, i * 3);
		/* And by REP MOVSB into it. */
		put_return(area + 256, i * 5);
		uint32_t si = (uint32_t)area + 256, di = 0x580, cx = 6;
		__asm__ volatile("pushl %%es; movw %w3, %%es; rep movsb; popl %%es" : "+S"(si), "+D"(di), "+c"(cx) : "r"(SEL_BASE_DATA) : "memory");
		wrong += wrong_calls(area + 128, 200, i * 5);
	}
	check_equal(wrong, 0);
}

/* --- a hot loop over FS, whose base and limit change; beyond the limit it faults, with its registers --- */

struct sum {
	uint32_t count, esi, eax;
};
extern uint8_t fs_load[];
static void fs_loop(void *opaque)
{
	struct sum *s = opaque;
	__asm__ volatile("1: clc\n fs_load: addl %%fs:(%0), %2; leal 4(%0), %0; decl %1; jnz fs_load" : "+S"(s->esi), "+c"(s->count), "+a"(s->eax)::"memory", "cc");
}

static void limits(void)
{
	uint32_t wrong = 0, *words = (uint32_t *)(area + 4096);
	for (unsigned i = 0; i < 1024; i++)
		words[i] = rnd();
	for (unsigned round = 0; round < 80; round++) {
		uint32_t first = rnd() % 512, want = 0;
		for (unsigned i = 0; i < 256; i++)
			want += words[first + i];
		/* Byte granularity: a limit that holds 256 words, or one byte less. */
		bool short_one = round & 1;
		gdt[SEL_BASE_DATA >> 3] = descriptor((uint32_t)&words[first], 1023 - short_one, 0x92, 4);
		__asm__ volatile("movw %w0, %%fs" ::"r"(SEL_BASE_DATA));
		struct sum s = { 256, 0, 0 };
		if (round % 8 == 0)
			for (unsigned n = 0; n < 40; n++) {
				s = (struct sum){ 256, 0, 0 };
				fs_loop(&s);
				wrong += s.eax != want;
			}
		s = (struct sum){ 256, 0, 0 };
		struct fault f = guarded(fs_loop, &s);
		if (short_one) {
			wrong += !f.happened || f.frame.vector != VEC_GP || f.frame.eip != (uint32_t)fs_load || f.frame.ecx != 1 || f.frame.esi != 1020;
			wrong += f.frame.eax != want - words[first + 255];
		} else {
			wrong += f.happened || s.eax != want;
		}
	}
	__asm__ volatile("movw %w0, %%fs" ::"r"(SEL_DATA));
	check_equal(wrong, 0);
}

/* --- interrupts at any point of a computation with every register, and in endless loops --- */

static volatile uint32_t ticks;
static bool caught;
static bool on_timer(struct frame *frame)
{
	ticks++;
	apic_eoi();
	if (caught)
		return false;
	timer_once(300 + rnd() % 20000);
	return true;
}

uint32_t work(uint32_t n);
__asm__(".text\nwork: pushal; movl 36(%esp), %ecx; movl $1, %eax; movl $2, %ebx; movl $3, %edx; movl $5, %esi; movl $6, %edi; movl $7, %ebp; stc\n"
	"1:	adcl %ebx, %eax; rcll $3, %ebx; sbbl %eax, %edx; pushl %edx; adcl %esi, (%esp); popl %edx; adcl %ecx, %esi; bswap %edi; adcl %esi, %edi\n"
	"	rcrl $2, %ebp; adcl %edi, %ebp; pushl %ds; popl %es; aaa; lahf; sahf; decl %ecx; jnz 1b\n"
	"	addl %ebx, %eax; xorl %edx, %eax; addl %esi, %eax; xorl %edi, %eax; addl %ebp, %eax; movl %eax, 28(%esp); popal; ret\n");

static uint32_t call_work(uint32_t n)
{
	uint32_t eax;
	__asm__ volatile("pushl %1; call work; addl $4, %%esp" : "=a"(eax) : "r"(n) : "memory", "cc");
	return eax;
}

static void endless(void *p) { __asm__ volatile("sti; jmp *%0" ::"a"(p), "b"(p) : "memory"); }
extern uint8_t loop_self[], loop_register[], loop_return[], loop_far[], loop_iret[];
__asm__(".text\n loop_self: jmp loop_self\n loop_register: jmp *%eax\n loop_return: pushl %ebx; ret\n"
	"loop_far: ljmp $0x08, $loop_far\n loop_iret: pushfl; pushl %cs; pushl %ebx; iretl\n");

static void interrupts(void)
{
	uint32_t want[4], wrong = 0;
	handlers[TIMER_VECTOR] = on_timer;
	apic_on();
	for (unsigned i = 0; i < 4; i++)
		want[i] = call_work(300 + i);
	timer_once(1000);
	__asm__ volatile("sti");
	for (unsigned i = 0; ticks < 400; i++)
		wrong += call_work(300 + i % 4) != want[i % 4];
	__asm__ volatile("cli");
	timer_off();
	check_equal(wrong, 0);
	caught = true;
	static uint8_t *const loops[] = { loop_self, loop_register, loop_return, loop_far, loop_iret };
	for (unsigned i = 0; i < 20; i++) {
		timer_once(20000 + rnd() % 50000);
		struct fault f = guarded(endless, loops[i % 5]);
		wrong += f.frame.vector != TIMER_VECTOR || f.frame.eip - (uint32_t)loops[i % 5] > 4;
	}
	check_equal(wrong, 0);
}

/* --- hot code of V86 mode and of 16-bit segments; changed from 32-bit code between the runs --- */

static void enter_v86(void *count)
{
	__asm__ volatile("pushl $0; pushl $0; pushl $0x600; pushl $0x600; pushl $0x500; pushl $0x1000; pushl $0x23002; pushl $0x700; pushl $0; iretl" ::"c"(count) : "memory");
}

static void sixteen_bits(void)
{
	volatile uint8_t *code = (volatile uint8_t *)0x7000;
	/* add ax, imm16; dec cx; jnz; int 0x80 */
	static const uint8_t bytes[] = { 0x31, 0xc0, 0x05, 1, 0, 0x49, 0x75, 0xfa, 0xcd, 0x80 };
	for (unsigned i = 0; i < sizeof(bytes); i++)
		code[i] = bytes[i];
	uint32_t wrong = 0;
	for (uint16_t i = 1; i < 40; i++) {
		code[3] = (uint8_t)i;
		struct fault f = guarded(enter_v86, (void *)1000);
		wrong += f.frame.vector != 0x80 || (uint16_t)f.frame.eax != (uint16_t)(1000 * i) || !(f.frame.eflags & 0x20000);
		/* The same bytes as 32-bit code: another immediate: add eax, 0x7549XXXX would be wrong; so from a 16-bit segment. */
		uint32_t eax;
		uint8_t saved[2] = { code[8], code[9] };
		code[8] = 0x66, code[9] = 0xcb; /* retf with 32-bit operands */
		struct { uint32_t offset; uint16_t selector; } __attribute__((packed)) to = { 0x7000, SEL_CODE16 };
		__asm__ volatile("lcall *%1" : "=a"(eax) : "m"(to), "c"(500) : "memory", "cc");
		wrong += (uint16_t)eax != (uint16_t)(500 * i);
		code[8] = saved[0], code[9] = saved[1];
	}
	check_equal(wrong, 0);
}

/* --- the same linear address, other physical code: 32-bit paging --- */

static uint32_t page_directory[1024] __attribute__((aligned(4096))), page_table[1024] __attribute__((aligned(4096)));
#define WINDOW 0xe0000000u

static void remapped(void)
{
	for (uint32_t i = 0; i < 1024; i++)
		page_directory[i] = i << 22 | 0x87;
	page_directory[WINDOW >> 22] = (uint32_t)page_table | 7;
	WRITE_CR(4, READ_CR(4) | 0x10);
	WRITE_CR(3, (uint32_t)page_directory);
	page_table[0] = (uint32_t)area | 7;
	WRITE_CR(0, READ_CR(0) | 0x80010000u);
	uint32_t wrong = 0;
	for (uint32_t i = 0; i < 100; i++) {
		uint8_t *page = area + 4096 * (i & 1);
		put_return(page, i);
		page_table[0] = (uint32_t)page | 3;
		if (i & 2)
			WRITE_CR(3, READ_CR(3));
		else
			__asm__ volatile("invlpg (%0)" ::"r"(WINDOW) : "memory");
		wrong += wrong_calls((void *)WINDOW, i % 25 ? 200 : HOT, i);
		/* Not there: the fetch faults. */
		page_table[0] = 0;
		__asm__ volatile("invlpg (%0)" ::"r"(WINDOW) : "memory");
		struct fault f = guarded((void (*)(void *))WINDOW, NULL);
		wrong += f.frame.vector != VEC_PF || f.frame.eip != WINDOW || f.cr2 != WINDOW || f.frame.error != 0;
	}
	WRITE_CR(0, READ_CR(0) & ~0x80000000u);
	check_equal(wrong, 0);
}

int guest_main(void)
{
	bases();
	limits();
	interrupts();
	sixteen_bits();
	remapped();
	return failures;
}
