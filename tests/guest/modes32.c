/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Protected mode with all it has: limits and types, rings and call gates, task switches, 16-bit code, virtual-8086 mode, real
 * mode and back, I/O permission, 32-bit and PAE paging. */
#include "guest32.h"

uint32_t log_value;

/* --- segments --- */

#define FS_READ(name, size, reg) \
	static void name(void *p) { __asm__ volatile("mov" size " %%fs:(%0), %%" reg ::"r"(p) : "eax"); }
FS_READ(fs_read8, "b", "al")
FS_READ(fs_read32, "l", "eax")
static void fs_write32(void *p) { __asm__ volatile("movl %%eax, %%fs:(%0)" ::"r"(p) : "memory"); }
static void ss_read(void *p) { __asm__ volatile("movl %%ss:(%0), %%eax" ::"r"(p) : "eax"); }
static void load_fs(void *p) { __asm__ volatile("movw %w0, %%fs" ::"r"(p) : "memory"); }
static void load_ss(void *p) { __asm__ volatile("movw %w0, %%ss" ::"r"(p)); }
static void jump_far(void *p)
{
	struct { uint32_t offset; uint16_t selector; } __attribute__((packed)) to = { 0, (uint16_t)(uint32_t)p };
	__asm__ volatile("ljmp *%0" ::"m"(to));
}
static void call_far(void *p)
{
	struct { uint32_t offset; uint16_t selector; } __attribute__((packed)) to = { 0, (uint16_t)(uint32_t)p };
	__asm__ volatile("lcall *%0" ::"m"(to) : "eax", "ecx", "edx", "memory");
}

static uint8_t area[4096] __attribute__((aligned(4096)));

static void limits_and_types(void)
{
	area[0x0f] = 0x5a;
	gdt[8] = descriptor((uint32_t)area, 0x0f, 0x92, 4);
	load_fs((void *)SEL_SPARE);
	check(!guarded(fs_read8, (void *)0x0f).happened);
	check_fault(guarded(fs_read8, (void *)0x10), VEC_GP, 0);
	check(!guarded(fs_read32, (void *)0x0c).happened);
	check_fault(guarded(fs_read32, (void *)0x0d), VEC_GP, 0);
	/* Expand-down: valid above the limit. */
	gdt[8] = descriptor((uint32_t)area, 0x7f, 0x96, 4);
	load_fs((void *)SEL_SPARE);
	check_fault(guarded(fs_read8, (void *)0x7f), VEC_GP, 0);
	check(!guarded(fs_read8, (void *)0x80).happened);
	/* Read-only, execute-only, null. */
	gdt[8] = descriptor((uint32_t)area, 0xfff, 0x90, 4);
	load_fs((void *)SEL_SPARE);
	check(!guarded(fs_read32, 0).happened);
	check_fault(guarded(fs_write32, 0), VEC_GP, 0);
	gdt[8] = descriptor((uint32_t)area, 0xfff, 0x98, 4);
	check_fault(guarded(load_fs, (void *)SEL_SPARE), VEC_GP, SEL_SPARE);
	gdt[8] = descriptor((uint32_t)area, 0xfff, 0x9a, 4);
	load_fs((void *)SEL_SPARE);
	check(!guarded(fs_read32, 0).happened);
	check_fault(guarded(fs_write32, 0), VEC_GP, 0);
	load_fs(0);
	check_fault(guarded(fs_read32, 0), VEC_GP, 0);
	gdt[8] = descriptor((uint32_t)area, 0xfff, 0x12, 4);
	check_fault(guarded(load_fs, (void *)SEL_SPARE), VEC_NP, SEL_SPARE);
	check_fault(guarded(load_ss, (void *)SEL_SPARE), VEC_SS, SEL_SPARE);
	check_fault(guarded(load_ss, 0), VEC_GP, 0);
	check_fault(guarded(load_fs, (void *)0x7f8), VEC_GP, 0x7f8);
	check_fault(guarded(load_fs, (void *)(SEL_SPARE | 4)), VEC_GP, SEL_SPARE | 4); /* no LDT */
	check_fault(guarded(jump_far, (void *)SEL_DATA), VEC_GP, SEL_DATA);
	check_fault(guarded(jump_far, 0), VEC_GP, 0);
	gdt[8] = descriptor(0, 0xfffff, 0xfa, 12); /* DPL 3 code, not conforming */
	check_fault(guarded(jump_far, (void *)SEL_SPARE), VEC_GP, SEL_SPARE);
	/* The accessed bit is set by the processor. */
	gdt[8] = descriptor((uint32_t)area, 0xfff, 0x92, 4);
	load_fs((void *)SEL_SPARE);
	check(gdt[8] >> 40 & 1);
	check(!guarded(ss_read, area).happened);
}

