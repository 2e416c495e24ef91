/* SPDX-License-Identifier: GPL-2.0-or-later */
/* User code that uses vector registers around system calls, for long enough to be hot, while its kernel leaves them alone, changes
 * them, and forbids them for a while (CR0.TS, XCR0). */
#include "code.h"

#define CR4_OSXSAVE 0x40000ull
#define CR0_TS 8ull

/* RDI rounds; RBP: how often a number was not what the kernel said. */
__asm__(".text\n"
	"user_sse: pcmpeqd %xmm1, %xmm1; psrld $31, %xmm1; pxor %xmm0, %xmm0; xorl %ebp, %ebp\n"
	"1: paddd %xmm1, %xmm0; syscall; movd %xmm0, %edx; xorl %eax, %eax; cmpl %edx, %esi; setne %al; addl %eax, %ebp\n"
	"decl %edi; jnz 1b; int $0x80\nuser_sse_end:\n"
	"user_avx: vpcmpeqd %ymm1, %ymm1, %ymm1; vpsrld $31, %ymm1, %ymm1; vpxor %ymm0, %ymm0, %ymm0; xorl %ebp, %ebp\n"
	"1: vpaddd %ymm1, %ymm0, %ymm0; syscall; movd %xmm0, %edx; xorl %eax, %eax; cmpl %edx, %esi; setne %al; addl %eax, %ebp\n"
	"vextracti128 $1, %ymm0, %xmm2; movd %xmm2, %edx; cmpl %edx, %r8d; setne %al; addl %eax, %ebp\n"
	"decl %edi; jnz 1b; int $0x80\nuser_avx_end:\n"
	".data\nuser_rsp: .quad 0\n.bss\n.skip 4096\nkernel_stack:\n"
	".text\nsystem_call: movq %rsp, user_rsp(%rip); leaq kernel_stack(%rip), %rsp; pushq %rcx; pushq %r11; pushq %rdi\n"
	"movabsq $on_system_call, %rax; call *%rax; movq %rax, %rsi; movl count(%rip), %r8d; popq %rdi; popq %r11; popq %rcx; movq user_rsp(%rip), %rsp; sysretq\n");
extern const uint8_t user_sse[], user_sse_end[], user_avx[], user_avx_end[], system_call[];

static bool forbid, avx, uses_avx;
static uint64_t taken_away, given_back, xcr0_changed, undefined;
uint32_t count;
static uint32_t added;

static void set_xcr0(uint32_t value) { __asm__ volatile("xsetbv" ::"a"(value), "d"(0), "c"(0)); }

/* Returns what XMM0 is to begin with. */
uint64_t on_system_call(void);
uint64_t on_system_call(void)
{
	count++;
	if (count % 8 == 0) {
		__asm__ volatile("movl $5, %%eax; movd %%eax, %%xmm3; paddd %%xmm3, %%xmm0" ::: "eax");
		added += 5;
	}
	if (count % 16 == 4)
		cpuid(0, 0);
	if (forbid && count % 64 == 33) {
		WRITE_CR(0, READ_CR(0) | CR0_TS);
		taken_away++;
	}
	if (forbid && uses_avx && count % 64 == 49) {
		set_xcr0(3);
		xcr0_changed++;
	}
	return count + added;
}

static bool on_not_available(struct frame *frame)
{
	__asm__ volatile("clts");
	given_back += (frame->cs & 3) == 3;
	return true;
}

static bool on_undefined(struct frame *frame)
{
	set_xcr0(7);
	undefined += (frame->cs & 3) == 3;
	return true;
}

static void run(const uint8_t *code, const uint8_t *end, unsigned rounds)
{
	uint8_t *page = (uint8_t *)(*page_entry(USER_CODE) & 0xffffffffff000);
	for (size_t i = 0; code + i < end; i++)
		page[i] = code[i];
	uses_avx = code == user_avx;
	count = added = 0;
	taken_away = given_back = xcr0_changed = undefined = 0;
	struct fault f = run_user(USER_CODE, USER_STACK_TOP, rounds);
	check_equal(f.frame.vector, 0x80);
	check_equal(f.frame.rbp, 0);
	check_equal(count, rounds);
	check_equal(given_back, taken_away);
	check_equal(undefined, xcr0_changed);
}

static void run_all(unsigned rounds)
{
	run(user_sse, user_sse_end, rounds);
	if (avx)
		run(user_avx, user_avx_end, rounds);
}

int guest_main(void)
{
	static const uint8_t nothing[] = { 0xcd, 0x80 };
	run_user_code(nothing, nothing + 2, 0); /* lays the pages */
	handlers[VEC_NM] = on_not_available;
	handlers[VEC_UD] = on_undefined;
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
	wrmsr(0xc0000081, (uint64_t)SEL_USER32 << 48 | (uint64_t)SEL_CODE64 << 32);
	wrmsr(0xc0000082, (uint64_t)system_call);
	wrmsr(0xc0000084, 0x40200);
	WRITE_CR(0, (READ_CR(0) & ~4ull) | 2);
	WRITE_CR(4, READ_CR(4) | 0x600);
	if (cpuid(7, 0).b >> 20 & 1)
		WRITE_CR(4, READ_CR(4) | CR4_SMAP);
	run_all(200000);
	if ((cpuid(1, 0).c >> 26 & 1) && (cpuid(7, 0).b >> 5 & 1)) {
		WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
		set_xcr0(7);
		avx = true;
		run_all(200000);
	}
	forbid = true;
	run_all(20000);
	forbid = false;
	run_all(200000);
	return failures;
}
