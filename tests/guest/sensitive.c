/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sensitive instructions that a user program may execute (Popek and Goldberg's theorem; Robin and Irvine's list for x86):
 * each shows the guest's own state, never the host's; and all privileged ones fault at CPL 3. 64-bit code; see sensitive32.c. */
#include "guest.h"

#define USER(name, ...) \
	__asm__(".text\n" #name "_: " __VA_ARGS__ "; int $0x80\n" #name "_end: .byte 0xcc\n"); \
	extern uint8_t name##_[], name##_end[]
#define RUN(name, argument) run_user_code(name##_, name##_end, argument)
#define SEL_LDT 0x53 /* gdt_spare[0] and [1] */
#define SEL_TSS_WITH_BITMAP 0x60 /* gdt_spare[2] and [3] */
#define MSR_FS_BASE 0xc0000100u
#define MSR_TSC_AUX 0xc0000103u
#define CR4_TSD 4ull
#define CR4_PCE 0x100ull
#define CR4_FSGSBASE 0x10000ull
#define CR4_OSXSAVE 0x40000ull

static struct frame run(const uint8_t *from, const uint8_t *to, uint64_t argument, int line)
{
	struct fault f = run_user_code(from, to, argument);
	check_equal_(f.frame.vector, 0x80, "vector", __FILE_NAME__, line);
	return f.frame;
}
#define USER_FRAME(name, argument) run(name##_, name##_end, argument, __LINE__)

/* --- tables and the task register --- */

USER(u_sgdt, "subq $16, %rsp; sgdt (%rsp); movzwl (%rsp), %eax; movq 2(%rsp), %rbx");
USER(u_sidt, "subq $16, %rsp; sidt (%rsp); movzwl (%rsp), %eax; movq 2(%rsp), %rbx");
USER(u_sldt, "movq $-1, %rax; sldt %eax; movq $-1, %rbx; sldt %bx; movq $-1, (%rdi); sldt (%rdi); movq (%rdi), %rcx");
USER(u_str, "movq $-1, %rax; str %eax; movq $-1, %rbx; str %bx; movq $-1, (%rdi); str (%rdi); movq (%rdi), %rcx");
USER(u_smsw, "movq $-1, %rax; smsw %eax; movq $-1, %rbx; smsw %bx; movq $-1, (%rdi); smsw (%rdi); movq (%rdi), %rcx");

static void tables(void)
{
	struct table_pointer gdtr;
	__asm__ volatile("sgdt %0" : "=m"(gdtr));
	check_equal(gdtr.base, (uint64_t)gdt64);
	struct frame f = USER_FRAME(u_sgdt, 0);
	check_equal(f.rax, gdtr.limit);
	check_equal(f.rbx, gdtr.base);
	f = USER_FRAME(u_sidt, 0);
	check_equal(f.rax, guest_idtr.limit);
	check_equal(f.rbx, guest_idtr.base);
	static uint64_t ldt[2];
	gdt_spare[0] = 0x820000000000 | (sizeof(ldt) - 1) | ((uint64_t)ldt & 0xffffff) << 16 | ((uint64_t)ldt >> 24 & 0xff) << 56;
	gdt_spare[1] = (uint64_t)ldt >> 32;
	__asm__ volatile("lldt %w0" ::"r"(SEL_LDT & ~3));
	uint64_t at = USER_STACK + 64;
	f = USER_FRAME(u_sldt, at);
	check_equal(f.rax, SEL_LDT & ~3);
	check_equal(f.rbx, 0xffffffffffff0000 | (SEL_LDT & ~3));
	check_equal(f.rcx, 0xffffffffffff0000 | (SEL_LDT & ~3)); /* memory: 16 bits */
	__asm__ volatile("lldt %w0" ::"r"(0));
	f = USER_FRAME(u_sldt, at);
	check_equal(f.rax, 0);
	f = USER_FRAME(u_str, at);
	check_equal(f.rax, 0x40);
	check_equal(f.rbx, 0xffffffffffff0040);
	check_equal(f.rcx, 0xffffffffffff0040);
	for (unsigned ts = 0; ts < 2; ts++) {
		uint64_t cr0 = READ_CR(0);
		WRITE_CR(0, ts ? cr0 | 8 : cr0 & ~8ull);
		f = USER_FRAME(u_smsw, at);
		check_equal(f.rax & 0xffff, READ_CR(0) & 0xffff);
		check_equal(f.rbx, 0xffffffffffff0000 | (READ_CR(0) & 0xffff));
		check_equal(f.rcx, 0xffffffffffff0000 | (READ_CR(0) & 0xffff));
		check_equal(f.rax >> 3 & 1, ts);
		WRITE_CR(0, cr0);
	}
}

/* --- what a selector stands for --- */

USER(u_lar, "xorl %eax, %eax; movl $1, %ebx; larl %edi, %ebx; setz %al");
USER(u_lsl, "xorl %eax, %eax; movl $1, %ebx; lsll %edi, %ebx; setz %al");
USER(u_verr, "xorl %eax, %eax; verr %di; setz %al");
USER(u_verw, "xorl %eax, %eax; verw %di; setz %al");

static void selectors(void)
{
	/* selector, visible at CPL 3, access rights without the accessed bit, readable, writable */
	static const struct { uint16_t selector; bool visible; uint32_t rights, limit; bool readable, writable; } all[] = {
		{ SEL_USER_DATA, true, 0xcff200, 0xffffffff, true, true }, { SEL_USER64, true, 0xaffa00, 0xffffffff, true, false },
		{ SEL_USER32, true, 0xcffa00, 0xffffffff, true, false }, { SEL_DATA, false, 0, 0, false, false },
		{ SEL_CODE64, false, 0, 0, false, false }, { 0x40, false, 0, 0, false, false }, { 0, false, 0, 0, false, false },
		{ 0x7f8, false, 0, 0, false, false }, { 0x2c, false, 0, 0, false, false },
	};
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct frame f = USER_FRAME(u_lar, all[i].selector);
		check_equal(f.rax & 0xff, all[i].visible);
		check_equal(all[i].visible ? f.rbx & 0xf0fe00 : f.rbx, all[i].visible ? all[i].rights & 0xf0fe00 : 1);
		f = USER_FRAME(u_lsl, all[i].selector);
		check_equal(f.rax & 0xff, all[i].visible);
		check_equal(f.rbx, all[i].visible ? all[i].limit : 1);
		check_equal(USER_FRAME(u_verr, all[i].selector).rax & 0xff, all[i].readable);
		check_equal(USER_FRAME(u_verw, all[i].selector).rax & 0xff, all[i].writable);
	}
	/* RPL counts for a kernel's data, too; a kernel sees its TSS. */
	uint32_t rights = 0;
	bool ok;
	__asm__ volatile("larl %2, %0; setz %1" : "+r"(rights), "=q"(ok) : "r"(SEL_DATA | 3));
	check(!ok);
	__asm__ volatile("larl %2, %0; setz %1" : "+r"(rights), "=q"(ok) : "r"(0x40));
	check(ok);
	check_equal(rights & 0xff00, 0x8b00);
}

