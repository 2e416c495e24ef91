/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every exception that 64-bit code can cause, with vector, error code, CR2 and a restartable frame. */
#include "guest.h"

#define SNIPPET(name, ...) static void name(void *p) { __asm__ volatile(__VA_ARGS__ ::"D"(p), "S"(p) : "rax", "rbx", "rcx", "rdx", "memory"); }

SNIPPET(divide_by_zero, "xorl %%ecx, %%ecx; movl $1, %%eax; cltd; divl %%ecx")
SNIPPET(divide_overflow, "movl $1, %%ecx; movl $5, %%edx; xorl %%eax, %%eax; divl %%ecx")
SNIPPET(idiv_min, "movl $0x80000000, %%eax; movl $-1, %%edx; movl $-1, %%ecx; idivl %%ecx")
SNIPPET(undefined, "ud2")
SNIPPET(lock_register, ".byte 0xf0, 0x01, 0xc8")
SNIPPET(read_at, "movq (%%rdi), %%rax")
SNIPPET(write_at, "movq %%rax, (%%rdi)")
SNIPPET(rmw_at, "addq $1, (%%rdi)")
SNIPPET(jump_to, "jmp *%%rdi")
SNIPPET(stack_noncanonical, "movq %%rsp, %%rbx; movabsq $0x8000000000000000, %%rax; movq %%rax, %%rbp; movq (%%rbp), %%rcx")
SNIPPET(load_ds, "movw %%di, %%ds")
SNIPPET(load_ss, "movw %%di, %%ss")
SNIPPET(load_tr, "ltr %%di")
SNIPPET(bad_cr0, "movq %%cr0, %%rax; btrq $0, %%rax; movq %%rax, %%cr0")
SNIPPET(bad_cr4, "movq %%cr4, %%rax; btsq $31, %%rax; movq %%rax, %%cr4")
SNIPPET(bad_msr, "movl $0xdeadbeef, %%ecx; rdmsr")
SNIPPET(bad_efer, "movl $0xc0000080, %%ecx; rdmsr; btrl $8, %%eax; wrmsr")
SNIPPET(movaps_unaligned, ".byte 0x0f, 0x28, 0x47, 0x01")
SNIPPET(int_not_user, "int $0x21")
SNIPPET(too_long, ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90")

static void arithmetic(void)
{
	check_fault(guarded(divide_by_zero, 0), VEC_DE, 0);
	check_fault(guarded(divide_overflow, 0), VEC_DE, 0);
	check_fault(guarded(idiv_min, 0), VEC_DE, 0);
	check_fault(guarded(undefined, 0), VEC_UD, 0);
	check_fault(guarded(lock_register, 0), VEC_UD, 0);
	check_fault(guarded(too_long, 0), VEC_GP, 0);
}

static void check_page_fault(void (*fn)(void *), uint64_t at, uint64_t error)
{
	struct fault f = guarded(fn, (void *)at);
	check(f.happened);
	check_equal(f.frame.vector, VEC_PF);
	check_equal(f.frame.error, error);
	check_equal(f.cr2, at);
}

#define WINDOW 0x10000000000ull

static void page_faults(void)
{
	uint64_t page = (uint64_t)alloc_page();
	check_page_fault(read_at, WINDOW, 0);
	check_page_fault(write_at, WINDOW, 2);
	check_page_fault(rmw_at, WINDOW, 2);
	check_page_fault(jump_to, WINDOW, 16);
	map_page(WINDOW, page, PG_P);
	check(!guarded(read_at, (void *)WINDOW).happened);
	check_equal(*page_entry(WINDOW) & (PG_A | PG_D), PG_A);
	check_page_fault(write_at, WINDOW, 3);
	map_page(WINDOW, page, PG_P | PG_W | PG_NX);
	check(!guarded(write_at, (void *)WINDOW).happened);
	check_equal(*page_entry(WINDOW) & (PG_A | PG_D), PG_A | PG_D);
	check_page_fault(jump_to, WINDOW, 0x11);
	/* A write that crosses into a page that is not there: CR2 names the second page, nothing was written. */
	*(uint64_t *)(page + 4088) = 0;
	struct fault f = guarded(write_at, (void *)(WINDOW + 4092));
	check_equal(f.frame.vector, VEC_PF);
	check_equal(f.cr2, WINDOW + 4096);
	check_equal(*(uint64_t *)(page + 4088), 0);
	/* Reserved bit. */
	map_page(WINDOW, page | 1ull << 51, PG_P | PG_W);
	check_page_fault(read_at, WINDOW, 9);
	/* WP off lets the supervisor write a read-only page. */
	map_page(WINDOW, page, PG_P);
	WRITE_CR(0, READ_CR(0) & ~0x10000ull);
	check(!guarded(write_at, (void *)WINDOW).happened);
	WRITE_CR(0, READ_CR(0) | 0x10000ull);
	check_page_fault(write_at, WINDOW, 3);
}

static void protection(void)
{
	check_fault(guarded(read_at, (void *)0x800000000000ull), VEC_GP, 0);
	check_fault(guarded(stack_noncanonical, 0), VEC_SS, 0);
	check_fault(guarded(load_ds, (void *)0x1000ull), VEC_GP, 0x1000);
	check_fault(guarded(load_ds, (void *)0x1004ull), VEC_GP, 0x1004);
	check_fault(guarded(load_ss, (void *)0x08ull), VEC_GP, 0x08);
	check_fault(guarded(load_ss, (void *)0x2bull), VEC_GP, 0x28);
	gdt_spare[0] = 0x00cf12000000ffff; /* data, not present */
	check_fault(guarded(load_ds, (void *)0x50ull), VEC_NP, 0x50);
	check_fault(guarded(load_ss, (void *)0x50ull), VEC_SS, 0x50);
	check_fault(guarded(load_tr, (void *)0x40ull), VEC_GP, 0x40); /* busy */
	check_fault(guarded(bad_cr0, 0), VEC_GP, 0);
	check_fault(guarded(bad_cr4, 0), VEC_GP, 0);
	check_fault(guarded(bad_msr, 0), VEC_GP, 0);
	check_fault(guarded(bad_efer, 0), VEC_GP, 0);
	static uint8_t aligned[32] __attribute__((aligned(16)));
	check_fault(guarded(movaps_unaligned, aligned), VEC_GP, 0);
}

static unsigned traps;

static bool count_trap(struct frame *frame)
{
	traps++;
	return true;
}

static void software_interrupts(void)
{
	handlers[VEC_BP] = count_trap;
	handlers[0x80] = count_trap;
	__asm__ volatile("int3; int $3; int $0x80");
	check_equal(traps, 3);
	handlers[VEC_BP] = handlers[0x80] = NULL;
	set_gate(0x21, guest_exit, 0x0e, 0);
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) idtr, small;
	__asm__ volatile("sidt %0" : "=m"(idtr));
	small = idtr;
	small.limit = 0x20 * 16 + 15;
	__asm__ volatile("lidt %0" ::"m"(small));
	check_fault(guarded(int_not_user, 0), VEC_GP, 0x21 * 8 + 2);
	__asm__ volatile("lidt %0" ::"m"(idtr));
}

