/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions over the border of two pages, split at every byte, of which the second is absent, not executable, the supervisor's,
 * or another one than before; and code that ends right at the border. */
#include "apic.h"
#include "code.h"

#define AREA 0x20000000000ull
#define SECOND (AREA + 4096)
static uint8_t *first, *second, *other;

#define INSN(name, ...) \
	__asm__(".text\n" #name "_: " __VA_ARGS__ "\n" #name "_end: .byte 0xcc\n"); \
	extern const uint8_t name##_[], name##_end[];
/* Each changes RAX alone, from RBX 0x11, RDI data; RCX 0. The last ones jump to what follows them. */
INSN(two, "addl %ebx, %eax")
INSN(imm8, "addl $0x12, %eax")
INSN(imm32, "addl $0x12345678, %eax")
INSN(imm64, "movabsq $0x123456789abcdef0, %rax")
INSN(longest, ".byte 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x48, 0x8d, 0x84, 0x1b, 0x78, 0x56, 0x34, 0x12; nop") /* 13: lea */
INSN(fifteen_add, ".byte 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x48, 0x05, 0x78, 0x56, 0x34, 0x12") /* 15: add rax, imm32 */
INSN(fifteen_rmw, ".byte 0x26, 0x26, 0xf0, 0x48, 0x81, 0x84, 0x1f; .long 0x40; .long 0x1000") /* 15: lock add qword [rdi + rbx + 0x40], 0x1000 */
INSN(sib, "leaq 0x1234(%rbx,%rcx,4), %rax")
INSN(two_byte, "imull $0x1234567, %ebx, %eax")
INSN(three_byte, "pshufb %xmm0, %xmm1; incl %eax")
INSN(rel8, "jmp 1f; 1: incl %eax")
INSN(rel32, ".byte 0xe9, 0, 0, 0, 0; incl %eax")
INSN(jcc32, ".byte 0x0f, 0x85, 0, 0, 0, 0; incl %eax")
INSN(call32, ".byte 0xe8, 0, 0, 0, 0; popq %rcx; incl %eax")
INSN(prefixed_nop, ".byte 0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0; incl %eax")

static const struct {
	const char *name;
	const uint8_t *from, *to;
} insns[] = {
#define ROW(name) { #name, name##_, name##_end }
	ROW(two), ROW(imm8), ROW(imm32), ROW(imm64), ROW(longest), ROW(fifteen_add), ROW(fifteen_rmw), ROW(sib), ROW(two_byte), ROW(three_byte),
	ROW(rel8), ROW(rel32), ROW(jcc32), ROW(call32), ROW(prefixed_nop),
};

static uint64_t data[16], wrong;
static const char *now;
static unsigned now_split;

static void differ(const char *what, uint64_t got, uint64_t want)
{
	if (wrong++ < 10) {
		print(now), print_hex(now_split), print(" ");
		check_equal_(got, want, what, __FILE_NAME__, __LINE__);
	}
}

struct run {
	uint64_t at, rax;
};
static void run(void *opaque)
{
	struct run *r = opaque;
	uint64_t a = 5, b = 0x11, c = 0;
	__asm__ volatile("orl $1, %%r8d; call *%4" : "+a"(a), "+b"(b), "+c"(c) : "D"((uint64_t)data - 0x11 - 0x40), "r"(r->at), "d"(r->at)
			 : "r8", "memory", "cc");
	r->rax = a;
}

static unsigned faults;
static bool on_page_fault(struct frame *frame)
{
	if (READ_CR(2) != SECOND)
		return false;
	faults++;
	map_page(SECOND, (uint64_t)second, PG_P);
	return true;
}

/* The code in both pages, so that `split` of its bytes are in the first one. */
static uint64_t lay(const uint8_t *from, const uint8_t *to, unsigned split)
{
	uint8_t *p = first + 4096 - split;
	for (; from < to; from++, p++)
		*(p < first + 4096 ? p : second + (p - first - 4096)) = *from;
	*(p < first + 4096 ? p : second + (p - first - 4096)) = 0xc3;
	return AREA + 4096 - split;
}

static uint64_t run_good(uint64_t at)
{
	struct run r = { at, 0 };
	data[0] = 3;
	struct fault f = guarded(run, &r);
	if (f.happened)
		differ("vector of a good run", f.frame.vector, 0);
	return r.rax + data[0] * 1000;
}

static void every_split(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(insns); i++)
		for (unsigned split = 1; split <= (unsigned)(insns[i].to - insns[i].from); split++) {
			now = insns[i].name;
			now_split = split;
			/* What it gives where it does not cross. */
			map_page(AREA, (uint64_t)first, PG_P | PG_W);
			map_page(SECOND, (uint64_t)second, PG_P | PG_W);
			uint64_t want = run_good(lay(insns[i].from, insns[i].to, 512));
			uint64_t at = lay(insns[i].from, insns[i].to, split);
			for (unsigned n = 0; n < 20; n++)
				if (run_good(at) != want)
					differ("result", run_good(at), want);
			/* Absent, then not executable: RIP is the instruction that crosses, CR2 the border. */
			for (unsigned k = 0; k < 2; k++) {
				map_page(SECOND, (uint64_t)second, k ? PG_P | PG_NX : 0);
				struct run r = { at, 0 };
				handlers[VEC_PF] = NULL;
				struct fault f = guarded(run, &r);
				if (f.frame.vector != VEC_PF || f.frame.error != (k ? 0x11 : 0x10) || f.cr2 != SECOND) {
					differ("vector", f.frame.vector, VEC_PF);
					differ("error", f.frame.error, k ? 0x11 : 0x10);
					differ("cr2", f.cr2, SECOND);
				}
				if (f.frame.rip < at || f.frame.rip > SECOND)
					differ("rip", f.frame.rip, at);
				/* Instructions of one piece: exactly theirs. */
				if (insns[i].from == fifteen_rmw_ || insns[i].from == fifteen_add_ || insns[i].from == imm64_ || insns[i].from == imm32_) {
					uint64_t rip = split == (unsigned)(insns[i].to - insns[i].from) ? SECOND : at;
					if (f.frame.rip != rip)
						differ("rip", f.frame.rip, rip);
				}
			}
			/* Mapped by the handler: as if nothing had been. */
			map_page(SECOND, 0, 0);
			handlers[VEC_PF] = on_page_fault;
			faults = 0;
			if (run_good(at) != want)
				differ("result after the fault", 0, want);
			if (faults != 1)
				differ("faults", faults, 1);
			handlers[VEC_PF] = NULL;
			/* Another second page, with another tail: back and forth. */
			for (unsigned n = 0; n < 512; n++)
				((uint64_t *)other)[n] = ((uint64_t *)second)[n];
			bool immediate = insns[i].from == fifteen_add_ || insns[i].from == imm32_ || insns[i].from == imm64_;
			unsigned length = (unsigned)(insns[i].to - insns[i].from);
			if (!immediate || split == length)
				continue;
			other[length - split - 1] ^= 0x10; /* the highest byte */
			/* 0x12 becomes 0x02: the result is smaller. */
			uint64_t changed = insns[i].from == imm64_ ? 0x10ull << 56 : 0x10ull << 24;
			for (unsigned n = 0; n < 20; n++) {
				map_page(SECOND, (uint64_t)(n & 1 ? other : second), PG_P);
				uint64_t got = run_good(at), expect = want - (n & 1 ? changed : 0);
				if (got != expect)
					differ("result of the other page", got, expect);
			}
		}
	check_equal(wrong, 0);
}