/* --- flags --- */

USER(u_pushf, "pushfq; popq %rax; pushfw; popw %bx; movzwl %bx, %ebx");
USER(u_popf, "pushq %rdi; popfq; pushfq; popq %rax");
USER(u_popfw, "pushw %di; popfw; pushfq; popq %rax");

static void enter_with_flags(void *flags)
{
	__asm__ volatile("pushq %0; pushq %1; pushq %2; pushq %3; pushq %4; iretq" ::"i"((long)SEL_USER_DATA), "r"(USER_STACK_TOP), "r"(flags),
			 "i"((long)SEL_USER64), "r"(USER_CODE), "D"(0x3e46d7ull) : "memory");
}

static void flags(void)
{
	struct frame f = USER_FRAME(u_pushf, 0);
	check_equal(f.rax, 2); /* IF among them: the host's is set */
	check_equal(f.rbx, 2);
	/* All arithmetic flags, IF, DF, OF, IOPL 3, NT, AC, VIF, VIP, ID; not TF. At IOPL 0 the privileged ones stay. */
	uint64_t wanted = 0x3e7ed7, kept = 0x244cd7 | 2;
	f = USER_FRAME(u_popf, wanted);
	check_equal(f.rax, kept);
	f = USER_FRAME(u_popfw, wanted);
	check_equal(f.rax, kept & 0xffff);
	/* With IOPL 3, IF is the user's; IOPL is not. */
	struct fault r = guarded(enter_with_flags, (void *)0x3002);
	check_equal(r.frame.vector, 0x80);
	check_equal(r.frame.rax & 0xffff, (0x3e46d7 & 0x46d7) | 0x3002);
}

/* --- segment registers --- */