static void local_descriptor_table(void)
{
	static uint64_t ldt[2];
	ldt[1] = descriptor((uint32_t)area + 16, 0xff, 0x92, 4);
	gdt[9] = descriptor((uint32_t)ldt, sizeof(ldt) - 1, 0x82, 0);
	__asm__ volatile("lldt %w0" ::"r"(SEL_SPARE + 8));
	area[16] = 0xc3;
	uint32_t got;
	load_fs((void *)0x0c);
	__asm__ volatile("movzbl %%fs:0, %0" : "=r"(got));
	check_equal(got, 0xc3);
	uint16_t selector;
	__asm__ volatile("sldt %0" : "=m"(selector));
	check_equal(selector, SEL_SPARE + 8);
	load_fs(0);
	__asm__ volatile("lldt %w0" ::"r"(0));
}

static void sensitive(void)
{
	uint32_t rights = 0, limit = 0;
	uint8_t ok;
	__asm__ volatile("larl %2, %0; setz %1" : "+r"(rights), "=q"(ok) : "r"(SEL_DATA));
	check(ok);
	check_equal(rights & 0xf0fe00, 0xc09200);
	__asm__ volatile("lsll %2, %0; setz %1" : "+r"(limit), "=q"(ok) : "r"(SEL_CODE16));
	check(ok);
	check_equal(limit, 0xffff);
	__asm__ volatile("larl %2, %0; setz %1" : "+r"(rights), "=q"(ok) : "r"(0x7f8));
	check(!ok);
	__asm__ volatile("verr %1; setz %0" : "=q"(ok) : "r"((uint16_t)SEL_CODE));
	check(ok);
	__asm__ volatile("verw %1; setz %0" : "=q"(ok) : "r"((uint16_t)SEL_CODE));
	check(!ok);
	uint16_t tr;
	__asm__ volatile("str %0" : "=r"(tr));
	check_equal(tr, SEL_TSS);
	uint32_t arpl = 0x10;
	__asm__ volatile("arpl %w2, %w0; setz %1" : "+r"(arpl), "=q"(ok) : "r"(3));
	check(ok);
	check_equal(arpl, 0x13);
	uint32_t msw;
	__asm__ volatile("smsw %0" : "=r"(msw));
	check_equal(msw & 0xffff, READ_CR(0) & 0xffff);
}

/* --- rings and call gates --- */

static uint8_t user_stack[4096] __attribute__((aligned(16)));
#define USER_TOP ((uint32_t)user_stack + sizeof(user_stack))

static void enter_ring3(void *eip)
{
	__asm__ volatile("pushl %0; pushl %1; pushl $2; pushl %2; pushl %3; iretl"
			 ::"i"(SEL_USER_DATA), "r"(USER_TOP), "i"(SEL_USER_CODE), "r"(eip) : "memory");
}

__asm__(".text\n"
	"ring3_int: movl $0x33, %ss:log_value; int $0x80\n"
	"ring3_cli: cli\n"
	"ring3_out: outb %al, $0x42\n"
	"ring3_out_allowed: outb %al, $0x80; int $0x80\n"
	"ring3_mov_cr: movl %cr0, %eax\n"
	"ring3_load_kernel: movw $0x10, %ax; movw %ax, %ds\n"
	"ring3_gate: pushl $0x22222222; pushl $0x11111111; lcall $0x53, $0; int $0x80\n"
	"ring3_popf: pushl $0x3202; popfl; pushfl; popl %eax; movl %eax, %ss:log_value; int $0x80\n"
	/* The gate's procedure: ring 0, two parameters copied behind the far return address. */
	"gate_procedure: movl 8(%esp), %eax; addl 12(%esp), %eax; movl %eax, %ss:log_value; movw %cs, %ax; movl $0, %ecx; lret $8\n");
