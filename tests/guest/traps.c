/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Alignment checks, x87 and SIMD exceptions, what 64-bit mode does not have, and NMI by the local APIC. */
#include "guest.h"

/* --- #AC: CPL 3 with RFLAGS.AC and CR0.AM (SDM 3A, 6.15) --- */

#define USER(name, ...) \
	__asm__(".text\n" #name "_: " __VA_ARGS__ "; int $0x80\n" #name "_end: .byte 0xcc\n"); \
	extern uint8_t name##_[], name##_end[]
#define RUN(name, argument) run_user_code(name##_, name##_end, argument)
#define AC_ON "pushfq; orl $0x40000, (%rsp); popfq;"

USER(word_odd, AC_ON "movw 1(%rdi), %ax");
USER(dword_at_2, AC_ON "movl 2(%rdi), %eax");
USER(qword_at_4, AC_ON "movq 4(%rdi), %rax");
USER(store_at_1, AC_ON "movl %eax, 1(%rdi)");
USER(aligned, AC_ON "movb 1(%rdi), %al; movw 2(%rdi), %ax; movl 4(%rdi), %eax; movq 8(%rdi), %rax; movq %rax, 16(%rdi)");
USER(no_flag, "movl 1(%rdi), %eax");
USER(push_odd, AC_ON "subq $1, %rsp; pushq %rax");
USER(locked, AC_ON "lock incl 1(%rdi)");
USER(absent, AC_ON "movl 4093(%rdi), %eax");

static void alignment(void)
{
	uint64_t at = USER_STACK + 512;
	check_fault(RUN(word_odd, at), 0x80, 0); /* CR0.AM is off */
	WRITE_CR(0, READ_CR(0) | 0x40000);
	struct fault f = RUN(word_odd, at);
	check_equal(f.frame.vector, VEC_AC);
	check_equal(f.frame.error, 0);
	check_equal(f.frame.rip, USER_CODE + (uint64_t)(word_odd_end - word_odd_) - 2 - 4);
	check_fault(RUN(dword_at_2, at), VEC_AC, 0);
	check_fault(RUN(qword_at_4, at), VEC_AC, 0);
	check_fault(RUN(store_at_1, at), VEC_AC, 0);
	check_fault(RUN(push_odd, at), VEC_AC, 0);
	check_fault(RUN(locked, at), VEC_AC, 0);
	check_fault(RUN(aligned, at), 0x80, 0);
	check_fault(RUN(no_flag, at), 0x80, 0);
	/* Not at CPL 0, where the flag means something else. */
	uint64_t two[2];
	__asm__ volatile("pushfq; orl $0x40000, (%%rsp); popfq; movq %%rax, 1(%0); pushfq; andl $~0x40000, (%%rsp); popfq" ::"r"(two) : "memory", "cc");
	WRITE_CR(0, READ_CR(0) & ~0x40000ull);
}

/* --- x87 and SIMD --- */

static volatile unsigned traps;
static volatile struct frame last;

static bool on_mf(struct frame *frame)
{
	traps++;
	last = *frame;
	__asm__ volatile("fnclex");
	return true;
}

static void x87_error(void)
{
	uint16_t control = 0x37b, status; /* #Z unmasked */
	extern uint8_t mf_at[], mf_next[];
	handlers[VEC_MF] = on_mf;
	/* The division leaves the exception pending; instructions that do not wait do not raise it, the next waiting one does. */
	__asm__ volatile("fninit; fldcw %1; fldz; fld1; fdiv %%st(1), %%st; fnstsw %%ax; movw %%ax, %0\n mf_at: fwait; fninit"
			 : "=m"(status) : "m"(control) : "rax");
	check_equal(traps, 1);
	check_equal(last.rip, (uint64_t)mf_at);
	check_equal(status & 0x84, 0x84); /* ES and ZE */
	traps = 0;
	__asm__ volatile("fldcw %0; fldz; fld1; fdiv %%st(1), %%st; nop\n mf_next: fld1; fninit" ::"m"(control));
	check_equal(traps, 1);
	check_equal(last.rip, (uint64_t)mf_next);
	/* Invalid operation by an empty register, masked: no fault. */
	traps = 0;
	__asm__ volatile("fninit; fstp %%st(0); fwait; fnstsw %%ax; movw %%ax, %0; fninit" : "=m"(status)::"rax");
	check_equal(traps, 0);
	check_equal(status & 0x41, 0x41); /* IE and SF */
	handlers[VEC_MF] = NULL;
}

static void divide_simd(void *p)
{
	static const uint32_t one = 0x3f800000;
	__asm__ volatile("movss %0, %%xmm1; xorps %%xmm2, %%xmm2; divss %%xmm2, %%xmm1" ::"m"(one));
}

static void simd_error(void)
{
	uint32_t csr = 0x1d80, out; /* ZM clear */
	__asm__ volatile("ldmxcsr %0" ::"m"(csr));
	check_fault(guarded(divide_simd, 0), VEC_XM, 0);
	__asm__ volatile("stmxcsr %0" : "=m"(out));
	check_equal(out & 0x3f, 4);
	__asm__ volatile("movd %%xmm1, %0" : "=r"(out));
	check_equal(out, 0x3f800000); /* the destination as it was */
	WRITE_CR(4, READ_CR(4) & ~0x400ull);
	check_fault(guarded(divide_simd, 0), VEC_UD, 0);
	WRITE_CR(4, READ_CR(4) | 0x400);
	csr = 0x1f80;
	__asm__ volatile("ldmxcsr %0" ::"m"(csr));
	check(!guarded(divide_simd, 0).happened);
}

static void load_mxcsr(void *p) { __asm__ volatile("ldmxcsr (%0)" ::"r"(p)); }
static void use_sse(void *p) { __asm__ volatile("xorps %xmm0, %xmm0"); }
static void use_x87(void *p) { __asm__ volatile("fnop"); }
static void use_fwait(void *p) { __asm__ volatile("fwait"); }

static void fpu_off(void)
{
	uint32_t csr = 0x80001f80;
	check_fault(guarded(load_mxcsr, &csr), VEC_GP, 0);
	uint64_t cr0 = READ_CR(0);
	WRITE_CR(0, cr0 | 4); /* EM */
	check_fault(guarded(use_x87, 0), VEC_NM, 0);
	check_fault(guarded(use_sse, 0), VEC_UD, 0);
	WRITE_CR(0, cr0 | 8); /* TS; with MP for FWAIT */
	check_fault(guarded(use_x87, 0), VEC_NM, 0);
	check_fault(guarded(use_sse, 0), VEC_NM, 0);
	check_fault(guarded(use_fwait, 0), VEC_NM, 0);
	WRITE_CR(0, (cr0 | 8) & ~2ull);
	check(!guarded(use_fwait, 0).happened);
	WRITE_CR(0, cr0);
	WRITE_CR(4, READ_CR(4) & ~0x200ull); /* OSFXSR */
	check_fault(guarded(use_sse, 0), VEC_UD, 0);
	WRITE_CR(4, READ_CR(4) | 0x200);
}

/* --- one-byte instructions that 64-bit mode lacks --- */

#define LACKS(name, byte) static void name(void *p) { __asm__ volatile(".byte " #byte ", 0, 0, 0, 0, 0, 0, 0, 0"); }
LACKS(push_es, 0x06) LACKS(pop_ds, 0x1f) LACKS(daa, 0x27) LACKS(aas, 0x3f) LACKS(pusha, 0x60) LACKS(popa, 0x61) LACKS(far_call, 0x9a)
LACKS(into, 0xce) LACKS(aam, 0xd4) LACKS(far_jump, 0xea) LACKS(group_82, 0x82) LACKS(salc, 0xd6)

static void not_in_64bit(void)
{
	static void (*const all[])(void *) = { push_es, pop_ds, daa, aas, pusha, popa, far_call, into, aam, far_jump, group_82, salc };
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		check_fault(guarded(all[i], 0), VEC_UD, 0);
}

/* --- NMI --- */

#define LAPIC(offset) (*(volatile uint32_t *)(0xfee00000ull + (offset)))
static volatile unsigned nmis, depth, deepest, sent_inside;
static volatile bool nested_iret;

static void send_nmi(void)
{
	LAPIC(0x310) = LAPIC(0x20);
	LAPIC(0x300) = 0x4400; /* physical destination: itself */
	while (LAPIC(0x300) & 0x1000)
		;
	for (volatile int i = 0; i < 1000; i++)
		;
}

static bool on_breakpoint(struct frame *frame) { return true; }

static bool on_nmi(struct frame *frame)
{
	nmis++;
	if (++depth > deepest)
		deepest = depth;
	if (sent_inside) {
		sent_inside = 0;
		send_nmi();
		check_equal(deepest, 1); /* blocked until IRET */
		if (nested_iret)
			__asm__ volatile("int3"); /* its handler's IRET ends the block (SDM 3A, 6.7.1) */
	}
	depth--;
	return true;
}

static void nmi(void)
{
	handlers[VEC_NMI] = on_nmi;
	handlers[VEC_BP] = on_breakpoint;
	wrmsr(0x1b, rdmsr(0x1b) | 0x800);
	LAPIC(0xf0) = 0x1ff;
	send_nmi(); /* whatever RFLAGS.IF is */
	check_equal(nmis, 1);
	nmis = 0;
	sent_inside = 1;
	send_nmi();
	check_equal(nmis, 2);
	check_equal(deepest, 1);
	nmis = 0;
	sent_inside = 1;
	nested_iret = true;
	send_nmi();
	check_equal(nmis, 2);
	check_equal(deepest, 2);
	/* INT 2 is no NMI: it blocks nothing. */
	nmis = deepest = 0;
	nested_iret = false;
	__asm__ volatile("int $2");
	send_nmi();
	check_equal(nmis, 2);
	handlers[VEC_NMI] = handlers[VEC_BP] = NULL;
}

int guest_main(void)
{
	alignment();
	x87_error();
	simd_error();
	fpu_off();
	not_in_64bit();
	nmi();
	return failures;
}