USER(u_get, "movl %cs, %eax; movl %ss, %ebx; movl %ds, %ecx; movl %es, %edx; movl %fs, %esi; movl %gs, %edi");
USER(u_stack, "movl $0x2b, %eax; movl %eax, %fs; movl %eax, %gs; pushq %fs; popq %rbx; pushq %gs; popq %rcx; pushq $0; popq %fs; pushq $0x23; popq %gs;"
	"movl %fs, %edx; movl %gs, %esi; xorl %eax, %eax; movl %eax, %gs");
USER(u_to_ds, "movl %edi, %ds");
USER(u_to_es, "movl %edi, %es");
USER(u_to_ss, "movl %edi, %ss");
USER(u_pop_fs, "pushq %rdi; popq %fs");
USER(u_pop_gs, "pushq %rdi; popq %gs");

static void segments(void)
{
	struct frame f = USER_FRAME(u_get, 0);
	check_equal(f.rax, SEL_USER64);
	check_equal(f.rbx, SEL_USER_DATA);
	/* IRET to an outer ring took away the kernel's selectors. */
	check_equal(f.rcx | f.rdx | f.rsi | f.rdi, 0);
	__asm__ volatile("movl %0, %%ds; movl %0, %%es" ::"r"(SEL_DATA));
	f = USER_FRAME(u_stack, 0);
	check_equal(f.rbx, SEL_USER_DATA);
	check_equal(f.rcx, SEL_USER_DATA);
	check_equal(f.rdx, 0);
	check_equal(f.rsi, 0x23);
	check_fault(RUN(u_to_ds, SEL_DATA), VEC_GP, SEL_DATA);
	check_fault(RUN(u_to_es, SEL_DATA | 3), VEC_GP, SEL_DATA);
	check_fault(RUN(u_to_es, 0x7fb), VEC_GP, 0x7f8);
	check_fault(RUN(u_to_ss, SEL_DATA), VEC_GP, SEL_DATA);
	check_fault(RUN(u_to_ss, 0), VEC_GP, 0);
	check_fault(RUN(u_to_ss, 3), VEC_GP, 0); /* null is for CPL 0 to 2 */
	check_fault(RUN(u_pop_fs, SEL_DATA), VEC_GP, SEL_DATA);
	check_fault(RUN(u_pop_gs, 0x40), VEC_GP, 0x40);
	__asm__ volatile("movl %0, %%ds; movl %0, %%es" ::"r"(SEL_DATA));
}

/* --- transfers --- */

#define FAR(op) "pushq $0; movl %edi, 4(%rsp); movl $0, (%rsp); " op " *(%rsp)"
USER(u_call, FAR("lcall"));
USER(u_jmp, FAR("ljmp"));
USER(u_call_own, "leaq 1f(%rip), %rax; subq $16, %rsp; movl %eax, (%rsp); movl %edi, 8(%rsp); movq %rax, (%rsp); movw %di, 8(%rsp); rex.w lcall *(%rsp); 1:");
USER(u_retf, "pushq %rdi; pushq $0; lretq");
USER(u_iret, "pushq $0x2b; pushq %rsp; pushq $2; pushq %rdi; pushq $0; iretq");
USER(u_int, "int $0x21");
USER(u_int3, "int3");
USER(u_int1, ".byte 0xf1");

static void transfers(void)
{
	check_fault(RUN(u_call, SEL_CODE64), VEC_GP, SEL_CODE64);
	check_fault(RUN(u_jmp, SEL_CODE64 | 3), VEC_GP, SEL_CODE64);
	check_fault(RUN(u_jmp, SEL_USER_DATA), VEC_GP, SEL_USER_DATA & ~3);
	check_fault(RUN(u_jmp, 0x40), VEC_GP, 0x40); /* a TSS: no task switches here */
	check_fault(RUN(u_call, 0), VEC_GP, 0);
	struct frame f = USER_FRAME(u_call_own, SEL_USER64);
	check_equal(f.cs, SEL_USER64);
	check_fault(RUN(u_retf, SEL_CODE64), VEC_GP, SEL_CODE64);
	check_fault(RUN(u_iret, SEL_CODE64), VEC_GP, SEL_CODE64);
	check_fault(RUN(u_int, 0), VEC_GP, 0x21 * 8 + 2);
	check_fault(RUN(u_int3, 0), VEC_BP, 0);
	struct fault r = RUN(u_int1, 0);
	check_equal(r.frame.vector, VEC_DB);
	check_equal(r.frame.rip, USER_CODE + 1);
}

/* --- time, identity, bases --- */

