/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Addresses anywhere: loads, stores and branches over the whole 64-bit space, at CPL 3 and 0, by every form of addressing, with wild
 * segment bases and stack pointers, WRPKRU, XRSTOR of garbage, garbage selectors. Each access must end in exactly the fault that the
 * page tables give, for nothing else than this guest's own pages is there. Options: seed=N, rounds=N.
 */
#include "code.h"

#define CR4_FSGSBASE 0x10000ull
#define CR4_OSXSAVE 0x40000ull
#define KNOWN 0x50000000000ull /* a user page that is there, and what a wild access may hit */

static uint64_t wrong, hits, faults_seen[32];

static bool canonical(uint64_t a) { return (uint64_t)((int64_t)(a << 16) >> 16) == a; }

/* Of all sorts: random bits, small and near borders, where monitors and their windows lie, the pages that there are. */
static uint64_t wild(void)
{
	static const uint64_t special[] = { 0, 0x1000, 0x10000, 0x400000, 0x100000000, 0x555555554000, 0x7f0000000000, 0x7fffffffe000, 0x7ffffffff000,
					    0x7ffff7ff0000, 0x800000000000, 0xffff7ffffffff000, 0xffff800000000000, 0xffffffff80000000, 0xffffffffff600000,
					    0xfffffffffffff000, KNOWN, KNOWN + 0x1000, 0xfee00000, 0x100000, 0x8000000000000000, 0x7fffffffffffffff };
	switch (below(9)) {
	case 0: return rnd();
	case 1: return (uint64_t)((int64_t)rnd() >> 17); /* canonical */
	case 2: return special[below(ARRAY_SIZE(special))] + (rnd() & 0x1fff) - 0x1000;
	case 3: return (rnd() & 0x7fffffffffff) | (below(2) ? 0 : 0x7f0000000000);
	case 4: return KNOWN + (rnd() & 0xfff) - (below(8) ? 0 : 0x40);
	case 5: return (rnd() & 0xffffffffffff) | (below(2) ? 0x8000ull : 1ull << below(16)) << 48; /* canonical but for some of the upper bits */
	case 6: return (KNOWN + (rnd() & 0xfff)) ^ 1ull << (12 + below(52)); /* a bit beside what there is, */
	case 7: return KNOWN + (rnd() & 0xfff) + ((uint64_t)((int64_t)rnd() >> 58) << (below(2) ? 32 : 36)); /* some GiB */
	default: return rnd() >> below(64);
	}
}

/* --- CPL 3 --- */