extern uint8_t ring3_int[], ring3_cli[], ring3_out[], ring3_out_allowed[], ring3_mov_cr[], ring3_load_kernel[], ring3_gate[], ring3_popf[],
	gate_procedure[];

static void rings(void)
{
	struct fault f = guarded(enter_ring3, ring3_int);
	check_equal(f.frame.vector, 0x80);
	check_equal(log_value, 0x33);
	check_equal(f.frame.cs, SEL_USER_CODE);
	check_equal(f.frame.ss, SEL_USER_DATA);
	check_equal(f.frame.esp, USER_TOP);
	check_equal(f.frame.ds & 0xffff, 0); /* IRET to an outer ring drops the kernel's data segments */
	check_fault(guarded(enter_ring3, ring3_cli), VEC_GP, 0);
	check_fault(guarded(enter_ring3, ring3_mov_cr), VEC_GP, 0);
	check_fault(guarded(enter_ring3, ring3_load_kernel), VEC_GP, SEL_DATA);
	tss_main.bitmap[0x42 / 8] |= 1 << (0x42 & 7);
	check_fault(guarded(enter_ring3, ring3_out), VEC_GP, 0);
	check_fault(guarded(enter_ring3, ring3_out_allowed), 0x80, 0);
	/* Call gate with two parameters, DPL 3. */
	gdt[10] = (uint32_t)gate_procedure % 0x10000 | (uint64_t)SEL_CODE << 16 | 2ull << 32 | 0xecull << 40 |
		  (uint64_t)((uint32_t)gate_procedure >> 16) << 48;
	check_fault(guarded(enter_ring3, ring3_gate), 0x80, 0);
	check_equal(log_value, 0x33333333);
	/* POPF at CPL 3: IOPL and IF stay. */
	check_fault(guarded(enter_ring3, ring3_popf), 0x80, 0);
	check_equal(log_value & 0x3200, 0);
}

/* --- task switches --- */

static struct tss32 tss_other;
static uint8_t task_stack[4096] __attribute__((aligned(16)));
static volatile uint32_t task_steps, task_link, task_flags;

static void task_body(void)
{
	for (;;) {
		uint32_t flags;
		__asm__ volatile("pushfl; popl %0" : "=r"(flags));
		task_flags = flags;
		task_link = tss_other.link;
		task_steps++;
		__asm__ volatile("iretl" ::: "memory");
	}
}

static void prepare_task(void)
{
	tss_other = (struct tss32){ .esp0 = (uint32_t)ring0_stack_top, .ss0 = SEL_DATA, .eip = (uint32_t)task_body, .eflags = 2,
				    .esp = (uint32_t)task_stack + sizeof(task_stack), .es = SEL_DATA, .cs = SEL_CODE, .ss = SEL_DATA,
				    .ds = SEL_DATA, .fs = SEL_DATA, .gs = SEL_DATA, .iomap = 104 };
	gdt[12] = descriptor((uint32_t)&tss_other, 103, 0x89, 0);
}

static void tasks(void)
{
	prepare_task();
	call_far((void *)(12 * 8));
	check_equal(task_steps, 1);
	check_equal(task_link, SEL_TSS);
	check(task_flags & 0x4000); /* NT */
	check_equal(gdt[12] >> 40 & 0xff, 0x89); /* busy no more */
	check_equal(gdt[5] >> 40 & 0xff, 0x8b);
	check(READ_CR(0) & 8); /* TS */
	__asm__ volatile("clts");
	call_far((void *)(12 * 8));
	check_equal(task_steps, 2);
	/* A busy task, and one that is not there. */
	gdt[12] |= 2ull << 40;
	check_fault(guarded(call_far, (void *)(12 * 8)), VEC_GP, 12 * 8);
	gdt[12] &= ~(0x82ull << 40);
	check_fault(guarded(call_far, (void *)(12 * 8)), VEC_NP, 12 * 8);
	/* An interrupt through a task gate. */
	prepare_task();
	set_gate(0x81, 12 * 8, 0, 0x65);
	__asm__ volatile("int $0x81" ::: "memory");
	check_equal(task_steps, 3);
	/* A bad data segment in the new TSS: #TS in the new task, with the selector. */
	prepare_task();
	tss_other.ds = 0x7f8;
	check_fault(guarded(call_far, (void *)(12 * 8)), VEC_TS, 0x7f8);
	/* Now the other task is current: back to the main one. */
	prepare_task();
	gdt[5] &= ~(2ull << 40);
	__asm__ volatile("ltr %w0; clts" ::"r"(SEL_TSS));
	uint32_t flags;
	__asm__ volatile("pushfl; andl $~0x4000, (%%esp); popfl; pushfl; popl %0" : "=r"(flags));
	check(!(flags & 0x4000));
}

