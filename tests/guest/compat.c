/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compatibility mode under long mode, the fast system calls, and call gates of 64-bit mode. */
#include "guest.h"

extern uint64_t page_directories[];
#define CODE 0xc0000000ull /* the user's, below 4 GiB */
#define STACK 0xc0010000ull
#define STACK_TOP (STACK + 4096)
static uint8_t *code, *stack;

static void make_room(void)
{
	/* In place of one of the 2 MB pages at start. */
	page_directories[CODE >> 21] = 0;
	WRITE_CR(3, READ_CR(3));
	code = alloc_page();
	stack = alloc_page();
	map_page(CODE, (uint64_t)code, PG_P | PG_W | PG_U);
	map_page(STACK, (uint64_t)stack, PG_P | PG_W | PG_U);
}

struct start {
	uint64_t rip, cs, rflags;
};

static void enter(void *p)
{
	struct start *s = p;
	__asm__ volatile("pushq %0; pushq %1; pushq %2; pushq %3; pushq %4; iretq" ::"i"((long)SEL_USER_DATA), "r"(STACK_TOP), "r"(s->rflags),
			 "r"(s->cs), "r"(s->rip), "D"(0x1111111100000000ull) : "memory");
}

static struct fault run(const uint8_t *from, const uint8_t *to, uint16_t cs)
{
	for (size_t i = 0; from + i < to; i++)
		code[i] = from[i];
	struct start s = { CODE, cs, 2 };
	return guarded(enter, &s);
}