USER(u_cpuid, "movl %edi, %eax; xorl %ecx, %ecx; cpuid");
USER(u_rdtsc, "rdtsc; shlq $32, %rdx; orq %rdx, %rax");
USER(u_rdtscp, "movq $-1, %rcx; rdtscp");
USER(u_rdpmc, "xorl %ecx, %ecx; rdpmc");
USER(u_rdfsbase, "rdfsbase %rax; movq %rdi, %rbx; wrfsbase %rbx; rdfsbase %rcx");
USER(u_rdgsbase, "wrgsbase %rdi; rdgsbase %rcx");
USER(u_xgetbv, "xorl %ecx, %ecx; xgetbv");

static void time_and_identity(void)
{
	struct cpuid own = cpuid(0, 0);
	struct frame f = USER_FRAME(u_cpuid, 0);
	check_equal(f.rbx, own.b);
	check_equal(f.rcx, own.c);
	check_equal(f.rdx, own.d);
	f = USER_FRAME(u_cpuid, 1);
	check(f.rcx >> 31 & 1); /* "not used" on hardware: a guest's */
	uint64_t before = rdtsc();
	f = USER_FRAME(u_rdtsc, 0);
	check(f.rax > before && f.rax < rdtsc());
	if (cpuid(0x80000001, 0).d >> 27 & 1) {
		wrmsr(MSR_TSC_AUX, 0x1234567);
		check_equal(USER_FRAME(u_rdtscp, 0).rcx, 0x1234567);
	}
	WRITE_CR(4, READ_CR(4) | CR4_TSD);
	check_fault(RUN(u_rdtsc, 0), VEC_GP, 0);
	if (cpuid(0x80000001, 0).d >> 27 & 1)
		check_fault(RUN(u_rdtscp, 0), VEC_GP, 0);
	check(rdtsc() > before); /* CPL 0 may */
	WRITE_CR(4, READ_CR(4) & ~CR4_TSD & ~CR4_PCE);
	check_fault(RUN(u_rdpmc, 0), VEC_GP, 0);
	if (cpuid(7, 0).b & 1) {
		check_fault(RUN(u_rdfsbase, 0), VEC_UD, 0);
		WRITE_CR(4, READ_CR(4) | CR4_FSGSBASE);
		wrmsr(MSR_FS_BASE, 0x123456789a);
		f = USER_FRAME(u_rdfsbase, 0x7123456789ab);
		check_equal(f.rcx, 0x7123456789ab);
		check_equal(rdmsr(MSR_FS_BASE), 0x7123456789ab);
		check_equal(USER_FRAME(u_rdgsbase, 0x7f0000001000).rcx, 0x7f0000001000);
		check_fault(RUN(u_rdgsbase, 0x800000000000), VEC_GP, 0); /* not canonical */
		WRITE_CR(4, READ_CR(4) & ~CR4_FSGSBASE);
	}
	if (cpuid(1, 0).c >> 26 & 1) {
		WRITE_CR(4, READ_CR(4) & ~CR4_OSXSAVE);
		check(!(cpuid(1, 0).c >> 27 & 1));
		check_fault(RUN(u_xgetbv, 0), VEC_UD, 0);
		WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
		check(cpuid(1, 0).c >> 27 & 1);
		__asm__ volatile("xsetbv" ::"a"(3), "d"(0), "c"(0));
		check_equal(USER_FRAME(u_xgetbv, 0).rax & 0xff, 3);
	}
}

/* --- privileged instructions --- */

#define PRIVILEGED(X) \
	X(p_hlt, "hlt") X(p_cli, "cli") X(p_sti, "sti") X(p_clts, "clts") X(p_in, "inb $0x80, %al") X(p_out, "outb %al, $0x80") \
	X(p_inw, "movw $0x80, %dx; inw %dx, %ax") X(p_outs, "movw $0x80, %dx; leaq -8(%rsp), %rsi; outsb") \
	X(p_lgdt, "lgdt -16(%rsp)") X(p_lidt, "lidt -16(%rsp)") X(p_lldt, "lldt %di") X(p_ltr, "ltr %di") X(p_lmsw, "lmsw %di") \
	X(p_cr0, "movq %cr0, %rax") X(p_cr2, "movq %cr2, %rax") X(p_cr3, "movq %rdi, %cr3") X(p_cr4, "movq %cr4, %rax") \
	X(p_cr8, "movq %rdi, %cr8") X(p_dr7, "movq %dr7, %rax") X(p_dr0, "movq %rdi, %dr0") X(p_invlpg, "invlpg (%rdi)") \
	X(p_invd, "invd") X(p_wbinvd, "wbinvd") X(p_rdmsr, "movl $0x10, %ecx; rdmsr") X(p_wrmsr, "movl $0x10, %ecx; wrmsr") \
	X(p_swapgs, "swapgs") X(p_sysret, "sysretq")