/* Code that ends with the page never needs the next one: RET, a jump back, a call out, UD2, a trap. */
static void at_the_end(void)
{
	map_page(AREA, (uint64_t)first, PG_P | PG_W);
	map_page(SECOND, 0, 0);
	uint8_t *p = (uint8_t *)AREA + 4096 - 6;
	now = "at the end";
	for (unsigned i = 0; i < HOT; i++) {
		put_return(p, i);
		if (i % 64 == 0 || i > HOT - 10)
			wrong += wrong_calls(p, 20, i);
	}
	/* A conditional jump is the last instruction, and is not taken. */
	uint8_t *last = (uint8_t *)AREA + 4096 - 8;
	put_bytes((uint8_t *)AREA + 64, (const uint8_t[]){ 0x48, 0x89, 0xf8, 0xc3 }, 4);
	p = last;
	PUT(p, 0xff, 0xc9, 0x0f, 0x84);                       /* dec ecx; jz to the RET at +64 */
	put32(p, (uint64_t)((uint8_t *)AREA + 64 - (p + 4)));
	struct fault f;
	struct run r = { (uint64_t)last, 0 };
	f = guarded(run, &r); /* ECX becomes -1 */
	check_equal(f.frame.vector, VEC_PF);
	check_equal(f.cr2, SECOND);
	check_equal(f.frame.rip, SECOND);
	check_equal((uint32_t)f.frame.rcx, 0xffffffff);
	/* UD2 as the last two bytes; an INT3 as the last one: the trap's RIP is the next page, without a page fault. */
	p = (uint8_t *)AREA + 4096 - 2;
	PUT(p, 0x0f, 0x0b);
	r.at = AREA + 4096 - 2;
	for (unsigned i = 0; i < 100; i++) {
		f = guarded(run, &r);
		wrong += f.frame.vector != VEC_UD || f.frame.rip != r.at;
	}
	((uint8_t *)AREA)[4095] = 0xcc;
	r.at = AREA + 4095;
	for (unsigned i = 0; i < 100; i++) {
		f = guarded(run, &r);
		wrong += f.frame.vector != VEC_BP || f.frame.rip != SECOND;
	}
	/* A fault of the last instruction's operand comes before that of the next fetch. */
	p = (uint8_t *)AREA + 4096 - 3;
	PUT(p, 0x48, 0x8b, 0x02); /* mov rax, [rdx]: RDX is its own address */
	r.at = AREA + 4096 - 3;
	f = guarded(run, &r);
	wrong += f.frame.vector != VEC_PF || f.cr2 != SECOND;
	wrong += f.frame.error != 0; /* a read of data */
	check_equal(wrong, 0);
}