static uint64_t steps;

static bool on_debug(struct frame *frame)
{
	steps++;
	uint64_t dr6;
	__asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
	check(dr6 & 0x4000);
	__asm__ volatile("mov %0, %%dr6" ::"r"(0xffff0ff0ull));
	return true;
}

static void single_step(void)
{
	handlers[VEC_DB] = on_debug;
	__asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop; pushfq; andl $~0x100, (%%rsp); popfq" ::: "memory", "cc");
	/* nop, nop, pushfq, andl, popfq: TF was set before each of them. */
	check_equal(steps, 5);
	handlers[VEC_DB] = NULL;
}

static uint64_t nm_rip;

static bool on_nm(struct frame *frame)
{
	nm_rip = frame->rip;
	__asm__ volatile("clts");
	return true;
}

static void device_not_available(void)
{
	handlers[VEC_NM] = on_nm;
	WRITE_CR(0, READ_CR(0) | 8);
	uint64_t here;
	__asm__ volatile("leaq 1f(%%rip), %0\n1: fninit" : "=r"(here));
	check_equal(nm_rip, here);
	handlers[VEC_NM] = NULL;
}

static bool on_ist(struct frame *frame)
{
	check((uint64_t)frame < (uint64_t)ist_stack_top && (uint64_t)frame > (uint64_t)ist_stack_top - 8192);
	traps++;
	frame->rip += 2;
	return true;
}

static void interrupt_stack_table(void)
{
	traps = 0;
	handlers[VEC_UD] = on_ist;
	set_gate(VEC_UD, vector_stubs + 16 * VEC_UD, 0x0e, 1);
	__asm__ volatile("ud2");
	check_equal(traps, 1);
	set_gate(VEC_UD, vector_stubs + 16 * VEC_UD, 0x0e, 0);
	handlers[VEC_UD] = NULL;
}

static void double_fault(void)
{
	/* #NP on the #UD gate is contributory after #UD (benign): delivered alone. */
	set_gate(VEC_UD, vector_stubs + 16 * VEC_UD, 0x0e & 0x7f, 0);
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) idtr;
	__asm__ volatile("sidt %0" : "=m"(idtr));
	uint8_t *gate = (uint8_t *)idtr.base;
	gate[16 * VEC_UD + 5] &= 0x7f;
	check_fault(guarded(undefined, 0), VEC_NP, VEC_UD * 8 + 2 + 1);
	gate[16 * VEC_UD + 5] |= 0x80;
	/* #GP whose gate is not present: contributory after contributory is a double fault. */
	gate[16 * VEC_GP + 5] &= 0x7f;
	check_fault(guarded(bad_msr, 0), VEC_DF, 0);
	gate[16 * VEC_GP + 5] |= 0x80;
}

int guest_main(void)
{
	arithmetic();
	page_faults();
	protection();
	software_interrupts();
	single_step();
	device_not_available();
	interrupt_stack_table();
	double_fault();
	return failures;
}
