/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 32-bit protected mode: BOUND, INTO, stack faults by limit, inner stacks that are no good, conforming code, and a double
 * fault through a task gate. */
#include "guest32.h"

enum { GDT_SPARE = 8, SEL_RING1_CODE = 0x51, SEL_RING1_DATA = 0x59, SEL_GATE1 = 0x63, SEL_CONFORMING = 0x68, SEL_SMALL_STACK = 0x70,
       SEL_DF_TASK = 0x78, SEL_CALL16 = 0x83 };

/* --- BOUND and INTO --- */

static void bound_low(void *p) { __asm__ volatile("bound %0, (%1)" ::"r"(-6), "r"(p)); }
static void bound_in(void *p) { __asm__ volatile("bound %0, (%1); bound %2, (%1)" ::"r"(-5), "r"(p), "r"(9)); }
static void bound_high(void *p) { __asm__ volatile("bound %0, (%1)" ::"r"(10), "r"(p)); }
static void bound16(void *p) { __asm__ volatile("boundw %w0, (%1)" ::"r"(10), "r"(p)); }

static unsigned overflows;
static uint32_t overflow_eip;

static bool on_overflow(struct frame *frame)
{
	overflows++;
	overflow_eip = frame->eip;
	return true;
}

static void ranges(void)
{
	static const int32_t limits[2] = { -5, 9 };
	static const int16_t limits16[2] = { -5, 9 };
	check(!guarded(bound_in, (void *)limits).happened);
	check_fault(guarded(bound_low, (void *)limits), VEC_BR, 0);
	struct fault f = guarded(bound_high, (void *)limits);
	check_fault(f, VEC_BR, 0);
	check_equal(*(uint8_t *)f.frame.eip, 0x62); /* a fault: at the instruction itself */
	check_fault(guarded(bound16, (void *)limits16), VEC_BR, 0);
	handlers[VEC_OF] = on_overflow;
	uint32_t next;
	__asm__ volatile("movl $0x7fffffff, %%eax; incl %%eax; into\n 1: leal 1b, %0; xorl %%eax, %%eax; into" : "=r"(next)::"eax", "cc");
	check_equal(overflows, 1);
	check_equal(overflow_eip, next); /* a trap */
	handlers[VEC_OF] = NULL;
}

/* --- #SS --- */

/* guarded() goes back to the flat stack segment after a fault. */
#define SMALL_STACK "movw $0x70, %%bx; movw %%bx, %%ss;"
static void read_stack(void *p) { __asm__ volatile(SMALL_STACK "movl %%ss:(%0), %%eax" ::"r"(p) : "eax", "ebx"); }
static void read_ebp(void *p)
{
	__asm__ volatile(SMALL_STACK "pushl %%ebp; movl %0, %%ebp; movl (%%ebp), %%eax; popl %%ebp" ::"r"(p) : "eax", "ebx");
}
static void set_ss(uint32_t selector) { __asm__ volatile("movw %w0, %%ss" ::"r"(selector) : "memory"); }

static void stack_faults(void)
{
	/* 16 MB, which holds this program. */
	gdt[SEL_SMALL_STACK >> 3] = descriptor(0, 0xfff, 0x92, 12);
	check_fault(guarded(read_stack, (void *)0x1000000), VEC_SS, 0);
	check_fault(guarded(read_stack, (void *)0xfffffd), VEC_SS, 0);
	check(!guarded(read_stack, (void *)0xfffffc).happened);
	set_ss(SEL_DATA);
	check_fault(guarded(read_ebp, (void *)0x1000000), VEC_SS, 0);
}

/* --- inner stacks --- */

static uint8_t user_stack[4096] __attribute__((aligned(16))), ring1_stack[4096] __attribute__((aligned(16)));
#define USER_TOP ((uint32_t)user_stack + sizeof(user_stack))
uint32_t seen_cs, seen_value;