/* How a snippet makes its address; `size` bytes are touched. */
struct access {
	const char *name;
	const uint8_t *from, *to;
	unsigned size;
	unsigned flags;
};
enum { READ = 0, WRITE = 1, FETCH = 2, STACK = 4, ALIGNED = 8 };
#define INSN(name, ...) \
	__asm__(".text\n" #name "_: " __VA_ARGS__ "; int $0x80\n" #name "_end: .byte 0xcc\n"); \
	extern const uint8_t name##_[], name##_end[];
INSN(load, "movq (%rdi), %rax")
INSN(load_byte, "movb (%rdi), %al")
INSN(store, "movq %rax, (%rdi)")
INSN(store_word, "movw %ax, (%rdi)")
INSN(modify, "addl %eax, (%rdi)")
INSN(locked, "lock xaddq %rax, (%rdi)")
INSN(exchange, "xchgb %al, (%rdi)")
INSN(index, "movq %rdi, %rbx; shrq $1, %rbx; movq %rdi, %rcx; subq %rbx, %rcx; movq (%rbx,%rcx), %rax")
INSN(scaled, "movq %rdi, %rcx; andl $7, %edi; shrq $3, %rcx; movq (%rdi,%rcx,8), %rax")
INSN(far_plus, "addq $0x7fffffff, %rdi; movq -0x7fffffff(%rdi), %rax")
INSN(far_minus, "subq $0x7fffffff, %rdi; movq %rax, 0x7fffffff(%rdi)")
INSN(by_rbp, "movq %rdi, %rbp; movl (%rbp), %eax")
INSN(by_rsp, "movq %rdi, %rsp; movl (%rsp), %eax")
INSN(by_r12, "movq %rdi, %r12; movl (%r12), %eax")
INSN(by_r13, "movq %rdi, %r13; movl %eax, (%r13)")
INSN(unused_segments, ".byte 0x2e, 0x48, 0x8b, 0x07") /* cs: */
INSN(push_to, "leaq 8(%rdi), %rsp; pushq %rax")
INSN(pop_from, "movq %rdi, %rsp; popq %rax")
INSN(call_to, "leaq 8(%rdi), %rsp; call 1f; 1:")
INSN(enter_to, "movq %rdi, %rbp; leaq 8(%rdi), %rsp; enter $0, $0")
INSN(leave_from, "movq %rdi, %rbp; leave")
INSN(string_store, "movl $1, %ecx; rep stosb")
INSN(string_load, "movq %rdi, %rsi; lodsq")
INSN(xlat, "movq %rdi, %rbx; xorl %eax, %eax; xlatb")
INSN(sse_load, "movups (%rdi), %xmm0")
INSN(sse_store, "movups %xmm0, (%rdi)")
INSN(x87_load, "fldl (%rdi); fstp %st(0)")
INSN(x87_first, "fldz; fstp %st(0); movq (%rdi), %rax")
INSN(jump, "jmp *%rdi")
INSN(call_there, "call *%rdi")
INSN(push_return, "pushq %rdi; ret")
INSN(fs_base, "wrfsbase %rdi; movq %fs:0, %rax")
INSN(gs_base, "wrgsbase %rdi; movq %rax, %gs:0")
INSN(fs_plus, "movq %rdi, %rax; shrq $1, %rax; andq $-16, %rax; subq %rax, %rdi; wrfsbase %rax; movl %fs:(%rdi), %eax")
INSN(gs_minus, "leaq 0x12345678(%rdi), %rax; wrgsbase %rax; movl %gs:-0x12345678, %eax")
INSN(cmpxchg16, "andq $-16, %rdi; lock cmpxchg16b (%rdi)")

static const struct access accesses[] = {
#define A(name, ...) { #name, name##_, name##_end, __VA_ARGS__ }
	A(load, 8, READ), A(load_byte, 1, READ), A(store, 8, WRITE), A(store_word, 2, WRITE), A(modify, 4, WRITE), A(locked, 8, WRITE),
	A(exchange, 1, WRITE), A(index, 8, READ), A(scaled, 8, READ), A(far_plus, 8, READ), A(far_minus, 8, WRITE),
	A(by_rbp, 4, STACK), A(by_rsp, 4, STACK), A(by_r12, 4, READ), A(by_r13, 4, WRITE), A(unused_segments, 8, READ),
	A(push_to, 8, WRITE | STACK), A(pop_from, 8, STACK), A(call_to, 8, WRITE | STACK), A(enter_to, 8, WRITE | STACK),
	A(leave_from, 8, STACK), A(string_store, 1, WRITE), A(string_load, 8, READ), A(xlat, 1, READ), A(sse_load, 16, READ),
	A(sse_store, 16, WRITE), A(x87_load, 8, READ), A(x87_first, 8, READ), A(jump, 1, FETCH), A(call_there, 1, FETCH), A(push_return, 1, FETCH),
	A(fs_base, 8, READ), A(gs_base, 8, WRITE), A(fs_plus, 4, READ), A(gs_minus, 4, READ), A(cmpxchg16, 16, WRITE | ALIGNED),
};

/* 0: there and the user's; 1: there, the supervisor's; 2: not there. */
static unsigned page_state(uint64_t a)
{
	if (a < 0x100000000)
		return 1;
	return a - KNOWN < 0x1000 || a - USER_CODE < 0x1000 || a - USER_STACK < 0x1000 ? 0 : 2;
}

static void report(const struct access *a, uint64_t at, struct fault *f, uint64_t vector, uint64_t error)
{
	if (wrong++ > 8)
		return;
	print(a->name), print(" at "), print_hex(at), print(": vector "), print_hex(f->frame.vector), print(" not "), print_hex(vector);
	print(" error "), print_hex(f->frame.error), print(" not "), print_hex(error), print(" cr2 "), print_hex(f->cr2), print("\n");
}

static void check_user(const struct access *a, uint64_t at, struct fault f)
{
	uint64_t vector = 0x80, error = 0, cr2 = f.cr2, last = at + a->size - 1;
	if (a->flags & ALIGNED)
		last = (at &= ~15ull) + 15;
	bool wild_base = (a->from == fs_base_ || a->from == gs_base_) && !canonical(at);
	if (a->from == fs_plus_ && !canonical(at >> 1))
		wild_base = true;
	if (a->from == gs_minus_ && !canonical(at + 0x12345678))
		wild_base = true;
	if (!canonical(at) || !canonical(last) || wild_base) {
		vector = (a->flags & STACK) && !wild_base ? VEC_SS : VEC_GP;
		/* Over the end of the lower half: the part before it may be looked at first. */
		if (canonical(at) && f.frame.vector == VEC_PF)
			return;
	} else if (page_state(at) || page_state(last)) {
		vector = VEC_PF;
		cr2 = page_state(at) ? at : last & ~0xfffull;
		error = 4 | (page_state(cr2) == 1) | (a->flags & WRITE ? 2 : 0) | (a->flags & FETCH ? 0x10 : 0);
	} else if (a->flags & FETCH) {
		hits++;
		return; /* it runs what is there */
	}
	if (vector == 0x80)
		hits++;
	faults_seen[f.frame.vector & 31]++;
	if (!f.happened || f.frame.vector != vector || (vector == VEC_PF && (f.cr2 != cr2 || f.frame.error != error)))
		report(a, at, &f, vector, error);
}

/*
 * Each block of 4 GiB once, where a monitor that adds the same to all addresses may have what it keeps in its own low 4 GiB (ours: a page that
 * is there to be read). Instructions that fault often are no longer trusted with that, so there are many of them.
 */
#define SWEEP_CODE 0x62000000000ull
static void sweep(void)
{
	enum { SLOT = 16, USES = 2, SLOTS = 4096 / SLOT };
	uint64_t block = 1;
	while (block < 0x8000) {
		uint8_t *code = alloc_page();
		for (unsigned i = 0; i < SLOTS; i++)
			for (const uint8_t *from = x87_first_; from < x87_first_end; from++)
				code[i * SLOT + (from - x87_first_)] = *from;
		map_page(SWEEP_CODE, (uint64_t)code, PG_P | PG_U);
		__asm__ volatile("invlpg (%0)" ::"r"(SWEEP_CODE) : "memory");
		for (unsigned n = 0; n < SLOTS * USES && block < 0x8000; n++, block++) {
			uint64_t at = block << 32 | 0x20000010;
			check_user(&accesses[0], at, run_user(SWEEP_CODE + n % SLOTS * SLOT, USER_STACK_TOP, at));
		}
	}
	map_page(SWEEP_CODE, 0, 0);
	__asm__ volatile("invlpg (%0)" ::"r"(SWEEP_CODE) : "memory");
}

static void at_cpl_3(unsigned rounds)
{
	bool fsgsbase = cpuid(7, 0).b & 1;
	if (fsgsbase)
		WRITE_CR(4, READ_CR(4) | CR4_FSGSBASE);
	uint8_t *known = alloc_page();
	for (unsigned i = 0; i < 4096; i++)
		known[i] = 0xcc;
	map_page(KNOWN, (uint64_t)known, PG_P | PG_W | PG_U);
	for (unsigned i = 0; i < ARRAY_SIZE(accesses); i++) {
		const struct access *a = &accesses[i];
		if (!fsgsbase && (a->from == fs_base_ || a->from == gs_base_ || a->from == fs_plus_ || a->from == gs_minus_))
			continue;
		run_user_code(a->from, a->to, KNOWN + 64);
		for (unsigned n = 0; n < rounds; n++) {
			uint64_t at = wild();
			/* CPL 3 does not write to its own code and stack here. */
			if (at - (USER_CODE - 0x1000) < 0x20000)
				continue;
			check_user(a, at, run_user(USER_CODE, USER_STACK_TOP, at));
		}
	}
	sweep();
	wrmsr(0xc0000100, 0);
	wrmsr(0xc0000101, 0);
	check_equal(wrong, 0);
	check(hits > 100 && faults_seen[VEC_PF] > 100 && faults_seen[VEC_GP] > 50 && faults_seen[VEC_SS] > 20);
}

/* In one block, hot: many accesses, each of whose faults is skipped by the handler; all in one page of code. */
static uint64_t skipped;
static bool skip(struct frame *frame)
{
	if (frame->rip - USER_CODE >= 0x1000)
		return false;
	frame->rip = frame->r15 + 3 * (1 + (frame->rip - frame->r15) / 3); /* each of them has 3 bytes */
	skipped++;
	return true;
}

static void enter_user(void *registers)
{
	__asm__ volatile("movq %0, %%r10; pushq %1; pushq %2; pushq $2; pushq %3; pushq %4\n"
			 "movq (%%r10), %%rdi; movq 8(%%r10), %%rsi; movq 16(%%r10), %%rbx; movq 24(%%r10), %%rcx; movq 32(%%r10), %%rdx;"
			 "movq 40(%%r10), %%r8; movq 48(%%r10), %%r9; iretq"
			 ::"r"(registers), "i"((long)SEL_USER_DATA), "r"(USER_STACK_TOP), "i"((long)SEL_USER64), "r"(USER_CODE) : "memory");
}

static void skipped_in_a_row(unsigned rounds)
{
	static uint8_t text[64];
	uint8_t *p = text;
	PUT(p, 0x4c, 0x8d, 0x3d, 0, 0, 0, 0); /* lea r15, [rip] */
	PUT(p, 0x48, 0x8b, 0x07, 0x48, 0x89, 0x06, 0x48, 0x01, 0x03, 0x48, 0x33, 0x01, 0x48, 0x87, 0x02, 0x49, 0x8b, 0x00, 0x49, 0xff, 0x01);
	PUT(p, 0xcd, 0x80);
	handlers[VEC_PF] = handlers[VEC_GP] = skip;
	uint64_t want = 0;
	run_user_code(text, p, KNOWN);
	skipped = 0;
	for (unsigned n = 0; n < rounds * 20; n++) {
		uint64_t at[7];
		for (unsigned i = 0; i < 7; i++) {
			at[i] = n % 50 ? KNOWN + 8 * below(500) : wild();
			if (at[i] - (USER_CODE - 0x1000) < 0x20000)
				at[i] = 0x123456789000;
			want += !canonical(at[i]) || !canonical(at[i] + 7) || page_state(at[i]) || page_state(at[i] + 7);
		}
		struct fault f = guarded(enter_user, at);
		wrong += f.frame.vector != 0x80;
	}
	check_equal(wrong, 0);
	check_equal(skipped, want);
	handlers[VEC_PF] = handlers[VEC_GP] = NULL;
}

/* --- CPL 0: what is not there, or not canonical; the handlers have a stack of their own --- */

struct kernel_access {
	void (*fn)(void *);
	bool write, fetch, stack;
};
#define KERNEL(name, ...) static void name(void *p) { __asm__ volatile(__VA_ARGS__ ::"D"(p) : "rax", "rbx", "rcx", "rdx", "memory", "cc"); }
KERNEL(k_load, "movq (%%rdi), %%rax")
KERNEL(k_store, "movq %%rax, (%%rdi)")
KERNEL(k_modify, "incq (%%rdi)")
KERNEL(k_push, "movq %%rsp, %%rbx; leaq 8(%%rdi), %%rsp; pushq $1; movq %%rbx, %%rsp")
KERNEL(k_call, "movq %%rsp, %%rbx; leaq 8(%%rdi), %%rsp; call 1f; 1: movq %%rbx, %%rsp")
KERNEL(k_pop, "movq %%rsp, %%rbx; movq %%rdi, %%rsp; popq %%rax; movq %%rbx, %%rsp")
KERNEL(k_ret, "movq %%rdi, %%rsp; ret")
KERNEL(k_iret, "movq %%rdi, %%rsp; iretq")
KERNEL(k_jump, "jmp *%%rdi")
KERNEL(k_return, "pushq %%rdi; ret")
KERNEL(k_lgdt, "lgdt (%%rdi)")
KERNEL(k_lidt, "lidt (%%rdi)")
KERNEL(k_fxrstor, "andq $-16, %%rdi; fxrstor (%%rdi)")
KERNEL(k_gs, "movq %%rdi, %%rax; movq %%rdi, %%rdx; shrq $32, %%rdx; movl $0xc0000101, %%ecx; wrmsr; movq %%gs:0, %%rax")
KERNEL(k_swapgs, "movq %%rdi, %%rax; movq %%rdi, %%rdx; shrq $32, %%rdx; movl $0xc0000102, %%ecx; wrmsr; swapgs; movq %%rax, %%gs:0")
KERNEL(k_rep, "movl $100, %%ecx; rep stosq")
static const struct kernel_access kernel_accesses[] = {
	{ k_load, 0, 0, 0 }, { k_store, 1, 0, 0 }, { k_modify, 1, 0, 0 }, { k_push, 1, 0, 1 }, { k_call, 1, 0, 1 }, { k_pop, 0, 0, 1 }, { k_ret, 0, 0, 1 },
	{ k_iret, 0, 0, 1 }, { k_jump, 0, 1, 0 }, { k_return, 0, 1, 0 }, { k_lgdt, 0, 0, 0 }, { k_lidt, 0, 0, 0 }, { k_fxrstor, 0, 0, 0 },
	{ k_gs, 0, 0, 0 }, { k_swapgs, 1, 0, 0 }, { k_rep, 1, 0, 0 },
};

static void at_cpl_0(unsigned rounds)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kernel_accesses); i++)
		for (unsigned n = 0; n < rounds; n++) {
			const struct kernel_access *a = &kernel_accesses[i];
			uint64_t at = wild() & ~15ull;
			/* Not where there is anything. */
			if (canonical(at) && at + 0x1000 < 0x100002000)
				continue;
			if (at - (USER_CODE - 0x2000) < 0x20000 || at - (KNOWN - 0x2000) < 0x4000 || canonical(at) != canonical(at + 0x1000))
				continue;
			struct fault f = guarded(a->fn, (void *)at);
			uint64_t vector = canonical(at) ? VEC_PF : a->stack ? VEC_SS : VEC_GP;
			uint64_t error = canonical(at) ? (a->write ? 2 : 0) | (a->fetch ? 0x10 : 0) : 0;
			if (!f.happened || f.frame.vector != vector || f.frame.error != error || (vector == VEC_PF && f.cr2 != at)) {
				struct access named = { .name = "kernel" };
				print_hex(i);
				report(&named, at, &f, vector, error);
			}
			__asm__ volatile("swapgs" ::: "memory");
			wrmsr(0xc0000101, 0);
			wrmsr(0xc0000102, 0);
		}
	check_equal(wrong, 0);
}