#define DEFINE(name, text) USER(name, text);
#define ENTRY(name, text) { #name, name##_, name##_end },
PRIVILEGED(DEFINE)
USER(p_invpcid, "invpcid -16(%rsp), %rdi");
USER(p_sysexit, "sysexitq");
USER(p_xsetbv, "xorl %ecx, %ecx; xorl %edx, %edx; movl $3, %eax; xsetbv");

static void privileged(void)
{
	*(uint16_t *)(tss64 + 102) = 104; /* no bitmap */
	static const struct { const char *name; const uint8_t *from, *to; } all[] = { PRIVILEGED(ENTRY) };
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct fault f = run_user_code(all[i].from, all[i].to, 0);
		if (f.frame.vector != VEC_GP || f.frame.error)
			print(all[i].name), print(": ");
		check_equal(f.frame.vector, VEC_GP);
		check_equal(f.frame.error, 0);
	}
	check_fault(RUN(p_sysexit, 0), cpuid(0, 0).c == 0x444d4163 ? VEC_UD : VEC_GP, 0); /* AMD: not in long mode */
	if (cpuid(7, 0).b >> 10 & 1)
		check_fault(RUN(p_invpcid, 0), VEC_GP, 0);
	if (cpuid(1, 0).c >> 27 & 1)
		check_fault(RUN(p_xsetbv, 0), VEC_GP, 0);
}

/* A TSS with a bitmap lets the user have some ports (SDM 1, 19.5.2). */
USER(u_port, "movl %edi, %edx; inb %dx, %al");
USER(u_port_word, "movl %edi, %edx; inw %dx, %ax");

static void ports(void)
{
	static uint8_t tss[104 + 33];
	for (unsigned i = 0; i < 104; i++)
		tss[i] = tss64[i];
	for (unsigned i = 104; i < sizeof(tss); i++)
		tss[i] = 0xff;
	*(uint16_t *)(tss + 102) = 104;
	tss[104 + 0x80 / 8] = 0xfe; /* port 0x80 alone */
	gdt_spare[2] = 0x890000000000 | (sizeof(tss) - 1) | ((uint64_t)tss & 0xffffff) << 16 | ((uint64_t)tss >> 24 & 0xff) << 56;
	gdt_spare[3] = (uint64_t)tss >> 32;
	__asm__ volatile("ltr %w0" ::"r"(SEL_TSS_WITH_BITMAP));
	check_equal(USER_FRAME(u_str, USER_STACK + 64).rax, SEL_TSS_WITH_BITMAP);
	USER_FRAME(u_port, 0x80);
	check_fault(RUN(u_port_word, 0x80), VEC_GP, 0); /* 0x81, too */
	check_fault(RUN(u_port, 0x81), VEC_GP, 0);
	check_fault(RUN(u_port, 0x108), VEC_GP, 0); /* beyond the limit */
	tss[104 + 0x80 / 8] = 0xfc;
	USER_FRAME(u_port_word, 0x80);
}

/* --- what the guest has not got --- */

#define ABSENT(name, text) static void name(void *p) { __asm__ volatile(text ::"a"(p), "c"(0), "d"(0) : "memory"); }
ABSENT(a_monitor, "monitor")
ABSENT(a_mwait, "mwait")
ABSENT(a_vmxon, "vmxon (%%rax)")
ABSENT(a_vmrun, "vmrun")
ABSENT(a_rsm, "rsm")

static void absent(void)
{
	static uint64_t page[512] __attribute__((aligned(4096)));
	check(!(cpuid(1, 0).c >> 3 & 1)); /* MONITOR */
	check(!(cpuid(1, 0).c >> 5 & 1)); /* VMX */
	check(!(cpuid(0x80000001, 0).c >> 2 & 1)); /* SVM */
	check_fault(guarded(a_monitor, page), VEC_UD, 0);
	check_fault(guarded(a_mwait, page), VEC_UD, 0);
	check_fault(guarded(a_vmxon, page), VEC_UD, 0);
	check_fault(guarded(a_vmrun, page), VEC_UD, 0);
	check_fault(guarded(a_rsm, page), VEC_UD, 0);
}

int guest_main(void)
{
	tables();
	selectors();
	flags();
	segments();
	transfers();
	time_and_identity();
	privileged();
	absent();
	ports();
	return failures;
}