/* Sixteen bytes are too long wherever they lie; a bad opcode before the border needs nothing behind it. */
static void too_long(void)
{
	now = "too long";
	map_page(AREA, (uint64_t)first, PG_P | PG_W);
	for (unsigned split = 1; split <= 15; split++) {
		map_page(SECOND, (uint64_t)second, PG_P | PG_W);
		uint8_t *p = (uint8_t *)AREA + 4096 - split;
		for (unsigned i = 0; i < 15; i++)
			p[i] = 0x66;
		p[15] = 0x90;
		struct run r = { (uint64_t)p, 0 };
		for (unsigned n = 0; n < 20; n++) {
			struct fault f = guarded(run, &r);
			wrong += f.frame.vector != VEC_GP || f.frame.rip != r.at || f.frame.error;
		}
		map_page(SECOND, 0, 0);
		struct fault f = guarded(run, &r);
		wrong += f.frame.vector != (split < 15 ? VEC_PF : VEC_GP) && !(split == 15 && f.frame.vector == VEC_PF);
	}
	check_equal(wrong, 0);
}

/* The user's code runs into a page of the supervisor's, and into one that is not executable, by an instruction over the border. */
static void of_the_user(void)
{
	map_page(USER_STACK, (uint64_t)alloc_page(), PG_P | PG_W | PG_U);
	now = "user";
	for (unsigned i = 0; i < ARRAY_SIZE(insns); i++)
		for (unsigned split = 1; split < 4 && split < (unsigned)(insns[i].to - insns[i].from); split++) {
			map_page(AREA, (uint64_t)first, PG_P | PG_U);
			map_page(SECOND, (uint64_t)second, PG_P);
			uint64_t at = lay(insns[i].from, insns[i].to, split);
			struct fault f = run_user(at, USER_STACK_TOP, 0);
			wrong += f.frame.vector != VEC_PF || f.frame.error != 0x15 || f.cr2 != SECOND;
			map_page(SECOND, (uint64_t)second, PG_P | PG_U | PG_NX);
			f = run_user(at, USER_STACK_TOP, 0);
			wrong += f.frame.vector != VEC_PF || f.frame.error != 0x15 || f.cr2 != SECOND;
		}
	check_equal(wrong, 0);
}