#define CODE32(name, ...) \
	__asm__(".text\n.code32\n" #name "_: " __VA_ARGS__ "; int $0x80\n" #name "_end: .byte 0xcc\n.code64\n"); \
	extern uint8_t name##_[], name##_end[]
#define CODE64(name, ...) \
	__asm__(".text\n" #name "_: " __VA_ARGS__ "; int $0x80\n" #name "_end: .byte 0xcc\n"); \
	extern uint8_t name##_[], name##_end[]
#define RUN32(name) run(name##_, name##_end, SEL_USER32)
#define RUN64(name) run(name##_, name##_end, SEL_USER64)

CODE32(plain, "movl $0x12345678, %eax; movl $-1, %ecx; incl %ecx; pushal; popal");
#define DATA32 "movw $0x2b, %ax; movw %ax, %ds;" /* IRET has left a null selector */
CODE32(wraps, DATA32 "movl $0xffffffff, %esi; movl 0x10001001(%esi), %eax"); /* address 0x10001000: 4 GiB wrap */
CODE32(to_64, "ljmp $0x33, $0xc0000000 + (to_64_in - to_64_); to_64_in: .byte 0x48, 0xc7, 0xc0, 1, 0, 0, 0; .byte 0x48, 0x0f, 0xc8"); /* bswap %rax */
CODE32(reads_kernel, DATA32 "movl 0x100000, %eax");
CODE32(data_limit, "movw $0x53, %ax; movw %ax, %fs; movl %fs:0x0c, %ebx; movl %fs:0x0d, %ebx");
CODE32(data_base, "movw $0x53, %ax; movw %ax, %es; movl %es:4, %ebx");
CODE32(null_data, "xorl %eax, %eax; movw %ax, %es; movl %es:0, %ebx");
CODE32(null_stack, "xorl %eax, %eax; movw %ax, %ss");
CODE32(no_rex, ".byte 0x48; .byte 0x48"); /* DEC EAX twice */
CODE64(movs_ss_null, "xorl %eax, %eax; movw %ax, %ss");
CODE64(to_32, "pushq $0x23; movl $0xc0000000 + (to_32_in - to_32_), %eax; pushq %rax; lretq\n .code32\n to_32_in: pushl %eax; .code64");

static void compatibility(void)
{
	struct fault f = RUN32(plain);
	check_fault(f, 0x80, 0);
	check_equal(f.frame.rip, CODE + (uint64_t)(plain_end - plain_));
	check_equal(f.frame.cs, SEL_USER32);
	check_equal(f.frame.ss, SEL_USER_DATA);
	check_equal(f.frame.rsp, STACK_TOP);
	check_equal((uint32_t)f.frame.rax, 0x12345678);
	check_equal((uint32_t)f.frame.rcx, 0);
	f = RUN32(wraps);
	check_fault(f, VEC_PF, 5);
	check_equal(f.cr2, 0x10001000);
	f = RUN32(to_64);
	check_fault(f, 0x80, 0);
	check_equal(f.frame.cs, SEL_USER64);
	check_equal(f.frame.rax, 0x0100000000000000);
	f = RUN32(reads_kernel);
	check_fault(f, VEC_PF, 5);
	check_equal(f.cr2, 0x100000);
	/* Segments work as in protected mode: a limit, a base. */
	gdt_spare[0] = 0x0f | (STACK & 0xffffff) << 16 | 0xf2ull << 40 | 0x40ull << 48 | (STACK >> 24 & 0xff) << 56;
	*(uint32_t *)(stack + 4) = 0x600df00d;
	f = RUN32(data_limit);
	check_fault(f, VEC_GP, 0);
	f = RUN32(data_base);
	check_fault(f, 0x80, 0);
	check_equal((uint32_t)f.frame.rbx, 0x600df00d);
	check_fault(RUN32(null_data), VEC_GP, 0);
	check_fault(RUN32(null_stack), VEC_GP, 0);
	f = RUN32(no_rex);
	check_equal((uint32_t)f.frame.rip, CODE + 4);
	check_fault(RUN64(movs_ss_null), VEC_GP, 0); /* CPL 3 may not, in 64-bit mode either */
	f = RUN64(to_32);
	check_fault(f, 0x80, 0);
	check_equal(f.frame.cs, SEL_USER32);
	check_equal(f.frame.rsp, STACK_TOP - 4);
}

/* --- SYSCALL, SYSRET, SYSENTER, SYSEXIT --- */

/* The entries are on the user's stack, since no stack is switched; INT 0x81 brings them back to run(). */
__asm__(".text\n"
	"syscall_entry64: movl $64, %r8d; int $0x81\n"
	"syscall_entry32: movl $32, %r8d; int $0x81\n"
	"syscall_return64: sysretq\n"
	"syscall_return32: sysretl\n"
	"sysenter_entry: movl $7, %r8d; int $0x81\n"
	"sysenter_return32: movl $0xc0000000, %edx; movl $0xc0010800, %ecx; sysexitl\n");
extern uint8_t syscall_entry64[], syscall_entry32[], sysenter_entry[];
CODE64(syscall64, "syscall");
CODE32(syscall32, "syscall");
CODE32(sysenter32, "sysenter");
CODE64(sysenter64, "sysenter");
CODE64(just_int, "nop");

static bool is_amd(void)
{
	uint32_t b = cpuid(0, 0).b;
	return b == 0x68747541 || b == 0x6f677948; /* "Auth", "Hygo" */
}

enum { MSR_STAR = 0xc0000081, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK, MSR_SYSENTER_CS = 0x174, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP };

static void sysret64(void *p)
{
	__asm__ volatile("movq %0, %%rcx; movl $0x3ed7, %%r11d; jmp syscall_return64" ::"r"(CODE) : "rcx", "r11");
}
static void sysret32(void *p)
{
	__asm__ volatile("movq %0, %%rcx; movl $2, %%r11d; jmp syscall_return32" ::"r"(CODE) : "rcx", "r11");
}
static void sysexit32(void *p) { __asm__ volatile("jmp sysenter_return32"); }

static void system_calls(void)
{
	wrmsr(MSR_STAR, (uint64_t)SEL_USER32 << 48 | (uint64_t)SEL_CODE64 << 32);
	wrmsr(MSR_LSTAR, (uint64_t)syscall_entry64);
	wrmsr(MSR_CSTAR, (uint64_t)syscall_entry32);
	wrmsr(MSR_SFMASK, 0x40);
	struct fault f = RUN64(syscall64);
	check_fault(f, 0x81, 0);
	check_equal(f.frame.cs, SEL_CODE64);
	check_equal(f.frame.ss, SEL_DATA);
	check_equal(f.frame.r8, 64);
	check_equal(f.frame.rcx, CODE + 2);
	check_equal(f.frame.r11 & ~0x10000ull, 2);
	check_equal(f.frame.rsp, STACK_TOP);
	f = RUN32(syscall32);
	if (is_amd()) {
		check_fault(f, 0x81, 0);
		check_equal(f.frame.r8, 32);
		check_equal(f.frame.rcx, CODE + 2);
	} else {
		check_fault(f, VEC_UD, 0);
	}
	/* Back: RFLAGS from R11 but for RF and VM, selectors from STAR. */
	RUN64(just_int); /* puts the code there */
	f = guarded(sysret64, 0);
	check_fault(f, 0x80, 0);
	check_equal(f.frame.cs, SEL_USER64);
	check_equal(f.frame.ss, SEL_USER_DATA);
	check_equal(f.frame.rflags, 0x3ed7 & ~0x100u);
	RUN32(no_rex);
	f = guarded(sysret32, 0);
	check_fault(f, 0x80, 0);
	check_equal(f.frame.cs, SEL_USER32);
	check_equal(f.frame.ss, SEL_USER_DATA);
	/* Without EFER.SCE they do not exist. */
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~1ull);
	check_fault(RUN64(syscall64), VEC_UD, 0);
	check_fault(guarded(sysret64, 0), VEC_UD, 0);
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
}

/* AMD's processors have SYSENTER in legacy mode alone. */
static void sysenter(void)
{
	wrmsr(MSR_SYSENTER_CS, SEL_CODE64);
	wrmsr(MSR_SYSENTER_ESP, (uint64_t)ring0_stack_top - 4096);
	wrmsr(MSR_SYSENTER_EIP, (uint64_t)sysenter_entry);
	if (is_amd()) {
		check_fault(RUN64(sysenter64), VEC_UD, 0);
		check_fault(RUN32(sysenter32), VEC_UD, 0);
		check_fault(guarded(sysexit32, 0), VEC_UD, 0);
		return;
	}
	struct fault f = RUN64(sysenter64);
	check_fault(f, 0x81, 0);
	check_equal(f.frame.cs, SEL_CODE64);
	check_equal(f.frame.ss, SEL_DATA);
	check_equal(f.frame.rsp, (uint64_t)ring0_stack_top - 4096);
	f = RUN32(sysenter32);
	check_fault(f, 0x81, 0);
	check_equal(f.frame.r8, 7);
	wrmsr(MSR_SYSENTER_CS, 0);
	check_fault(RUN64(sysenter64), VEC_GP, 0);
	/* SYSEXIT takes CS + 16 and + 24, or + 32 and + 40: made to meet the user's segments. */
	wrmsr(MSR_SYSENTER_CS, (SEL_USER32 & ~3) - 16);
	RUN32(plain);
	f = guarded(sysexit32, 0);
	check_fault(f, 0x80, 0);
	check_equal(f.frame.cs, SEL_USER32);
	check_equal(f.frame.ss, SEL_USER_DATA);
	check_equal(f.frame.rsp, 0xc0010800);
	check_fault(RUN64(just_int), 0x80, 0);
}

/* --- call gates: 16 bytes, 64-bit targets, no parameters (SDM 3A, 5.8.3.1) --- */

uint64_t gate_cs, gate_ss, gate_rsp;
__asm__(".text\n"
	"gate_target: movq %cs, %rax; movq %rax, gate_cs; movq %ss, %rax; movq %rax, gate_ss; movq %rsp, gate_rsp; lretq\n");
extern uint8_t gate_target[];
CODE64(through_gate, "subq $16, %rsp; movl $0, (%rsp); movw $0x73, 4(%rsp); lcall *(%rsp)");
CODE32(through_gate32, "lcall $0x73, $0");

static void set_call_gate(uint16_t selector, unsigned type_dpl, uint64_t upper)
{
	uint64_t to = (uint64_t)gate_target;
	gdt_spare[4] = (to & 0xffff) | (uint64_t)selector << 16 | (uint64_t)type_dpl << 40 | (to >> 16 & 0xffff) << 48;
	gdt_spare[5] = to >> 32 | upper;
}

static void call_gates(void)
{
	set_call_gate(SEL_CODE64, 0xec, 0);
	struct fault f = RUN64(through_gate);
	check_fault(f, 0x80, 0);
	check_equal(f.frame.cs, SEL_USER64);
	check_equal(f.frame.ss, SEL_USER_DATA);
	check_equal(f.frame.rsp, STACK_TOP - 16);
	check_equal(gate_cs, SEL_CODE64);
	check_equal(gate_ss, 0);
	check_equal(gate_rsp, (uint64_t)ring0_stack_top - 32);
	f = RUN32(through_gate32);
	check_fault(f, 0x80, 0);
	check_equal(f.frame.cs, SEL_USER32);
	check_equal(f.frame.rsp, STACK_TOP);
	set_call_gate(SEL_CODE64, 0x8c, 0); /* DPL 0 */
	check_fault(RUN64(through_gate), VEC_GP, 0x70);
	set_call_gate(SEL_CODE64, 0x6c, 0); /* not present */
	check_fault(RUN64(through_gate), VEC_NP, 0x70);
	set_call_gate(SEL_CODE32, 0xec, 0);
	check_fault(RUN64(through_gate), VEC_GP, SEL_CODE32);
	set_call_gate(SEL_DATA, 0xec, 0);
	check_fault(RUN64(through_gate), VEC_GP, SEL_DATA);
	set_call_gate(SEL_CODE64, 0xec, 0x1ull << 40); /* a type in the upper half */
	check_fault(RUN64(through_gate), VEC_GP, 0x70);
	set_call_gate(SEL_CODE64, 0xe5, 0); /* a task gate */
	check_fault(RUN64(through_gate), VEC_GP, 0x70);
	/* The stack of the TSS is used, and checked. */
	set_call_gate(SEL_CODE64, 0xec, 0);
	uint64_t *rsp0 = (uint64_t *)(tss64 + 4), saved = *rsp0;
	set_gate(VEC_SS, vector_stubs + 16 * VEC_SS, 0x0e, 1);
	*rsp0 = 0x800000001000;
	f = RUN64(through_gate);
	*rsp0 = saved;
	set_gate(VEC_SS, vector_stubs + 16 * VEC_SS, 0x0e, 0);
	check_equal(f.frame.vector, VEC_SS);
}

/* --- CPL 0: 32- and 16-bit code, what long mode does not do --- */

uint32_t seen32, seen16;
extern uint8_t in_16[];
__asm__(".text\n"
	"go_32: pushq %rbx; movq %rsp, %rbx; pushq $0x18; movl $in_32, %eax; pushq %rax; lretq\n"
	".code32\n"
	"in_32: movl $0xffffffff, %eax; incl %eax; jnz 1f; movl $32, seen32\n"
	"1: ljmp $0x38, $0\n"
	".code16\n"
	"in_16: movl $0x12345678, %eax; movw $0xffff, %ax; incw %ax; jnz 1f; addr32 movw $16, seen16\n"
	"1: ljmpl $0x08, $out_16\n"
	".code64\n"
	"out_16: movq %rbx, %rsp; popq %rbx; ret\n");
void go_32(void);
static void jump_tss(void *p)
{
	struct { uint32_t offset; uint16_t selector; } __attribute__((packed)) to = { 0, (uint16_t)(uint64_t)p };
	__asm__ volatile("ljmp *%0" ::"m"(to));
}
static void iret_nested(void *p)
{
	__asm__ volatile("pushfq; orl $0x4000, (%rsp); popfq; pushq $0; pushq $0; pushq $2; pushq $8; pushq $0; iretq");
}
static void load_cs_both(void *p) { jump_tss((void *)0x80ull); }
static void popf_nt(void) { __asm__ volatile("pushfq; andl $~0x4000, (%%rsp); popfq" ::: "memory", "cc"); }

static void kernel_modes(void)
{
	gdt64[7] = 0x00009a000000ffff | ((uint64_t)in_16 & 0xffffff) << 16 | ((uint64_t)in_16 >> 24) << 56;
	go_32();
	check_equal(seen32, 32);
	check_equal(seen16, 16);
	check_fault(guarded(jump_tss, (void *)0x40ull), VEC_GP, 0x40); /* no task switches */
	check_fault(guarded(iret_nested, 0), VEC_GP, 0);
	popf_nt();
	gdt_spare[6] = 0x00ef9a000000ffff; /* L and D */
	check_fault(guarded(load_cs_both, 0), VEC_GP, 0x80);
}

int guest_main(void)
{
	make_room();
	compatibility();
	system_calls();
	sysenter();
	call_gates();
	kernel_modes();
	return failures;
}