static void enter_ring3(void *eip)
{
	__asm__ volatile("pushl %0; pushl %1; pushl $2; pushl %2; pushl %3; iretl"
			 ::"i"(SEL_USER_DATA), "r"(USER_TOP), "i"(SEL_USER_CODE), "r"(eip) : "memory");
}

__asm__(".text\n"
	"ring3_gate1: lcall $0x63, $0; int $0x80\n"
	"ring1_procedure: movw %cs, %ss:seen_cs; lret\n"
	"ring3_conforming: movl $0x11, %eax; lcall $0x68, $conforming_procedure; int $0x80\n"
	"conforming_procedure: movw %cs, %ss:seen_cs; lret\n"
	"ring3_int3: int3; int $0x80\n"
	"ring3_int21: int $0x21\n"
	"ring3_call16: pushw $0x1234; lcall $0x83, $0\n"
	"procedure16: movw 4(%esp), %ax; movl %eax, %ss:seen_value; int $0x80\n");
extern uint8_t ring3_gate1[], ring1_procedure[], ring3_conforming[], ring3_int3[], ring3_int21[], ring3_call16[], procedure16[];

static uint64_t call_gate(uint32_t to, uint16_t selector, unsigned type_dpl, unsigned count)
{
	return to % 0x10000 | (uint64_t)selector << 16 | (uint64_t)count << 32 | (uint64_t)type_dpl << 40 | (uint64_t)(to >> 16) << 48;
}

static void inner_stacks(void)
{
	gdt[SEL_RING1_CODE >> 3] = descriptor(0, 0xfffff, 0xba, 12);
	gdt[SEL_RING1_DATA >> 3] = descriptor(0, 0xfffff, 0xb2, 12);
	gdt[SEL_GATE1 >> 3] = call_gate((uint32_t)ring1_procedure, SEL_RING1_CODE, 0xec, 0);
	tss_main.esp1 = (uint32_t)ring1_stack + sizeof(ring1_stack);
	tss_main.ss1 = SEL_RING1_DATA;
	struct fault f = guarded(enter_ring3, ring3_gate1);
	check_fault(f, 0x80, 0);
	check_equal(seen_cs & 0xffff, SEL_RING1_CODE);
	check_equal(f.frame.cs, SEL_USER_CODE);
	check_equal(f.frame.esp, USER_TOP);
	/* SS1 of a wrong level, no selector, not writable, not present. */
	tss_main.ss1 = SEL_DATA;
	check_fault(guarded(enter_ring3, ring3_gate1), VEC_TS, SEL_DATA);
	tss_main.ss1 = 0;
	check_fault(guarded(enter_ring3, ring3_gate1), VEC_TS, 0);
	tss_main.ss1 = 0x7f9;
	check_fault(guarded(enter_ring3, ring3_gate1), VEC_TS, 0x7f8);
	tss_main.ss1 = SEL_RING1_CODE;
	check_fault(guarded(enter_ring3, ring3_gate1), VEC_TS, SEL_RING1_CODE & ~3);
	tss_main.ss1 = SEL_RING1_DATA;
	gdt[SEL_RING1_DATA >> 3] = descriptor(0, 0xfffff, 0x32, 12);
	check_fault(guarded(enter_ring3, ring3_gate1), VEC_SS, SEL_RING1_DATA & ~3);
	/* Too small for the frame. */
	gdt[SEL_RING1_DATA >> 3] = descriptor(0, 0xf, 0xb2, 4);
	check_fault(guarded(enter_ring3, ring3_gate1), VEC_SS, SEL_RING1_DATA & ~3);
	gdt[SEL_RING1_DATA >> 3] = descriptor(0, 0xfffff, 0xb2, 12);
	/* A TSS that ends before the entry for ring 1. */
	uint64_t saved = gdt[SEL_TSS >> 3];
	gdt[SEL_TSS >> 3] = (saved & ~(2ull << 40 | 0xffff)) | 0x0f;
	__asm__ volatile("ltr %w0" ::"r"(SEL_TSS));
	check_fault(guarded(enter_ring3, ring3_gate1), VEC_TS, SEL_TSS);
	gdt[SEL_TSS >> 3] = saved & ~(2ull << 40);
	__asm__ volatile("ltr %w0" ::"r"(SEL_TSS));
	/* Conforming code runs at the caller's level. */
	gdt[SEL_CONFORMING >> 3] = descriptor(0, 0xfffff, 0x9e, 12);
	f = guarded(enter_ring3, ring3_conforming);
	check_fault(f, 0x80, 0);
	check_equal(seen_cs & 0xffff, SEL_CONFORMING | 3);
	/* INT n through a gate of DPL 0 from ring 3. */
	check_fault(guarded(enter_ring3, ring3_int21), VEC_GP, 0x21 * 8 + 2);
	f = guarded(enter_ring3, ring3_int3);
	check_fault(f, VEC_BP, 0);
	check_equal(f.frame.eip, (uint32_t)ring3_int3 + 1);
	/* A 16-bit call gate with one parameter word: the frame has words. */
	extern uint8_t procedure16_copy[];
	for (unsigned i = 0; i < 32; i++)
		procedure16_copy[i] = procedure16[i];
	gdt[SEL_CALL16 >> 3] = call_gate(0, 0x98, 0xe4, 1);
	gdt[0x98 >> 3] = descriptor((uint32_t)procedure16_copy, 0xffff, 0x9a, 4);
	f = guarded(enter_ring3, ring3_call16);
	check_fault(f, 0x80, 0);
	check_equal(f.frame.cs, 0x98);
	check_equal(seen_value & 0xffff, 0x1234);
}
__asm__(".data\n .globl procedure16_copy\n procedure16_copy: .fill 32\n .text\n");

