/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sensitive unprivileged instructions in 32-bit code at CPL 3 and in virtual-8086 mode: the guest's values, or its faults. */
#include "guest32.h"

static uint8_t user_stack[4096] __attribute__((aligned(16)));
#define USER_TOP ((uint32_t)user_stack + sizeof(user_stack))
#define MODE_TSD 4u

struct start {
	const uint8_t *eip;
	uint32_t argument, flags;
};

static void enter(void *opaque)
{
	struct start *s = opaque;
	__asm__ volatile("pushl %0; pushl %1; pushl %2; pushl %3; pushl %4; iretl" ::"i"(SEL_USER_DATA), "r"(USER_TOP), "r"(s->flags),
			 "i"(SEL_USER_CODE), "r"(s->eip), "D"(s->argument) : "memory");
}

static struct fault user_with(const uint8_t *eip, uint32_t argument, uint32_t flags)
{
	struct start s = { eip, argument, flags | 2 };
	return guarded(enter, &s);
}

static struct frame user(const uint8_t *eip, uint32_t argument, int line)
{
	struct fault f = user_with(eip, argument, 0);
	check_equal_(f.frame.vector, 0x80, "vector", __FILE_NAME__, line);
	return f.frame;
}
#define USER(name, ...) __asm__(".text\n" #name "_: " __VA_ARGS__ "; int $0x80\n"); extern uint8_t name##_[]
#define USER_FRAME(name, argument) user(name##_, argument, __LINE__)
#define RUN(name, argument) user_with(name##_, argument, 0)
/* SS is the one data segment that IRET leaves: the others are null. */
#define SET_DS "movl %ss, %eax; movl %eax, %ds; "

USER(u_sgdt, SET_DS "subl $16, %esp; sgdt (%esp); movzwl (%esp), %eax; movl 2(%esp), %ebx");
USER(u_sidt, SET_DS "subl $16, %esp; sidt (%esp); movzwl (%esp), %eax; movl 2(%esp), %ebx");
USER(u_sldt, "movl $-1, %eax; sldt %eax; movl $-1, %ebx; sldt %bx; pushl $-1; sldt (%esp); popl %ecx");
USER(u_str, "movl $-1, %eax; str %eax; movl $-1, %ebx; str %bx; pushl $-1; str (%esp); popl %ecx");
USER(u_smsw, "movl $-1, %eax; smsw %eax; movl $-1, %ebx; smsw %bx; pushl $-1; smsw (%esp); popl %ecx");
USER(u_lar, "xorl %eax, %eax; movl $1, %ebx; larl %edi, %ebx; setz %al");
USER(u_lsl, "xorl %eax, %eax; movl $1, %ebx; lsll %edi, %ebx; setz %al");
USER(u_verr, "xorl %eax, %eax; verr %di; setz %al");
USER(u_verw, "xorl %eax, %eax; verw %di; setz %al");

