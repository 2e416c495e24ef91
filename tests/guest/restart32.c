/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Page faults in the middle of instructions that only 32-bit code has, or that use its stack: run at CPL 3, where the handler
 * has a stack of its own. The first fault's frame must show the registers of the instruction's start. */
#include "guest32.h"

#define WINDOW 0xe0000000u
#define BORDER (WINDOW + 4096)
enum { SEL_LDT = 0x40 };

static uint32_t page_directory[1024] __attribute__((aligned(4096))), page_table[1024] __attribute__((aligned(4096)));
static uint8_t pages[4][4096] __attribute__((aligned(4096)));
static uint8_t user_stack[4096] __attribute__((aligned(16)));
#define USER_TOP ((uint32_t)user_stack + sizeof(user_stack))
static volatile unsigned faults;
static volatile struct frame first;

static bool on_page_fault(struct frame *frame)
{
	uint32_t at = READ_CR(2), index = (at - WINDOW) >> 12;
	if (at < WINDOW || index >= 4)
		return false;
	if (!faults++)
		first = *frame;
	page_table[index] = (uint32_t)pages[index] | 7;
	return true;
}

static void unmap_all(void)
{
	for (unsigned i = 0; i < 4; i++)
		page_table[i] = 0;
	WRITE_CR(3, READ_CR(3));
	faults = 0;
}

static uint32_t *direct(uint32_t at) { return (uint32_t *)(pages[(at - WINDOW) >> 12] + (at & 4095)); }

static void enter_ring3(void *eip)
{
	__asm__ volatile("pushl %0; pushl %1; pushl $0x3002; pushl %2; pushl %3; iretl"
			 ::"i"(SEL_USER_DATA), "r"(USER_TOP), "i"(SEL_USER_CODE), "r"(eip) : "memory");
}