/* A short block over the border, then the page that it jumps to, are written in turns, while a jump elsewhere leads to the block. */
static void jumps_in_turns(void)
{
	static const struct {
		uint8_t bytes[4], size;
	} firsts[] = { { { 0x98 }, 1 }, { { 0x89, 0xf8 }, 2 }, { { 0x48, 0x89, 0xf8 }, 3 }, { { 0x48, 0x8d, 0x47, 0x00 }, 4 } };
	uint8_t *third = alloc_page(), *from = alloc_page();
	map_page(AREA, (uint64_t)first, PG_P | PG_W);
	map_page(SECOND, (uint64_t)second, PG_P | PG_W);
	map_page(SECOND + 4096, (uint64_t)third, PG_P | PG_W);
	map_page(SECOND + 8192, (uint64_t)from, PG_P | PG_W);
	uint8_t *target = (uint8_t *)SECOND + 4096 + 64, *caller = (uint8_t *)SECOND + 8192;
	now = "jumps in turns";
	/* What visor's translator wants for its fastest code: these, and that it comes to it often, as it does when code is written. */
	WRITE_CR(4, READ_CR(4) | CR4_PGE | CR4_SMAP);
	for (uint64_t start = rdtsc(); rdtsc() - start < 100000000;) {
		put_return(caller, (uint32_t)start);
		wrong += wrong_calls(caller, 1, (uint32_t)start);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(firsts); i++) {
		uint8_t *at = (uint8_t *)SECOND - firsts[i].size - 1;
		put_bytes(at, firsts[i].bytes, firsts[i].size)[0] = 0xe9;
		put_near(put_bytes(caller, (const uint8_t[]){ 0x89, 0xf8 }, 2), 0xe9, at); /* mov eax, edi */
		uint8_t added[2] = { 0, 0 };
		for (unsigned n = 0; n < 64; n++) {
			unsigned k = n & 1;
			uint8_t *add = target + 16 * k;
			put32((uint8_t *)SECOND, (uint64_t)(add - ((uint8_t *)SECOND + 4)));
			if (n > 1)
				wrong += wrong_calls_with(caller, 4, 100, 100 + added[k]);
			added[k] = (uint8_t)n;
			put_bytes(add, (const uint8_t[]){ 0x83, 0xc0, added[k], 0xc3 }, 4); /* add eax, n; ret */
			wrong += wrong_calls_with(caller, 4, 100, 100 + added[k]);
		}
	}
	check_equal(wrong, 0);
}

enum { BETWEEN_TICKS = 20000 };
static unsigned ticks;

static bool on_timer(struct frame *frame)
{
	ticks++;
	apic_eoi();
	timer_once(BETWEEN_TICKS);
	return true;
}

/* Interrupts come at a conditional jump that leads back over the border, and what it leads to is written. */
static void interrupted_jumps_back(void)
{
	enum { TIMES = 20000 };
	uint8_t *target = (uint8_t *)AREA + 64, *jump = (uint8_t *)SECOND + 64, *caller = (uint8_t *)SECOND + 256;
	now = "jumps back";
	put_near(put_bytes(caller, (const uint8_t[]){ 0x31, 0xc0 }, 2), 0xe9, target); /* xor eax, eax */
	uint8_t *back = put_bytes(jump, (const uint8_t[]){ 0xff, 0xcf, 0x0f }, 3); /* dec edi; jnz */
	*put_near(back, 0x85, target) = 0xc3;
	handlers[TIMER_VECTOR] = on_timer;
	apic_on();
	timer_once(BETWEEN_TICKS);
	__asm__ volatile("sti");
	for (unsigned n = 1; n < 6; n++) {
		put_near(put_bytes(target, (const uint8_t[]){ 0x83, 0xc0, (uint8_t)n }, 3), 0xe9, jump); /* add eax, n */
		for (unsigned before = ticks, i = 0; i < 3 || ticks - before < 8; i++)
			wrong += wrong_calls_with(caller, 1, TIMES, n * TIMES);
	}
	__asm__ volatile("cli");
	timer_off();
	check_equal(wrong, 0);
}

int guest_main(void)
{
	first = alloc_page();
	second = alloc_page();
	other = alloc_page();
	every_split();
	at_the_end();
	too_long();
	of_the_user();
	jumps_in_turns();
	interrupted_jumps_back();
	return failures;
}