static void queries(void)
{
	struct { uint16_t limit; uint32_t base; } __attribute__((packed)) gdtr, idtr;
	__asm__ volatile("sgdt %0; sidt %1" : "=m"(gdtr), "=m"(idtr));
	check_equal(gdtr.base, (uint32_t)gdt);
	struct frame f = USER_FRAME(u_sgdt, 0);
	check_equal(f.eax, gdtr.limit);
	check_equal(f.ebx, gdtr.base);
	f = USER_FRAME(u_sidt, 0);
	check_equal(f.eax, idtr.limit);
	check_equal(f.ebx, idtr.base);
	static uint64_t ldt[2];
	gdt[8] = descriptor((uint32_t)ldt, sizeof(ldt) - 1, 0x82, 0);
	__asm__ volatile("lldt %w0" ::"r"(SEL_SPARE));
	f = USER_FRAME(u_sldt, 0);
	check_equal(f.eax, SEL_SPARE);
	check_equal(f.ebx, 0xffff0000 | SEL_SPARE);
	check_equal(f.ecx, 0xffff0000 | SEL_SPARE);
	__asm__ volatile("lldt %w0" ::"r"(0));
	f = USER_FRAME(u_str, 0);
	check_equal(f.eax, SEL_TSS);
	check_equal(f.ebx, 0xffff0000 | SEL_TSS);
	check_equal(f.ecx, 0xffff0000 | SEL_TSS);
	f = USER_FRAME(u_smsw, 0);
	check_equal(f.eax & 0xffff, READ_CR(0) & 0xffff);
	check_equal(f.ebx, 0xffff0000 | (READ_CR(0) & 0xffff));
	check_equal(f.ecx, 0xffff0000 | (READ_CR(0) & 0xffff));
	static const struct { uint16_t selector; bool visible; uint32_t rights, limit; bool readable, writable; } all[] = {
		{ SEL_USER_DATA, true, 0xcff200, 0xffffffff, true, true }, { SEL_USER_CODE, true, 0xcffa00, 0xffffffff, true, false },
		{ SEL_DATA, false, 0, 0, false, false }, { SEL_CODE, false, 0, 0, false, false }, { SEL_TSS, false, 0, 0, false, false },
		{ 0, false, 0, 0, false, false }, { 0x7f8, false, 0, 0, false, false }, { 0x0c, false, 0, 0, false, false },
	};
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		f = USER_FRAME(u_lar, all[i].selector);
		check_equal(f.eax & 0xff, all[i].visible);
		check_equal(all[i].visible ? f.ebx & 0xf0fe00 : f.ebx, all[i].visible ? all[i].rights & 0xf0fe00 : 1);
		f = USER_FRAME(u_lsl, all[i].selector);
		check_equal(f.eax & 0xff, all[i].visible);
		check_equal(f.ebx, all[i].visible ? all[i].limit : 1);
		check_equal(USER_FRAME(u_verr, all[i].selector).eax & 0xff, all[i].readable);
		check_equal(USER_FRAME(u_verw, all[i].selector).eax & 0xff, all[i].writable);
	}
}

USER(u_pushf, "pushfl; popl %eax; pushfw; popw %bx; movzwl %bx, %ebx");
USER(u_popf, "pushl %edi; popfl; pushfl; popl %eax");
USER(u_popfw, "pushw %di; popfw; pushfl; popl %eax");

static void flags(void)
{
	struct frame f = USER_FRAME(u_pushf, 0);
	check_equal(f.eax, 2);
	check_equal(f.ebx, 2);
	uint32_t wanted = 0x3e7ed7, kept = 0x244cd7;
	f = USER_FRAME(u_popf, wanted);
	check_equal(f.eax, kept);
	f = USER_FRAME(u_popfw, wanted);
	check_equal(f.eax, kept & 0xffff);
	struct fault r = user_with(u_popf_, 0x46d7, 0x3000);
	check_equal(r.frame.vector, 0x80);
	check_equal(r.frame.eax, 0x76d7);
	r = user_with(u_popf_, 0x0002, 0x3200);
	check_equal(r.frame.eax, 0x3002);
}

USER(u_get, "movl %cs, %eax; movl %ss, %ebx; movl %ds, %ecx; movl %es, %edx; movl %fs, %esi; movl %gs, %edi");
USER(u_stack, "pushl %ss; popl %ds; pushl %ss; popl %es; pushl %ss; popl %fs; pushl $0; popl %gs; pushl %cs; popl %eax; pushl %ds; popl %ebx;"
	"pushl %es; popl %ecx; pushl %fs; popl %edx; pushl %gs; popl %esi; pushl %ss; popl %edi; pushl $0x7f001b; popl %fs; movl %fs, %esi");
USER(u_to_ds, "movl %edi, %ds");
USER(u_to_ss, "movl %edi, %ss");
USER(u_pop_es, "pushl %edi; popl %es");
USER(u_pop_ss, "pushl %edi; popl %ss");
USER(u_les, "pushl %edi; pushl $0; les (%esp), %eax");
USER(u_lss, "pushl %edi; pushl $0; lss (%esp), %eax");