/* --- virtual-8086 mode: code at 0x7000, stack below 0x6000 --- */

static void v86_copy(const uint8_t *from, const uint8_t *to)
{
	for (uint32_t i = 0; from + i < to; i++)
		((volatile uint8_t *)0x7000)[i] = from[i];
}

static void enter_v86(void *flags)
{
	__asm__ volatile("pushl $0; pushl $0; pushl $0x600; pushl $0x600; pushl $0x500; pushl $0x1000; pushl %0; pushl $0x700; pushl $0; iretl"
			 ::"r"((uint32_t)flags | 0x20002) : "memory");
}

__asm__(".text\n"
	"v86_code: .code16\n"
	"	movw $0x1234, %ax; movw %ax, %ds:0; movw %ss, %bx; pushw %ax; popw %cx; movw $0x900, %dx; movw %dx, %es; int $0x80\n"
	"v86_end: cli\n"
	"v86_cli_end: hlt\n"
	"v86_hlt_end:\n"
	"v86_wrap: movw $0xffff, %si; movw (%si), %ax\n"
	"v86_wrap_end:\n"
	".code32\n");
extern uint8_t v86_code[], v86_end[], v86_cli_end[], v86_hlt_end[], v86_wrap[], v86_wrap_end[];

static void virtual_8086(void)
{
	v86_copy(v86_code, v86_end);
	/* IOPL 3: INT n goes straight through the IDT. */
	struct fault f = guarded(enter_v86, (void *)0x3000);
	check_equal(f.frame.vector, 0x80);
	check(f.frame.eflags & 0x20000);
	check_equal(f.frame.cs, 0x700);
	check_equal(f.frame.v_ds, 0x600);
	check_equal(f.frame.v_es, 0x900);
	check_equal(f.frame.ss, 0x500);
	check_equal(f.frame.esp, 0x1000);
	check_equal(f.frame.ecx & 0xffff, 0x1234);
	check_equal(f.frame.ebx & 0xffff, 0x500);
	check_equal(*(volatile uint16_t *)0x6000, 0x1234);
	check_equal(f.frame.ds & 0xffff, 0); /* nulled on the way in */
	/* IOPL 0: INT n and CLI fault. */
	check_fault(guarded(enter_v86, (void *)0), VEC_GP, 0);
	v86_copy(v86_end, v86_cli_end);
	check_fault(guarded(enter_v86, (void *)0), VEC_GP, 0);
	v86_copy(v86_cli_end, v86_hlt_end);
	check_fault(guarded(enter_v86, (void *)0x3000), VEC_GP, 0);
	v86_copy(v86_wrap, v86_wrap_end);
	check_fault(guarded(enter_v86, (void *)0x3000), VEC_GP, 0);
}

/* --- real mode and back, 16-bit protected code --- */

__asm__(".text\n"
	"real_start: .code16\n"
	"	movl %cr0, %eax; andb $0xfe, %al; movl %eax, %cr0\n"
	"	ljmpw $0x700, $(real_in - real_start)\n"
	"real_in: movw $0x600, %ax; movw %ax, %ds; movw %ax, %ss; movl $0x800, %esp\n"
	"	lidtl %cs:(real_idt - real_start)\n"
	"	movw $0xbeef, %ds:2; int $0x10\n"
	"	movw %ax, %ds:4\n"
	"	movl %cr0, %eax; orb $1, %al; movl %eax, %cr0\n"
	"	ljmpl $0x08, $real_back\n"
	"real_int: movw $0xcafe, %ax; iretw\n"
	"real_idt: .word 0x3ff; .long 0\n"
	"real_end: .code32\n"
	"real_back: movw $0x10, %ax; movw %ax, %ds; movw %ax, %ss; movw %ax, %es; movl real_esp, %esp; popal; lidt real_saved_idt; ret\n"
	"go_real: sidt real_saved_idt; pushal; movl %esp, real_esp; movw $0x38, %ax; movw %ax, %ds; movw %ax, %es; movw %ax, %ss; movw %ax, %fs; movw %ax, %gs\n"
	"	ljmp $0x30, $0x7000\n"
	".data\n real_esp: .long 0\n real_saved_idt: .long 0, 0\n .text\n");