/* INT n and exceptions with a stack that is not there, and no IST: a double fault, which has one. */
KERNEL(k_int, "movq %%rdi, %%rsp; int $0x90")
KERNEL(k_ud, "movq %%rdi, %%rsp; ud2")
static void bad_stacks(unsigned rounds)
{
	for (unsigned n = 0; n < rounds; n++) {
		uint64_t at = wild() & ~15ull;
		if ((canonical(at) && at < 0x100002000) || at - (USER_CODE - 0x2000) < 0x20000 || at - (KNOWN - 0x2000) < 0x4000 || at >= -0x1000ull)
			continue;
		/* Benign #UD, or INT n: then the fault of the push comes alone, on its own stack. */
		struct fault f = guarded(n & 1 ? k_int : k_ud, (void *)at);
		uint64_t vector = canonical(at) && canonical(at - 1) ? VEC_PF : VEC_SS;
		if (f.frame.vector != vector || (vector == VEC_PF && f.frame.error != 2)) {
			struct access named = { .name = "stack" };
			report(&named, at, &f, vector, 2);
		}
	}
	check_equal(wrong, 0);
}

/* --- selectors, XRSTOR, WRPKRU --- */

static void load_selector(void *p)
{
	static unsigned which;
	switch (which++ % 9) {
	case 0: __asm__ volatile("movw %w0, %%ds" ::"r"(p)); break;
	case 1: __asm__ volatile("movw %w0, %%es" ::"r"(p)); break;
	case 2: __asm__ volatile("movw %w0, %%fs" ::"r"(p)); break;
	case 3: __asm__ volatile("movw %w0, %%gs" ::"r"(p)); break;
	case 4: __asm__ volatile("lldt %w0" ::"r"(p)); break;
	case 5: __asm__ volatile("pushq %0; popq %%fs" ::"r"(p)); break;
	case 6: __asm__ volatile("lar %w0, %%eax; lsl %w0, %%eax; verr %w0; verw %w0" ::"r"(p) : "rax", "cc"); break;
	case 7: /* not through a random gate, nor into random code */
		if ((uint64_t)p < 0x100)
			return;
		__asm__ volatile("movl $1f, (%%rsp); movw %w0, 4(%%rsp); ljmpl *(%%rsp); 1:" ::"r"(p) : "memory"); break;
	default: __asm__ volatile("movw %w0, %%ss" ::"r"(p));
	}
}