/* --- a double fault through a task gate: the only way to survive a broken stack --- */

static struct tss32 df_task;
static uint8_t df_stack[4096] __attribute__((aligned(16)));
static uint32_t df_error;
uint32_t df_resume_esp;
extern uint8_t df_resume[];

static unsigned df_count, df_link, df_eip;

static void __attribute__((used)) df_body(void)
{
	for (;;) {
		df_count++;
		df_error = *(uint32_t *)(df_stack + sizeof(df_stack) - 16 - 4);
		df_link = df_task.link;
		df_eip = tss_main.eip;
		tss_main.eip = (uint32_t)df_resume;
		tss_main.esp = df_resume_esp;
		tss_main.eflags &= ~0x10000u;
		__asm__ volatile("iretl" ::: "memory");
	}
}

/* Pushes to a stack that is not there: #SS, and again for its frame. */
void break_stack(void);
__asm__(".text\n"
	"break_stack: pushal; movl %esp, df_resume_esp; movl $0x2000000, %esp\n"
	"break_stack_at: pushl $0\n"
	"df_resume: popal; ret\n");
extern uint8_t break_stack_at[];

static void double_fault_task(void)
{
	df_task = (struct tss32){ .eip = (uint32_t)df_body, .eflags = 2, .esp = (uint32_t)df_stack + sizeof(df_stack) - 16, .es = SEL_DATA,
				  .cs = SEL_CODE, .ss = SEL_DATA, .ds = SEL_DATA, .fs = SEL_DATA, .gs = SEL_DATA, .iomap = 0xffff };
	gdt[SEL_DF_TASK >> 3] = descriptor((uint32_t)&df_task, 103, 0x89, 0);
	set_gate(VEC_DF, SEL_DF_TASK, 0, 0x05);
	set_ss(SEL_SMALL_STACK);
	break_stack();
	set_ss(SEL_DATA);
	__asm__ volatile("clts");
	check_equal(df_count, 1);
	check_equal(df_error, 0);
	check_equal(df_link, SEL_TSS);
	check_equal(df_eip, (uint32_t)break_stack_at);
	check_equal(gdt[SEL_DF_TASK >> 3] >> 40 & 0xff, 0x89);
}

int guest_main(void)
{
	ranges();
	stack_faults();
	inner_stacks();
	double_fault_task();
	return failures;
}