/* The instruction is between name_at and name_next; ESI is BORDER. */
#define SNIPPET(name, before, instruction, after) \
	__asm__(".text\n" #name ": movw $0x23, %ax; movw %ax, %ds; movw %ax, %es; movl $0xe0001000, %esi; movl $1, %eax; movl $2, %ebx;" \
		"movl $3, %ecx; movl $4, %edx; movl $7, %ebp;" before "\n" #name "_at: " instruction "\n" after "; int $0x80\n"); \
	extern uint8_t name[], name##_at[]

SNIPPET(pusha, "leal 12(%esi), %esp", "pushal", "");
SNIPPET(popa, "leal -12(%esi), %esp", "popal", "");
SNIPPET(pushaw, "leal 6(%esi), %esp", "pushaw", "");
SNIPPET(popaw, "leal -6(%esi), %esp", "popaw", "");
SNIPPET(enter0, "leal 2(%esi), %esp", "enter $32, $0", "");
SNIPPET(enter3, "leal 2(%esi), %esp; movl $0xe0003002, %ebp", "enter $16, $3", "");
SNIPPET(leave_it, "leal -2(%esi), %ebp; movl %esp, %edi", "leave", "movl %esp, %ecx; movl %edi, %esp");
SNIPPET(call_far, "leal 6(%esi), %esp", "lcall $0x1b, $1f", "1:");
SNIPPET(return_far, "leal -4(%esi), %esp", "lret $8", "return_far_to:");
SNIPPET(return_int, "leal -6(%esi), %esp", "iretl", "return_int_to:");
SNIPPET(load_pointer, "", "ldsl -3(%esi), %edi", "movw %ds, %dx; movw $0x23, %ax; movw %ax, %ds");
SNIPPET(load_stack, "movl %esp, %ebp", "lss -2(%esi), %esp", "movl %esp, %edi; movl %ebp, %esp");
SNIPPET(bounds, "xorl %edi, %edi", "boundl %edi, -4(%esi)", "");
SNIPPET(exchange8, "xorl %eax, %eax; xorl %edx, %edx", "lock cmpxchg8b 16(%esi)", "");
SNIPPET(exchange8_crossing, "xorl %eax, %eax; xorl %edx, %edx", "cmpxchg8b -4(%esi)", "");
SNIPPET(push_memory, "leal 2(%esi), %esp", "pushl 4096(%esi)", "");
SNIPPET(pop_memory, "leal -2(%esi), %esp", "popl 4096(%esi)", "");
SNIPPET(pop_own, "leal -4(%esi), %esp", "popl 4(%esp)", ""); /* the address is taken after the increment */
SNIPPET(save_x87, "fninit; fldpi", "fnsave -50(%esi)", "");
SNIPPET(load_x87, "fninit", "frstor -50(%esi)", "fstpl 0x100(%esi)");
SNIPPET(load_bcd, "fninit", "fbld -4(%esi)", "fistpl 0x100(%esi)");
SNIPPET(translate, "movl %esi, %ebx", "xlatb", "");
SNIPPET(compare, "leal -2(%esi), %edi; leal 4094(%esi), %esi; movl $4, %ecx", "repe cmpsb", "");
SNIPPET(input, "leal -2(%esi), %edi; movl $4, %ecx; movw $0x92, %dx", "rep insb", "");
SNIPPET(output, "leal -2(%esi), %esi; movl $4, %ecx; movw $0x80, %dx", "rep outsb", "");
SNIPPET(load_local, "movl $0x0c, %edi", "movw %di, %fs", "");
SNIPPET(push_segment, "leal 2(%esi), %esp", "pushl %es", "");
SNIPPET(pop_segment, "leal -2(%esi), %esp", "popl %fs", "");
SNIPPET(store_gdt, "", "sgdt -4(%esi)", "");
extern uint8_t return_far_to[], return_int_to[];

/* Runs it with all pages absent; its end, with the number of faults and the first one's EIP and ESP checked. */
static struct frame run_(uint8_t *snippet, uint8_t *at, unsigned want, int line)
{
	unmap_all();
	struct fault f = guarded(enter_ring3, snippet);
	check_equal_(f.happened ? f.frame.vector : 0, 0x80, "vector", __FILE_NAME__, line);
	check_equal_(faults, want, "faults", __FILE_NAME__, line);
	check_equal_(first.eip, (uint32_t)at, "EIP", __FILE_NAME__, line);
	return f.frame;
}
#define run(name, want) run_(name, name##_at, want, __LINE__)

static void stacks(void)
{
	struct frame f = run(pusha, 2);
	check_equal(f.esp, BORDER - 20);
	check_equal(first.esp, BORDER + 12);
	check_equal(*direct(BORDER + 8), 1);
	check_equal(*direct(BORDER + 4), 3);
	check_equal(*direct(BORDER), 4);
	check_equal(*direct(BORDER - 4), 2);
	check_equal(*direct(BORDER - 8), BORDER + 12);
	check_equal(*direct(BORDER - 16), BORDER);
	for (unsigned i = 0; i < 8; i++)
		*direct(BORDER - 12 + 4 * i) = 0x100 + i;
	f = run(popa, 2);
	check_equal(f.esp, BORDER + 20);
	check_equal(first.esp, BORDER - 12);
	check_equal(first.eax, 1);
	check_equal(first.ecx, 3);
	check_equal(first.esi, BORDER);
	check_equal(f.edi, 0x100);
	check_equal(f.ebp, 0x102);
	check_equal(f.eax, 0x107);
	f = run(pushaw, 2);
	check_equal(f.esp, BORDER - 10);
	f = run(popaw, 2);
	check_equal(f.esp, BORDER + 10);
	f = run(enter0, 2);
	check_equal(f.ebp, BORDER - 2);
	check_equal(f.esp, BORDER - 2 - 32);
	check_equal(first.esp, BORDER + 2);
	check_equal(first.ebp, 7);
	*direct(BORDER + 0x1ffc) = 0; /* the frames that ENTER copies lie below EBP: 0xe0002ffe and 0xe0002ffa */
	f = run(enter3, 4);
	check_equal(f.ebp, BORDER - 2);
	check_equal(f.esp, BORDER - 2 - 12 - 16);
	check_equal(first.esp, BORDER + 2);
	check_equal(first.ebp, 0xe0003002);
	f = run(leave_it, 2);
	check_equal(f.ecx, BORDER + 2);
	check_equal(first.ebp, BORDER - 2);
}

static void transfers(void)
{
	struct frame f = run(call_far, 2);
	check_equal(f.esp, BORDER - 2);
	check_equal(first.esp, BORDER + 6);
	*direct(BORDER - 4) = (uint32_t)return_far_to;
	*direct(BORDER) = SEL_USER_CODE;
	f = run(return_far, 2);
	check_equal(f.esp, BORDER + 4 + 8);
	check_equal(first.esp, BORDER - 4);
	uint8_t *at = (uint8_t *)direct(BORDER - 6);
	uint32_t eip = (uint32_t)return_int_to, cs = SEL_USER_CODE, flags = 0x3002;
	for (unsigned i = 0; i < 4; i++) {
		at[i] = eip >> 8 * i;
		pages[(i + 4 >= 6)][(4096 - 6 + 4 + i) & 4095] = cs >> 8 * i;
		pages[1][2 + i] = flags >> 8 * i;
	}
	f = run(return_int, 2);
	check_equal(f.esp, BORDER + 6);
	check_equal(first.esp, BORDER - 6);
}

static void operands(void)
{
	uint8_t *at = pages[0] + 4093; /* a far pointer: 4 bytes of offset, selector */
	at[0] = 0x44, at[1] = 0x33, at[2] = 0x22, pages[1][0] = 0x11, pages[1][1] = SEL_USER_DATA, pages[1][2] = 0;
	struct frame f = run(load_pointer, 2);
	check_equal(f.edi, 0x11223344);
	check_equal(f.edx & 0xffff, SEL_USER_DATA);
	pages[0][4094] = 0x44, pages[0][4095] = 0x33, pages[1][0] = 0x22, pages[1][1] = 0x11, pages[1][2] = SEL_USER_DATA, pages[1][3] = 0;
	f = run(load_stack, 2);
	check_equal(f.edi, 0x11223344);
	*direct(BORDER - 4) = -1u;
	*direct(BORDER) = 1;
	run(bounds, 2);
	*direct(BORDER + 16) = *direct(BORDER + 20) = 0;
	f = run(exchange8, 1);
	check_equal(*direct(BORDER + 16), 2);
	check_equal(*direct(BORDER + 20), 3);
	check(f.eflags & 0x40);
	*direct(BORDER - 4) = *direct(BORDER) = 0;
	run(exchange8_crossing, 2);
	check_equal(*direct(BORDER - 4), 2);
	check_equal(*direct(BORDER), 3);
	*direct(BORDER + 4096) = 0x77;
	f = run(push_memory, 3);
	check_equal(f.esp, BORDER - 2);
	check_equal(first.esp, BORDER + 2);
	f = run(pop_memory, 3);
	check_equal(f.esp, BORDER + 2);
	check_equal(*direct(BORDER + 4096), 0x77);
	*direct(BORDER - 4) = 0x99;
	f = run(pop_own, 2);
	check_equal(*direct(BORDER + 4), 0x99);
	*direct(BORDER) = 0x5a;
	f = run(translate, 1);
	check_equal(f.eax & 0xff, pages[1][1]);
}

static void floating_point(void)
{
	run(save_x87, 2);
	run(load_x87, 2);
	check_equal(*(uint64_t *)direct(BORDER + 0x100), 0x400921fb54442d18);
	static const uint8_t bcd[10] = { 0x78, 0x56, 0x34, 0x12, 0 };
	for (unsigned i = 0; i < 10; i++)
		pages[i >= 4][(4092 + i) & 4095] = bcd[i];
	run(load_bcd, 2);
	check_equal(*direct(BORDER + 0x100), 12345678);
}

static void strings(void)
{
	for (unsigned i = 0; i < 4; i++)
		pages[i >= 2][(4094 + i) & 4095] = pages[1 + (i >= 2)][(4094 + i) & 4095] = (uint8_t)i;
	struct frame f = run(compare, 3);
	check_equal(f.ecx, 0);
	check_equal(first.ecx, 4);
	check(f.eflags & 0x40);
	f = run(input, 2);
	check_equal(f.edi, BORDER + 2);
	check_equal(first.ecx, 4);
	f = run(output, 2);
	check_equal(f.esi, BORDER + 2);
}

static void segments(void)
{
	/* The processor reads descriptors with the supervisor's rights, whoever asks (SDM 3A, 4.6.1). */
	gdt[SEL_LDT >> 3] = descriptor(WINDOW, 0xfff, 0x82, 0);
	__asm__ volatile("lldt %w0" ::"r"(SEL_LDT));
	*(uint64_t *)pages[0] = 0;
	*(uint64_t *)(pages[0] + 8) = descriptor(0, 0xfffff, 0xf3, 12);
	struct frame f = run(load_local, 1);
	check_equal(first.error, 0);
	check_equal(f.fs & 0xffff, 0x0c);
	__asm__ volatile("movw %w0, %%fs; lldt %w0" ::"r"(0)); /* handlers save and load FS */
	f = run(push_segment, 1); /* 16 bits are written, and read, of 32 (SDM 2B, PUSH) */
	check_equal(f.esp, BORDER - 2);
	check_equal(first.error, 6);
	pages[0][4094] = SEL_USER_DATA, pages[0][4095] = 0;
	f = run(pop_segment, 1);
	check_equal(f.esp, BORDER + 2);
	check_equal(first.esp, BORDER - 2);
	check_equal(f.fs & 0xffff, SEL_USER_DATA);
	run(store_gdt, 2);
	check_equal(*direct(BORDER - 4) & 0xffff, *(uint16_t *)(pages[0] + 4092));
}

int guest_main(void)
{
	for (uint32_t i = 0; i < 1024; i++)
		page_directory[i] = i << 22 | 0x87;
	page_directory[WINDOW >> 22] = (uint32_t)page_table | 7;
	WRITE_CR(4, READ_CR(4) | 0x10);
	WRITE_CR(3, (uint32_t)page_directory);
	WRITE_CR(0, (READ_CR(0) | 0x80010000u | 0x20) & ~0xcu);
	handlers[VEC_PF] = on_page_fault;
	stacks();
	transfers();
	operands();
	floating_point();
	strings();
	segments();
	return failures;
}