extern uint8_t real_start[], real_end[], real_int[];
void go_real(void);

static void real_mode(void)
{
	v86_copy(real_start, real_end);
	((volatile uint16_t *)0x40)[0] = (uint16_t)(real_int - real_start);
	((volatile uint16_t *)0x40)[1] = 0x700;
	go_real();
	check_equal(*(volatile uint16_t *)0x6002, 0xbeef);
	check_equal(*(volatile uint16_t *)0x6004, 0xcafe);
	check(READ_CR(0) & 1);
}

/* --- paging: 32-bit with PSE, PAE --- */

static uint32_t page_directory[1024] __attribute__((aligned(4096))), page_table[1024] __attribute__((aligned(4096)));
static uint64_t pdpt[4] __attribute__((aligned(32))), pae_directory[4][512] __attribute__((aligned(4096))), pae_table[512] __attribute__((aligned(4096)));

static void read_at(void *p) { __asm__ volatile("movl (%0), %%eax" ::"r"(p) : "eax"); }
static void write_at(void *p) { __asm__ volatile("movl %%eax, (%0)" ::"r"(p) : "memory"); }
#define WINDOW 0xe0000000u

static void paging_32(void)
{
	for (uint32_t i = 0; i < 1024; i++)
		page_directory[i] = i << 22 | 0x87;
	page_directory[WINDOW >> 22] = (uint32_t)page_table | 7;
	page_table[0] = (uint32_t)area | 1;
	WRITE_CR(4, READ_CR(4) | 0x10);
	WRITE_CR(3, (uint32_t)page_directory);
	WRITE_CR(0, READ_CR(0) | 0x80010000u);
	*(uint32_t *)area = 0x600df00d;
	check_equal(*(volatile uint32_t *)WINDOW, 0x600df00d);
	check_fault(guarded(write_at, (void *)WINDOW), VEC_PF, 3);
	check_fault(guarded(read_at, (void *)(WINDOW + 0x1000)), VEC_PF, 0);
	check(page_table[0] & 0x20);
	check(!(page_table[0] & 0x40));
	WRITE_CR(0, READ_CR(0) & ~0x80000000u);
	WRITE_CR(4, READ_CR(4) & ~0x10u);
}

static void load_cr3(void *p) { WRITE_CR(3, p); }

static void paging_pae(void)
{
	for (uint32_t i = 0; i < 2048; i++)
		pae_directory[i >> 9][i & 511] = (uint64_t)i << 21 | 0x87;
	for (uint32_t i = 0; i < 4; i++)
		pdpt[i] = (uint32_t)pae_directory[i] | 1;
	pae_directory[WINDOW >> 30][WINDOW >> 21 & 511] = (uint32_t)pae_table | 7;
	pae_table[0] = (uint32_t)area | 3;
	WRITE_CR(4, READ_CR(4) | 0x20);
	WRITE_CR(3, (uint32_t)pdpt);
	WRITE_CR(0, READ_CR(0) | 0x80010000u);
	check_equal(*(volatile uint32_t *)WINDOW, 0x600df00d);
	check_fault(guarded(write_at, (void *)(WINDOW + 0x1000)), VEC_PF, 2);
	/* A reserved bit in a PDPTE: #GP at the load of CR3, and the old ones stay. */
	pdpt[3] |= 2;
	check_fault(guarded(load_cr3, pdpt), VEC_GP, 0);
	check_equal(*(volatile uint32_t *)WINDOW, 0x600df00d);
	pdpt[3] &= ~2ull;
	WRITE_CR(0, READ_CR(0) & ~0x80000000u);
	WRITE_CR(4, READ_CR(4) & ~0x20u);
}

int guest_main(void)
{
	limits_and_types();
	local_descriptor_table();
	sensitive();
	rings();
	tasks();
	virtual_8086();
	real_mode();
	paging_32();
	paging_pae();
	return failures;
}