static void garbage_selectors(unsigned rounds)
{
	uint64_t good = 0, bad = 0;
	for (unsigned i = 2; i < 16; i++) /* any descriptors */
		gdt_spare[i] = rnd();
	for (unsigned n = 0; n < rounds * 20; n++) {
		uint64_t selector = below(4) ? rnd() & 0xff : rnd() & 0xffff;
		struct fault f = guarded(load_selector, (void *)selector);
		uint64_t v = f.frame.vector;
		good += !f.happened;
		bad += f.happened;
		if (f.happened && v != VEC_GP && v != VEC_NP && v != VEC_SS && v != VEC_UD && v != VEC_PF)
			wrong++;
		if (f.happened && (v == VEC_GP || v == VEC_NP || v == VEC_SS) && f.frame.error && (f.frame.error ^ selector) & 0xfffc)
			wrong++;
		__asm__ volatile("movw %w0, %%ss; movw %w0, %%ds; movw %w0, %%es; movw %w0, %%fs; movw %w0, %%gs; lldt %w1" ::"r"(SEL_DATA), "r"(0));
	}
	check(good > 20 && bad > 20);
	check_equal(wrong, 0);
}

static void xrstor(void *p) { __asm__ volatile("xrstor64 (%0)" ::"r"(p), "a"(-1), "d"(-1) : "memory"); }
static void fxrstor(void *p) { __asm__ volatile("fxrstor64 (%0)" ::"r"(p) : "memory"); }
static void wrpkru(void *p) { __asm__ volatile(".byte 0x0f, 0x01, 0xef" ::"a"(p), "c"(0), "d"(0)); }

