/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User code that an engine may have the processor execute as it is: what tells of the processor's own state must be the guest's, code and
 * pages may change under it, and nothing of its state may be lost when it is stopped. Option: direct=1 sets the processor up as systems do.
 */
#include "guest.h"

#define USER(name, ...) \
	__asm__(".text\n" #name "_: " __VA_ARGS__ "; int $0x80\n" #name "_end: .byte 0xcc\n"); \
	extern uint8_t name##_[], name##_end[]
#define RUN(name, argument) run_user_code(name##_, name##_end, (uint64_t)(argument))

/* --- what is the guest's --- */

USER(user_cpuid, "movl %edi, %eax; xorl %ecx, %ecx; cpuid");
USER(user_sldt, "movl $-1, %eax; sldt %eax");
USER(user_str, "movl $-1, %eax; str %eax");
USER(user_smsw, "xorl %eax, %eax; smsw %rax");
USER(user_sgdt, "sgdt -16(%rsp); movzwl -16(%rsp), %eax; movq -14(%rsp), %rbx");
USER(user_sidt, "sidt -16(%rsp); movzwl -16(%rsp), %eax; movq -14(%rsp), %rbx");
USER(user_lsl, "movl $-1, %eax; lsl %edi, %eax; setz %bl");
USER(user_verr, "verr %di; setz %bl");
USER(user_tsc, "rdtsc; shlq $32, %rdx; leaq (%rax,%rdx), %rbx; rdtsc; shlq $32, %rdx; addq %rdx, %rax; subq %rbx, %rax");
USER(user_selectors, "movl %ds, %eax; movl %es, %ebx; movl %fs, %ecx; movl %gs, %edx; movl %cs, %esi; movl %ss, %edi");
USER(user_flags, "pushfq; popq %rax");
/* Bytes of such an instruction inside others are none. */
USER(user_inside, "movl $0xa20f, %eax; movl $0x80cd, %ebx; cmpl $0x0f, %edi; jmp 1f; .fill 0x20f, 1, 0x90; 1: addl %ebx, %eax");

static void tells_of_guest(void)
{
	for (unsigned leaf = 0; leaf < 8; leaf++) {
		struct fault f = RUN(user_cpuid, leaf);
		struct cpuid ours = cpuid(leaf, 0);
		check_equal(f.frame.rax, ours.a);
		if (leaf != 1)
			check_equal(f.frame.rbx, ours.b);
		check_equal(f.frame.rdx, ours.d);
	}
	uint16_t tr, ldt;
	struct table_pointer gdt;
	__asm__ volatile("str %0; sldt %1; sgdt %2" : "=r"(tr), "=r"(ldt), "=m"(gdt));
	check_equal(RUN(user_str, 0).frame.rax, tr);
	check_equal(RUN(user_sldt, 0).frame.rax, ldt);
	check_equal((uint16_t)RUN(user_smsw, 0).frame.rax, (uint16_t)READ_CR(0));
	struct fault f = RUN(user_sgdt, 0);
	check_equal(f.frame.rax, gdt.limit);
	check_equal(f.frame.rbx, gdt.base);
	f = RUN(user_sidt, 0);
	check_equal(f.frame.rax, guest_idtr.limit);
	check_equal(f.frame.rbx, guest_idtr.base);
	f = RUN(user_lsl, 0x7b); /* a segment of Linux's, not of this guest's */
	check_equal(f.frame.rbx & 1, 0);
	f = RUN(user_verr, 0x7b);
	check_equal(f.frame.rbx & 1, 0);
	f = RUN(user_lsl, SEL_USER_DATA);
	check_equal(f.frame.rbx & 1, 1);
	check(RUN(user_tsc, 0).frame.rax < 1ull << 40);
	f = RUN(user_selectors, 0);
	check_equal(f.frame.rsi, SEL_USER64);
	check_equal(f.frame.rdi, SEL_USER_DATA);
	check_equal(f.frame.rcx | f.frame.rdx, 0);
	check_equal(RUN(user_flags, 0).frame.rax & ~0x200ull & ~0x8d5ull, 2);
	check_equal(RUN(user_inside, 0).frame.rax, 0xa20f + 0x80cd);
}

/* --- exceptions --- */

USER(user_int3, "nop; int3; nop");
USER(user_int3_long, "nop; .byte 0xcd, 3; nop");
USER(user_step, "pushfq; orl $0x100, (%rsp); popfq; nop; nop");
USER(user_divide, "xorl %edx, %edx; xorl %ecx, %ecx; divl %ecx");
USER(user_undefined, "ud2");
USER(user_privileged, "cli");
USER(user_wild, "movabsq $0x8000000000000000, %rax; movq (%rax), %rax");
USER(user_simd, "ldmxcsr (%rdi); pxor %xmm0, %xmm0; divss %xmm0, %xmm0");

static void exceptions(void)
{
	struct fault f = RUN(user_int3, 0);
	check_equal(f.frame.vector, VEC_BP);
	check_equal(f.frame.rip, USER_CODE + 2);
	f = RUN(user_int3_long, 0);
	check_equal(f.frame.vector, VEC_BP);
	check_equal(f.frame.rip, USER_CODE + 3);
	f = RUN(user_step, 0);
	check_equal(f.frame.vector, VEC_DB);
	check_equal(f.frame.rip, USER_CODE + (uint64_t)(user_step_end - user_step_) - 2 - 1);
	check_fault(RUN(user_divide, 0), VEC_DE, 0);
	check_fault(RUN(user_undefined, 0), VEC_UD, 0);
	check_fault(RUN(user_privileged, 0), VEC_GP, 0);
	check_fault(RUN(user_wild, 0), VEC_GP, 0);
	uint32_t *unmasked = alloc_page();
	*unmasked = 0x1f00; /* invalid operations */
	map_page(USER_CODE + 0x20000, (uint64_t)unmasked, PG_P | PG_U);
	check_fault(RUN(user_simd, USER_CODE + 0x20000), VEC_XM, 0);
	__asm__ volatile("ldmxcsr %0" ::"m"((uint32_t){ 0x1f80 }));
}

/* --- code and pages that change --- */

#define PAGE (USER_CODE + 0x40000)
/* Writes an instruction that gives a number, and calls it, again and again. */
USER(user_writes_code, "xorl %ebx, %ebx; movl $300, %ecx\n"
     "1:	movb $0xb8, (%rdi); movl %ecx, 1(%rdi); movb $0xc3, 5(%rdi); call *%rdi; addl %eax, %ebx; decl %ecx; jnz 1b; movl %ebx, %eax");
USER(user_calls, "call *%rdi");
USER(user_reads, "movq (%rdi), %rax");
USER(user_sums, "xorl %eax, %eax; movl $16, %ecx; 1: addq (%rdi), %rax; addq $4096, %rdi; decl %ecx; jnz 1b");

static void changes(void)
{
	uint8_t *page = alloc_page(), *other = alloc_page();
	map_page(PAGE, (uint64_t)page, PG_P | PG_W | PG_U);
	check_equal(RUN(user_writes_code, PAGE).frame.rax, 300 * 301 / 2);
	/* The kernel writes code there by another address: at last one of those instructions that are not for user code to see. */
	for (unsigned i = 0; i < 20; i++) {
		page[0] = 0xb8;
		*(uint32_t *)(page + 1) = i;
		page[5] = 0xc3;
		check_equal(RUN(user_calls, PAGE).frame.rax, i);
	}
	uint16_t tr;
	__asm__ volatile("str %0" : "=r"(tr));
	static const uint8_t str_eax[] = { 0x0f, 0x00, 0xc8, 0xc3 };
	for (unsigned i = 0; i < sizeof(str_eax); i++)
		page[i] = str_eax[i];
	check_equal(RUN(user_calls, PAGE).frame.rax, tr);
	/* Another page, then none, then one that is not to be executed. */
	other[0] = 0xb8;
	other[1] = 77;
	other[5] = 0xc3;
	map_page(PAGE, (uint64_t)other, PG_P | PG_U);
	check_equal(RUN(user_calls, PAGE).frame.rax, 77);
	map_page(PAGE, 0, 0);
	check_fault(RUN(user_calls, PAGE), VEC_PF, 0x14);
	check_fault(RUN(user_reads, PAGE), VEC_PF, 4);
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
	map_page(PAGE, (uint64_t)page, PG_P | PG_U | PG_NX);
	check_fault(RUN(user_calls, PAGE), VEC_PF, 0x15);
	check(!RUN(user_reads, PAGE).frame.error);
	/* A page for each run of pages in turn, after CR3 was written. */
	static uint64_t *pages[16];
	for (unsigned i = 0; i < 16; i++) {
		pages[i] = alloc_page();
		*pages[i] = i * i + 1;
	}
	for (unsigned round = 0; round < 20; round++) {
		uint64_t want = 0;
		for (unsigned i = 0; i < 16; i++) {
			*page_entry(PAGE + 0x10000 + i * 4096ull) = (uint64_t)pages[(i * 7 + round) % 16] | PG_P | PG_U;
			want += *pages[i];
		}
		WRITE_CR(3, READ_CR(3));
		check_equal(RUN(user_sums, PAGE + 0x10000).frame.rax, want);
	}
}

/* --- state --- */

static volatile unsigned ticks;
static bool calls_back(struct frame *frame)
{
	ticks++;
	frame->rax = frame->rax * 3 + 1;
	return true;
}

/* Registers of all kinds over many stops. */
USER(user_state, "movq %rdi, %xmm3; vpbroadcastq %xmm3, %ymm7; fninit; fldpi; movl $2000, %ecx; movl $1, %eax; movq %rdi, %r9; movq %rdi, %r13; std\n"
     "1:	int $0x81; incq %r9; leaq 3(%r13), %r13; loop 1b\n"
     "	cld; vextracti128 $1, %ymm7, %xmm0; movq %xmm0, %rbx; movq %xmm3, %rdx; fldpi; fcomip %st(1), %st; setz %cl; fstp %st");

static void state(void)
{
	uint64_t want = 1, number = 0x123456789abcdef0;
	set_gate(0x81, vector_stubs + 16 * 0x81, 0x6e, 0);
	handlers[0x81] = calls_back;
	struct fault f = RUN(user_state, number);
	for (unsigned i = 0; i < 2000; i++)
		want = want * 3 + 1;
	check_equal(ticks, 2000);
	check_equal(f.frame.rax, want);
	check_equal(f.frame.rbx, number);
	check_equal(f.frame.rdx, number);
	check_equal(f.frame.rcx, 1);
	check_equal(f.frame.r9, number + 2000);
	check_equal(f.frame.r13, number + 6000);
}

int guest_main(void)
{
	tells_of_guest();
	exceptions();
	changes();
	if (guest_option("direct", 0))
		state(); /* AVX is on */
	return failures;
}