static void segments(void)
{
	struct frame f = USER_FRAME(u_get, 0);
	check_equal(f.eax, SEL_USER_CODE);
	check_equal(f.ebx, SEL_USER_DATA);
	check_equal(f.ecx | f.edx | f.esi | f.edi, 0);
	f = USER_FRAME(u_stack, 0);
	check_equal(f.eax & 0xffff, SEL_USER_CODE);
	check_equal(f.ebx & 0xffff, SEL_USER_DATA);
	check_equal(f.ecx & 0xffff, SEL_USER_DATA);
	check_equal(f.edx & 0xffff, SEL_USER_DATA);
	check_equal(f.edi & 0xffff, SEL_USER_DATA);
	check_equal(f.esi, 0x1b); /* POP takes the low word */
}

static void bad_segments(void)
{
	check_fault(RUN(u_to_ds, SEL_DATA), VEC_GP, SEL_DATA);
	check_fault(RUN(u_to_ds, SEL_DATA | 3), VEC_GP, SEL_DATA);
	check_fault(RUN(u_to_ds, SEL_TSS), VEC_GP, SEL_TSS);
	check_fault(RUN(u_pop_es, SEL_DATA), VEC_GP, SEL_DATA);
	check_fault(RUN(u_pop_es, 0x7fb), VEC_GP, 0x7f8);
	check_fault(RUN(u_les, SEL_DATA), VEC_GP, SEL_DATA);
	check_fault(RUN(u_to_ss, SEL_DATA), VEC_GP, SEL_DATA);
	check_fault(RUN(u_to_ss, SEL_USER_DATA & ~3), VEC_GP, SEL_USER_DATA & ~3); /* RPL is not CPL */
	check_fault(RUN(u_to_ss, SEL_USER_CODE), VEC_GP, SEL_USER_CODE & ~3);
	check_fault(RUN(u_pop_ss, 0), VEC_GP, 0);
	check_fault(RUN(u_lss, SEL_DATA), VEC_GP, SEL_DATA);
}

#define FAR(op) "pushl %edi; pushl $0; " op " *(%esp)"
USER(u_call, FAR("lcall"));
USER(u_jmp, FAR("ljmp"));
USER(u_call_own, "lcall $0x1b, $1f; int3; 1: popl %eax; popl %ebx");
USER(u_jmp_own, "ljmp $0x1b, $1f; int3; 1: movl %cs, %eax");
USER(u_retf, "pushl %edi; pushl $0; lret");
USER(u_retf_own, "pushl %cs; pushl $1f; lret; int3; 1: movl %cs, %eax");
USER(u_iret, "pushl $2; pushl %edi; pushl $0; iretl");
USER(u_iret_own, "pushl $0x3202; pushl %cs; pushl $1f; iretl; int3; 1: pushfl; popl %eax");
USER(u_int, "int $0x21");

static void transfers(void)
{
	check_fault(RUN(u_call, SEL_CODE), VEC_GP, SEL_CODE);
	check_fault(RUN(u_call, SEL_CODE | 3), VEC_GP, SEL_CODE);
	check_fault(RUN(u_call, SEL_TSS), VEC_GP, SEL_TSS);
	check_fault(RUN(u_jmp, SEL_CODE), VEC_GP, SEL_CODE);
	check_fault(RUN(u_jmp, SEL_TSS), VEC_GP, SEL_TSS);
	check_fault(RUN(u_jmp, SEL_USER_DATA), VEC_GP, SEL_USER_DATA & ~3);
	check_fault(RUN(u_retf, SEL_CODE), VEC_GP, SEL_CODE);
	check_fault(RUN(u_iret, SEL_CODE), VEC_GP, SEL_CODE);
	check_fault(RUN(u_int, 0), VEC_GP, 0x21 * 8 + 2);
	struct frame f = USER_FRAME(u_call_own, 0);
	check_equal(f.ebx & 0xffff, SEL_USER_CODE);
	check_equal(USER_FRAME(u_jmp_own, 0).eax, SEL_USER_CODE);
	check_equal(USER_FRAME(u_retf_own, 0).eax, SEL_USER_CODE);
	check_equal(USER_FRAME(u_iret_own, 0).eax, 2); /* neither IOPL nor IF */
}