static void garbage_state(unsigned rounds)
{
	uint8_t *area = alloc_page();
	uint64_t loaded = 0, refused = 0;
	bool xsave = cpuid(1, 0).c >> 26 & 1;
	if (xsave)
		WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
	for (unsigned n = 0; n < rounds * 4; n++) {
		for (unsigned i = 0; i < 512; i++)
			((uint64_t *)area)[i] = rnd();
		if (below(2))
			*(uint32_t *)(area + 24) &= 0xffbf; /* MXCSR */
		uint64_t *header = (uint64_t *)(area + 512);
		if (below(2)) {
			header[0] = rnd() & (below(2) ? 3 : 0xe7);
			for (unsigned i = 1; i < 8; i++)
				header[i] = 0;
			if (below(3) == 0)
				header[1] = header[0] | 1ull << 63;
		}
		struct fault f = guarded(xsave && below(2) ? xrstor : fxrstor, area);
		loaded += !f.happened;
		refused += f.happened && f.frame.vector == VEC_GP;
		wrong += f.happened && f.frame.vector != VEC_GP;
		/* Whatever it is now, the state can be used and saved. */
		uint32_t mxcsr = 0x1f80;
		__asm__ volatile("fxsave64 (%0); ldmxcsr %1; fninit; pxor %%xmm0, %%xmm0" ::"r"(area), "m"(mxcsr) : "memory");
		if (below(2))
			__asm__ volatile("fldz; fld1; faddp; fstp %st(0)");
	}
	check(loaded > 5 && refused > 5);
	check_equal(wrong, 0);
	bool pku = cpuid(7, 0).c >> 3 & 1;
	for (unsigned n = 0; n < 20; n++) {
		struct fault f = guarded(wrpkru, (void *)(rnd() & 0xffffffff));
		if (pku)
			WRITE_CR(4, READ_CR(4) | 1u << 22);
		else
			check_fault(f, VEC_UD, 0);
	}
	if (pku) { /* every key closed: pages of the supervisor's are as before, the user's with key 0 are not */
		guarded(wrpkru, (void *)0xffffffff);
		map_page(0x51000000000, (uint64_t)area, PG_P | PG_W | PG_U);
		check_equal(guarded(k_load, (void *)0x51000000000).frame.error, 0x21);
		guarded(wrpkru, NULL);
		check(!guarded(k_load, (void *)0x51000000000).happened);
		WRITE_CR(4, READ_CR(4) & ~(1ull << 22));
	}
}

int guest_main(void)
{
	random_state ^= guest_option("seed", 1) * 0x123456789abcdef1;
	unsigned rounds = (unsigned)guest_option("rounds", 300);
	map_page(USER_STACK, (uint64_t)alloc_page(), PG_P | PG_W | PG_U);
	for (unsigned v = VEC_DF; v <= VEC_PF; v++)
		set_gate(v, vector_stubs + 16 * v, 0x0e, 1);
	__asm__ volatile("fninit");
	at_cpl_3(rounds);
	skipped_in_a_row(rounds);
	at_cpl_0(rounds);
	bad_stacks(rounds);
	garbage_selectors(rounds);
	garbage_state(rounds);
	return failures;
}