/* --- virtual-8086 mode: code at 0x7000, data at 0x6000, stack below 0x6000 --- */

static void v86_enter(void *flags)
{
	__asm__ volatile("pushl $0; pushl $0; pushl $0x600; pushl $0x600; pushl $0x500; pushl $0x1000; pushl %0; pushl $0x700; pushl $0; iretl"
			 ::"r"((uint32_t)flags | 0x20002) : "memory");
}

static struct fault v86(const uint8_t *from, const uint8_t *to, uint32_t flags)
{
	for (uint32_t i = 0; from + i < to; i++)
		((volatile uint8_t *)0x7000)[i] = from[i];
	return guarded(v86_enter, (void *)flags);
}
#define V86(name, ...) \
	__asm__(".text\n.code16\n" #name "_: " __VA_ARGS__ "; int $0x80\n" #name "_end: .byte 0xcc\n.code32\n"); \
	extern uint8_t name##_[], name##_end[]
#define V86_RUN(name, flags) v86(name##_, name##_end, flags)

#define V86_FAULTS(X) /* which vector, with IOPL 3 */ \
	X(v_sldt, "sldt %ax", VEC_UD) X(v_str, "str %ax", VEC_UD) X(v_lar, "lar %ax, %bx", VEC_UD) X(v_lsl, "lsl %ax, %bx", VEC_UD) \
	X(v_verr, "verr %ax", VEC_UD) X(v_verw, "verw %ax", VEC_UD) X(v_arpl, "arpl %ax, %bx", VEC_UD) X(v_lldt, "lldt %ax", VEC_UD) \
	X(v_ltr, "ltr %ax", VEC_UD) X(v_lgdt, "lgdt 0", VEC_GP) X(v_lidt, "lidt 0", VEC_GP) X(v_lmsw, "lmsw %ax", VEC_GP) \
	X(v_clts, "clts", VEC_GP) X(v_cr0, "movl %cr0, %eax", VEC_GP) X(v_hlt, "hlt", VEC_GP) X(v_dr7, "movl %dr7, %eax", VEC_GP) \
	X(v_in, "inb $0x42, %al", VEC_GP) X(v_invlpg, "invlpg 0", VEC_GP) X(v_rdmsr, "rdmsr", VEC_GP)
#define DEFINE(name, text, vector) V86(name, text);
#define ENTRY(name, text, vector) { #name, name##_, name##_end, vector },
V86_FAULTS(DEFINE)
V86(v_sgdt, "sgdt 0; sidt 8; smsw %ax; smsw 16");
V86(v_pushf, "pushfw; popw %ax; pushfl; popl %ebx");
V86(v_popf, "pushw $0x4ed7; popfw; pushfl; popl %ebx");
V86(v_iret, "pushl $0x24ed7; pushl $0x700; pushl $(v_iret_in - v_iret_); iretl; v_iret_in: pushfl; popl %ebx");
V86(v_segments, "pushw %cs; popw %ax; movw $0xf123, %bx; movw %bx, %fs; pushw %fs; popw %gs; movw %gs, %cx; pushw $0x510; popw %ss; movw %ss, %dx");
V86(v_far, "lcall $0x6ff, $(v_far_in - v_far_ + 16); v_far_in: popw %ax; popw %bx; movw %cs, %cx");
V86(v_cli, "cli; pushfl; popl %ebx; sti; pushfl; popl %eax; cli");

static void virtual_8086(void)
{
	static const struct { const char *name; const uint8_t *from, *to; uint32_t vector; } all[] = { V86_FAULTS(ENTRY) };
	tss_main.bitmap[0x42 / 8] |= 1 << (0x42 & 7);
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct fault f = v86(all[i].from, all[i].to, 0x3000);
		if (f.frame.vector != all[i].vector || f.frame.error)
			print(all[i].name), print(": ");
		check_equal(f.frame.vector, all[i].vector);
		check_equal(f.frame.error, 0);
		check_equal(f.frame.eip, 0);
	}
	struct { uint16_t limit; uint32_t base; } __attribute__((packed)) gdtr, idtr;
	__asm__ volatile("sgdt %0; sidt %1" : "=m"(gdtr), "=m"(idtr));
	volatile uint8_t *data = (volatile uint8_t *)0x6000;
	for (unsigned i = 0; i < 32; i++)
		data[i] = 0xee;
	struct fault f = V86_RUN(v_sgdt, 0x3000);
	check_equal(f.frame.vector, 0x80);
	check_equal(*(volatile uint16_t *)0x6000, gdtr.limit);
	check_equal(*(volatile uint32_t *)0x6002, gdtr.base);
	check_equal(*(volatile uint16_t *)0x6008, idtr.limit);
	check_equal(*(volatile uint32_t *)0x600a, idtr.base);
	check_equal(f.frame.eax & 0xffff, READ_CR(0) & 0xffff);
	check_equal(*(volatile uint16_t *)0x6010, READ_CR(0) & 0xffff);
	check_equal(data[6], 0xee);
	check_equal(data[18], 0xee);
	/* PUSHF shows IOPL and IF, but neither VM nor RF. */
	f = V86_RUN(v_pushf, 0x3200);
	check_equal(f.frame.eax & 0xffff, 0x3202);
	check_equal(f.frame.ebx, 0x3202);
	f = V86_RUN(v_popf, 0x3200);
	check_equal(f.frame.ebx, 0x7ed7);
	f = V86_RUN(v_iret, 0x3000);
	check_equal(f.frame.ebx, 0x7ed7);
	f = V86_RUN(v_cli, 0x3200);
	check_equal(f.frame.ebx, 0x3002);
	check_equal(f.frame.eax, 0x3202);
	/* With IOPL below 3 they fault: the monitor of the virtual 8086 emulates them. */
	check_fault(V86_RUN(v_pushf, 0x2000), VEC_GP, 0);
	check_fault(V86_RUN(v_popf, 0x1000), VEC_GP, 0);
	check_fault(V86_RUN(v_iret, 0), VEC_GP, 0);
	check_fault(V86_RUN(v_cli, 0x2000), VEC_GP, 0);
	/* Selectors are numbers. */
	f = V86_RUN(v_segments, 0x3000);
	check_equal(f.frame.eax & 0xffff, 0x700);
	check_equal(f.frame.ecx & 0xffff, 0xf123);
	check_equal(f.frame.edx & 0xffff, 0x510);
	check_equal(f.frame.v_fs & 0xffff, 0xf123);
	f = V86_RUN(v_far, 0x3000);
	check_equal(f.frame.vector, 0x80);
	check_equal(f.frame.ebx & 0xffff, 0x700);
	check_equal(f.frame.ecx & 0xffff, 0x6ff);
}

/* --- RDTSC, RDPMC, CPUID --- */

USER(u_rdtsc, "rdtsc");
USER(u_rdpmc, "xorl %ecx, %ecx; rdpmc");
USER(u_cpuid, "xorl %eax, %eax; cpuid");

static void time_and_identity(void)
{
	uint32_t a = 0, b, c, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
	struct frame f = USER_FRAME(u_cpuid, 0);
	check_equal(f.eax, a);
	check_equal(f.ebx, b);
	check_equal(f.ecx, c);
	check_equal(f.edx, d);
	USER_FRAME(u_rdtsc, 0);
	WRITE_CR(4, READ_CR(4) | MODE_TSD);
	check_fault(RUN(u_rdtsc, 0), VEC_GP, 0);
	WRITE_CR(4, READ_CR(4) & ~MODE_TSD);
	check_fault(RUN(u_rdpmc, 0), VEC_GP, 0);
}

int guest_main(void)
{
	queries();
	flags();
	segments();
	bad_segments();
	transfers();
	virtual_8086();
	time_and_identity();
	return failures;
}
